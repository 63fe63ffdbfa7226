"""Rule 9: calls that wait are parked by a node, in one life of its process, which alone delivers their grant."""

import pytest

from lockd.machine.apply import more_is_due
from lockd.machine.constants import WAIT_GRACE_MS
from lockd.machine.outcomes import Granted, Lost, Passed, Queued, Refusal, Superseded, TimedOut, Withdrawn
from lockd.machine.tables import NodeKey
from tests.machine.driver import (
    FOREVER,
    again,
    call,
    given,
    granted,
    lock,
    open_node,
    outcomes,
    unlock,
    whole,
    withdraw,
)


@pytest.fixture
def parked(machine):
    """jobs is held under token 1; a call waits for it. (machine, the request of attempt 1)"""
    machine.hold("jobs")
    return machine, machine.wait("jobs", attempt=1)


# -- attempts


def test_a_higher_attempt_takes_the_place_of_a_lower_one_which_is_told_so(parked):
    machine, first = parked
    second = again(first, attempt=2)
    applied = machine.entry(second)
    assert given(applied.answers, first) == [Superseded()]
    assert given(applied.answers, second) == [Queued(0)]
    machine.run(unlock(1))
    assert machine.answers[first.call] == [Queued(0), Superseded()]
    assert machine.answers[second.call] == [Queued(0), Granted(2, 0)]


def test_it_keeps_the_place_in_the_queue(parked):
    machine, first = parked
    behind = machine.wait("jobs")
    second = again(first, attempt=2)
    assert machine.run(second) == Queued(0)
    machine.run(unlock(1))
    assert granted(machine.last_answer(second))
    assert machine.waits(behind)


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_lower_or_equal_attempt_of_another_call_is_superseded_itself(parked, attempt):
    """It was overtaken on its way, and nobody waits for its answer any more."""
    machine, first = parked
    second = again(first, attempt=2)
    machine.run(second)
    before = whole(machine.state)
    late = again(first, node=3, attempt=attempt)
    assert machine.run(late) == Superseded()
    assert whole(machine.state) == before
    machine.run(unlock(1))
    assert granted(machine.last_answer(second))


def test_an_attempt_without_a_number_counts_as_higher_than_all_before(parked):
    machine, first = parked
    calls = [again(first, attempt=attempt) for attempt in (7, 0, 0)]
    for ask in calls:
        assert machine.run(ask) == Queued(0)
    assert [machine.answers[ask.call][-1] for ask in (first, *calls)] == [Superseded()] * 3 + [Queued(0)]
    assert machine.run(again(first, attempt=8)) == Superseded()


def test_the_same_call_that_is_proposed_again_is_told_that_it_waits(parked):
    machine, first = parked
    before = whole(machine.state)
    assert machine.run(first) == Queued(0)
    assert whole(machine.state) == before


def test_waited_counts_from_the_entry_that_took_this_attempt_in(parked):
    machine, first = parked
    second = again(first, attempt=2)
    machine.run(second, at=1_000)
    machine.run(second, at=2_000)
    machine.run(unlock(1), at=5_000)
    assert machine.last_answer(second) == Granted(2, 0, waited_ms=4_000)


def test_the_bound_of_the_wait_stays_that_of_the_first_attempt(machine):
    machine.hold("jobs")
    first = machine.wait("jobs", wait_ms=1_000)
    second = again(first, attempt=2)
    machine.run(second, at=800)
    machine.entry(at=1_001)
    assert isinstance(machine.last_answer(second), TimedOut)
    assert machine.answers[first.call] == [Queued(0), Superseded()]


def test_the_grant_is_delivered_to_the_last_attempt_alone(parked):
    machine, first = parked
    attempts = [first, *(again(first, node=node, attempt=number) for number, node in ((2, 2), (3, 3), (4, 1)))]
    for ask in attempts[1:]:
        machine.run(ask)
    machine.run(unlock(1))
    assert [granted(machine.last_answer(ask)) for ask in attempts] == [False, False, False, True]


