"""One node, from configuration to exit code: the place that constructs and wires everything.

Start: store, replica, the clients' port, the peers' port, the first turn. Stop, in the order that loses nothing:
no new calls, the lead handed over, calls in flight answered, ports closed, the last write, the store closed.
"""

import asyncio
import contextlib
import gc
import itertools
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor

from lockd import __version__
from lockd.access.admission import Admission
from lockd.access.audit import Refusals
from lockd.access.authority import Authority
from lockd.access.feed import Feed
from lockd.access.freshness import Freshness
from lockd.clock import Clock, SystemClock
from lockd.config import Auth, Config, ConfigError, address
from lockd.descriptors import connections
from lockd.persistence.errors import StoreCorrupt, StoreError
from lockd.persistence.leveldb import LevelStore
from lockd.persistence.memory import MemoryShelf, MemoryStore
from lockd.persistence.shelf import DirectoryShelf
from lockd.pki.checks import CertificateError
from lockd.pki.files import Material
from lockd.pki.names import names_node
from lockd.raft.engine import Timing
from lockd.raft.errors import Fatal, JournalCorrupt
from lockd.raft.replica import Replica, Settings
from lockd.raft.transport import TcpLink
from lockd.raft.transport.tls import Security, contexts
from lockd.renewal import Renewal
from lockd.server.callers import Callers, Strangers
from lockd.server.cluster import ClusterService
from lockd.server.compat import Locking
from lockd.server.methods import ACCESS_METHODS, REGISTRY_METHODS
from lockd.server.room import Room
from lockd.server.rpc import Edge, generic_handler
from lockd.server.service import Service
from lockd.server.standard import HEALTH, REFLECTION, Health, Reflection
from lockd.server.stream import Streams
from lockd.server.tls import ServerTls
from lockd.server.unsent import Unsent
from lockd.server.watch import Watches
from lockd_client.proto import lockapi_pb2, lockd_pb2

log = structlog.get_logger("lockd")

DRAIN_S = 3.0
"""How long a stopping node waits for its calls to be answered and for another node to lead."""

WATCH_S = 0.1
"""How often health follows what the replica knows."""

LOOK_S = 1.0
"""How often it is looked whether files of certificates and tokens have changed."""

MOVED_AT_ONCE = 20
"""Streams and watches, every WATCH_S, after certificates have changed."""

JOIN_REMINDER_S = 10.0

KEEPALIVE = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)
"""A connection whose other end has vanished breaks within 15 s, and what waits on it is withdrawn."""

MESSAGE_ROOM = 4
"""So many times limits.message_bytes are read, so that what is too long gets our answer; gRPC refuses the rest."""

IDLE = (
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
)
"""A connection that says nothing, or on which nothing is asked, is closed, so that others find room."""

ServerOptions = Sequence[tuple[str, int]]

CONNECTIONS: ServerOptions = (*KEEPALIVE, *IDLE)

PENDING = (
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
)
"""Calls that have arrived and were not taken up. Beyond it gRPC cancels some, whoever made them, without a reason; by
default from 1,000 on, which one client's burst reaches.
"""

COLLECTOR_THRESHOLDS = (10_000, 10, 1_000)
"""Of Python's cyclic garbage collector. A full collection looks at every row of the state, about 240 ms for 100,000
locks, and by default it comes whenever they have grown by a quarter. Rows are in no cycles: what is dropped goes at
once. Calls and connections that leave cycles behind are found by the two young generations (up to 100,000 objects,
about 40 ms); a full collection comes after 100 million more objects were made than freed.
"""

EXIT_OK, EXIT_DATA, EXIT_UNAVAILABLE, EXIT_SOFTWARE, EXIT_IO, EXIT_CONFIG = 0, 65, 69, 70, 74, 78

_LOCKD = lockd_pb2.DESCRIPTOR.services_by_name
_LOCKAPI = lockapi_pb2.DESCRIPTOR.services_by_name


