"""Rules 10, 11 and 13: who frees a lock and by what, and how long it rests when nobody did."""

from dataclasses import replace

import pytest

from lockd.machine.outcomes import Conflict, Granted, HeldByOther, LockState, NotHeld, Released
from tests.machine.driver import (
    EXCLUSIVE,
    SHARED,
    break_lock,
    cancel,
    close,
    free_key,
    granted,
    is_locked,
    lock,
    read_lock,
    renew,
    request,
    shared,
    unlock,
    unlock_by_name,
    unlock_in,
    whole,
    withdraw,
)

X, S = EXCLUSIVE, SHARED


# -- by token


def test_a_token_frees_its_hold(machine):
    token = machine.hold("jobs")
    assert machine.run(unlock(token)) == Released(token)
    assert machine.run(is_locked("jobs")) == LockState()


def test_a_token_with_another_name_frees_nothing_and_names_that_ones_holder(machine):
    token = machine.hold("jobs")
    assert machine.run(unlock(token, name="mail")) == NotHeld()
    other = machine.hold("mail", owner="bob")
    refused = machine.run(unlock(token, name="mail"))
    assert [(holder.token, holder.owner) for holder in refused.holders] == [(other, "bob")]
    assert machine.run(unlock(token, name="jobs")) == Released(token)


@pytest.mark.parametrize("name", ["jobs", "mail"])
def test_a_set_is_freed_whole_under_any_of_its_names(machine, name):
    token = machine.hold("jobs", "mail")
    assert machine.run(unlock(token, name=name)) == Released(token)
    assert list(machine.names()) == []


def test_releasing_what_is_not_held_names_the_holder(machine):
    machine.hold("jobs", owner="ann")
    outcome = machine.run(unlock(99, name="jobs"))
    assert [holder.owner for holder in outcome.holders] == ["ann"]
    assert machine.run(unlock(99)) == NotHeld()


def test_a_released_token_is_no_longer_held(machine):
    token = machine.hold("jobs")
    machine.run(unlock(token))
    assert machine.run(unlock(token)) == NotHeld()
    assert machine.run(renew(token, 5_000)) == NotHeld()


# -- by session, agent and name


@pytest.fixture
def worker(machine):
    """Session 1, in which agents a and b read jobs, under tokens 1 and 2."""
    machine.session()
    for agent in "ab":
        machine.hold("jobs", mode=S, session=1, agent=agent)
    return machine


def test_session_agent_and_name_free_that_agents_hold(worker):
    assert worker.run(unlock_in(1, "jobs", "b")) == Released(2)
    assert worker.tokens("jobs") == [1]


@pytest.mark.parametrize(
    ("session", "name", "agent"), [(1, "jobs", "c"), (1, "jobs", ""), (2, "jobs", "a"), (1, "mail", "a")]
)
def test_all_three_have_to_be_right(worker, session, name, agent):
    assert worker.run(unlock_in(session, name, agent)) == NotHeld(worker.holders(name))
    assert worker.tokens("jobs") == [1, 2]


def test_a_session_of_another_caller_is_not_right(worker):
    bob = request(free_key(caller="bob"))
    assert worker.run(unlock_in(1, "jobs", "a", req=bob)) == NotHeld(worker.holders("jobs"))


# -- by name alone


def test_a_name_alone_frees_a_hold_that_came_in_by_name_without_a_lease(machine):
    token = machine.hold("jobs", by_name=True)
    assert machine.run(unlock_by_name("jobs")) == Released(token)
    assert list(machine.names()) == []


@pytest.mark.parametrize(
    "how",
    [{}, {"ttl_ms": 5_000, "by_name": True}, {"ttl_ms": 5_000}, {"session": 1, "by_name": True}],
    ids=["by token", "with a lease", "by token, with a lease", "in a session"],
)
def test_a_name_alone_frees_no_other_hold(machine, how):
    machine.session()
    token = machine.hold("jobs", **how)
    assert machine.run(unlock_by_name("jobs")) == NotHeld(machine.holders("jobs"))
    assert machine.tokens("jobs") == [token]


def test_a_token_beside_a_name_alone_counts_for_nothing(machine):
    token = machine.hold("jobs")
    assert isinstance(machine.run(replace(unlock_by_name("jobs"), token=token)), NotHeld)


def test_a_hold_that_came_in_by_name_can_be_freed_by_token(machine):
    token = machine.hold("jobs", by_name=True)
    assert machine.run(unlock(token)) == Released(token)


# -- by force


def test_force_frees_any_hold_by_its_token(machine):
    session = machine.session()
    tokens = [machine.hold("a"), machine.hold("b", ttl_ms=5_000), machine.hold("c", session=session)]
    for token in tokens:
        assert machine.run(break_lock(token)) == Released(token)
    assert list(machine.names()) == []
    assert list(machine.state.leases) == [session]


def test_what_was_broken_goes_to_the_one_who_waits_unless_it_rests(machine):
    machine.hold("jobs")
    machine.hold("mail", lock_delay_ms=100)
    waiting = [machine.wait("jobs"), machine.wait("mail")]
    machine.entry(break_lock(1), break_lock(2))
    assert [granted(machine.last_answer(ask)) for ask in waiting] == [True, False]


