"""The values of a configuration, with their defaults, and the error that says what is wrong with them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Persistence = Literal["leveldb", "memory"]


class ConfigError(Exception):
    """The message names the file, the field and what is wrong with it: `cluster.yml: heartbeat_ms: 0 is below 10`."""

    def __init__(self, field: str, what: str, source: str = "") -> None:
        super().__init__(f"{source}: {field}: {what}" if source else f"{field}: {what}")
        self.field = field
        self.source = source


def address(host: str, port: int) -> str:
    """host:port, or [host]:port for IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAddress:
    """A node as the others and clients reach it. http_port 0: no HTTP."""

    id: int
    host: str
    port: int
    http_port: int
    peer_port: int

    @property
    def endpoint(self) -> str:
        """For clients."""
        return address(self.host, self.port)

    @property
    def peer_endpoint(self) -> str:
        return address(self.host, self.peer_port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """heartbeat_ms * 3 < election_timeout_min_ms < election_timeout_max_ms."""

    election_timeout_min_ms: int = 400
    election_timeout_max_ms: int = 1000
    heartbeat_ms: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """The log is compacted when it has grown by this many entries or bytes, whichever comes first."""

    entries: int = 10_000
    bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What callers are held to. 2 * election_timeout_max_ms <= ttl_min_ms <= ttl_max_ms.

    metadata_bytes + reason_bytes + owner_bytes + name_bytes <= message_bytes / 2.
    """

    message_bytes: int = 1024 * 1024
    metadata_bytes: int = 4096
    reason_bytes: int = 512
    owner_bytes: int = 256
    name_bytes: int = 512
    ttl_min_ms: int = 2000  # unless configured: twice the upper election timeout
    ttl_max_ms: int = 24 * 3600 * 1000
    wait_max_ms: int = 24 * 3600 * 1000
    waiters_per_name_max: int = 10_000
    waiters_per_session_max: int = 10_000
    sessions_per_caller_max: int = 10_000
    calls_per_caller_max: int = 1_000
    """Calls of one caller that this node works on. A List counts once for every ten rows that it may have; those that
    wait for locks do not count."""
    waits_per_caller_max: int = 10_000
    """Calls of one caller that wait for locks through this node."""
    unsent_bytes_max: int = 32 * 1024 * 1024
    """Of answers to one caller that it has not read yet. Beyond it nothing more is done for it."""
    records_per_caller_max: int = 1_000_000
    """Request ids on record. Unlocking may go up to twice these two, so that what is held can be freed."""
    tokens_max: int = 1000
    """That the cluster keeps; those of cluster.yml are not among them."""
    registered_max: int = 100_000
    """Clients and resources that have ids."""
    connections_max: int = 10_000
    """Of clients, to this node."""
    streams_max: int = 10_000
    """On this node, as are watchers."""
    stream_operations_max: int = 10_000
    """Of one stream and not answered yet, those that wait for locks included."""
    watchers_max: int = 1_000
    events_kept_max: int = 10_000
    """By this node, for watchers: how far back one may begin, and how far one may fall behind."""
    list_page_max: int = 1000
    default_deadline_ms: int = 10_000


ClientCertificates = Literal["none", "required"]
RoleName = Literal["read", "lock", "admin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM, read again when they change. They serve clients and peers, and identify this node to its peers.

    ca: the authorities whose certificates are believed, of peers and, where they are required, of clients.
    """

    ca: Path
    cert: Path
    key: Path
    client_certificates: ClientCertificates = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredToken:
    """A bearer token of cluster.yml. Those of one name are one caller. prefixes: of names; none: all names.

    file: where the secret is, where the hash is not given itself; read again when it changes.
    """

    name: str
    role: RoleName
    prefixes: tuple[str, ...] = ()
    sha256: bytes
    file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateGrant:
    """What the owner of a client certificate of this name may do."""

    name: str
    role: RoleName
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Who may call. Where a node has none, whoever reaches it may do everything."""

    tokens: tuple[DeclaredToken, ...] = ()
    certificates: tuple[CertificateGrant, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The command line of `lockd serve`."""

    cluster: Path | None = None
    id: int | None = None
    listen: str | None = None
    data_dir: Path | None = None
    persistence: Persistence = "leveldb"
    insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """listen_host and listen_port: where this node serves clients, `me`'s unless --listen says otherwise.

    data_dir: None where persistence is memory. peer_secret: empty for a node without peers. warnings: to be said at
    every start.
    """

    me: NodeAddress
    nodes: tuple[NodeAddress, ...]
    listen_host: str
    listen_port: int
    data_dir: Path | None
    persistence: Persistence
    insecure: bool
    timing: Timing
    compaction: Compaction
    limits: Limits
    tls: Tls | None = None
    auth: Auth | None = None
    peer_secret: bytes = field(default=b"", repr=False)
    warnings: tuple[str, ...] = ()
