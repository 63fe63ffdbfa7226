"""What must hold at every moment of a simulation. A breach raises Violation."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockd.machine import commands as c
from lockd.machine.outcomes import Applied, Kept, Opened, Renewed, What
from lockd.machine.state import State
from lockd.persistence.memory import MemoryStore
from lockd.raft.journal import Journal, OpenBatch

from .queues import Queues
from .world import World

if TYPE_CHECKING:
    from .node import SimNode

RHO = 0.01
"""Clocks run at rates that differ from real time by no more than this."""


class Violation(AssertionError):
    pass


class LeaseView:
    """A lease as its client counts it, by its own clock; shared by everything in one session."""

    def __init__(self, clock: Callable[[], float], session: int = 0) -> None:
        self._clock, self.session = clock, session
        self.deadline: float | None = None
        """None: held until it is released."""

    def stands(self) -> bool:
        return self.deadline is None or self._clock() < self.deadline

    def extend(self, deadline: float) -> None:
        self.deadline = deadline if self.deadline is None else max(self.deadline, deadline)

    def give_up(self) -> None:
        self.deadline = float("-inf")


@dataclass(eq=False)
class Belief:
    """A client holds locks, as far as it knows: by its own clock, until its own deadline."""

    client: str
    modes: dict[str, bool]
    """By name: whether exclusively."""
    token: int
    lease: LeaseView

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.modes)

    def stands(self) -> bool:
        return self.lease.stands()


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
        self._ended: dict[int, tuple[What, float, int]] = {}
        self._bounds: dict[tuple[str, int], float] = {}
        self._stamped_at: dict[tuple[int, int], float] = {}
        self._beliefs: dict[int, list[Belief]] = {}
        self._kept: dict[int, str] = {}
        self._queues = Queues()

    # -- what replicas apply

    def applied(self, node: int, index: int, term: int, entry: c.Entry, applied: Applied, state: State) -> None:
        """The same entry, answers and state at the same index on every node, in every life."""
        rows = list(state.all_records()) if index % 16 == 0 else [state.scalars, len(state.holds), len(state.waiters)]
        digest = hashlib.sha256(repr((term, entry, applied, rows)).encode()).digest()
        if self._entries.setdefault(index, digest) != digest:
            raise Violation(f"node {node} applied index {index} otherwise than it was applied before: {applied}")
        if index > self.last_index:
            self.last_index = index
            self._first_applied(index, entry, applied, state)

    def _first_applied(self, index: int, entry: c.Entry, applied: Applied, state: State) -> None:
        if isinstance(entry, c.BeginEpoch):
            self.counts["epochs"] += 1
            return
        stamped_at = self._stamped_at.get((entry.epoch, entry.stamp_ms), 0.0)
        self._note_leases(stamped_at, entry, applied, state)
        for event in applied.events:
            self.counts[event.what.value] += 1
            if event.what is What.GRANTED:
                if event.token <= self.last_token:
                    raise Violation(f"token {event.token} was granted after token {self.last_token}")
                self.last_token = event.token
                self._granted_at[event.token] = index
            elif event.token:
                self._ended[event.token] = event.what, self._world.now, event.session
                self._check_end(event.token)
        problem = self._queues.problem(applied, state)
        if problem:
            raise Violation(f"entry {index}: {problem}")

    def stamped(self, epoch: int, stamp_ms: int) -> None:
        """A leader has read its clock: what it grants with this stamp lasts from now, whether or not a client hears."""
        self._stamped_at.setdefault((epoch, stamp_ms), self._world.now)

    def _note_leases(self, since: float, entry: c.Batch, applied: Applied, state: State) -> None:
        asked = {command.call: command for command in entry.commands}
        for answer in applied.answers:
            match asked.get(answer.call), answer.outcome:
                case c.Renew(token=token, ttl_ms=ttl_ms), Renewed():
                    self._bound(("token", token), since, ttl_ms / 1000)
                case c.KeepAlive(session=session), Kept(lease_remaining_ms=ttl_ms):
                    self._bound(("session", session), since, ttl_ms / 1000)
                case c.OpenSession(), Opened(session=session, lease_remaining_ms=ttl_ms):
                    self._bound(("session", session), since, ttl_ms / 1000)
        for event in applied.events:
            hold = state.holds.get(event.token)
            if event.what is What.GRANTED and hold and hold.lease and not hold.session:
                self._bound(("token", event.token), since, state.leases[hold.lease].ttl_ms / 1000)

    def _check_end(self, token: int) -> None:
        """No lease ends early, and nobody lets go of what its client believes to hold."""
        what, ended, session = self._ended[token]
        bounds = [self._bounds.get(key, 0.0) for key in (("token", token), ("session", session)) if key[1]]
        early_s = max(bounds) - ended
        if what is What.EXPIRED and early_s > 1e-6:
            raise Violation(f"the lease of token {token} ended {early_s * 1000:.1f} ms early")
        believing = [belief.client for belief in self._beliefs.get(token, ()) if belief.stands()]
        if what is What.RELEASED and believing:
            raise Violation(f"token {token} was released while {believing} believed to hold it")

    # -- what clients are told

    def granted(self, belief: Belief, sent: float | None, told_s: float) -> None:
        """A client was told that it holds locks; sent: in real time, of a request with a lease of its own."""
        self._beliefs.setdefault(belief.token, []).append(belief)
        if sent is not None:
            self.renewed(belief, sent, told_s)
        elif not belief.lease.session:
            self._kept[belief.token] = belief.client
        if belief.token in self._ended and belief.stands():
            self._check_end(belief.token)
        self._check_beliefs()

    def renewed(self, belief: Belief, sent: float, told_s: float) -> None:
        self._bound(("token", belief.token), sent, told_s)
        if belief.token in self._ended:
            self._check_end(belief.token)
        self._check_beliefs()

    def session_kept(self, session: LeaseView, sent: float, told_s: float) -> None:
        self._bound(("session", session.session), sent, told_s)
        for token in [token for token, (_, _, of) in self._ended.items() if of == session.session]:
            self._check_end(token)
        self._check_beliefs()

    def session_given_up(self, session: int) -> None:
        """Its client is about to close it."""
        self._bounds.pop(("session", session), None)

    def _bound(self, key: tuple[str, int], sent: float, told_s: float) -> None:
        self._bounds[key] = max(self._bounds.get(key, 0.0), sent + told_s / (1 + RHO))

    def given_up(self, belief: Belief) -> None:
        """The client no longer believes: it lost the lock, or is about to release it."""
        beliefs = self._beliefs.get(belief.token, [])
        if belief in beliefs:
            beliefs.remove(belief)
        if not beliefs:
            self._kept.pop(belief.token, None)

    def died(self, client: str) -> None:
        """Who is dead believes nothing."""
        for beliefs in self._beliefs.values():
            beliefs[:] = [belief for belief in beliefs if belief.client != client]

    def broken(self, token: int) -> None:
        """An operator is about to break what a dead client left."""
        self._kept.pop(token, None)

    def released(self, belief: Belief, held: bool) -> None:
        """The release was answered. A hold without a lease must have been there."""
        if not held and belief.lease.deadline is None:
            raise Violation(f"token {belief.token} was granted without a lease and is gone unreleased")

    def read(self, belief: Belief, name: str, tokens: list[int]) -> None:
        """A read that began and ended while the belief stood."""
        if belief.token not in tokens or (belief.modes[name] and len(tokens) > 1):
            raise Violation(f"{name}: a read shows {tokens} while token {belief.token} is held")

    def _check_beliefs(self) -> None:
        """At no instant do two clients believe that they hold one name, unless both share it."""
        holders: dict[str, dict[int, bool]] = {}
        for belief in [belief for beliefs in self._beliefs.values() for belief in beliefs if belief.stands()]:
            for name, is_exclusive in belief.modes.items():
                holding = holders.setdefault(name, {})
                holding[belief.token] = holding.get(belief.token, False) or is_exclusive
        for name, holding in holders.items():
            if len(holding) > 1 and any(holding.values()):
                raise Violation(f"{name} is held by tokens {sorted(holding)} at once")

    def acknowledged(self, token: int) -> None:
        """A grant is about to leave a node: it must be on the disks of a majority."""
        index = self._granted_at[token]
        having = [node.id for node in self.nodes.values() if _is_on_disk(node, index)]
        if 2 * len(having) <= len(self.nodes):
            raise Violation(f"token {token} was acknowledged while entry {index} is on the disks of {having} only")

    # -- the end

    def check_settled(self, dead: set[str]) -> None:
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
            for token, client in self._kept.items():
                if token not in node.replica.state.holds:
                    raise Violation(f"{client}: token {token} was granted for good and is gone")
            if left := len(node.replica.calls):
                raise Violation(f"node {node.id} still has {left} calls, and no client is left")
            leaked = [hold.token for hold in node.replica.state.holds.values() if hold.owner not in dead]
            if leaked:
                raise Violation(f"tokens {leaked} are held, and none of their clients knows")
            if waiting := node.replica.state.waiters:
                raise Violation(f"waiters are left behind: {list(waiting)}")


def _is_on_disk(node: "SimNode", index: int) -> bool:
    return any(_holds(records, index) for records in (node.disk.records, node.disk.before_loss) if records)


def _holds(records: dict[bytes, bytes], index: int) -> bool:
    journal = Journal(MemoryStore(records), OpenBatch())
    return len(journal) > 0 and (index <= journal.first or journal.holds(index))
