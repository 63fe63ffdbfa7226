"""Random schedules of leaders over one log, in real time: do leases end early?

The log is what Raft makes of it: entries are appended by the leader of the day, its term never falls, and a
new leader's log begins with those of its predecessor's uncommitted entries that survived. All else is as bad
as can be: deposed leaders stamp on, and what they closed or proposed, beginnings included, is appended late by
a later leader, in any order and more than once; beginnings get lost, are proposed again and applied late. The
machine and the leaders' readings are the real ones.

Real time is a float of milliseconds. All monotonic clocks run at its rate: the rest is the client's margin.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from lockd.machine.apply import apply, counts
from lockd.machine.commands import Batch, BeginEpoch, Command, Entry, KeepAlive, Renew
from lockd.machine.outcomes import Applied, Granted, Kept, Opened, Renewed, What
from lockd.machine.state import State
from lockd.machine.tables import NodeLease
from lockd.raft.reign import Reign
from tests.machine.driver import FOREVER, LIFE, keep_alive, lock, open_session, renew

STEPS = 150
TTLS_MS = (5, 20, 50, 100, 200)
Apply = Callable[[State, Entry, int], Applied]


@dataclass
class Tally:
    early: int = 0
    """Leases that ended before their ttl had passed since an entry that granted or renewed them was closed."""
    expired: int = 0
    renewed: int = 0
    epochs: int = 0
    stale: int = 0
    outran_ms: float = -math.inf
    """The most by which the clock went on further than real time did between the readings of two stamps."""


@dataclass
class Leader:
    reign: Reign
    elected_at: float
    begins_at: float = math.inf
    """When it applies its own beginning, which may have been committed a while ago."""
    log: list[tuple[Entry, float]] = field(default_factory=list)
    """Appended and not committed, each with the time at which it was closed."""

    @property
    def term(self) -> int:
        return self.reign.term


class Schedule:
    def __init__(
        self, seed: int, machine: Apply = apply, *, state: type[State] = State, base_at_proposal: bool = False
    ) -> None:
        self.random = random.Random(seed)
        self.machine, self.state, self.base_at_proposal = machine, state(), base_at_proposal
        self.state.put_node(NodeLease(1, LIFE, FOREVER))
        self.tally = Tally()
        self.now = 0.0
        self.leaders: list[Leader] = []
        self.late: list[tuple[Entry, float]] = []
        self.promised: dict[int, float] = {}
        """No hold with a lease of its own ends before this time,"""
        self.sessions: dict[int, float] = {}
        """and none in a session before this one."""
        self.least_lead_ms = math.inf

    def run(self) -> Tally:
        self.elect()
        for _ in range(STEPS):
            self.now += self.random.expovariate(1 / self.random.choice([0.3, 5, 40]))
            chance = self.random.random()
            if chance < 0.05:
                self.elect()
            elif chance < 0.35:
                self.close(self.leaders[-1])
            elif chance < 0.6:
                self.close(self.random.choice(self.leaders[-4:]))
            elif chance < 0.8:
                self.append_something_late()
            if self.random.random() < 0.4:
                self.commit()
        return self.tally

    # -- leaders

    def elect(self) -> None:
        """Some of the last leader's uncommitted entries survive, in order; the others come late or never."""
        if self.leaders:
            last = self.leaders[-1]
            survivors = self.random.randint(0, len(last.log))
            for entry, closed_at in last.log[:survivors]:
                self.apply(entry, last.term, closed_at)
            self.late += last.log[survivors:]
        term = self.leaders[-1].term + self.random.randint(1, 2) if self.leaders else 1
        self.leaders.append(Leader(Reign(term, cap_s=math.inf), elected_at=self.now))

    def close(self, leader: Leader) -> None:
        """An entry, into its own log while it leads, or on its way to whoever does. A beginning may get lost."""
        entry: Entry = BeginEpoch(epoch=leader.term, version=1)
        if self.now >= leader.begins_at and self.random.random() < 0.7:
            stamp_ms = leader.reign.read(self.now / 1000)
            entry = Batch(epoch=leader.term, stamp_ms=stamp_ms, commands=self.commands())
        elif self.random.random() < 0.6:
            return
        leads = leader is self.leaders[-1]
        (leader.log if leads else self.late).append((entry, self.now))

    def commands(self) -> tuple[Command, ...]:
        chance, some = self.random.random, self.random.choice
        asked: list[Command] = [self.lock() for _ in range(self.random.randrange(4))]
        if self.promised and chance() < 0.3:
            asked.append(renew(some(list(self.promised)), some(TTLS_MS)))
        if chance() < 0.1:
            asked.append(open_session(some(TTLS_MS)))
        if self.sessions and chance() < 0.2:
            asked.append(keep_alive(some(list(self.sessions))))
        return tuple(asked)

    def lock(self) -> Command:
        some = self.random.choice
        name, wait_ms = f"lock {self.random.randrange(20)}", some([0, -1, 30])
        if self.sessions and self.random.random() < 0.3:
            return lock(name, session=some(list(self.sessions)[-3:]), wait_ms=wait_ms)
        return lock(name, ttl_ms=some(TTLS_MS), wait_ms=wait_ms)

    # -- the log

    def append_something_late(self) -> None:
        """By the leader of the day, in its term. It may come again."""
        if self.late:
            index = max(0, len(self.late) - self.random.randint(1, 6))
            self.leaders[-1].log.append(self.late[index])
            if self.random.random() < 0.7:
                del self.late[index]

    def commit(self) -> None:
        leader = self.leaders[-1]
        some = self.random.choice([1, 3, 10])
        committed, leader.log = leader.log[:some], leader.log[some:]
        for entry, closed_at in committed:
            self.apply(entry, leader.term, closed_at)
            if leader.term == entry.epoch == self.state.scalars.epoch and not leader.reign.begun:
                self.begin(leader)

    def begin(self, leader: Leader) -> None:
        leader.begins_at = self.now + self.random.choice([0, 0, 1, 30])
        counted_from = leader.elected_at if self.base_at_proposal else leader.begins_at
        leader.reign.begin(self.state.scalars.clock_ms, counted_from / 1000)

    def apply(self, entry: Entry, append_term: int, closed_at: float) -> None:
        before = self.state.scalars
        if isinstance(entry, Batch) and not counts(self.state, entry, append_term):
            self.tally.stale += 1
        applied = self.machine(self.state, entry, append_term)
        self.tally.epochs += self.state.scalars.epoch != before.epoch
        if self.state.scalars.clock_ms != before.clock_ms:
            lead_ms = self.state.scalars.clock_ms - closed_at
            self.tally.outran_ms = max(self.tally.outran_ms, lead_ms - self.least_lead_ms)
            self.least_lead_ms = min(self.least_lead_ms, lead_ms)
        for event in applied.events:
            if event.what is What.EXPIRED:
                self.tally.expired += 1
                self.tally.early += self.now < self.end_of(event.token, event.session)
        if isinstance(entry, Batch):
            renewals = {command.call: command for command in entry.commands if isinstance(command, Renew | KeepAlive)}
            for answer in applied.answers:
                self.promise(answer.outcome, renewals.get(answer.call), closed_at)

    def end_of(self, token: int, session: int) -> float:
        """Not before this time does the hold end."""
        return self.sessions[session] if session else self.promised.pop(token)

    def promise(self, outcome: object, renewal: Command | None, closed_at: float) -> None:
        """What remains counts from when the entry was closed: not before that was the clock read that it counts on."""
        match outcome, renewal:
            case Granted(token, remaining_ms), _ if not self.state.holds[token].session:
                self.promised[token] = max(self.promised.get(token, 0), closed_at + remaining_ms)
            case Opened(session, remaining_ms), _:
                self.sessions[session] = max(self.sessions.get(session, 0), closed_at + remaining_ms)
            case Renewed(), Renew(token=token, ttl_ms=ttl_ms):
                self.tally.renewed += 1
                self.promised[token] = max(self.promised[token], closed_at + ttl_ms)
            case Kept(), KeepAlive(session=session):
                self.tally.renewed += 1
                ttl_ms = self.state.leases[session].ttl_ms
                self.sessions[session] = max(self.sessions[session], closed_at + ttl_ms)
