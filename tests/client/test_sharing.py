"""What threads share, what is held twice, what fails at its end: nothing is lost, left behind or another's."""

import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import grpc
import pytest

from lockd_client import (
    ClientClosed,
    Lock,
    LockdClient,
    LockdError,
    LockLost,
    LockTimeout,
    NotOwned,
    State,
    Unavailable,
)
from lockd_client.engine import Engine
from lockd_client.interrupts import put_off
from lockd_client.proto import lockd_pb2
from lockd_client.turns import Turns
from tests.client.fake_node import Fail, FakeNode
from tests.eventually import eventually

WITHIN_S = 10.0


@pytest.fixture(params=[True, False], ids=["stream", "unary"])
def node(request: pytest.FixtureRequest) -> Iterator[FakeNode]:
    with FakeNode(streams=request.param) as node:
        yield node


@pytest.fixture
def client(node: FakeNode) -> Iterator[LockdClient]:
    with LockdClient(port=node.port) as client:
        yield client


def test_a_thread_that_waits_in_vain_takes_nothing_from_the_one_that_waits_with_it(
    node: FakeNode, client: LockdClient
) -> None:
    """The first has the turn and waits at the node; the second gives up after the first has acquired."""
    other = client.try_lock("a", ttl=0)
    lock = client.lock("a", wait=0.5)
    inside, may_end = threading.Event(), threading.Event()

    def first() -> None:
        assert lock.acquire()
        inside.set()
        may_end.wait(10)
        lock.release()

    thread = threading.Thread(target=first)
    thread.start()
    eventually(lambda: node.state.waiters, 10)
    failed: list[BaseException] = []

    def second() -> None:
        try:
            with lock:
                pass
        except LockTimeout as error:
            failed.append(error)

    waiting = threading.Thread(target=second)
    waiting.start()
    client.unlock(other.token)
    assert inside.wait(10)
    waiting.join(10)
    assert len(failed) == 1
    assert lock.owned
    may_end.set()
    thread.join(10)
    assert not node.holds


def test_a_release_of_what_is_only_waited_for_is_refused_and_harms_nothing(node: FakeNode, client: LockdClient) -> None:
    other, lock = client.try_lock("a", ttl=0), client.lock("a")
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    eventually(lambda: node.state.waiters, 10)
    with pytest.raises(NotOwned):
        lock.release()
    client.unlock(other.token)
    thread.join(10)
    lock.release()
    assert not node.holds


def test_two_objects_that_hold_re_entrantly_count_on_their_own(node: FakeNode, client: LockdClient) -> None:
    first, second = client.lock("a", reentrant=True), client.lock("a", reentrant=True)
    with first:
        with second:
            assert first.token == second.token
        assert not second.owned
        assert first.owned
    assert not node.holds
    with second:
        assert second.owned


def test_a_session_lives_as_long_as_what_is_held_in_it(node: FakeNode, client: LockdClient) -> None:
    lock = client.lock("a", session=client.open_session(ttl=2))
    with lock:
        gc.collect()
        before = len(node.calls(lockd_pb2.KeepAliveRequest))
        eventually(lambda: len(node.calls(lockd_pb2.KeepAliveRequest)) > before + 1, 10)
        lock.check()


def test_what_is_held_twice_and_lost_is_lost_twice_before_another_thread_has_its_turn(
    node: FakeNode, client: LockdClient
) -> None:
    lock = client.lock("a", ttl=3, reentrant=True)
    owned: list[bool] = []

    def take() -> None:
        with lock:
            owned.append(lock.owned)
            over.wait(WITHIN_S)
            owned.append(lock.owned)

    over, thread = threading.Event(), threading.Thread(target=take)
    lock.acquire()
    lock.acquire()
    thread.start()
    node.lapse(node.holds["a"].session_id)
    assert lock.lost.wait(WITHIN_S)
    with pytest.raises(LockLost):
        lock.acquire()  # the outer hold would seem to be there again
    for _ in range(2):
        assert not owned
        with pytest.raises(LockLost):
            lock.release()
    eventually(lambda: owned, WITHIN_S)
    over.set()
    thread.join()
    assert owned == [True, True]
    assert not node.holds


