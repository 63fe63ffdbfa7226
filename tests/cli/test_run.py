"""`lockd run`: the command's ends, its signals and terminal, and what becomes of it when the lock is lost."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from lockd_client import LockdClient
from lockd_client.proto import lockd_pb2
from tests.cli.command import FOLDERS, NOWHERE, Process, Started
from tests.cli.stacks import MAIN
from tests.cli.terminal import Terminal
from tests.client.fake_node import FakeNode
from tests.eventually import eventually

WITHIN_S = 30.0
ENDLESS = "while :; do sleep 0.05; done"


def ended(node: FakeNode, *arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `lockd run`."""
    with Process(node, "run", *arguments, stdin=subprocess.PIPE, env=env) as process:
        stdout, stderr = process.popen.communicate(stdin, timeout=WITHIN_S)
        return process.popen.returncode, stdout, stderr


def starts(node: FakeNode, script: str, *options: str, trap: str = "") -> Process:
    """Once it runs, and minds signals as the trap says: its first line is read."""
    trapped = f"trap {trap}; " if trap else ""
    with ExitStack() as ends:
        process = Process(node, "run", *options, "a", "--", "sh", "-c", f"{trapped}echo $$; {script}")
        ends.enter_context(process)
        assert process.line().strip().isdigit()
        ends.pop_all()
    return process


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


# ---- how it ends


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_the_commands_exit_code_is_passed_on(node: FakeNode, script: str, code: int) -> None:
    assert ended(node, "a", "--", "sh", "-c", script) == (code, "", "")
    assert not node.holds


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("a",), 64, "Say what to run"),
        (("--", "true"), 64, "Missing argument"),
        (("a", "-n", "-w", "5", "--", "true"), 64, "exclude each other"),
        (("a", "--ttl", "0", "--", "true"), 65, "--ttl is 0"),
        (("a", "--ttl", "10", "--grace", "6", "--", "true"), 65, "--grace is 6; with a ttl of 10 it is at most 5"),
        (("a", "--", "no-such-command"), 127, "no-such-command: not found"),
        (("a", "--", "/"), 127, "/: not found, or not to be executed"),
    ],
)
def test_what_is_wrong_is_said_before_the_lock_is_taken(
    node: FakeNode, arguments: tuple[str, ...], code: int, text: str
) -> None:
    ending = ended(node, *arguments)
    assert ending[:2] == (code, "")
    assert text in ending[2]
    assert not node.calls(lockd_pb2.LockRequest)


def test_a_file_that_is_no_program(node: FakeNode, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)
    code, _, stderr = ended(node, "a", "--", str(program))
    assert (code, stderr) == (126, f"lockd: {program}: Exec format error\n")
    assert not node.holds


def test_a_lock_that_is_held_by_another(node: FakeNode) -> None:
    with LockdClient(port=node.port) as client:
        client.try_lock("a", ttl=0, owner="ann")
        code, stdout, stderr = ended(node, "-n", "a", "--", "echo", "ran")
        assert (code, stdout) == (1, "")
        assert "a is held by ann" in stderr
        assert ended(node, "-n", "-E", "9", "a", "--", "echo", "ran")[:2] == (9, "")
        assert ended(node, "-w", "0", "-E", "9", "a", "--", "echo", "ran")[:2] == (9, "")


def test_where_there_is_no_node_the_command_does_not_run(node: FakeNode) -> None:
    code, stdout, stderr = ended(node, "a", "--", "echo", "ran", env={"LOCKD_ENDPOINTS": NOWHERE})
    assert (code, stdout) == (69, "")
    assert "no node answered" in stderr


def test_it_waits_for_its_turn(node: FakeNode) -> None:
    with LockdClient(port=node.port) as client:
        held = client.try_lock("a", ttl=0)
        with Process(node, "run", "a", "--", "echo", "ran") as process:
            eventually(lambda: node.state.waiters, WITHIN_S)
            client.unlock(held.token)
            assert process.popen.communicate(timeout=WITHIN_S)[0] == "ran\n"
            assert process.popen.returncode == 0


# ---- what the command gets


