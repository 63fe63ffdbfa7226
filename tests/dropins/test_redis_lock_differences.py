"""Where our redis.lock.Lock differs from the original, on purpose, and what there is not in the original."""

import contextlib
import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.lock

from lockd_client import LockdClient, errors, redis_lock
from lockd_client.redis_lock import Lock
from tests.dropins.redis_sides import TIMEOUT_S, WITHIN_S, OverLockd, OverRedis, check_not_held, in_another_thread
from tests.eventually import eventually
from tests.integration.cluster import Cluster, running

LockError, LockNotOwnedError = redis.exceptions.LockError, redis.exceptions.LockNotOwnedError


def test_no_call_makes_it_live_shorter(original: OverRedis, ours: OverLockd) -> None:
    left = {}
    for side in (original, ours):
        with side.lock(timeout=10) as lock:
            lock.extend(50)
            lock.extend(5, replace_ttl=True)
            lock.reacquire()
            lock.extend(-5)
            left[side.lock_class] = side.remaining()
    assert left[redis.lock.Lock] < 6
    assert 50 < left[Lock] <= 60


def test_the_error_of_the_body_is_not_masked_by_the_loss(original: OverRedis, ours: OverLockd) -> None:
    with pytest.raises(LockNotOwnedError), original.lock(timeout=30):
        original.lose()
        raise KeyError("of the body")
    with pytest.raises(KeyError) as caught, ours.lock(timeout=30):
        ours.lose()
        raise KeyError("of the body")
    assert "while the lock was released: LockNotOwnedError" in caught.value.__notes__[0]


def test_a_thread_that_has_no_token_gets_a_lock_error(original: OverRedis, ours: OverLockd) -> None:
    with original.lock(timeout=30) as lock, pytest.raises(AttributeError):
        in_another_thread(lock.release)
    with ours.lock(timeout=30) as lock, pytest.raises(LockError):
        in_another_thread(lock.release)


def test_nobody_sleeps_between_two_tries(ours: OverLockd) -> None:
    held = ours.lock(timeout=30)
    assert held.acquire()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ours.lock(timeout=30, sleep=3600).acquire)
        assert eventually(lambda: ours.client.get("a").waiters_count, WITHIN_S)
        held.release()
        assert waiting.result(WITHIN_S)


def test_those_who_wait_are_served_in_the_order_of_their_arrival(ours: OverLockd) -> None:
    order: list[int] = []

    def wait(number: int) -> None:
        with ours.lock(timeout=30):
            order.append(number)

    with ThreadPoolExecutor(4) as pool, ours.lock(timeout=30):
        for number in range(4):
            pool.submit(wait, number)
            eventually(lambda: ours.client.get("a").waiters_count == number + 1, WITHIN_S)  # noqa: B023  # asked at once
    assert order == [0, 1, 2, 3]


def test_the_fencing_token_rises_and_is_the_token_unless_one_was_given(ours: OverLockd) -> None:
    lock = ours.lock(timeout=30)
    with lock:
        first = lock.fencing_token
        assert (lock.local.token, ours.client.check_token("a", first).is_current) == (str(first).encode(), True)
        assert in_another_thread(lambda: lock.fencing_token) == 0
    assert lock.fencing_token == 0
    assert lock.acquire(token="mine")
    assert lock.fencing_token > first
    assert lock.local.token == b"mine"


def test_a_number_as_token_is_not_taken_for_the_fencing_token(ours: OverLockd) -> None:
    lock, other = ours.lock(timeout=30), ours.lock(timeout=30)
    assert lock.acquire(token="x")
    other.local.token = str(lock.fencing_token).encode()
    check_not_held(other, LockNotOwnedError)


def test_a_token_of_ones_own_that_another_has_too_does_not_make_its_hold_ones_own(
    original: OverRedis, ours: OverLockd
) -> None:
    owned = {}
    for side in (original, ours):
        lock = side.lock(timeout=30)
        assert lock.acquire(token="worker")
        side.lose()
        assert side.lock(timeout=30).acquire(token="worker")
        owned[side.lock_class] = lock.owned()
    assert owned == {redis.lock.Lock: True, Lock: False}


def test_without_a_timeout_it_is_renewed_and_ends_with_its_client(
    ours: OverLockd, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lock, "renewed_ttl", TIMEOUT_S)
    client = cluster.client()
    lock = Lock(client, "a")
    assert lock.acquire()
    assert eventually(lambda: ours.client.holders("a")[0].age > TIMEOUT_S + 1, WITHIN_S)
    assert lock.owned()
    client.close()
    assert ours.lock(timeout=30).acquire(blocking_timeout=WITHIN_S)


