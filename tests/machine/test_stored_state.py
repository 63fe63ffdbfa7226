"""The state and its records: what a store follows, and what is restored from it."""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest

from lockd.machine import commands as c
from lockd.machine import tables as t
from lockd.machine.apply import apply
from lockd.machine.constants import RECORD_KEEP_MS, WAIT_GRACE_MS
from lockd.machine.outcomes import Applied
from lockd.machine.state import State
from lockd.raft import codec

FOREVER = 2**60
EXCLUSIVE, SHARED = c.Mode.EXCLUSIVE, c.Mode.SHARED
CALL = c.Call(1, 7, 1)


def free_key(id: str) -> c.Key:
    return c.Key("ann", c.FREE_ID + id.encode())


def request(id: str) -> c.Request:
    return c.Request(free_key(id), b"digest", FOREVER)


def acquire(id: str, *names: str, mode: c.Mode = EXCLUSIVE, call: c.Call = CALL, **rest: object) -> c.Acquire:
    wants = tuple(c.Want(name, mode) for name in names)
    return partial(c.Acquire, call=call, request=request(id), wants=wants)(**rest)  # type: ignore[arg-type]


def release(id: str, token: int) -> c.Release:
    return c.Release(call=CALL, request=request(id), token=token)


def stored(state: State) -> dict[bytes, bytes]:
    """The state as a store holds it."""
    return {key: value or b"" for key, value in map(codec.encode_change, state.all_records())}


def restored(image: dict[bytes, bytes]) -> State:
    """In the order in which a store is read: that of the keys."""
    return State.restored(codec.decode_records(iter(sorted(image.items()))))


class Replica:
    """A state, the store that follows it, and another state that was restored before every single entry."""

    def __init__(self) -> None:
        self.state = State()
        self.store = stored(self.state)
        self.changes: list[t.Change] = []
        """By the last entry."""
        self._apply(c.BeginEpoch(epoch=1, version=1))
        self.run(c.OpenNode(call=CALL), at=0)

    def run(self, *commands: c.Command, at: int | None = None) -> Applied:
        """One batch. at: its stamp; without one the clock stands."""
        stamp_ms = self.state.scalars.clock_ms if at is None else at
        return self._apply(c.Batch(epoch=1, stamp_ms=stamp_ms, commands=commands))

    def _apply(self, entry: c.Entry) -> Applied:
        restarted = restored(self.store)
        applied = apply(self.state, entry, 1)
        assert apply(restarted, entry, 1) == applied
        self.changes = self.state.take_changes()
        for key, value in map(codec.encode_change, self.changes):
            if value is None:
                self.store.pop(key, None)
            else:
                self.store[key] = value
        assert stored(self.state) == stored(restarted) == self.store
        return applied


@pytest.fixture
def replica() -> Replica:
    return Replica()


@pytest.fixture
def busy(replica):
    """Something in each table: also shared holds, a wait with and without session, a delay, a session that ends."""
    answered = c.Answered(4, ((5, 5), (7, 8)))
    of_client = c.Key("bob", c.CLIENT_ID + b"c" * 16 + (9).to_bytes(8, "big"))
    replica.run(
        c.OpenSession(call=CALL, request=request("session"), ttl_ms=8_000, owner="ann"),
        acquire("expires", "mail", "post", ttl_ms=100, lock_delay_ms=5_000),
        acquire("own lease", "jobs", ttl_ms=9_000, owner="ann", reason="nightly", metadata=(("pid", "7"),)),
        acquire("no lease", "a/b", by_name=True),
        at=100,
    )
    replica.run(
        acquire("in session", "docs", mode=SHARED, session=1, agent="worker"),
        acquire("also shared", "docs", mode=SHARED),
        acquire("waits", "jobs", "docs", wait_ms=-1, attempt=3),
        acquire("waits in session", "docs", session=1, agent="other", wait_ms=7_500),
        acquire("refused", "jobs"),
        c.OpenSession(call=CALL, request=c.Request(of_client, b"", FOREVER, answered), ttl_ms=9_000),
        c.Register(call=CALL, kind=c.Kind.RESOURCE, name="docs"),
        c.CreateCredential(
            call=CALL, request=request("create"), name="ci", role=c.Role.LOCK, prefixes=("ci/",), sha256=b"hash"
        ),
        at=300,
    )
    return replica


def test_there_is_something_in_each_table(busy):
    assert {change.table for change in busy.state.all_records()} == set(t.TABLES)


def test_a_restored_state_is_the_same(busy):
    again = restored(busy.store)
    assert list(again.all_records()) == list(busy.state.all_records())
    assert list(again.names_after("", "")) == ["a/b", "docs", "jobs", "mail", "post"]
    assert again.next_bound_ms() == busy.state.next_bound_ms()
    assert again.next_record_end_ms() == busy.state.next_record_end_ms()
    assert again.take_changes() == []


