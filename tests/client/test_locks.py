"""The blocking client's locks and sessions, against a node that does what the test says."""

import signal
import threading
from collections.abc import Iterator

import grpc
import pytest

from lockd_client import (
    DeadlockError,
    LockdClient,
    LockLost,
    LockTimeout,
    NotOwned,
    OutcomeUnknown,
    SessionLost,
    UpgradeRefused,
)
from lockd_client.proto import lockd_pb2
from tests.client.fake_node import Fail, FakeNode
from tests.client.fake_state import State
from tests.eventually import eventually

BROKE_OFF = Fail(grpc.StatusCode.UNAVAILABLE)


@pytest.fixture(params=[True, False], ids=["stream", "unary"])
def node(request: pytest.FixtureRequest) -> Iterator[FakeNode]:
    with FakeNode(streams=request.param) as node:
        yield node


@pytest.fixture
def client(node: FakeNode) -> Iterator[LockdClient]:
    with LockdClient(port=node.port) as client:
        yield client


def test_a_lock_is_held_inside_and_free_after(node: FakeNode, client: LockdClient) -> None:
    with client.lock("a", ttl=30, owner="me", reason="why", metadata={"k": "v"}, lock_delay=1) as lock:
        assert (lock.owned, lock.token, lock.locked()) == (True, 1, True)
        assert lock.names == (("a", False),)
        assert 29 < lock.remaining() < 30
        lock.check()
    assert (lock.owned, lock.token, lock.remaining(), lock.locked()) == (False, 0, 0.0, False)
    (request,) = node.calls(lockd_pb2.LockRequest)
    assert (request.ttl_ms, request.wait_ms, request.lock_delay_ms, request.owner) == (30_000, -1, 1000, "me")
    assert request.agent
    with pytest.raises(NotOwned):
        lock.check()


def test_an_object_can_be_used_again(client: LockdClient) -> None:
    lock = client.lock("a")
    for token in (1, 2):
        with lock:
            assert lock.token == token


def test_it_waits_for_its_turn(node: FakeNode, client: LockdClient) -> None:
    tokens = []

    def work() -> None:
        with client.lock("a") as lock:
            tokens.append(lock.token)

    with client.lock("a"):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(node.state.waiters) == 8, 10)
    for thread in threads:
        thread.join(10)
    assert tokens == list(range(2, 10))


def test_threads_that_share_an_object_take_turns(client: LockdClient) -> None:
    lock, inside, most = client.lock("a"), [0], [0]

    def work() -> None:
        for _ in range(5):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [1]


def test_a_body_never_runs_without_the_lock(node: FakeNode, client: LockdClient) -> None:
    client.try_lock("a", ttl=0)

    def end() -> None:
        eventually(lambda: node.state.waiters, 10)
        node.time_out()

    threading.Thread(target=end).start()
    with pytest.raises(LockTimeout), client.lock("a", wait=5):
        pytest.fail("the body ran")


def test_not_blocking(node: FakeNode, client: LockdClient) -> None:
    client.try_lock("a", ttl=0)
    lock = client.lock("a")
    assert lock.acquire(blocking=False) is False
    assert node.calls(lockd_pb2.LockRequest)[-1].wait_ms == 0
    with pytest.raises(NotOwned):
        lock.release()
    with pytest.raises(ValueError, match="blocking=True"):
        lock.acquire(blocking=False, timeout=1)


def test_the_same_object_in_the_same_thread_is_a_deadlock(client: LockdClient) -> None:
    with client.lock("a") as lock:
        assert lock.acquire(blocking=False) is False
        with pytest.raises(DeadlockError) as raised:
            lock.acquire()
        assert raised.value.cycle[0].name == "a"


@pytest.mark.parametrize(
    ("outcome", "kind"), [(lockd_pb2.DEADLOCK, DeadlockError), (lockd_pb2.UPGRADE_REFUSED, UpgradeRefused)]
)
def test_refusals(node: FakeNode, client: LockdClient, outcome: lockd_pb2.Outcome, kind: type[Exception]) -> None:
    link = lockd_pb2.CycleLink(owner="o", agent="x", name="b")
    refusal = lockd_pb2.LockResponse(outcome=outcome, cycle=[link])
    node.lock = lambda request, reply: reply(refusal)  # type: ignore[method-assign]
    lock = client.lock("a")
    with pytest.raises(kind, match=r"o \(x\) waits for b" if kind is DeadlockError else None):
        lock.acquire()
    assert not lock.owned


def test_a_set_is_one_hold(node: FakeNode, client: LockdClient) -> None:
    with client.lock_all(["a", ("b", True)]) as lock:
        assert {hold.token for hold in node.holds.values()} == {lock.token}
        assert [holder.mode.value for holder in client.list()] == ["EXCLUSIVE", "SHARED"]
    assert not node.holds


