"""A signal (SIGUSR1) whose handler raises, as Ctrl-C's does, at whichever line of a package."""

import contextlib
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import takewhile
from types import FrameType
from typing import Any

NUMBER = signal.SIGUSR1


class Interrupted(BaseException):
    """As KeyboardInterrupt."""


@contextlib.contextmanager
def handling() -> Iterator[list[int]]:
    """What came to a handler that raises."""
    came: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise Interrupted

    before = signal.signal(NUMBER, handler)
    try:
        yield came
    finally:
        signal.signal(NUMBER, before)


def interrupt() -> None:
    signal.raise_signal(NUMBER)


class Tracing:
    """Interrupts this thread at the n-th line of a package's code that it comes to. where: that was in these functions,
    the innermost first.
    """

    def __init__(self, package: str, line: int) -> None:
        """package: the folder that its files are in."""
        self._package, self._left = package, line
        self.where: list[str] = []

    def __enter__(self) -> "Tracing":
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(self._package):
            return None
        if event == "line":
            self._left -= 1
            if self._left == 0:
                self.where = [each.f_code.co_name for each, _ in traceback.walk_stack(frame)]
                interrupt()
        return self._trace

    @property
    def was_before_the_release(self) -> bool:
        """Python may run a handler before the first line of what ends a `with`, or before that has put signals off."""
        inside = list(takewhile(lambda name: name != "__exit__", self.where))
        return len(inside) < len(self.where) and inside[1:] in ([], ["__enter__"])


def interrupted_at(package: str, line: int, lock: AbstractContextManager[object]) -> Tracing:
    """Takes the lock and lets it go."""
    tracing = Tracing(package, line)
    with contextlib.suppress(Interrupted), tracing, lock:
        pass
    return tracing
