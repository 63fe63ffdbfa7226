"""The signals that `lockd run` gets: which are the command's, which stop both, and how they wake one that sleeps."""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

from lockd.cli.child import Child

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PASSED_ON = (*_ENDS, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)

UNSTOPPED_S = 0.1  # how long it takes for sure that a process which is to stop has not


class Signals:
    """A context. Those that end a program interrupt the wait for the lock; once the command runs, it gets them."""

    def __init__(self, child: Child) -> None:
        self.stops = 0
        """Which signal was to stop this process, in job_control(); 0: none."""
        self._child = child
        self._went_on = False
        self._before: dict[int, Any] = {}
        self._writing = threading.Lock()
        self._is_open = True
        self._heard, self._told = os.pipe()  # told of a signal, or of anything else: read to sleep until then
        for end in (self._heard, self._told):
            os.set_blocking(end, False)

    def __enter__(self) -> Self:
        for each in _PASSED_ON:
            if signal.getsignal(each) is not signal.SIG_IGN:  # as under nohup
                self._before[each] = signal.signal(each, self._pass_on)
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._wakeup = signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        with self._writing:
            self._is_open = False
            os.close(self._heard)
            os.close(self._told)

    # ---- sleep

    def sleep(self, seconds: float) -> None:
        """Until a signal came, or wake() was called, or so long."""
        if select.select([self._heard], [], [], max(0.0, seconds))[0]:
            os.read(self._heard, 4096)

    def wake(self) -> None:
        """At any moment and in any thread: after the end too, when the descriptor may be that of another file."""
        with self._writing, contextlib.suppress(BlockingIOError):  # it is full: who sleeps wakes anyway
            if self._is_open:
                os.write(self._told, b"\0")

    # ---- job control

    @contextlib.contextmanager
    def job_control(self) -> Iterator[None]:
        """What would stop this process is noted in `stops`, so that the command can be stopped first."""
        stops = [each for each in _STOPS if signal.getsignal(each) is not signal.SIG_IGN]
        before: dict[int, Any] = {each: signal.signal(each, self._is_to_stop) for each in stops}
        before[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._goes_on)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def stopping(self, number: int, *, whole_job: bool) -> Iterator[None]:
        """By this signal, which stops this process where the context ends, unless it is told to go on before; with
        whole_job the others of its group too, at once. The context ends once it was told to go on; soon, where nobody
        could tell it, so that it does not stop: in a group without a shell, or where the signal is ignored.
        """
        self._went_on = False
        handler = signal.getsignal(number)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        try:
            signal.pthread_kill(threading.get_ident(), number)  # pending from here on: what lets it go on takes it away
            if whole_job:
                os.kill(0, number)
            yield
            self.stops = 0
            if handler is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        end = time.monotonic() + UNSTOPPED_S
        while not self._went_on and (left := end - time.monotonic()) > 0:
            self.sleep(left)
        signal.signal(number, handler)

    def go_on(self) -> None:
        """All of this process's group, after a signal that was to stop it."""
        self.stops = 0
        os.kill(0, signal.SIGCONT)

    # ---- handlers

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self._child.runs:
            self._child.signal(number)
        elif number in _ENDS:
            raise KeyboardInterrupt

    def _is_to_stop(self, number: int, _frame: FrameType | None) -> None:
        self.stops = number

    def _goes_on(self, _number: int, _frame: FrameType | None) -> None:
        """What was to stop it before that is over, as for the system."""
        self.stops, self._went_on = 0, True
