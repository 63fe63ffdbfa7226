"""One node's replica: commands in, outcomes out, in turns of one loop.

A turn: what peers sent is handed to the engine, the engine ticks (commits and applies), calls are sent on their
way, a leader closes its open batch into one entry, everything that changed is written with one sync, and only
then messages (but a leader's entries) and answers leave. Until it is written nothing is delivered, nothing ticks.
"""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from lockd.clock import Clock
from lockd.machine import commands as c
from lockd.machine.apply import VERSION, apply, more_is_due, read
from lockd.machine.outcomes import Applied, Outcome
from lockd.machine.state import State

from . import codec, envelopes
from .calls import Calls, Make
from .compaction import Compaction
from .engine import Engine, Timing
from .envelopes import Ask, Content, Envelope, Manifest, Propose, Report
from .errors import CodecError, Fatal, JournalCorrupt, NoLeader, OutcomeUnknown
from .guard import Inbox, Message
from .joining import Joining
from .journal import Journal, OpenBatch
from .news import News
from .ports import Link, Offload, Shelf, Store
from .proposals import Commands, Judge, Proposal, allow, proposal
from .reign import Reign
from .snapshot import Body, Snapshots

log = structlog.get_logger(__name__)

TICK_S = 0.02
"""An idle node ticks this often: elections and heartbeats are late by at most this."""

IDLE_ENTRY_MS = 400
"""While a lease runs, a leader lets the cluster's clock fall behind its reading by no more than this.

When it dies so much is lost, and leases end later by it.
"""

BATCH_BYTES, BATCH_WEIGHT = 256 * 1024, 256
"""An entry takes no more than this. What arrives meanwhile waits until it is applied, whoever asks for it."""

OPEN_BYTES_MAX = 32 * 1024 * 1024
"""Of one caller's commands that wait for the log; beyond it peers' proposals are dropped and come again."""

INBOX_MAX = 20_000
"""Envelopes that wait for a sync to end; beyond it they are dropped, which Raft survives."""

DEAD_LEADER_STAGGER_S = 0.03
"""Between the nodes that stand when the leader's process is known dead."""


@dataclass(frozen=True, slots=True)
class Settings:
    timing: Timing = field(default_factory=Timing)
    compact_entries: int = 10_000
    compact_bytes: int = 64 * 1024 * 1024


