"""Rules 7 and 8: a request id acts once, and its answer is repeated for as long as a retry may come."""

import pytest

from lockd.machine.constants import RECORD_KEEP_MS
from lockd.machine.outcomes import (
    Cancelled,
    Conflict,
    Deadlock,
    Granted,
    HeldByOther,
    Lost,
    NotHeld,
    Queued,
    Refusal,
    Released,
    SessionEnded,
    TimedOut,
    UpgradeRefused,
    Withdrawn,
)
from tests.machine.driver import (
    again,
    cancel,
    free_key,
    granted,
    lock,
    open_session,
    read_lock,
    renew,
    request,
    unlock,
    unlock_by_name,
    whole,
    withdraw,
)

NOT_AFTER_MS = 240_000  # beyond the last clock that the client has seen: its library's rule


def test_a_repeated_lock_takes_nothing_more(machine):
    ask = lock("jobs")
    assert machine.run(ask, again(ask)) == Granted(1, 0)
    assert machine.state.scalars.last_token == 1


def test_a_repeated_lock_says_what_remains_of_the_lease(machine):
    ask = lock("jobs", ttl_ms=10_000)
    machine.run(ask)
    assert machine.run(again(ask), at=4_000) == Granted(1, 6_000)
    machine.run(renew(1, 10_000), at=5_000)
    assert machine.run(again(ask), at=6_000) == Granted(1, 9_000)
    assert machine.run(again(ask), at=15_000) == Granted(1, 0)


@pytest.mark.parametrize("end", ["expiry", "release"])
def test_a_repeated_lock_whose_hold_has_ended_is_lost(machine, end):
    ask = lock("jobs", ttl_ms=10_000)
    machine.run(ask)
    machine.entry(at=10_001) if end == "expiry" else machine.run(unlock(1))
    assert machine.run(again(ask)) == Lost(1)
    assert machine.run(again(ask), lock("jobs")) == Granted(2, 0)
    assert machine.run(again(ask)) == Lost(1)


def test_a_repeated_lock_that_waited_is_told_the_grant_once_it_was_made(machine):
    """What it waited counts from the entry that took this attempt in: there it is granted at once."""
    token = machine.hold("jobs")
    ask = machine.wait("jobs", ttl_ms=10_000)
    machine.run(unlock(token), at=1_000)
    assert machine.last_answer(ask) == Granted(2, 10_000, waited_ms=1_000)
    assert machine.run(again(ask), at=3_000) == Granted(2, 8_000, waited_ms=0)


def test_a_repeated_release_is_answered_as_the_first_and_frees_no_later_hold(machine):
    ask = unlock_by_name("jobs")
    machine.hold("jobs", by_name=True)
    assert machine.run(ask) == Released(1)
    later = machine.hold("jobs", by_name=True)
    assert machine.run(again(ask)) == Released(1)
    assert machine.run(unlock(later)) == Released(later)


def test_a_refused_lock_stays_refused_when_the_name_is_free_by_now(machine):
    """It names the present holders, of which there may be none."""
    token, ask = machine.hold("jobs"), lock("jobs")
    assert isinstance(machine.run(ask), HeldByOther)
    machine.run(unlock(token))
    assert machine.run(again(ask)) == HeldByOther(Conflict())
    assert list(machine.names()) == []


def test_a_refused_release_stays_refused_when_the_name_is_held_by_now(machine):
    ask = unlock_by_name("jobs")
    assert machine.run(ask) == NotHeld()
    machine.hold("jobs", by_name=True)
    assert machine.run(again(ask)) == NotHeld(machine.holders("jobs"))


def test_a_repetition_changes_nothing(machine):
    locks = [lock("jobs", ttl_ms=5_000), lock("jobs"), lock("mail")]
    others = [unlock(99), unlock(2), open_session()]
    machine.entry(*locks, *others)
    for ask in (*locks, *others):
        machine.run(ask)  # the very same call: another attempt would take over the delivery
        assert machine.changed == []


