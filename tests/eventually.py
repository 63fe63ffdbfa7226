"""Waiting for a condition, with a deadline: the one place in the tests that sleeps."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.02


def missed(condition: Callable[[], object], deadline_s: float, last: object) -> AssertionError:
    what = getattr(condition, "__name__", repr(condition))
    if what == "<lambda>":
        what = inspect.getsource(condition).strip()
    return AssertionError(f"not within {deadline_s} s: {what} (last: {last!r})")


def eventually(condition: Callable[[], T], deadline_s: float, *, every_s: float = POLL_S) -> T:
    """The condition's first true value. It is asked at least once, and once more at the deadline.

    every_s: between two questions; less than usual where the moment itself is what is measured.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        over = time.monotonic() >= deadline
        if value := condition():
            return value
        if over:
            raise missed(condition, deadline_s, value)
        time.sleep(every_s)


async def async_eventually(condition: Callable[[], T | Awaitable[T]], deadline_s: float) -> T:
    """The same on an event loop; the condition may be a function or a coroutine function."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_s
    while True:
        over = loop.time() >= deadline
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if over:
            raise missed(condition, deadline_s, value)
        await asyncio.sleep(POLL_S)
