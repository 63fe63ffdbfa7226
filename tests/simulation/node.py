"""A simulated node: the real replica, journal, engine and services over a simulated disk, link and clock."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from lockd.access.admission import Admission
from lockd.access.refusal import Refused
from lockd.config import Limits
from lockd.machine import commands as c
from lockd.machine.outcomes import Applied
from lockd.raft.engine import Timing
from lockd.raft.replica import Replica, Settings
from lockd.server.service import Caller, LockService

from .disk import Disk
from .network import Network, SimLink
from .referee import Referee
from .world import Process, World

SETTINGS = Settings(timing=Timing(), compact_entries=40)
"""A log so short that snapshots are everyday."""


class SimClock:
    """Monotonic, at a rate of its own."""

    def __init__(self, world: World, rate: float) -> None:
        self._world, self._rate = world, rate

    def monotonic(self) -> float:
        return 1000.0 + self._world.now * self._rate


class WatchedReplica(Replica):
    """Shows the referee every entry that it applies."""

    referee: Referee

    def _note_applied(self, index: int, term: int, entry: c.Entry, applied: Applied) -> None:
        super()._note_applied(index, term, entry, applied)
        self.referee.applied(self.me, index, term, entry, applied, self.state)


class SimNode:
    def __init__(self, world: World, network: Network, referee: Referee, id: int, members: frozenset[int]) -> None:
        self.world, self.network, self.referee = world, network, referee
        self.id, self.name, self.members = id, f"node{id}", members
        self.disk = Disk(world.rng)
        self.clock = SimClock(world, 1 + world.rng.choice((-0.01, 0.0, 0.01)))
        self.link = SimLink(network, self)
        self.process = Process(world, self.name)
        self.process.alive = False
        self.replica: Replica
        self.service: LockService
        network.nodes[id] = self

    def boot(self) -> None:
        self.process = Process(self.world, self.name)
        self.link = SimLink(self.network, self)
        rng = Random(self.world.rng.getrandbits(64))
        self.replica = WatchedReplica(
            self.id,
            self.members,
            store=self.disk,
            shelf=self.disk.shelf,
            link=self.link,
            clock=self.clock,
            rng=rng,
            offload=self._offload,
            settings=SETTINGS,
        )
        self.replica.referee = self.referee
        self.service = LockService(Admission(self.replica, Limits()), rng)
        self.process.start(self._run())
        self.network.node_is_up(self)

    async def _run(self) -> None:
        try:
            await self.replica.run()
        except Exception as error:
            self.world.failure = error

    def kill(self) -> None:
        self.process.kill()
        self.disk.crash()
        self.network.node_is_dead(self)

    def receive(self, peer: int, connection: int, data: bytes) -> None:
        if self.process.alive:
            self.process.call(self.replica.frame, peer, connection, data)

    def serve(self, method: str, message: Any, timeout_s: float, reply: Callable[[object], None]) -> None:
        """A client's call has come in. reply gets the response or the Refused."""
        if self.process.alive:
            self.process.call(lambda: self.process.start(self._answer(method, message, timeout_s, reply)))

    async def _answer(self, method: str, message: Any, timeout_s: float, reply: Callable[[object], None]) -> None:
        try:
            reply(await getattr(self.service, method)(message, Caller("sim", timeout_s)))
        except Refused as refused:
            reply(refused)

    async def _offload(self, work: Callable[[], object]) -> object:
        await asyncio.sleep(self.world.rng.uniform(0.0, 0.02))
        return work()
