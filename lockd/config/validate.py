"""The one validation: ranges from a table, then what fields must be to each other. Pure."""

import ipaddress
import re
from collections.abc import Iterator

from lockd.config.cluster_file import PORT_MAX
from lockd.config.values import Config, ConfigError, NodeAddress, address

NODES_MAX = 9
ID_MAX = 2**31
HEARTBEATS_PER_TIMEOUT = 3
TTL_TIMEOUTS = 2

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
MIB = 1024 * 1024

RANGES: dict[str, tuple[int, int]] = {
    "election_timeout_min_ms": (50, 10 * MINUTE_MS),
    "election_timeout_max_ms": (50, 10 * MINUTE_MS),
    "heartbeat_ms": (10, MINUTE_MS),
    "compact_entries": (100, 100_000_000),
    "compact_bytes": (MIB, 1024 * 1024 * MIB),
    "limits.message_bytes": (16 * 1024, 64 * MIB),
    "limits.metadata_bytes": (0, 64 * 1024),
    "limits.reason_bytes": (0, 64 * 1024),
    "limits.owner_bytes": (64, 64 * 1024),
    "limits.name_bytes": (1, 512),
    "limits.ttl_min_ms": (1, 365 * DAY_MS),
    "limits.ttl_max_ms": (1, 365 * DAY_MS),
    "limits.wait_max_ms": (1, 365 * DAY_MS),
    "limits.waiters_per_name_max": (1, 1_000_000),
    "limits.waiters_per_session_max": (1, 1_000_000),
    "limits.sessions_per_caller_max": (1, 1_000_000),
    "limits.calls_per_caller_max": (1, 1_000_000),
    "limits.waits_per_caller_max": (1, 1_000_000),
    "limits.unsent_bytes_max": (MIB, 1024 * MIB),
    "limits.records_per_caller_max": (1000, 100_000_000),
    "limits.tokens_max": (1, 100_000),
    "limits.registered_max": (0, 10_000_000),
    "limits.connections_max": (10, 1_000_000),
    "limits.streams_max": (1, 1_000_000),
    "limits.stream_operations_max": (1, 1_000_000),
    "limits.watchers_max": (0, 100_000),
    "limits.events_kept_max": (1, 10_000_000),
    "limits.list_page_max": (1000, 10_000),  # lockd_client asks for pages of 1000
    "limits.default_deadline_ms": (100, 60 * MINUTE_MS),
}

HOST = re.compile(r"[A-Za-z0-9._:%-]+")