def test_a_hold_that_was_broken_is_not_taken_anew_inside_itself(node: FakeNode, client: LockdClient) -> None:
    lock = client.lock("a", ttl=30, reentrant=True)
    lock.acquire()
    node.lose(lock.token)
    with pytest.raises(LockLost):
        lock.acquire()
    assert (lock.owned, lock.state, lock.remaining()) == (False, State.LOST, 0)
    with pytest.raises(LockLost):
        lock.release()


def test_a_hold_that_was_broken_is_known_as_lost_from_the_first_release_on(node: FakeNode, client: LockdClient) -> None:
    lock = client.lock("a", ttl=30, reentrant=True)
    lock.acquire()
    lock.acquire()
    node.lose(lock.token)
    with pytest.raises(LockLost):
        lock.release()
    assert (lock.owned, lock.state, lock.remaining(), lock.lost.is_set()) == (False, State.LOST, 0, True)
    with pytest.raises(LockLost):
        lock.release()
    eventually(lambda: not node.holds, WITHIN_S)
    with lock:
        assert lock.owned


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAUTHENTICATED])
def test_a_release_that_was_refused_is_repeated(node: FakeNode, client: LockdClient, code: grpc.StatusCode) -> None:
    session = client.open_session(ttl=3600)
    lock = client.lock("a", session=session)
    lock.acquire()
    node.before.extend([Fail(code, code.name)] * 2)  # in the background, too
    with pytest.raises(LockdError):
        lock.release()
    eventually(lambda: not node.holds, WITHIN_S)


def test_closing_a_session_that_failed_is_repeated(node: FakeNode) -> None:
    with LockdClient(port=node.port, timeout=0.5) as client:
        session = client.open_session(ttl=3600)
        client.lock("a", session=session).acquire()
        node.before.extend([Fail(grpc.StatusCode.UNAVAILABLE, "NO_LEADER")] * 50)
        with pytest.raises(Unavailable):
            session.close()
        node.before.clear()
        eventually(lambda: not node.holds, WITHIN_S)


