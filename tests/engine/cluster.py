"""Whole replicas in simulated time, joined by a link that a test can cut, tap and rewrite."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from lockd.machine import commands as c
from lockd.machine.outcomes import Applied, Outcome
from lockd.persistence.memory import MemoryShelf, MemoryView
from lockd.raft import envelopes
from lockd.raft.engine import Timing
from lockd.raft.envelopes import Content, Envelope
from lockd.raft.errors import LinkError, RaftError
from lockd.raft.journal import Journal, OpenBatch
from lockd.raft.ports import LinkEvents
from lockd.raft.proposals import Judge, allow
from lockd.raft.replica import Replica, Settings
from tests.simulation.world import Process, World

HOP_S = 0.001
WRITE_S = 0.001


class Disk:
    """A store that survives its process. While it is held, writes do not end."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.shelf = MemoryShelf()
        self.batches: list[dict[bytes, bytes | None]] = []
        self.held = False

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return MemoryView(self.records).scan(prefix)

    async def write(self, batch: Mapping[bytes, bytes | None]) -> None:
        await _pass(WRITE_S)
        while self.held:
            await _pass(WRITE_S)
        self.batches.append(dict(batch))
        land(self.records, batch)

    def view(self) -> MemoryView:
        return MemoryView(self.records)

    @property
    def journal(self) -> Journal:
        """What a node that starts from here would hold."""
        return Journal(self, OpenBatch())


def land(records: dict[bytes, bytes], batch: Mapping[bytes, bytes | None]) -> None:
    for key, value in batch.items():
        if value is None:
            records.pop(key, None)
        else:
            records[key] = value


