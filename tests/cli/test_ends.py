"""How commands end where something is wrong: exit codes, messages, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

import lockd
import lockd_client
from lockd.cli import exits
from tests.cli.command import NOWHERE, ROOT, Process, Started, run
from tests.cli.stacks import MAIN
from tests.client.fake_node import Fail, FakeNode


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
    result = run(node, "unlock", "a", "--token", "1")
    assert (result.exit_code, result.stdout) == (code, "")
    assert text in result.stderr
    assert result.stderr.startswith("lockd: ")


def test_an_outcome_that_is_not_known(node: FakeNode) -> None:
    node.after.extend([Fail(grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN")] * 50)
    assert run(node, "lock", "a", "--timeout", "0.4").exit_code == 75


@pytest.mark.parametrize(
    "arguments",
    [
        ("lock", "a"),
        ("lock", "a", "--wait", "forever"),
        ("unlock", "a"),
        ("unlock", "a", "--token", "1"),
        ("list",),
        ("info", "a"),
        ("watch",),
        ("break", "a", "--token", "1", "--reason", "x", "--yes"),
    ],
)
def test_no_node(arguments: tuple[str, ...]) -> None:
    result = run(None, *arguments, "--timeout", "0.3")
    assert (result.exit_code, result.stdout) == (69, "")
    assert NOWHERE in result.stderr


def test_no_node_to_wait_by() -> None:
    result = run(None, "wait", "a", "--timeout", "0.1")
    assert (result.exit_code, result.stdout) == (69, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("lock",),
        ("nothing",),
        ("lock", "a", "--ttl", "soon"),
        ("lock", "a", "--wait", "soon"),
        ("lock", "a", "--no-wait", "--wait", "5"),
        ("lock", "a", "--timeout", "0"),
        ("unlock", "a", "--token", "0"),
        ("unlock", "a", "--token", str(2**53)),
        ("list", "-o", "xml"),
        ("list", "--mode", "odd"),
        ("info",),
        ("info", "a", "b"),
        ("wait", "a", "--timeout", "soon"),
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
        ("lock", "a", "--wait", "-2"),
        ("lock", "a", "--wait", "inf"),
        ("lock", "a", "--lock-delay", "-0.1"),
        ("lock", "a", "--endpoint", "host:port"),
        ("status", "--endpoint", "host:0"),
    ],
)
def test_values_out_of_bounds(node: FakeNode, arguments: tuple[str, ...]) -> None:
    assert run(node, *arguments).exit_code == 65


@pytest.mark.parametrize(
    "arguments",
    [
        ("lock", "a", "\udcff"),
        ("unlock", "\udcff"),
        ("info", "\udcff"),
        ("wait", "\udcff"),
        ("break", "\udcff", "--token", "1", "--reason", "x"),
        ("list", "\udcff"),
        ("list", "--owner", "\udcff"),
        ("watch", "\udcff"),
        ("lock", "a", "--reason", "\udcff"),
        ("lock", "a", "--owner", "\udcff"),
    ],
)
def test_bytes_that_are_no_text(node: FakeNode, arguments: tuple[str, ...]) -> None:
    """As Python hands them on from the command line."""
    refused = run(node, *arguments)
    assert (refused.exit_code, refused.stdout) == (65, "")
    assert "is not valid UTF-8: \\udcff" in refused.stderr
    assert not node.seen


def test_version_and_help() -> None:
    assert run(None, "--version").output == f"lockd {lockd.__version__}\n"
    assert run(None, "--help").exit_code == 0
    text = run(None, "--help").output
    for code, meaning in exits.MEANINGS.items():
        assert f"{code:>5}  {meaning}\n" in text


def test_a_reader_that_has_enough_is_no_error_to_tell_of(node: FakeNode) -> None:
    run(node, "lock", "a")
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe, Process(node, "list", stdout=pipe) as process:
        assert process.end() == (74, "", "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("nothing",), 64), (("lock", "a", "--ttl", "-1"), 65), (("unlock", "a", "--token", "1"), 69)],
)
@pytest.mark.parametrize("how", ["2>/dev/full", "2>&-", ">&- 2>&-"])
def test_errors_that_cannot_be_told_are_in_the_exit_code(
    node: FakeNode, arguments: tuple[str, ...], code: int, how: str
) -> None:
    """And are not told on stdout."""
    command = ("sh", "-c", f'exec "$@" {how}', "sh", sys.executable, "-c", MAIN, *arguments, "--timeout", "0.2")
    with Started(node, *command, env={"LOCKD_ENDPOINTS": NOWHERE, "PATH": os.environ["PATH"]}) as process:
        assert process.end() == (code, "", "")


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("lock", "--help"), ("list",)])
def test_output_that_cannot_be_written(node: FakeNode, arguments: tuple[str, ...]) -> None:
    run(node, "lock", "a")
    with open("/dev/full", "wb") as full, Process(node, *arguments, stdout=full) as process:
        assert process.end() == (74, "", "lockd: [Errno 28] No space left on device\n")


def test_names_that_a_terminal_cannot_show(node: FakeNode) -> None:
    run(node, "lock", "café/東京", "--owner", "ann")
    code = "import sys; sys.stdout.reconfigure(encoding='latin-1'); from lockd.cli import main; main()"
    folders = os.pathsep.join([str(ROOT), str(Path(lockd_client.__file__).parents[1])])
    program = [sys.executable, "-c", code, "list", "--endpoint", node.endpoint]
    done = subprocess.run(program, env={"PYTHONPATH": folders}, capture_output=True, check=True)
    assert b"caf\xe9/\\u6771\\u4eac" in done.stdout


def test_client_verbs_do_not_load_the_daemon() -> None:
    code = "import sys, lockd.cli; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    folders = os.pathsep.join([str(ROOT), str(Path(lockd_client.__file__).parents[1])])
    out = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": folders}, capture_output=True, text=True, check=True
    ).stdout
    assert not {"grpc", "plyvel", "pysyncobj", "structlog", "yaml", "google"} & set(out.split())