# -- withdrawals: a call without a session has ended, and its node takes back what it asked for


def test_a_withdrawn_waiter_leaves(parked):
    machine, ask = parked
    assert machine.run(withdraw(ask)) == Passed()
    assert machine.last_answer(ask) == Withdrawn()
    assert not machine.waits(ask)
    assert machine.run(again(ask)) == Withdrawn()


def test_a_grant_that_was_not_delivered_is_freed_without_lock_delay(machine):
    machine.hold("jobs")
    ask = machine.wait("jobs", ttl_ms=5_000, lock_delay_ms=60_000)
    waiting = machine.wait("jobs")
    machine.run(unlock(1))
    machine.run(withdraw(ask))
    assert granted(machine.last_answer(waiting))
    assert machine.run(again(ask)) == Withdrawn()


def test_so_is_one_that_was_granted_at_once(machine):
    ask = lock("jobs")
    machine.run(ask)
    machine.run(withdraw(ask))
    assert list(machine.names()) == []


def test_a_withdrawal_counts_only_while_its_call_stands(parked):
    """The client came back through another node, whose attempt has taken over."""
    machine, first = parked
    second = again(first, attempt=2)
    machine.run(second)
    before = whole(machine.state)
    assert machine.run(withdraw(first)) == Passed()
    assert whole(machine.state) == before
    machine.run(unlock(1))
    assert granted(machine.last_answer(second))
    machine.run(withdraw(first))
    assert machine.tokens("jobs") == [2]


def test_an_attempt_that_is_answered_with_the_grant_ends_every_right_to_take_it_back(parked):
    """Its client may have the lock by that answer, though the call that waited never heard."""
    machine, first = parked
    machine.run(unlock(1))
    told = again(first, attempt=2)
    assert granted(machine.run(told))
    for ended in (first.call, told.call):
        machine.run(withdraw(first, ended=ended))
    assert machine.tokens("jobs") == [2]


def test_the_same_call_proposed_again_ends_no_right(parked):
    """It is still the one call, and whether its client hears is for its node to know."""
    machine, ask = parked
    machine.run(unlock(1))
    assert granted(machine.run(ask))
    machine.run(withdraw(ask))
    assert list(machine.names()) == []


def test_a_call_in_a_session_is_never_withdrawn(machine):
    session = machine.session()
    holding = lock("jobs", session=session)
    machine.run(holding)
    waiting = machine.wait("jobs", session=session)
    before = whole(machine.state)
    machine.entry(withdraw(holding), withdraw(waiting))
    assert whole(machine.state) == before


def test_a_withdrawal_before_its_request_changes_nothing(machine):
    """Its node sees the request parked later, and withdraws it again."""
    machine.hold("jobs")
    ask = lock("jobs", wait_ms=-1)
    assert outcomes(machine.entry(withdraw(ask), ask)) == [Passed(), Queued(0)]
    machine.run(withdraw(ask))
    assert not machine.waits(ask)


def test_a_withdrawal_after_the_hold_has_ended_changes_nothing(machine):
    ask = lock("jobs")
    machine.run(ask)
    machine.run(unlock(1))
    before = whole(machine.state)
    machine.run(withdraw(ask))
    assert whole(machine.state) == before
    assert machine.run(again(ask)) == Lost(1)


# -- nodes: each life of one has a lease, under which it parks calls


def test_an_attempt_from_a_node_without_a_lease_changes_nothing(machine):
    stranger = lock("jobs", call=call(4, 40))
    before = whole(machine.state)
    assert machine.run(stranger) is Refusal.STALE_NODE
    assert whole(machine.state) == before
    assert outcomes(machine.entry(open_node(4, 40), stranger)) == [Passed(), Granted(1, 0)]


def test_it_does_not_take_the_place_of_one_that_waits_either(parked):
    machine, first = parked
    assert machine.run(again(first, node=4, attempt=2)) is Refusal.STALE_NODE
    assert machine.waits(first)


