"""Rule 9: Cancel undoes a request, whatever has become of it; and whoever sent it believes no later grant."""

from typing import Any

import pytest

from lockd.machine.constants import RECORD_KEEP_MS
from lockd.machine.outcomes import Cancelled, Granted, Lost, Queued, Released, SessionEnded
from tests.machine.driver import (
    again,
    cancel,
    free_key,
    granted,
    lock,
    open_session,
    read_lock,
    request,
    unlock,
    whole,
)

WORKER: dict[str, Any] = {"agent": "worker", "reentrant": True}


def test_a_request_that_was_not_seen_yet_is_refused_when_it_comes(machine):
    ask = lock("jobs", wait_ms=-1)
    assert machine.run(cancel(ask)) == Cancelled()
    assert machine.run(ask) == Cancelled()
    assert list(machine.names()) == []


def test_so_is_every_request_under_that_id_whatever_it_asks(machine):
    ask = open_session()
    machine.run(cancel(ask.request.key))
    assert machine.run(ask) == Cancelled()
    assert machine.state.leases == {}


def test_an_id_cancelled_unseen_is_kept_for_a_while(machine):
    ask = lock("jobs")
    machine.run(cancel(ask))
    machine.entry(at=RECORD_KEEP_MS)
    assert machine.run(ask) == Cancelled()
    machine.entry(at=RECORD_KEEP_MS + 1)
    assert machine.state.records == {}


def test_a_waiter_leaves(machine):
    machine.hold("jobs")
    ask = machine.wait("jobs")
    cancelling = cancel(ask)
    machine.run(cancelling)
    assert machine.answers[ask.call] == [Queued(0), Cancelled()]
    assert machine.answers[cancelling.call] == [Cancelled()]
    assert not machine.waits(ask)


def test_so_does_one_in_a_session_which_is_never_withdrawn(machine):
    machine.hold("jobs")
    ask = machine.wait("jobs", session=machine.session())
    machine.run(cancel(ask))
    assert machine.last_answer(ask) == Cancelled()


def test_a_hold_is_freed_without_lock_delay(machine):
    ask = lock("jobs", ttl_ms=5_000, lock_delay_ms=60_000)
    machine.run(ask)
    assert machine.run(cancel(ask)) == Cancelled()
    assert granted(machine.run(lock("jobs")))
    assert machine.state.leases == {}


def test_it_is_freed_also_where_the_grant_was_delivered_by_another_attempt(machine):
    """Cancel names the request, not the call."""
    ask = lock("jobs")
    machine.run(ask)
    machine.run(again(ask))
    machine.run(cancel(ask))
    assert list(machine.names()) == []


def test_what_it_frees_goes_to_the_one_who_waits(machine):
    ask = lock("jobs")
    machine.run(ask)
    waiting = machine.wait("jobs")
    machine.run(cancel(ask))
    assert granted(machine.last_answer(waiting))


def test_a_late_attempt_of_what_was_cancelled_is_told_so(machine):
    ask = lock("jobs")
    machine.run(ask)
    machine.run(cancel(ask))
    assert machine.run(again(ask)) == Cancelled()
    assert list(machine.names()) == []


def test_one_count_of_a_re_entrant_hold_is_taken_off(machine):
    session = machine.session()
    first, second = (lock("jobs", session=session, **WORKER) for _ in range(2))
    machine.entry(first, second)
    machine.run(cancel(second))
    assert [holder.count for holder in machine.holders("jobs")] == [1]
    assert machine.run(again(second)) == Cancelled()
    assert machine.run(again(first)) == Granted(1, 10_000, count=1)
    machine.run(cancel(first))
    assert list(machine.names()) == []


def test_a_count_is_taken_off_once_however_often_it_is_cancelled(machine):
    session = machine.session()
    asks = [lock("jobs", session=session, **WORKER) for _ in range(3)]
    machine.entry(*asks)
    machine.entry(cancel(asks[1]), cancel(asks[1]))
    assert [holder.count for holder in machine.holders("jobs")] == [2]


def test_what_has_ended_is_left_as_it_is(machine):
    ask = lock("jobs")
    machine.run(ask)
    machine.run(unlock(1))
    later = machine.hold("jobs")
    before = whole(machine.state)
    assert machine.run(cancel(ask)) == Cancelled()
    assert whole(machine.state) == before
    assert machine.tokens("jobs") == [later]
    assert machine.run(again(ask)) == Lost(1)


@pytest.mark.parametrize("make", [lambda: unlock(1), lambda: open_session(), lambda: lock("jobs")])
def test_cancelling_what_ended_otherwise_changes_nothing(machine, make):
    """A release that was made stays made, a session stays open, a refusal stays one."""
    machine.hold("jobs")
    machine.hold("mail")
    ask = make()
    outcome = machine.run(ask)
    before = whole(machine.state)
    assert machine.run(cancel(ask.request.key)) == Cancelled()
    assert whole(machine.state) == before
    assert machine.run(again(ask)) == outcome


def test_an_id_is_cancelled_for_its_caller_alone(machine):
    ask = lock("jobs", req=request(free_key(b"1", caller="ann")))
    machine.run(cancel(free_key(b"1", caller="bob")))
    assert granted(machine.run(ask))


def test_cancelling_is_idempotent(machine):
    ask = read_lock("jobs")
    machine.run(ask)
    assert [machine.run(cancel(ask)) for _ in range(3)] == [Cancelled()] * 3


def test_a_cancelled_set_leaves_all_of_its_queues(machine):
    machine.hold("jobs", "mail")
    ask = machine.wait("jobs", "mail")
    machine.run(cancel(ask))
    assert [machine.lock_state(name).waiters for name in ("jobs", "mail")] == [(), ()]


def test_a_wait_whose_session_has_ended_is_cancelled_and_stays_ended(machine):
    machine.hold("jobs")
    ask = machine.wait("jobs", session=machine.session(10))
    machine.entry(at=11)
    assert machine.run(cancel(ask)) == Cancelled()
    assert machine.run(again(ask)) == SessionEnded()


def test_releasing_what_was_cancelled_is_not_held(machine):
    ask = lock("jobs")
    machine.run(ask)
    machine.run(cancel(ask))
    assert not isinstance(machine.run(unlock(1)), Released)
