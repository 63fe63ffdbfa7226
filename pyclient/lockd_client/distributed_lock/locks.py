"""The lock that the getters return, the same for each type of server."""

import math
import os
import threading
import time
from functools import partial
from types import TracebackType
from typing import Self

from lockd_client.distributed_lock.choice import CHOICE
from lockd_client.distributed_lock.servers import Hold
from lockd_client.distributed_lock.waiting import seconds_to_wait
from lockd_client.errors import DeadlockError, InvalidArgument, LockLost, NotOwned
from lockd_client.interrupts import put_off
from lockd_client.turns import Turns
from lockd_client.values import CycleLink

_held: set[Hold] = set()  # a lock whose object is forgotten stays held as long as the process lives


class DistributedLock:
    """A lock of the server that this process uses; made by get_lock(), get_read_lock() and get_write_lock().

        with get_lock("/data/results"):
            ...

    Re-usable: one hold at a time. Threads that share the object take turns, in the order in which they came. It belongs
    to a server only while it is held: after a fork, and after update_config(), it is acquired from the server that is
    used then. A forked child does not hold what its parent holds: there, release() raises LockLost, and the parent's
    hold is not touched. An object that is forgotten while it holds the lock keeps it until the process ends.

    Errors of the server's own library (redis.RedisError, kazoo's KazooException, OSError for files) are raised as they
    are, those of lockd are LockdErrors.
    """

    def __init__(self, name: str | os.PathLike[str], *, shared: bool) -> None:
        """Raises InvalidArgument."""
        self.name, self.shared = os.fspath(name), shared
        if not isinstance(self.name, str) or not self.name:
            raise InvalidArgument(f"a lock's name is a path, and not {name!r}")
        self._start_over()

    def _start_over(self) -> None:
        self._process = os.getpid()
        self._turns = Turns()  # it is the turn of who holds the lock, or is about to
        self._hold: Hold | None = None
        self._trying: Hold | None = None  # the newest that was asked for, by whoever has the turn

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """True where the lock was acquired. blocking: False answers at once. timeout: seconds; None or -1: as long as
        it takes.

        Raises NoLockingServer, DeadlockError where this thread holds it already by this object, and what the server's
        library raises; then nothing is held.
        """
        wait = seconds_to_wait(blocking, timeout)
        had_turn = self._has_turn
        try:
            with put_off:
                return self._acquire(wait)
        except BaseException:  # an error, or what a signal's handler raised: either way nothing is to be held
            self._undo(had_turn)
            raise

    def release(self) -> None:
        """Raises NotOwned where this object holds nothing, LockLost where the lock was lost before, so that another may
        have held it since. Once it is called this object holds nothing, whatever it raises.
        """
        with put_off:
            hold, self._hold = self._hold, None
            self._look_for_fork(hold)
            if hold is None:
                raise NotOwned(self.name)
            _held.discard(hold)
            try:
                put_off.wait(hold.release)
            except Exception:  # of whichever library: release() has done what it can
                raise
            except BaseException:  # what a signal's handler raised, nobody knows where in release()
                hold.abandon()
                raise
            finally:
                self._end_turn()

    @property
    def token(self) -> int:
        """lockd's fencing token, which is greater than that of every hold before it; 0 where nothing is held, and with
        servers that give none.
        """
        return self._hold.token if self._hold is not None and self._process == os.getpid() else 0

    def __enter__(self) -> Self:
        had_turn = self._has_turn
        try:
            self.acquire()
            return self
        except BaseException:  # a signal's handler may raise once it is acquired, and then there is no body
            self._undo(had_turn)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with put_off:
            try:
                self.release()
            except Exception as failure:  # of whichever library the server has
                if error is None:
                    raise
                error.add_note(f"while the lock was released: {type(failure).__name__}: {failure}")

    def __repr__(self) -> str:
        words = [repr(self.name), *(["shared"] if self.shared else []), *(["held"] if self._hold else [])]
        return f"<DistributedLock {' '.join(words)}>"

    # ---- inside

    def _look_for_fork(self, hold: Hold | None = None) -> None:
        """hold: what this object held. Raises LockLost."""
        if self._process != os.getpid():
            self._start_over()
            if hold is not None:
                raise LockLost(f"{self.name}: it is held by the process that this one was forked from")

    def _acquire(self, wait: float) -> bool:
        end = time.monotonic() + wait
        self._look_for_fork()
        if not self._take_turn(wait):
            return False
        self._trying = hold = CHOICE.get().server.hold(self.name, shared=self.shared)
        left = wait if wait in (0, math.inf) else max(0.0, end - time.monotonic())
        acquired = put_off.wait(partial(hold.acquire, left))
        if acquired:
            self._hold = hold
            _held.add(hold)
        else:
            self._end_turn()
        return acquired

    @property
    def _has_turn(self) -> bool:
        """Whether this thread has it."""
        return self._turns.agent == _thread() and self._process == os.getpid()

    def _undo(self, had_turn: bool) -> None:
        """An acquisition by this thread that failed, or that a signal's handler broke off at whatever point."""
        with put_off:
            if self._has_turn and not had_turn:
                self._give_back()

    def _give_back(self) -> None:
        hold, self._hold, self._trying = self._trying, None, None
        try:
            if hold is not None:
                _held.discard(hold)
                hold.abandon()
        finally:
            self._end_turn()

    def _take_turn(self, wait: float) -> bool:
        if wait and self._has_turn:
            own = CycleLink(owner="", session_id=0, agent="", name=self.name)
            raise DeadlockError("this thread holds it already, by the same object", cycle=[own])
        return self._turns.take(_thread(), wait)

    def _end_turn(self) -> None:
        self._trying = None
        self._turns.end()


def _thread() -> str:
    return str(threading.get_ident())
