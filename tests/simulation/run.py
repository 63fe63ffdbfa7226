"""Runs simulations: `python -m tests.simulation.run --seeds 500 --first 1`. A failing seed is printed.

One seed is one schedule: the same failure comes again with `--first SEED --seeds 1`, under any PYTHONHASHSEED.
"""

import contextlib
import logging
import sys
import traceback
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import permutations, repeat
from multiprocessing import get_context
from random import Random

import click
import structlog

from lockd.machine.commands import Acquire, BeginEpoch
from lockd.raft import codec
from lockd.raft.journal import NO_OP

from .client import Operator, SimClient
from .mutants import HARMLESS, MUTANTS
from .network import Network
from .node import SimNode
from .referee import Referee, Violation
from .world import World

TROUBLE_S = 25.0
SETTLE_S = 16.0
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Weather:
    """What a seed is like. Each draws its own: troubles that never come together hide each other's faults.

    After Groce et al., Swarm Testing, ISSTA 2012.
    """

    clients: int
    compact_entries: int
    loss: float
    repeats: float
    lateness: float
    late_s: float
    late_kind: str
    deadly_writes: float
    unlucky_leaders: float
    """How many leaders meet trouble within moments of their election, before they have committed anything."""
    between_troubles_s: float
    troubles: tuple[str, ...]

    @classmethod
    def drawn(cls, rng: Random) -> "Weather":
        return cls(
            clients=rng.choice((2, 4, 6)),
            compact_entries=rng.choice((8, 20, 60)),
            loss=rng.choice((0.0, 0.02, 0.1)),
            repeats=rng.choice((0.0, 0.02, 0.3)),
            lateness=rng.choice((0.01, 0.05, 0.2)),
            late_s=rng.choice((0.1, 1.0, 4.0)),
            late_kind=rng.choice(("", "", "next_node_idx", "response_vote", "append_entries")),
            unlucky_leaders=rng.choice((0.0, 0.0, 0.4, 0.9)),
            deadly_writes=rng.choice((0.0, 0.0, 0.005)),
            between_troubles_s=rng.choice((0.2, 0.7, 2.0)),
            troubles=tuple(sorted(rng.sample(TROUBLES, rng.randint(2, len(TROUBLES))))),
        )


TROUBLES = (
    "crash", "crash_leader", "crash_all", "restart", "pause", "pause_leader", "cut", "cut_off_leader", "cut_off",
    "heal", "slow_disk", "lose_disk",
    "lose_only_witness", "stall", "depose_leader", "client_dies", "client_sleeps",
)  # fmt: skip


