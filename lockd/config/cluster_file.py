"""Reading cluster.yml, and the Go lockd's JSON form of it. Pure: text in, values out; ranges are validate.py's."""

import json
from collections.abc import Hashable
from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from lockd.config.fields import Reader
from lockd.config.security import auth_section, tls_section
from lockd.config.values import Auth, Compaction, ConfigError, Limits, NodeAddress, Timing, Tls

DEFAULT_PORT = 2080
PEER_PORT_OFFSET = 2
PORT_MAX = 65535
GO_PEER_PORT_OFFSET = 10_000

_NODE_FIELDS = ("id", "host", "port", "http_port", "peer_port")
_TIMING_FIELDS = tuple(each.name for each in fields(Timing))
_COMPACTION_FIELDS = tuple(f"compact_{each.name}" for each in fields(Compaction))
_LIMITS_FIELDS = tuple(each.name for each in fields(Limits))
_FIELDS = (
    "nodes",
    "data_dir",
    "peer_secret_file",
    "peer_secret",
    "insecure",
    *_TIMING_FIELDS,
    *_COMPACTION_FIELDS,
    "limits",
    "tls",
    "auth",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFile:
    """What the file says. source: what messages call it; empty where there is no file.

    Paths are as they stand there. A token that has a file has no hash yet.
    """

    source: str
    nodes: tuple[NodeAddress, ...]
    data_dir: str | None = None
    peer_secret_file: str | None = None
    peer_secret: str | None = field(default=None, repr=False)
    insecure: bool = False
    timing: Timing = Timing()
    compaction: Compaction = Compaction()
    limits: Limits = Limits()
    tls: Tls | None = None
    auth: Auth | None = None


def parse(text: str, source: str) -> ClusterFile:
    """Raises ConfigError."""
    content = _load(text, source)
    if _is_go_form(content):
        return ClusterFile(source=source, nodes=_go_nodes(content, source))
    return _Reader(source).cluster(content)


class _Loader(yaml.SafeLoader):
    """YAML in which a key stands once: otherwise the last one wins and nobody is told."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        _refuse_repeated(keys)
        return super().construct_mapping(node, deep)


class _RepeatedKey(ValueError):
    pass


def _refuse_repeated(keys: list[object]) -> None:
    repeated = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
    if repeated is not None:
        raise _RepeatedKey(f"{repeated} stands there twice")


def _json_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    _refuse_repeated([key for key, _ in pairs])
    return dict(pairs)


def _load(text: str, source: str) -> object:
    try:
        if text.lstrip().startswith("{"):
            try:
                return json.loads(text, object_pairs_hook=_json_object)
            except json.JSONDecodeError:
                pass  # YAML has braces, too
        return yaml.load(text, _Loader)  # noqa: S506  # _Loader is a SafeLoader
    except _RepeatedKey as error:
        raise ConfigError("the file", str(error), source) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        what = " ".join(str(error).split())
        raise ConfigError("the file", f"is neither YAML nor JSON: {what}", source) from error


# ---- the Go lockd's form: {"1": "host:port", ...}


def _is_go_form(content: object) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all((isinstance(key, int) and not isinstance(key, bool)) or str(key).isdecimal() for key in content)
    )


def _go_nodes(content: Any, source: str) -> tuple[NodeAddress, ...]:
    return tuple(_go_node(int(key), value, source) for key, value in content.items())


def _go_node(id: int, value: object, source: str) -> NodeAddress:
    if not isinstance(value, str):
        raise ConfigError(f'"{id}"', f"is {value!r}; the Go lockd's form has host:port there", source)
    host, port = split_address(value, f'"{id}"', source)
    down = port > PORT_MAX - GO_PEER_PORT_OFFSET
    peer_port = port - GO_PEER_PORT_OFFSET if down else port + GO_PEER_PORT_OFFSET
    return NodeAddress(id=id, host=host, port=port, http_port=0, peer_port=peer_port)


def split_address(text: str, name: str, source: str = "") -> tuple[str, int]:
    """host:port or [v6]:port. Raises ConfigError."""
    host, colon, port = text.strip().rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    bare = host.count(":") and f"[{host}]" not in text
    if not colon or not host or bare or not (port.isascii() and port.isdecimal()):
        raise ConfigError(name, f"{text!r} is not host:port (for IPv6: [address]:port)", source)
    return host, int(port)


# ---- our form


class _Reader(Reader):
    def cluster(self, content: object) -> ClusterFile:
        top = self.mapping(content, "the file", _FIELDS)
        entries = top.get("nodes")
        if not isinstance(entries, list) or not entries:
            raise self.error("nodes", "is a list of nodes, each with id, host, port and peer_port")
        timing = Timing(**self.numbers(top, _TIMING_FIELDS))
        derived = {"ttl_min_ms": 2 * timing.election_timeout_max_ms}
        given = top.get("limits")
        limits = self.mapping({} if given is None else given, "limits", _LIMITS_FIELDS)
        compaction = self.numbers(top, _COMPACTION_FIELDS)
        return ClusterFile(
            source=self.source,
            nodes=tuple(self.node(entry, place) for place, entry in enumerate(entries)),
            data_dir=self.path(top, "data_dir"),
            peer_secret_file=self.path(top, "peer_secret_file"),
            peer_secret=self.optional(top, "peer_secret", str, "text"),
            insecure=self.optional(top, "insecure", bool, "true or false") or False,
            timing=timing,
            compaction=Compaction(**{key.removeprefix("compact_"): value for key, value in compaction.items()}),
            limits=Limits(**(derived | self.numbers(limits, _LIMITS_FIELDS, "limits."))),
            tls=tls_section(self, top["tls"]) if "tls" in top else None,
            auth=auth_section(self, top["auth"]) if "auth" in top else None,
        )

    def node(self, entry: object, place: int) -> NodeAddress:
        prefix = f"nodes[{place}]"
        node = self.mapping(entry, prefix, _NODE_FIELDS)
        numbers = self.numbers(node, ("id", "port", "http_port", "peer_port"), f"{prefix}.")
        if "id" not in numbers:
            raise self.error(f"{prefix}.id", "is missing; it is a number from 1, another for every node")
        host = self.optional(node, "host", str, "a host name or an address", f"{prefix}.")
        if host is None:
            raise self.error(f"{prefix}.host", "is missing; it is where the other nodes and clients reach this one")
        port = numbers.get("port", DEFAULT_PORT)
        return NodeAddress(
            id=numbers["id"],
            host=host,
            port=port,
            http_port=numbers.get("http_port", 0),
            peer_port=numbers.get("peer_port", port + PEER_PORT_OFFSET),
        )
