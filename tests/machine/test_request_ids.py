"""Rule 3: a request id acts once, and its answer is repeated for as long as a retry may come."""

import pytest

from lockd.machine.apply import RECORD_KEEP_MS, RECORDS_PER_ENTRY
from lockd.machine.outcomes import Granted, HeldByOther, Lost, NotHeld, Refusal, Released
from tests.machine.driver import lock, renew, request, sent_again, unlock, unlock_by_name, whole

NOT_AFTER_MS = 240_000  # beyond the last clock that the client has seen: its library's rule


def test_a_repeated_lock_takes_nothing_more(machine):
    ask = lock("jobs")
    assert machine.run(ask, sent_again(ask)) == Granted(1, 0)
    assert machine.state.scalars.last_token == 1


def test_a_repeated_lock_says_what_remains_of_the_lease(machine):
    ask = lock("jobs", 10_000)
    machine.run(ask)
    assert machine.run(sent_again(ask), at=4_000) == Granted(1, 6_000)
    machine.run(renew(1, 10_000), at=5_000)
    assert machine.run(sent_again(ask), at=6_000) == Granted(1, 9_000)
    assert machine.run(sent_again(ask), at=15_000) == Granted(1, 0)


@pytest.mark.parametrize("end", ["expiry", "release"])
def test_a_repeated_lock_whose_hold_has_ended_is_lost(machine, end):
    ask = lock("jobs", 10_000)
    machine.run(ask)
    machine.entry(at=10_001) if end == "expiry" else machine.run(unlock(1))
    assert machine.run(sent_again(ask)) == Lost(1)
    assert machine.run(sent_again(ask), lock("jobs")) == Granted(2, 0)
    assert machine.run(sent_again(ask)) == Lost(1)


def test_a_repeated_release_is_answered_as_the_first_and_frees_no_later_hold(machine):
    ask = unlock_by_name("jobs")
    machine.hold("jobs", by_name=True)
    assert machine.run(ask) == Released(1)
    later = machine.hold("jobs", by_name=True)
    assert machine.run(sent_again(ask)) == Released(1)
    assert machine.run(unlock(later)) == Released(later)


def test_a_refused_lock_stays_refused_when_the_name_is_free_by_now(machine):
    """It names the present holders, of which there may be none."""
    token, ask = machine.hold("jobs"), lock("jobs")
    assert isinstance(machine.run(ask), HeldByOther)
    machine.run(unlock(token))
    assert machine.run(sent_again(ask)) == HeldByOther(())
    assert list(machine.names()) == []


def test_a_refused_release_stays_refused_when_the_name_is_held_by_now(machine):
    ask = unlock_by_name("jobs")
    assert machine.run(ask) == NotHeld()
    token = machine.hold("jobs", by_name=True)
    outcome = machine.run(sent_again(ask))
    assert isinstance(outcome, NotHeld)
    assert [holder.token for holder in outcome.holders] == [token]


def test_a_repetition_changes_nothing(machine):
    locks, unlocks = [lock("jobs", 5_000), lock("jobs"), lock("mail")], [unlock(99), unlock(2)]
    machine.entry(*locks, *unlocks)
    before = whole(machine.state)
    machine.entry(*map(sent_again, locks), *map(sent_again, unlocks))
    assert whole(machine.state) == before
    assert machine.changed == []


# -- whose id, and what was asked


def test_another_request_under_the_same_id_is_refused(machine):
    machine.run(lock("jobs", req=request(b"1", asked=b"jobs")))
    before = whole(machine.state)
    assert machine.run(lock("mail", req=request(b"1", asked=b"mail"))) is Refusal.ID_REUSED
    assert machine.run(unlock(1, req=request(b"1", asked=b"release 1"))) is Refusal.ID_REUSED
    assert whole(machine.state) == before


