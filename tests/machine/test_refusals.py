"""What is refused, or only read, changes nothing but the record of its own request, where there is to be one."""

from dataclasses import dataclass
from typing import Any

import pytest

from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd.machine.commands import Answered, CheckToken, Kind, ListHolds, ListRegistered, Unregister
from tests.machine.driver import (
    EXCLUSIVE,
    again,
    barrier,
    break_lock,
    call,
    cancel,
    client_key,
    close,
    free_key,
    get,
    is_locked,
    keep_alive,
    lock,
    open_node,
    open_session,
    read_lock,
    renew,
    request,
    unlock,
    unlock_by_name,
    unlock_in,
    whole,
    withdraw,
)

LEASED, UNTIL_RELEASED, IN_SESSION, READ = 1, 2, 3, 4
"""Tokens of the holds below."""
SESSION = 2
WORKER: dict[str, Any] = {"session": SESSION, "agent": "worker"}
WAITS = lock("leased", wait_ms=-1, attempt=5, req=request(free_key(b"waits")))
GRANTED = lock("until released", req=request(free_key(b"granted")))
USED = request(free_key(b"used"), asked=b"something else")
ANSWERED = request(client_key(0), answered=None)
TOO_OLD = request(not_after_ms=99)


@pytest.fixture
def busy(machine):
    """At 100: holds with and without a lease, one in a session, one that is read; a waiter, a delay, marks, entries."""
    machine.entry(lock("leased", ttl_ms=5_000, owner="ann", req=request(free_key(b"used"))), GRANTED)
    machine.session(9_000)
    machine.hold("in session", **WORKER)
    machine.hold("read", mode=c.Mode.SHARED, **WORKER)
    machine.entry(WAITS)
    machine.hold("rests", lock_delay_ms=60_000)
    machine.run(break_lock(READ + 1))
    machine.run(lock("leased", req=request(client_key(7), answered=Answered(1))))
    machine.entry(
        c.Register(call=call(), kind=Kind.RESOURCE, name="leased"),
        c.Register(call=call(), kind=Kind.CLIENT, name="ann"),
        at=100,
    )
    return machine


@dataclass(frozen=True)
class Case:
    ask: c.Command
    outcome: object
    """A class of outcomes, or the outcome."""
    is_recorded: bool = False


def again_with(agent_of: dict[str, Any], name: str) -> c.Acquire:
    return lock(name, reentrant=True, **agent_of)


CASES = {
    "a lock that is held": Case(lock("leased", ttl_ms=9_000), o.HeldByOther, True),
    "a lock that is held without a lease": Case(lock("until released"), o.HeldByOther, True),
    "a set of which one is held": Case(lock("free", "leased"), o.HeldByOther, True),
    "a lock that is read": Case(lock("read"), o.HeldByOther, True),
    "a lock that rests": Case(lock("rests"), o.HeldByOther, True),
    "a wait for oneself": Case(lock("in session", wait_ms=-1, **WORKER), o.Deadlock, True),
    "an upgrade": Case(again_with(WORKER, "read"), o.UpgradeRefused(READ), True),
    "a lock in no session": Case(lock("free", session=99), o.SessionEnded(), True),
    "a lock in a hold's lease": Case(lock("free", session=1), o.SessionEnded(), True),
    "a lock from a node without a lease": Case(lock("free", call=call(9, 9)), o.Refusal.STALE_NODE),
    "a lock under another's id": Case(lock("free", req=USED), o.Refusal.ID_REUSED),
    "a lock too late": Case(lock("free", req=TOO_OLD), o.Refusal.TOO_OLD),
    "a lock that was answered": Case(lock("free", req=ANSWERED), o.Refusal.ANSWERED),
    "an overtaken attempt": Case(again(WAITS, attempt=4), o.Superseded()),
    "an attempt as high as the one before": Case(again(WAITS), o.Superseded()),
    "a call that waits, proposed again": Case(WAITS, o.Queued(0)),
    "a call that was granted, proposed again": Case(GRANTED, o.Granted(UNTIL_RELEASED, 0)),
    "a release of no hold": Case(unlock(99), o.NotHeld(), True),
    "a release of another name": Case(unlock(LEASED, name="until released"), o.NotHeld, True),
    "a release by name of a leased hold": Case(unlock_by_name("leased"), o.NotHeld, True),
    "a release by name of a hold by token": Case(unlock_by_name("until released"), o.NotHeld, True),
    "a release by name of a free name": Case(unlock_by_name("free"), o.NotHeld(), True),
    "a release by another agent": Case(unlock_in(SESSION, "in session", "other"), o.NotHeld, True),
    "a release without agent": Case(unlock_in(SESSION, "in session", ""), o.NotHeld, True),
    "a forced release of no hold": Case(break_lock(99), o.NotHeld(), True),
    "a release under another's id": Case(unlock(LEASED, req=USED), o.Refusal.ID_REUSED),
    "a release under a waiter's id": Case(unlock(LEASED, req=WAITS.request), o.Refusal.ID_REUSED),
    "a release too late": Case(unlock(LEASED, req=TOO_OLD), o.Refusal.TOO_OLD),
    "a release that was answered": Case(unlock(LEASED, req=ANSWERED), o.Refusal.ANSWERED),
    "a renewal of no hold": Case(renew(99, 9_000), o.NotHeld()),
    "a renewal of a hold without a lease": Case(renew(UNTIL_RELEASED, 9_000), o.Refusal.NO_LEASE),
    "a renewal of a hold in a session": Case(renew(IN_SESSION, 9_000), o.Refusal.IN_SESSION),
    "a renewal that would shorten": Case(renew(LEASED, 1_000), o.Renewed(4_900)),
    "a session under another's id": Case(open_session(req=USED), o.Refusal.ID_REUSED),
    "a session too late": Case(open_session(req=TOO_OLD), o.Refusal.TOO_OLD),
    "a session that was answered": Case(open_session(req=ANSWERED), o.Refusal.ANSWERED),
    "keeping no session alive": Case(keep_alive(99), o.SessionEnded()),
    "keeping a hold's lease alive": Case(keep_alive(1), o.SessionEnded()),
    "keeping another's session alive": Case(keep_alive(SESSION, caller="bob"), o.SessionEnded()),
    "closing no session": Case(close(99), o.Closed()),
    "closing a hold's lease": Case(close(1), o.Closed()),
    "closing another's session": Case(close(SESSION, caller="bob"), o.Closed()),
    "a cancel of what was answered": Case(cancel(client_key(0)), o.Refusal.ANSWERED),
    "a cancel of what was refused": Case(cancel(client_key(7)), o.Cancelled()),
    "a withdrawal of an older call": Case(withdraw(WAITS, ended=call()), o.Passed()),
    "a withdrawal of what nobody asked": Case(withdraw(lock("leased")), o.Passed()),
    "removing no entry": Case(Unregister(call=call(), kind=Kind.CLIENT, id=99), o.Unregistered(found=False)),
    "removing an entry of the other kind": Case(
        Unregister(call=call(), kind=Kind.CLIENT, id=1), o.Unregistered(found=False)
    ),
    "removing a resource in use": Case(
        Unregister(call=call(), kind=Kind.RESOURCE, id=1), o.Unregistered(found=True, in_use=True)
    ),
    "removing a client in use": Case(
        Unregister(call=call(), kind=Kind.CLIENT, id=2), o.Unregistered(found=True, in_use=True)
    ),
    "registering what is registered": Case(
        c.Register(call=call(), kind=Kind.CLIENT, name="ann"), o.Registered(Kind.CLIENT, ((2, "ann"),))
    ),
    "is it locked": Case(is_locked("leased"), o.LockState),
    "one lock": Case(get("leased"), o.LockState),
    "a list": Case(ListHolds(call=call(), mode=EXCLUSIVE, with_waiters=True), o.Page),
    "a token": Case(CheckToken(call=call(), name="leased", token=LEASED), o.TokenState),
    "a list of entries": Case(ListRegistered(call=call(), kind=Kind.CLIENT), o.Registered),
    "a barrier": Case(barrier(), o.Passed()),
}

