"""`lockd run` and a shell's job control: what stops it stops the command, and who wants the terminal gets it."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from tests.cli.command import WITHIN_S
from tests.cli.terminal import Terminal
from tests.cli.test_run import quoted, shell
from tests.cli.test_run_ends import as_root, lockd_run, of_another_user, redirected, renews_from_now_on, run_of
from tests.client.fake_node import FakeNode
from tests.eventually import eventually

CTRL_Z = "\x1a"


@pytest.fixture
def end(tmp_path: Path) -> Path:
    """A file that a command waits for."""
    return tmp_path / "end"


def until(end: Path, script: str = "") -> str:
    """It has said which process it is, in a file beside."""
    return f"echo $$ $PPID > {end}.new; mv {end}.new {end}.of; until [ -e {end} ]; do {script} sleep 0.05; done"


def processes(end: Path) -> tuple[psutil.Process, psutil.Process]:
    """The command, and `lockd run`."""
    said = Path(f"{end}.of")
    eventually(said.exists, WITHIN_S)
    command, run = said.read_text().split()
    return psutil.Process(int(command)), psutil.Process(int(run))


def is_stopped(process: psutil.Process) -> bool:
    """Or what it waits for: a shell may be at the point of starting a program."""
    return psutil.STATUS_STOPPED in [each.status() for each in (process, *process.children())]


def passed(seconds: float) -> None:
    """So many have."""
    end = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > end, WITHIN_S)


@contextmanager
def in_background_then_foreground(node: FakeNode, run: str, end: Path) -> Iterator[Terminal]:
    with shell(node) as terminal:
        terminal.type(f"{run} &\n")
        processes(end)
        terminal.type('fg; echo "co"de $?\n')
        eventually(lambda: terminal.group() != terminal.pid, WITHIN_S)
        yield terminal


# ---- what stops it stops the command


def test_in_a_pipeline_the_command_is_stopped_with_it(node: FakeNode, end: Path) -> None:
    with shell(node) as terminal:
        terminal.type(quoted(lockd_run(until(end) + '; echo "do"ne')) + " | cat\n")
        command, _ = processes(end)
        terminal.type(CTRL_Z)
        terminal.sees("Stopped")
        eventually(lambda: is_stopped(command), WITHIN_S)
        end.touch()
        terminal.type("fg\n")
        terminal.sees("done")
    eventually(lambda: not node.holds, WITHIN_S)


def test_so_it_is_where_it_came_from_the_background(node: FakeNode, end: Path) -> None:
    with in_background_then_foreground(node, quoted(lockd_run(until(end) + "; exit 3")), end) as terminal:
        command, _ = processes(end)
        terminal.type(CTRL_Z)
        terminal.sees("Stopped")
        eventually(lambda: is_stopped(command), WITHIN_S)
        end.touch()
        terminal.type('fg; echo "co"de $?\n')
        terminal.sees("code 3")


def test_a_command_that_ignores_the_signal_is_stopped_too(node: FakeNode, end: Path) -> None:
    with shell(node) as terminal:
        terminal.type(quoted(lockd_run('trap "" TSTP; ' + until(end))) + " | cat\n")
        command, _ = processes(end)
        terminal.type(CTRL_Z)
        terminal.sees("Stopped")
        eventually(lambda: is_stopped(command), WITHIN_S)


def test_a_command_that_is_stopped_alone_keeps_its_lock(node: FakeNode, end: Path) -> None:
    """As by a debugger. Whoever has it go on tells it, and not `lockd run`."""
    with shell(node) as terminal:
        terminal.type(quoted(lockd_run(until(end) + '; echo "do"ne', "--ttl", "6")) + "\n")
        command, run = processes(end)
        command.send_signal(signal.SIGSTOP)
        eventually(lambda: is_stopped(command), WITHIN_S)
        renews_from_now_on(node)
        assert run.status() != psutil.STATUS_STOPPED
        command.send_signal(signal.SIGCONT)
        end.touch()
        terminal.sees("done")


@pytest.mark.parametrize("inside", ['exec "$@"', '"$@"; true'], ids=["the command", "in a script"])
def test_another_lockd_run_in_it_stops_its_command_too(node: FakeNode, end: Path, inside: str) -> None:
    inner = run_of(("sh", "-c", until(end)))
    outer = run_of(("sh", "-c", inside, "sh", *(word if word != "a" else "b" for word in inner)))
    with shell(node) as terminal:
        terminal.type(f"{quoted(outer)} | cat\n")
        command, _ = processes(end)
        assert set(node.holds) == {"a", "b"}
        terminal.type(CTRL_Z)
        terminal.sees("Stopped")
        eventually(lambda: is_stopped(command), WITHIN_S)
        end.touch()
        terminal.type("fg\n")
        eventually(lambda: not node.holds, WITHIN_S)


def test_a_command_that_was_given_the_terminal_in_a_pipeline_stops_all_of_it(node: FakeNode) -> None:
    with shell(node) as terminal:
        terminal.type(quoted(lockd_run('read x; echo "g"ot $x; read y; echo "th"en $y')) + " | cat\n")
        eventually(lambda: node.holds, WITHIN_S)
        terminal.type("hello\n")
        terminal.sees("got hello")
        terminal.type(CTRL_Z)
        terminal.sees("Stopped")
        terminal.type("fg\n")
        terminal.type("again\n")
        terminal.sees("then again")


def test_lost_while_it_was_stopped_the_command_does_not_go_on(node: FakeNode, end: Path, tmp_path: Path) -> None:
    went_on = tmp_path / "went_on"
    run = lockd_run(until(end, f"echo >> {went_on};"), "--ttl", "2", "--timeout", "3")
    with in_background_then_foreground(node, quoted(run), end) as terminal:
        command, _ = processes(end)
        terminal.type(CTRL_Z)
        terminal.sees("Stopped")
        eventually(lambda: is_stopped(command), WITHIN_S)
        before = went_on.read_text()
        passed(2.0)  # the ttl
        terminal.type('fg; echo "co"de $?\n')
        terminal.sees("the lock was lost, and the command was killed")
        terminal.sees("code 75")
        assert went_on.read_text() == before


@as_root
def test_where_the_command_may_not_be_stopped_nothing_of_the_job_is(node: FakeNode) -> None:
    """It would go on without anybody to renew the lock."""
    with shell(node) as terminal, TemporaryDirectory() as for_all:
        Path(for_all).chmod(0o755)
        end = Path(for_all, "end")
        run = of_another_user(f'echo re"ad"y; until [ -e {end} ]; do sleep 0.05; done; echo over')
        terminal.type(quoted(run) + " | cat\n")
        terminal.sees("ready")
        terminal.type(CTRL_Z)
        terminal.sees("^Z")
        assert renews_from_now_on(node)
        end.touch()
        terminal.sees("over")
        eventually(lambda: not node.holds, WITHIN_S)


def test_a_signal_that_was_ignored_before_is_ignored(node: FakeNode, end: Path) -> None:
    run = redirected(lockd_run(until(end), "--ttl", "3"), "", 'trap "" TSTP; ')
    with shell(node) as terminal:
        terminal.type(quoted(run) + " | cat\n")
        processes(end)
        terminal.type(CTRL_Z)
        terminal.sees("^Z")
        assert renews_from_now_on(node)
        end.touch()
        eventually(lambda: not node.holds, WITHIN_S)


def test_where_no_shell_could_let_it_go_on_it_tries_again_in_peace(node: FakeNode, end: Path) -> None:
    """A group that no shell looks after is never stopped; its command, which has a group of its own, may be."""
    run = lockd_run(f"echo $$ $PPID > {end}.new; mv {end}.new {end}.of; exec cat </dev/tty")
    with shell(node) as terminal:
        terminal.type(f"({quoted(run)} &)\n")
        command, lockd = processes(end)
        eventually(lambda: is_stopped(command), WITHIN_S)
        before = lockd.cpu_times()
        passed(3.0)
        after = lockd.cpu_times()
        assert after.user + after.system - before.user - before.system < 1.0
        assert node.holds


# ---- who wants the terminal gets it


def test_who_writes_to_the_commands_pipe_reads_from_the_terminal(node: FakeNode) -> None:
    with shell(node) as terminal:
        terminal.type("cat | " + quoted(lockd_run('echo re"ad"y; exec sed -u s/^/got-/')) + "\n")
        terminal.sees("ready")
        terminal.type("first\n")
        terminal.sees("got-first")
        terminal.type("second\n")
        terminal.sees("got-second")
        terminal.type("\x04")
        eventually(lambda: not node.holds, WITHIN_S)


def test_the_command_lends_the_terminal_to_others_of_its_job(node: FakeNode, tmp_path: Path) -> None:
    has_read = tmp_path / "has_read"
    first = f"until [ -e {has_read} ]; do sleep 0.05; done; cat"
    run = lockd_run(f'echo re"ad"y; read x </dev/tty; touch {has_read}; echo "go"t $x; exec sed -u s/^/got-/')
    with shell(node) as terminal:
        terminal.type(f"({first}) | {quoted(run)}\n")
        terminal.sees("ready")
        terminal.type("first\n")
        terminal.sees("got first")
        terminal.type("second\n")
        terminal.sees("got-second")
        assert "Stopped" not in terminal.text


def test_a_pager_has_the_terminal_after_ctrl_z_too(node: FakeNode, end: Path) -> None:
    pager = 'sh -c \'echo re"ad"y; read x </dev/tty; echo "go"t $x\''
    with shell(node) as terminal:
        terminal.type(f"{quoted(lockd_run(until(end)))} | {pager}\n")
        command, _ = processes(end)
        terminal.sees("ready")
        terminal.type(CTRL_Z)
        terminal.sees("Stopped")
        terminal.type("fg\n")
        eventually(lambda: not is_stopped(command), WITHIN_S)
        terminal.type("hello\n")
        terminal.sees("got hello")


def test_a_command_that_opens_the_terminal_by_itself_can_read_from_it(node: FakeNode, end: Path) -> None:
    """As one that asks for a password."""
    run = lockd_run(f"{until(end)}; read x </dev/tty; exit $x")
    with shell(node) as terminal:
        terminal.type(quoted(run) + ' </dev/null >/dev/null 2>&1; echo "co"de $?\n')
        command, lockd = processes(end)
        end.touch()
        eventually(lambda: os.getpgid(command.pid) == terminal.group(), WITHIN_S)
        terminal.type("7\n")
        terminal.sees("code 7")
        assert not lockd.is_running()