def test_an_empty_store_is_a_new_state():
    assert list(State.restored(iter([])).all_records()) == list(State().all_records())


def test_the_order_of_the_records_does_not_matter(busy):
    records = list(busy.state.all_records())
    assert list(State.restored(reversed(records)).all_records()) == records


def test_waiters_are_restored_in_the_order_of_their_arrival(replica):
    replica.run(acquire("held", "jobs"))
    for id in ("c", "a", "b"):
        replica.run(acquire(id, "jobs", wait_ms=-1))
    assert list(restored(replica.store).lock("jobs").queue) == [free_key("c"), free_key("a"), free_key("b")]


def test_a_change_is_told_once_and_as_it_is_now(busy):
    state = busy.state
    state.set_scalars(clock_ms=301)
    state.set_scalars(clock_ms=302)
    state.put_lease(replace(state.leases[1], deadline_ms=1))
    state.put_lease(replace(state.leases[1], deadline_ms=2))
    changes = state.take_changes()
    assert [(change.table, change.key) for change in changes] == [("scalars", None), ("leases", 1)]
    assert [change.value for change in changes] == [state.scalars, state.leases[1]]
    assert state.take_changes() == []


def test_what_came_and_went_in_one_entry_is_told_as_gone(replica):
    replica.run(acquire("1", "jobs", ttl_ms=5_000), release("2", 1))
    gone = {(change.table, change.key) for change in replica.changes if change.value is None}
    assert gone == {("holds", 1), ("leases", 1)}


# -- a replica that was restarted or took a snapshot goes on as the others do (Replica compares them)


def test_what_is_due_ends_alike(busy):
    """Waits, holds and their lease, sessions, delays, the node that parked, records and marks."""
    for at in (5_201, 7_801, 8_101, 9_101, 9_301, WAIT_GRACE_MS + 1, 2 * WAIT_GRACE_MS, RECORD_KEEP_MS * 2):
        busy.run(at=at)
    assert busy.state.leases == busy.state.waiters == busy.state.delays == busy.state.marks == {}
    assert list(busy.state.holds.values())


def test_records_end_in_the_order_of_their_times(replica):
    for at, id in enumerate(("c", "a", "b")):
        replica.run(release(id, 99), at=at)
    replica.run(at=RECORD_KEEP_MS + 1)
    assert set(replica.state.records) == {free_key("a"), free_key("b")}
    replica.run(at=RECORD_KEEP_MS + 2)
    assert set(replica.state.records) == {free_key("b")}


def test_what_a_node_parked_leaves_in_one_order(replica):
    """The first of the two is asked again later than the second, so that it is the last that the node parked."""
    replica.run(acquire("held", "jobs"))
    replica.run(acquire("1", "jobs", wait_ms=-1), acquire("2", "jobs", wait_ms=-1))
    replica.run(acquire("1", "jobs", wait_ms=-1, attempt=2, call=CALL._replace(number=2)))
    applied = replica.run(at=WAIT_GRACE_MS + 1)
    assert [answer.key for answer in applied.answers] == [free_key("1"), free_key("2")]


def test_sessions_that_are_ending_go_on_in_one_order(replica, monkeypatch):
    """The later session was the first to begin."""
    monkeypatch.setattr("lockd.machine.turn.NAMES_PER_ENTRY", 1)
    for session, names in ((1, "ab"), (2, "cde")):
        replica.run(c.OpenSession(call=CALL, request=request(f"session {session}"), ttl_ms=60_000))
        replica.run(*[acquire(name, name, session=session) for name in names])
    for session in (2, 1):
        replica.run(c.CloseSession(call=CALL, caller="ann", session=session))
    while replica.state.ending_leases:
        replica.run()
    assert replica.state.holds == {}


def test_nodes_that_are_ending_go_on_in_one_order(replica, monkeypatch):
    """The node with the higher number was the first whose lease ended."""
    monkeypatch.setattr("lockd.machine.turn.WAITERS_PER_ENTRY", 1)
    replica.run(acquire("held", "jobs"))
    for node, at in ((3, 0), (2, 1)):
        call = c.Call(node, 7, 1)
        replica.run(c.OpenNode(call=call), at=at)
        replica.run(*[acquire(f"{node}{n}", "jobs", wait_ms=-1, call=call._replace(number=n)) for n in range(3)])
    replica.run(c.OpenNode(call=CALL), at=2)
    for at in (1, 2):
        replica.run(at=WAIT_GRACE_MS + at)
    while replica.state.ending_nodes:
        replica.run()
    assert replica.state.waiters == {}


