"""What a holder may believe while renewals fail, and renewals that depend on progress."""

import asyncio
import math
from collections.abc import Iterator

import grpc
import pytest

from lockd_client import (
    AsyncLock,
    AsyncLockdClient,
    AsyncSession,
    InvalidArgument,
    Lock,
    LockdClient,
    LockLost,
    NotOwned,
    State,
)
from lockd_client.proto import lockd_pb2
from tests.client.fake_node import Fail, FakeNode
from tests.eventually import async_eventually, eventually

WITHIN_S = 20.0
REFUSED = Fail(grpc.StatusCode.INTERNAL, "FAILED")


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


@pytest.fixture
def client(node: FakeNode) -> Iterator[LockdClient]:
    with LockdClient(port=node.port) as client:
        yield client


def state_of(what: Lock | AsyncLock | AsyncSession) -> State | None:
    """Asked anew: a type checker takes a property to stay what it was."""
    return what.state


def renewals(node: FakeNode) -> int:
    return len(node.calls(lockd_pb2.RenewRequest))


def fail_renewals(node: FakeNode, count: int) -> None:
    node.before.extend([REFUSED] * count)


def test_it_has_no_state_where_nothing_is_held(client: LockdClient) -> None:
    lock = client.lock("a")
    assert state_of(lock) is None
    with lock:
        assert state_of(lock) is State.CONNECTED
    assert state_of(lock) is None


def test_renewals_that_fail_suspend_it_and_one_that_succeeds_connects_it(node: FakeNode, client: LockdClient) -> None:
    lock, told = client.lock("a", ttl=2), list[State]()
    lock.on_state(told.append)
    with lock:
        fail_renewals(node, 4)  # at 0.67 s, and then each fifth of a second; suspended 1.24 s after the grant
        eventually(lambda: len(told) == 2, WITHIN_S)
        lock.check()
        assert (told, lock.state) == ([State.SUSPENDED, State.CONNECTED], State.CONNECTED)


def test_it_is_suspended_and_then_lost_without_a_network(node: FakeNode, client: LockdClient) -> None:
    lock, told = client.lock("a", ttl=2), list[State]()
    lock.on_state(told.append)
    lock.on_lost(lambda: told.append(State.LOST))
    lock.acquire()
    node.stop()
    assert lock.lost.wait(WITHIN_S)
    eventually(lambda: len(told) == 3, WITHIN_S)
    assert (told, lock.state) == ([State.SUSPENDED, State.LOST, State.LOST], State.LOST)
    with pytest.raises(LockLost):
        lock.release()
    assert lock.state is None


def test_a_session_has_a_state_and_so_has_what_is_held_in_it(node: FakeNode, client: LockdClient) -> None:
    session, told = client.open_session(ttl=2), list[State]()
    session.on_state(told.append)
    lock = client.lock("a", session=session)
    lock.acquire()
    assert (session.state, lock.state) == (State.CONNECTED, State.CONNECTED)
    node.stop()
    eventually(lambda: State.SUSPENDED in told, WITHIN_S)
    assert session.lost.wait(WITHIN_S)
    assert (session.state, lock.state) == (State.LOST, State.LOST)


def test_work_that_stops_reporting_loses_the_lock(node: FakeNode, client: LockdClient) -> None:
    lock = client.lock("a", ttl=2, progress_within=0.1)
    lock.acquire()
    assert lock.lost.wait(WITHIN_S)
    assert renewals(node) == 0
    with pytest.raises(LockLost):
        lock.progress()


def test_work_that_goes_on_keeps_the_lock(node: FakeNode, client: LockdClient) -> None:
    def goes_on() -> bool:
        lock.progress()
        return renewals(node) == 3

    with client.lock("a", ttl=2, progress_within=0.5) as lock:
        eventually(goes_on, WITHIN_S)
    with pytest.raises(NotOwned):
        lock.progress()


def test_a_report_that_comes_late_is_still_followed_by_a_renewal(node: FakeNode, client: LockdClient) -> None:
    with client.lock("a", ttl=2, progress_within=0.1) as lock:
        eventually(lambda: lock.state is State.SUSPENDED, WITHIN_S)
        lock.progress()
        eventually(lambda: renewals(node) == 1, WITHIN_S)
        eventually(lambda: lock.state is State.CONNECTED, WITHIN_S)


@pytest.mark.parametrize("within", [0, -1, math.nan])
def test_progress_within_nothing_is_refused(client: LockdClient, within: float) -> None:
    with pytest.raises(InvalidArgument, match="progress_within"):
        client.lock("a", progress_within=within)


def test_progress_is_for_leases_that_are_renewed(client: LockdClient) -> None:
    with pytest.raises(InvalidArgument, match="for locks that are renewed"):
        client.lock("a", progress_within=5, auto_renew=False)
    with pytest.raises(InvalidArgument, match="for locks that are renewed"):
        client.lock("a", ttl=0, progress_within=5)
    with client.open_session() as session, pytest.raises(InvalidArgument, match="for locks that are renewed"):
        client.lock("a", session=session, progress_within=5)


def test_the_asyncio_clients_locks_have_states_too(node: FakeNode) -> None:
    async def use() -> None:
        async with AsyncLockdClient(port=node.port) as client:
            lock, told = client.lock("a", ttl=2, progress_within=0.1), list[State]()
            lock.on_state(told.append)
            async with lock:
                assert state_of(lock) is State.CONNECTED
                await async_eventually(lambda: told == [State.SUSPENDED], WITHIN_S)
                lock.progress()
                await async_eventually(lambda: told == [State.SUSPENDED, State.CONNECTED], WITHIN_S)
            async with await client.open_session() as session:
                assert state_of(session) is State.CONNECTED
            assert state_of(lock) is state_of(session) is None

    asyncio.run(use())
