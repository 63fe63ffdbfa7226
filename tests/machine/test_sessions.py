"""Sessions: leases that many holds and waiters share."""

import pytest

from lockd.machine.apply import more_is_due
from lockd.machine.outcomes import (
    Cancelled,
    Closed,
    Conflict,
    Granted,
    Kept,
    Lost,
    NotHeld,
    Opened,
    Queued,
    Released,
    SessionEnded,
    Superseded,
    What,
)
from tests.machine.driver import (
    again,
    cancel,
    close,
    ended,
    free_key,
    given,
    granted,
    is_locked,
    keep_alive,
    lock,
    open_session,
    outcomes,
    request,
    unlock,
    whole,
)


def test_a_session_is_opened_with_a_lease(machine):
    assert machine.run(open_session(5_000, owner="ann@a:1"), at=100) == Opened(1, 5_000, 5_000)
    assert [(lease.deadline_ms, lease.owner) for lease in machine.state.leases.values()] == [(5_100, "ann@a:1")]


def test_sessions_and_leases_of_holds_share_their_numbers_so_that_none_is_used_twice(machine):
    machine.hold("jobs", ttl_ms=1_000)
    assert machine.session() == 2
    machine.entry(at=10_001)
    assert machine.session() == 3


def test_a_session_opened_again_under_its_id_is_the_same_one(machine):
    ask = open_session(5_000)
    machine.run(ask)
    assert machine.run(again(ask), at=2_000) == Opened(1, 3_000, 5_000)
    assert machine.run(again(ask), at=5_001) == SessionEnded()
    assert machine.state.leases == {}


def test_keeping_alive_lets_a_session_end_its_ttl_from_now(machine):
    session = machine.session(1_000)
    token = machine.hold("jobs", session=session)
    assert machine.run(keep_alive(session), at=600) == Kept(1_000)
    assert ended(machine.entry(at=1_600)) == []
    assert ended(machine.entry(at=1_601)) == [token]
    assert machine.run(keep_alive(session)) == SessionEnded()


def test_holders_show_the_lease_of_the_session(machine):
    token = machine.hold("jobs", session=machine.session(1_000), agent="worker")
    machine.entry(at=400)
    (holder,) = machine.holders("jobs")
    assert (holder.token, holder.session, holder.agent, holder.ttl_ms, holder.lease_remaining_ms) == (
        token,
        1,
        "worker",
        1_000,
        600,
    )


def test_a_grant_in_a_session_says_what_remains_of_the_session(machine):
    session = machine.session(1_000)
    assert machine.run(lock("jobs", session=session), at=400) == Granted(1, 600)


def test_all_of_a_session_ends_with_it(machine):
    session = machine.session(1_000)
    tokens = [machine.hold(name, session=session) for name in "abc"]
    other = machine.hold("d")
    waiting = machine.wait("d", session=session)
    assert ended(machine.entry(at=1_001)) == tokens
    assert machine.last_answer(waiting) == SessionEnded()
    assert machine.tokens("d") == [other]
    assert machine.state.leases == {}


def test_its_waiters_leave_before_its_holds_are_freed(machine):
    """Else the session's end would grant to itself."""
    session = machine.session(1_000)
    machine.hold("jobs", session=session)
    own, other = machine.wait("jobs", session=session), machine.wait("jobs")
    applied = machine.entry(at=1_001)
    assert [event.what for event in applied.events] == [What.LEFT, What.EXPIRED, What.GRANTED]
    assert machine.last_answer(own) == SessionEnded()
    assert granted(machine.last_answer(other))


def test_a_waiter_is_granted_only_if_its_session_is_alive_at_that_entry(machine):
    """The lock is freed by the end of one lease and asked for in another, which ends in the same entry."""
    machine.hold("jobs", ttl_ms=1_000)
    dying = machine.wait("jobs", session=machine.session(1_000))
    machine.entry(at=5_000)
    assert machine.last_answer(dying) == SessionEnded()
    assert list(machine.names()) == []


