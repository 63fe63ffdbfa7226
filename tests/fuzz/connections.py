"""Connections that cost their client nothing: idle, half open, never read, never ended."""

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import grpc

from lockd_client.proto import lockd_pb2 as pb
from tests.fuzz import frames
from tests.fuzz.watching import Findings, Memory, Sentinel, Target
from tests.integration.cluster import Cluster

IDLE = 10_000
CHANNELS = 2_000
SLOW = 40

RSS_MAX = 1024 * 1024 * 1024
"""Whatever clients do not read."""


@dataclass(frozen=True)
class Phase:
    name: str
    work: Callable[["Abuse"], Any]
    peers: bool = False
    open_files_max: int = 0
    """Of the node; 0: as many as we have."""


class Abuse:
    def __init__(self, port: int, peer_port: int, seconds: float, scale: float) -> None:
        self.port, self.peer_port, self.seconds, self.scale = port, peer_port, seconds, scale
        self.told: list[str] = []

    def many(self, count: int) -> int:
        return max(1, int(count * self.scale))

    async def pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.seconds):
                await asyncio.Event().wait()

    # -- phases

    async def nothing(self) -> None:
        """For the figures of the others."""
        await self.pause()

    async def idle(self) -> None:
        await self._silent(self.port)

    async def idle_peers(self) -> None:
        await self._silent(self.peer_port)

    async def _silent(self, port: int) -> None:
        async with self._open(port, self.many(IDLE), b"") as writers:
            await self.pause()
            self.told.append(f"{sum(not writer.is_closing() for writer in writers)} of {len(writers)} still open")

    async def channels(self) -> None:
        """Spoken to once, then idle."""
        async with self._open(self.port, self.many(CHANNELS), frames.OPENING + frames.call(1)) as writers:
            await self.pause()
            self.told.append(f"{len(writers)} channels")

    async def few_descriptors(self) -> None:
        """More connections than files that the node may have open, and enough writes for new ones of its store's."""
        async with Target(f"127.0.0.1:{self.port}").aio_channel() as channel:
            lock: Any = channel.unary_unary("/lockd.v1.LockService/Lock")
            request = pb.LockRequest(name="fuzz/first", ttl_ms=2_000, metadata={"large": "x" * 4_000})
            await lock(request.SerializeToString())
            async with self._open(self.port, self.many(1_000), frames.OPENING) as writers:
                until, count = time.monotonic() + self.seconds, 0
                while time.monotonic() < until:
                    count += 1
                    request.name = f"fuzz/{count}"
                    await lock(request.SerializeToString(), timeout=10.0)
                still = sum(not writer.is_closing() for writer in writers)
                self.told.append(f"{still} of {len(writers)} still open, {count} locks")

    async def churn(self) -> None:
        """Opened and gone."""
        until, count = time.monotonic() + self.seconds, 0
        while time.monotonic() < until:
            async with self._open(self.port, 50, frames.OPENING + frames.call(1)) as writers:
                count += len(writers)
        self.told.append(f"{count} connections")

    async def unread_watches(self) -> None:
        await self._unread("/lockd.v1.LockService/Watch", pb.WatchRequest(), calls=20)

    async def unread_health(self) -> None:
        await self._unread("/grpc.health.v1.Health/Watch", pb.StatusRequest(), calls=20)

    async def unread_lists(self) -> None:
        await self._unread("/lockd.v1.LockService/List", pb.ListRequest(limit=1000), calls=25)

    async def _unread(self, path: str, request: Any, *, calls: int) -> None:
        """A window of no bytes: the node may send nothing."""
        body = request.SerializeToString()
        opening = _WITHOUT_WINDOW + b"".join(frames.call(1 + 2 * number, path, body) for number in range(calls))
        async with self._open(self.port, self.many(SLOW), opening) as writers:
            await self.pause()
            self.told.append(f"{len(writers)} connections with {calls} calls each")

    async def unread_streams(self) -> None:
        """Operations for ever, and no answer is read."""
        operations = pb.StreamRequest(
            operations=[
                pb.Operation(id=number, list=pb.ListRequest(limit=1000, consistency=pb.STALE)) for number in range(200)
            ]
        )
        await self._endless(operations, connections=SLOW, reads=False)

    async def endless_streams(self) -> None:
        """Operations for ever, most of them beyond a limit; answers are read."""
        lock = pb.LockRequest(name="fuzz/held", wait_ms=-1)
        operations = pb.StreamRequest(operations=[pb.Operation(id=number, lock=lock) for number in range(15_000)])
        await self._endless(operations, connections=2, reads=True)

    async def _endless(self, message: pb.StreamRequest, *, connections: int, reads: bool) -> None:
        data, target = message.SerializeToString(), Target(f"127.0.0.1:{self.port}")
        sent = 0

        async def push() -> None:
            nonlocal sent
            async with target.aio_channel() as channel:
                call: Any = channel.stream_stream("/lockd.v1.LockService/Stream")()
                reading = asyncio.create_task(_drain(call)) if reads else None
                with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
                    while True:
                        await call.write(data)
                        sent += 1
                if reading:
                    reading.cancel()

        pushing = [asyncio.create_task(push()) for _ in range(self.many(connections))]
        await self.pause()
        for task in pushing:
            task.cancel()
        await asyncio.gather(*pushing, return_exceptions=True)
        self.told.append(f"{sent} messages of {len(message.operations)} operations on {len(pushing)} connections")

    @contextlib.asynccontextmanager
    async def _open(self, port: int, count: int, opening: bytes) -> AsyncIterator[list[asyncio.StreamWriter]]:
        writers: list[asyncio.StreamWriter] = []
        reading: list[asyncio.Task[None]] = []
        try:
            for _ in range(count):
                try:
                    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 10.0)
                except (OSError, TimeoutError):
                    continue
                writers.append(writer)
                reading.append(asyncio.create_task(_read(reader, writer, answers=bool(opening))))
                writer.write(opening)
            yield writers
        finally:
            for task in reading:
                task.cancel()
            for writer in writers:
                writer.transport.abort()
            await asyncio.gather(*reading, return_exceptions=True)


