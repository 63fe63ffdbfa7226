"""Defences switched off, one fault at a time: the simulator must find each. `python -m tests.simulation.mutants`

The numbers are those of docs/engine.md. Where several defences stand against one fault, all of them go.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from pysyncobj import SyncObjConf

from lockd.machine import apply as machine
from lockd.machine.commands import Batch, Entry
from lockd.machine.outcomes import Applied
from lockd.machine.state import State
from lockd.raft.engine import _SENT, REGULAR, Engine
from lockd.raft.envelopes import Content, Manifest, Propose
from lockd.raft.guard import Ballot, Inbox, Message, Shaped
from lockd.raft.journal import LOG, Journal
from lockd.raft.proposals import Proposal
from lockd.raft.reign import Reign
from lockd.raft.replica import Replica

from .disk import CarelessDisk
from .mutants_of_rules import RULES

Mutant = Callable[[], AbstractContextManager[None]]
Off = Iterator[None]


@contextlib.contextmanager
def _in_any_order() -> Off:
    with patch.object(Inbox, "is_fresh", lambda *_: True):
        yield


@contextlib.contextmanager
def nothing_is_synced() -> Off:
    """2: a write returns before it is on disk."""
    with patch("tests.simulation.disk.Disk", CarelessDisk):
        yield


@contextlib.contextmanager
def an_append_cuts() -> Off:
    """3: PySyncObj is given append_entries as they come, in any order."""

    def as_it_comes(message: Message, _journal: Journal) -> Shaped:
        return Shaped(message, None)

    with _in_any_order(), patch("lockd.raft.guard.shape_append", as_it_comes):
        yield


@contextlib.contextmanager
def acknowledgements_of_any_term() -> Off:
    """4: an acknowledgement counts whenever it comes."""

    def as_it_comes(message: Message, **_: Any) -> Message:
        return message

    with _in_any_order(), patch("lockd.raft.guard.admits_acknowledgement", as_it_comes):
        yield


@contextlib.contextmanager
def older_snapshots_are_installed() -> Off:
    """5: a snapshot is fetched and installed whenever it is offered, behind what is applied or not."""
    install = Replica._install

    def whenever(self: Replica, peer: int, term: int, manifest: Manifest) -> None:
        self.engine.deliver(peer, term, {"type": "append_entries", "term": term, "serialized": None})
        if manifest.index and not self.snapshots.is_fetching and self._fetched is None:
            self._start(self._keep(self.snapshots.fetch(self._link, peer, manifest)))

    def anyway(self: Replica) -> None:
        if self._fetched is not None:
            self.journal.applied = 0
        install(self)

    with patch.object(Replica, "_consider", whenever), patch.object(Replica, "_install", anyway):
        yield


@contextlib.contextmanager
def a_message_without_position_commits() -> Off:
    """6: a snapshot's heartbeat commits whatever the follower's log ends with."""

    def to_the_end(message: Message, journal: Journal) -> Message:
        return {**message, "commit_index": journal.last}

    with patch("lockd.raft.guard.without_position", to_the_end):
        yield


@contextlib.contextmanager
def the_log_is_cut_before_the_state_is_written() -> Off:
    """7: what makes the cut harmless comes in a write of its own, afterwards."""
    write = Replica._write

    async def in_two(self: Replica) -> None:
        records = self.batch.records
        cut = {key: None for key, value in records.items() if value is None and key.startswith(LOG)}
        if cut:
            await self._store.write(cut)
        await write(self)

    with patch.object(Replica, "_write", in_two):
        yield


@contextlib.contextmanager
def a_snapshot_is_labelled_ahead() -> Off:
    """8: the picture is taken before the state that its label names has been written."""
    write = Replica._write

    async def too_soon(self: Replica) -> None:
        if self.compaction.wanted:
            self.compaction.start(self._store, self._start)
        await write(self)

    with patch.object(Replica, "_write", too_soon):
        yield


@contextlib.contextmanager
def messages_overtake_the_sync() -> Off:
    """9: acknowledgements and answers leave, and this node's own copy counts, before the sync."""
    write = Replica._write

    async def overtaken(self: Replica) -> None:
        self.journal.note_synced()
        self._flush()
        await write(self)

    with patch.object(Replica, "_write", overtaken):
        yield


@contextlib.contextmanager
def votes_are_counted_not_attributed() -> Off:
    """10: a vote that comes twice counts twice. Shows with five nodes."""
    with _in_any_order(), patch.object(Ballot, "admits", lambda *_: True):
        yield