def test_force_frees_nothing_that_is_not_held(machine):
    machine.hold("jobs")
    assert machine.run(break_lock(99)) == NotHeld()


# -- lock delay: after an expiry or a forced unlock, what a former holder may still be doing has time to end


def expiry(machine, ask):
    machine.entry(at=1_001)


def force(machine, ask):
    machine.entry(break_lock(1), at=1_001)


def release(machine, ask):
    machine.entry(unlock(1), at=1_001)


def cancelling(machine, ask):
    machine.entry(cancel(ask), at=1_001)


def withdrawal(machine, ask):
    machine.entry(withdraw(ask), at=1_001)


def closing(machine, ask):
    machine.entry(close(1), at=1_001)


@pytest.mark.parametrize(("end", "ttl_ms"), [(expiry, 1_000), (force, 1_000), (force, 0)])
def test_after_an_expiry_or_force_the_lock_rests(machine, end, ttl_ms):
    ask = lock("jobs", ttl_ms=ttl_ms, lock_delay_ms=500)
    machine.entry(ask)
    if ttl_ms and end is force:
        machine.run(renew(1, 9_000))
    end(machine, ask)
    assert machine.run(lock("jobs")) == HeldByOther(Conflict(delayed_until_ms=1_501))
    assert machine.run(is_locked("jobs")) == LockState(delayed_until_ms=1_501)
    assert not granted(machine.run(lock("jobs"), at=1_501))
    assert granted(machine.run(lock("jobs"), at=1_502))


@pytest.mark.parametrize("end", [release, cancelling, withdrawal])
def test_after_any_other_end_it_does_not(machine, end):
    ask = lock("jobs", lock_delay_ms=60_000)
    machine.entry(ask)
    end(machine, ask)
    assert granted(machine.run(lock("jobs")))


def test_a_session_that_is_closed_leaves_no_delay_and_one_that_expires_does(machine):
    for session, name in enumerate(("closed", "expired"), start=1):
        machine.session(1_000)
        machine.hold(name, session=session, lock_delay_ms=500)
    machine.run(close(1))
    machine.entry(at=1_001)
    assert list(machine.names()) == ["expired"]


def test_a_session_that_began_to_expire_is_not_closed_any_more(machine, monkeypatch):
    """Closing it then changes nothing of how its holds end: whoever closes it may not know what it lost."""
    monkeypatch.setattr("lockd.machine.turn.NAMES_PER_ENTRY", 1)
    session = machine.session(1_000)
    for name in ("a", "b", "c"):
        machine.hold(name, session=session, lock_delay_ms=500)
    machine.entry(close(session), at=1_001)
    machine.entry()
    machine.entry()
    assert sorted(key.name for key in machine.state.delays) == ["a", "b", "c"]


def test_who_waits_is_granted_when_the_delay_has_passed(machine):
    machine.hold("jobs", ttl_ms=1_000, lock_delay_ms=500)
    waiting = machine.wait("jobs")
    machine.entry(at=1_001)
    assert machine.state.next_bound_ms() == 1_501
    machine.entry(at=1_501)
    assert machine.waits(waiting)
    machine.entry(at=1_502)
    assert machine.last_answer(waiting) == Granted(2, 0, waited_ms=1_502)


@pytest.mark.parametrize(("held", "asked", "is_granted"), [(S, S, True), (S, X, False), (X, S, False)])
def test_it_holds_back_what_was_incompatible_with_the_hold(machine, held, asked, is_granted):
    machine.hold("jobs", mode=held, ttl_ms=1_000, lock_delay_ms=500)
    machine.entry(at=1_001)
    assert granted(machine.run(lock("jobs", mode=asked))) is is_granted


def test_each_name_of_a_set_rests_in_its_mode(machine):
    machine.hold("jobs", shared("mail"), ttl_ms=1_000, lock_delay_ms=500)
    machine.entry(at=1_001)
    assert not granted(machine.run(read_lock("jobs")))
    assert granted(machine.run(read_lock("mail")))


def test_of_several_delays_the_latest_counts(machine):
    for delay_ms in (500, 900, 100):
        machine.hold("jobs", mode=S, ttl_ms=1_000, lock_delay_ms=delay_ms)
    machine.entry(at=1_001)
    assert machine.lock_state("jobs").delayed_until_ms == 1_901
    assert not granted(machine.run(lock("jobs"), at=1_901))
    assert granted(machine.run(lock("jobs"), at=1_902))


def test_a_delay_that_stands_is_not_shortened_by_a_later_end(machine):
    machine.hold("jobs", mode=S, lock_delay_ms=900)
    machine.hold("jobs", mode=S, lock_delay_ms=100)
    machine.run(break_lock(1))
    before = [change for change in whole(machine.state) if change.table == "delays"]
    machine.run(break_lock(2), at=500)
    assert [change for change in whole(machine.state) if change.table == "delays"] == before


def test_one_entry_ends_a_bounded_number_of_delays(machine, monkeypatch):
    monkeypatch.setattr("lockd.machine.ending.WAITERS_PER_ENTRY", 2)
    machine.hold(*"abc", ttl_ms=1_000, lock_delay_ms=500)
    machine.entry(at=1_001)
    machine.entry(at=1_502)
    assert list(machine.names()) == ["c"]
    machine.entry()
    assert list(machine.names()) == []
