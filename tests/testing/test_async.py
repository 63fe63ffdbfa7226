"""Clients of asyncio, whose event loop time must not block."""

import asyncio
import time

import pytest

from lockd.testing import InProcessLockd
from lockd_client import AsyncLockdClient
from lockd_client.errors import LockLost
from tests.testing.conftest import WITHIN_S


def test_a_lock_is_renewed_lost_and_granted_as_time_is_moved(lockd_server, lockd_async_client):
    async def main() -> None:
        lock = lockd_async_client.lock("a", ttl=30)
        await lock.acquire()
        await lockd_server.advance_async(600)
        assert lock.owned
        other = lockd_server.async_client().lock("a")
        waits = asyncio.create_task(other.acquire())
        await lockd_server.advance_async(0)
        assert len(lockd_server.waiters("a")) == 1
        lockd_server.partition(lockd_async_client)
        await lockd_server.advance_async(31)
        assert lock.lost.is_set()
        assert other.owned
        assert await waits

    asyncio.run(main())


def test_a_wait_ends_when_its_timeout_is_moved_over(lockd_server, lockd_async_client):
    async def main() -> None:
        await lockd_server.async_client().lock("a").acquire()
        waits = asyncio.create_task(lockd_async_client.lock("a").acquire(timeout=5))
        await lockd_server.advance_async(4.9)
        assert not waits.done()
        await lockd_server.advance_async(0.1)
        assert not await waits

    asyncio.run(main())


def test_a_task_that_is_cancelled_leaves_no_waiter_behind(lockd_server, lockd_async_client):
    async def main() -> None:
        await lockd_server.async_client().lock("a").acquire()
        waits = asyncio.create_task(lockd_async_client.lock("a").acquire())
        await lockd_server.advance_async(0)
        waits.cancel()
        await lockd_server.advance_async(0)
        assert lockd_server.waiters("a") == ()

    asyncio.run(main())


def test_a_long_queue_of_tasks_takes_its_turns_at_one_moment(lockd_server, lockd_async_client):
    turns: list[int] = []

    async def take_turn(number: int) -> None:
        async with lockd_async_client.lock("a"):
            turns.append(number)

    async def main() -> None:
        await lockd_server.async_client().lock("a", ttl=30, auto_renew=False).acquire()
        tasks = [asyncio.create_task(take_turn(number)) for number in range(30)]
        await lockd_server.advance_async(30)
        assert turns == list(range(30))
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_a_client_goes_on_when_it_is_healed(lockd_server, lockd_async_client):
    async def main() -> None:
        assert not await lockd_async_client.is_locked("a")
        lockd_server.partition(lockd_async_client)
        await lockd_server.advance_async(100)
        lockd_server.heal(lockd_async_client)
        assert not await lockd_async_client.is_locked("a")

    asyncio.run(main())


def test_a_lock_can_be_lost_and_a_lease_can_end_in_the_event_loop(lockd_server, lockd_async_client):
    async def main() -> None:
        one, other = lockd_async_client.lock("a"), lockd_async_client.lock("b")
        await one.acquire()
        await other.acquire()
        lockd_server.lose(one)
        assert one.lost.is_set()
        lockd_server.expire("b")
        assert lockd_server.holders("b") == ()
        for lock in (one, other):
            with pytest.raises(LockLost):
                await lock.release()

    asyncio.run(main())


def test_blocking_and_asyncio_clients_move_together(lockd_server, lockd_client, lockd_async_client):
    async def main() -> None:
        blocking, lock = lockd_client.lock("a"), lockd_async_client.lock("b")
        blocking.acquire()
        await lock.acquire()
        await lockd_server.advance_async(300)
        assert blocking.owned
        assert lock.owned

    asyncio.run(main())


def test_a_client_whose_loop_does_not_run_is_as_one_that_is_stopped(lockd_server):
    with asyncio.Runner() as runner:
        client = AsyncLockdClient()
        lock = client.lock("a", ttl=30)
        runner.run(lock.acquire())
        lockd_server.advance(31)
        assert lockd_server.holders("a") == ()
        assert not lock.owned
        runner.run(client.close())


def test_what_would_block_the_loop_is_refused(lockd_server):
    async def main() -> None:
        with pytest.raises(RuntimeError, match="use await advance_async"):
            lockd_server.advance(1)
        with pytest.raises(RuntimeError, match=r"use await advance_async\(0\)"):
            lockd_server.until_waiting("a")

    asyncio.run(main())


def test_it_is_opened_and_closed_in_a_loop():
    async def main() -> None:
        async with InProcessLockd() as lockd:
            lock = lockd.async_client().lock("a")
            await lock.acquire()
            began = time.monotonic()
        assert time.monotonic() - began < WITHIN_S

    asyncio.run(main(), debug=True)
