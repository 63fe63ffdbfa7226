"""`lockd run` where little is left to it: a terminal that has gone or is another's, a command that it may not signal,
files that are closed, a signal between the grant and the command's beginning.
"""

import os
import queue
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import psutil
import pytest

from lockd_client import LockdClient
from lockd_client.proto import lockd_pb2
from tests.cli.command import WITHIN_S, Started
from tests.cli.stacks import MAIN
from tests.cli.test_run import ENDLESS, on_a_terminal, quoted, shell
from tests.client.fake_node import Fail, FakeNode
from tests.eventually import eventually

NOBODY = 65534


def lockd_run(script: str, *options: str) -> tuple[str, ...]:
    return run_of(("sh", "-c", script), *options)


def run_of(command: tuple[str, ...], *options: str, code: str = MAIN) -> tuple[str, ...]:
    return (sys.executable, "-c", code, "run", "a", *options, "--", *command)


def redirected(command: tuple[str, ...], how: str, first: str = "") -> tuple[str, ...]:
    """By a shell that becomes it."""
    return ("sh", "-c", f'{first}exec "$@" {how}', "sh", *command)


def renews_from_now_on(node: FakeNode) -> bool:
    before = len(node.calls(lockd_pb2.RenewRequest))
    return eventually(lambda: len(node.calls(lockd_pb2.RenewRequest)) > before, WITHIN_S)


# ---- a terminal that hangs up