class Replica:
    """A member of the cluster: LinkEvents for its link; calls and news for the edges."""

    def __init__(
        self,
        me: int,
        members: frozenset[int],
        *,
        store: Store,
        shelf: Shelf,
        link: Link,
        clock: Clock,
        rng: random.Random,
        offload: Offload,
        settings: Settings,
        judge: Judge = allow,
    ) -> None:
        """Reads the store. Raises JournalCorrupt where it contradicts itself. judge: asked where this node leads."""
        self.me, self.others = me, members - {me}
        self._store, self._link, self._clock, self._settings = store, link, clock, settings
        self._judge = judge
        self.batch = OpenBatch()
        self.journal = Journal(store, self.batch)
        self.state = _stored_state(store)
        self.engine = Engine(
            me,
            self.others,
            self.journal,
            clock=clock,
            rng=rng,
            timing=settings.timing,
            apply=self._apply,
        )
        self.calls = Calls(me, rng.getrandbits(63), clock, self.wake)
        self.news = News(self.calls)
        self.snapshots = Snapshots(shelf, offload)
        self.compaction = Compaction(self.journal, self.snapshots, settings.compact_entries, settings.compact_bytes)
        self.reign: Reign | None = None
        self.connected: set[int] = set()
        self._joining = Joining(self.others)
        self._inbox: list[tuple[int, Envelope]] = []
        self._inbox_order = Inbox()
        self._sequence = dict.fromkeys(sorted(self.others), 0)
        self._outbox: list[tuple[int, int, Content]] = []
        self._open = Commands(judge)
        self._fetched: Body | None = None
        self._alarm: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._heard_at = clock.monotonic()
        self._woken = self._handing_over = self._stopping = False
        self.snapshots.tidy()

    # -- for the edges

    @property
    def reaches_leader(self) -> bool:
        """Whether a command proposed now has somewhere to go."""
        if self.engine.is_leader:
            return self.reign is not None and self.reign.begun
        return self.engine.leader in self.connected

    @property
    def missing(self) -> list[int]:
        """While this node joins: the members that it has not heard from."""
        return self._joining.missing

    @property
    def leader(self) -> int | None:
        """The leader that this node can reach, itself included."""
        return self.engine.leader if self.reaches_leader else None

    @property
    def news_age_ms(self) -> int:
        """How long ago this node last heard from a leader; 0 where it leads."""
        if self.engine.is_leader:
            return 0
        return int(1000 * (self._clock.monotonic() - self._heard_at))

    def read_stale(self, make: Make) -> Outcome:
        """A read of what this node has applied."""
        return read(self.state, make(c.Call(self.me, self.calls.life, 0)))

    # -- LinkEvents

    def link_up(self, peer: int) -> None:
        self.connected.add(peer)
        self.engine.link_up(peer)
        self.wake()

    def link_down(self, peer: int) -> None:
        self.connected.discard(peer)
        self.engine.link_down(peer)

    def link_refused(self, peer: int) -> None:
        """Nothing listens at peer's address: if it led, the others need not wait for their timeouts."""
        if peer == self.engine.leader and self.journal.joined:
            rank = sorted(self.others - {peer} | {self.me}).index(self.me)
            self.engine.stand_at(rank * DEAD_LEADER_STAGGER_S)
            self.wake()

    def frame(self, peer: int, connection: int, data: bytes) -> None:
        try:
            envelope = envelopes.decode(data)
        except CodecError as error:
            log.warning("message dropped", peer=peer, error=str(error))
            return
        if peer not in self.others or not self._inbox_order.is_fresh(peer, connection, envelope.sequence):
            return
        if len(self._inbox) < INBOX_MAX:
            self._inbox.append((peer, envelope))
            self.wake()

    def snapshot(self, sha256: bytes, offset: int) -> Any:
        return self.snapshots.serve(sha256, offset)

    # -- the loop

    async def run(self) -> None:
        """Turns until stop(). Raises Fatal, or the store's error, where this node must not go on."""
        if not self.others:
            self.engine.stand_at(0.0)
        while not self._stopping:
            await self._turn()
            if self._has_work:
                await asyncio.sleep(0)  # whoever else is on the loop comes in between
            else:
                await self._rest()
        self.compaction.wanted = False
        await self._write()

    def stop(self) -> None:
        """Lets run() end after its turn. What is not answered by then stays unanswered."""
        self._stopping = True
        self.wake()

    def hand_over(self) -> None:
        """As soon as a follower holds the whole log, it takes the lead, and no entry is closed here any more."""
        self._handing_over = True
        self.wake()

    def wake(self) -> None:
        self._woken = True
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    @property
    def _has_work(self) -> bool:
        alone = not self.others and self.engine.is_leader and self.journal.last > self.journal.getRaftCommitIndex()
        return self._woken or alone or self.engine.has_backlog

    async def _rest(self) -> None:
        loop = asyncio.get_running_loop()
        self._alarm = loop.create_future()
        timer = loop.call_later(TICK_S, self.wake)
        await self._alarm
        timer.cancel()

    async def _turn(self) -> None:
        self._woken = False
        now = self._clock.monotonic()
        if self._failure:
            raise self._failure
        self._install()
        inbox, self._inbox = self._inbox, []
        for peer, envelope in inbox:
            self._receive(peer, envelope)
        self.engine.tick()
        self._join(now)
        self._lead()
        self.calls.tend()
        self._send_calls(now)
        self._close_entry()
        self.compaction.cut(now)
        self._collect_outbox()
        self.news.tell(self.journal.synced)
        if self.batch.urgent or self.compaction.wanted:
            self._replicate_first()
            await self._write()
        self._flush()

    async def _write(self) -> None:
        """The barrier: one atomic, synced write of everything since the last one."""
        for change in self.state.take_changes():
            self.batch.put(*codec.encode_change(change))
        if self.batch.records:
            await self._store.write(self.batch.take())
        self.journal.note_synced()
        if self.compaction.wanted:
            self.compaction.start(self._store, self._start)

    def _replicate_first(self) -> None:
        """A leader's entries leave while it writes them itself (Ongaro, Consensus, 10.2.1).

        Its own copy counts in a later tick, and its term and vote were on disk before it asked for votes.
        """
        if self.engine.is_leader:
            ahead = [one for one in self._outbox if _is_append(one[2])]
            self._outbox = [one for one in self._outbox if not _is_append(one[2])]
            self._send(ahead)

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        self._send(outbox)
        self.news.tell(self.journal.synced)

    def _send(self, outbox: list[tuple[int, int, Content]]) -> None:
        for peer, term, content in outbox:
            if peer in self.connected:
                self._sequence[peer] += 1
                self._link.send(peer, envelopes.encode(Envelope(term, self._sequence[peer], content)))

    # -- what peers say

    def _receive(self, peer: int, envelope: Envelope) -> None:
        match envelope.content:
            case Propose(proposals):
                self._take(peer, proposals)
            case Report() if self.journal.joined:
                self.engine.hear_of(envelope.term)
            case Ask():
                self._say(peer, Report(not self.journal.joined, self.journal.last))
            case Report():
                self._joining.note(peer, envelope.term, envelope.content)
            case Manifest():
                self._consider(peer, envelope.term, envelope.content)
            case {"type": "append_entries"} if envelope.term < self.engine.term:
                self._say(peer, Report(not self.journal.joined, self.journal.last))  # that leader was deposed
            case dict() as message:
                if message["type"] == "append_entries":
                    self._heard_at = self._clock.monotonic()
                self.engine.deliver(peer, envelope.term, message)

    def _take(self, peer: int, proposals: tuple[Proposal, ...]) -> None:
        """A follower's commands. One that leads no more drops them: their node sends them to the next leader."""
        if self.reign is None or not self.engine.is_leader:
            return
        for encoded, credential, *_ in proposals:
            try:
                command = codec.decode_proposal(encoded, peer)  # what cannot be applied must not enter the log
            except CodecError as error:
                log.warning("proposal dropped", peer=peer, error=str(error))
                continue
            proposed = proposal(command, encoded, credential, lane=credential or f"node {peer}")
            if self._open.size(proposed.lane) > OPEN_BYTES_MAX:
                log.warning("proposal dropped: too many wait for the log", peer=peer)
            else:
                self._open.put(command.call, proposed, command)

    def _consider(self, peer: int, term: int, manifest: Manifest) -> None:
        """A leader whose log begins after our end: it counts as a heartbeat, and may offer a snapshot.

        The answer is our commit index: whatever is committed here, every leader holds.
        """
        self.engine.deliver(peer, term, {"type": "append_entries", "term": term, "serialized": None})
        if term < self.engine.term or not self.engine.hears_leaders:
            return
        commit = self.journal.getRaftCommitIndex()
        self.engine.acknowledge(peer, commit + 1, success=True)
        if manifest.index > commit and not self.snapshots.is_fetching and self._fetched is None:
            self._start(self._keep(self.snapshots.fetch(self._link, peer, manifest)))

    # -- leading

    def _lead(self) -> None:
        engine = self.engine
        if not engine.is_leader:
            if self.reign:
                log.info("no longer leading", term=self.reign.term)
                self._lay_down()
            return
        if self.reign and self.reign.term == engine.term:
            return
        self._lay_down()
        self.reign = Reign(engine.term, self._settings.timing.election_max)
        log.info("leading", term=engine.term)
        engine.append(codec.encode_begin(engine.term, VERSION))

    def _lay_down(self) -> None:
        """What was open here is sent again by the nodes whose callers wait for it."""
        self.reign, self._open = None, Commands(self._judge)

    def _send_calls(self, now: float) -> None:
        if self.engine.is_leader:
            if self.reign and self.reign.begun:
                for parked in self.calls.to_send((self.me, self.engine.term), now):
                    self._open.put(parked.call, parked.proposal)
            return
        leader = self.engine.leader
        if leader is None or leader not in self.connected or not len(self.calls):
            return
        commands = Commands()
        for parked in self.calls.to_send((leader, self.engine.term), now):
            commands.put(parked.call, parked.proposal)
        while commands:
            self._say(leader, Propose(tuple(commands.take(BATCH_BYTES, BATCH_WEIGHT))))

    def _close_entry(self) -> None:
        """Group commit: what arrived while the last round ran becomes one entry."""
        reign = self.reign
        if reign is None or not reign.begun or not self.engine.is_leader:
            return
        stamp_ms = reign.read(self._clock.monotonic())
        if reign.in_flight > self.journal.applied:
            return
        if self._handing_over and self.engine.transfer():
            return
        if not self._open and not self._is_due(stamp_ms):
            return
        commands = [proposal.command for proposal in self._open.take(BATCH_BYTES, BATCH_WEIGHT)]
        reign.in_flight = self.engine.append(codec.encode_batch(reign.term, stamp_ms, commands))

    def _is_due(self, stamp_ms: int) -> bool:
        """Whether time alone asks for an entry."""
        record_end = self.state.next_record_end_ms()
        if record_end is not None and stamp_ms > record_end + IDLE_ENTRY_MS:
            return True
        bound = self.state.next_bound_ms()
        if bound is None:
            return False
        behind_ms = stamp_ms - self.state.scalars.clock_ms
        return stamp_ms > bound or behind_ms >= IDLE_ENTRY_MS or more_is_due(self.state)

    # -- applying

    def _apply(self, index: int, term: int, data: bytes) -> None:
        try:
            entry = codec.decode_entry(data)
        except CodecError as error:
            raise Fatal(f"log entry {index}: {error}") from error
        if isinstance(entry, c.BeginEpoch) and entry.version > VERSION:
            raise Fatal(
                f"log entry {index} begins an epoch of machine version {entry.version}; this lockd knows up to "
                f"{VERSION}. Upgrade this node."
            )
        applied = apply(self.state, entry, term)
        self._note_applied(index, term, entry, applied)

    def _note_applied(self, index: int, _term: int, entry: c.Entry, applied: Applied) -> None:
        if isinstance(entry, c.BeginEpoch):
            reign = self.reign
            if reign and reign.term == entry.epoch == self.state.scalars.epoch and not reign.begun:
                reign.begin(self.state.scalars.clock_ms, self._clock.monotonic())
        self.news.note(index, applied, self.state.scalars.revision)

    # -- joining

    def _join(self, now: float) -> None:
        if self.journal.joined:
            return
        joining = self._joining
        if joining.may_found and self.journal.last <= 1:
            self.engine.vote_no_more_below(joining.highest_term)
            self.engine.join()
            log.info("a new cluster: every member's log is empty", members=sorted(self.others | {self.me}))
        elif joining.is_time_to_ask(now):
            for peer in joining.missing:
                self._say(peer, Ask())
        elif not joining.missing and not self._tasks:
            self.engine.vote_no_more_below(joining.highest_term)
            self._start(self._catch_up(joining.highest_term))

    async def _catch_up(self, highest_term: int) -> None:
        """This node's store was lost: it votes again once it has everything that it may have acknowledged."""
        try:
            await self.calls.propose(lambda call: c.Barrier(call=call), timeout_s=5.0)
        except (NoLeader, OutcomeUnknown):
            return  # the next turn begins again
        if self.state.scalars.epoch >= highest_term:
            self.engine.join()
            log.info("rejoined with an empty store", applied=self.journal.applied)

    # -- log and snapshots

    async def _keep(self, fetching: Coroutine[None, None, Body | None]) -> None:
        self._fetched = await fetching
        self.wake()

    def _install(self) -> None:
        """Fault 5: whole, verified, ahead of what is applied, and in one batch: state, log and indices."""
        body, self._fetched = self._fetched, None
        if body is None:
            return
        if body.manifest.index <= self.journal.applied:
            return
        self.state = body.state
        for key, _ in self._store.scan(codec.STATE):
            self.batch.put(key, None)
        for key, value in body.records.items():
            self.batch.put(key, value, urgent=True)
        self.journal.restart_at(body.manifest.index, body.manifest.term)
        self.engine.installed()
        self.news.note_jump(body.manifest.index, self.state.scalars.revision)
        self.calls.send_all_again()
        log.info("snapshot installed", index=body.manifest.index, term=body.manifest.term)

    # -- odds and ends

    def _say(self, peer: int, content: Content) -> None:
        self._outbox.append((peer, self.engine.term, content))

    def _collect_outbox(self) -> None:
        sent, self.engine.outbox = self.engine.outbox, []
        for peer, term, message in sent:
            self._outbox.append((peer, term, self._on_the_wire(message)))

    def _on_the_wire(self, message: Message) -> Content:
        if message["type"] == "append_entries" and "prevLogIdx" not in message:
            return self.compaction.offer(self._clock.monotonic())
        return message

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            self._failure = task.exception()
            self.wake()


def _stored_state(store: Store) -> State:
    try:
        return State.restored(codec.decode_records(store.scan(codec.STATE)))
    except (CodecError, ValueError) as error:
        raise JournalCorrupt(f"the stored state is damaged: {error}") from error


def _is_append(content: Content) -> bool:
    return isinstance(content, dict) and content["type"] == "append_entries"
