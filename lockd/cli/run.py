"""run."""

import contextlib
import math
import os
import select
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

import click

from lockd.cli import exits
from lockd.cli.child import NOT_FOUND, Child
from lockd.cli.connect import Cluster, cluster_options, connected
from lockd.cli.locks import Attempt
from lockd.cli.params import NAME, SECONDS, TEXT, WAIT
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd_client import Lock

TTL_S = 30.0
GRACE_PART = 6  # of the ttl
GRACE_MAX_S = 10.0
LOOK_S = 1.0  # the longest sleep: what the machine sleeps counts in leases, but not in timers

LOST = "the lock was lost, and the command was killed"
LOST_BEFORE = "the lock was lost before the command had ended"
NOT_RENEWED = "the lock could not be renewed, and the command was told to end"

_COMMAND = "lockd.cli.run.command"  # what stands after `--`
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PASSED_ON = (*_STOPS, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class _WithCommand(click.Command):
    """What stands after the first `--` is not for click."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            args, ctx.meta[_COMMAND] = args[:at], args[at + 1 :]
        return super().parse_args(ctx, args)


@dataclass(frozen=True, slots=True)
class _Holding:
    """A command that runs while a lock is held. grace: seconds before the loss from which on it is told to end."""

    child: Child
    lock: "Lock"
    grace: float
    woken: int  # readable where something has happened

    def watch(self) -> str:
        """Until the command has ended. Returns why it was ended; empty: it ended by itself."""
        why = ""
        while True:
            if self.child.look():
                self._stop_too()
            if self.child.code is not None:
                if why:  # what it has started may not have minded
                    self.child.signal(signal.SIGKILL)
                return why
            left = self.lock.remaining()
            if left <= 0:
                why = LOST
                self.child.signal(signal.SIGKILL)
                self._sleep(LOOK_S)
            elif left > self.grace or why:
                self._sleep(left if why else left - self.grace)
            else:
                why = NOT_RENEWED
                self.child.signal(signal.SIGTERM)
                self.child.signal(signal.SIGCONT)

    def end(self) -> None:
        """Whatever has happened here: the command does not go on without the lock, and the lock not without it."""
        if self.child.runs:
            self.child.signal(signal.SIGKILL)
        if self.lock.owned:
            self.lock.release()

    def _sleep(self, seconds: float) -> None:
        if select.select([self.woken], [], [], max(0.0, min(seconds, LOOK_S)))[0]:
            os.read(self.woken, 4096)

    def _stop_too(self) -> None:
        """Nobody renews the lock meanwhile. If it is lost when this process goes on, the command does not."""
        os.kill(0, signal.SIGTSTP)
        if self.lock.remaining() > 0:
            self.child.resume()


@contextlib.contextmanager
def _signals(child: Child) -> Iterator[tuple[int, int]]:
    """Those that end a program interrupt the wait for the lock; once the command runs, it gets them. Yields the ends of
    a pipe: what is read tells of a signal, or was written to wake the reader.
    """

    def passed_on(number: int, _frame: FrameType | None) -> None:
        if child.runs:
            child.signal(number)
        elif number in _STOPS:
            raise KeyboardInterrupt

    heard, told = os.pipe()
    for end in (heard, told):
        os.set_blocking(end, False)
    before: dict[int, object] = {}
    for each in _PASSED_ON:
        if signal.getsignal(each) is not signal.SIG_IGN:  # as under nohup
            before[each] = signal.signal(each, passed_on)
    before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    wakeup = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    try:
        yield heard, told
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave
        os.close(heard)
        os.close(told)


@click.command("run", cls=_WithCommand, short_help="Run a command while a lock is held.")
@click.argument("names", metavar="NAME... -- COMMAND [ARG]...", nargs=-1, required=True, type=NAME)
@click.option("-s", "--shared", is_flag=True, help="Hold it beside others who hold it shared.")
@click.option(
    "-w",
    "--wait",
    type=WAIT,
    default=math.inf,
    metavar="SECONDS",
    help="How long to wait in the queue. Default: as long as it takes.",
)
@click.option("-n", "--no-wait", is_flag=True, help="Do not wait at all.")
@click.option(
    "-E",
    "--conflict-exit-code",
    "conflict_code",
    type=click.IntRange(0, 255),
    default=exits.ANSWER_IS_NO,
    metavar="CODE",
    help="What to end with where the lock was not acquired. Default: 1.",
)
@click.option(
    "--ttl",
    type=SECONDS,
    default=TTL_S,
    metavar="SECONDS",
    help="It is renewed as long as COMMAND runs; after so long without, others get it. Default: 30.",
)
@click.option(
    "--grace",
    type=SECONDS,
    metavar="SECONDS",
    help="How long the command has to end where the lock cannot be renewed. Default: a sixth of the ttl, at most 10.",
)
@click.option(
    "--lock-delay",
    type=SECONDS,
    default=0.0,
    metavar="SECONDS",
    help="After a loss, or a break, keep others out for so long, at most 60. Default: 0.",
)
@click.option("--reason", type=TEXT, help="Why it is held, for people to read. Default: the command's name.")
@click.option("--owner", type=TEXT, help="Who holds it, for people to read. Default: user@host:pid.")
@cluster_options
def run_command(
    names: tuple[str, ...],
    shared: bool,
    wait: float,
    no_wait: bool,
    conflict_code: int,
    ttl: float,
    grace: float | None,
    lock_delay: float,
    reason: str | None,
    owner: str | None,
    cluster: Cluster,
    timeout: float,
) -> int:
    """Take the lock NAME, run COMMAND, and release the lock when it ends, with COMMAND's exit code.

    Several names are taken together or not at all. COMMAND has stdin, the terminal and its signals, and finds the name
    in LOCKD_NAME and the fencing token in LOCKD_FENCE. Ended by a signal: exit code 128 and the signal's number.

    If the lock cannot be renewed, COMMAND and what it started get SIGTERM, and SIGKILL before another can have the
    lock; then the exit code is 75.

    \b
    Examples:
      lockd run nightly-report -- make report
      lockd run -w 60 db/main -- pg_dump main -f main.sql
      lockd run -n cron/cleanup -- sh -c 'find /scratch -mtime +7 -delete'
    """
    command: list[str] = click.get_current_context().meta.get(_COMMAND, [])
    if not command:
        raise click.UsageError("Say what to run, after the names and `--`: lockd run NAME -- COMMAND.")
    waiting = 0.0 if no_wait else wait
    if no_wait and not math.isinf(wait):
        raise click.UsageError("--no-wait and --wait exclude each other.")
    if shutil.which(command[0]) is None:
        exits.fail(f"{escaped(command[0])}: not found, or not to be executed", NOT_FOUND)
    given = _grace(ttl, grace)
    child = Child(command)
    attempt = Attempt(names, "SHARED" if shared else "EXCLUSIVE", ttl, waiting)
    try:
        with _signals(child) as (heard, told), connected(cluster, timeout) as client:
            lock = client.lock_all(
                [(name, shared) for name in names],
                ttl,
                owner=owner,
                reason=os.path.basename(command[0]) if reason is None else reason,
                lock_delay=lock_delay,
            )
            holding = _Holding(child, lock, given, heard)
            try:
                attempt.make(client, lock)
                if not attempt.token:
                    exits.fail(attempt.refusal(), conflict_code)
                lock.on_lost(lambda: os.write(told, b"\0"))
                child.go({"LOCKD_NAME": "\n".join(names), "LOCKD_FENCE": str(lock.token)})
                why = holding.watch()
            except BaseException:
                holding.end()
                raise
            return _end(child, lock, why)
    finally:
        if not child.runs:
            child.give_up()


def _grace(ttl: float, grace: float | None) -> float:
    if ttl == 0:
        exits.fail("--ttl is 0: a lock that outlives this host is taken with `lockd lock`", exits.DATA)
    if grace is None:
        return min(GRACE_MAX_S, ttl / GRACE_PART)
    if grace > ttl / 2:
        exits.fail(f"--grace is {grace:g}; with a ttl of {ttl:g} it is at most {ttl / 2:g}", exits.DATA)
    return grace


def _end(child: Child, lock: "Lock", why: str) -> int:
    from lockd_client import LockdError, LockLost

    try:
        lock.release()
    except LockLost:
        why = why or LOST_BEFORE
    except LockdError as error:
        click.echo(f"lockd: the lock was not released and ends with its ttl: {escaped(error.last_error)}", err=True)
    if why:
        exits.fail(why, exits.TEMPFAIL)
    assert child.code is not None
    return child.code