def test_lives_of_a_node_that_are_ending_go_on_in_one_order(replica, monkeypatch):
    """The life with the higher number came before the other."""
    monkeypatch.setattr("lockd.machine.turn.WAITERS_PER_ENTRY", 1)
    replica.run(acquire("held", "jobs"))
    for life in (9, 8, 10):
        call = c.Call(2, life, 1)
        replica.run(c.OpenNode(call=call))
        replica.run(*[acquire(f"{life} {n}", "jobs", wait_ms=-1, call=call._replace(number=n)) for n in range(5)])
    while replica.state.ending_nodes:
        replica.run()
    assert set(replica.state.nodes) == {t.NodeKey(1, 7), t.NodeKey(2, 10)}


# -- a store that contradicts itself is not started from

KNOWN, WAITS = free_key("1"), free_key("2")
JOBS = (c.Want("jobs", EXCLUSIVE),)
SCALARS = t.Scalars(epoch=1, version=1, last_token=9, last_lease=9, last_arrival=9, last_entry_id=9)
LEASE = t.Lease(id=1, deadline_ms=5, ttl_ms=5)
SESSION = t.Lease(id=2, deadline_ms=5, ttl_ms=5, is_session=True, caller="ann")
HOLD = t.Hold(
    token=1,
    key=KNOWN,
    wants=JOBS,
    lease=1,
    session=0,
    agent="",
    owner="",
    reason="",
    metadata=(),
    acquired_ms=0,
    lock_delay_ms=0,
    call=None,
)
RECORD = t.Record(key=KNOWN, asked=b"", outcome="Granted", token=1)
WAITER = t.Waiter(
    arrival=1,
    key=WAITS,
    wants=JOBS,
    session=2,
    agent="",
    ttl_ms=0,
    until_ms=0,
    lock_delay_ms=0,
    owner="",
    reason="",
    metadata=(),
    since_ms=0,
    call=CALL,
    attempt=1,
    parked_ms=0,
)
QUEUED = t.Record(key=WAITS, asked=b"", outcome="Queued")
ENTRY = t.Entry(1, c.Kind.CLIENT, "ann")
GRANTED = (SCALARS, HOLD, LEASE, RECORD)
WAITING = (SCALARS, WAITER, SESSION, QUEUED)


TABLE_OF = {
    t.Scalars: "scalars",
    t.Lease: "leases",
    t.Hold: "holds",
    t.Waiter: "waiters",
    t.Record: "records",
    t.Entry: "registry",
}


def changes(values: Iterable[t.Value]) -> list[t.Change]:
    """Without keys, of which the codec has made sure: what is restored goes by the values."""
    return [t.Change(TABLE_OF[type(value)], None, value) for value in values]


def test_the_sound_ones_of_the_examples_below():
    state = State.restored(iter(changes((*GRANTED, *WAITING[1:], ENTRY))))
    assert (state.holds, state.waiters) == ({1: HOLD}, {WAITS: WAITER})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (GRANTED[1:], "hold 1 has a token that was not given out"),
        ((SCALARS, replace(HOLD, token=10, lease=0), replace(RECORD, token=10)), "hold 10 has a token that was not"),
        ((SCALARS, HOLD, RECORD), "hold 1 names lease 1, which is gone"),
        ((SCALARS, HOLD, replace(LEASE, is_session=True), RECORD), "lease 1, which is of another kind"),
        ((*GRANTED[2:], SCALARS, replace(HOLD, count=0)), "hold 1 has a count of 0"),
        ((*GRANTED, replace(HOLD, token=2, lease=0)), "'jobs' is held exclusively and once more"),
        ((SCALARS, LEASE), "lease 1 belongs to no hold"),
        ((*GRANTED, replace(SESSION, id=10)), "lease 10 has an id that was not given out"),
        ((SCALARS, RECORD), f"request record {KNOWN} waits for a hold that is gone"),
        ((SCALARS, QUEUED), f"request record {WAITS} waits for a waiter that is gone"),
        ((SCALARS, replace(QUEUED, outcome="TimedOut")), f"request record {WAITS} would last for ever"),
        (WAITING[:3], f"waiter {WAITS} has no lasting request record"),
        ((*WAITING[:3], replace(QUEUED, until_ms=7)), f"waiter {WAITS} has no lasting request record"),
        ((SCALARS, WAITER, QUEUED), f"waiter {WAITS} waits in session 2, which is gone"),
        ((SCALARS, replace(WAITER, session=0), QUEUED), f"waiter {WAITS} is parked by a node without a lease"),
        ((*WAITING[:1], replace(WAITER, arrival=10), *WAITING[2:]), "has an arrival number that was not given out"),
        ((SCALARS, ENTRY, replace(ENTRY, id=2)), "two entries of the registry share one name"),
    ],
)
def test_records_that_contradict_one_another_are_refused(values, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        State.restored(iter(changes(values)))