def test_an_id_belongs_to_its_caller_alone(machine):
    assert machine.run(lock("jobs", req=request(b"1", caller="ann"))) == Granted(1, 0)
    assert machine.run(lock("mail", req=request(b"1", caller="bob"))) == Granted(2, 0)


def test_caller_and_id_are_not_run_together(machine):
    assert machine.run(lock("jobs", req=request(b"bc", caller="a"))) == Granted(1, 0)
    assert machine.run(lock("mail", req=request(b"c", caller="ab"))) == Granted(2, 0)
    assert len(machine.stored) == 1 + 2 + 2  # scalars, holds, records: none in another's place


# -- how long


def test_an_id_that_is_not_on_record_is_refused_after_its_time_and_not_at_it(machine):
    assert machine.run(lock("jobs", req=request(not_after_ms=500)), at=500) == Granted(1, 0)
    late = lock("mail", req=request(not_after_ms=500))
    machine.entry(at=501)
    assert machine.run(late) is Refusal.TOO_OLD
    assert machine.changed == []


def test_an_id_on_record_is_answered_however_old(machine):
    ask = lock("jobs", req=request(not_after_ms=NOT_AFTER_MS))
    machine.run(ask)
    assert machine.run(sent_again(ask), at=100 * RECORD_KEEP_MS) == Granted(1, 0)


def test_a_record_lives_as_long_as_its_hold(machine):
    ask = lock("jobs", 1_000)
    machine.run(ask)
    for turn in range(1, 1_000):
        machine.run(renew(1, 1_000), at=turn * 1_000)
    assert machine.clock_ms > 3 * RECORD_KEEP_MS
    assert machine.run(sent_again(ask)) == Granted(1, 1_000)


@pytest.mark.parametrize("end", ["expiry", "release"])
def test_the_record_of_a_grant_is_kept_for_a_while_after_its_hold(machine, end):
    ask = lock("jobs", 1_000, req=request(not_after_ms=NOT_AFTER_MS))
    machine.run(ask)
    machine.entry(at=1_001) if end == "expiry" else machine.run(unlock(1), at=1_000)
    over = machine.clock_ms + RECORD_KEEP_MS
    assert machine.run(sent_again(ask), at=over) == Lost(1)
    assert machine.run(sent_again(ask), at=over + 1) is Refusal.TOO_OLD


def test_the_record_of_a_refusal_or_a_release_is_kept_for_a_while(machine):
    asks = [lock("jobs"), lock("jobs"), unlock(1), unlock(99)]
    machine.entry(*asks, at=1_000)
    machine.entry(at=1_000 + RECORD_KEEP_MS)
    assert len(machine.state.records) == 4
    machine.entry(at=1_001 + RECORD_KEEP_MS)
    assert machine.state.records == {}


def test_a_repetition_does_not_prolong_its_record(machine):
    ask = unlock(99)
    machine.run(ask)
    machine.run(sent_again(ask), at=RECORD_KEEP_MS)
    machine.entry(at=RECORD_KEEP_MS + 1)
    assert machine.state.records == {}


def test_no_retry_acts_twice_whenever_it_comes(machine):
    """The record outlives not_after_ms: whoever keeps the client's rule is never granted anew by an old id."""
    ask = lock("jobs", req=request(not_after_ms=machine.clock_ms + NOT_AFTER_MS))
    machine.run(ask)
    machine.run(unlock(1))
    for at in range(0, 2 * RECORD_KEEP_MS, 10_000):
        assert machine.run(sent_again(ask), at=at) in (Lost(1), Refusal.TOO_OLD)


def test_one_entry_drops_a_bounded_number_of_records(machine):
    for _ in range(3):
        machine.entry(*(unlock(99) for _ in range(RECORDS_PER_ENTRY // 2)))
    machine.entry(at=RECORD_KEEP_MS + 1)
    assert len(machine.state.records) == RECORDS_PER_ENTRY // 2
    machine.entry()
    assert machine.state.records == {}
