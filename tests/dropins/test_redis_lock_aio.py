"""The shape of redis.asyncio.lock.Lock: the original with a real Redis, and ours with a real node, side by side.

`run` runs a test's body for both; test_redis_lock.py looks closer at what the two shapes have in common.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import redis
import redis.asyncio.lock

from lockd_client import AsyncLockdClient
from lockd_client.redis_lock import AsyncLock
from tests.dropins.peers import Peer
from tests.eventually import async_eventually
from tests.integration.cluster import Cluster

LockError, LockNotOwnedError = redis.exceptions.LockError, redis.exceptions.LockNotOwnedError

TIMEOUT_S = 2.0  # the shortest that a node takes
WITHIN_S = 20.0

Make = Callable[..., Any]
"""Makes a lock on `a`."""


@contextlib.asynccontextmanager
async def over_redis(server: Peer) -> AsyncIterator[Make]:
    async with redis.asyncio.Redis(port=server.port) as client:
        yield partial(redis.asyncio.lock.Lock, client, "a", sleep=0.01)
        await client.flushall()


@contextlib.asynccontextmanager
async def over_lockd(cluster: Cluster) -> AsyncIterator[Make]:
    async with AsyncLockdClient(endpoints=cluster.endpoints()) as client:
        yield partial(AsyncLock, client, "a")
        for holder in await client.holders("a"):
            await client.unlock(holder.token)


Run = Callable[[Callable[[Make], Awaitable[None]]], None]


def runner(side: contextlib.AbstractAsyncContextManager[Make]) -> Run:
    def run(body: Callable[[Make], Awaitable[None]]) -> None:
        async def main() -> None:
            async with side as make, asyncio.timeout(60):
                await body(make)

        asyncio.run(main())

    return run


@pytest.fixture(params=["original", "ours"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "original":
        return runner(over_redis(request.getfixturevalue("one_redis")))
    return runner(over_lockd(request.getfixturevalue("cluster")))


@pytest.fixture
def run_ours(cluster: Cluster) -> Run:
    return runner(over_lockd(cluster))


async def check_not_held(lock: Any, kind: type[Exception]) -> None:
    """kind: what exactly all calls raise that need a held lock."""
    for call in (lambda: lock.extend(10), lock.reacquire, lock.release):
        token = lock.local.token
        with pytest.raises(LockError) as caught:
            await call()
        assert type(caught.value) is kind
        lock.local.token = token
    assert not await lock.owned()


async def lose(make: Make, lock: Any) -> None:
    thief = make()
    thief.local.token = lock.local.token
    await thief.release()


# ---- what both do


def test_a_lock_is_held_inside_and_free_after(run: Run) -> None:
    async def body(make: Make) -> None:
        lock = make(timeout=30)
        await check_not_held(lock, LockError)
        async with lock as itself:
            assert itself is lock
            assert (await lock.locked(), await lock.owned(), isinstance(lock.local.token, bytes)) == (True, True, True)
            assert await lock.extend(10) is True
            assert await lock.reacquire() is True
        assert (await lock.locked(), lock.local.token) == (False, None)
        await check_not_held(lock, LockError)

    run(body)


def test_another_object_does_not_get_it(run: Run) -> None:
    async def body(make: Make) -> None:
        other = make(timeout=30)
        async with make(timeout=30):
            assert await other.acquire(blocking=False) is False
            assert await other.acquire(blocking_timeout=0.2) is False
            assert not await other.owned()
            with pytest.raises(LockError):
                async with make(timeout=30, blocking_timeout=0.2):
                    raise AssertionError("the body is run without the lock")

    run(body)


def test_it_ends_after_its_timeout(run: Run) -> None:
    async def body(make: Make) -> None:
        lock, other = make(timeout=TIMEOUT_S), make(timeout=30)
        assert await lock.acquire()
        assert await other.acquire(blocking_timeout=WITHIN_S)
        await check_not_held(lock, LockNotOwnedError)
        assert await other.owned()

    run(body)


@pytest.mark.parametrize("timeout", [30, None])
def test_what_was_lost_is_not_owned(run: Run, timeout: float | None, caplog: pytest.LogCaptureFixture) -> None:
    async def body(make: Make) -> None:
        lock = make(timeout=timeout)
        with pytest.raises(LockNotOwnedError):
            async with lock:
                await lose(make, lock)
                assert not await lock.owned()
        assert lock.local.token is None
        with caplog.at_level(logging.WARNING):
            async with make(timeout=timeout, raise_on_release_error=False) as lock:
                await lose(make, lock)
        assert len(caplog.records) == 1

    run(body)


@pytest.mark.parametrize("token", ["worker 7", b"\xff"])
def test_a_token_of_ones_own_releases_it_from_anywhere(run: Run, token: bytes | str) -> None:
    async def body(make: Make) -> None:
        lock, other = make(timeout=30), make(timeout=30)
        assert await lock.acquire(token=token)
        other.local.token = token.encode() if isinstance(token, str) else token
        assert await other.owned()
        await other.release()
        assert not await lock.owned()

    run(body)


# ---- where ours differs, on purpose


@pytest.mark.parametrize("timeout", [30, None])
def test_tasks_that_share_an_object_take_turns(run_ours: Run, timeout: float | None) -> None:
    """In the original, a release that is answered late wipes the token of the task that has acquired it since."""

    async def body(make: Make) -> None:
        lock = make(timeout=timeout)
        inside: list[int] = []

        async def work() -> None:
            async with lock:
                inside.append(1)
                await asyncio.sleep(0)
                assert len(inside) == 1
                inside.pop()

        await asyncio.gather(*(work() for _ in range(12)))

    run_ours(body)


def test_a_task_that_is_cancelled_while_it_waits_leaves_the_queue_and_does_not_get_it(run_ours: Run) -> None:
    """The original may read another call's answer after it (seen with redis-py 8.1.0 on a busy machine)."""

    async def body(make: Make) -> None:
        async with make(timeout=30) as lock:
            waiting = asyncio.ensure_future(make(timeout=30).acquire())

            async def waiters() -> Any:
                return (await lock.client.get("a")).waiters

            async def nobody() -> Any:
                return not await waiters()

            await async_eventually(waiters, WITHIN_S)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await async_eventually(nobody, WITHIN_S)
        assert await make(timeout=30).acquire(blocking=False)

    run_ours(body)


