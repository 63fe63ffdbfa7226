"""Leases of one hold each: they end when the clock has passed their deadline, and their hold with them."""

import pytest

from lockd.machine.apply import more_is_due
from lockd.machine.constants import LEASES_PER_ENTRY
from lockd.machine.outcomes import Granted, HeldByOther, NotHeld, Refusal, Released, Renewed
from tests.machine.driver import FOREVER, ended, lock, outcomes, renew, unlock, whole


def test_a_lease_ends_when_the_clock_is_past_its_deadline_and_not_at_it(machine):
    token = machine.hold("jobs", ttl_ms=1_000)
    assert ended(machine.entry(at=1_000)) == []
    assert list(machine.names()) == ["jobs"]
    assert ended(machine.entry(at=1_001)) == [token]
    assert list(machine.names()) == []
    assert machine.state.leases == {}


def test_at_its_deadline_nothing_remains_of_it_and_it_is_still_held(machine):
    machine.hold("jobs", ttl_ms=1_000)
    outcome = machine.run(lock("jobs"), at=1_000)
    assert isinstance(outcome, HeldByOther)
    assert [holder.lease_remaining_ms for holder in outcome.conflict.holders] == [0]


def test_leases_end_before_the_commands_of_their_entry(machine):
    old = machine.hold("jobs", ttl_ms=1_000)
    applied = machine.entry(renew(old, 1_000), lock("jobs"), at=1_001)
    assert outcomes(applied) == [NotHeld(), Granted(old + 1, 0)]
    assert ended(applied) == [old]


def test_a_lease_is_counted_from_the_clock_at_its_grant(machine):
    machine.run(lock("jobs", ttl_ms=1_000), at=700)
    assert ended(machine.entry(at=1_700)) == []
    assert len(ended(machine.entry(at=1_701))) == 1


def test_the_clock_never_goes_back(machine):
    machine.entry(at=500)
    machine.run(lock("jobs", ttl_ms=1_000), at=200)
    assert machine.clock_ms == 500
    assert machine.state.next_bound_ms() == 1_500


def test_leases_end_in_the_order_of_their_deadlines_then_of_their_ids(machine):
    late, b, a, early = (
        machine.hold(name, ttl_ms=ttl_ms) for name, ttl_ms in zip("dcba", (30, 20, 20, 10), strict=True)
    )
    assert ended(machine.entry(at=31)) == [early, b, a, late]


def test_a_released_hold_takes_its_lease_along(machine):
    token = machine.hold("jobs", ttl_ms=1_000)
    assert machine.run(unlock(token)) == Released(token)
    assert machine.state.leases == {}
    assert ended(machine.entry(at=5_000)) == []


# -- renewing


def test_a_renewal_counts_from_the_clock_at_its_entry(machine):
    token = machine.hold("jobs", ttl_ms=1_000)
    assert machine.run(renew(token, 1_000), at=600) == Renewed(1_000)
    assert ended(machine.entry(at=1_600)) == []
    assert ended(machine.entry(at=1_601)) == [token]


def test_a_renewal_never_shortens_a_lease(machine):
    token = machine.hold("jobs", ttl_ms=10_000)
    before = whole(machine.state)
    assert machine.run(renew(token, 2_000)) == Renewed(10_000)
    assert whole(machine.state) == before
    assert ended(machine.entry(at=10_000)) == []


def test_a_renewal_may_change_the_ttl(machine):
    token = machine.hold("jobs", ttl_ms=1_000)
    machine.run(renew(token, 7_000), at=10)
    assert [(holder.ttl_ms, holder.lease_remaining_ms) for holder in machine.holders("jobs")] == [(7_000, 7_000)]


def test_a_renewal_to_the_same_deadline_counts_as_one(machine):
    token = machine.hold("jobs", ttl_ms=1_000)
    machine.run(renew(token, 400), at=600)
    assert [(lease.deadline_ms, lease.ttl_ms) for lease in machine.state.leases.values()] == [(1_000, 400)]


def test_renewing_a_hold_without_a_lease_gives_it_none(machine):
    token = machine.hold("jobs")
    assert machine.run(renew(token, 1_000)) is Refusal.NO_LEASE
    assert ended(machine.entry(at=10**9)) == []


def test_a_hold_in_a_session_has_no_lease_of_its_own_to_renew(machine):
    token = machine.hold("jobs", session=machine.session(1_000))
    assert machine.run(renew(token, 9_000)) is Refusal.IN_SESSION
    assert ended(machine.entry(at=1_001)) == [token]


def test_a_lease_that_ended_cannot_be_renewed_back(machine):
    token = machine.hold("jobs", ttl_ms=1_000)
    machine.entry(at=1_001)
    assert machine.run(renew(token, 1_000)) == NotHeld()


