"""A barrier counts for those who asked before it was begun, and for nobody else."""

import asyncio
from collections.abc import Callable
from typing import Any

from lockd.access.freshness import Freshness
from lockd.raft.errors import NoLeader


class Log:
    """Barriers pass when the test says so."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[object]] = []

    async def propose(self, make: Callable[[Any], Any], timeout_s: float) -> object:
        self.begun.append(asyncio.get_running_loop().create_future())
        return await self.begun[-1]


async def some_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_asks_while_a_barrier_is_under_way_waits_for_the_next():
    async def run() -> None:
        log = Log()
        freshness = Freshness(log.propose)
        first = asyncio.ensure_future(freshness.catch_up())
        await some_turns()
        later = [asyncio.ensure_future(freshness.catch_up()) for _ in range(3)]
        await some_turns()
        log.begun[0].set_result(None)
        assert await first
        while len(log.begun) == 1:
            await asyncio.sleep(0)
        assert not any(each.done() for each in later)
        log.begun[1].set_result(None)
        assert await asyncio.gather(*later) == [True] * 3
        assert len(log.begun) == 2, "they share one"

    asyncio.run(run())


def test_without_a_leader_nothing_is_fresh_until_there_is_one():
    async def run() -> None:
        log = Log()
        freshness = Freshness(log.propose)
        for outcome, expected in ((NoLeader("none"), False), (None, True)):
            asked = asyncio.ensure_future(freshness.catch_up())
            await some_turns()
            if outcome:
                log.begun[-1].set_exception(outcome)
            else:
                log.begun[-1].set_result(None)
            assert await asked is expected

    asyncio.run(run())
