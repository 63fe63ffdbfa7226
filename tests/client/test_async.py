"""The asyncio client: the same rules over another driver."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from lockd_client import AsyncLockdClient, LockLost, LockTimeout, NotOwned, OutcomeUnknown, SessionLost
from lockd_client.proto import lockd_pb2
from tests.client.fake_node import Fail, FakeNode
from tests.client.fake_state import State
from tests.eventually import async_eventually

BROKE_OFF = Fail(grpc.StatusCode.UNAVAILABLE)

Body = Callable[[FakeNode, AsyncLockdClient], Awaitable[None]]


@asynccontextmanager
async def connected(streams: bool) -> AsyncIterator[tuple[FakeNode, AsyncLockdClient]]:
    with FakeNode(streams=streams) as node:
        async with AsyncLockdClient(port=node.port) as client:
            yield node, client


@pytest.fixture(params=[True, False], ids=["stream", "unary"])
def run(request: pytest.FixtureRequest) -> Callable[[Body], None]:
    def run(body: Body) -> None:
        async def main() -> None:
            async with connected(request.param) as (node, client), asyncio.timeout(30):
                await body(node, client)

        asyncio.run(main())

    return run


def test_a_lock_is_held_inside_and_free_after(run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        async with client.lock("a", ttl=30) as lock:
            assert (lock.owned, lock.token, await lock.locked()) == (True, 1, True)
            assert 29 < lock.remaining() < 30
            lock.check()
        assert (lock.owned, lock.token, await lock.locked()) == (False, 0, False)
        with pytest.raises(NotOwned):
            lock.check()

    run(body)


def test_single_calls(run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        assert await client.Lock("foo")
        assert await client.IsLocked("foo")
        assert await client.Unlock("foo")
        answer = await client.try_lock("a", ttl=30)
        assert await client.is_locked("a")
        assert await client.check_token("a", answer.token)
        assert (await client.renew(answer.token, 60)).lease_remaining == 60
        assert [holder.name async for holder in client.list()] == ["a"]
        assert (await client.get("a")).holders_count == 1
        assert (await client.status()).node_id == 1
        assert await client.unlock(answer.token)

    run(body)


def test_tasks_queue(run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        tokens = []

        async def work() -> None:
            async with client.lock("a") as lock:
                tokens.append(lock.token)

        await asyncio.gather(*(work() for _ in range(8)))
        assert tokens == sorted(tokens)
        assert len({request.agent for request in node.calls(lockd_pb2.LockRequest)}) == 8

    run(body)


def test_a_cancelled_acquire_leaves_nothing_behind(run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        async with client.lock("a"):
            task = asyncio.create_task(client.lock("a").acquire())
            await async_eventually(lambda: bool(node.state.waiters), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await async_eventually(lambda: not node.state.waiters, 10)
            await async_eventually(lambda: bool(node.calls(lockd_pb2.CancelRequest)), 10)

    run(body)


def test_a_grant_whose_answer_is_not_awaited_is_undone(run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        await client.status()
        node.after.append(node.hang)
        task = asyncio.create_task(client.lock("a").acquire())
        await async_eventually(lambda: bool(node.holds), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        node.resume()
        await async_eventually(lambda: not node.holds, 10)

    run(body)


def test_a_cancelled_body_releases(run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        async def work() -> None:
            async with client.lock("a"):
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await async_eventually(lambda: bool(node.holds), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await async_eventually(lambda: not node.holds, 10)

    run(body)


def test_a_wait_that_is_over(run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        async def end() -> None:
            await async_eventually(lambda: bool(node.state.waiters), 10)
            node.time_out()

        async with client.lock("a"), asyncio.TaskGroup() as group:
            group.create_task(end())
            with pytest.raises(LockTimeout):
                async with client.lock("a", wait=5):
                    pytest.fail("the body ran")

    run(body)


def test_it_is_lost_by_the_clients_own_clock(run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        told = asyncio.Event()
        with pytest.raises(LockLost):
            async with client.lock("a", ttl=0.5, auto_renew=False) as lock:
                lock.on_lost(told.set)
                await lock.lost.wait()
                await told.wait()
                assert not lock.owned

    run(body)


def test_it_is_renewed_in_the_background(run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        async with client.lock("a", ttl=0.5) as lock:
            await async_eventually(lambda: len(node.calls(lockd_pb2.RenewRequest)) >= 3, 10)
            lock.check()

    run(body)


def test_sessions(run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        async with await client.open_session(ttl=1) as session:
            lock = client.lock_all(["a", "b"], session=session)
            await lock.acquire()
            node.lapse(session.id)
            await session.lost.wait()
            await lock.lost.wait()
            with pytest.raises(SessionLost):
                await client.lock("c", session=session).acquire()
        async with client.lock("r", reentrant=True), client.lock("s", reentrant=True):
            sessions = {request.session_id for request in node.calls(lockd_pb2.LockRequest)[-2:]}
            assert len(sessions) == 1

    run(body)


def test_watching_goes_on_where_it_was(run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        node.state.events.extend(lockd_pb2.Event(revision=number) for number in range(1, 4))
        events = client.watch(from_revision=2)
        assert [(await anext(events)).revision for _ in range(2)] == [2, 3]
        node.after.append(BROKE_OFF)
        await async_eventually(lambda: not node.after, 10)
        node.state.events.append(lockd_pb2.Event(revision=4))
        assert (await anext(events)).revision == 4

    run(body)


def test_an_unknown_outcome_is_cancelled_in_the_background() -> None:
    async def main() -> None:
        with FakeNode() as node:
            async with AsyncLockdClient(port=node.port, timeout=0.4) as client:
                await client.is_locked("a")
                node.after.extend([BROKE_OFF] * 200)
                with pytest.raises(OutcomeUnknown):
                    await client.lock("a").acquire(blocking=False)
                node.after.clear()
                await async_eventually(lambda: not node.holds, 10)

    asyncio.run(main())


def test_a_waiting_lock_goes_on_through_the_next_node() -> None:
    async def main() -> None:
        state = State()
        with FakeNode(1, state=state) as one, FakeNode(2, state=state) as two:
            async with AsyncLockdClient(endpoints=[one.endpoint, two.endpoint]) as client:
                token = (await client.try_lock("a", ttl=0)).token
                task = asyncio.create_task(client.lock("a").acquire())
                await async_eventually(lambda: bool(state.waiters), 10)
                await asyncio.to_thread(one.stop)
                await async_eventually(lambda: bool(two.calls(lockd_pb2.LockRequest)), 10)
                await client.unlock(token)
                assert await task

    asyncio.run(main())


def test_a_client_belongs_to_one_loop() -> None:
    with FakeNode() as node:
        client = AsyncLockdClient(port=node.port)

        async def use() -> None:
            await client.status()

        async def close() -> None:
            await client.status()
            await client.close()

        asyncio.run(close())
        with pytest.raises(RuntimeError, match="event loop of its first call"):
            asyncio.run(use())