@contextlib.contextmanager
def _queue_let_loose() -> Off:
    """Entries wait in PySyncObj's queue, and go to whoever leads when it is looked at."""
    send, take, wire = Engine._send, Replica._take, Replica._on_the_wire

    def queued(self: Engine, data: bytes) -> int:
        self._raft._applyCommand(data, None, 0)
        return 0

    def forwarding(self: Engine, peer: int, message: Message) -> None:
        if message["type"] == "apply_command":
            propose = Propose((Proposal(message["command"]),))
            self.outbox.append((peer, self.term, {"type": "forwarded", "content": propose}))
        else:
            send(self, peer, message)

    def wrapped(self: Replica, message: Message) -> Content:
        return message["content"] if message["type"] == "forwarded" else wire(self, message)

    def taking(self: Replica, peer: int, proposals: tuple[Proposal, ...]) -> None:
        if proposals[0].command[:1] == REGULAR:  # an entry; a proposal's command begins otherwise
            self.engine._raft._applyCommand(proposals[0].command, None)
        else:
            take(self, peer, proposals)

    def waiting(**conf: Any) -> SyncObjConf:  # for a leader, as is PySyncObj's default
        return SyncObjConf(**{**conf, "commandsWaitLeader": True})

    with (
        patch("lockd.raft.engine.SyncObjConf", waiting),
        patch.object(Engine, "append", queued),
        patch.object(Engine, "_send", forwarding),
        patch.object(Replica, "_on_the_wire", wrapped),
        patch.object(Replica, "_take", taking),
        patch("lockd.raft.engine._SENT", _SENT | {"apply_command"}),
    ):
        yield


@contextlib.contextmanager
def what_was_queued_goes_to_the_next_leader() -> Off:
    """12: and counts in that term."""
    with _queue_let_loose(), patch.object(machine, "counts", lambda *_: True):
        yield


@contextlib.contextmanager
def a_stale_entry_moves_the_clock() -> Off:
    """Nothing else of it counts. There are such entries only where the queue is let loose."""
    apply = machine.apply

    def moved(state: State, entry: Entry, term: int) -> Applied:
        if isinstance(entry, Batch) and entry.stamp_ms > state.scalars.clock_ms:
            state.set_scalars(clock_ms=entry.stamp_ms)
        return apply(state, entry, term)

    with _queue_let_loose(), patch("lockd.raft.replica.apply", moved):
        yield


@contextlib.contextmanager
def _a_beginning_waits_to_be_appended() -> Off:
    """BeginEpoch is appended a while after it was proposed, and what deposed leaders queued may come in between.

    What one closed counts until the next epoch begins, in whatever term it is appended. By itself harmless.
    """
    lead, tick = Replica._lead, Replica._send_calls
    held: dict[int, tuple[int, float, bytes]] = {}

    def by_epoch(state: State, entry: Batch, _term: int) -> bool:
        return entry.epoch == state.scalars.epoch

    def holding(self: Replica) -> None:
        with patch.object(Engine, "append", lambda engine, data: held.update({self.me: (engine.term, 0.0, data)})):
            lead(self)
        if self.me in held and held[self.me][1] == 0.0:
            term, _, data = held[self.me]
            held[self.me] = term, self._clock.monotonic() + 0.8, data

    def releasing(self: Replica, now: float) -> None:
        term, due, data = held.get(self.me, (0, 0.0, b""))
        if term == self.engine.term and self.engine.is_leader and now >= due:
            del held[self.me]
            self.engine.append(data)
        tick(self, now)

    with (
        _queue_let_loose(),
        patch.object(machine, "counts", by_epoch),
        patch.object(Replica, "_lead", holding),
        patch.object(Replica, "_send_calls", releasing),
    ):
        yield


@contextlib.contextmanager
def the_base_is_taken_at_propose() -> Off:
    """A reign's reading runs from when BeginEpoch was proposed, not from when it was applied.

    In lockd proposing is appending, and whatever precedes BeginEpoch in the log was closed before: there it is
    harmless. Where others' entries come in between and count, it is not.
    """
    begin = Reign.begin
    proposed: dict[int, float] = {}

    def earlier(self: Reign, clock_ms: int, now: float) -> None:
        begin(self, clock_ms, proposed.get(self.term, now))
        self.cap_s = float("inf")

    with _a_beginning_waits_to_be_appended():
        lead = Replica._lead

        def noting(self: Replica) -> None:
            lead(self)
            if self.reign:
                proposed.setdefault(self.reign.term, self._clock.monotonic())

        with patch.object(Replica, "_lead", noting), patch.object(Reign, "begin", earlier):
            yield


@contextlib.contextmanager
def a_blank_node_votes() -> Off:
    """A node that lost its store takes part in elections at once."""
    join = Replica._join

    def at_once(self: Replica, now: float) -> None:
        if not self.journal.joined:
            self.engine.join()
        join(self, now)

    with patch.object(Replica, "_join", at_once):
        yield


MUTANTS: dict[str, tuple[Mutant, int]] = {
    "2": (nothing_is_synced, 3),
    "3": (an_append_cuts, 3),
    "4": (acknowledgements_of_any_term, 3),
    "5": (older_snapshots_are_installed, 3),
    "6": (a_message_without_position_commits, 3),
    "7": (the_log_is_cut_before_the_state_is_written, 3),
    "8": (a_snapshot_is_labelled_ahead, 3),
    "9": (messages_overtake_the_sync, 3),
    "10": (votes_are_counted_not_attributed, 5),
    "12": (what_was_queued_goes_to_the_next_leader, 3),
    "lost": (a_blank_node_votes, 3),
    "stale": (a_stale_entry_moves_the_clock, 3),
    "propose": (the_base_is_taken_at_propose, 3),
    **RULES,
}
"""By the fault's number, or a word: what is switched off, and in a cluster of how many nodes it shows."""

HARMLESS: dict[str, tuple[Mutant, int]] = {"late": (_a_beginning_waits_to_be_appended, 3)}
"""What other mutants stand on, and finds nothing by itself. To be tried with --mutant."""