cases = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


@cases
def test_it_changes_nothing_but_its_own_record(busy, case):
    before = whole(busy.state)
    applied = busy.entry(case.ask)
    (answer,) = applied.answers
    assert answer.outcome == case.outcome or (
        isinstance(case.outcome, type) and isinstance(answer.outcome, case.outcome)
    )
    assert applied.events == ()
    after = whole(busy.state)
    if case.is_recorded:
        key = case.ask.request.key
        assert busy.state.records[key].outcome == type(answer.outcome).__name__
        after = [change for change in after if change.key != key]
    assert after == before
    assert len(busy.changed) == case.is_recorded


@cases
def test_a_stale_entry_does_none_of_it_either(busy, case):
    busy.begin(2)
    before = whole(busy.state)
    applied = busy.entry(case.ask, at=500, epoch=1)
    assert [answer.outcome for answer in applied.answers] == [o.Refusal.STALE_EPOCH]
    assert whole(busy.state) == before


STALE = {
    "a lock": lock("free"),
    "a lock that waits": lock("leased", wait_ms=-1),
    "a re-entrant lock": again_with(WORKER, "in session"),
    "a higher attempt": again(WAITS, attempt=6),
    "a release": unlock(LEASED),
    "a forced release": break_lock(LEASED),
    "a cancel": cancel(WAITS),
    "a cancel of what was not seen": cancel(lock("free")),
    "a withdrawal": withdraw(WAITS),
    "a renewal": renew(LEASED, 9_000),
    "a session": open_session(),
    "a session that is kept alive": keep_alive(SESSION),
    "a session that is closed": close(SESSION),
    "a node": open_node(4, 40),
    "a next life of a node": open_node(1, 8),
    "a client": c.Register(call=call(), kind=Kind.CLIENT, name="bob"),
    "a mark": read_lock("read", req=request(client_key(8), answered=Answered(8))),
}


@pytest.mark.parametrize("ask", STALE.values(), ids=list(STALE))
def test_a_stale_entry_does_nothing_of_what_would_count(busy, ask):
    """At a stamp beyond every bound, too: it moves no clock."""
    before = whole(busy.state)
    applied = busy.entry(ask, at=10**9, epoch=busy.epoch, append_term=busy.epoch + 1)
    assert applied == o.Applied((o.Answer(ask.call, o.Refusal.STALE_EPOCH),))
    assert whole(busy.state) == before
    busy.entry(ask)
    assert whole(busy.state) != before
