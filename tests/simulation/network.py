"""A simulated network: frames are lost, delayed, reordered and repeated, links cut one way or both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockd.persistence.errors import StoreFailed
from lockd.raft import envelopes
from lockd.raft.errors import LinkError
from lockd.raft.ports import LinkEvents

from .world import World

if TYPE_CHECKING:
    from .node import SimNode


@dataclass
class Stalled:
    """A connection whose frames arrive once a later one of the same two has brought something."""

    connection: int
    frames: list[bytes] = field(default_factory=list)


class Network:
    def __init__(self, world: World) -> None:
        self._world, self._rng = world, world.rng
        self.nodes: dict[int, SimNode] = {}
        self.cut: set[tuple[str, str]] = set()
        """(from, to) by process name: nothing passes."""
        self.loss = 0.0
        self.repeats = 0.0
        self.lateness = 0.0
        """How many messages take up to late_s instead of a millisecond."""
        self.late_s = 2.0
        self.late_kind = ""
        """A kind of message between nodes of which every second one is late."""
        self._connections = 0
        self._stalled: dict[tuple[int, int], Stalled] = {}

    @property
    def now(self) -> float:
        return self._world.now

    def passes(self, source: str, target: str) -> bool:
        return (source, target) not in self.cut and self._rng.random() >= self.loss

    def delay(self, *, is_late_kind: bool = False) -> float:
        if self._rng.random() < (0.5 if is_late_kind else self.lateness):
            return self._rng.uniform(0.003, self.late_s)
        return self._rng.uniform(0.0002, 0.003)

    def carry(self, source: str, target: str, deliver: Callable[[], object], data: bytes = b"") -> None:
        """Delivers none, one or two times."""
        is_late_kind = bool(self.late_kind and data) and kind_of(data) == self.late_kind
        for _ in range(2 if self._rng.random() < self.repeats else 1):
            if self.passes(source, target):
                self._world.later(self.delay(is_late_kind=is_late_kind), deliver)

    def next_connection(self) -> int:
        self._connections += 1
        return self._connections

    # -- links between nodes

    def node_is_up(self, node: "SimNode") -> None:
        for peer in self.nodes.values():
            if peer is not node:
                self._world.later(self._rng.uniform(0.001, 0.1), self._connect, node, peer)
                self._world.later(self._rng.uniform(0.001, 0.1), self._connect, peer, node)

    def node_is_dead(self, node: "SimNode") -> None:
        for peer in self.nodes.values():
            if peer is not node and peer.process.alive:
                self._world.later(self._rng.uniform(0.001, 0.2), self._disconnect, peer, node)

    def _connect(self, node: "SimNode", peer: "SimNode") -> None:
        if node.process.alive and peer.process.alive:
            node.link.connections[peer.id] = self.next_connection()
            node.process.call(node.replica.link_up, peer.id)

    def _disconnect(self, node: "SimNode", peer: "SimNode") -> None:
        if node.process.alive and not peer.process.alive and node.link.connections.pop(peer.id, 0):
            node.process.call(node.replica.link_down, peer.id)
            if (node.name, peer.name) not in self.cut:
                node.process.call(node.replica.link_refused, peer.id)

    def stall(self, source: "SimNode", target: "SimNode") -> None:
        """The connection's frames wait, and arrive after the first one of the connection that source makes next."""
        if connection := source.link.connections.get(target.id):
            self._stalled[source.id, target.id] = Stalled(connection)
            self._world.later(self._rng.uniform(0.1, 2.0), self._connect, source, target)

    def arrive(self, source: "SimNode", target: "SimNode", connection: int, data: bytes) -> None:
        stalled = self._stalled.get((source.id, target.id))
        if stalled and stalled.connection == connection:
            stalled.frames.append(data)
            return
        target.receive(source.id, connection, data)
        if stalled and target.process.alive:
            del self._stalled[source.id, target.id]
            for late in stalled.frames:
                target.receive(source.id, stalled.connection, late)


def kind_of(data: bytes) -> str:
    content = envelopes.decode(data).content
    return str(content["type"]) if isinstance(content, dict) else ""


class SimLink:
    """A node's end: lockd.raft.ports.Link."""

    def __init__(self, network: Network, node: "SimNode") -> None:
        self._network, self._node = network, node
        self.connections: dict[int, int] = {}

    async def start(self, events: LinkEvents) -> None:
        raise AssertionError("the network connects simulated nodes")

    async def stop(self) -> None:
        pass

    def send(self, peer: int, data: bytes) -> None:
        connection = self.connections.get(peer)
        if connection is not None:
            network, node, target = self._network, self._node, self._network.nodes[peer]
            network.carry(node.name, target.name, lambda: network.arrive(node, target, connection, data), data)

    async def fetch(self, peer: int, sha256: bytes, offset: int) -> AsyncIterator[bytes]:
        target = self._network.nodes[peer]
        process = target.process
        body = target.replica.snapshot(sha256, offset)
        if body is None:
            raise LinkError("no such snapshot")
        while True:
            await asyncio.sleep(self._network.delay())
            passes = self._network.passes(target.name, self._node.name)
            if not passes or not process.alive or process.paused_until > self._network.now:
                raise LinkError("the connection broke")
            try:
                chunk = await anext(body, b"")
            except StoreFailed as error:
                # The read runs on this node's loop: if that was paused, the file may have been replaced since.
                raise LinkError("the connection broke") from error
            if not chunk:
                return
            yield chunk