def timed_out(machine):
    machine.hold("jobs")
    ask = machine.wait("jobs", wait_ms=10)
    machine.entry(at=11)
    return ask, TimedOut(Conflict(machine.holders("jobs")))


def cancelled(machine):
    machine.hold("jobs")
    ask = machine.wait("jobs")
    machine.run(cancel(ask))
    return ask, Cancelled()


def withdrawn(machine):
    machine.hold("jobs")
    ask = machine.wait("jobs")
    machine.run(withdraw(ask))
    return ask, Withdrawn()


def ended_with_its_session(machine):
    machine.hold("jobs")
    ask = machine.wait("jobs", session=machine.session(10))
    machine.entry(at=11)
    return ask, SessionEnded()


def refused_an_upgrade(machine):
    how = {"session": machine.session(10**9), "agent": "worker", "reentrant": True}
    machine.run(read_lock("jobs", **how))
    ask = lock("jobs", **how)
    machine.run(ask)
    return ask, UpgradeRefused(1)


def refused_as_a_deadlock(machine):
    how = {"session": machine.session(10**9), "agent": "worker", "wait_ms": -1}
    machine.run(lock("jobs", **how))
    ask = lock("jobs", **how)
    outcome = machine.run(ask)
    assert isinstance(outcome, Deadlock)
    return ask, outcome


ENDS = [timed_out, cancelled, withdrawn, ended_with_its_session, refused_an_upgrade, refused_as_a_deadlock]


@pytest.mark.parametrize("end", ENDS)
def test_a_wait_that_ended_is_answered_as_it_was_also_after_a_restart(machine, end):
    ask, outcome = end(machine)
    assert machine.last_answer(ask) == outcome
    assert machine.run(again(ask)) == outcome
    machine.restart()
    assert machine.run(again(ask)) == outcome


@pytest.mark.parametrize("end", ENDS)
def test_its_record_is_kept_for_a_while(machine, end):
    ask, _ = end(machine)
    over = machine.clock_ms + RECORD_KEEP_MS
    machine.entry(at=over)
    assert ask.request.key in machine.state.records
    machine.entry(at=over + 1)
    assert ask.request.key not in machine.state.records


# -- whose id, and what was asked


def test_another_request_under_the_same_id_is_refused(machine):
    machine.run(lock("jobs", req=request(free_key(b"1"), asked=b"jobs")))
    before = whole(machine.state)
    assert machine.run(lock("mail", req=request(free_key(b"1"), asked=b"mail"))) is Refusal.ID_REUSED
    assert machine.run(unlock(1, req=request(free_key(b"1"), asked=b"release 1"))) is Refusal.ID_REUSED
    assert whole(machine.state) == before


def test_the_id_of_one_who_waits_is_not_for_what_never_waits(machine):
    machine.hold("jobs")
    ask = machine.wait("jobs")
    assert machine.run(unlock(1, req=ask.request)) is Refusal.ID_REUSED
    assert machine.run(open_session(req=ask.request)) is Refusal.ID_REUSED
    assert machine.waits(ask)


def test_an_id_belongs_to_its_caller_alone(machine):
    assert machine.run(lock("jobs", req=request(free_key(b"1", caller="ann")))) == Granted(1, 0)
    assert machine.run(lock("mail", req=request(free_key(b"1", caller="bob")))) == Granted(2, 0)


def test_caller_and_id_are_not_run_together(machine):
    assert machine.run(lock("jobs", req=request(free_key(b"bc", caller="a")))) == Granted(1, 0)
    assert machine.run(lock("mail", req=request(free_key(b"c", caller="ab")))) == Granted(2, 0)
    assert len(machine.state.records) == 2


# -- how long