def serve(config: Config, reload: Callable[[], Config]) -> int:
    """Runs a node until SIGTERM or SIGINT. Returns the process's exit code; what went wrong is in the log.

    reload: the configuration as it is now, for SIGHUP. May raise ConfigError.
    """
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(config, reload))
    except (StoreCorrupt, JournalCorrupt) as error:
        log.error(str(error))
        return EXIT_DATA
    except StoreError as error:
        log.error(str(error))
        return EXIT_IO
    except Fatal as error:
        log.error(str(error))
        return EXIT_SOFTWARE
    except CertificateError as error:
        log.error(str(error))
        return EXIT_CONFIG
    except _CannotListen as error:
        log.error(str(error))
        return EXIT_UNAVAILABLE
    return EXIT_OK


class _CannotListen(Exception):
    """A port is taken, or its address is not this machine's."""


async def _serve(config: Config, reload: Callable[[], Config]) -> None:
    with _storage(config) as (store, shelf), ThreadPoolExecutor(1, "lockd-worker") as worker:
        gc.disable()
        node = Node(config, store, shelf, worker, reload)
        gc.freeze()  # what was read from disk is not looked at again
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        gc.enable()
        node.heed_signals()
        await node.run()


class Node:
    """port: that clients are served on, once run() listens; 0 before."""

    def __init__(
        self,
        config: Config,
        store: LevelStore | MemoryStore,
        shelf: DirectoryShelf | MemoryShelf,
        worker: ThreadPoolExecutor,
        reload: Callable[[], Config],
        *,
        clock: Clock | None = None,
        options: ServerOptions = CONNECTIONS,
    ) -> None:
        """clock: the system's unless given. options: of gRPC, for clients' connections. Raises CertificateError."""
        self._config, self._reload = config, reload
        self._renewal = Renewal(config, self._renew_certificates, self._declare)
        self._authority = Authority(config.auth, lambda: self.replica.state)
        rng = random.Random()
        self._link = TcpLink(
            config.me.id,
            {node.id: (node.host, node.peer_port) for node in config.nodes},
            config.peer_secret or b"a node without peers",
            security=self._security(self._renewal.material),
        )

        def offload(work: Callable[[], object]) -> "asyncio.Future[object]":
            return asyncio.get_running_loop().run_in_executor(worker, work)

        self.replica = Replica(
            config.me.id,
            frozenset(node.id for node in config.nodes),
            store=store,
            shelf=shelf,
            link=self._link,
            clock=clock or SystemClock(),
            rng=rng,
            offload=offload,
            settings=_settings(config),
            judge=self._authority.judge,
        )
        limits = config.limits
        self._admission = Admission(self.replica, limits, self._authority)
        self._feed = Feed(self.replica.state.scalars.revision, limits.events_kept_max, limits.watchers_max)
        self.replica.news.publish = self._feed.publish
        self._tls = _server_tls(config, self._renewal.material)
        self._moving: asyncio.Task[None] | None = None
        self._server = self._make_server(rng, options)
        self.port = 0
        self._revoked = 0
        """Tokens of the log, when it was looked at last."""
        self._stop = asyncio.Event()

    def heed_signals(self) -> None:
        """In the main thread."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._read_again)

    def stop(self) -> None:
        """Lets run() end."""
        self._stop.set()

    async def run(self) -> None:
        """Until stop(), or until the replica fails."""
        try:
            await self._listen()
        except _CannotListen:
            await self._server.stop(grace=None)  # gRPC's server, once started, complains if it is dropped
            raise
        replica = asyncio.ensure_future(self.replica.run())
        watch = asyncio.ensure_future(self._watch())
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([replica, stop, watch], return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()  # raises: it ends by a fault alone, and without it nobody revoked is shut out
            if not replica.done():
                await self._drain()
        finally:
            watch.cancel()
            stop.cancel()
            if self._moving:
                self._moving.cancel()
            await self._server.stop(grace=1.0 if not replica.done() else None)
            self.replica.stop()
            try:
                await replica
            finally:
                await self._link.stop()
        log.info("stopped")

    # -- start

    def _make_server(self, rng: random.Random, options: ServerOptions) -> grpc.aio.Server:
        limits = self._config.limits
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MESSAGE_ROOM * limits.message_bytes),
                ("grpc.max_metadata_size", 16 * 1024),
                ("grpc.max_allowed_incoming_connections", connections(limits.connections_max)),
                *options,
                *PENDING,
            ]
        )
        authority, refusals, room = self._authority, Refusals(), Room(Unsent(limits.unsent_bytes_max))
        addresses = {node.id: node.endpoint for node in self._config.nodes}
        cluster = ClusterService(self.replica, addresses, __version__, authority, refusals)
        service = Service(self._admission, rng)
        self._streams = Streams(service, cluster, limits, authority, refusals, room)
        self._watches = Watches(self._feed, self._admission)
        services: dict[ServiceDescriptor, tuple[object, ...]] = {
            _LOCKD["LockService"]: (service, self._streams, self._watches),
            _LOCKD["AccessService"]: (Service(self._admission, rng, ACCESS_METHODS),),
            _LOCKD["RegistryService"]: (Service(self._admission, rng, REGISTRY_METHODS),),
            _LOCKD["ClusterService"]: (cluster,),
            _LOCKAPI["Locking"]: (Locking(self._admission, rng),),
        }
        edge = Edge(
            Callers(authority, Freshness(self.replica.calls.propose).catch_up, self._is_node),
            refusals,
            lambda: cluster.leader_address,
            limits.message_bytes,
            room,
        )
        names = tuple(descriptor.full_name for descriptor in services)
        self._health = Health(names, limits.watchers_max)
        standard: dict[ServiceDescriptor, tuple[object, ...]] = {
            HEALTH: (self._health,),
            REFLECTION: (Reflection((*names, HEALTH.full_name, REFLECTION.full_name), limits.watchers_max),),
        }
        open_edge = replace(edge, callers=Strangers())
        server.add_generic_rpc_handlers(
            (
                *(generic_handler(descriptor, parts, edge) for descriptor, parts in services.items()),
                *(generic_handler(descriptor, parts, open_edge) for descriptor, parts in standard.items()),
            )
        )
        return server

    async def _listen(self) -> None:
        config = self._config
        clients = address(config.listen_host, config.listen_port)
        try:
            if self._tls:
                port = self._server.add_secure_port(clients, self._tls.credentials)
            else:
                port = self._server.add_insecure_port(clients)
        except RuntimeError:
            port = 0
        if not port:
            raise _CannotListen(f"cannot listen for clients on {clients}: the port is taken or not this machine's")
        await self._server.start()
        self.port = port
        if self.replica.others:
            try:
                await self._link.start(self.replica)
            except OSError as error:
                raise _CannotListen(error.strerror or str(error)) from error
        log.info(
            "serving",
            node=config.me.id,
            clients=clients,
            peers=config.me.peer_endpoint if self.replica.others else None,
            data_dir=str(config.data_dir) if config.data_dir else None,
            tls=config.tls is not None,
            client_certificates=config.tls.client_certificates if config.tls else None,
            tokens=config.auth is not None,
            applied=self.replica.journal.applied,
            locks=len(self.replica.state.holds),
        )

    def _security(self, material: Material | None) -> Security | None:
        """What peers' connections need."""
        if material is None:
            return None
        server, client = contexts(material.ca, material.cert, material.key)
        hosts = {node.id: node.host for node in self._config.nodes}
        return Security(
            server=server, client=client, names=lambda id, uris, names: names_node(id, hosts[id], uris, names)
        )

    def _is_node(self, names: frozenset[str]) -> bool:
        """Whether a certificate with these names is a member's."""
        hosts = frozenset(name.lower() for name in names)
        return any(names_node(node.id, node.host, names, hosts) for node in self._config.nodes)

    # -- meanwhile

    def _read_again(self) -> None:
        """SIGHUP."""
        try:
            self._renewal.reload(self._reload())
        except ConfigError as error:
            log.error("cluster.yml is not taken", reason=str(error))

    def _declare(self, auth: Auth) -> None:
        self._authority.declare(auth)
        self._streams.end_unknown()
        self._watches.end_unknown()

    def _renew_certificates(self, material: Material) -> None:
        security = self._security(material)
        assert self._tls is not None
        assert security is not None
        self._tls.renew(material.cert, material.key, material.ca)
        self._link.renew(security)
        if self._moving:
            self._moving.cancel()
        self._moving = asyncio.ensure_future(self._go_over())

    async def _go_over(self) -> None:
        """Streams and watches come back on connections with the new certificates."""
        told = itertools.count(1)

        async def pace() -> None:
            await asyncio.sleep(WATCH_S if next(told) % MOVED_AT_ONCE == 0 else 0)

        await self._streams.move(pace)
        await self._watches.move(pace)

    async def _watch(self) -> None:
        """Keeps health true, and tells the log who leads."""
        loop = asyncio.get_running_loop()
        told: int | None = None
        serving = False
        remind_at = look_at = loop.time() + LOOK_S
        while True:
            replica = self.replica
            if serving != replica.reaches_leader:
                serving = not serving
                self._health.tell(serving=serving)
            self._end_unknown_callers()
            if loop.time() >= look_at:
                look_at = loop.time() + LOOK_S
                self._renewal.look()
            leader = replica.engine.leader if serving else None
            if leader != told:
                told = leader
                log.info("leader", node=leader, term=replica.engine.term)
            if not replica.journal.joined and loop.time() >= remind_at:
                remind_at = loop.time() + JOIN_REMINDER_S
                log.info("joining: this node's store is new, every other member is asked", missing=replica.missing)
            await asyncio.sleep(WATCH_S)

    def _end_unknown_callers(self) -> None:
        """Streams and watches of tokens that were revoked. What they ask for is refused anyway."""
        state = self.replica.state
        revoked = state.scalars.last_credential - len(state.credentials)
        if revoked != self._revoked:
            self._revoked = revoked
            self._streams.end_unknown()
            self._watches.end_unknown()

    # -- stop

    async def _drain(self) -> None:
        log.info("stopping")
        self._admission.is_stopping = True
        self._streams.end()
        self._feed.end()
        self._health.tell(serving=False)
        self.replica.hand_over()
        deadline = asyncio.get_running_loop().time() + DRAIN_S
        while asyncio.get_running_loop().time() < deadline:
            self.replica.calls.send_away()
            self.replica.calls.flush()
            leads = self.replica.engine.is_leader and self.replica.connected
            if not leads and not self.replica.calls.in_work:
                return
            await asyncio.sleep(0.01)


def _server_tls(config: Config, material: Material | None) -> ServerTls | None:
    if config.tls is None or material is None:
        return None
    asks_clients = config.tls.client_certificates == "required"
    return ServerTls(material.cert, material.key, material.ca, asks_clients=asks_clients)


def _settings(config: Config) -> Settings:
    timing = config.timing
    return Settings(
        timing=Timing(
            election_min=timing.election_timeout_min_ms / 1000,
            election_max=timing.election_timeout_max_ms / 1000,
            heartbeat=timing.heartbeat_ms / 1000,
        ),
        compact_entries=config.compaction.entries,
        compact_bytes=config.compaction.bytes,
    )


@contextlib.contextmanager
def _storage(config: Config) -> Iterator[tuple[LevelStore, DirectoryShelf] | tuple[MemoryStore, MemoryShelf]]:
    if config.data_dir is None:
        yield MemoryStore(), MemoryShelf()
        return
    store = LevelStore.open(Path(config.data_dir) / "store", node_id=config.me.id)
    try:
        yield store, DirectoryShelf(Path(config.data_dir) / "snapshots")
    finally:
        store.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, where it is installed: a third less CPU a request."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
