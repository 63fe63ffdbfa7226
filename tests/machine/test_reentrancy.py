"""Rule 6: an agent may take again, on request, what it holds in its session; the last release frees it."""

import pytest

from lockd.machine.outcomes import Granted, HeldByOther, Lost, Released, UpgradeRefused, What
from tests.machine.driver import (
    EXCLUSIVE,
    SHARED,
    again,
    break_lock,
    free_key,
    lock,
    outcomes,
    read_lock,
    request,
    shared,
    unlock,
    unlock_in,
)

X, S = EXCLUSIVE, SHARED


@pytest.fixture
def session(machine):
    return machine.session()


@pytest.fixture
def worker(session):
    return {"session": session, "agent": "worker", "reentrant": True}


def count(machine, name="jobs"):
    (holder,) = machine.holders(name)
    return holder.count


def test_the_second_grant_has_the_token_of_the_first(machine, worker):
    assert machine.run(lock("jobs", **worker)) == Granted(1, 10_000, count=1)
    assert machine.run(lock("jobs", **worker), at=4_000) == Granted(1, 6_000, count=2)
    assert count(machine) == 2
    assert machine.hold("mail") == 2


def test_the_last_release_frees_it(machine, worker):
    machine.entry(*(lock("jobs", **worker) for _ in range(3)))
    waiting = machine.wait("jobs")
    released = [machine.run(unlock(1)) for _ in range(3)]
    assert released == [Released(1, count=2), Released(1, count=1), Released(1, count=0)]
    assert machine.last_answer(waiting) == Granted(2, 0)


def test_release_by_session_agent_and_name_counts_too(machine, session, worker):
    machine.entry(*(lock("jobs", **worker) for _ in range(2)))
    assert machine.run(unlock_in(session, "jobs", "worker")) == Released(1, count=1)
    assert machine.run(unlock_in(session, "jobs", "worker")) == Released(1, count=0)


def test_a_repeated_release_takes_no_second_count_off(machine, worker):
    machine.entry(*(lock("jobs", **worker) for _ in range(3)))
    ask = unlock(1)
    assert machine.run(ask, again(ask)) == Released(1, count=2)
    assert count(machine) == 2


def test_a_repeated_request_adds_no_second_count(machine, worker):
    asks = [lock("jobs", **worker) for _ in range(2)]
    machine.entry(*asks)
    assert machine.run(again(asks[1])) == Granted(1, 10_000, count=2)
    assert count(machine) == 2


@pytest.mark.parametrize(("held", "asked", "is_granted"), [(X, X, True), (X, S, True), (S, S, True), (S, X, False)])
def test_the_same_or_a_weaker_mode_is_granted_and_a_stronger_one_refused(machine, worker, held, asked, is_granted):
    machine.run(lock("jobs", mode=held, **worker))
    outcome = machine.run(lock("jobs", mode=asked, wait_ms=-1, **worker))
    assert outcome == (Granted(1, 10_000, count=2) if is_granted else UpgradeRefused(1))
    assert [holder.mode for holder in machine.holders("jobs")] == [held]


def test_it_goes_past_those_who_wait(machine, worker):
    machine.run(read_lock("jobs", **worker))
    writer = machine.wait("jobs")
    assert machine.run(read_lock("jobs", **worker)) == Granted(1, 10_000, count=2)
    assert machine.waits(writer)


def test_it_goes_past_a_lock_delay(machine, worker):
    """Left by another reader, whose lease has ended."""
    machine.run(read_lock("jobs", **worker))
    machine.hold("jobs", mode=S, ttl_ms=100, lock_delay_ms=60_000)
    machine.entry(at=101)
    assert machine.run(read_lock("jobs", **worker)) == Granted(1, 9_899, count=2)


def test_one_of_another_agent_or_session_is_none_of_its_own(machine, session, worker):
    machine.run(lock("jobs", **worker))
    others = [{**worker, "agent": "another"}, {**worker, "session": machine.session()}, {"agent": "worker"}]
    for other in others:
        assert isinstance(machine.run(lock("jobs", **other)), HeldByOther)


def test_one_of_another_caller_is_not_either(machine, worker):
    machine.run(lock("jobs", **worker))
    bob = {**worker, "session": machine.session(caller="bob")}
    assert isinstance(machine.run(lock("jobs", req=request(free_key(caller="bob")), **bob)), HeldByOther)


def test_without_a_session_nothing_is_anybodys_own(machine):
    """Two clients of one caller may call their threads alike."""
    machine.run(lock("jobs", agent="worker", reentrant=True))
    assert isinstance(machine.run(lock("jobs", agent="worker", reentrant=True)), HeldByOther)


def test_it_has_to_be_asked_for(machine, worker):
    machine.run(lock("jobs", **worker))
    assert isinstance(machine.run(lock("jobs", **{**worker, "reentrant": False})), HeldByOther)


def test_what_is_not_held_yet_is_asked_for_as_by_anybody(machine, worker):
    machine.hold("jobs")
    waiting = machine.wait("jobs", **worker)
    machine.run(unlock(1))
    assert machine.last_answer(waiting) == Granted(2, 10_000, count=1)


def test_a_name_of_a_set_is_counted_on_the_set(machine, worker):
    machine.run(lock("jobs", shared("mail"), **{**worker, "reentrant": False}))
    assert machine.run(read_lock("mail", **worker)) == Granted(1, 10_000, count=2)
    assert machine.run(unlock(1)) == Released(1, count=1)
    assert count(machine, "jobs") == 1


def test_a_forced_release_frees_it_whatever_its_count(machine, worker):
    machine.entry(*(lock("jobs", **worker) for _ in range(3)))
    assert machine.run(break_lock(1)) == Released(1, count=0)
    assert list(machine.names()) == []


def test_the_end_of_the_session_frees_it_whatever_its_count(machine, worker):
    asks = [lock("jobs", **worker) for _ in range(3)]
    machine.entry(*asks)
    applied = machine.entry(at=10_001)
    assert [event.what for event in applied.events] == [What.EXPIRED]
    assert outcomes(machine.entry(*map(again, asks))) == [Lost(1)] * 3