def test_it_is_renewed_in_the_background(node: FakeNode, client: LockdClient) -> None:
    with client.lock("a", ttl=0.3) as lock:
        eventually(lambda: len(node.calls(lockd_pb2.RenewRequest)) >= 3, 10)
        lock.check()


def test_it_is_lost_by_the_clients_own_clock(node: FakeNode, client: LockdClient) -> None:
    told = threading.Event()
    with pytest.raises(LockLost), client.lock("a", ttl=0.5, auto_renew=False) as lock:
        lock.on_lost(told.set)
        assert lock.lost.wait(10)
        assert told.wait(10)
        assert not lock.owned
        with pytest.raises(LockLost):
            lock.check()
    assert not node.calls(lockd_pb2.RenewRequest)
    eventually(lambda: not node.holds, 10)


def test_a_callback_that_fails_ends_no_renewals(
    node: FakeNode, client: LockdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: failed.append(arguments.exc_value))

    def fail() -> None:
        raise KeyError("the callback's")

    with pytest.raises(LockLost), client.lock("a", ttl=3) as lock:
        lock.on_lost(fail)
        node.lose(lock.token)
        eventually(lambda: failed, 10)
    assert isinstance(failed[0], KeyError)
    with client.lock("a", ttl=0.5) as lock:
        renewals = len(node.calls(lockd_pb2.RenewRequest))
        eventually(lambda: len(node.calls(lockd_pb2.RenewRequest)) > renewals + 1, 10)


def test_it_is_lost_when_a_node_says_so(node: FakeNode, client: LockdClient) -> None:
    with pytest.raises(LockLost), client.lock("a", ttl=3) as lock:
        node.lose(lock.token)
        assert lock.lost.wait(10)


def test_it_was_lost_when_the_release_finds_nothing(node: FakeNode, client: LockdClient) -> None:
    with pytest.raises(LockLost), client.lock("a") as lock:
        node.lose(lock.token)


def test_the_bodys_exception_is_never_masked(node: FakeNode, client: LockdClient) -> None:
    with pytest.raises(KeyError) as raised, client.lock("a") as lock:
        node.lose(lock.token)
        raise KeyError("the body's")
    assert "LockLost" in raised.value.__notes__[0]


def test_what_is_lost_stays_lost_until_it_is_acquired_again(node: FakeNode, client: LockdClient) -> None:
    lock = client.lock("a", ttl=0.5, auto_renew=False)
    lock.acquire()
    assert lock.lost.wait(10)
    with pytest.raises(LockLost):
        lock.release()
    assert lock.acquire()
    assert not lock.lost.is_set()
    lock.release()


def test_after_a_long_wait_it_is_renewed_before_anybody_is_told(node: FakeNode, client: LockdClient) -> None:
    """The margin for clocks grows with the wait: after an hour it is longer than the ttl."""
    node.waited_ms, node.lease_remaining_ms = 0, 500
    with client.lock("a", ttl=30) as lock:
        assert lock.remaining() > 29
        assert len(node.calls(lockd_pb2.RenewRequest)) == 1


def test_one_that_ended_on_its_way_is_asked_for_again(node: FakeNode, client: LockdClient) -> None:
    node.lease_remaining_ms = 500

    def lose(_context: object) -> None:
        node.lease_remaining_ms = None
        node.lose(1)

    node.after.append(lose)
    with client.lock("a", ttl=30) as lock:
        assert lock.token == 2


def test_a_withdrawn_wait_is_asked_for_again(node: FakeNode, client: LockdClient) -> None:
    node.before.append(Fail(grpc.StatusCode.ABORTED, "WITHDRAWN"))
    with client.lock("a"):
        first, second = node.calls(lockd_pb2.LockRequest)
        assert (first.request.sequence, second.request.sequence) == (1, 2)


def test_an_outcome_that_stays_unknown_is_cancelled_in_the_background(node: FakeNode) -> None:
    with LockdClient(port=node.port, timeout=0.4) as client:
        client.is_locked("a")
        node.after.extend([BROKE_OFF] * 200)
        with pytest.raises(OutcomeUnknown):
            client.lock("a").acquire(blocking=False)
        assert node.state.last_token == 1
        node.after.clear()
        eventually(lambda: not node.holds, 10)


def test_a_release_in_doubt_goes_on_under_its_own_id(node: FakeNode) -> None:
    """Under another one it would take a second count off a re-entrant hold."""
    with LockdClient(port=node.port, timeout=0.4) as client:
        lock = client.lock("a", ttl=30)
        lock.acquire()
        node.after.extend([BROKE_OFF] * 200)
        with pytest.raises(OutcomeUnknown):
            lock.release()
        before = len(node.calls(lockd_pb2.UnlockRequest))
        node.after.clear()
        eventually(lambda: len(node.calls(lockd_pb2.UnlockRequest)) > before, 10)
        assert len({call.request.sequence for call in node.calls(lockd_pb2.UnlockRequest)}) == 1