@pytest.mark.parametrize("timeout", [30, None])
def test_a_release_that_is_cancelled_goes_on_and_may_be_called_again(run_ours: Run, timeout: float | None) -> None:
    async def body(make: Make) -> None:
        lock = make(timeout=timeout)
        assert await lock.acquire()
        releasing = asyncio.ensure_future(lock.release())
        await asyncio.sleep(0)
        releasing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await releasing

        async def is_free() -> Any:
            return not await lock.locked()

        await async_eventually(is_free, WITHIN_S)
        token = lock.local.token
        assert token is not None
        await lock.release()
        await check_not_held(lock, LockError)
        lock.local.token = token
        with pytest.raises(LockNotOwnedError):
            await lock.release()

    run_ours(body)


def test_a_release_leaves_the_token_of_a_task_that_acquired_it_meanwhile(run_ours: Run) -> None:
    async def body(make: Make) -> None:
        lock = make(timeout=30)
        assert await lock.acquire()
        releasing = asyncio.ensure_future(lock.release())
        await asyncio.sleep(0)
        lock.local.token = b"another task's"
        await releasing
        assert lock.local.token == b"another task's"

    run_ours(body)


def test_the_error_of_the_body_is_not_masked_by_the_loss(run_ours: Run) -> None:
    async def body(make: Make) -> None:
        with pytest.raises(KeyError) as caught:
            async with make(timeout=30) as lock:
                await lose(make, lock)
                raise KeyError("of the body")
        assert "while the lock was released: LockNotOwnedError" in caught.value.__notes__[0]

    run_ours(body)


def test_the_fencing_token_is_the_token_and_nothing_stays_in_the_client(run_ours: Run) -> None:
    async def body(make: Make) -> None:
        async with make(timeout=3600) as lock:
            assert lock.local.token == str(lock.fencing_token).encode()
            with lock.client._transport.inside() as engine:
                assert len(engine.leases) == 0
        async with make() as lock:
            with lock.client._transport.inside() as engine:
                assert len(engine.leases) == 1

    run_ours(body)
