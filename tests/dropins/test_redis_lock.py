"""The shape of redis.lock.Lock: the original with a real Redis, and ours with a real node, side by side.

A test with `side` is run for both. Where they differ on purpose, test_redis_lock_differences.py says how.
"""

import contextlib
import inspect
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import redis.asyncio.lock
import redis.lock

from lockd_client import LockdClient
from lockd_client.redis_lock import AsyncLock, Lock
from tests.dropins.redis_sides import (
    TIMEOUT_S,
    WITHIN_S,
    OverLockd,
    OverRedis,
    Side,
    check_not_held,
    in_another_thread,
)
from tests.eventually import eventually
from tests.integration.cluster import free_port

LockError, LockNotOwnedError = redis.exceptions.LockError, redis.exceptions.LockNotOwnedError


@pytest.fixture(params=["original", "ours"])
def side(request: pytest.FixtureRequest) -> Side:
    found: Side = request.getfixturevalue(request.param)
    return found


def test_a_lock_is_held_inside_and_free_after(side: Side) -> None:
    lock = side.lock(timeout=30)
    assert (lock.locked(), lock.owned(), lock.local.token) == (False, False, None)
    with lock as itself:
        assert itself is lock
        assert (lock.locked(), lock.owned(), isinstance(lock.local.token, bytes)) == (True, True, True)
        assert 28 < side.remaining() <= 30
    assert (lock.locked(), lock.owned(), lock.local.token) == (False, False, None)


def test_another_object_does_not_get_it(side: Side) -> None:
    other = side.lock(timeout=30)
    with side.lock(timeout=30):
        assert other.acquire(blocking=False) is False
        assert other.acquire(blocking_timeout=0.2) is False
        assert other.acquire(blocking_timeout=0) is False
        assert (other.locked(), other.owned(), other.local.token) == (True, False, None)
        assert not side.lock(timeout=30, blocking=False).acquire()
        assert not side.lock(timeout=30, blocking_timeout=0.2).acquire()
        with pytest.raises(LockError), side.lock(timeout=30, blocking_timeout=0.2):
            raise AssertionError("the body is run without the lock")
    assert other.acquire(blocking=False) is True
    other.release()


def test_a_waiter_gets_it_when_it_is_released(side: Side) -> None:
    held, other = side.lock(timeout=30), side.lock(timeout=30)
    assert held.acquire()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.acquire)
        held.release()
        assert waiting.result(WITHIN_S)
    assert other.locked()


def test_it_is_not_reentrant(side: Side) -> None:
    with side.lock(timeout=30) as lock:
        assert not lock.acquire(blocking=False)
        assert lock.owned()


def test_what_is_not_held_is_refused(side: Side) -> None:
    lock = side.lock(timeout=30)
    check_not_held(lock, LockError)
    with lock:
        pass
    check_not_held(lock, LockError)


def test_it_ends_after_its_timeout(side: Side) -> None:
    lock, other = side.lock(timeout=TIMEOUT_S), side.lock(timeout=30)
    assert lock.acquire()
    assert other.acquire(blocking_timeout=WITHIN_S)
    check_not_held(lock, LockNotOwnedError)
    assert other.owned()


def test_what_was_lost_is_not_owned(side: Side) -> None:
    for timeout in (30, None):
        lock = side.lock(timeout=timeout)
        assert lock.acquire()
        side.lose()
        assert not lock.owned()
        token = lock.local.token
        for _ in range(2):
            with pytest.raises(LockNotOwnedError) as caught:
                lock.release()
            assert (caught.value.lock_name, lock.local.token) == ("a", None)
            lock.local.token = token


