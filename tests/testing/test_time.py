"""Time stands still until it is moved, and what it brings about has happened when advance() returns."""

import math
import threading
import time

import pytest

from lockd_client import LockdClient, State, now
from tests.eventually import eventually
from tests.testing.conftest import WITHIN_S


def real_time_passes(seconds: float) -> None:
    end = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= end, seconds + WITHIN_S)


def test_a_lock_is_renewed_for_as_long_as_time_is_moved(lockd_server, lockd_client):
    lock = lockd_client.lock("a", ttl=30)
    assert lock.acquire()
    lockd_server.advance(3600)
    assert lock.owned
    assert [holder.token for holder in lockd_server.holders("a")] == [lock.token]


def test_the_shortest_ttl_outlives_any_leap(lockd_server, lockd_client):
    lock = lockd_client.lock("a", ttl=2)
    states: list[State] = []
    lock.on_state(states.append)
    lock.acquire()
    lockd_server.advance(300)
    assert lock.owned
    assert states == []


def test_a_day_with_a_ttl_of_thirty_seconds_passes_in_seconds(lockd_server, lockd_client):
    lock = lockd_client.lock("a", ttl=30)
    lock.acquire()
    began = time.monotonic()
    lockd_server.advance(86_400)
    assert lock.owned
    assert time.monotonic() - began < 100


def test_a_year_in_which_nothing_happens_passes_at_once(lockd_server, lockd_client):
    began = time.monotonic()
    lockd_server.advance(365 * 86_400)
    assert not lockd_client.is_locked("a")
    assert time.monotonic() - began < WITHIN_S


def test_a_lock_that_is_not_renewed_goes_to_the_next_when_its_ttl_is_over(lockd_server, in_thread):
    lock = lockd_server.client().lock("a", ttl=30, auto_renew=False)
    lock.acquire()
    first = lock.token
    other = lockd_server.client().lock("a")
    waits = in_thread(other.acquire)
    lockd_server.until_waiting("a")
    lockd_server.advance(29)
    assert lock.owned
    assert not other.owned
    lockd_server.advance(1)
    assert lock.lost.is_set()
    assert lockd_server.holders("a")[0].token == other.token > first
    assert waits.result(WITHIN_S)


def test_whoever_waits_is_asked_for_no_more_than_its_timeout(lockd_server, lockd_client, in_thread):
    lockd_client.lock("a").acquire()
    waits = in_thread(lockd_server.client().lock("a").acquire, timeout=5)
    lockd_server.until_waiting("a")
    lockd_server.advance(4.9)
    assert len(lockd_server.waiters("a")) == 1
    lockd_server.advance(0.1)
    assert lockd_server.waiters("a") == ()
    assert not waits.result(WITHIN_S)


def test_a_wait_without_a_bound_outlasts_any_leap(lockd_server, lockd_client, in_thread):
    """The node keeps its own lease meanwhile, under which calls without a session wait."""
    lock = lockd_client.lock("a", ttl=600)
    lock.acquire()
    other = lockd_server.client().lock("a")
    waits = in_thread(other.acquire)
    lockd_server.until_waiting("a")
    lockd_server.advance(7200)
    (waiter,) = lockd_server.waiters("a")
    assert waiter.waited >= 7200
    lock.release()
    assert waits.result(WITHIN_S)


def test_a_thread_that_waits_for_another_s_turn_with_the_object_gives_up_when_its_timeout_was_moved_over(
    lockd_server, lockd_client, in_thread
):
    lock = lockd_client.lock("a")
    lock.acquire()
    waits = in_thread(lock.acquire, timeout=5)

    def gives_up() -> bool:
        lockd_server.advance(1)
        return bool(waits.done())

    eventually(gives_up, WITHIN_S)
    assert lockd_server.elapsed >= 5
    assert waits.result() is False
    assert lock.owned


def test_callbacks_have_run_when_time_has_been_moved(lockd_server, lockd_client):
    said = []
    lock = lockd_client.lock("a", ttl=30, auto_renew=False)
    lock.on_lost(lambda: said.append("lost"))
    lock.acquire()
    lockd_server.advance(30)
    assert said == ["lost"]


def test_the_next_in_line_is_renewed_from_its_grant_on(lockd_server, in_thread):
    """However far time is moved at once."""
    lockd_server.client().lock("a", ttl=30, auto_renew=False).acquire()
    other = lockd_server.client().lock("a", ttl=30)
    waits = in_thread(other.acquire)
    lockd_server.until_waiting("a")
    lockd_server.advance(1000)
    assert waits.result(WITHIN_S)
    assert other.owned


def test_a_lock_delay_passes_as_time_is_moved(lockd_server, lockd_client):
    lockd_client.lock("a", ttl=30, auto_renew=False, lock_delay=10).acquire()
    lockd_server.advance(31)
    assert not lockd_client.try_lock("a", ttl=30)
    lockd_server.advance(10)
    assert lockd_client.try_lock("a", ttl=30)


def test_real_time_ends_nothing(lockd_server, lockd_client, in_thread):
    lock = lockd_client.lock("a", ttl=2, auto_renew=False)
    lock.acquire()
    waits = in_thread(lockd_server.client(timeout=1).lock("a").acquire, timeout=1)
    lockd_server.until_waiting("a")
    real_time_passes(2.5)
    assert lock.owned
    assert lock.remaining() > 1.8
    assert not waits.done()
    assert lockd_server.elapsed == 0


def test_time_goes_as_far_as_it_is_moved(lockd_server):
    before = now()
    lockd_server.advance(100)
    lockd_server.advance(0)
    assert lockd_server.elapsed == now() - before == pytest.approx(100.002)


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan])
def test_time_goes_forward_by_a_number_of_seconds(lockd_server, seconds):
    with pytest.raises(ValueError, match="it is a number of seconds, 0 or more"):
        lockd_server.advance(seconds)


def test_time_is_not_moved_from_two_places_at_once(lockd_server, lockd_client):
    refused = []

    def callback() -> None:
        with pytest.raises(RuntimeError, match="time is being moved"):
            lockd_server.advance(1)
        refused.append(True)

    lock = lockd_client.lock("a", ttl=30, auto_renew=False)
    lock.on_lost(callback)
    lock.acquire()
    lockd_server.advance(30)
    assert refused == [True]


def test_a_client_that_was_made_elsewhere_follows_the_hand_too(lockd_server):
    with LockdClient() as client:
        assert client.endpoints == (lockd_server.endpoint,)
        lock = client.lock("a", ttl=30)
        lock.acquire()
        lockd_server.advance(100)
        assert lock.owned
        assert lock.remaining() <= 30


def test_threads_that_never_cease_to_lock_do_not_keep_time_from_being_moved(lockd_server, lockd_client, in_thread):
    is_over = threading.Event()

    def lock_and_unlock() -> int:
        client, count = lockd_server.client(), 0
        while not is_over.is_set():
            with client.lock("b"):
                count += 1
        return count

    busy = [in_thread(lock_and_unlock) for _ in range(2)]
    lock = lockd_client.lock("a", ttl=2)
    lock.acquire()
    lockd_server.advance(10)
    is_over.set()
    assert all(each.result(WITHIN_S) for each in busy)
    assert lock.owned


def test_who_does_not_come_to_rest_is_named(lockd_server, lockd_client):
    lockd_server._parties._patience = 0.2
    may_return = threading.Event()
    lock = lockd_client.lock("a", ttl=30, auto_renew=False)
    lock.on_lost(may_return.wait)
    lock.acquire()
    with pytest.raises(TimeoutError, match="time stands still: .* a callback of on_lost"):
        lockd_server.advance(60)
    may_return.set()
