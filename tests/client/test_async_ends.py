"""What becomes of the asyncio client where its tasks are cancelled, by asyncio.run() at its end or by the program."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop

from lockd_client import AsyncLockdClient, ClientClosed
from lockd_client.proto import lockd_pb2
from tests.client.fake_node import FakeNode
from tests.eventually import async_eventually

WITHIN_S = 30.0
TURNS = 25  # of a loop, from the first call on: the stream is opened meanwhile

Body = Callable[[FakeNode, AsyncLockdClient], Awaitable[object]]


@pytest.fixture(params=["stream", "unary"])
def node(request: pytest.FixtureRequest) -> Iterator[FakeNode]:
    with FakeNode(streams=request.param == "stream") as node:
        yield node


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, node: FakeNode) -> Callable[[Body], None]:
    """As asyncio.run(), of what is given a client that nobody closes. Nothing is left, and nothing was said."""
    said: list[dict[str, Any]] = []

    def run(body: Body) -> None:
        async def main() -> object:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: said.append(context))
            loop.call_later(WITHIN_S, loop.stop)  # whoever waits for ever learns so
            return await body(node, AsyncLockdClient(port=node.port))

        with asyncio.Runner(loop_factory=request.param) as runner:
            kept = runner.run(main())
            loop = runner.get_loop()
        assert not asyncio.all_tasks(loop)
        del kept, loop
        gc.collect()
        assert not said

    return run


def cancel_others(*spared: asyncio.Task[Any] | None) -> None:
    """As `for task in asyncio.all_tasks(): task.cancel()`, the client's own among them."""
    for task in asyncio.all_tasks() - {asyncio.current_task(), *spared}:
        task.cancel()


# ---- where the loop ends


def test_what_tasks_hold_when_the_program_ends_is_released(node: FakeNode, run: Callable[[Body], None]) -> None:
    async def work(client: AsyncLockdClient, name: str) -> None:
        async with client.lock(name, ttl=30):
            await asyncio.Event().wait()

    async def body(node: FakeNode, client: AsyncLockdClient) -> object:
        tasks = [asyncio.create_task(work(client, name)) for name in "abc"]
        await async_eventually(lambda: len(node.holds) == 3, WITHIN_S)
        return tasks

    run(body)
    assert not node.holds


def test_what_asynchronous_generators_hold_then_is_released(node: FakeNode, run: Callable[[Body], None]) -> None:
    async def holding(client: AsyncLockdClient) -> AsyncIterator[None]:
        async with client.lock("a", ttl=30):
            yield

    async def with_a_client_of_its_own(node: FakeNode) -> AsyncIterator[None]:
        async with AsyncLockdClient(port=node.port) as client, client.lock("b", ttl=30):
            yield

    async def body(node: FakeNode, client: AsyncLockdClient) -> object:
        generators = [holding(client), with_a_client_of_its_own(node)]
        for generator in generators:
            await anext(generator)
        assert len(node.holds) == 2
        return generators

    run(body)
    assert not node.holds


def test_a_release_that_the_end_interrupts_reaches_the_node(node: FakeNode, run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> object:
        lock = client.lock("a", ttl=30)
        await lock.acquire()
        releasing = asyncio.create_task(lock.release())
        await asyncio.sleep(0)
        return releasing

    run(body)
    assert not node.holds


def test_the_end_does_not_wait_for_a_node_that_does_not_answer(node: FakeNode, run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> object:
        lock = client.lock("a", ttl=30)
        await lock.acquire()
        node.before.extend([node.hang] * 100)
        releasing = asyncio.create_task(lock.release())
        await async_eventually(lambda: len(node.before) < 100, WITHIN_S)
        return releasing

    run(body)
    assert node.holds


def test_a_client_that_was_closed_is_let_go(node: FakeNode, run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> object:
        async with client, client.lock("a", ttl=30):
            pass
        await client.close()
        with pytest.raises(ClientClosed):
            await client.is_locked("a")
        return client

    run(body)


# ---- where it goes on


def test_renewals_go_on_after_all_tasks_were_cancelled(node: FakeNode, run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        async with client.lock("a", ttl=1) as lock:
            cancel_others()
            await async_eventually(lambda: len(node.calls(lockd_pb2.RenewRequest)) >= 5, WITHIN_S)
            lock.check()

    run(body)


def test_so_does_the_clock_by_which_locks_are_lost(node: FakeNode, run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        lock, told = client.lock("a", ttl=0.5, auto_renew=False), asyncio.Event()
        lock.on_lost(told.set)
        await lock.acquire()
        cancel_others()
        await lock.lost.wait()
        await told.wait()

    run(body)


def test_whoever_waits_in_the_queue_keeps_the_place(node: FakeNode, run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        token = (await client.try_lock("a", ttl=0)).token

        async def disturb() -> None:
            await async_eventually(lambda: bool(node.state.waiters), WITHIN_S)
            cancel_others(waiting)
            await async_eventually(lambda: len(node.calls(lockd_pb2.LockRequest)) == 3, WITHIN_S)
            await client.unlock(token)

        waiting = asyncio.current_task()
        disturbing = asyncio.create_task(disturb())
        assert await client.lock("a", ttl=30).acquire()
        await disturbing

    run(body)


def test_calls_and_renewals_go_on_where_a_single_task_was_cancelled(
    node: FakeNode, run: Callable[[Body], None]
) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        async with client.lock("a", ttl=30):
            for place in range(len(asyncio.all_tasks())):
                await client.is_locked("a")
                others = sorted(asyncio.all_tasks() - {asyncio.current_task()}, key=lambda task: task.get_name())
                cancel_others(*(others[:place] + others[place + 1 :]))
                assert await client.is_locked("a")

    run(body)


@pytest.mark.parametrize("turns", range(TURNS))
def test_a_call_is_answered_at_whatever_moment_they_were_cancelled(
    node: FakeNode, run: Callable[[Body], None], turns: int
) -> None:
    """Some of them before they began."""

    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        async def disturb() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            cancel_others(asking)

        asking = asyncio.current_task()
        disturbing = asyncio.create_task(disturb())
        async with client.lock("a", ttl=30):
            await disturbing
            again = asyncio.create_task(disturb())
        await again

    run(body)
    assert not node.holds


# ---- the end of the client


def test_a_client_whose_close_is_cancelled_is_closed(node: FakeNode, run: Callable[[Body], None]) -> None:
    async def body(node: FakeNode, client: AsyncLockdClient) -> None:
        lock = client.lock("a", ttl=1)
        await lock.acquire()
        await client.lock("b", ttl=30, reentrant=True).acquire()
        node.before.extend([node.hang] * 100)
        closing = asyncio.create_task(client.close())
        await async_eventually(lambda: len(node.before) < 100, WITHIN_S)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(ClientClosed):
            await client.is_locked("a")

    run(body)