async def _drain(call: Any) -> None:
    with contextlib.suppress(grpc.RpcError):
        while await call.read() is not grpc.aio.EOF:
            pass


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
    """Frames are taken off the socket, settings and pings acknowledged; a window is never opened."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags = head[3], head[4]
            if answers and kind in (frames.SETTINGS, frames.PING) and not flags & 1:
                writer.write(frames.frame(kind, 1, 0, payload if kind == frames.PING else b""))
    writer.close()


_WITHOUT_WINDOW = frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, struct.pack(">HI", 4, 0))

PHASES = [
    Phase("nothing", Abuse.nothing),
    Phase("idle", Abuse.idle),
    Phase("idle peers", Abuse.idle_peers, peers=True),
    Phase("channels", Abuse.channels),
    Phase("few descriptors", Abuse.few_descriptors, open_files_max=256),
    Phase("churn", Abuse.churn),
    Phase("unread watches", Abuse.unread_watches),
    Phase("unread health", Abuse.unread_health),
    Phase("unread lists", Abuse.unread_lists),
    Phase("unread streams", Abuse.unread_streams),
    Phase("endless streams", Abuse.endless_streams),
]


def _abuse(phase: int, port: int, peer_port: int, seconds: float, scale: float) -> list[str]:
    abuse = Abuse(port, peer_port, seconds, scale)
    asyncio.run(PHASES[phase].work(abuse))
    return abuse.told


def fuzz_phase(phase: Phase, cluster: Cluster, findings: Findings, seconds: float, scale: float) -> str:
    """One phase against node 1 of a running cluster. Returns what was done, in words."""
    node = cluster.nodes[1]
    target = Target(node.endpoint)
    findings.note({"phase": phase.name})
    before = len(findings.found)
    sentinel = Sentinel(target, findings)
    memory = Memory(node.pid)
    try:
        with ProcessPoolExecutor(1, get_context("spawn")) as other:  # the sentinel is not to wait for our own work
            told = other.submit(_abuse, PHASES.index(phase), node.port, node.peer_port, seconds, scale).result()
    finally:
        sentinel.stop()
        memory.stop()
    if node.is_running:
        sentinel.check_held()
    sentinel.close()
    most = max(rss for _, rss in memory.samples)
    if most > RSS_MAX:
        findings.add(f"{phase.name}: {most >> 20} MiB of memory; the bound is {RSS_MAX >> 20}", {"phase": phase.name})
    p50, p99 = sentinel.percentiles()
    if len(findings.found) > before:
        told.append(f"{len(findings.found) - before} FINDINGS")
    again = f", {sentinel.come_again} asked again" if sentinel.come_again else ""
    return f"{phase.name} ({', '.join(told)}): p50 {p50:.1f} p99 {p99:.1f} ms{again}, {memory}"