def validate(config: Config, source: str, *, has_secret: bool) -> None:
    """has_secret: whether the file configures one. Raises ConfigError."""
    _check_nodes(config, source)
    _check_ranges(config, source)
    _check_relations(config, source)
    _check_grants(config, source)
    _check_exposure(config, source, has_secret)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Names other than localhost count as beyond loopback: what they resolve to may change."""
    return ipaddress.ip_address(host).is_loopback if _is_ip(host) else host.lower() == "localhost"


def exposed(config: Config) -> tuple[str, ...]:
    """The addresses beyond loopback where this node or its peers listen with too little protection."""
    found = []
    if not is_loopback(config.listen_host) and (config.tls is None or is_open(config)):
        found.append(address(config.listen_host, config.listen_port))
    if len(config.nodes) > 1 and config.tls is None:
        found += [node.peer_endpoint for node in config.nodes if not is_loopback(node.host)]
    return tuple(found)


def _check_nodes(config: Config, source: str) -> None:
    if len(config.nodes) > NODES_MAX:
        raise ConfigError("nodes", f"has {len(config.nodes)} nodes; the most is {NODES_MAX}", source)
    if (config.listen_host, config.listen_port) != (config.me.host, config.me.port) or not source:
        _check_listen(config)
    for node in config.nodes:
        _check_node(node, source, alone=len(config.nodes) == 1)
    _refuse_twins(config, source)
    if config.persistence == "memory" and len(config.nodes) > 1:
        raise ConfigError(
            "--persistence",
            f"memory is for one node, and nodes has {len(config.nodes)}: a node that forgets its votes breaks Raft",
            source,
        )


def _check_listen(config: Config) -> None:
    check_host("--listen", config.listen_host, "")
    _check_port("--listen", config.listen_port, "", lowest=1)
    me = config.me
    for kind, port in (("http_port", me.http_port), ("peer_port", me.peer_port)):
        if port == config.listen_port:
            raise ConfigError("--listen", f"{port} is the {kind} of node {me.id} already")


def _check_node(node: NodeAddress, source: str, *, alone: bool) -> None:
    name = f"nodes: id {node.id}"
    if not 1 <= node.id <= ID_MAX:
        raise ConfigError(name, f"is not in 1 to {ID_MAX}", source)
    check_host(f"{name}: host", node.host, source)
    if node.host in ("0.0.0.0", "::") and not alone:  # noqa: S104  # refused, not bound
        raise ConfigError(
            f"{name}: host",
            f"{node.host} is no address that other nodes could dial; listen there with --listen",
            source,
        )
    _check_port(f"{name}: port", node.port, source, lowest=1)
    _check_port(f"{name}: peer_port", node.peer_port, source, lowest=1)
    _check_port(f"{name}: http_port", node.http_port, source, lowest=0)


def check_host(name: str, host: str, source: str) -> None:
    """Raises ConfigError."""
    if not HOST.fullmatch(host) or (":" in host and not _is_ip(host)):
        raise ConfigError(name, f"{host!r} is not a host name or an address", source)


def _check_port(name: str, port: int, source: str, *, lowest: int) -> None:
    if not lowest <= port <= PORT_MAX:
        raise ConfigError(name, f"{port} is not in {lowest} to {PORT_MAX}", source)


def _refuse_twins(config: Config, source: str) -> None:
    ids: set[int] = set()
    taken: dict[tuple[str, int], str] = {}
    for node in config.nodes:
        if node.id in ids:
            raise ConfigError("nodes", f"two have the id {node.id}", source)
        ids.add(node.id)
        for kind, port in (("port", node.port), ("http_port", node.http_port), ("peer_port", node.peer_port)):
            place, user = (node.host.lower(), port), f"{kind} of node {node.id}"
            if port and place in taken:
                raise ConfigError("nodes", f"{address(*place)} is both {taken[place]} and {user}", source)
            taken[place] = user


def _check_ranges(config: Config, source: str) -> None:
    for name, value in _numbers(config):
        low, high = RANGES[name]
        if value < low:
            raise ConfigError(name, f"{value} is below {low}", source)
        if value > high:
            raise ConfigError(name, f"{value} is above {high}", source)


def _numbers(config: Config) -> Iterator[tuple[str, int]]:
    for name in RANGES:
        section, _, rest = name.rpartition(".")
        if section:
            yield name, getattr(config.limits, rest)
        elif name.startswith("compact_"):
            yield name, getattr(config.compaction, name.removeprefix("compact_"))
        else:
            yield name, getattr(config.timing, name)


def _check_relations(config: Config, source: str) -> None:
    timing, limits = config.timing, config.limits
    low, high = timing.election_timeout_min_ms, timing.election_timeout_max_ms
    if low >= high:
        raise ConfigError(
            "election_timeout_min_ms", f"{low} is not below election_timeout_max_ms, which is {high}", source
        )
    if timing.heartbeat_ms * HEARTBEATS_PER_TIMEOUT >= low:
        raise ConfigError(
            "heartbeat_ms",
            f"{timing.heartbeat_ms} is not below a third of election_timeout_min_ms, which is {low}",
            source,
        )
    if limits.ttl_min_ms < TTL_TIMEOUTS * high:
        raise ConfigError(
            "limits.ttl_min_ms",
            f"{limits.ttl_min_ms} is below {TTL_TIMEOUTS * high}, twice election_timeout_max_ms, which is {high}",
            source,
        )
    if limits.ttl_max_ms < limits.ttl_min_ms:
        raise ConfigError(
            "limits.ttl_max_ms", f"{limits.ttl_max_ms} is below limits.ttl_min_ms, which is {limits.ttl_min_ms}", source
        )
    parts = limits.metadata_bytes + limits.reason_bytes + limits.owner_bytes + limits.name_bytes
    if 2 * parts > limits.message_bytes:
        raise ConfigError(
            "limits.message_bytes",
            f"{limits.message_bytes} is below {2 * parts}, twice the sum of metadata_bytes, reason_bytes, owner_bytes "
            f"and name_bytes, which is {parts}",
            source,
        )


def _check_grants(config: Config, source: str) -> None:
    if config.auth is None or not config.auth.certificates:
        return
    wanted = "none" if config.tls is None else config.tls.client_certificates
    if wanted != "required":
        raise ConfigError(
            "auth.certificates",
            f"has {len(config.auth.certificates)} entries, and tls.client_certificates, which must be required for "
            f"them, is {wanted}",
            source,
        )


def is_open(config: Config) -> bool:
    """Whether callers are asked for neither a token nor a certificate."""
    return config.auth is None and (config.tls is None or config.tls.client_certificates == "none")


def _check_exposure(config: Config, source: str, has_secret: bool) -> None:
    beyond = exposed(config)
    if beyond and not config.insecure:
        raise ConfigError(
            "insecure" if config.tls is None else "auth",
            f"{', '.join(beyond)} is beyond loopback, and {_lack(config)}. Say --insecure, or insecure: true, if the "
            "network is trusted",
            source,
        )
    far = [node for node in config.nodes if not is_loopback(node.host)]
    if len(config.nodes) > 1 and far and not has_secret:
        raise ConfigError(
            "peer_secret_file",
            f"is missing; nodes beyond loopback need a secret that all of them know (node {far[0].id} is at "
            f"{far[0].host}). Make one with: openssl rand -hex 32 > FILE; chmod 600 FILE",
            source,
        )


def _lack(config: Config) -> str:
    if config.tls is not None:
        return (
            "there is neither auth nor client_certificates: required: anybody who reaches it could take and release "
            "locks. Give callers tokens in a section auth"
        )
    if config.auth is not None:
        what = "tokens would travel in the clear. Add a section tls"
    else:
        what = "anybody who reaches it could take and release locks. Add sections tls and auth"
    return f"there is no TLS: {what}; `lockd certs init --cluster FILE` makes the files that they name"
