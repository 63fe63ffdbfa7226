"""What a test can let happen to clients: the network is cut, leases end, locks are lost."""

import pytest

from lockd_client import LockdClient
from lockd_client.errors import LockLost, NotOwned, OutcomeUnknown, SessionLost, Unavailable
from tests.testing.conftest import WITHIN_S


def test_a_client_that_is_cut_off_loses_its_lock_before_anybody_else_gets_it(lockd_server, lockd_client, in_thread):
    lock = lockd_client.lock("a", ttl=30)
    lock.acquire()
    other = lockd_server.client().lock("a")
    waits = in_thread(other.acquire)
    lockd_server.until_waiting("a")
    lockd_server.partition(lockd_client)
    lockd_server.advance(29.4)
    assert lock.lost.is_set()
    assert not other.owned
    assert lockd_server.holders("a") != ()
    lockd_server.advance(0.6)
    assert other.owned
    assert waits.result(WITHIN_S)


def test_a_call_of_a_client_that_is_cut_off_hangs_until_its_timeout_is_moved_over(lockd_server, in_thread):
    client = lockd_server.client(timeout=10)
    client.is_locked("a")
    lockd_server.partition(client)
    asks = in_thread(client.is_locked, "a")
    lockd_server.until_asking(client)
    lockd_server.advance(9)
    assert not asks.done()
    lockd_server.advance(1)
    with pytest.raises(Unavailable, match="no answer within"):
        asks.result(WITHIN_S)


def test_a_call_that_changes_something_leaves_its_outcome_open(lockd_server, lockd_client, in_thread):
    lockd_client.is_locked("a")
    lockd_server.partition(lockd_client)
    asks = [in_thread(lockd_client.Lock, "a"), in_thread(lockd_client.try_lock, "b", ttl=30)]
    lockd_server.until_asking(lockd_client, 2)
    lockd_server.advance(11)
    for each in asks:
        with pytest.raises(OutcomeUnknown):
            each.result(WITHIN_S)


def test_a_client_that_never_connected_hangs_too_and_goes_on_when_it_is_healed(lockd_server, lockd_client, in_thread):
    lockd_server.partition(lockd_client)
    asks = in_thread(lockd_client.is_locked, "a")
    lockd_server.until_asking(lockd_client)
    lockd_server.advance(5)
    assert not asks.done()
    lockd_server.heal(lockd_client)
    assert asks.result(WITHIN_S) is False


@pytest.mark.parametrize("seconds", [0, 1, 5, 14, 16, 28])
def test_a_lock_survives_a_partition_that_is_shorter_than_its_ttl(lockd_server, lockd_client, seconds):
    lock = lockd_client.lock("a", ttl=30)
    lock.acquire()
    lockd_server.partition(lockd_client)
    lockd_server.advance(seconds)
    lockd_server.heal(lockd_client)
    lockd_server.advance(1000)
    assert lock.owned


def test_a_client_goes_on_after_a_long_partition(lockd_server, lockd_client):
    lockd_client.lock("a").acquire()
    lockd_server.partition(lockd_client)
    lockd_server.advance(3600)
    lockd_server.heal(lockd_client)
    assert not lockd_client.is_locked("a")


def test_what_is_asked_at_once_after_a_partition_is_not_lost_on_a_broken_connection(lockd_server, lockd_client):
    """Lock carries no id, and would leave its outcome open: now and then, if heal() did not look at the connection."""
    for seconds in (1, *[20] * 10):
        lockd_client.is_locked("a")
        lockd_server.partition(lockd_client)
        lockd_server.advance(seconds)
        lockd_server.heal(lockd_client)
        assert lockd_client.Lock("a")
        assert lockd_client.Unlock("a")


def test_a_connection_that_breaks_is_made_again_though_nobody_moves_time(lockd_server, lockd_client):
    (way,) = lockd_server._ways_of(lockd_client)
    for _ in range(5):
        assert not lockd_client.is_locked("a")
        lockd_server._node.do(way.drop)


def test_the_others_do_not_notice_a_partition(lockd_server, lockd_client):
    other = lockd_server.client().lock("a")
    other.acquire()
    lockd_server.partition(lockd_client)
    lockd_server.advance(1000)
    assert other.owned