async def _pass(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_later(seconds, over.set_result, None)
    await over


class Watched(Replica):
    """Keeps what each entry left behind."""

    states: dict[int, list[object]]

    def _note_applied(self, index: int, term: int, entry: c.Entry, applied: Applied) -> None:
        super()._note_applied(index, term, entry, applied)
        self.states[index] = list(self.state.all_records())


class Member:
    """One node: its disk outlives its processes. It is also its own end of the link."""

    def __init__(self, cluster: "Cluster", id: int) -> None:
        self.cluster, self.id = cluster, id
        self.disk = Disk()
        self.process = Process(cluster.world, f"node{id}")
        self.process.alive = False
        self.replica: Watched
        self.failure: Exception | None = None
        self.judge: Judge = allow
        self.states: dict[int, list[object]] = {}

    def boot(self) -> None:
        self.process = Process(self.cluster.world, f"node{self.id}")
        self.replica = Watched(
            self.id,
            frozenset(self.cluster.members),
            store=self.disk,
            shelf=self.disk.shelf,
            link=self,
            clock=self,
            rng=random.Random(self.cluster.world.rng.getrandbits(64)),
            offload=self._offload,
            settings=self.cluster.settings,
            judge=lambda credential, command: self.judge(credential, command),
        )
        self.replica.states = self.states
        self.process.start(self._run())
        self.cluster.joined(self)

    def monotonic(self) -> float:
        return 1000.0 + self.cluster.world.now

    async def _run(self) -> None:
        try:
            await self.replica.run()
        except Exception as error:
            self.failure = error
            self.process.alive = False

    def kill(self) -> None:
        self.process.kill()
        self.cluster.left(self)

    def lose_disk(self) -> None:
        self.disk = Disk()

    def propose(self, make: Callable[[c.Call], c.Command], timeout_s: float = 5.0) -> "Proposal":
        proposal = Proposal()
        self.process.call(lambda: self.process.start(proposal.run(self.replica, make, timeout_s)))
        return proposal

    async def _offload(self, work: Callable[[], object]) -> object:
        await _pass(WRITE_S)
        return work()

    # -- the link

    async def start(self, events: LinkEvents) -> None:
        raise AssertionError("the cluster connects its members")

    async def stop(self) -> None:
        pass

    def send(self, peer: int, data: bytes) -> None:
        self.cluster.carry(self.id, peer, data)

    async def fetch(self, peer: int, sha256: bytes, offset: int) -> AsyncIterator[bytes]:
        body = self.cluster.members[peer].replica.snapshot(sha256, offset)
        if body is None:
            raise LinkError("no such snapshot")
        async for chunk in body:
            await _pass(HOP_S)
            if self.cluster.is_cut(peer, self.id):
                raise LinkError("the connection broke")
            yield chunk


class Proposal:
    """A command on its way, and how it ended."""

    def __init__(self) -> None:
        self.outcome: Outcome | RaftError | None = None

    async def run(self, replica: Replica, make: Callable[[c.Call], c.Command], timeout_s: float) -> None:
        try:
            self.outcome = await replica.calls.propose(make, timeout_s)
        except RaftError as error:
            self.outcome = error


class Cluster:
    def __init__(self, size: int = 3, *, seed: int = 1, compact_entries: int = 10_000, boot: bool = True) -> None:
        self.world = World(seed)
        self.settings = Settings(timing=Timing(), compact_entries=compact_entries)
        self.members: dict[int, Member] = {}
        self.cut: set[tuple[int, int]] = set()
        """(from, to): nothing passes."""
        self.taps: list[Callable[[int, int, Envelope], Content | None]] = []
        """Each sees what leaves (from, to, envelope) and may change its content, or drop it with None."""
        self._connections = 0
        for id in range(1, size + 1):
            self.members[id] = Member(self, id)
        for member in self.members.values() if boot else ():
            member.boot()

    # -- time

    def run(self, seconds: float) -> None:
        self.world.run(self.world.now + seconds)

    def until(self, condition: Callable[[], Any], within: float = 30.0) -> None:
        """Runs, in simulated time, until the condition holds."""
        end = self.world.now + within
        while not condition():
            if self.world.now >= end:
                failures = {member.id: member.failure for member in self.members.values() if member.failure}
                raise AssertionError(f"not within {within} s of simulated time; failed nodes: {failures}")
            self.run(0.005)

    # -- members

    @property
    def alive(self) -> list[Member]:
        return [member for member in self.members.values() if member.process.alive]

    @property
    def leader(self) -> Member:
        """The one that may close entries, once there is one."""
        self.until(lambda: self._leaders())
        return self._leaders()[-1]

    def _leaders(self) -> list[Member]:
        leading = [m for m in self.alive if m.replica.engine.is_leader and m.replica.reaches_leader]
        return sorted(leading, key=lambda member: member.replica.engine.term)

    @property
    def followers(self) -> list[Member]:
        leader = self.leader
        return [member for member in self.members.values() if member is not leader]

    def isolate(self, member: Member) -> None:
        self.cut |= {(member.id, peer) for peer in self.members} | {(peer, member.id) for peer in self.members}

    def heal(self) -> None:
        self.cut.clear()

    def settle(self) -> None:
        """Until all that run have applied the same."""
        self.until(lambda: len({member.replica.journal.applied for member in self.alive}) == 1)

    # -- work

    def acquire(self, number: int, through: Member | None = None) -> Proposal:
        return (through or self.leader).propose(lambda call: acquire(call, number))

    def do(self, numbers: range, through: Member | None = None) -> None:
        """Locks, one entry after another."""
        for number in numbers:
            proposal = self.acquire(number, through)
            self.until(lambda done=proposal: done.outcome is not None)  # type: ignore[misc]
            assert not isinstance(proposal.outcome, RaftError), proposal.outcome

    # -- the link

    def is_cut(self, source: int, target: int) -> bool:
        return (source, target) in self.cut

    def carry(self, source: int, target: int, data: bytes) -> None:
        envelope = envelopes.decode(data)
        for tap in self.taps:
            content = tap(source, target, envelope)
            if content is None:
                return
            envelope = Envelope(envelope.term, envelope.sequence, content)
        member, process = self.members[target], self.members[target].process
        connection = self._connections
        if self.is_cut(source, target) or not process.alive:
            return
        deliver = member.replica.frame
        changed = envelopes.encode(envelope)
        self.world.later(HOP_S, lambda: process.call(deliver, source, connection, changed))

    def joined(self, member: Member) -> None:
        self._connections += 1
        for peer in self.alive:
            if peer is not member:
                peer.process.call(peer.replica.link_up, member.id)
                member.process.call(member.replica.link_up, peer.id)

    def left(self, member: Member) -> None:
        for peer in self.alive:
            peer.process.call(peer.replica.link_down, member.id)


def acquire(call: c.Call, number: int) -> c.Acquire:
    request = c.Request(c.Key("test", c.FREE_ID + b"%016d" % number), b"asked %d" % number, 240_000)
    return c.Acquire(call=call, request=request, wants=(c.Want(f"lock{number}", c.Mode.EXCLUSIVE),))
