"""Rule 3: how long a request waits, and what it is told when it does not get the lock."""

import pytest

from lockd.machine.apply import more_is_due
from lockd.machine.outcomes import Conflict, Granted, HeldByOther, Queued, SessionEnded, TimedOut
from tests.machine.driver import FOREVER, SHARED, granted, lock, outcomes, unlock


def test_without_a_wait_the_answer_comes_at_once(machine):
    machine.hold("jobs")
    assert isinstance(machine.run(lock("jobs", wait_ms=0)), HeldByOther)
    assert machine.state.waiters == {}


def test_a_bounded_wait_ends_when_the_clock_has_passed_its_bound_and_not_at_it(machine):
    machine.hold("jobs")
    asked = machine.wait("jobs", wait_ms=500)
    machine.entry(at=500)
    assert machine.waits(asked)
    machine.entry(at=501)
    assert machine.last_answer(asked) == TimedOut(Conflict(machine.holders("jobs")))


def test_a_wait_without_a_bound_lasts(machine):
    token = machine.hold("jobs")
    asked = machine.wait("jobs", wait_ms=-1)
    machine.entry(at=FOREVER)
    assert machine.waits(asked)
    machine.run(unlock(token))
    assert granted(machine.last_answer(asked))


def test_a_wait_in_a_session_ends_with_it(machine):
    machine.hold("jobs")
    asked = machine.wait("jobs", session=machine.session(1_000))
    machine.entry(at=1_001)
    assert machine.last_answer(asked) == SessionEnded()


def test_the_answer_says_how_long_the_wait_was(machine):
    token = machine.hold("jobs")
    asked = lock("jobs", wait_ms=-1)
    machine.run(asked, at=100)
    machine.entry(at=250)
    machine.run(unlock(token), at=400)
    assert machine.last_answer(asked) == Granted(token + 1, 0, waited_ms=300)


def test_a_lease_of_its_own_begins_at_the_grant(machine):
    token = machine.hold("jobs")
    asked = machine.wait("jobs", ttl_ms=1_000)
    machine.run(unlock(token), at=5_000)
    assert machine.last_answer(asked) == Granted(token + 1, 1_000, waited_ms=5_000)
    machine.entry(at=6_000)
    assert machine.tokens("jobs") == [token + 1]
    machine.entry(at=6_001)
    assert machine.tokens("jobs") == []


def test_who_times_out_leaves_room_for_those_behind(machine):
    machine.hold("jobs", mode=SHARED)
    writer, reader = machine.wait("jobs", wait_ms=100), machine.wait("jobs", mode=SHARED)
    machine.entry(at=101)
    assert isinstance(machine.last_answer(writer), TimedOut)
    assert granted(machine.last_answer(reader))


def test_waits_end_in_the_order_of_their_bounds_then_of_their_arrival(machine):
    machine.hold("jobs")
    asked = [machine.wait("jobs", wait_ms=wait_ms) for wait_ms in (30, 20, 20, 10)]
    applied = machine.entry(at=31)
    assert [answer.call for answer in applied.answers] == [asked[place].call for place in (3, 1, 2, 0)]


def test_a_wait_whose_bound_has_passed_is_not_granted_in_the_same_entry(machine):
    """Waits and leases that are due end first; then the queues are served."""
    machine.hold("jobs", ttl_ms=100)
    late, asked = machine.wait("jobs", wait_ms=100), machine.wait("jobs", wait_ms=200)
    machine.entry(at=150)
    assert isinstance(machine.last_answer(late), TimedOut)
    assert granted(machine.last_answer(asked))


def test_one_entry_ends_a_bounded_number_of_waits(machine, monkeypatch):
    monkeypatch.setattr("lockd.machine.turn.WAITERS_PER_ENTRY", 2)
    machine.hold("jobs", ttl_ms=100)
    asked = [machine.wait("jobs", wait_ms=wait_ms) for wait_ms in (10, 20, 30, 40)]
    machine.entry(at=50)
    assert [machine.waits(ask) for ask in asked] == [False, False, True, True]
    assert more_is_due(machine.state)
    machine.entry(unlock(1), at=50)
    assert not any(machine.waits(ask) for ask in asked)
    assert not more_is_due(machine.state)


@pytest.mark.parametrize("bound", ["wait", "lease"])
def test_a_bound_of_the_waiter_or_the_holder_is_the_next_to_look_at(machine, bound):
    machine.hold("jobs", ttl_ms=1_000 if bound == "lease" else 9_000)
    machine.wait("jobs", wait_ms=9_000 if bound == "lease" else 1_000)
    assert machine.state.next_bound_ms() == 1_000


def test_no_wait_is_left_behind_where_nothing_bounds_it_but_its_turn(machine):
    token = machine.hold("jobs")
    asked = [machine.wait("jobs") for _ in range(3)]
    for _ in asked:
        machine.run(unlock(token))
        token += 1
    assert machine.state.waiters == {}
    assert outcomes(machine.entry(lock("jobs"))) == [HeldByOther(Conflict(machine.holders("jobs")))]
    assert [machine.answers[ask.call] for ask in asked] == [
        [Queued(place), Granted(2 + place, 0)] for place in range(3)
    ]
