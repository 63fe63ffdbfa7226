"""What must hold at every moment of a simulation. A breach raises Violation."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockd.machine import commands as c
from lockd.machine.outcomes import Applied, Granted
from lockd.machine.state import State
from lockd.persistence.memory import MemoryStore
from lockd.raft.journal import Journal, OpenBatch

from .world import World

if TYPE_CHECKING:
    from .node import SimNode

RHO = 0.01
"""Clocks run at rates that differ from real time by no more than this."""


class Violation(AssertionError):
    pass


@dataclass(eq=False)
class Belief:
    """A client holds a lock, as far as it knows: by its own clock, until its own deadline."""

    client: str
    name: str
    token: int
    clock: Callable[[], float]
    deadline: float | None
    """None: without a lease."""

    def stands(self) -> bool:
        return self.deadline is None or self.clock() < self.deadline


class Referee:
    """Sees what every replica applies and what every client is told."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.nodes: dict[int, SimNode] = {}
        self.last_index = 0
        self.last_token = 0
        self.counts: Counter[str] = Counter()
        self._entries: dict[int, bytes] = {}
        self._granted_at: dict[int, int] = {}
        self._expired_at: dict[int, float] = {}
        self._bound: dict[int, float] = {}
        self._beliefs: dict[str, list[Belief]] = {}
        self._kept: dict[int, str] = {}

    # -- what replicas apply

    def applied(self, node: int, index: int, term: int, entry: c.Entry, applied: Applied, state: State) -> None:
        """The same entry, answers and state at the same index on every node, in every life."""
        outline = (term, entry, applied, state.scalars, len(state.holds), len(state.leases), len(state.records))
        digest = hashlib.sha256(repr(outline).encode()).digest()
        if self._entries.setdefault(index, digest) != digest:
            raise Violation(f"node {node} applied index {index} otherwise than it was applied before: {outline}")
        if index > self.last_index:
            self.last_index = index
            self._first_applied(index, entry, applied)

    def _first_applied(self, index: int, entry: c.Entry, applied: Applied) -> None:
        if isinstance(entry, c.BeginEpoch):
            self.counts["epochs"] += 1
            return
        for end in applied.ended:
            self.counts["expired" if end.expired else "released"] += 1
            if end.expired:
                self._expired_at[end.token] = self._world.now
                self._check_end(end.token)
        fresh = dict.fromkeys(a.outcome.token for a in applied.answers if isinstance(a.outcome, Granted))
        for token in [token for token in fresh if token not in self._granted_at]:
            if token <= self.last_token:
                raise Violation(f"token {token} was granted after token {self.last_token}")
            self.last_token = token
            self._granted_at[token] = index
            self.counts["granted"] += 1

    def _check_end(self, token: int) -> None:
        early_s = self._bound.get(token, 0.0) - self._expired_at[token]
        if early_s > 1e-6:
            raise Violation(f"the lease of token {token} ended {early_s * 1000:.1f} ms early")

    # -- what clients are told

    def granted(self, belief: Belief, sent: float, remaining_s: float) -> None:
        """A client that sent its request at `sent`, in real time, was told that it holds the lock."""
        if belief.deadline is not None:
            self.renewed(belief, sent, remaining_s)
        else:
            self._kept[belief.token] = belief.name
        self._beliefs.setdefault(belief.name, []).append(belief)
        self.check_beliefs(belief.name)

    def renewed(self, belief: Belief, sent: float, remaining_s: float) -> None:
        bound = sent + remaining_s / (1 + RHO)
        self._bound[belief.token] = max(self._bound.get(belief.token, 0.0), bound)
        if belief.token in self._expired_at:
            self._check_end(belief.token)
        self.check_beliefs(belief.name)

    def given_up(self, belief: Belief) -> None:
        """The client no longer believes: it lost the lock, or is about to release it."""
        beliefs = self._beliefs.get(belief.name, [])
        if belief in beliefs:
            beliefs.remove(belief)
        self._kept.pop(belief.token, None)

    def died(self, client: str) -> None:
        """Who is dead believes nothing."""
        for beliefs in self._beliefs.values():
            beliefs[:] = [belief for belief in beliefs if belief.client != client]

    def broken(self, token: int) -> None:
        """An operator is about to release what a dead client left."""
        self._kept.pop(token, None)

    def released(self, belief: Belief, held: bool) -> None:
        """The release was answered. A hold without a lease must have been there."""
        if not held and belief.deadline is None:
            raise Violation(f"token {belief.token} was granted without a lease and is gone unreleased")

    def read(self, belief: Belief, tokens: list[int]) -> None:
        """A read that began and ended while the belief stood."""
        if tokens != [belief.token]:
            raise Violation(f"{belief.name}: a read shows {tokens} while token {belief.token} is held")

    def check_beliefs(self, name: str) -> None:
        standing = [belief for belief in self._beliefs.get(name, []) if belief.stands()]
        if len(standing) > 1:
            raise Violation(f"{name} is held by {' and '.join(f'{b.client} (token {b.token})' for b in standing)}")

    def acknowledged(self, token: int) -> None:
        """A grant is about to leave a node: it must be on the disks of a majority."""
        index = self._granted_at[token]
        having = [node.id for node in self.nodes.values() if _is_on_disk(node, index)]
        if 2 * len(having) <= len(self.nodes):
            raise Violation(f"token {token} was acknowledged while entry {index} is on the disks of {having} only")

    # -- the end

    def check_settled(self) -> None:
        """All nodes run, nothing is in the way and time has passed: one state, with every grant that was kept."""
        idle = [
            node.id
            for node in self.nodes.values()
            if not node.replica.journal.joined or not node.replica.reaches_leader
        ]
        if idle:
            raise Violation(f"nodes {idle} have not joined, or reach no leader")
        states = {node.id: list(node.replica.state.all_records()) for node in self.nodes.values()}
        applied = {node.id: node.replica.journal.applied for node in self.nodes.values()}
        if len(set(applied.values())) > 1:
            raise Violation(f"the nodes have applied up to {applied}")
        first, *others = states.values()
        if any(other != first for other in others):
            raise Violation(f"the states differ at index {applied}")
        for node in self.nodes.values():
            problems = list(node.replica.state.invariants())
            if problems:
                raise Violation(f"node {node.id}: {problems}")
            for token, name in self._kept.items():
                if token not in node.replica.state.holds:
                    raise Violation(f"{name}: token {token} was granted for good and is gone")


def _is_on_disk(node: "SimNode", index: int) -> bool:
    return any(_holds(records, index) for records in (node.disk.records, node.disk.before_loss) if records)


def _holds(records: dict[bytes, bytes], index: int) -> bool:
    journal = Journal(MemoryStore(records), OpenBatch())
    return len(journal) > 0 and (index <= journal.first or journal.holds(index))
