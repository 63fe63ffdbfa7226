"""lock, unlock and break against a small node: what they print, how they end, what they leave behind."""

import json
import os
import pty
import shlex
from pathlib import Path

import grpc
import pytest

from lockd_client.proto import lockd_pb2
from tests.cli.command import WITHIN_S, Process, run
from tests.client.fake_node import Fail, FakeNode
from tests.eventually import eventually

# ---- lock and unlock


def test_lock_list_unlock(node: FakeNode) -> None:
    locked = run(node, "lock", "jobs/nightly", "--ttl", "60", "--owner", "ann", "--reason", "the report")
    assert (locked.exit_code, locked.stdout, locked.stderr) == (0, "1\n", "")
    listed = run(node, "list")
    assert listed.exit_code == 0
    assert listed.stdout.splitlines() == [
        "NAME          TOKEN  OWNER  AGE  REMAINING  REASON",
        "jobs/nightly  1      ann    0s   1m00s      the report",
    ]
    unlocked = run(node, "unlock", "jobs/nightly", "--token", "1")
    assert (unlocked.exit_code, unlocked.output) == (0, "")
    assert not node.holds


def test_what_is_asked_for(node: FakeNode) -> None:
    options = ["--ttl", "60", "--lock-delay", "2.5", "--shared", "--reason", "why", "--owner", "ann"]
    run(node, "lock", "a", "b", *options)
    (request,) = node.calls(lockd_pb2.LockRequest)
    assert [(want.name, want.mode) for want in request.wants] == [("a", lockd_pb2.SHARED), ("b", lockd_pb2.SHARED)]
    assert (request.ttl_ms, request.lock_delay_ms, request.wait_ms, request.session_id) == (60_000, 2500, 0, 0)
    assert (request.reason, request.owner) == ("why", "ann")


@pytest.mark.parametrize(
    ("options", "wait_ms"),
    [
        ((), 0),
        (("--no-wait",), 0),
        (("--wait", "0"), 0),
        (("-w", "-1"), -1),
        (("--wait", "forever"), -1),
    ],
)
def test_how_long_it_waits(node: FakeNode, options: tuple[str, ...], wait_ms: int) -> None:
    assert run(node, "lock", "a", *options).exit_code == 0
    assert node.calls(lockd_pb2.LockRequest)[0].wait_ms == wait_ms


def test_several_are_taken_whole_with_one_token(node: FakeNode) -> None:
    assert run(node, "lock", "a", "b").stdout == "1\n"
    assert sorted(node.holds) == ["a", "b"]
    assert run(node, "lock", "b", "c").exit_code == 1
    assert sorted(node.holds) == ["a", "b"]


def test_a_lock_that_is_held(node: FakeNode) -> None:
    run(node, "lock", "a", "--ttl", "60", "--owner", "ann", "--reason", "tests")
    node.clock_ms += 192_000
    refused = run(node, "lock", "a")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "lockd: a is held by ann: for 3m12s, token 1, 1m00s remain, reason: tests\n"


def test_a_hold_without_a_ttl(node: FakeNode) -> None:
    run(node, "lock", "a", "--owner", "ann")
    assert "a is held by ann: for 0s, token 1, until it is unlocked" in run(node, "lock", "a").stderr
    assert "no ttl" in run(node, "list").stdout


def test_it_waits_for_its_turn(node: FakeNode) -> None:
    run(node, "lock", "a", "--owner", "ann")
    with Process(node, "lock", "a", "--wait", "60", "--owner", "bob") as waiting:
        eventually(lambda: node.state.waiters, WITHIN_S)
        assert "a: 1 waits" in run(node, "lock", "a").stderr
        node.lose(1)
        assert waiting.end() == (0, "2\n", "")
    assert node.holds["a"].owner == "bob"


def test_a_wait_that_is_over(node: FakeNode) -> None:
    run(node, "lock", "a", "--owner", "ann")
    with Process(node, "lock", "a", "--wait", "60", "-o", "json") as waiting:
        eventually(lambda: node.state.waiters, WITHIN_S)
        node.time_out()
        code, out, err = waiting.end()
    assert (code, json.loads(out)["outcome"]) == (1, "TIMED_OUT")
    assert err.startswith("lockd: a is held by ann")


def test_ctrl_c_leaves_the_queue(node: FakeNode) -> None:
    run(node, "lock", "a")
    with Process(node, "lock", "a", "--wait", "forever") as waiting:
        eventually(lambda: node.state.waiters, WITHIN_S)
        waiting.interrupt()
        assert waiting.end() == (130, "", "\nlockd: interrupted\n")
    assert not node.state.waiters
    assert node.calls(lockd_pb2.CancelRequest)


def test_who_was_in_the_way_and_is_not_any_more(node: FakeNode) -> None:
    run(node, "lock", "a")

    def gone(_context: object) -> None:
        node.lose(1)

    node.before.extend([lambda _: None, gone])  # Lock, then Get
    refused = run(node, "lock", "a")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "lockd: a: somebody was in the way, and is not any more; try again\n",
    )


def test_no_remains_no_where_the_reason_cannot_be_had(node: FakeNode) -> None:
    run(node, "lock", "a")
    node.before.extend([lambda _: None, Fail(grpc.StatusCode.PERMISSION_DENIED)])
    refused = run(node, "lock", "a")
    assert (refused.exit_code, refused.stderr) == (1, "lockd: a was not acquired\n")


