"""A simulated node: the real replica, journal, engine and services over a simulated disk, link and clock."""

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from lockd.access.admission import Admission
from lockd.access.authority import Authority
from lockd.access.refusal import Refused
from lockd.config import Limits
from lockd.machine import commands as c
from lockd.machine.outcomes import Applied
from lockd.raft.engine import Timing
from lockd.raft.errors import LinkError
from lockd.raft.journal import _JOINED
from lockd.raft.replica import Replica, Settings
from lockd.server.service import Caller, Service

from . import disk
from .network import Network, SimLink
from .referee import Referee
from .world import Process, World


class SimClock:
    """Monotonic, at a rate of its own."""

    def __init__(self, world: World, rate: float) -> None:
        self._world, self._rate = world, rate

    def monotonic(self) -> float:
        return 1000.0 + self._world.now * self._rate


class WatchedReplica(Replica):
    """Shows the referee every entry that it applies and every stamp that it reads."""

    referee: Referee
    on_close: Callable[[], object] | None = None
    """Called each time that this leader has closed an entry with commands."""

    def _close_entry(self) -> None:
        waiting = len(self._open)
        super()._close_entry()
        if self.reign and self.reign.begun:
            self.referee.stamped(self.reign.term, int(self.reign._reading_ms))
        if len(self._open) < waiting and self.on_close:
            self.on_close()

    def _note_applied(self, index: int, term: int, entry: c.Entry, applied: Applied) -> None:
        super()._note_applied(index, term, entry, applied)
        self.referee.applied(self.me, index, term, entry, applied, self.state)


class SimNode:
    def __init__(
        self,
        world: World,
        network: Network,
        referee: Referee,
        id: int,
        members: frozenset[int],
        compact_entries: int,
    ) -> None:
        self.world, self.network, self.referee = world, network, referee
        self.id, self.name, self.members = id, f"node{id}", members
        self._settings = Settings(timing=Timing(), compact_entries=compact_entries)
        self.disk = disk.Disk(world)
        self.clock = SimClock(world, 1 + world.rng.choice((-0.01, 0.0, 0.01)))
        self.link = SimLink(network, self)
        self.process = Process(world, self.name)
        self.process.alive = False
        self._worker_free = 0.0
        self.replica: WatchedReplica
        self.service: Service
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
            offload=partial(self._offload, self.process),
            settings=self._settings,
        )
        self.replica.referee = self.referee
        self._answering: dict[str, asyncio.Task[Any]] = {}
        self.admission = Admission(self.replica, Limits(), Authority(None, lambda: self.replica.state))
        self.service = Service(self.admission, rng)
        self.process.start(self.replica.run())
        self.network.node_is_up(self)

    @property
    def has_joined(self) -> bool:
        """Whether it runs, and would still vote if it crashed now."""
        return self.process.alive and _JOINED in self.disk.records

    def kill(self) -> None:
        self.process.kill()
        if isinstance(self.disk, disk.CarelessDisk):
            self.disk.crash()
        self.network.node_is_dead(self)

    def receive(self, peer: int, connection: int, data: bytes) -> None:
        if not self.process.alive:
            return
        sender = self.network.nodes[peer]
        if self.replica.engine.is_leader and sender.link.connections.get(self.id) == connection:
            sender.disk.before_loss = {}  # what it sent before that is refused from now on
        self.process.call(self.replica.frame, peer, connection, data)

    def serve(self, call: str, method: str, message: Any, timeout_s: float, reply: Callable[[object], None]) -> None:
        """A client's call has come in. reply gets the response or the Refused."""
        if self.process.alive:
            self.process.call(self._begin, call, method, message, timeout_s, reply)

    def _begin(self, call: str, method: str, message: Any, timeout_s: float, reply: Callable[[object], None]) -> None:
        task = self.process.start(self._answer(method, message, timeout_s, reply))
        self._answering[call] = task
        task.add_done_callback(lambda _: self._answering.pop(call, None))

    def hang_up(self, call: str) -> None:
        """The connection on which the call came has broken."""
        if self.process.alive and call in self._answering:
            self.process.call(self._answering[call].cancel)

    async def _answer(self, method: str, message: Any, timeout_s: float, reply: Callable[[object], None]) -> None:
        try:
            response = await getattr(self.service, method)(message, Caller("sim", timeout_s))
        except Refused as refused:
            reply(refused)
            return
        if method == "Lock" and response.acquired:
            self.referee.acknowledged(response.token)
        reply(response)

    def stop(self) -> None:
        """As SIGTERM does: no new calls, waiting ones sent away, the lead handed over."""
        self.admission.is_stopping = True
        self.replica.calls.send_away()
        self.replica.hand_over()

    async def _offload(self, process: Process, work: Callable[[], object]) -> object:
        """One worker: what it was given first is done first."""
        self._worker_free = max(self._worker_free, self.world.now) + self.world.rng.uniform(0.0, 0.02)
        await asyncio.sleep(self._worker_free - self.world.now)
        if not process.alive:  # a peer was reading from it
            raise LinkError("the connection broke")
        return work()
