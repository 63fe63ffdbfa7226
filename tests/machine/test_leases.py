"""Rule 2: a lease ends when the clock has passed its deadline, and its hold with it."""

from itertools import pairwise

import pytest

from lockd.machine.apply import LEASES_PER_ENTRY, more_is_due
from lockd.machine.commands import IsLocked
from lockd.machine.outcomes import Ended, Granted, HeldByOther, LockedState, NotHeld, Refusal, Released, Renewed
from tests.machine.driver import CALL, lock, renew, unlock, whole


def test_a_lease_ends_when_the_clock_is_past_its_deadline_and_not_at_it(machine):
    token = machine.hold("jobs", 1_000)
    assert machine.entry(at=1_000).ended == ()
    assert list(machine.names()) == ["jobs"]
    assert machine.entry(at=1_001).ended == (Ended(token, "jobs", expired=True),)
    assert list(machine.names()) == []
    assert machine.state.leases == {}


def test_at_its_deadline_nothing_remains_of_it_and_it_is_still_held(machine):
    machine.hold("jobs", 1_000)
    outcome = machine.run(lock("jobs"), at=1_000)
    assert isinstance(outcome, HeldByOther)
    assert [holder.lease_remaining_ms for holder in outcome.holders] == [0]


def test_leases_end_before_the_commands_of_their_entry(machine):
    old = machine.hold("jobs", 1_000)
    done = machine.entry(renew(old, 1_000), lock("jobs"), at=1_001)
    assert [answer.outcome for answer in done.answers] == [NotHeld(), Granted(old + 1, 0)]
    assert [ended.token for ended in done.ended] == [old]


def test_a_lease_is_counted_from_the_clock_at_its_grant(machine):
    machine.run(lock("jobs", 1_000), at=700)
    assert machine.entry(at=1_700).ended == ()
    assert len(machine.entry(at=1_701).ended) == 1


def test_the_clock_never_goes_back(machine):
    machine.entry(at=500)
    machine.run(lock("jobs", 1_000), at=200)
    assert machine.clock_ms == 500
    assert machine.state.next_bound_ms() == 1_500


def test_leases_end_in_the_order_of_their_deadlines_then_of_their_ids(machine):
    for name, ttl_ms in (("late", 30), ("b", 20), ("a", 20), ("early", 10)):
        machine.hold(name, ttl_ms)
    assert [ended.name for ended in machine.entry(at=31).ended] == ["early", "b", "a", "late"]


def test_a_released_hold_takes_its_lease_along(machine):
    token = machine.hold("jobs", 1_000)
    assert machine.run(unlock(token)) == Released(token)
    assert machine.state.leases == {}
    assert machine.state.next_bound_ms() is None
    assert machine.entry(at=5_000).ended == ()


# -- renewing


def test_a_renewal_counts_from_the_clock_at_its_entry(machine):
    token = machine.hold("jobs", 1_000)
    assert machine.run(renew(token, 1_000), at=600) == Renewed(1_000)
    assert machine.entry(at=1_600).ended == ()
    assert [ended.token for ended in machine.entry(at=1_601).ended] == [token]


def test_a_renewal_never_shortens_a_lease(machine):
    token = machine.hold("jobs", 10_000)
    before = whole(machine.state)
    assert machine.run(renew(token, 2_000)) == Renewed(10_000)
    assert whole(machine.state) == before
    assert machine.entry(at=10_000).ended == ()


def test_a_renewal_may_change_the_ttl(machine):
    token = machine.hold("jobs", 1_000)
    machine.run(renew(token, 7_000), at=10)
    seen = machine.run(IsLocked(call=CALL, name="jobs"))
    assert isinstance(seen, LockedState)
    assert [(holder.ttl_ms, holder.lease_remaining_ms) for holder in seen.holders] == [(7_000, 7_000)]


def test_a_renewal_to_the_same_deadline_counts_as_one(machine):
    token = machine.hold("jobs", 1_000)
    machine.run(renew(token, 400), at=600)
    assert [(lease.deadline_ms, lease.ttl_ms) for lease in machine.state.leases.values()] == [(1_000, 400)]


def test_renewing_a_hold_without_a_lease_gives_it_none(machine):
    token = machine.hold("jobs")
    assert machine.run(renew(token, 1_000)) is Refusal.NO_LEASE
    assert machine.entry(at=10**9).ended == ()


