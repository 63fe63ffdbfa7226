"""run."""

import contextlib
import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from lockd.cli import exits
from lockd.cli.child import NOT_FOUND, Child
from lockd.cli.connect import Cluster, cluster_options, connected
from lockd.cli.locks import Attempt
from lockd.cli.params import NAME, SECONDS, TEXT, WAIT
from lockd.cli.signals import Signals
from lockd.cli.telling import say
from lockd.escape import escaped

if TYPE_CHECKING:
    from lockd_client import Lock

TTL_S = 30.0
GRACE_PART = 6  # of the ttl
GRACE_MAX_S = 10.0
LOOK_S = 1.0  # the longest sleep: what the machine sleeps counts in leases, but not in timers
DEATH_S = 5.0  # how long what was killed has to be gone
STOP_S = 1.0  # how long the command has to stop by itself
SETTLE_S = 0.2  # and what it has started, after that

LOST = "the lock was lost, and the command was killed"
LOST_BEFORE = "the lock was lost before the command had ended"
NOT_RENEWED = "the lock could not be renewed, and the command was told to end"

_COMMAND = "lockd.cli.run.command"  # what stands after `--`


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
    signals: Signals

    def watch(self) -> str:
        """Until the command has ended. Returns why it was ended; empty: it ended by itself."""
        why = ""
        while True:
            if self.child.look():
                self._stop(signal.SIGTSTP, whole_job=True)
            if self.child.code is not None:
                if why:  # what it has started may not have minded
                    self.child.signal(signal.SIGKILL)
                return why
            if self.signals.stops:
                self._be_stopped(self.signals.stops)
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
        from lockd_client import LockdError

        if self.child.runs and not self._has_died():
            return  # the lock ends with its ttl
        if self.lock.owned:
            with contextlib.suppress(LockdError):  # what has happened matters more
                self.lock.release()

    def _has_died(self) -> bool:
        self.child.signal(signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            self._wait(lambda: self.child.code is not None, DEATH_S)
        return self.child.code is not None

    def _wait(self, done: Callable[[], bool], seconds: float) -> None:
        """For something that the command does, at most so long."""
        end = time.monotonic() + seconds
        while not done() and (left := end - time.monotonic()) > 0:
            self._sleep(left)
            self.child.look()

    def _sleep(self, seconds: float) -> None:
        self.signals.sleep(min(seconds, LOOK_S))

    # ---- job control

    def _be_stopped(self, number: int) -> None:
        """As others of the job were by the same signal, but not the command, which is in a group of its own."""
        if number in (signal.SIGTTIN, signal.SIGTTOU) and self.child.lend_terminal():
            self.signals.go_on()
        else:
            self._stop(number, whole_job=False)

    def _stop(self, number: int, *, whole_job: bool) -> None:
        """Nobody renews the lock meanwhile. If it is lost when this process goes on, the command does not."""
        with self.signals.stopping(number, whole_job=whole_job):
            if not self._stop_command():
                self.signals.go_on()
        if self.lock.remaining() > 0:
            self.child.resume()

    def _stop_command(self) -> bool:
        """All of it; it has a moment for what it has to stop in its turn, as a `lockd run` has. False where it may not
        be stopped.
        """
        if not self.child.is_stopped:
            if not self.child.signal(signal.SIGTSTP):
                return False
            self._wait(lambda: self.child.is_stopped or self.child.code is not None, min(STOP_S, self.lock.remaining()))
        self._wait(lambda: False, min(SETTLE_S, self.lock.remaining()))
        self.child.stop()
        return True


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
    signals = Signals(child)
    attempt = Attempt(names, "SHARED" if shared else "EXCLUSIVE", ttl, waiting)
    try:
        with signals, connected(cluster, timeout) as client:
            lock = client.lock_all(
                [(name, shared) for name in names],
                ttl,
                owner=owner,
                reason=os.path.basename(command[0]) if reason is None else reason,
                lock_delay=lock_delay,
            )
            holding = _Holding(child, lock, given, signals)
            try:
                attempt.make(client, lock)
                if not attempt.token:
                    exits.fail(attempt.refusal(), conflict_code)
                lock.on_lost(signals.wake)
                with signals.job_control():
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
        say(f"lockd: the lock was not released and ends with its ttl: {escaped(error.last_error)}")
    if why:
        exits.fail(why, exits.TEMPFAIL)
    assert child.code is not None
    return child.code