def test_a_client_is_closed_though_its_end_is_interrupted(
    node: FakeNode, client: LockdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    lock = client.lock("a", ttl=0.3)
    lock.acquire()
    monkeypatch.setattr(client._transport, "linger", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.close()
    with pytest.raises(ClientClosed):
        client.is_locked("a")


# ---- turns


class Waiting:
    """A thread that takes its turn, and ends it at once."""

    def __init__(self, turns: Turns, order: list[str], name: str) -> None:
        self._turns, self._order, self._name = turns, order, name
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        assert self._turns.take(self._name, WITHIN_S)
        self._order.append(self._name)
        self._turns.end()

    def join(self) -> None:
        self._thread.join()


def test_turns_are_had_in_the_order_of_coming() -> None:
    turns, order = Turns(), list[str]()
    assert turns.take("I", 0)
    waiting = []
    for name in ("first", "second", "third"):
        waiting.append(Waiting(turns, order, name))
        eventually(lambda: len(turns._queue) == 1 + len(waiting), WITHIN_S)
    assert not turns.take("I", 0)
    assert not turns.take("I", 0.01)
    turns.end()
    for each in waiting:
        each.join()
    assert order == ["first", "second", "third"]
    assert turns.take("I", 0)


def test_who_waits_is_not_starved_by_who_comes_again_and_again() -> None:
    turns, order = Turns(), list[str]()
    assert turns.take("I", 0)
    waiting = Waiting(turns, order, "it")
    eventually(lambda: len(turns._queue) == 2, WITHIN_S)
    turns.end()
    assert turns.take("I", WITHIN_S)
    assert order == ["it"]
    waiting.join()


def test_a_turn_that_was_taken_twice_ends_twice() -> None:
    turns = Turns()
    assert turns.take("I", 0)
    turns.take_again()
    turns.end()
    assert (turns.agent, turns.take("another", 0)) == ("I", False)
    turns.end()
    turns.end()  # nobody's
    assert (turns.agent, turns.take("another", 0)) == ("", True)


@contextmanager
def handling(handler: Callable[[], object]) -> Iterator[None]:
    """Of SIGUSR1."""
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: handler())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def signal_once(condition: Callable[[], object]) -> threading.Thread:
    """From another thread, to the main one."""

    def run() -> None:
        eventually(condition, WITHIN_S)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_handler_of_a_signal_comes_before_the_wait_that_it_interrupted() -> None:
    """Or it would wait for what cannot go on before it returns."""
    turns, came = Turns(), list[bool]()

    def handler() -> None:
        turns.end()  # what another thread would do
        came.append(turns.take("handler", WITHIN_S))
        turns.end()

    holder = threading.Thread(target=turns.take, args=("holder", 0))
    holder.start()
    holder.join()
    with handling(handler):
        other = signal_once(lambda: len(turns._queue) == 2)
        with put_off:
            assert turns.take("I", WITHIN_S)
        other.join()
    assert came == [True]


@pytest.mark.parametrize("gets", [True, False])
def test_a_handler_of_a_signal_may_use_the_lock_that_the_main_thread_waits_for(
    node: FakeNode, client: LockdClient, gets: bool
) -> None:
    """Whether it gets it or not, the turn stays with the call that it interrupted, and ends with its release."""
    other, lock = client.try_lock("a", ttl=0), client.lock("a", ttl=30, reentrant=True)
    got: list[bool] = []

    def handler() -> None:
        if gets:
            client.unlock(other.token)
        got.append(lock.acquire(timeout=WITHIN_S) if gets else lock.acquire(blocking=False))
        if gets:
            lock.release()
        else:
            client.unlock(other.token)

    with handling(handler):
        signalling = signal_once(lambda: node.state.waiters)
        assert lock.acquire()
        signalling.join()
    assert got == [gets]
    lock.release()
    eventually(lambda: not node.holds, WITHIN_S)
    assert not lock._turns._queue


def test_what_a_handler_has_released_and_another_thread_has_by_now_is_not_given_back(
    node: FakeNode, client: LockdClient
) -> None:
    lock = client.lock("a", ttl=30)
    assert lock.acquire()
    before = (0, lock.token)
    lock.release()
    assert lock.acquire()
    lock._give_back([before])
    assert lock.owned
    assert list(node.holds) == ["a"]


def test_a_finalizer_inside_a_turn_is_refused_before_anything_is_done(node: FakeNode, client: LockdClient) -> None:
    lock = client.lock("a", ttl=30)
    for use in (lock.acquire, lock.release):
        with lock._turns._mutex, pytest.raises(RuntimeError, match="while it was at work"):
            use()
    with lock:
        assert lock.owned


def test_of_two_threads_that_release_at_once_one_does(
    node: FakeNode, client: LockdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, came, raised = client.lock("a", ttl=30), list[str](), list[type[BaseException]]()
    inside = client._transport.inside

    def coming() -> AbstractContextManager[Engine]:
        came.append(threading.current_thread().name)
        return inside()

    def release() -> None:
        try:
            lock.release()
        except NotOwned as error:
            raised.append(type(error))

    for _ in range(2):
        assert lock.acquire()
        threads = [threading.Thread(target=release) for _ in range(2)]
        monkeypatch.setattr(client._transport, "inside", coming)
        with client._transport._mutex:  # both have seen that it is held when they come to it
            for thread in threads:
                thread.start()
            eventually(lambda: {thread.name for thread in threads} <= set(came), WITHIN_S)  # noqa: B023  # it is called here
        for thread in threads:
            thread.join()
        monkeypatch.undo()
        assert (raised, lock._holding.count, len(lock._turns._queue)) == ([NotOwned], 0, 0)
        raised.clear()


def renewals(node: FakeNode, lock: Lock) -> int:
    return len([call for call in node.calls(lockd_pb2.RenewRequest) if call.token == lock.token])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_exits_ends_no_renewals(node: FakeNode, client: LockdClient) -> None:
    lost, kept = client.lock("a", ttl=3), client.lock("b", ttl=3)
    lost.acquire()
    kept.acquire()
    lost.on_lost(sys.exit)
    node.lose(lost.token)
    assert lost.lost.wait(WITHIN_S)
    before = renewals(node, kept)
    eventually(lambda: renewals(node, kept) > before + 1, WITHIN_S)
    assert kept.owned