def test_who_is_cut_off_while_it_waits_leaves_the_queue_when_the_node_notices(lockd_server, lockd_client, in_thread):
    """After 15 s without an answer from the other end, and 2 s in which it could come back."""
    lockd_server.client().lock("a").acquire()
    waits = in_thread(lockd_client.lock("a").acquire)
    lockd_server.until_waiting("a")
    lockd_server.partition(lockd_client)
    lockd_server.advance(16.9)
    assert len(lockd_server.waiters("a")) == 1
    lockd_server.advance(0.1)
    assert lockd_server.waiters("a") == ()
    with pytest.raises(OutcomeUnknown):
        waits.result(WITHIN_S)


def test_who_waits_keeps_its_place_through_a_short_partition(lockd_server, lockd_client, in_thread):
    holder = lockd_server.client().lock("a")
    holder.acquire()
    waits = in_thread(lockd_client.lock("a").acquire)
    place = lockd_server.until_waiting("a")[0]
    lockd_server.partition(lockd_client)
    lockd_server.advance(8)
    lockd_server.heal(lockd_client)
    assert [each.agent for each in lockd_server.waiters("a")] == [place.agent]
    holder.release()
    assert waits.result(WITHIN_S)


def test_clients_with_the_same_endpoint_are_cut_off_together(lockd_server, in_thread):
    with LockdClient() as one, LockdClient(timeout=2) as other:
        lockd_server.partition(one)
        asks = in_thread(other.is_locked, "a")
        lockd_server.until_asking(other)
        assert not asks.done()
        lockd_server.heal(other)
        assert asks.result(WITHIN_S) is False


def test_a_client_of_another_cluster_cannot_be_cut_off(lockd_server):
    with (
        LockdClient(endpoints=["127.0.0.1:1"]) as stranger,
        pytest.raises(ValueError, match=r"goes to 127\.0\.0\.1:1, and not to this lockd"),
    ):
        lockd_server.partition(stranger)


def test_a_lease_that_ends_on_the_node_is_noticed_when_it_is_renewed(lockd_server, lockd_client, in_thread):
    lock = lockd_client.lock("a", ttl=30)
    lock.acquire()
    other = lockd_server.client().lock("a")
    waits = in_thread(other.acquire)
    lockd_server.until_waiting("a")
    lockd_server.expire("a")
    assert other.owned
    assert lock.owned
    lockd_server.advance(10)
    assert lock.lost.is_set()
    assert waits.result(WITHIN_S)


def test_a_lease_that_ends_on_the_node_is_noticed_when_the_lock_is_released(lockd_server, lockd_client):
    lock = lockd_client.lock("a", lock_delay=5)
    lock.acquire()
    lockd_server.expire("a")
    with pytest.raises(LockLost):
        lock.release()
    assert lockd_client.try_lock("a", ttl=30).delayed_until_ms > 0


def test_with_a_session_s_lease_all_ends_that_is_held_in_it(lockd_server, lockd_client):
    session = lockd_client.open_session(ttl=30)
    for name in ("a", "b"):
        lockd_client.lock(name, session=session).acquire()
    lockd_server.expire("a")
    assert lockd_server.holders("b") == ()
    lockd_server.advance(10)
    assert session.lost.is_set()


def test_only_a_lease_can_end(lockd_server, lockd_client):
    with pytest.raises(LookupError, match="nobody holds 'a'"):
        lockd_server.expire("a")
    lockd_client.lock("a", ttl=0).acquire()
    with pytest.raises(ValueError, match="held without a lease"):
        lockd_server.expire("a")


def test_a_lock_that_its_client_takes_for_lost_is_free_when_it_is_released(lockd_server, lockd_client):
    said = []
    lock = lockd_client.lock("a")
    lock.on_lost(lambda: said.append("lost"))
    with pytest.raises(LockLost), lock:
        lockd_server.lose(lock)
        assert lock.lost.is_set()
        assert said == ["lost"]
        assert lockd_server.holders("a") != ()
        with pytest.raises(LockLost):
            lock.check()
    lockd_server.advance(0)
    assert lockd_server.holders("a") == ()


def test_with_a_session_all_is_lost_that_is_held_in_it(lockd_server, lockd_client):
    session = lockd_client.open_session()
    lock = lockd_client.lock("a", session=session)
    lock.acquire()
    lockd_server.lose(session)
    assert lock.lost.is_set()
    assert lockd_server.holders("a") == ()
    with pytest.raises(SessionLost):
        lockd_client.lock("b", session=session).acquire()


def test_what_is_not_held_cannot_be_lost(lockd_server, lockd_client):
    with pytest.raises(NotOwned):
        lockd_server.lose(lockd_client.lock("a"))
