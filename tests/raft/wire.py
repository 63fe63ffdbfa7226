"""Links on loopback for tests, and raw ends that speak their wire format by hand."""

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from lockd.pki.names import names_node
from lockd.raft.transport import Address, Limits, Security, TcpLink, contexts
from lockd.raft.transport.frames import framed
from lockd.raft.transport.handshake import RAFT, Accepting, Dialling
from tests.eventually import async_eventually

SECRET = b"a secret between these tests"

CHUNK = 256 * 1024

Body = Callable[[bytes, int], AsyncIterator[bytes] | None]
Nodes = dict[int, tuple[TcpLink, "Events"]]


class Events:
    """LinkEvents that remembers."""

    def __init__(self, body: Body = lambda sha256, offset: None) -> None:
        self.told: list[tuple[str, int]] = []
        self.frames: list[tuple[int, int, bytes]] = []
        self._body = body

    def link_up(self, peer: int) -> None:
        self.told.append(("up", peer))

    def link_down(self, peer: int) -> None:
        self.told.append(("down", peer))

    def link_refused(self, peer: int) -> None:
        self.told.append(("refused", peer))

    def frame(self, peer: int, connection: int, data: bytes) -> None:
        self.frames.append((peer, connection, data))

    def snapshot(self, sha256: bytes, offset: int) -> AsyncIterator[bytes] | None:
        return self._body(sha256, offset)

    def data(self, peer: int) -> list[bytes]:
        return [data for sender, _, data in self.frames if sender == peer]

    def has(self, peer: int, count: int) -> bool:
        return len(self.data(peer)) >= count


def security_of(*ca: Path, pair: tuple[Path, Path]) -> Security:
    """Of whom believes these authorities, as the daemon makes it."""
    cert, key = pair
    server, client = contexts(b"".join(path.read_bytes() for path in ca), cert.read_bytes(), key.read_bytes())
    return Security(
        server=server, client=client, names=lambda node, uris, hosts: names_node(node, "127.0.0.1", uris, hosts)
    )


def addresses_of(*nodes: int) -> dict[int, Address]:
    """Free ports below the range that the system hands out to others."""
    found: dict[int, Address] = {}
    while len(found) < len(nodes):
        port = random.randint(20_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        if ("127.0.0.1", port) not in found.values():
            found[nodes[len(found)]] = ("127.0.0.1", port)
    return found


@asynccontextmanager
async def links(
    count: int,
    *,
    members: int | None = None,
    body: Body = lambda sha256, offset: None,
    security: Callable[[int], Security | None] = lambda node: None,
    **limits: Any,
) -> AsyncIterator[Nodes]:
    """Links 1 to count, started, of a cluster of that many members."""
    addresses = addresses_of(*range(1, (members or count) + 1))
    nodes: Nodes = {}
    try:
        for me in range(1, count + 1):
            link = TcpLink(me, addresses, SECRET, limits=Limits(**limits), security=security(me))
            nodes[me] = link, Events(body)
            await nodes[me][0].start(nodes[me][1])
        yield nodes
    finally:
        for link, _ in nodes.values():
            await link.stop()


@asynccontextmanager
async def started(link: TcpLink, events: Events) -> AsyncIterator[None]:
    await link.start(events)
    try:
        yield
    finally:
        await link.stop()


async def joined(nodes: Nodes) -> None:
    def each_to_each() -> bool:
        return all(link.connected(peer) for me, (link, _) in nodes.items() for peer in nodes if peer != me)

    await async_eventually(each_to_each, 5.0)


@asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[tuple[tuple[TcpLink, Events], tuple[TcpLink, Events]]]:
    async with links(2, **options) as nodes:
        await joined(nodes)
        yield nodes[1], nodes[2]


class Raw:
    """One end of a TCP connection, in the hands of a test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def dial(cls, link: TcpLink, tls: ssl.SSLContext | None = None) -> "Raw":
        return cls(*await asyncio.open_connection(*link._addresses[link._me], ssl=tls))

    @classmethod
    async def authenticated(
        cls, link: TcpLink, me: int, purpose: str = RAFT, tls: ssl.SSLContext | None = None
    ) -> "Raw":
        raw = await cls.dial(link, tls)
        handshake = Dialling(me=me, peer=link._me, secret=SECRET, purpose=purpose)
        try:
            raw.write(framed(handshake.hello(await raw.frame())))
            handshake.verify(await raw.frame())
        except BaseException:
            await raw.close()
            raise
        return raw

    async def welcome(self, handshake: Accepting) -> None:
        self.write(framed(handshake.challenge()))
        self.write(framed(handshake.welcome(handshake.judge(await self.frame()))))

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def frame(self) -> bytes:
        async with asyncio.timeout(5.0):
            size = int.from_bytes(await self._reader.readexactly(4), "big")
            return await self._reader.readexactly(size)

    async def ended(self) -> bytes:
        """What still came before the other side closed. Closes this one."""
        rest = b""
        try:
            async with asyncio.timeout(5.0):
                while data := await self._reader.read(65536):
                    rest += data
        except ConnectionError:
            pass
        await self.close()
        return rest

    async def close(self) -> None:
        self._writer.transport.abort()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


@asynccontextmanager
async def raw_listener(
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[Address, Callable[[], Awaitable[Raw]]]]:
    """An address, and a way to wait for the next connection to it."""
    waiting: asyncio.Queue[Raw] = asyncio.Queue()
    accepted: list[Raw] = []

    def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(Raw(reader, writer))
        waiting.put_nowait(accepted[-1])

    async def next_one() -> Raw:
        async with asyncio.timeout(5.0):
            return await waiting.get()

    (address,) = addresses_of(1).values()
    server = await asyncio.start_server(greet, *address, ssl=tls)
    try:
        yield address, next_one
    finally:
        server.close()
        for raw in accepted:
            await raw.close()
        await server.wait_closed()


def body_of(data: bytes, fail_at: int | None = None) -> Body:
    """A snapshot with this body. Serving it beyond fail_at bytes fails as a disk does."""

    async def chunks(offset: int) -> AsyncIterator[bytes]:
        for start in range(offset, len(data), CHUNK):
            if fail_at is not None and start >= fail_at:
                raise OSError(5, "Input/output error")
            yield data[start : start + CHUNK]

    return lambda sha256, offset: chunks(offset) if sha256 == b"sha" else None


async def exhaust(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])