def test_json(node: FakeNode) -> None:
    assert json.loads(run(node, "lock", "a", "--owner", "ann", "-o", "json").stdout)["token"] == 1
    again = run(node, "lock", "a", "-o", "json")
    assert again.exit_code == 1
    answer = json.loads(again.stdout)
    assert (answer["acquired"], answer["outcome"], answer["token"]) == (False, "HELD_BY_OTHER", 0)
    assert answer["in_the_way"][0]["holders"][0]["owner"] == "ann"
    wrong = run(node, "unlock", "a", "--token", "9", "-o", "json")
    assert (wrong.exit_code, json.loads(wrong.stdout)["released"]) == (1, False)
    assert json.loads(run(node, "unlock", "a", "--token", "1", "-o", "json").stdout)["outcome"] == "RELEASED"


def test_unlock_without_a_token_says_what_to_type(node: FakeNode) -> None:
    run(node, "lock", "it's mine", "--owner", "ann")
    refused = run(node, "unlock", "it's mine")
    assert (refused.exit_code, refused.stdout) == (64, "")
    assert "it's mine is held by ann" in refused.stderr
    line = refused.stderr.splitlines()[-1]
    assert line == "lockd break 'it'\"'\"'s mine' --token 1 --reason WHY"
    assert node.holds
    assert run(node, *shlex.split(line)[1:], "--yes").exit_code == 0
    assert not node.holds
    assert "is not held" in run(node, "unlock", "other").stderr


def test_the_line_to_type_for_a_name_that_looks_like_an_option(node: FakeNode) -> None:
    run(node, "lock", "--", "-x")
    line = run(node, "unlock", "--", "-x").stderr.splitlines()[-1]
    assert line == "lockd break --token 1 --reason WHY -- -x"
    assert run(node, "unlock", "--token", "1", "--", "-x").exit_code == 0


def test_unlocking_what_is_not_held(node: FakeNode) -> None:
    assert run(node, "unlock", "a", "--token", "7").stderr == "lockd: token 7 does not hold a\n"
    run(node, "lock", "a", "--owner", "ann")
    refused = run(node, "unlock", "a", "--token", "7")
    assert refused.exit_code == 1
    assert "a is held by ann" in refused.stderr


def test_a_token_that_cannot_be_printed_is_not_lost(node: FakeNode, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full, Process(node, "lock", "a", "b", stdout=full) as process:
        code, _, err = process.end()
    lines = err.splitlines()
    assert (code, len(lines)) == (74, 3)
    assert lines[1] == "lockd unlock a --token 1"
    assert "No space left" in lines[2]


# ---- break


def test_break_shows_the_holder_and_says_why(node: FakeNode) -> None:
    run(node, "lock", "a", "--owner", "ann", "--reason", "tests")
    broken = run(node, "break", "a", "--token", "1", "--reason", "ann has gone", "--owner", "ops", "--yes")
    assert (broken.exit_code, broken.stdout) == (0, "")
    assert broken.stderr == "a is held by ann: for 0s, token 1, until it is unlocked, reason: tests\n"
    (request,) = node.calls(lockd_pb2.UnlockRequest)
    assert (request.force, request.token, request.reason, request.owner) == (True, 1, "ann has gone", "ops")
    assert not node.holds


def test_break_as_json(node: FakeNode) -> None:
    run(node, "lock", "a")
    broken = run(node, "break", "a", "--token", "1", "--reason", "x", "--yes", "-o", "json")
    assert json.loads(broken.stdout) == {
        "name": "a",
        "token": 1,
        "released": True,
        "outcome": "RELEASED",
        "holders": [],
    }


def test_break_of_another_hold(node: FakeNode) -> None:
    run(node, "lock", "a", "--owner", "ann")
    refused = run(node, "break", "a", "--token", "7", "--reason", "x", "--yes")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.splitlines()[0] == "lockd: token 7 does not hold a"
    assert "a is held by ann" in refused.stderr
    assert node.holds


@pytest.mark.parametrize(
    "options",
    [
        ("--token", "1", "--yes"),
        ("--reason", "x", "--yes"),
        ("--token", "1", "--reason", " ", "--yes"),
        ("--token", "1", "--reason", "x"),  # and no terminal
    ],
)
def test_break_wants_a_token_and_a_reason_and_somebody_to_ask(node: FakeNode, options: tuple[str, ...]) -> None:
    run(node, "lock", "a")
    assert run(node, "break", "a", *options).exit_code == 64
    assert node.holds


@pytest.mark.parametrize(("typed", "code", "is_held"), [("y\n", 0, False), ("n\n", 1, True), ("\n", 1, True)])
def test_break_asks(node: FakeNode, typed: str, code: int, is_held: bool) -> None:
    run(node, "lock", "a", "--owner", "ann")
    ours, theirs = pty.openpty()
    with open(ours, "wb") as keyboard, open(theirs) as terminal:
        keyboard.write(typed.encode())
        keyboard.flush()
        with Process(node, "break", "a", "--token", "1", "--reason", "x", stdin=terminal) as process:
            ended, _, err = process.end()
    assert (ended, bool(node.holds)) == (code, is_held)
    assert err.startswith("a is held by ann: for 0s, token 1, until it is unlocked\nTake it away from ann? [y/N]: ")


def test_ctrl_c_at_the_question(node: FakeNode) -> None:
    run(node, "lock", "a")
    ours, theirs = pty.openpty()
    with (
        open(theirs) as terminal,
        Process(node, "break", "a", "--token", "1", "--reason", "x", stdin=terminal) as process,
    ):
        assert process.popen.stderr is not None
        process.popen.stderr.readline()
        process.interrupt_until_it_ends()
        code, _, err = process.end()
    os.close(ours)
    assert (code, bool(node.holds)) == (130, True)
    assert err.endswith("lockd: interrupted\n")
