"""Entries of type file. A name is the path of what is protected; what is locked is a file of its own beside it.

Locks are POSIX record locks (fcntl.lockf, by fasteners). They belong to a process and not to a file descriptor: they do
not keep threads apart, and closing any descriptor of the file gives all of them back. So

- the lock is not on the protected file, which its user opens and closes, but on `.NAME.lock` in the same directory;
- a process has one Gate for each of these files, which shares one descriptor among all holders in the process.
"""

import math
import os
import stat
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

import fasteners  # type: ignore[import-untyped]  # fasteners ships no types

from lockd_client.distributed_lock.servers import Hold
from lockd_client.distributed_lock.waiting import seconds_to_wait
from lockd_client.errors import LockLost, NotOwned
from lockd_client.interrupts import put_off

FIELDS: frozenset[str] = frozenset()
POLL_FIRST_S, POLL_LAST_S = 0.01, 0.1  # between two questions: a lock of a file tells nobody that it is free


def lock_file_of(path: str) -> str:
    """`.NAME.lock` beside the path, whether the path exists and whatever it is: that may change while it is locked. The
    last part of the path is not followed if it is a symbolic link; links and `..` before it are.
    """
    parent, name = os.path.split(path.rstrip(os.sep) or os.sep)
    if name in ("", os.curdir, os.pardir):
        parent, name = os.path.split(os.path.realpath(path))
    return os.path.join(os.path.realpath(parent), f".{name}.lock")


def is_writable(path: str) -> bool:
    """Whether the path may be written to by this process, or does not exist."""
    return not os.path.exists(path) or os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def make_lock_file(path: str, protected: str) -> None:
    """Whoever may write to the protected path, or to its directory, may lock it."""
    directory = os.path.dirname(path)
    os.makedirs(directory, exist_ok=True)
    mode = os.stat(directory).st_mode
    if os.path.exists(protected):
        mode |= os.stat(protected).st_mode
    mode = stat.S_IMODE(mode) & 0o666
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode)
    except FileExistsError:
        return
    try:
        os.fchmod(file, mode)  # without what umask takes away
    finally:
        os.close(file)