class Simulation:
    """Nodes, clients and trouble from one seed."""

    def __init__(self, seed: int, nodes: int = 3) -> None:
        self.world = World(seed)
        self.rng = self.world.rng
        self.weather = Weather.drawn(self.rng)
        self.network = Network(self.world)
        self.network.loss, self.network.repeats = self.weather.loss, self.weather.repeats
        self.network.lateness, self.network.late_s = self.weather.lateness, self.weather.late_s
        self.network.late_kind = self.weather.late_kind
        self.referee = Referee(self.world)
        members = frozenset(range(1, nodes + 1))
        self.nodes = [
            SimNode(self.world, self.network, self.referee, id, members, self.weather.compact_entries)
            for id in sorted(members)
        ]
        for node in self.nodes:
            node.disk.on_death = partial(self._crash_node, node)
        self.referee.nodes = self.network.nodes
        self.clients: list[SimClient] = []
        self.dead: set[str] = set()
        self.calm = False
        self.quiet_until = 0.0
        """No trouble begins before: one of several steps is under way."""

    def run(self) -> Counter[str]:
        """Raises Violation, or what a node failed with."""
        for node in self.nodes:
            self.world.later(self.rng.uniform(0, 0.5), node.boot)
        for _ in range(self.weather.clients):
            self._new_client()
        operator = Operator(self.world, self.network, self.referee, self.dead)
        self.world.later(2.0, self._begin_trouble)
        self.world.run(TROUBLE_S)
        self._end_trouble()
        self.world.run(TROUBLE_S + SETTLE_S / 2)
        for client in [*self.clients, operator]:
            client.stopping = True
        self._await_clients([*self.clients, operator])
        self._stop_time()
        self.referee.check_settled(self.dead)
        return self.referee.counts

    def _new_client(self) -> None:
        client = SimClient(self.world, self.network, self.referee, f"client{len(self.clients) + 1}")
        self.clients.append(client)

    def _begin_trouble(self) -> None:
        for node in self.nodes:
            node.disk.deadly = self.weather.deadly_writes
        self._trouble()
        if self.weather.unlucky_leaders:
            self._watch_leaders(0)

    def _end_trouble(self) -> None:
        self.calm = True
        self.network.cut.clear()
        self.network.loss = self.network.repeats = self.network.lateness = 0.0
        self.network.late_kind = ""
        for node in self.nodes:
            node.disk.slowness, node.disk.deadly = 1.0, 0.0
            if not node.process.alive:
                node.boot()

    def _await_clients(self, clients: list[SimClient]) -> None:
        """Each lets go of what it holds. What remains after that has no lease, or no client."""
        until = self.world.now + PATIENCE_S
        while any(client.process.alive and not client.is_done for client in clients):
            self.world.run(self.world.now + 1.0)
            if self.world.now > until:
                late = [client.name for client in clients if client.process.alive and not client.is_done]
                raise Violation(f"{late} do not come to an end")
        self.world.run(self.world.now + SETTLE_S / 2)

    def _stop_time(self) -> None:
        """Leases end and idle entries come for ever; the states are compared at a moment when none is under way."""
        for client in self.clients:
            client.kill()
        for _ in range(200):
            if len({node.replica.journal.applied for node in self.nodes}) == 1:
                return
            self.world.run(self.world.now + 0.01)

    # -- trouble

    def _trouble(self) -> None:
        if self.calm:
            return
        if self.world.now >= self.quiet_until:
            kind = self.rng.choice(self.weather.troubles)
            self.referee.counts[kind] += 1
            getattr(self, f"_{kind}")()
        self.world.later(self.rng.expovariate(1 / self.weather.between_troubles_s), self._trouble)

    def _watch_leaders(self, term: int) -> None:
        leader = self._leader()
        if leader and leader.replica.engine.term > term:
            term = leader.replica.engine.term
            if self.rng.random() < self.weather.unlucky_leaders:
                unlucky = self.rng.choice((self._crash_node, self._pause, lambda node: self._cut_off(node.name)))
                self.world.later(self.rng.choice((0.0, 0.004, 0.02)) * self.rng.random(), unlucky, leader)
        if not self.calm:
            self.world.later(0.002, self._watch_leaders, term)

    def _leader(self) -> SimNode | None:
        """The one with the highest term, of those that think they lead."""
        leaders = [node for node in self.nodes if node.process.alive and node.replica.engine.is_leader]
        return max(leaders, key=lambda node: node.replica.engine.term, default=None)

    def _crash_node(self, node: SimNode) -> None:
        if node.process.alive:
            node.kill()
            self.world.later(self.rng.choice((0.05, 1.0, 6.0)) * self.rng.random(), self._reboot, node)

    def _reboot(self, node: SimNode) -> None:
        if not node.process.alive:
            node.boot()

    def _crash(self) -> None:
        self._crash_node(self.rng.choice(self.nodes))

    def _crash_leader(self) -> None:
        if leader := self._leader():
            self._crash_node(leader)

    def _crash_all(self) -> None:
        for node in self.nodes:
            self._crash_node(node)

    def _restart(self, node: SimNode | None = None) -> None:
        """As by an operator: a node that leads hands over first."""
        node = node or self.rng.choice(self.nodes)
        node.process.call(node.replica.hand_over)
        self.world.later(self.rng.uniform(0.05, 0.5), self._crash_node, node)

    def _pause(self, node: SimNode | None = None) -> None:
        node = node or self.rng.choice(self.nodes)
        node.process.pause(self.rng.choice((0.3, 1.5, 5.0)) * self.rng.random())

    def _pause_leader(self) -> None:
        self._pause(self._leader())

    def _names(self) -> list[str]:
        clients = [client.name for client in self.clients if client.process.alive]
        return [node.name for node in self.nodes] + clients

    def _cut(self) -> None:
        """Between two, one way."""
        one, two = self.rng.sample(self._names(), 2)
        self.network.cut.add((one, two))

    def _cut_off(self, one: str = "") -> None:
        """One from all others, one way or both."""
        one = one or self.rng.choice(self._names())
        others = [name for name in self._names() if name != one]
        ways = self.rng.randint(1, 3)
        if ways & 1:
            self.network.cut |= {(one, other) for other in others}
        if ways & 2:
            self.network.cut |= {(other, one) for other in others}
        self.world.later(self.rng.choice((1.0, 5.0)) * self.rng.random(), self._heal)

    def _cut_off_leader(self) -> None:
        if leader := self._leader():
            self._cut_off(leader.name)

    def _heal(self) -> None:
        self.network.cut.clear()

    def _lose_disk(self) -> None:
        """One node's, and no other's until it has joined again: a majority that forgets is beyond any defence."""
        node = self.rng.choice(self.nodes)
        if all(other.has_joined for other in self.nodes):
            self._crash_node(node)
            node.disk.lose()

    def _lose_only_witness(self) -> None:
        """One follower alone hears the leader, and its disk is lost while its acknowledgements are on their way."""
        leader = self._leader()
        if leader is None or not all(node.has_joined for node in self.nodes):
            return
        witness, *others = self.rng.sample([node for node in self.nodes if node is not leader], len(self.nodes) - 1)
        for other in others:
            self.network.cut |= {(leader.name, other.name), (other.name, leader.name)}
        if self.rng.random() < 0.5:
            self.quiet_until = self.world.now + 3.0
            self.network.cut |= set(permutations([node.name for node in (witness, *others)], 2))
            self._stall_witness(witness, leader, self.quiet_until)
        else:
            self.world.later(self.rng.uniform(0.0, 0.5), self._replace_disk, witness)
            self.world.later(self.rng.uniform(0.5, 3.0), self._heal)

    def _stall_witness(self, witness: SimNode, leader: SimNode, until: float) -> None:
        """It holds a grant that a client waits for; its acknowledgement comes after it has spoken with its new disk."""
        if self.world.now > until or self._leader() is not leader:
            self._heal()
        elif _is_granting(leader):
            self.referee.counts["stalled_witness"] += 1
            self.network.stall(witness, leader)
            self._replace_once_synced(witness, leader.replica.journal.last, self.world.now + 0.5)
            self.world.later(self.rng.uniform(0.5, 3.0), self._heal)
        else:
            self.world.later(0.002, self._stall_witness, witness, leader, until)

    def _replace_once_synced(self, witness: SimNode, index: int, until: float) -> None:
        if witness.replica.journal.synced >= index or self.world.now > until:
            self.world.later(self.rng.uniform(0.003, 0.01), self._replace_disk, witness)
        else:
            self.world.later(0.002, self._replace_once_synced, witness, index, until)

    def _replace_disk(self, node: SimNode) -> None:
        if all(other.has_joined for other in self.nodes):
            node.kill()
            node.disk.lose()
            node.boot()

    def _stall(self) -> None:
        """A connection between two nodes, one way."""
        self.network.stall(*self.rng.sample(self.nodes, 2))

    def _depose_leader(self) -> None:
        """It is alone for long, stops with an entry under way, and is back when another one has led for a moment."""
        leader = self._leader()
        if leader is None:
            return
        if self.rng.random() < 0.5:
            self._heal()
            self.quiet_until = self.world.now + 4.0
        others = [node.name for node in self.nodes if node is not leader]
        self.network.cut |= set(permutations([leader.name, *others], 2))
        self.world.later(self.rng.uniform(0.3, 0.9), self._pause_at_close, leader)
        others_meet_in = self.rng.uniform(0.5, 1.5)
        self.world.later(others_meet_in, self.network.cut.difference_update, set(permutations(others, 2)))
        self.world.later(others_meet_in, self._await_successor, leader.replica.engine.term)

    def _pause_at_close(self, leader: SimNode) -> None:
        replica = leader.replica

        def pause() -> None:
            replica.on_close = None
            leader.process.pause(self.rng.uniform(0.7, 1.5))

        replica.on_close = pause

    def _await_successor(self, term: int) -> None:
        """It grants what it is asked for; then the deposed leader is back, it hands over, and clients sleep."""
        leader = self._leader()
        if self.calm:
            return
        if leader is None or leader.replica.engine.term <= term or not leader.replica.reaches_leader:
            self.world.later(0.005, self._await_successor, term)
            return
        self.referee.counts["deposed"] += 1
        back_in = self.rng.uniform(0.2, 0.8)
        self.world.later(back_in, self._heal)
        self.world.later(back_in + self.rng.uniform(0.1, 0.25), self._restart, leader)
        for client in self.clients:
            if self.rng.random() < 0.7:
                asleep_in = back_in * self.rng.uniform(0.3, 1.0)
                self.world.later(asleep_in, client.process.pause, self.rng.uniform(1.0, 6.0))

    def _slow_disk(self) -> None:
        self.rng.choice(self.nodes).disk.slowness = self.rng.choice((1.0, 1.0, 10.0, 60.0))

    def _client_dies(self) -> None:
        client = self.rng.choice(self.clients)
        if client.process.alive:
            client.kill()
            self.dead.add(client.name)
            self._new_client()

    def _client_sleeps(self) -> None:
        self.rng.choice(self.clients).process.pause(self.rng.choice((0.5, 3.0, 8.0)) * self.rng.random())