# -- closing


def test_closing_a_session_frees_all_that_it_holds(machine):
    session = machine.session()
    machine.hold("jobs", "mail", session=session)
    waiting, leaving = machine.wait("jobs"), machine.wait("mail", session=session)
    assert machine.run(close(session)) == Closed()
    assert granted(machine.last_answer(waiting))
    assert machine.last_answer(leaving) == SessionEnded()
    assert machine.state.leases == {}


def test_closing_what_is_not_open_is_closed_at_once(machine):
    session = machine.session(1_000)
    machine.entry(at=1_001)
    before = whole(machine.state)
    assert machine.run(close(session)) == Closed()
    assert machine.run(close(99)) == Closed()
    assert whole(machine.state) == before


def test_a_lease_of_a_hold_is_no_session_to_keep_or_to_close(machine):
    token = machine.hold("jobs", ttl_ms=1_000)
    (lease,) = machine.state.leases
    assert machine.run(keep_alive(lease)) == SessionEnded()
    assert machine.run(close(lease)) == Closed()
    assert machine.run(lock("mail", session=lease)) == SessionEnded()
    assert machine.tokens("jobs") == [token]


def test_a_session_of_another_caller_is_as_if_it_did_not_exist(machine):
    session = machine.session(caller="ann")
    token = machine.run(lock("jobs", session=session)).token
    bob = request(free_key(caller="bob"))
    assert machine.run(keep_alive(session, caller="bob")) == SessionEnded()
    assert machine.run(close(session, caller="bob")) == Closed()
    assert machine.run(lock("mail", session=session, req=bob)) == SessionEnded()
    assert machine.tokens("jobs") == [token]
    assert machine.run(keep_alive(session, caller="ann")) == Kept(10_000)


# -- an end that takes several entries


@pytest.fixture
def small_bounds(monkeypatch):
    """Two waiters and two names end in one entry."""
    monkeypatch.setattr("lockd.machine.turn.WAITERS_PER_ENTRY", 2)
    monkeypatch.setattr("lockd.machine.turn.NAMES_PER_ENTRY", 2)


@pytest.fixture
def large(machine, small_bounds):
    """Session 1 has three waiters on a held name and the holds of a to e, and ends at 1,000."""
    session = machine.session(1_000)
    machine.hold("held")
    for _ in range(3):
        machine.wait("held", session=session)
    for name in "abcde":
        machine.hold(name, session=session)
    return machine


def names_left(machine):
    return "".join(name for name in machine.names() if name != "held")


def test_a_session_ends_over_several_entries_waiters_first(large):
    left = []
    for _ in range(4):
        large.entry(at=1_001)
        left.append((len(large.state.waiters), names_left(large), more_is_due(large.state)))
    assert left == [(1, "abcde", True), (0, "cde", True), (0, "e", True), (0, "", False)]
    assert large.state.leases == {}


def test_from_when_it_begins_to_end_it_accepts_nothing(large):
    first = lock("f", session=1, req=request(free_key(b"before")))
    large.run(first)
    large.entry(at=1_001)
    assert names_left(large) == "abcdef"
    refused = large.entry(keep_alive(1), lock("x", session=1), again(first), at=1_001)
    assert outcomes(refused)[1:] == [SessionEnded(), SessionEnded(), Lost(first_token(large))]


def first_token(machine):
    return machine.state.records[free_key(b"before")].token


def test_until_its_turn_nobody_else_gets_what_it_holds(large):
    waiting = large.wait("e")
    large.entry(at=1_001)
    large.entry()
    assert large.waits(waiting)
    large.entry()
    large.entry()
    assert granted(large.last_answer(waiting))


def test_a_hold_that_is_left_of_an_ending_session_can_be_released(large):
    large.entry(at=1_001)
    token = large.tokens("e")[0]
    assert large.run(unlock(token)) == Released(token)
    assert large.run(unlock(token)) == NotHeld()