def test_a_lease_that_ended_cannot_be_renewed_back(machine):
    token = machine.hold("jobs", 1_000)
    machine.entry(at=1_001)
    assert machine.run(renew(token, 1_000)) == NotHeld()


def test_a_lease_renewed_twice_in_one_entry_to_the_same_deadline_ends_once(machine):
    """Found by the simulator: the second renewal queued the deadline again, and its turn came as a KeyError."""
    token = machine.hold("jobs", 1_000)
    assert machine.entry(renew(token, 1_000), renew(token, 1_000), at=500).ended == ()
    assert machine.entry(at=1_501).ended == (Ended(token, "jobs", expired=True),)
    assert machine.entry(at=1_502).ended == ()


def test_a_lease_renewed_in_the_entry_of_its_grant_ends_once(machine):
    machine.entry(lock("jobs", 1_000), renew(1, 1_000), renew(1, 1_000))
    assert len(machine.entry(at=1_001).ended) == 1


def test_a_name_that_is_granted_again_is_not_ended_by_the_lease_before(machine):
    first = machine.hold("jobs", 1_000)
    machine.run(unlock(first), lock("jobs", 5_000))
    assert machine.entry(at=4_000).ended == ()


# -- what comes next


def test_the_next_bound_is_the_nearest_deadline_of_a_living_lease(machine):
    assert machine.state.next_bound_ms() is None
    short, long = machine.hold("short", 1_000), machine.hold("long", 3_000)
    machine.hold("until released")
    assert machine.state.next_bound_ms() == 1_000
    machine.run(renew(short, 5_000))
    assert machine.state.next_bound_ms() == 3_000
    machine.run(unlock(long))
    assert machine.state.next_bound_ms() == 5_000
    machine.run(unlock(short))
    assert machine.state.next_bound_ms() is None


def test_looking_for_the_next_bound_changes_nothing(machine):
    token = machine.hold("jobs", 1_000)
    machine.run(renew(token, 2_000))
    assert [machine.state.next_bound_ms() for _ in range(3)] == [2_000] * 3
    assert machine.state.take_changes() == []


# -- the bound of an entry


@pytest.fixture
def crowded(machine):
    """2,500 leases with deadlines of 1,000 to 3,499."""
    machine.entry(*(lock(f"{index:04}", 1_000 + index) for index in range(2_500)))
    return machine


def test_one_entry_ends_at_most_a_thousand_leases_and_more_is_due(crowded):
    ended = []
    for expected, more in ((LEASES_PER_ENTRY, True), (LEASES_PER_ENTRY, True), (500, False), (0, False)):
        done = crowded.entry(at=4_000)
        assert len(done.ended) == expected
        assert more_is_due(crowded.state) is more
        ended += [each.name for each in done.ended]
    assert LEASES_PER_ENTRY == 1_000
    assert len(ended) == 2_500
    assert all(one < next for one, next in pairwise(ended))


def test_what_the_bound_left_over_is_alive_until_its_turn(crowded):
    """A lease is alive for every purpose until it begins to end: others do not get it, its holder can renew it."""
    done = crowded.entry(lock("2000"), lock("0000"), renew(2_001, 5_000), at=4_000)
    refused, granted, renewed = (answer.outcome for answer in done.answers)
    assert isinstance(refused, HeldByOther)
    assert [holder.lease_remaining_ms for holder in refused.holders] == [0]
    assert isinstance(granted, Granted)
    assert renewed == Renewed(5_000)
    crowded.entry()
    names = [each.name for each in crowded.entry().ended]
    assert len(names) == 499
    assert "2000" not in names


def test_nothing_more_is_due_at_the_deadline_itself(machine):
    machine.hold("jobs", 1_000)
    machine.entry(at=1_000)
    assert not more_is_due(machine.state)


def test_nothing_more_is_due_where_nothing_runs(machine):
    machine.hold("jobs")
    machine.entry(at=10**9)
    assert not more_is_due(machine.state)


def test_a_lease_that_is_renewed_for_long_takes_no_room_for_its_old_deadlines(machine):
    token = machine.hold("jobs", 100_000)
    for at in range(1, 1_000):
        machine.run(renew(token, 100_000), at=at)
    assert len(machine.state._deadlines) < 100
    assert machine.state.next_bound_ms() == 999 + 100_000
