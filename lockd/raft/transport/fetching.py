"""A peer's snapshot on its way to this node."""

import asyncio
from collections import deque
from typing import Final

from lockd.proto import peers_pb2
from lockd.raft.errors import LinkError

from .dialling import connect
from .frames import Splitter, framed, parse
from .handshake import SNAPSHOT, Dialling
from .node import Node
from .secured import demand_certified, trust

READ_BYTES: Final = 256 * 1024


class Fetch:
    """One snapshot on its way here. Reading stops while its consumer is busy."""

    def __init__(self, node: Node, peer: int) -> None:
        self._node = node
        self._peer = peer
        self._splitter = Splitter(node.limits.handshake_bytes_max)
        self._ready: deque[bytes] = deque()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._ended = False

    async def open(self, sha256: bytes, offset: int) -> None:
        """Raises OSError, LinkError."""
        node, peer = self._node, self._peer
        handshake = Dialling(me=node.me, peer=peer, secret=node.secret, purpose=SNAPSHOT)
        async with asyncio.timeout(node.limits.handshake_s):
            loop = asyncio.get_running_loop()
            self._reader = asyncio.StreamReader(limit=READ_BYTES, loop=loop)
            protocol = asyncio.StreamReaderProtocol(self._reader, loop=loop)
            transport = await connect(node, peer, protocol, node.security)
            self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)
            challenge = await self._frame()
            demand_certified(transport, peer)
            self._writer.write(framed(handshake.hello(challenge)))
            handshake.verify(await self._frame())
        trust(transport)
        self._splitter.bytes_max = node.limits.frame_bytes_max
        request = peers_pb2.FetchSnapshot(sha256=sha256, offset=offset)
        self._writer.write(framed(request.SerializeToString()))

    async def chunk(self) -> bytes:
        """Empty at the end. Raises OSError, LinkError."""
        chunk = parse(peers_pb2.SnapshotChunk, await self._frame())
        if chunk.refused:
            raise LinkError(f"peer refuses: {chunk.refused}")
        return chunk.data

    def abort(self) -> None:
        self._ended = True
        if self._writer is not None:
            self._writer.transport.abort()

    async def _frame(self) -> bytes:
        while not self._ready:
            async with asyncio.timeout(self._node.limits.fetch_silence_s):
                data = await self._reader.read(READ_BYTES)
            if not data or self._ended:
                raise LinkError("broke off")
            self._ready.extend(self._splitter.frames(data))
        return self._ready.popleft()