def test_closing_is_answered_when_all_is_free(large):
    closing = close(1)
    for turn in range(4):
        large.entry(*([closing] if turn == 0 else []))
        assert large.answers[closing.call] == ([Closed()] if turn == 3 else [])
    assert names_left(large) == ""


def test_a_later_call_to_close_takes_the_place_of_the_one_before(large):
    first, second = close(1), close(1)
    large.entry(first)
    assert given(large.entry(second).answers, first) == [Superseded()]
    while large.state.ending_leases:
        large.entry()
    assert large.answers == {**large.answers, first.call: [Superseded()], second.call: [Closed()]}


def test_the_same_call_to_close_that_is_proposed_again_is_answered_once(large):
    closing = close(1)
    large.entry(closing)
    large.entry(closing)
    while large.state.ending_leases:
        large.entry()
    assert large.answers[closing.call] == [Closed()]


def test_the_calls_of_one_entry_share_its_bounds(machine, small_bounds):
    for session in (1, 2):
        machine.session()
        machine.hold(*(f"{session}a", f"{session}b"), session=session)
    machine.entry(close(1), close(2))
    assert list(machine.names()) == ["2a", "2b"]
    machine.entry()
    assert list(machine.names()) == []


def test_a_set_ends_whole_in_an_entry_that_has_room_for_it(machine, small_bounds):
    session = machine.session(1_000)
    for names in ("a", "bc", "d"):
        machine.hold(*names, session=session)
    left = []
    for _ in range(3):
        machine.entry(at=1_001)
        left.append("".join(machine.names()))
    assert left == ["bcd", "d", ""]


def test_a_session_for_which_no_room_is_left_has_not_begun_to_end(machine, small_bounds):
    """It is alive for every purpose: here its owner was late, and is in time all the same."""
    first, second = machine.session(1_000), machine.session(1_001)
    machine.hold("jobs")
    for _ in range(3):
        machine.wait("jobs", session=first)
    token = machine.hold("mail", session=second)
    assert machine.run(keep_alive(second), at=2_000) == Kept(1_001)
    machine.entry()
    assert list(machine.state.leases) == [second]
    assert machine.tokens("mail") == [token]


def test_one_that_is_ending_is_not_opened_again_under_its_id(machine, small_bounds):
    ask = open_session(1_000)
    machine.run(ask)
    for name in "abc":
        machine.hold(name, session=1)
    assert machine.run(again(ask), at=1_001) == SessionEnded()
    assert list(machine.state.leases) == [1]


def test_a_waiter_of_a_closing_session_is_not_granted_what_that_session_frees(machine, small_bounds):
    """It has begun to end, and of its three waiters only two have left in this entry."""
    session = machine.session()
    token = machine.hold("jobs")
    waiting = [machine.wait("jobs", session=session) for _ in range(3)]
    other = machine.wait("jobs")
    machine.entry(close(session), unlock(token))
    assert [machine.last_answer(ask) for ask in waiting] == [SessionEnded(), SessionEnded(), Queued(2)]
    machine.entry()
    assert machine.last_answer(waiting[2]) == SessionEnded()
    assert granted(machine.last_answer(other))


def test_a_waiter_that_is_left_of_an_ending_session_can_be_cancelled(large):
    large.entry(at=1_001)
    (waiter,) = large.state.waiters.values()
    assert large.run(cancel(waiter.key)) == Cancelled()


def test_an_idle_session_costs_an_entry_nothing(machine, small_bounds):
    for _ in range(5):
        machine.session(1_000)
    machine.entry(at=1_001)
    assert machine.state.leases == {}
    assert machine.run(is_locked("jobs")).holders == ()


def test_who_tries_is_told_the_holder_of_a_session_that_ends(large):
    large.entry(at=1_001)
    assert large.run(lock("e")).conflict == Conflict(large.holders("e"))
