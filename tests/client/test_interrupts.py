"""Handlers of signals that raise, at every line of the client's code."""

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

import lockd_client
from lockd_client import LockdClient, LockTimeout
from lockd_client.interrupts import put_off
from tests.client.fake_node import FakeNode
from tests.eventually import eventually
from tests.interrupting import Interrupted, handling, interrupt, interrupted_at

PACKAGE = str(lockd_client.__path__[0])
LINES_MIN = 100  # of the client's code that runs in the calling thread for an acquisition and a release
WITHIN_S = 10.0


@pytest.fixture
def handled() -> Iterator[list[int]]:
    with handling() as came:
        yield came


def test_a_handler_runs_at_the_end_of_what_must_not_be_interrupted(handled: list[int]) -> None:
    reached = []
    with pytest.raises(Interrupted), put_off:
        with put_off:
            interrupt()
            interrupt()
        reached.append(len(handled))
    assert (reached, handled) == ([0], [signal.SIGUSR1])


def test_a_handler_runs_in_a_wait(handled: list[int]) -> None:
    with put_off:
        interrupt()
        with pytest.raises(Interrupted):
            put_off.wait(lambda: pytest.fail("it was to raise before"))
        with pytest.raises(Interrupted):
            put_off.wait(interrupt)
        assert len(handled) == 2
        interrupt()
        assert len(handled) == 2
        with pytest.raises(Interrupted):
            put_off.wait(interrupt)
    assert put_off.wait(lambda: "what it answers") == "what it answers"


def test_handlers_are_back_in_their_places(handled: list[int]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with put_off:
        put_off.wait(int)
    assert before == [
        signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ]


def test_each_signal_that_came_is_handled_though_the_first_handler_raises(handled: list[int]) -> None:
    others: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _frame: others.append(number))
    try:
        with pytest.raises(Interrupted), put_off:
            interrupt()
            signal.raise_signal(signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert (handled, others) == ([signal.SIGUSR1], [signal.SIGUSR2])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGCHLD, signal.SIGTSTP, signal.SIGPROF])
def test_a_handler_may_call_the_client_wherever_the_signal_came(number: signal.Signals) -> None:
    """Not before the client is done with its books; with the frame that was interrupted, as profilers need it."""
    frames: list[FrameType | None] = []
    with FakeNode() as node, LockdClient(port=node.port) as client:

        def handler(_number: int, frame: FrameType | None) -> None:
            frames.append(frame)
            assert client.Lock("by the handler")

        before = signal.signal(number, handler)
        try:
            with client._transport.inside():
                signal.raise_signal(number)
                assert not frames
        finally:
            signal.signal(number, before)
        assert [frame.f_code.co_name for frame in frames if frame] == [
            "test_a_handler_may_call_the_client_wherever_the_signal_came"
        ]
        assert list(node.holds) == ["by the handler"]


def test_a_finalizer_that_calls_the_client_inside_its_bookkeeping_is_refused() -> None:
    """Garbage is collected at any moment and in any thread; to wait there would be for ever."""
    with FakeNode() as node, LockdClient(port=node.port) as client:
        lock = client.lock("a")
        assert lock.acquire()
        uses: list[Callable[[], object]] = [lock.release, client.lock("b").acquire, lambda: client.is_locked("a")]
        for use in [*uses, lambda: next(client.watch())]:
            with client._transport.inside(), pytest.raises(RuntimeError, match="while it was at work"):
                use()
        assert lock.owned
        lock.release()
        assert not node.holds


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 says that it is risky
def test_a_child_that_another_thread_forks_gets_its_signals(handled: list[int]) -> None:
    """While the main thread puts them off."""
    codes: list[int] = []

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(7 if signal.getsignal(signal.SIGUSR1) == handler and not put_off._depth else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    handler = signal.getsignal(signal.SIGUSR1)
    with put_off:
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
    assert codes == [7]


def test_other_threads_put_nothing_off(handled: list[int]) -> None:
    inside, over = threading.Event(), threading.Event()

    def work() -> None:
        with put_off:
            inside.set()
            over.wait()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    with pytest.raises(Interrupted):
        interrupt()
    over.set()
    thread.join()


@pytest.mark.parametrize("reentrant", [False, True])
def test_an_interrupt_at_any_line_leaves_nothing_behind(handled: list[int], reentrant: bool) -> None:
    with FakeNode() as node, LockdClient(port=node.port) as client:
        lock = client.lock("a", ttl=30, reentrant=reentrant)
        for line in itertools.count(1):
            handled.clear()
            tracing = interrupted_at(PACKAGE, line, lock)
            if not handled:
                break
            if lock.owned:
                assert tracing.was_before_the_release, tracing.where
                lock.release()
            eventually(lambda: not node.holds and not node.state.waiters, WITHIN_S)
        with lock:
            assert lock.owned
    assert line > LINES_MIN


def test_an_interrupt_at_any_line_of_a_second_acquisition_keeps_the_first(handled: list[int]) -> None:
    with FakeNode() as node, LockdClient(port=node.port) as client:
        lock = client.lock("a", ttl=30, reentrant=True)
        for line in itertools.count(1):
            handled.clear()
            with lock:
                tracing = interrupted_at(PACKAGE, line, lock)
                if lock._holding.count == 2:
                    assert tracing.was_before_the_release, tracing.where
                    lock.release()
                assert lock._holding.count == 1
            if not handled:
                break
            eventually(lambda: not node.holds, WITHIN_S)
    assert line > LINES_MIN


def test_an_interrupt_at_any_line_of_the_wait_for_a_turn_leaves_the_turn_to_others(handled: list[int]) -> None:
    """Of an object that another thread holds the lock by."""
    with FakeNode() as node, LockdClient(port=node.port) as client:
        lock = client.lock("a", ttl=30, wait=0.01)
        taken, over = threading.Event(), threading.Event()

        def hold() -> None:
            with lock:
                taken.set()
                over.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        taken.wait()
        for line in itertools.count(1):
            handled.clear()
            with contextlib.suppress(LockTimeout):
                interrupted_at(PACKAGE, line, lock)
            assert lock.owned
            if not handled:
                break
        over.set()
        thread.join()
        assert lock.acquire(timeout=WITHIN_S)
        lock.release()
        assert not node.holds
    assert line > 20
