"""The network between clients and the node: ports that lead to the node's, and can be cut.

What is cut carries nothing and says so to nobody, as a network that drops packets: bytes stay where they are until it
is healed. A node breaks a connection whose other end has vanished; here it does so by the hand's time.
"""

import asyncio

from lockd.daemon import KEEPALIVE

from .loop import HandLoop

HOST = "127.0.0.1"
VANISHED_S = sum(dict(KEEPALIVE)[f"grpc.keepalive_{part}_ms"] for part in ("time", "timeout")) / 1000


class _End(asyncio.Protocol):
    """What it hears, its other end says."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self.is_held = True
        self._is_full = False  # the other end's buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._flow()

    def hold(self, is_held: bool) -> None:
        self.is_held = is_held
        self._flow()

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other._fill(True)

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other._fill(False)

    def connection_lost(self, _error: Exception | None) -> None:
        self.transport = None
        if self.other is not None and self.other.transport is not None and not self.other.is_held:
            self.other.transport.close()

    def drop(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _fill(self, is_full: bool) -> None:
        self._is_full = is_full
        self._flow()

    def _flow(self) -> None:
        if self.transport is None:
            return
        if self.is_held or self._is_full:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()


class _Pipe:
    """One connection of a client's, and the one to the node that it leads to."""

    def __init__(self) -> None:
        self.client, self.node = _End(), _End()
        self.client.other, self.node.other = self.node, self.client

    @property
    def is_over(self) -> bool:
        return self.client.transport is None and self.node.transport is None

    @property
    def peer(self) -> str:
        """As the node knows the connection; empty where there is none."""
        if self.node.transport is None:
            return ""
        return f"{HOST}:{self.node.transport.get_extra_info('sockname')[1]}"

    def hold(self) -> None:
        self.client.hold(True)
        self.node.hold(True)

    def go_on(self) -> None:
        self.client.hold(False)
        self.node.hold(False)
        if self.node.transport is None:
            self.client.drop()

    def drop(self) -> None:
        self.client.drop()
        self.node.drop()


class Way:
    """A port of its own."""

    def __init__(self, loop: HandLoop) -> None:
        self.port = 0
        self.is_cut = False
        self.vanished: list[str] = []
        """The node's peers whose connections it broke, and may not have looked at yet."""
        self._loop = loop
        self._node_port = 0
        self._pipes: list[_Pipe] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._vanishes: asyncio.TimerHandle | None = None

    @property
    def endpoint(self) -> str:
        return f"{HOST}:{self.port}"

    async def open(self) -> None:
        self._server = await self._loop.create_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def lead_to(self, node_port: int) -> None:
        self._node_port = node_port

    def cut(self) -> None:
        if not self.is_cut:
            self.is_cut = True
            self._vanishes = self._loop.by_hand(VANISHED_S, self._vanish)
            for pipe in self._pipes:
                pipe.hold()

    def heal(self) -> None:
        if self.is_cut:
            self.is_cut = False
            if self._vanishes is not None:
                self._vanishes.cancel()
            for pipe in self._pipes:
                pipe.go_on()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        self.drop()

    def drop(self) -> None:
        """Breaks the connections that there are."""
        for pipe in self._pipes:
            pipe.drop()

    def _accept(self) -> _End:
        self._pipes = [pipe for pipe in self._pipes if not pipe.is_over]
        pipe = _Pipe()
        task = self._loop.create_task(self._connect(pipe))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return pipe.client

    async def _connect(self, pipe: _Pipe) -> None:
        """A node greets whoever connects, and then waits. The greeting passes a cut too: gRPC gives up a connection
        without one, and counts real time for that.
        """
        try:
            await self._loop.create_connection(lambda: pipe.node, HOST, self._node_port)
        except OSError:  # the node has stopped
            pipe.client.drop()
            return
        self._pipes.append(pipe)
        pipe.node.hold(False)
        if not self.is_cut:
            pipe.client.hold(False)

    def _vanish(self) -> None:
        for pipe in self._pipes:
            if pipe.peer:
                self.vanished.append(pipe.peer)
            pipe.node.drop()
