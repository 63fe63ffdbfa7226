"""What happened, for those who watch: in order, each under one number that rises by one."""

import pytest

from lockd.machine.outcomes import Event, What
from tests.machine.driver import (
    Machine,
    again,
    break_lock,
    cancel,
    close,
    exclusive,
    keep_alive,
    lock,
    open_node,
    read_lock,
    renew,
    shared,
    unlock,
    withdraw,
)


def told(applied):
    """As (what, names) for each event."""
    return [(event.what.name, "".join(want.name for want in event.wants)) for event in applied.events]


def test_a_grant_says_who_took_what(machine):
    applied = machine.entry(lock("jobs", shared("mail"), owner="ann", reason="nightly"), at=100)
    assert applied.events == (
        Event(
            revision=1,
            what=What.GRANTED,
            wants=(exclusive("jobs"), shared("mail")),
            clock_ms=100,
            token=1,
            owner="ann",
            reason="nightly",
        ),
    )


def test_the_life_of_a_wait(machine):
    machine.hold("a")
    asked = lock("a", wait_ms=-1)
    assert told(machine.entry(asked)) == [("WAITING", "a")]
    assert told(machine.entry(again(asked, attempt=2))) == []
    assert told(machine.entry(unlock(1))) == [("RELEASED", "a"), ("GRANTED", "a")]


@pytest.mark.parametrize(
    ("leave", "why"),
    [
        (lambda machine, ask: [cancel(ask)], "cancelled"),
        (lambda machine, ask: [withdraw(ask)], "withdrawn"),
        (lambda machine, ask: [close(1)], "session ended"),
        (lambda machine, ask: [open_node(4, 41)], "node gone"),
    ],
)
def test_a_waiter_that_leaves_says_why(machine, leave, why):
    session = machine.session()
    machine.hold("a")
    machine.run(open_node(4, 40))
    node = open_node(4, 40).call
    how = {"session": session} if why == "session ended" else {"call": node} if why == "node gone" else {}
    ask = machine.wait("a", **how)
    (event,) = machine.entry(*leave(machine, ask)).events
    assert (event.what, event.reason) == (What.LEFT, why)


def test_one_that_timed_out_says_so_too(machine):
    machine.hold("a")
    machine.wait("a", wait_ms=10)
    (event,) = machine.entry(at=11).events
    assert (event.what, event.reason, event.clock_ms) == (What.LEFT, "timed out", 11)


@pytest.mark.parametrize(
    ("end", "what"),
    [
        (lambda ask: [unlock(1)], What.RELEASED),
        (lambda ask: [cancel(ask)], What.RELEASED),
        (lambda ask: [withdraw(ask)], What.RELEASED),
        (lambda ask: [break_lock(1)], What.BROKEN),
        (lambda ask: [], What.EXPIRED),
    ],
)
def test_a_hold_that_ends_says_how(machine, end, what):
    ask = lock("a", ttl_ms=1_000, owner="ann")
    machine.run(ask)
    commands = end(ask)
    (event,) = machine.entry(*commands, at=0 if commands else 1_001).events
    assert (event.what, event.token, event.owner) == (what, 1, "ann")


def test_a_broken_lock_says_who_broke_it_and_why(machine):
    machine.hold("a", owner="ann")
    ask = break_lock(1, reason="stuck", by="operator", caller="ops", credential="token 3")
    (event,) = machine.entry(ask).events
    assert (event.owner, event.by, event.reason) == ("ann", "operator", "stuck")
    assert (event.by_identity, event.by_credential) == ("ops", "token 3")


def test_a_lock_that_has_rested_says_so(machine):
    machine.hold("a", "b", ttl_ms=10, lock_delay_ms=100)
    machine.wait("a")
    machine.entry(at=11)
    assert told(machine.entry(at=112)) == [("DELAY_ENDED", "a"), ("DELAY_ENDED", "b"), ("GRANTED", "a")]


def test_the_end_of_a_session_tells_of_its_waiters_then_of_its_holds_then_of_whom_it_lets_in(machine):
    session = machine.session()
    machine.hold("a", session=session)
    machine.wait("a", session=session)
    machine.wait("a")
    applied = machine.entry(close(session))
    assert told(applied) == [("LEFT", "a"), ("RELEASED", "a"), ("GRANTED", "a")]
    assert [event.session for event in applied.events] == [session, session, 0]


def test_one_count_more_or_less_is_no_event(machine):
    how = {"session": machine.session(), "agent": "worker", "reentrant": True}
    machine.run(lock("a", **how))
    assert told(machine.entry(lock("a", **how), unlock(1))) == []
    assert told(machine.entry(unlock(1))) == [("RELEASED", "a")]


def test_what_changes_no_lock_is_no_event(machine):
    session = machine.session()
    machine.hold("a", ttl_ms=5_000)
    quiet = [renew(1, 9_000), keep_alive(session), lock("a"), unlock(99), cancel(lock("b")), open_node(1, 7)]
    assert told(machine.entry(*quiet)) == []


def test_revisions_rise_by_one_over_entries_epochs_and_restarts():
    machine = Machine()
    for turn in range(4):
        machine.entry(lock("a", "b", ttl_ms=10), read_lock("c", ttl_ms=10), lock("a", wait_ms=5), at=20 * turn)
        machine.entry(at=20 * turn + 11)
        machine.begin(machine.epoch + 1)
        machine.restart()
    assert len(machine.events) == 24
    assert [event.revision for event in machine.events] == list(range(1, 25))
    assert machine.state.scalars.revision == 24


def test_a_stale_entry_tells_nothing(machine):
    machine.begin(2)
    assert machine.entry(lock("a"), epoch=1).events == ()
    assert machine.state.scalars.revision == 0
