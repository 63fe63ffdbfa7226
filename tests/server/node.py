"""One node in this process: a real replica over a store in memory, behind a real gRPC server on loopback."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from lockd.access.admission import Admission
from lockd.access.audit import Refusals
from lockd.access.authority import Authority
from lockd.access.feed import Feed
from lockd.access.freshness import Freshness
from lockd.clock import SystemClock
from lockd.config import Auth, Limits
from lockd.persistence.memory import MemoryShelf, MemoryStore
from lockd.raft.engine import Timing
from lockd.raft.replica import Replica, Settings
from lockd.server.callers import Callers
from lockd.server.cluster import ClusterService
from lockd.server.compat import Locking
from lockd.server.methods import ACCESS_METHODS, REGISTRY_METHODS
from lockd.server.room import Room
from lockd.server.rpc import Edge, generic_handler
from lockd.server.service import Service
from lockd.server.stream import Streams
from lockd.server.unsent import Unsent
from lockd.server.watch import Watches
from lockd_client.proto import lockapi_pb2, lockapi_pb2_grpc, lockd_pb2_grpc
from lockd_client.proto import lockd_pb2 as pb
from tests.eventually import async_eventually

WITHIN_S = 10.0


class Refusal(Exception):
    """What a client sees of an error."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code, self.message = error.code(), error.details() or ""
        self.trailers = dict(error.trailing_metadata() or ())
        super().__init__(f"{self.code.name} {self.reason}: {self.message}")

    @property
    def reason(self) -> str:
        return str(self.trailers.get("lockd-reason", ""))


class Node:
    """lock, unlock, …: the calls of LockService, with the fields of their requests as keywords."""

    def __init__(self, limits: Limits, *, leads: bool = True, auth: Auth | None = None) -> None:
        """leads: else it is one of two nodes, and never sees the other."""
        self.authority = Authority(auth, lambda: self.replica.state)
        self.replica = Replica(
            1,
            frozenset({1} if leads else {1, 2}),
            store=MemoryStore(),
            shelf=MemoryShelf(),
            link=None,  # type: ignore[arg-type]  # there is nobody to reach
            clock=SystemClock(),
            rng=random.Random(1),
            offload=None,  # type: ignore[arg-type]  # nothing is compacted
            settings=Settings(timing=Timing()),
            judge=self.authority.judge,
        )
        self.admission = Admission(self.replica, limits, self.authority)
        self.feed = Feed(0, limits.events_kept_max, limits.watchers_max)
        self.replica.news.publish = self.feed.publish
        self.refusals, self.unsent = Refusals(), Unsent(limits.unsent_bytes_max)
        room = Room(self.unsent)
        addresses = {1: "127.0.0.1:2080", 2: "127.0.0.1:2090"}
        cluster = ClusterService(self.replica, addresses, "0.0.0", self.authority, self.refusals)
        service = Service(self.admission, random.Random(2))
        access = Service(self.admission, random.Random(4), ACCESS_METHODS)
        registry = Service(self.admission, random.Random(5), REGISTRY_METHODS)
        self.streams = Streams(service, cluster, limits, self.authority, self.refusals, room)
        self.watches = Watches(self.feed, self.admission)
        services: list[tuple[Any, tuple[object, ...]]] = [
            (
                pb.DESCRIPTOR.services_by_name["LockService"],
                (service, self.streams, self.watches),
            ),
            (pb.DESCRIPTOR.services_by_name["AccessService"], (access,)),
            (pb.DESCRIPTOR.services_by_name["RegistryService"], (registry,)),
            (pb.DESCRIPTOR.services_by_name["ClusterService"], (cluster,)),
            (lockapi_pb2.DESCRIPTOR.services_by_name["Locking"], (Locking(self.admission, random.Random(3)),)),
        ]
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        callers = Callers(self.authority, Freshness(self.replica.calls.propose).catch_up)
        edge = Edge(callers, self.refusals, lambda: cluster.leader_address, limits.message_bytes, room)
        self.server.add_generic_rpc_handlers(
            tuple(generic_handler(service, parts, edge) for service, parts in services)
        )
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.channel: grpc.aio.Channel

    async def start(self) -> None:
        await self.server.start()
        self.channel = self.connect()
        self.locks = lockd_pb2_grpc.LockServiceStub(self.channel)
        self.cluster = lockd_pb2_grpc.ClusterServiceStub(self.channel)
        self.lockapi = lockapi_pb2_grpc.LockingStub(self.channel)

    def connect(self) -> grpc.aio.Channel:
        """Another connection than those before."""
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=[("grpc.use_local_subchannel_pool", 1)])

    async def ask(self, method: str, *, deadline_s: float | None = None, **fields: Any) -> Any:
        """Raises Refusal."""
        request = getattr(pb, f"{method}Request")(**fields)
        try:
            return await getattr(self.locks, method)(request, timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            raise Refusal(error) from error

    async def lock(self, name: str = "", **fields: Any) -> Any:
        return await self.ask("Lock", name=name, **fields)

    async def unlock(self, **fields: Any) -> Any:
        return await self.ask("Unlock", **fields)

    async def get(self, name: str) -> Any:
        return await self.ask("Get", name=name)

    async def open_session(self, ttl_ms: int = 10_000) -> int:
        session: int = (await self.ask("OpenSession", ttl_ms=ttl_ms)).session_id
        return session

    async def waiters(self, name: str, count: int) -> Any:
        """The lock, once so many wait for it."""

        async def so_many() -> Any:
            found = await self.get(name)
            return found if found.waiters_count == count else None

        return await async_eventually(so_many, WITHIN_S)

    def stream(self, *operations: pb.Operation) -> "Talk":
        talk = Talk(self.locks.Stream())
        talk.first = operations
        return talk

    def watch(self, prefix: str = "", from_revision: int = 0) -> "Talk":
        return Talk(self.locks.Watch(pb.WatchRequest(prefix=prefix, from_revision=from_revision)))


class Talk:
    """A stream, as its client has it."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.first: Iterable[pb.Operation] = ()
        self._results: list[pb.Result] = []
        self.leader_address = ""

    async def __aenter__(self) -> "Talk":
        if self.first:
            await self.send(*self.first)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()

    async def send(self, *operations: pb.Operation) -> None:
        await self.call.write(pb.StreamRequest(operations=operations))

    async def read(self) -> Any:
        """The next message. Raises Refusal where the stream ended with an error, EOFError where it ended well."""
        try:
            message = await asyncio.wait_for(self.call.read(), WITHIN_S)
        except grpc.aio.AioRpcError as error:
            raise Refusal(error) from error
        if message is grpc.aio.EOF:
            raise EOFError
        return message

    async def result(self) -> pb.Result:
        """The next result, whatever message it is in."""
        while not self._results:
            message = await self.read()
            self._results += message.results
            self.leader_address = message.leader_address
        return self._results.pop(0)

    async def results(self, count: int) -> dict[int, pb.Result]:
        """The last results of so many operations, by id."""
        found: dict[int, pb.Result] = {}
        while len(found) < count:
            result = await self.result()
            found[result.id] = result
        return found


@asynccontextmanager
async def running(*, leads: bool = True, auth: Auth | None = None, **limits: int) -> AsyncIterator[Node]:
    node = Node(Limits(**limits), leads=leads, auth=auth)
    replica = asyncio.ensure_future(node.replica.run())
    await node.start()
    try:
        if leads:
            await async_eventually(lambda: node.replica.reaches_leader, WITHIN_S)
        yield node
    finally:
        await node.channel.close()
        await node.server.stop(None)
        node.replica.stop()
        await replica
