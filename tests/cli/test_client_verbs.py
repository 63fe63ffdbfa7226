"""lock, unlock, list and status against a node behind a real gRPC server: output, exit codes, no traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result

import lockd
import lockd_client
from lockd.cli import main
from lockd_client.proto import lockapi_pb2, lockd_pb2
from tests.client.fake_node import Fail, FakeNode

ROOT = Path(lockd.__file__).parents[1]
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


def run(node: FakeNode | None, *arguments: str) -> Result:
    endpoint = node.endpoint if node else NOWHERE
    result = CliRunner(env={"LOCKD_ENDPOINTS": endpoint}).invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_lock_list_unlock(node: FakeNode) -> None:
    locked = run(node, "lock", "jobs/nightly", "--ttl", "60", "--owner", "ann", "--reason", "the report")
    assert (locked.exit_code, locked.stdout, locked.stderr) == (0, "1\n", "")
    listed = run(node, "list")
    assert listed.exit_code == 0
    assert listed.stdout.splitlines() == [
        "NAME          TOKEN  OWNER  AGE  REMAINING  REASON",
        "jobs/nightly  1      ann    0s   1m 00s     the report",
    ]
    unlocked = run(node, "unlock", "jobs/nightly", "--token", "1")
    assert (unlocked.exit_code, unlocked.output) == (0, "")
    assert not node.holds


def test_a_lock_that_is_held(node: FakeNode) -> None:
    run(node, "lock", "a", "--ttl", "60", "--owner", "ann", "--reason", "tests")
    node.clock_ms += 5000
    refused = run(node, "lock", "a")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "lockd: a is held by ann: for 5.0s, 1m 00s remain, reason: tests\n"


def test_a_hold_without_a_ttl(node: FakeNode) -> None:
    run(node, "lock", "a", "--owner", "ann")
    assert "a is held by ann: for 0s, until it is unlocked" in run(node, "lock", "a").stderr
    assert "no ttl" in run(node, "list").stdout


def test_json(node: FakeNode) -> None:
    assert json.loads(run(node, "lock", "a", "--owner", "ann", "-o", "json").stdout)["token"] == 1
    again = run(node, "lock", "a", "-o", "json")
    assert again.exit_code == 1
    answer = json.loads(again.stdout)
    assert (answer["acquired"], answer["outcome"], answer["holders"][0]["owner"]) == (False, "HELD_BY_OTHER", "ann")
    assert [hold["name"] for hold in json.loads(run(node, "list", "-o", "json").stdout)] == ["a"]
    wrong = run(node, "unlock", "a", "--token", "9", "-o", "json")
    assert (wrong.exit_code, json.loads(wrong.stdout)["released"]) == (1, False)
    (status,) = json.loads(run(node, "status", "-o", "json").stdout)
    assert (status["endpoint"], status["role"], status["peers"]) == (node.endpoint, "leader", [])


def test_unlock_without_a_token_says_what_to_type(node: FakeNode) -> None:
    run(node, "lock", "it's mine", "--owner", "ann")
    refused = run(node, "unlock", "it's mine")
    assert (refused.exit_code, refused.stdout) == (64, "")
    assert "it's mine is held by ann" in refused.stderr
    assert refused.stderr.splitlines()[-1] == "lockd unlock 'it'\"'\"'s mine' --token 1"
    assert node.holds
    assert "is not held" in run(node, "unlock", "other").stderr


def test_the_line_to_type_for_a_name_that_looks_like_an_option(node: FakeNode) -> None:
    run(node, "lock", "--", "-x")
    line = run(node, "unlock", "--", "-x").stderr.splitlines()[-1]
    assert line == "lockd unlock --token 1 -- -x"
    assert run(node, *line.split()[1:]).exit_code == 0


def test_unlocking_what_is_not_held(node: FakeNode) -> None:
    assert run(node, "unlock", "a", "--token", "7").stderr == "lockd: token 7 does not hold a\n"
    run(node, "lock", "a", "--owner", "ann")
    refused = run(node, "unlock", "a", "--token", "7")
    assert refused.exit_code == 1
    assert "a is held by ann" in refused.stderr


def test_an_empty_list_says_so_beside_the_output(node: FakeNode) -> None:
    assert (run(node, "list").stdout, run(node, "list").stderr) == ("", "no locks are held\n")
    assert run(node, "list", "jobs/").stderr == "no such locks are held\n"
    assert run(node, "list", "-o", "json").stdout == "[]\n"


def test_list_by_prefix_and_owner(node: FakeNode) -> None:
    for name, owner in (("a/1", "ann"), ("a/2", "bob"), ("b/1", "ann")):
        run(node, "lock", name, "--owner", owner)
    assert [line.split()[0] for line in run(node, "list", "a/", "--owner", "ann").stdout.splitlines()] == [
        "NAME",
        "a/1",
    ]


def test_what_callers_sent_cannot_move_the_terminals_cursor(node: FakeNode) -> None:
    node.holds["x\u202ey"] = lockd_pb2.Holder(name="x\u202ey", token=5, owner="\x1b[2Jann\n", reason="\\")
    node.last_token = 5
    for output in (
        run(node, "list").output,
        run(node, "lock", "x\u202ey").output,
        run(node, "unlock", "x\u202ey").output,
    ):
        assert "\\x1b[2Jann\\n" in output
        assert "x\\u202ey" in output
        assert "\x1b" not in output
        assert "\u202e" not in output
    assert "lockd unlock $'x\\u202ey' --token 5" in run(node, "unlock", "x\u202ey").stderr


def test_status_of_a_cluster(node: FakeNode) -> None:
    with FakeNode(2) as second:
        node.peers = [
            lockd_pb2.Peer(node_id=2, address=second.endpoint, connected=True),
            lockd_pb2.Peer(node_id=3, address=NOWHERE, connected=False),
        ]
        options = [part for each in (node.endpoint, second.endpoint, NOWHERE) for part in ("--endpoint", each)]
        result = run(None, "status", *options)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["NODE", "ADDRESS", "ROLE", "LEADER", "TERM", "APPLIED", "CLOCK", "LOCKS", "LINK"]
    assert rows[1] == ["1", node.endpoint, "leader", "1", "3", "17", "16m", "40s", "0", "down", "to", "3"]
    assert rows[2] == ["2", second.endpoint, "follower", "1", "3", "17", "16m", "40s", "0", "-"]
    assert rows[3][:4] == ["?", NOWHERE, "no", "answer"]
    assert NOWHERE in result.stderr
    assert result.exit_code == 0


def test_status_without_a_leader(node: FakeNode) -> None:
    node.leader_id = 0
    result = run(node, "status")
    assert result.exit_code == 69
    assert "none" in result.stdout
    assert result.stderr.startswith("lockd: no node knows a leader")
    assert run(None, "status").exit_code == 69


@pytest.mark.parametrize(
    ("step", "code", "text"),
    [
        (Fail(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "ttl_ms is 5; it takes 2000"), 65, "it takes 2000"),
        (Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED"), 69, "a limit is reached"),
        (Fail(grpc.StatusCode.PERMISSION_DENIED), 77, "not allowed"),
        (Fail(grpc.StatusCode.UNAUTHENTICATED), 77, "does not know this caller"),
        (Fail(grpc.StatusCode.INTERNAL, "INTERNAL"), 75, "may or may not have been done"),
        (Fail(grpc.StatusCode.UNIMPLEMENTED, "", "x\x1by"), 70, "x\\x1by"),
    ],
)
def test_failures_have_their_exit_codes(node: FakeNode, step: Fail, code: int, text: str) -> None:
    node.before.append(step)
    result = run(node, "lock", "a")
    assert (result.exit_code, result.stdout) == (code, "")
    assert text in result.stderr
    assert result.stderr.startswith("lockd: ")


def test_an_outcome_that_is_not_known(node: FakeNode) -> None:
    node.after.extend([Fail(grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN")] * 50)
    assert run(node, "lock", "a", "--timeout", "0.4").exit_code == 75


def test_no_node(node: FakeNode) -> None:
    for arguments in (("lock", "a"), ("unlock", "a"), ("unlock", "a", "--token", "1"), ("list",)):
        result = run(None, *arguments, "--timeout", "0.3")
        assert (result.exit_code, result.stdout) == (69, "")
        assert NOWHERE in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("lock",),
        ("nothing",),
        ("lock", "a", "--ttl", "soon"),
        ("lock", "a", "--timeout", "0"),
        ("unlock", "a", "--token", "0"),
        ("unlock", "a", "--token", str(2**53)),
        ("list", "-o", "xml"),
        ("serve", "--id", "one"),
    ],
)
def test_a_wrong_command_line(arguments: tuple[str, ...]) -> None:
    assert run(None, *arguments).exit_code == 64


@pytest.mark.parametrize(
    "arguments",
    [
        ("lock", "a", "--ttl", "nan"),
        ("lock", "a", "--ttl", "-1"),
        ("lock", "\udcff"),
        ("unlock", "\udcff"),
        ("list", "\udcff"),
        ("lock", "a", "--endpoint", "host:port"),
        ("status", "--endpoint", "host:0"),
    ],
)
def test_values_out_of_bounds(node: FakeNode, arguments: tuple[str, ...]) -> None:
    assert run(node, *arguments).exit_code == 65


def test_version_and_help() -> None:
    assert run(None, "--version").output == f"lockd {lockd.__version__}\n"
    text = run(None, "--help").output
    assert run(None, "--help").exit_code == 0
    for line in ("69  no node answered", "75  it may or may not have been done", "78  the configuration is wrong"):
        assert line in text


def in_a_process(*arguments: str, code: str = "from lockd.cli import main; main()", **files: object) -> int:
    folders = os.pathsep.join([str(ROOT), str(Path(lockd_client.__file__).parents[1])])
    program = [sys.executable, "-c", code, *arguments]
    return subprocess.run(program, env={"PYTHONPATH": folders}, timeout=60, **files).returncode  # type: ignore[call-overload,no-any-return]


def test_a_token_that_cannot_be_printed_is_not_lost(node: FakeNode, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full, (tmp_path / "err").open("wb") as err:
        assert in_a_process("lock", "a", "--endpoint", node.endpoint, stdout=full, stderr=err) == 74
    lines = (tmp_path / "err").read_text().splitlines()
    assert lines[1] == "lockd unlock a --token 1"
    assert "No space left" in lines[2]
    assert len(lines) == 3


def test_a_reader_that_has_enough_is_no_error_to_tell_of(node: FakeNode, tmp_path: Path) -> None:
    run(node, "lock", "a")
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe, (tmp_path / "err").open("wb") as err:
        assert in_a_process("list", "--endpoint", node.endpoint, stdout=pipe, stderr=err) == 74
    assert (tmp_path / "err").read_text() == ""


def test_client_verbs_do_not_load_the_daemon() -> None:
    code = "import sys, lockd.cli; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    folders = os.pathsep.join([str(ROOT), str(Path(lockd_client.__file__).parents[1])])
    out = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": folders}, capture_output=True, text=True, check=True
    ).stdout
    assert not {"grpc", "plyvel", "pysyncobj", "structlog", "yaml", "google"} & set(out.split())


def test_lockapi_holds_are_listed_like_others(node: FakeNode) -> None:
    with lockd_client.LockdClient(port=node.port) as client:
        assert client.Lock("by-name")
    assert "by-name" in run(node, "list").stdout
    assert node.calls(lockapi_pb2.LockName)
