"""When renewals end: with the lock, with its object, with the client, and never later."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from lockd_client import AsyncLockdClient, Lock, LockdClient, State
from lockd_client.clock import now
from lockd_client.proto import lockd_pb2
from tests.client.fake_node import FakeNode
from tests.eventually import async_eventually, eventually

WITHIN_S = 10.0
TTL_S = 0.3
LONG_TTL_S = 1.5  # where a loss on a busy machine would be taken for the end that is looked for


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


def renewed(node: FakeNode) -> list[int]:
    """The tokens, in the order of the renewals."""
    return [request.token for request in node.calls(lockd_pb2.RenewRequest)]


def kept_alive(node: FakeNode) -> int:
    return len(node.calls(lockd_pb2.KeepAliveRequest))


def goes_on_alone(node: FakeNode) -> None:
    """While another client's lock is renewed several times, nothing else is."""
    before, alive = len(renewed(node)), kept_alive(node)
    with LockdClient(port=node.port) as client, client.lock("another", ttl=TTL_S) as another:
        eventually(lambda: renewed(node).count(another.token) > 3, WITHIN_S)
        assert set(renewed(node)[before:]) == {another.token}
    assert kept_alive(node) == alive


def test_a_lock_that_was_released_is_not_renewed(node: FakeNode) -> None:
    with LockdClient(port=node.port) as client:
        with client.lock("a", ttl=TTL_S):
            eventually(lambda: renewed(node), WITHIN_S)
        goes_on_alone(node)


def test_a_client_that_was_closed_renews_nothing(node: FakeNode) -> None:
    client = LockdClient(port=node.port)
    lock, session = client.lock("a", ttl=TTL_S), client.open_session(ttl=TTL_S)
    lock.acquire()
    eventually(lambda: renewed(node) and kept_alive(node), WITHIN_S)
    client.close()
    goes_on_alone(node)
    assert (node.holds["a"].token, session.id) == (lock.token, 1)  # they end with their leases


def take(client: LockdClient) -> weakref.ref[Lock]:
    lock = client.lock("a", ttl=TTL_S)
    lock.acquire()
    return weakref.ref(lock)


def test_a_lock_is_not_renewed_once_its_object_is_gone(node: FakeNode) -> None:
    with LockdClient(port=node.port) as client:
        gone = take(client)
        gc.collect()
        assert gone() is None
        goes_on_alone(node)


def test_a_re_entrant_lock_ends_with_its_object_though_its_session_lives(node: FakeNode) -> None:
    """No sooner than a lock with a lease of its own; whoever listens is told of a loss. Others in the session stay."""
    with LockdClient(port=node.port) as client:
        told: list[State] = []
        lock, again, other = (client.lock(name, ttl=LONG_TTL_S, reentrant=True) for name in ("a", "a", "b"))
        lock.on_state(told.append)
        assert all(each.acquire() for each in (lock, lock, again, other))
        gone, began = weakref.ref(lock), now()
        del lock
        gc.collect()
        assert gone() is None
        eventually(lambda: State.LOST in told, WITHIN_S)
        assert now() - began >= LONG_TTL_S
        eventually(lambda: node.holds["a"].count == 1, WITHIN_S)
        assert (again.owned, other.owned) == (True, True)
        again.release()
        assert list(node.holds) == ["b"]


def test_a_clients_own_sessions_end_once_it_is_dropped_with_its_locks(node: FakeNode) -> None:
    with LockdClient(port=node.port) as another:
        client = LockdClient(port=node.port)
        transport = client._transport
        lock = client.lock("a", ttl=LONG_TTL_S, reentrant=True)
        lock.acquire()
        del client
        gc.collect()
        before = kept_alive(node)
        eventually(lambda: kept_alive(node) > before + 1, WITHIN_S)  # for the lock, which is still there
        lock.release()
        del lock
        eventually(lambda: gc.collect() >= 0 and node.calls(lockd_pb2.CloseSessionRequest), WITHIN_S)
        assert not another.is_locked("a")
        transport.close()


def test_a_session_is_not_kept_alive_once_its_object_is_gone(node: FakeNode) -> None:
    async def use() -> None:
        async with AsyncLockdClient(port=node.port) as client:
            await client.open_session(ttl=TTL_S)
            gc.collect()
            before = kept_alive(node)
            async with client.lock("another", ttl=TTL_S):
                await async_eventually(lambda: len(renewed(node)) > 3, WITHIN_S)
                assert kept_alive(node) == before

    asyncio.run(use())


def test_a_task_acquires_again_what_it_holds_and_another_does_not(node: FakeNode) -> None:
    async def use() -> None:
        async with AsyncLockdClient(port=node.port) as client:
            first, second = client.lock("a", reentrant=True), client.lock("a", reentrant=True)
            async with first, second:
                assert first.token == second.token
                another = asyncio.create_task(client.lock("a", reentrant=True).acquire(blocking=False))
                assert await another is False
            assert not node.holds

    asyncio.run(use())