def test_the_command_knows_the_lock_and_its_fencing_token(node: FakeNode) -> None:
    script = 'echo "$LOCKD_NAME $LOCKD_FENCE $GRPC_VERBOSITY"; cat'
    assert ended(node, "a", "--", "sh", "-c", script, stdin="given") == (0, "a 1 \ngiven", "")


def test_it_holds_what_it_was_asked_for(node: FakeNode) -> None:
    ended(node, "-s", "a", "b", "--ttl", "20", "--owner", "ann", "--lock-delay", "3", "--", "true")
    (request,) = node.calls(lockd_pb2.LockRequest)
    assert [(want.name, want.mode) for want in request.wants] == [("a", lockd_pb2.SHARED), ("b", lockd_pb2.SHARED)]
    assert (request.ttl_ms, request.owner, request.reason, request.lock_delay_ms) == (20_000, "ann", "true", 3000)


def test_of_several_locks_it_knows_each_on_a_line(node: FakeNode) -> None:
    assert ended(node, "a b", "c", "--", "sh", "-c", 'echo "$LOCKD_NAME"') == (0, "a b\nc\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_signal_is_ignored_or_blocked_for_it(node: FakeNode) -> None:
    """But those that were before."""
    looks = ("grep", "^Sig[IB]", "/proc/self/status")
    assert ended(node, "a", "--", *looks)[1] == subprocess.run(looks, capture_output=True, text=True).stdout


# ---- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on_to_all_that_it_started(node: FakeNode, number: signal.Signals) -> None:
    with starts(node, f"sh -c '{ENDLESS}'; exit 3") as process:
        process.popen.send_signal(number)
        assert process.popen.wait(WITHIN_S) == 128 + number
        eventually(lambda: not node.holds, WITHIN_S)


def test_a_command_that_minds_a_signal_ends_as_it_likes(node: FakeNode) -> None:
    with starts(node, ENDLESS, trap="'exit 5' TERM") as process:
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(WITHIN_S) == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_while_it_waits_it_leaves_the_queue_and_nothing_runs(
    node: FakeNode, number: signal.Signals
) -> None:
    with LockdClient(port=node.port) as client:
        client.try_lock("a", ttl=0)
        with Process(node, "run", "a", "--", "echo", "ran") as process:
            eventually(lambda: node.state.waiters, WITHIN_S)
            process.popen.send_signal(number)
            stdout, stderr = process.popen.communicate(timeout=WITHIN_S)
            assert (process.popen.returncode, stdout, stderr.strip()) == (130, "", "lockd: interrupted")
        eventually(lambda: not node.state.waiters, WITHIN_S)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not end the children of what is killed")
def test_the_command_does_not_outlive_lockd_run(node: FakeNode) -> None:
    with Process(node, "run", "a", "--", "sh", "-c", f"trap '' TERM HUP; echo $$; {ENDLESS}") as process:
        command = int(process.line())
        process.popen.kill()
        eventually(lambda: not is_alive(command), WITHIN_S)


# ---- the loss of the lock


def test_without_a_node_it_is_told_to_end_and_killed_in_time(node: FakeNode, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = f"trap 'echo told > {told}' TERM; sh -c 'trap \"\" TERM; echo $$; {ENDLESS}' & {ENDLESS}"
    with Process(node, "run", "--ttl", "2", "--timeout", "3", "a", "--", "sh", "-c", script) as process:
        below = int(process.line())
        node.stop()
        assert process.popen.wait(WITHIN_S) == 75
        assert "the lock was lost, and the command was killed" in process.popen.communicate()[1]
        assert told.read_text() == "told\n"
        eventually(lambda: not is_alive(below), WITHIN_S)


def test_a_command_that_ends_when_it_is_told_to(node: FakeNode) -> None:
    with starts(node, ENDLESS, "--ttl", "2", "--grace", "1", "--timeout", "3", trap="'exit 0' TERM") as process:
        node.stop()
        assert process.popen.wait(WITHIN_S) == 75
        assert "the lock could not be renewed, and the command was told to end" in process.popen.communicate()[1]


def test_what_the_command_has_started_does_not_outlive_the_lock(node: FakeNode) -> None:
    """The command ends when it is told to; what it has started does not mind."""
    script = f"sh -c 'trap \"\" TERM; echo $$; {ENDLESS}' & trap 'exit 0' TERM; {ENDLESS}"
    options = ("--ttl", "2", "--grace", "1", "--timeout", "3")
    with Process(node, "run", *options, "a", "--", "sh", "-c", script) as process:
        below = int(process.line())
        node.stop()
        assert process.popen.wait(WITHIN_S) == 75
        eventually(lambda: not is_alive(below), WITHIN_S)


def test_a_parent_that_ignores_the_ends_of_its_children(node: FakeNode) -> None:
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    arguments = [sys.executable, "-c", ignoring, *lockd_run("exit 7")]
    with Started(node, *arguments) as process:
        assert process.end()[0] == 7


def test_a_lock_that_was_broken_ends_it_at_once(node: FakeNode) -> None:
    with starts(node, ENDLESS, "--ttl", "3", trap="'' TERM") as process:
        node.lose(node.holds["a"].token)
        assert process.popen.wait(WITHIN_S) == 75
        assert "the lock was lost, and the command was killed" in process.popen.communicate()[1]


def test_a_loss_that_is_seen_after_the_command_has_ended(node: FakeNode) -> None:
    with Process(node, "run", "a", "--", "sh", "-c", "echo $$; read line", stdin=subprocess.PIPE) as process:
        process.line()
        node.lose(node.holds["a"].token)
        _, stderr = process.popen.communicate("\n", timeout=WITHIN_S)
        assert (process.popen.returncode, stderr) == (75, "lockd: the lock was lost before the command had ended\n")


# ---- the terminal


def on_a_terminal(node: FakeNode, *command: str) -> Terminal:
    env = {"PYTHONPATH": FOLDERS, "LOCKD_ENDPOINTS": node.endpoint, "PATH": os.environ["PATH"], "PS1": "$ "}
    return Terminal(command, env | {"LC_ALL": "C.UTF-8", "TERM": "dumb", "HISTFILE": ""})


def lockd_run(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", MAIN, "run", "a", "--", "sh", "-c", script)


def test_the_command_reads_from_the_terminal(node: FakeNode) -> None:
    with on_a_terminal(node, *lockd_run('echo ready; read x; echo "got $x"')) as terminal:
        terminal.sees("ready")
        terminal.type("hello\n")
        terminal.sees("got hello")
        assert terminal.ends_with() == 0


def test_ctrl_c_ends_the_command(node: FakeNode) -> None:
    with on_a_terminal(node, *lockd_run(f"echo ready; {ENDLESS}")) as terminal:
        terminal.sees("ready")
        terminal.type("\x03")
        assert terminal.ends_with() == 130
    eventually(lambda: not node.holds, WITHIN_S)


def shell(node: FakeNode) -> Terminal:
    """One with job control."""
    return on_a_terminal(node, "bash", "--norc", "--noprofile", "--noediting", "-i")


def quoted(command: tuple[str, ...]) -> str:
    return " ".join(f"'{word}'" for word in command)


def test_ctrl_z_stops_it_and_fg_lets_it_go_on(node: FakeNode) -> None:
    with shell(node) as terminal:
        terminal.type(quoted(lockd_run('echo re"ad"y; read x; echo "g"ot $x')) + "\n")
        terminal.sees("ready")
        terminal.type("\x1a")
        terminal.sees("Stopped")
        terminal.type("fg\n")
        terminal.sees("fg")
        terminal.type("hello\n")
        terminal.sees("got hello")
    eventually(lambda: not node.holds, WITHIN_S)


def test_a_command_in_a_pipeline_can_be_typed_to(node: FakeNode) -> None:
    with shell(node) as terminal:
        terminal.type(quoted(lockd_run('read x; echo "g"ot $x')) + ' | cat; echo do"ne"\n')
        eventually(lambda: node.holds, WITHIN_S)
        terminal.type("hello\n")
        terminal.sees("got hello")
        terminal.sees("done")