def test_an_id_that_is_not_on_record_is_refused_after_its_time_and_not_at_it(machine):
    assert machine.run(lock("jobs", req=request(not_after_ms=500)), at=500) == Granted(1, 0)
    machine.entry(at=501)
    assert machine.run(lock("mail", req=request(not_after_ms=500))) is Refusal.TOO_OLD
    assert machine.changed == []


def test_an_id_on_record_is_answered_however_old(machine):
    ask = lock("jobs", req=request(not_after_ms=NOT_AFTER_MS))
    machine.run(ask)
    assert machine.run(again(ask), at=100 * RECORD_KEEP_MS) == Granted(1, 0)


def test_the_record_of_a_wait_lives_as_long_as_the_wait(machine):
    token = machine.hold("jobs")
    ask = lock("jobs", wait_ms=-1, req=request(not_after_ms=NOT_AFTER_MS))
    machine.run(ask)
    assert machine.run(again(ask), at=100 * RECORD_KEEP_MS) == Queued(0)
    machine.run(unlock(token))
    assert granted(machine.run(again(ask)))


def test_a_record_lives_as_long_as_its_hold(machine):
    ask = lock("jobs", ttl_ms=1_000)
    machine.run(ask)
    for turn in range(1, 1_000):
        machine.run(renew(1, 1_000), at=turn * 1_000)
    assert machine.clock_ms > 3 * RECORD_KEEP_MS
    assert machine.run(again(ask)) == Granted(1, 1_000)


@pytest.mark.parametrize("end", ["expiry", "release"])
def test_the_record_of_a_grant_is_kept_for_a_while_after_its_hold(machine, end):
    ask = lock("jobs", ttl_ms=1_000, req=request(not_after_ms=NOT_AFTER_MS))
    machine.run(ask)
    machine.entry(at=1_001) if end == "expiry" else machine.run(unlock(1), at=1_000)
    over = machine.clock_ms + RECORD_KEEP_MS
    assert machine.run(again(ask), at=over) == Lost(1)
    assert machine.run(again(ask), at=over + 1) is Refusal.TOO_OLD


def test_the_record_of_a_refusal_or_a_release_is_kept_for_a_while(machine):
    machine.entry(lock("jobs"), lock("jobs"), unlock(1), unlock(99), at=1_000)
    machine.entry(at=1_000 + RECORD_KEEP_MS)
    assert len(machine.state.records) == 4
    machine.entry(at=1_001 + RECORD_KEEP_MS)
    assert machine.state.records == {}


def test_a_repetition_does_not_prolong_its_record(machine):
    ask = unlock(99)
    machine.run(ask)
    machine.run(again(ask), at=RECORD_KEEP_MS)
    machine.entry(at=RECORD_KEEP_MS + 1)
    assert machine.state.records == {}


def test_no_retry_acts_twice_whenever_it_comes(machine):
    """The record outlives not_after_ms: whoever keeps the client's rule is never granted anew by an old id."""
    ask = lock("jobs", req=request(not_after_ms=machine.clock_ms + NOT_AFTER_MS))
    machine.run(ask)
    machine.run(unlock(1))
    for at in range(0, 2 * RECORD_KEEP_MS, 10_000):
        assert machine.run(again(ask), at=at) in (Lost(1), Refusal.TOO_OLD)


def test_a_retry_repeats_its_wait_and_the_bound_counts_from_the_first_attempt(machine):
    machine.hold("jobs")
    ask = machine.wait("jobs", wait_ms=1_000)
    last = again(ask, attempt=2)
    assert machine.run(last, at=900) == Queued(0)
    machine.entry(at=1_001)
    assert isinstance(machine.last_answer(last), TimedOut)


def test_one_entry_drops_a_bounded_number_of_records(machine, monkeypatch):
    monkeypatch.setattr("lockd.machine.ending.RECORDS_PER_ENTRY", 2)
    machine.entry(*(unlock(99) for _ in range(3)))
    machine.entry(at=RECORD_KEEP_MS + 1)
    assert len(machine.state.records) == 1
    machine.entry()
    assert machine.state.records == {}