def test_without_a_timeout_the_clients_own_clock_says_that_it_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lock, "renewed_ttl", TIMEOUT_S)
    with running(tmp_path, 1) as cluster, cluster.client(timeout=0.5) as client:
        lock = Lock(client, "a")
        assert lock.acquire()
        cluster.kill(1)

        def is_lost() -> bool:
            with contextlib.suppress(redis.exceptions.ConnectionError):
                return not lock.owned()
            return False

        eventually(is_lost, WITHIN_S)
        with pytest.raises(LockNotOwnedError):
            lock.release()


def test_with_a_timeout_nothing_stays_in_the_client(ours: OverLockd) -> None:
    with ours.lock(timeout=3600), ours.client._transport.inside() as engine:
        assert len(engine.leases) == 0
    with ours.lock(), ours.client._transport.inside() as engine:
        assert len(engine.leases) == 1


@pytest.mark.parametrize("timeout", [0.5, 90_000, -1, float("nan")])
def test_a_timeout_beyond_the_bounds_is_refused(ours: OverLockd, timeout: float) -> None:
    with pytest.raises(redis.exceptions.DataError):
        ours.lock(timeout=timeout).acquire()


@pytest.mark.parametrize("name", ["", "x" * 513, "a\nb", 7])
def test_names_are_those_of_locks(ours: OverLockd, name: Any) -> None:
    with pytest.raises(redis.exceptions.DataError):
        ours.lock(name).locked()


def test_bytes_that_are_no_text_are_no_name(ours: OverLockd) -> None:
    with pytest.raises(redis.exceptions.DataError, match="is not UTF-8"):
        ours.lock(b"\xff")


ERRORS = [
    (errors.Unavailable, redis.exceptions.ConnectionError),
    (errors.ClientClosed, redis.exceptions.ConnectionError),
    (errors.OutcomeUnknown, redis.exceptions.TimeoutError),
    (errors.Unauthenticated, redis.exceptions.AuthenticationError),
    (errors.PermissionDenied, redis.exceptions.NoPermissionError),
    (errors.InvalidArgument, redis.exceptions.DataError),
    (errors.LimitReached, redis.exceptions.RedisError),
    (errors.LockLost, LockNotOwnedError),
]


@pytest.mark.parametrize(("kind", "theirs"), ERRORS, ids=[kind.__name__ for kind, _ in ERRORS])
def test_errors_are_those_of_redis_and_carry_ours(kind: type[errors.LockdError], theirs: type[Exception]) -> None:
    def failing() -> Any:
        yield from ()
        raise kind("why")

    with contextlib.closing(LockdClient(port=1)) as client, pytest.raises(theirs, match="why") as caught:
        Lock(client, "a")._run(failing())
    assert type(caught.value) is theirs
    assert isinstance(caught.value.__cause__, kind)


def test_who_may_not_is_told_so(tmp_path: Path) -> None:
    with running(tmp_path, 1, tls="none") as cluster:
        with cluster.client(token="ci") as client:
            with Lock(client, "ci/a", timeout=30) as lock:
                assert lock.owned()
            with pytest.raises(redis.exceptions.NoPermissionError):
                Lock(client, "a", timeout=30).acquire()
        with (
            LockdClient(endpoints=cluster.endpoints(), cacert=cluster.secured.authority.ca, token="t" * 40) as client,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            Lock(client, "a", timeout=30).acquire()


def test_one_line_moves_all_the_calls_of_an_application(original: OverRedis, ours: OverLockd) -> None:
    r = original.client
    r.lock = partial(Lock, ours.client)  # type: ignore[method-assign]  # what the documents propose
    with r.lock("report", timeout=30, blocking_timeout=5):
        assert ours.client.is_locked("report")
        assert r.get("report") is None


def test_the_client_of_the_original_is_refused(original: OverRedis) -> None:
    with pytest.raises(TypeError, match="Lock takes a LockdClient, not a Redis"):
        original.client.lock("a", lock_class=Lock)


def test_the_module_says_which_extra_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, redis_lock.__name__)
    with pytest.raises(ImportError, match=r"pip install 'lockd-client\[redis\]'"):
        importlib.import_module(redis_lock.__name__)