class Gate:
    """All holders of one lock file in this process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock: Any = None
        self._start_over()

    def _start_over(self) -> None:
        self._inside = threading.Lock()
        self._holders: set[object] = set()
        self._is_shared = False

    def after_fork(self) -> None:
        """In the child, which holds nothing. Its copy of the descriptor is closed before the child takes a lock of its
        own, which that would give back.
        """
        if self._lock is not None:
            self._lock.release_write_lock()
            self._lock = None
        self._start_over()

    def enter(self, protected: str, shared: bool) -> object | None:
        """At once: what leave() takes, or None."""
        with self._inside:
            if not self._holders:
                if not self._take(protected, shared):
                    return None
                self._is_shared = shared
            elif not (shared and self._is_shared):
                return None
            holder = object()
            self._holders.add(holder)
            _held.add(self)
            return holder

    def leave(self, holder: object) -> None:
        """Raises LockLost."""
        with self._inside:
            if holder not in self._holders:
                raise LockLost(f"{self.path}: it is held by the process that this one was forked from")
            self._holders.remove(holder)
            if not self._holders:
                self._lock.release_write_lock()
                self._lock = None
                _held.discard(self)

    def _take(self, protected: str, shared: bool) -> bool:
        make_lock_file(self.path, protected)
        lock = fasteners.InterProcessReaderWriterLock(self.path)
        acquire = lock.acquire_read_lock if shared else lock.acquire_write_lock
        if acquire(blocking=False) and self._is_in_place(lock):
            self._lock = lock
            return True
        lock.release_write_lock()  # which closes it, too; it would do the same for a read lock
        return False

    def _is_in_place(self, lock: Any) -> bool:
        """Whether the file was not removed, by somebody who tidied up, after it was opened."""
        try:
            return os.path.samestat(os.fstat(lock.lockfile.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False


_gates: weakref.WeakValueDictionary[str, Gate] = weakref.WeakValueDictionary()
_held: set[Gate] = set()  # a lock whose object is forgotten stays held: its file must not be closed
_finding = threading.Lock()


def gate_of(path: str) -> Gate:
    with _finding:
        gate = _gates.get(path)
        if gate is None:
            _gates[path] = gate = Gate(path)
        return gate


def _after_fork() -> None:
    global _finding
    _finding = threading.Lock()
    for gate in list(_gates.values()):
        gate.after_fork()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class InterProcessLockNoWritePermission:
    """A lock between the processes of a machine, or of machines that share a file system with POSIX locks, on a path.

    A path that exists and that this process may not write to is not locked at all: acquire() answers True, and
    release() has to be called as ever. Any other path is locked, by the file `.NAME.lock` beside it, which is made
    where it is missing, its directories too, and stays. It may be removed while nobody uses the path.

    The lock ends with its process. Whoever waits asks again at least ten times a second: there are no turns. A forked
    child does not hold what its parent holds. Threads may share the object; one that holds it and acquires it again
    waits.
    """

    def __init__(self, path: str | os.PathLike[str], *, shared: bool = False) -> None:
        """shared: many may hold it shared, or one exclusively."""
        self.path, self.shared = os.fspath(path), shared
        self._held: list[Callable[[], None]] = []  # what gives each back

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """True where it was acquired, or needs not be. timeout: seconds; None or -1: as long as it takes.

        Raises InvalidArgument, and OSError where the lock file cannot be made or opened: nothing is locked then.
        """
        wait = seconds_to_wait(blocking, timeout)
        taken: list[Callable[[], None]] = []
        try:
            return self._take(wait, taken)
        except BaseException:  # an error, or what a signal's handler raised: either way nothing is to be held
            self._undo(taken)
            raise

    def release(self) -> None:
        """Raises NotOwned where this object holds nothing, LockLost in a forked child."""
        with put_off:
            try:
                give_back = self._held.pop()
            except IndexError:
                raise NotOwned(self.path) from None
            give_back()

    def __enter__(self) -> Self:
        taken: list[Callable[[], None]] = []
        try:
            self._take(math.inf, taken)
            return self
        except BaseException:  # the same: there will be no body
            self._undo(taken)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _take(self, wait: float, taken: list[Callable[[], None]]) -> bool:
        """taken: gets what gives it back."""
        with put_off:
            return _poll(self._attempt(taken), wait)

    def _attempt(self, taken: list[Callable[[], None]]) -> Callable[[], bool]:
        if not is_writable(self.path):
            taken.append(_nothing)
            self._held.append(_nothing)
            return lambda: True
        gate = gate_of(lock_file_of(self.path))

        def attempt() -> bool:
            holder = gate.enter(self.path, self.shared)
            if holder is not None:
                taken.append(partial(gate.leave, holder))
                self._held += taken
            return holder is not None

        return attempt

    def _undo(self, taken: list[Callable[[], None]]) -> None:
        """After a signal's handler raised, perhaps once it was acquired."""
        with put_off:
            for give_back in taken:
                self._held.remove(give_back)
                give_back()


def _nothing() -> None:
    """Gives nothing back."""


def _poll(ask: Callable[[], bool], wait: float) -> bool:
    end, pause = time.monotonic() + wait, POLL_FIRST_S
    while True:
        answer = ask()
        left = end - time.monotonic()
        if answer or left <= 0:
            return answer
        put_off.wait(partial(time.sleep, min(pause, left)))
        pause = min(pause + POLL_FIRST_S, POLL_LAST_S)


class FileHold:
    token = 0

    def __init__(self, name: str, shared: bool) -> None:
        self._lock = InterProcessLockNoWritePermission(name, shared=shared)

    def acquire(self, wait: float) -> bool:
        return self._lock.acquire(timeout=wait)

    def release(self) -> None:
        self._lock.release()

    def abandon(self) -> None:
        with suppress(NotOwned):
            self._lock.release()


class FileServer:
    """There is none."""

    client = None

    def __init__(self, config: Mapping[str, Any]) -> None:
        """config: empty."""

    def hold(self, name: str, *, shared: bool) -> Hold:
        return FileHold(name, shared)

    def close(self) -> None:
        """There is nothing to close."""