def _is_granting(node: SimNode) -> bool:
    """Whether the entry that this leader has under way asks for a lock for one of its own clients."""
    journal = node.replica.journal
    data, _, _ = journal.entry(journal.last)
    if journal.last == journal.getRaftCommitIndex() or data == NO_OP:
        return False
    entry = codec.decode_entry(data[1:])
    commands = () if isinstance(entry, BeginEpoch) else entry.commands
    return any(isinstance(command, Acquire) and command.call.node == node.id for command in commands)


@dataclass
class Result:
    seed: int
    counts: Counter[str]
    failure: str = ""


def simulate(seed: int, nodes: int = 3, mutant: str = "") -> Result:
    """mutant: the number of the fault whose defences are switched off."""
    off = (MUTANTS | HARMLESS)[mutant][0]() if mutant else contextlib.nullcontext()
    with off:
        return _simulate(seed, nodes)


def _simulate(seed: int, nodes: int) -> Result:
    simulation = Simulation(seed, nodes)
    try:
        return Result(seed, simulation.run())
    except Exception as error:
        where = f"seed {seed}, {nodes} nodes, at {simulation.world.now:.3f} s: {type(error).__name__}: {error}"
        return Result(seed, simulation.referee.counts, where + "\n" + traceback.format_exc())
    finally:
        for process in simulation.world.processes:
            process.bury()


