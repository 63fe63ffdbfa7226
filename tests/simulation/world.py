"""Simulated time, and processes in it: each has an event loop of its own, and one world steps them all.

A process is code under asyncio. Killing it is forgetting its loop: nothing of it runs again, no handler, no
finally. Pausing it is not stepping its loop for a while: when it wakes, all that was due comes at once, as
after SIGSTOP. The order of everything follows from the seed.
"""

import asyncio
import contextlib
import contextvars
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from typing import Any


class World:
    """One simulation's time, dice and processes."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self._due: list[tuple[float, int, Process | None, Any]] = []
        self._order = itertools.count()
        self.failure: BaseException | None = None
        self.processes: list[Process] = []

    def at(self, when: float, process: "Process | None", handle: Any) -> None:
        heapq.heappush(self._due, (max(when, self.now), next(self._order), process, handle))

    def later(self, delay: float, callback: Callable[..., object], *args: object) -> None:
        """Calls back outside of any process: the world's own doing."""
        self.at(self.now + delay, None, lambda: callback(*args))

    def run(self, until: float) -> None:
        """Steps everything due up to `until`. Raises what a process failed with."""
        while self._due and self._due[0][0] <= until:
            when, order, process, handle = heapq.heappop(self._due)
            if process is None:
                self.now = when
                handle()
            elif not process.alive or handle.cancelled():
                continue
            elif process.paused_until > when:
                heapq.heappush(self._due, (process.paused_until, order, process, handle))
            else:
                self.now = when
                process.step(handle)
            if self.failure:
                raise self.failure
        self.now = max(self.now, until)


class Process:
    """Something with a loop that can be paused and killed."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.alive = True
        self.paused_until = 0.0
        self.loop: Any = _Loop(self)
        world.processes.append(self)

    def start(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """What the work fails with ends the simulation."""
        task: asyncio.Task[Any] = asyncio.Task(work, loop=self.loop)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and task.exception():
            self.world.failure = self.world.failure or task.exception()

    def step(self, handle: asyncio.Handle) -> None:
        asyncio._set_running_loop(self.loop)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(None)

    def call(self, callback: Callable[..., object], *args: object) -> None:
        """From outside: has the process call back at its next step."""
        self.loop.call_soon(callback, *args)

    def pause(self, seconds: float) -> None:
        self.paused_until = max(self.paused_until, self.world.now + seconds)

    def kill(self) -> None:
        self.alive = False

    def bury(self) -> None:
        """After the simulation: what is left of its tasks goes without a word."""
        self.alive = False
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with contextlib.suppress(RuntimeError):
                task.get_coro().close()


class _Loop:
    """As much of an event loop as code without sockets needs."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._itself: Any = self

    def time(self) -> float:
        return self._process.world.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return not self._process.alive

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self._itself, context)
        self._process.world.at(self.time(), self._process, handle)
        return handle

    def call_at(
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self._itself, context)
        self._process.world.at(when, self._process, handle)
        return handle

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self._itself)

    def create_task(self, coro: Any, **kwargs: Any) -> "asyncio.Task[Any]":
        return asyncio.Task(coro, loop=self._itself, **kwargs)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A dead process fails no more: what it never got to look at goes when it is collected, whenever that is."""
        error = context.get("exception")
        if self._process.alive and isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
            self._process.world.failure = error