@pytest.fixture
def node_4(machine):
    """Its life 40 has a lease from 0 on, and has parked a call without a session and one in a session that lasts."""
    machine.run(open_node(4, 40))
    machine.hold("jobs")
    session = machine.session(FOREVER)
    return machine, machine.wait("jobs", call=call(4, 40)), machine.wait("jobs", call=call(4, 40), session=session)


def test_when_its_lease_ends_the_calls_that_it_parked_without_a_session_leave(node_4):
    machine, ask, in_session = node_4
    machine.entry(at=WAIT_GRACE_MS)
    assert machine.waits(ask)
    machine.entry(at=WAIT_GRACE_MS + 1)
    assert machine.last_answer(ask) == Withdrawn()
    assert machine.waits(in_session)
    assert machine.run(lock("mail", call=call(4, 40))) is Refusal.STALE_NODE


def test_a_lease_that_is_renewed_in_time_goes_on(node_4):
    machine, ask, _ = node_4
    for turn in range(1, 10):
        assert machine.run(open_node(4, 40), at=turn * WAIT_GRACE_MS) == Passed()
    assert machine.waits(ask)


def test_a_later_life_of_the_node_ends_the_lease_of_the_one_before(node_4):
    machine, ask, in_session = node_4
    machine.run(open_node(4, 41))
    assert machine.last_answer(ask) == Withdrawn()
    assert machine.waits(in_session)
    assert {key for key in machine.state.nodes if key.node == 4} == {NodeKey(4, 41)}


def test_a_call_that_came_back_through_another_node_outlives_the_one_it_left(node_4):
    machine, ask, _ = node_4
    moved = again(ask, node=1, attempt=2)
    machine.run(moved)
    machine.run(open_node(4, 41))
    assert machine.waits(moved)
    machine.run(unlock(1))
    assert granted(machine.last_answer(moved))


def test_a_hold_outlives_the_node_that_delivered_it(machine):
    machine.run(open_node(4, 40))
    machine.run(lock("jobs", call=call(4, 40)))
    machine.entry(at=WAIT_GRACE_MS + 1)
    assert machine.tokens("jobs") == [1]


def test_a_grant_made_before_the_node_was_gone_can_be_found_by_its_request_id(node_4):
    """Rule 14: its caller may have died with the node; whoever repeats the request learns the token."""
    machine, ask, _ = node_4
    machine.run(unlock(1))
    machine.run(open_node(4, 41))
    assert machine.run(again(ask, attempt=2)) == Granted(2, 0)


def test_the_calls_of_a_node_leave_over_several_entries(machine, monkeypatch):
    monkeypatch.setattr("lockd.machine.turn.WAITERS_PER_ENTRY", 2)
    machine.run(open_node(4, 40))
    machine.hold("jobs")
    asked = [machine.wait("jobs", call=call(4, 40)) for _ in range(3)]
    machine.entry(at=WAIT_GRACE_MS + 1)
    assert [machine.waits(ask) for ask in asked] == [False, False, True]
    assert more_is_due(machine.state)
    refused = machine.entry(lock("mail", call=call(4, 40)), open_node(4, 41))
    assert outcomes(refused)[1:] == [Refusal.STALE_NODE, Passed()]
    assert not more_is_due(machine.state)


def test_a_node_whose_lease_is_ending_opens_it_again_when_it_has_ended(machine, monkeypatch):
    monkeypatch.setattr("lockd.machine.turn.WAITERS_PER_ENTRY", 1)
    machine.run(open_node(4, 40))
    machine.hold("jobs")
    for _ in range(3):
        machine.wait("jobs", call=call(4, 40))
    machine.entry(at=WAIT_GRACE_MS + 1)
    assert machine.run(open_node(4, 40)) is Refusal.STALE_NODE
    assert machine.run(open_node(4, 40)) == Passed()
    assert NodeKey(4, 40) in machine.state.nodes
