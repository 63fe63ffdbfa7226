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
from lockd.machine.commands import Batch, BeginEpoch, Command, Entry, Renew
from lockd.machine.outcomes import Applied, Granted, Renewed
from lockd.machine.state import State
from lockd.raft.reign import Reign
from tests.machine.driver import CALL, lock

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
        self.tally = Tally()
        self.now = 0.0
        self.leaders: list[Leader] = []
        self.late: list[tuple[Entry, float]] = []
        self.promised: dict[int, float] = {}
        """No hold with a lease ends before this time."""
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
        asked: list[Command] = [
            lock(f"lock {self.random.randrange(20)}", self.random.choice(TTLS_MS))
            for _ in range(self.random.randrange(4))
        ]
        if self.promised and self.random.random() < 0.3:
            token = self.random.choice(list(self.promised))
            asked.append(Renew(call=CALL, token=token, ttl_ms=self.random.choice(TTLS_MS)))
        return tuple(asked)

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
        done = self.machine(self.state, entry, append_term)
        self.tally.epochs += self.state.scalars.epoch != before.epoch
        if self.state.scalars.clock_ms != before.clock_ms:
            lead_ms = self.state.scalars.clock_ms - closed_at
            self.tally.outran_ms = max(self.tally.outran_ms, lead_ms - self.least_lead_ms)
            self.least_lead_ms = min(self.least_lead_ms, lead_ms)
        for ended in done.ended:
            self.tally.expired += 1
            self.tally.early += self.now < self.promised.pop(ended.token)
        if isinstance(entry, Batch):
            for command, answer in zip(entry.commands, done.answers, strict=True):
                self.promise(command, answer.outcome, closed_at)

    def promise(self, command: Command, outcome: object, closed_at: float) -> None:
        match command, outcome:
            case _, Granted(token, remaining_ms):
                self.promised[token] = closed_at + remaining_ms
            case Renew(token=token, ttl_ms=ttl_ms), Renewed():
                self.tally.renewed += 1
                self.promised[token] = max(self.promised[token], closed_at + ttl_ms)