def test_a_terminal_that_hangs_up_ends_the_command(node: FakeNode, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with on_a_terminal(node, *redirected(lockd_run(f"echo ready; {ENDLESS}"), f"2>{said}")) as terminal:
        terminal.sees("ready")
        terminal.hang_up()
        assert (terminal.ends_with(), said.read_text()) == (128 + signal.SIGHUP, "")
    assert not node.holds


@pytest.mark.parametrize("first", ["", "trap '' HUP; "], ids=["the command ignores it", "both do, as under nohup"])
def test_a_command_that_does_not_mind_a_hangup_holds_the_lock_until_it_ends(
    node: FakeNode, tmp_path: Path, first: str
) -> None:
    end, said = tmp_path / "end", tmp_path / "said"
    script = f"trap '' HUP; echo ready; until [ -e {end} ]; do sleep 0.05; done; exit 5"
    with on_a_terminal(node, *redirected(lockd_run(script, "--ttl", "6"), f"2>{said}", first)) as terminal:
        terminal.sees("ready")
        terminal.hang_up()
        assert renews_from_now_on(node)
        end.touch()
        assert (terminal.ends_with(), said.read_text()) == (5, "")
    assert not node.holds


def test_a_shell_whose_terminal_hangs_up_takes_the_command_with_it(node: FakeNode, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with shell(node) as terminal:
        terminal.type(quoted(lockd_run(f'echo re"ad"y; {ENDLESS}')) + f" 2>{said}\n")
        terminal.sees("ready")
        terminal.hang_up()
        eventually(lambda: not node.holds, WITHIN_S)
    assert said.read_text() == ""


def test_a_hangup_while_it_waits_takes_it_out_of_the_queue(node: FakeNode, tmp_path: Path) -> None:
    ran, said = tmp_path / "ran", tmp_path / "said"
    with LockdClient(port=node.port) as client:
        client.try_lock("a", ttl=0)
        with on_a_terminal(node, *redirected(lockd_run(f"touch {ran}"), f"2>{said}")) as terminal:
            eventually(lambda: node.state.waiters, WITHIN_S)
            terminal.hang_up()
            assert (terminal.ends_with(), said.read_text().strip()) == (130, "lockd: interrupted")
    assert not node.state.waiters
    assert not ran.exists()


def test_under_nohup_it_goes_on_waiting(node: FakeNode, tmp_path: Path) -> None:
    ran, said = tmp_path / "ran", tmp_path / "said"
    with LockdClient(port=node.port) as client:
        held = client.try_lock("a", ttl=0)
        run = lockd_run(f"touch {ran}")
        with on_a_terminal(node, *redirected(run, f"2>{said}", "trap '' HUP; ")) as terminal:
            eventually(lambda: node.state.waiters, WITHIN_S)
            terminal.hang_up()
            client.unlock(held.token)
            assert (terminal.ends_with(), said.read_text()) == (0, "")
    assert ran.exists()


def test_a_loss_that_cannot_be_told_to_a_terminal_that_hung_up_is_in_the_exit_code(node: FakeNode) -> None:
    with on_a_terminal(node, *lockd_run(f"trap '' HUP; echo ready; {ENDLESS}", "--ttl", "3")) as terminal:
        terminal.sees("ready")
        terminal.hang_up()
        node.lose(node.holds["a"].token)
        assert terminal.ends_with() == 75


def test_so_is_that_it_was_interrupted_while_it_waited(node: FakeNode) -> None:
    with LockdClient(port=node.port) as client:
        client.try_lock("a", ttl=0)
        with on_a_terminal(node, *lockd_run("true")) as terminal:
            eventually(lambda: node.state.waiters, WITHIN_S)
            terminal.hang_up()
            assert terminal.ends_with() == 130


def test_a_release_that_failed_does_not_change_the_commands_exit_code(node: FakeNode) -> None:
    """Nor does that it cannot be told."""
    with Started(node, *redirected(lockd_run("echo; read x; exit 5", "--timeout", "1"), "2>/dev/full")) as process:
        process.line()
        node.stop()
        assert process.end()[0] == 5


# ---- a terminal that is another's


def test_who_called_it_has_the_terminal_again_once_it_has_ended(node: FakeNode) -> None:
    """A shell without job control does not take it back by itself."""
    script = '"$@"; read x; echo "g"ot "$x"'
    with on_a_terminal(node, "sh", "-c", script, "sh", *lockd_run("read x; echo ready")) as terminal:
        terminal.type("first\n")
        terminal.sees("ready")
        terminal.type("second\n")
        terminal.sees("got second")
        assert terminal.ends_with() == 0


def test_a_terminal_that_is_another_sessions_can_be_read_from(node: FakeNode) -> None:
    """As under setsid(1): there is no foreground to give to the command, nor to take back."""
    here, there = os.openpty()
    run = lockd_run('[ -t 0 ] && read x && [ "$x" = hello ] && exit 7')
    try:
        with Started(node, *run, stdin=there, stdout=subprocess.DEVNULL, start_new_session=True) as process:
            os.write(here, b"hello\n")
            assert process.end() == (7, "", "")
    finally:
        os.close(here)
        os.close(there)
    assert not node.holds


@pytest.mark.parametrize(
    "how",
    [
        "--wait",
        pytest.param(
            "--ctty --wait",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="root alone may take a terminal from its session"),
        ),
    ],
)
def test_a_command_that_starts_a_session_of_its_own(node: FakeNode, tmp_path: Path, how: str) -> None:
    """With --ctty it takes the terminal there, which hangs up at its end."""
    said = tmp_path / "said"
    run = lockd_run(f"exec setsid {how} sh -c 'echo ready; read x; exit 7'")
    with on_a_terminal(node, *redirected(run, f"2>{said}")) as terminal:
        terminal.sees("ready")
        terminal.type("\n")
        assert (terminal.ends_with(), said.read_text()) == (7, "")
    assert not node.holds


# ---- a command that may not be ended, or that was stopped


def of_another_user(script: str) -> tuple[str, ...]:
    """By root without the right to signal all users' processes."""
    becomes = ("setpriv", f"--reuid={NOBODY}", "--clear-groups", "sh", "-c", script)
    return ("setpriv", "--bounding-set=-kill", *run_of(becomes, "--ttl", "3"))


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone becomes another user")


@as_root
def test_a_command_of_another_user_is_waited_for(node: FakeNode) -> None:
    with Started(node, *of_another_user("echo $$; read x; exit 6")) as process:
        command = int(process.line())
        assert psutil.Process(command).uids().real == NOBODY
        process.popen.send_signal(signal.SIGTERM)
        assert renews_from_now_on(node)
        assert process.end() == (6, "", "")
    assert not node.holds


@as_root
def test_a_command_of_another_user_may_outlive_the_lock_but_not_end_well(node: FakeNode) -> None:
    with Started(node, *of_another_user("echo ready; read x; exit 0")) as process:
        process.line()
        node.lose(node.holds["a"].token)
        assert renews_from_now_on(node)
        code, _, stderr = process.end()
        assert (code, stderr[:24]) == (75, "lockd: the lock was lost")


def test_a_command_that_was_stopped_is_told_to_end_too(node: FakeNode) -> None:
    script = f"trap 'exit 0' TERM; echo $$; kill -STOP $$; {ENDLESS}"
    with Started(node, *lockd_run(script, "--ttl", "6", "--grace", "3", "--timeout", "3")) as process:
        command = psutil.Process(int(process.line()))
        eventually(lambda: command.status() == psutil.STATUS_STOPPED, WITHIN_S)
        node.stop()
        assert process.popen.wait(WITHIN_S) == 75
        assert "the lock could not be renewed, and the command was told to end" in process.popen.communicate()[1]


# ---- files that are closed, or cannot be written to


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_what_is_closed_is_closed_for_the_command_too(node: FakeNode, closed: tuple[int, ...]) -> None:
    script = "".join(f"[ ! -e /proc/$$/fd/{fd} ] && " for fd in closed) + "exit 7"
    with Started(node, *redirected(lockd_run(script), " ".join(f"{fd}>&-" for fd in closed))) as process:
        assert process.end() == (7, "", "")
    assert not node.holds


@pytest.mark.parametrize("how", ["2>&-", "2>/dev/full"])
def test_a_file_that_is_no_program_where_nobody_can_be_told(node: FakeNode, tmp_path: Path, how: str) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)
    with Started(node, *redirected(run_of((str(program),)), how)) as process:
        assert process.end() == (126, "", "")
    assert not node.holds