def silence() -> None:
    logging.disable(logging.CRITICAL)
    structlog.configure(processors=[], wrapper_class=structlog.make_filtering_bound_logger(50))


def many(seeds: range, nodes: int, jobs: int, mutant: str = "") -> Generator[Result, None, None]:
    if jobs == 1:
        silence()
        yield from (simulate(seed, nodes, mutant) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), silence) as pool:
        try:
            yield from pool.map(simulate, seeds, repeat(nodes), repeat(mutant))
        finally:
            pool.shutdown(cancel_futures=True)


def hunt(first: int, seeds: int, jobs: int, only: str) -> bool:
    """Prints, for each defence that is switched off, the first seed that finds it. True if all are found."""
    click.echo(f"{'fault':<10}{'switched off':<46}{'nodes':<7}{'seed':<7}what the simulator saw")
    found = True
    for number, (off, nodes) in MUTANTS.items():
        if only not in ("", number):
            continue
        results = many(range(first, first + seeds), nodes, jobs, number)
        caught = next((result for result in results if result.failure), None)
        results.close()
        found &= caught is not None
        seed, what = (str(caught.seed), caught.failure.splitlines()[0]) if caught else ("-", "NOT FOUND")
        click.echo(f"{number:<10}{off.__name__:<46}{nodes:<7}{seed:<7}{what[what.find(' s: ') + 4 :][:120]}")
    return found


@click.command()
@click.option("--hunt", "hunting", is_flag=True, help="Switch the defences off, one at a time, or --mutant's.")
@click.option("--mutant", default="", help="Switch off the defences against this fault.")
@click.option("--first", default=1, help="The first seed.")
@click.option("--seeds", default=100, help="How many seeds in a row.")
@click.option("--nodes", default=3, help="3 or 5.")
@click.option("--jobs", default=2, help="Processes.")
def main(hunting: bool, mutant: str, first: int, seeds: int, nodes: int, jobs: int) -> None:
    if hunting:
        sys.exit(0 if hunt(first, seeds, jobs, mutant) else 1)
    totals: Counter[str] = Counter()
    for result in many(range(first, first + seeds), nodes, jobs, mutant):
        totals += result.counts
        if result.failure:
            click.echo(f"VIOLATION: {result.failure}")
            sys.exit(1)
    click.echo(f"{seeds} seeds from {first}, {nodes} nodes: no violation")
    click.echo(", ".join(f"{count} {what}" for what, count in sorted(totals.items())))


if __name__ == "__main__":
    main()