def test_a_lease_renewed_twice_in_one_entry_to_the_same_deadline_ends_once(machine):
    """Found by the simulator: the second renewal queued the deadline again, and its turn came as a KeyError."""
    token = machine.hold("jobs", ttl_ms=1_000)
    assert ended(machine.entry(renew(token, 1_000), renew(token, 1_000), at=500)) == []
    assert ended(machine.entry(at=1_501)) == [token]
    assert ended(machine.entry(at=1_502)) == []


def test_a_lease_renewed_in_the_entry_of_its_grant_ends_once(machine):
    machine.entry(lock("jobs", ttl_ms=1_000), renew(1, 1_000), renew(1, 1_000))
    assert ended(machine.entry(at=1_001)) == [1]


def test_a_name_that_is_granted_again_is_not_ended_by_the_lease_before(machine):
    first = machine.hold("jobs", ttl_ms=1_000)
    machine.run(unlock(first), lock("jobs", ttl_ms=5_000))
    assert ended(machine.entry(at=4_000)) == []


def test_a_lease_that_is_renewed_for_long_takes_no_room_for_its_old_deadlines(machine):
    token = machine.hold("jobs", ttl_ms=100_000)
    for at in range(1, 500):
        machine.run(renew(token, 100_000), at=at)
    assert len(machine.state.lease_ends._heap) < 100
    assert machine.state.next_bound_ms() == 499 + 100_000


# -- what comes next


def test_the_next_bound_is_the_nearest_deadline_of_a_living_lease(machine):
    nothing = machine.state.next_bound_ms()
    assert nothing == FOREVER  # the leases of this test's nodes
    short, long = machine.hold("short", ttl_ms=1_000), machine.hold("long", ttl_ms=3_000)
    machine.hold("until released")
    assert machine.state.next_bound_ms() == 1_000
    machine.run(renew(short, 5_000))
    assert machine.state.next_bound_ms() == 3_000
    machine.run(unlock(long))
    assert machine.state.next_bound_ms() == 5_000
    machine.run(unlock(short))
    assert machine.state.next_bound_ms() == nothing


def test_looking_for_the_next_bound_changes_nothing(machine):
    token = machine.hold("jobs", ttl_ms=1_000)
    machine.run(renew(token, 2_000))
    assert [machine.state.next_bound_ms() for _ in range(3)] == [2_000] * 3
    assert machine.state.take_changes() == []


# -- the bound of an entry


def test_one_entry_ends_a_bounded_number_of_leases_and_more_is_due(machine):
    """2,500 leases with deadlines from 1,000 on, in rising order."""
    machine.entry(*(lock(f"{index:04}", ttl_ms=1_000 + index) for index in range(2_500)))
    tokens = []
    for expected, more in ((LEASES_PER_ENTRY, True), (LEASES_PER_ENTRY, True), (500, False), (0, False)):
        applied = machine.entry(at=4_000)
        assert len(ended(applied)) == expected
        assert more_is_due(machine.state) is more
        tokens += ended(applied)
    assert LEASES_PER_ENTRY == 1_000
    assert tokens == list(range(1, 2_501))


@pytest.fixture
def crowded(machine, monkeypatch):
    """Names 0 to 4 with deadlines in that order, two of which end in one entry."""
    monkeypatch.setattr("lockd.machine.ending.LEASES_PER_ENTRY", 2)
    machine.entry(*(lock(f"{index}", ttl_ms=1_000 + index) for index in range(5)))
    return machine


def test_what_the_bound_left_over_is_alive_until_its_turn(crowded):
    """A lease is alive for every purpose until it begins to end: others do not get it, its holder can renew it."""
    refused, granted, renewed = outcomes(crowded.entry(lock("3"), lock("0"), renew(4, 5_000), at=4_000))
    assert isinstance(refused, HeldByOther)
    assert [holder.lease_remaining_ms for holder in refused.conflict.holders] == [0]
    assert granted == Granted(6, 0)
    assert renewed == Renewed(5_000)
    assert ended(crowded.entry()) == [3, 5]
    assert list(crowded.names()) == ["0", "3"]


def test_names_of_sets_are_bounded_too(machine, monkeypatch):
    """A set ends whole, so one that does not fit any more waits for the next entry, and so does all that is after."""
    monkeypatch.setattr("lockd.machine.turn.NAMES_PER_ENTRY", 4)
    tokens = [machine.hold(*names, ttl_ms=100 + at) for at, names in enumerate(("ab", "cde", "f"))]
    assert ended(machine.entry(at=1_000)) == tokens[:1]
    assert ended(machine.entry()) == tokens[1:]


def test_nothing_more_is_due_at_the_deadline_itself(machine):
    machine.hold("jobs", ttl_ms=1_000)
    machine.entry(at=1_000)
    assert not more_is_due(machine.state)


def test_nothing_more_is_due_where_nothing_runs(machine):
    machine.hold("jobs")
    machine.entry(at=10**9)
    assert not more_is_due(machine.state)
