"""Callers that never rest, of both kinds of client, and what none of their calls may be answered."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lockd_client import AsyncLockdClient, LockdClient
from tests.eventually import eventually

PROGRESS_WITHIN_S = 60.0
ROUNDS = 5
"""Of every caller, after which the load has gone on."""

QUEUE = "ci/queue"
TTL_S = 20.0
SESSIONS_TTL_S = 12.0


@dataclass
class Caller:
    """rounds: that ended well. calls: in them. longest_s: the longest round since it was last set to 0."""

    name: str
    rounds: int = 0
    calls: int = 0
    longest_s: float = 0.0

    @contextlib.contextmanager
    def round(self, calls: int) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        self.rounds += 1
        self.calls += calls


class Load:
    """Until it is left: threads of a client and tasks of another, most of them in one queue, and one that keeps a lock.

    Names begin with ci/.
    """

    def __init__(self, blocking: Callable[[], LockdClient], tasks: Callable[[], AsyncLockdClient]) -> None:
        self._client, self._tasks = blocking(), tasks
        self.callers: list[Caller] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._inside = threading.Lock()
        self._last_token = 0
        self._threads = [
            *(self._thread(f"alone {number}", self._alone) for number in range(2)),
            *(self._thread(f"in line {number}", self._in_line) for number in range(3)),
            self._thread("by name", self._by_name),
            self._thread("keeper", self._keeper),
        ]
        self._aio = [Caller(f"task {number}") for number in range(4)]
        self.callers += self._aio
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._all_tasks()), name="tasks"))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        try:
            self.goes_on()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    @property
    def calls(self) -> int:
        return sum(caller.calls for caller in self.callers)

    def goes_on(self) -> None:
        """Returns when each caller has had some more rounds, or one of them failed."""
        before = {caller.name: caller.rounds for caller in self.callers}

        def all_moved() -> bool:
            return bool(self.failures) or all(caller.rounds >= before[caller.name] + ROUNDS for caller in self.callers)

        eventually(all_moved, PROGRESS_WITHIN_S)
        assert self.failures == []

    def longest(self) -> str:
        """The longest round of those who share no lock, and of those in the queue, since this was asked last."""
        found = {"alone": 0.0, "in line": 0.0}
        for caller in self.callers:
            kind = "alone" if caller.name.startswith(("alone", "by name", "keeper", "task 3")) else "in line"
            found[kind], caller.longest_s = max(found[kind], caller.longest_s), 0.0
        return ", ".join(f"{kind} {seconds * 1000:.0f} ms" for kind, seconds in found.items())

    # ---- callers

    def _thread(self, name: str, run: Callable[[Caller], None]) -> threading.Thread:
        caller = Caller(name)
        self.callers.append(caller)

        def whole() -> None:
            with self._failures_of(caller):
                run(caller)

        return threading.Thread(target=whole, name=name)

    @contextlib.contextmanager
    def _failures_of(self, caller: Caller) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.failures.append(f"{caller.name}, round {caller.rounds}: {error!r}: {error}")
            self._stop.set()

    def _alone(self, caller: Caller) -> None:
        name = f"ci/{caller.name}"
        while not self._stop.is_set():
            with caller.round(3):
                answer = self._client.try_lock(name, ttl=TTL_S)
                assert answer.acquired, answer
                assert self._client.is_locked(name)
                assert self._client.unlock(answer.token).released

    def _in_line(self, caller: Caller) -> None:
        while not self._stop.is_set():
            lock = self._client.lock(QUEUE, TTL_S, owner=caller.name)
            with caller.round(2), lock, self._alone_inside(lock.token):
                pass

    def _by_name(self, caller: Caller) -> None:
        """The Go lockd's calls, which carry no id: none may be in doubt."""
        while not self._stop.is_set():
            with caller.round(3):
                assert self._client.Lock("ci/by name")
                assert self._client.IsLocked("ci/by name")
                assert self._client.Unlock("ci/by name")

    def _keeper(self, caller: Caller) -> None:
        """Has one lock all the time, by a lease that lives by being kept alive."""
        with (
            self._client.open_session(SESSIONS_TTL_S) as session,
            self._client.lock("ci/kept", session=session) as kept,
        ):
            while not self._stop.is_set():
                with caller.round(2):
                    kept.check()
                    assert self._client.check_token("ci/kept", kept.token)
                    assert not self._client.try_lock("ci/kept", ttl=TTL_S).acquired

    @contextlib.contextmanager
    def _alone_inside(self, token: int) -> Iterator[None]:
        assert self._inside.acquire(blocking=False), "two hold one lock"
        try:
            assert token > self._last_token
            self._last_token = token
            yield
        finally:
            self._inside.release()

    async def _all_tasks(self) -> None:
        async with self._tasks() as client:
            *in_line, alone = self._aio
            await asyncio.gather(
                *(self._task(client, caller, self._task_in_line) for caller in in_line),
                self._task(client, alone, self._task_alone),
            )

    async def _task(self, client: AsyncLockdClient, caller: Caller, run: Any) -> None:
        with self._failures_of(caller):
            while not self._stop.is_set():
                await run(client, caller)

    async def _task_in_line(self, client: AsyncLockdClient, caller: Caller) -> None:
        with caller.round(2):
            async with client.lock(QUEUE, TTL_S, owner=caller.name) as lock:
                with self._alone_inside(lock.token):
                    await asyncio.sleep(0)

    async def _task_alone(self, client: AsyncLockdClient, caller: Caller) -> None:
        with caller.round(2):
            answer = await client.try_lock("ci/a task", ttl=TTL_S)
            assert answer.acquired, answer
            assert (await client.unlock(answer.token)).released