def test_the_end_of_the_with_may_log_a_loss_instead(side: Side, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(LockNotOwnedError), side.lock(timeout=30):
        side.lose()
    with caplog.at_level(logging.WARNING), side.lock(timeout=30, raise_on_release_error=False):
        side.lose()
    assert len(caplog.records) == 1


def test_extending_adds_to_what_is_left(side: Side) -> None:
    with side.lock(timeout=10) as lock:
        assert lock.extend(10) is True
        assert 18 < side.remaining() < 25
        assert lock.extend(60, replace_ttl=True) is True
        assert 58 < side.remaining() <= 60
    with side.lock(timeout=TIMEOUT_S) as lock:
        eventually(lambda: side.remaining() < TIMEOUT_S - 0.3, WITHIN_S)
        assert lock.extend(0.1) is True  # though what is left is less than a node takes


def test_reacquiring_begins_the_timeout_again(side: Side) -> None:
    with side.lock(timeout=10) as lock:
        eventually(lambda: side.remaining() < 9.5, WITHIN_S)
        assert lock.reacquire() is True
        assert side.remaining() > 9.5


def test_an_extended_lock_outlives_its_timeout(side: Side) -> None:
    lock = side.lock(timeout=TIMEOUT_S)
    with lock:
        lock.extend(60)
        assert not side.lock(timeout=30).acquire(blocking_timeout=TIMEOUT_S + 1)
        assert lock.owned()


@pytest.mark.parametrize("timeout", [None, 0])
def test_without_a_timeout_there_is_nothing_to_extend(side: Side, timeout: float | None) -> None:
    with side.lock(timeout=timeout) as lock:
        assert lock.owned()
        for call in (lock.extend, lambda _: lock.reacquire()):
            if timeout is None or side.lock_class is Lock:  # the original resets 0 to no time at all
                with pytest.raises(LockError):
                    call(10)
        assert lock.owned()


@pytest.mark.parametrize("token", ["worker 7", b"worker 7", b"\xff\x00%2f"])
def test_a_token_of_ones_own_releases_it_from_anywhere(side: Side, token: bytes | str) -> None:
    lock, other = side.lock(timeout=30), side.lock(timeout=30)
    assert lock.acquire(token=token)
    assert lock.local.token == (token.encode() if isinstance(token, str) else token)
    other.local.token = lock.local.token
    assert other.owned()
    assert other.extend(30)
    assert side.remaining() > 35
    other.release()
    assert not lock.owned()
    with pytest.raises(LockNotOwnedError):
        lock.release()


@pytest.mark.parametrize("timeout", [30, None])
def test_a_token_that_was_made_releases_it_from_anywhere(side: Side, timeout: float | None) -> None:
    lock, other = side.lock(timeout=timeout), side.lock()
    assert lock.acquire()
    other.local.token = lock.local.token
    assert other.owned()
    other.release()
    assert not lock.locked()


@pytest.mark.parametrize("token", [b"another", b"1", b""])
def test_another_token_releases_nothing(side: Side, token: bytes) -> None:
    lock, other = side.lock(timeout=30), side.lock(timeout=30)
    with lock:
        other.local.token = token
        check_not_held(other, LockNotOwnedError)
        assert lock.owned()


def test_a_token_is_of_one_acquisition(side: Side) -> None:
    lock = side.lock(timeout=30)
    assert lock.acquire()
    token = lock.local.token
    lock.release()
    lock.local.token = token
    check_not_held(lock, LockNotOwnedError)
    lock.local.token = None
    with lock:
        other = side.lock(timeout=30)
        other.local.token = token
        check_not_held(other, LockNotOwnedError)


def test_a_token_that_was_replaced_is_the_one_that_counts(side: Side) -> None:
    lock = side.lock(timeout=30)
    with lock:
        mine, lock.local.token = lock.local.token, b"another"
        check_not_held(lock, LockNotOwnedError)
        lock.local.token = mine
        assert lock.owned()


def test_another_thread_releases_it_only_where_it_was_told_that_it_may(side: Side) -> None:
    lock = side.lock(timeout=30, thread_local=False)
    assert lock.acquire()
    in_another_thread(lock.release)
    assert not lock.locked()
    with side.lock(timeout=30) as lock, pytest.raises((LockError, AttributeError)):
        in_another_thread(lock.release)


def test_threads_that_share_an_object_take_turns(side: Side) -> None:
    lock = side.lock(timeout=30, sleep=0.01)
    inside: list[int] = []

    def work() -> None:
        with lock:
            assert inside == []
            inside.append(1)
            inside.pop()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(12)]:
            done.result(WITHIN_S)


def test_bytes_are_a_name(side: Side) -> None:
    with side.lock("日本語".encode(), timeout=30) as lock:
        assert lock.name == "日本語".encode()
        assert side.lock("日本語").locked()
        assert not side.lock(memoryview("日本語".encode()), timeout=30).acquire(blocking=False)


def test_where_nobody_answers_there_is_no_connection(side: Side) -> None:
    port = free_port()
    client = redis.Redis(port=port) if side.lock_class is redis.lock.Lock else LockdClient(port=port, timeout=0.2)
    with contextlib.closing(client), pytest.raises(redis.exceptions.ConnectionError):
        side.lock_class(client, "a", timeout=30).acquire()


@pytest.mark.parametrize(("theirs", "ours"), [(redis.lock.Lock, Lock), (redis.asyncio.lock.Lock, AsyncLock)])
@pytest.mark.parametrize("call", ["__init__", "acquire", "release", "extend", "reacquire", "locked", "owned"])
def test_the_calls_have_the_same_arguments(theirs: type, ours: type, call: str) -> None:
    def arguments(kind: type) -> list[tuple[str, Any]]:
        parameters = inspect.signature(getattr(kind, call)).parameters.values()
        return [(each.name.replace("redis", "client"), each.default) for each in parameters]

    assert arguments(ours) == arguments(theirs)


def test_the_objects_have_the_same_attributes(original: OverRedis, ours: OverLockd) -> None:
    options = {"timeout": 30, "sleep": 0.5, "blocking": False, "blocking_timeout": 3, "raise_on_release_error": False}
    seen = {name: value for name, value in vars(original.lock(**options)).items() if name not in ("redis", "local")}
    assert seen.items() <= vars(ours.lock(**options)).items()
