"""Handlers of signals that raise, as Ctrl-C's does, at every line of the client's code under redis_lock.Lock."""

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import lockd_client
from lockd_client import LockdClient
from lockd_client.redis_lock import Lock
from tests.client.fake_node import FakeNode
from tests.eventually import eventually
from tests.interrupting import Interrupted, Tracing, handling, interrupted_at

PACKAGE = str(lockd_client.__path__[0])
LINES_MIN = 100  # of the client's code that runs in the calling thread for an acquisition and a release
WITHIN_S = 30.0

each_timeout = pytest.mark.parametrize("timeout", [None, 60])


@pytest.fixture
def handled() -> Iterator[list[int]]:
    with handling() as came:
        yield came


@each_timeout
def test_an_interrupt_at_any_line_leaves_nothing_behind(handled: list[int], timeout: float | None) -> None:
    with FakeNode() as node, LockdClient(port=node.port) as client:
        for line in itertools.count(1):
            handled.clear()
            lock = Lock(client, "a", timeout=timeout)
            tracing = interrupted_at(PACKAGE, line, lock)
            if not handled:
                break
            if lock.local.token is not None:
                assert tracing.was_before_the_release, tracing.where
                lock.release()
            eventually(lambda: not node.holds and not node.state.waiters, WITHIN_S)
    assert line > LINES_MIN


@each_timeout
def test_after_it_the_object_can_be_used_again(handled: list[int], timeout: float | None) -> None:
    """It holds what it says that it holds."""
    with FakeNode() as node, LockdClient(port=node.port) as client:
        lock = Lock(client, "a", timeout=timeout)
        for line in itertools.count(1):
            handled.clear()
            with contextlib.suppress(Interrupted), Tracing(PACKAGE, line):
                lock.acquire(blocking_timeout=WITHIN_S)
            if not handled:
                break
            assert (lock.local.token, lock.fencing_token) == (None, 0)
            eventually(lambda: not node.holds, WITHIN_S)
        assert lock.owned()
        lock.release()
        assert not node.holds
    assert line > LINES_MIN


@each_timeout
def test_an_interrupted_release_either_has_not_begun_or_goes_on(handled: list[int], timeout: float | None) -> None:
    with FakeNode() as node, LockdClient(port=node.port) as client:
        lock = Lock(client, "a", timeout=timeout)
        for line in itertools.count(1):
            handled.clear()
            assert lock.acquire(blocking_timeout=WITHIN_S)
            with contextlib.suppress(Interrupted), Tracing(PACKAGE, line):
                lock.release()
            if lock.local.token is not None:
                assert lock.owned()
                lock.release()
            eventually(lambda: not node.holds, WITHIN_S)
            if not handled:
                break
    assert line > LINES_MIN


def test_an_interrupted_wait_takes_nothing_from_the_thread_that_holds_it_by_the_same_object(handled: list[int]) -> None:
    with FakeNode() as node, LockdClient(port=node.port) as client, ThreadPoolExecutor(1) as pool:
        lock = Lock(client, "a", thread_local=False)
        assert pool.submit(lock.acquire).result(WITHIN_S)
        for line in itertools.count(1):
            handled.clear()
            with contextlib.suppress(Interrupted), Tracing(PACKAGE, line):
                assert not lock.acquire(blocking=False)
            assert lock.owned()
            if not handled:
                break
        lock.release()
    assert line > LINES_MIN