def test_an_interrupted_acquire_leaves_nothing_behind(node: FakeNode, client: LockdClient) -> None:
    client.try_lock("a", ttl=0)
    main = threading.get_ident()

    def interrupt() -> None:
        eventually(lambda: node.state.waiters, 10)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        client.lock("a").acquire()
    eventually(lambda: not node.state.waiters, 10)
    eventually(lambda: node.calls(lockd_pb2.CancelRequest), 10)


def test_a_waiting_lock_goes_on_through_the_next_node() -> None:
    state = State()
    with (
        FakeNode(1, state=state) as one,
        FakeNode(2, state=state) as two,
        LockdClient(endpoints=[one.endpoint, two.endpoint]) as client,
    ):
        token = client.try_lock("a", ttl=0).token
        lock, acquired = client.lock("a"), []
        thread = threading.Thread(target=lambda: acquired.append(lock.acquire()))
        thread.start()
        eventually(lambda: state.waiters, 10)
        one.stop()
        (again,) = eventually(lambda: two.calls(lockd_pb2.LockRequest), 10)
        assert again.attempt == 2
        client.unlock(token)
        thread.join(10)
        assert acquired == [True]


def test_a_session_carries_many_locks(node: FakeNode, client: LockdClient) -> None:
    with client.open_session(ttl=30) as session, client.lock("a", session=session) as lock:
        (request,) = node.calls(lockd_pb2.LockRequest)
        assert (request.session_id, request.ttl_ms) == (session.id, 0)
        assert lock.remaining() == pytest.approx(session.remaining(), abs=1)
    assert session.remaining() == 0.0
    with pytest.raises(SessionLost):
        client.lock("a", session=session).acquire()


def test_a_session_that_ended_takes_its_locks_along(node: FakeNode, client: LockdClient) -> None:
    session = client.open_session(ttl=1)
    lock = client.lock("a", session=session)
    lock.acquire()
    node.lapse(session.id)
    assert session.lost.wait(10)
    assert lock.lost.wait(10)
    with pytest.raises(LockLost):
        lock.release()


def test_re_entrant_locks_share_the_clients_session_and_the_threads_agent(node: FakeNode, client: LockdClient) -> None:
    with client.lock("a", reentrant=True), client.lock("b", reentrant=True):
        first, second = node.calls(lockd_pb2.LockRequest)
        assert first.session_id == second.session_id != 0
        assert first.agent == second.agent
        assert first.reentrant


def test_every_thread_has_an_agent_of_its_own(node: FakeNode, client: LockdClient) -> None:
    def work(name: str) -> None:
        with client.lock(name):
            pass

    for number in range(4):  # one after the other: the operating system gives idents again
        thread = threading.Thread(target=work, args=(str(number),))
        thread.start()
        thread.join(10)
    assert len({request.agent for request in node.calls(lockd_pb2.LockRequest)}) == 4


def test_closing_ends_the_clients_own_sessions_and_leaves_holds(node: FakeNode) -> None:
    client = LockdClient(port=node.port)
    client.lock("a").acquire()
    client.lock("b", reentrant=True).acquire()
    client.close()
    assert set(node.holds) == {"a"}


def test_watching_goes_on_where_it_was(node: FakeNode, client: LockdClient) -> None:
    node.state.events.extend(
        lockd_pb2.Event(revision=number, kind=lockd_pb2.EVENT_GRANTED, wants=[lockd_pb2.Want(name="a")])
        for number in range(1, 5)
    )
    events = client.watch(from_revision=2)
    assert [next(events).revision for _ in range(3)] == [2, 3, 4]
    node.after.append(BROKE_OFF)
    eventually(lambda: not node.after, 10)
    node.state.events.append(lockd_pb2.Event(revision=5))
    assert next(events).revision == 5
    assert [request.from_revision for request in node.calls(lockd_pb2.WatchRequest)] == [2, 5]


def test_get_cancel_check_and_break(node: FakeNode, client: LockdClient) -> None:
    token = client.try_lock("a", ttl=0, owner="first").token
    assert client.check_token("a", token)
    assert not client.check_token("a", token + 1)
    thread = threading.Thread(target=lambda: client.lock("a", owner="second").acquire())
    thread.start()
    eventually(lambda: node.state.waiters, 10)
    info = client.get("a")
    assert ([each.owner for each in info.holders], [each.owner for each in info.waiters]) == (["first"], ["second"])
    assert [each.owner for each in client.waiters()] == ["second"]
    assert client.break_hold(token, reason="stuck")
    (request,) = node.calls(lockd_pb2.UnlockRequest)
    assert (request.force, request.reason) == (True, "stuck")
    thread.join(10)


# ---- several threads and one object
