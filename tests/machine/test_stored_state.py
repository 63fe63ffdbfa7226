"""The state and its records: what a store follows, and what is restored from it."""

import re
from dataclasses import replace

import pytest

from lockd.machine.apply import RECORD_KEEP_MS
from lockd.machine.state import Change, Hold, Lease, Record, Scalars, State
from tests.machine.driver import encoded, lock, renew, request, restored, unlock, whole


@pytest.fixture
def busy(machine):
    """Three holds of which one came by name, one was renewed and one has no lease; a refusal; a release."""
    machine.entry(lock("jobs", 5_000), lock("mail", 9_000, by_name=True), lock("jobs"), at=100)
    machine.entry(renew(1, 20_000), lock("a/b", owner="ann"), lock("gone"), unlock(4), at=200)
    return machine


def test_a_restored_state_is_the_same(busy):
    again = restored(encoded(busy.state))
    assert whole(again) == whole(busy.state)
    assert list(again.names_after("", "")) == ["a/b", "jobs", "mail"]
    assert again.next_bound_ms() == 9_100
    assert again.take_changes() == []


def test_an_empty_store_is_a_new_state():
    assert whole(State.restored(iter([]))) == whole(State())


def test_the_order_of_the_records_does_not_matter(busy):
    assert whole(State.restored(reversed(whole(busy.state)))) == whole(busy.state)


def test_a_change_is_told_once_and_as_it_is_now(busy):
    state = busy.state
    state.set_scalars(clock_ms=300)
    state.set_scalars(clock_ms=301)
    state.put_lease(replace(state.leases[1], deadline_ms=1))
    state.put_lease(replace(state.leases[1], deadline_ms=2))
    changes = state.take_changes()
    assert [(change.table, change.key) for change in changes] == [("scalars", None), ("leases", 1)]
    assert [change.value for change in changes] == [state.scalars, state.leases[1]]
    assert state.take_changes() == []


def test_what_came_and_went_in_one_entry_is_told_as_gone(machine):
    machine.entry(lock("jobs", 5_000), unlock(1))
    gone = {(change.table, change.key) for change in machine.changed if change.value is None}
    assert gone == {("holds", 1), ("leases", 1)}


def test_what_is_due_after_a_restart_is_due_in_its_order(machine):
    """The index of ends is built anew: records in the order of their keys end in the order of their times."""
    for at, id in enumerate((b"c", b"a", b"b")):
        machine.run(unlock(99, req=request(id)), at=at)
    machine.state = restored(machine.stored)
    machine.entry(at=RECORD_KEEP_MS + 1)
    assert [id for _, id in machine.state.records] == [b"a", b"b"]
    machine.entry(at=RECORD_KEEP_MS + 2)
    assert [id for _, id in machine.state.records] == [b"b"]


# -- a store that contradicts itself is not started from

KNOWN = request(b"1")
SCALARS = Change("scalars", None, Scalars(clock_ms=0, epoch=1, version=1, last_token=9, last_lease=9))
HOLD = Hold(1, "jobs", 1, "", "", (), 0, by_name=False, request=KNOWN)
LEASE = Lease(1, deadline_ms=5, ttl_ms=5, hold=1)
RECORD = Record(KNOWN, "Granted", 1, "jobs", 0)


def put(*values: Hold | Lease | Record) -> list[Change]:
    changes = [SCALARS]
    for value in values:
        match value:
            case Hold():
                changes.append(Change("holds", value.token, value))
            case Lease():
                changes.append(Change("leases", value.id, value))
            case Record():
                changes.append(Change("records", (value.request.caller, value.request.id), value))
    return changes


def test_the_sound_one_of_the_examples_below():
    assert State.restored(iter(put(HOLD, LEASE, RECORD))).hold_of("jobs") == HOLD


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (put(HOLD, LEASE), "hold 1 has no lasting request record"),
        (put(HOLD, LEASE, replace(RECORD, until_ms=7)), "hold 1 has no lasting request record"),
        (put(HOLD, LEASE, replace(RECORD, token=2)), "hold 1 has no lasting request record"),
        (put(HOLD, RECORD), "hold 1 names lease 1, which is not its own"),
        (put(HOLD, replace(LEASE, hold=2), RECORD), "hold 1 names lease 1, which is not its own"),
        (put(replace(HOLD, lease=0), LEASE, RECORD), "lease 1 belongs to no hold"),
        (put(LEASE), "lease 1 belongs to no hold"),
        (put(RECORD), "request record ('ann', b'1') waits for a hold that is gone"),
        (put(replace(HOLD, token=10, lease=0), replace(RECORD, token=10)), "hold 10 has a token that was not given"),
        (put(HOLD, LEASE, RECORD)[1:], "hold 1 has a token that was not given out"),
        (put(replace(HOLD, lease=10), replace(LEASE, id=10), RECORD), "lease 10 has an id that was not given out"),
        (put(HOLD, replace(HOLD, token=2), LEASE, RECORD), "two holds share one name"),
    ],
)
def test_records_that_contradict_one_another_are_refused(changes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        State.restored(iter(changes))