# ---- a signal between the grant and the command's beginning


def ran_nothing(node: FakeNode, process: Started) -> None:
    """Though the lock was granted, which is given back."""
    code, stdout, stderr = process.end()
    assert (code, stdout, stderr.strip()) == (130, "", "lockd: interrupted")
    assert node.state.last_token
    eventually(lambda: not node.holds, WITHIN_S)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_grant_is_on_its_way(node: FakeNode, number: signal.Signals) -> None:
    process_of_it: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
    node.after.append(lambda _context: process_of_it.get().send_signal(number))
    with Started(node, *lockd_run("echo ran")) as process:
        process_of_it.put(process.popen)
        ran_nothing(node, process)


SIGNALLED_AT = """
import os, signal, sys

from lockd.cli import main

def look(frame, event, _):
    if (event, frame.f_code.co_qualname) == {place}:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGTERM)

sys.setprofile(look)
main()
"""


def signalled_at(event: str, function: str) -> tuple[str, ...]:
    """By itself, where its main thread enters or leaves the function for the first time."""
    return run_of(("echo", "ran"), code=SIGNALLED_AT.format(place=(event, function)))


@pytest.mark.parametrize(
    "place",
    [
        ("return", "Lock.acquire"),
        ("return", "Attempt.make"),
        ("call", "Lock.on_lost"),
        ("return", "Lock.on_lost"),
        ("call", "Child.go"),
    ],
    ids=" ".join,
)
def test_a_signal_between_the_grant_and_the_commands_beginning_gives_the_lock_back(
    node: FakeNode, place: tuple[str, str]
) -> None:
    with Started(node, *signalled_at(*place)) as process:
        ran_nothing(node, process)


def test_a_signal_as_the_command_is_about_to_begin_ends_it(node: FakeNode) -> None:
    """It is the command's from then on: 128 and the signal's number, though nothing of it ran."""
    with Started(node, *signalled_at("call", "_packed")) as process:
        assert process.end() == (128 + signal.SIGTERM, "", "")
    assert not node.holds


# ---- an error of its own, while the command runs

RAISES = """
import sys, threading

from lockd.cli import main
from lockd.cli.child import Child

def look(frame, event, _):
    if (event, frame.f_code.co_qualname) == ("call", "Child.look"):
        sys.setprofile(None)
        raise RuntimeError("as the test asked")

kill = Child.signal
Child.signal = lambda child, number: threading.Timer(1.0, kill, (child, number)).start()  # as one that is slow to die
sys.setprofile(look)
main()
"""


def test_an_error_of_its_own_ends_the_command_before_the_lock_is_released(node: FakeNode) -> None:
    ran_at_the_release: list[list[psutil.Process]] = []

    def look(_context: object) -> None:
        ran_at_the_release.append(psutil.Process(process.popen.pid).children())

    node.before.extend([lambda _context: None, look])
    with Started(node, *run_of(("sh", "-c", ENDLESS), code=RAISES)) as process:
        code, _, stderr = process.end()
    assert (code, stderr.splitlines()[-1]) == (1, "RuntimeError: as the test asked")
    assert ran_at_the_release == [[]]
    assert not node.holds


def test_a_release_that_fails_does_not_hide_it(node: FakeNode) -> None:
    node.before.extend([lambda _context: None, Fail(grpc.StatusCode.PERMISSION_DENIED)])
    with Started(node, *run_of(("sh", "-c", ENDLESS), code=RAISES)) as process:
        code, _, stderr = process.end()
    assert (code, stderr.splitlines()[-1]) == (1, "RuntimeError: as the test asked")


# ---- a loss that is told late

TOLD_LATE = """
import os, select, sys

from lockd.cli import main

told = []

def look(frame, event, _):
    if (event, frame.f_code.co_qualname) == ("call", "Lock.on_lost"):
        told.append(frame.f_locals["callback"])

sys.setprofile(look)
try:
    main()
finally:
    sys.setprofile(None)
    others = [os.pipe() for _ in range(20)]
    for each in told:
        each()
    print(len(told), select.select([end for end, _ in others], [], [], 0)[0])
"""


def test_a_loss_that_is_told_after_its_end_is_written_to_no_other_file(node: FakeNode) -> None:
    with Started(node, *run_of(("true",), code=TOLD_LATE)) as process:
        assert process.end() == (0, "1 []\n", "")
