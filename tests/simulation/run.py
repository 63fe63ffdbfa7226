"""Runs simulations: `python -m tests.simulation.run --seeds 500 --first 1`. A failing seed is printed.

One seed is one schedule: the same failure comes again with `--first SEED --seeds 1`, under any PYTHONHASHSEED.
"""

import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import click
import structlog

from .client import Operator, SimClient
from .network import Network
from .node import SimNode
from .referee import Referee
from .world import World

TROUBLE_S = 25.0
SETTLE_S = 12.0


class Simulation:
    """Nodes, clients and trouble from one seed."""

    def __init__(self, seed: int, nodes: int = 3) -> None:
        self.world = World(seed)
        self.rng = self.world.rng
        self.network = Network(self.world)
        self.referee = Referee(self.world)
        members = frozenset(range(1, nodes + 1))
        self.nodes = [SimNode(self.world, self.network, self.referee, id, members) for id in sorted(members)]
        self.referee.nodes = self.network.nodes
        self.clients: list[SimClient] = []
        self.dead: set[str] = set()
        self.calm = False

    def run(self) -> Counter[str]:
        """Raises Violation, or what a node failed with."""
        for node in self.nodes:
            self.world.later(self.rng.uniform(0, 0.5), node.boot)
        for _ in range(4):
            self._new_client()
        operator = Operator(self.world, self.network, self.referee, self.dead)
        self.world.later(2.0, self._trouble)
        self.world.run(TROUBLE_S)
        self._end_trouble()
        self.world.run(TROUBLE_S + SETTLE_S / 2)
        for client in [*self.clients, operator]:
            client.stopping = True
        self.world.run(TROUBLE_S + SETTLE_S)
        self._stop_time()
        self.referee.check_settled()
        return self.referee.counts

    def _new_client(self) -> None:
        client = SimClient(self.world, self.network, self.referee, f"client{len(self.clients) + 1}")
        self.clients.append(client)

    def _end_trouble(self) -> None:
        self.calm = True
        self.network.cut.clear()
        self.network.loss = self.network.repeats = 0.0
        for node in self.nodes:
            node.disk.slowness = 1.0
            if not node.process.alive:
                node.boot()

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
        trouble = self.rng.choice(
            (self._crash, self._crash, self._crash_leader, self._pause, self._pause, self._cut, self._cut,
             self._heal, self._crash_all, self._slow_disk, self._client_dies, self._client_sleeps)
        )  # fmt: skip
        trouble()
        self.referee.counts[trouble.__name__.lstrip("_")] += 1
        self.world.later(self.rng.uniform(0.2, 3.0), self._trouble)

    def _leader(self) -> SimNode | None:
        alive = [node for node in self.nodes if node.process.alive]
        return next((node for node in alive if node.replica.engine.is_leader), None)

    def _crash(self, node: SimNode | None = None) -> None:
        node = node or self.rng.choice(self.nodes)
        if node.process.alive:
            node.kill()
            self.world.later(self.rng.choice((0.05, 1.0, 6.0)) * self.rng.random(), self._reboot, node)

    def _crash_leader(self) -> None:
        self._crash(self._leader())

    def _crash_all(self) -> None:
        for node in self.nodes:
            self._crash(node)

    def _reboot(self, node: SimNode) -> None:
        if not node.process.alive:
            node.boot()

    def _pause(self) -> None:
        node = self._leader() if self.rng.random() < 0.6 else self.rng.choice(self.nodes)
        if node and node.process.alive:
            node.process.pause(self.rng.choice((0.3, 1.5, 5.0)) * self.rng.random())

    def _cut(self) -> None:
        """One way or both, between two, or one from all."""
        names = [node.name for node in self.nodes] + [client.name for client in self.clients[-4:]]
        one, two = self.rng.sample(names, 2)
        if self.rng.random() < 0.4:
            self.network.cut |= {(one, other) for other in names if other != one}
            if self.rng.random() < 0.5:
                self.network.cut |= {(other, one) for other in names if other != one}
        else:
            self.network.cut.add((one, two))

    def _heal(self) -> None:
        self.network.cut.clear()

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


@dataclass
class Result:
    seed: int
    counts: Counter[str]
    failure: str = ""


def simulate(seed: int, nodes: int = 3) -> Result:
    simulation = Simulation(seed, nodes)
    try:
        return Result(seed, simulation.run())
    except Exception as error:
        where = f"seed {seed}, {nodes} nodes, at {simulation.world.now:.3f} s: {type(error).__name__}: {error}"
        return Result(seed, simulation.referee.counts, where + "\n" + traceback.format_exc())


def silence() -> None:
    structlog.configure(processors=[], wrapper_class=structlog.make_filtering_bound_logger(50))


def many(seeds: range, nodes: int, jobs: int) -> Iterator[Result]:
    if jobs == 1:
        silence()
        yield from (simulate(seed, nodes) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs, initializer=silence) as pool:
        yield from pool.map(simulate, seeds, [nodes] * len(seeds), chunksize=4)


@click.command()
@click.option("--first", default=1, help="The first seed.")
@click.option("--seeds", default=100, help="How many seeds in a row.")
@click.option("--nodes", default=3, help="3 or 5.")
@click.option("--jobs", default=2, help="Processes.")
def main(first: int, seeds: int, nodes: int, jobs: int) -> None:
    totals: Counter[str] = Counter()
    for result in many(range(first, first + seeds), nodes, jobs):
        totals += result.counts
        if result.failure:
            click.echo(f"VIOLATION: {result.failure}")
            sys.exit(1)
    click.echo(f"{seeds} seeds from {first}, {nodes} nodes: no violation")
    click.echo(", ".join(f"{count} {what}" for what, count in sorted(totals.items())))


if __name__ == "__main__":
    main()
