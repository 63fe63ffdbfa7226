"""Signals whose handlers raise, as Ctrl-C's does.

Python runs handlers in the main thread between any two instructions: half way through a queue, or after a lock was
granted and before anybody was told of it. So the main thread puts them off while it keeps books, and takes them where
it waits. That is done by standing in for the handlers, since Python has no other way: each is back in its place, and
runs, as soon as there is a wait or the end. What Python handlers do not concern (SIG_DFL, SIG_IGN, other threads) is as
it was. What a library registered below Python for a signal that has a Python handler too, as faulthandler.register()
does, is lost.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

try:  # what `signal` wraps; the wrappers look every handler up in an enum, which costs ten times as much
    from _signal import getsignal  # type: ignore[import-not-found]  # it has no stub
    from _signal import signal as set_handler
except ImportError:
    from signal import getsignal
    from signal import signal as set_handler

T = TypeVar("T")

LOOK_UP_S = 0.5  # how late a handler may run while the main thread waits
HOOK_S = 0.01  # what a fork's hook takes to return; a handler that raised in it would be dropped

# Each costs every call a look. Others are not put off: their handlers must not raise, or call the client.
_NAMES = (
    *("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGTSTP", "SIGCONT"),
    *("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGXCPU"),
)
_SIGNALS = tuple(int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name))


class _PutOff:
    """A context. May be entered again inside; in other threads than the main one it is none."""

    def __init__(self) -> None:
        self._depth = 0
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._came: dict[int, FrameType | None] = {}
        self._raised: list[BaseException] = []

    def __enter__(self) -> None:
        if _is_main():
            if self._depth == 0:
                self._stand_in()
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        if _is_main():
            self._depth = max(0, self._depth - 1)
            if self._depth == 0:
                self._step_back()

    def wait(self, blocks: Callable[[], T]) -> T:
        """What it answers. Meanwhile signals are taken. What it has done by the time that a handler raises counts as
        not known.
        """
        if not self._depth or not _is_main():
            return blocks()
        depth, self._depth = self._depth, 0
        try:
            try:
                self._step_back()
                return blocks()
            finally:
                self._stand_in()
        except BaseException:
            self._stand_in()  # the handler may have raised just before
            raise
        finally:
            self._depth = depth

    def acquire(self, lock: threading.Lock, timeout: float = math.inf) -> bool:
        """Waits for it, as wait() does. timeout: seconds. A signal that comes in the moment before a thread falls
        asleep wakes nobody, so that the main thread looks up from time to time.
        """
        if not _is_main():
            return lock.acquire(timeout=timeout if timeout < threading.TIMEOUT_MAX else -1)
        return self.wait(lambda: _acquire(lock, timeout))

    def _stand_in(self) -> None:
        """What a handler raises here is raised by _step_back()."""
        try:
            for number in _SIGNALS:
                handler = getsignal(number)
                if callable(handler) and handler != self._remember:
                    self._handlers[number] = handler
                    set_handler(number, self._remember)
        except ValueError:  # in an interpreter that gets no signals
            self._handlers.clear()
        except BaseException as error:  # noqa: BLE001  # a handler's
            self._raised.append(error)
            self._stand_in()

    def _step_back(self) -> None:
        while self._handlers:
            try:
                for number, handler in list(self._handlers.items()):
                    set_handler(number, handler)
                    self._handlers.pop(number, None)
            except BaseException as error:  # noqa: BLE001  # a handler's; the others are to be back all the same
                self._raised.append(error)
        while self._came:
            number = next(iter(self._came))
            frame, handler = self._came.pop(number), getsignal(number)
            try:
                if callable(handler):
                    handler(number, frame)
            except BaseException as error:  # noqa: BLE001  # the same: each that came is to run
                self._raised.append(error)
        if self._raised:
            raised, self._raised = self._raised, []
            raise raised[0]

    def exit_later(self) -> None:
        """As __exit__(), where nothing may be raised: what came is sent again, for when the main thread is out."""
        if not _is_main():
            return
        came, self._came = list(self._came), {}
        self.__exit__()
        if came:
            threading.Thread(target=_send_again, args=(came,), name="lockd-signals", daemon=True).start()

    def start_over(self) -> None:
        """In a child that another thread has forked."""
        for number, handler in self._handlers.items():
            set_handler(number, handler)
        self.__init__()  # type: ignore[misc]  # it is what it was at the beginning

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._came.setdefault(number, frame)


def _send_again(numbers: list[int]) -> None:
    time.sleep(HOOK_S)
    for number in numbers:
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def refuse_inside(mutex: threading.RLock) -> None:
    """Raises RuntimeError in a thread that has it: who has interrupted the client's bookkeeping, as a finalizer may in
    any thread, would find it half done.
    """
    if mutex._is_owned():  # type: ignore[attr-defined]  # what threading.Condition itself asks
        raise RuntimeError("the client was called while it was at work: by a finalizer, or a handler of a signal")


def _acquire(lock: threading.Lock, timeout: float) -> bool:
    while timeout > LOOK_UP_S:
        if lock.acquire(timeout=LOOK_UP_S):
            return True
        timeout -= LOOK_UP_S
    return lock.acquire(timeout=timeout)


def _is_main() -> bool:
    return threading.get_ident() == threading.main_thread().ident


put_off = _PutOff()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=put_off.start_over)
