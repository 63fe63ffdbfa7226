"""Entries of type zookeeper. A lock is kazoo's ReadLock or WriteLock on a node of its own."""

import inspect
import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from kazoo.client import KazooClient  # type: ignore[import-untyped]  # kazoo ships no types
from kazoo.exceptions import KazooException, LockTimeout, NoNodeError  # type: ignore[import-untyped]  # the same
from kazoo.retry import KazooRetry  # type: ignore[import-untyped]  # the same

from lockd_client.calls import default_owner
from lockd_client.distributed_lock.servers import PROBE_S, Hold, Unreachable
from lockd_client.errors import LockLost

ROOT = "/distributed_lock"
RETRY_S = 1.0  # at most, between two attempts at what must be done in the end

_OBJECTS = {"client_id", "default_acl", "handler", "kwargs", "logger"}  # that YAML cannot write
FIELDS = frozenset(inspect.signature(KazooClient).parameters) - _OBJECTS | {"port"}

_LOG = logging.getLogger("lockd_client.distributed_lock.zookeeper")


class ZookeeperHold:
    """An ephemeral node, which lives as long as the client's session. Kazoo's release() does not tell a lock that was
    lost from one that was held, so the node is looked at, and removed, here.
    """

    token = 0

    def __init__(self, client: KazooClient, path: str, name: str, shared: bool) -> None:
        recipe = client.ReadLock if shared else client.WriteLock
        self._client, self._path, self._name = client, path, name
        self._lock = recipe(path, identifier=default_owner())

    def acquire(self, wait: float) -> bool:
        acquired = False
        try:
            acquired = self._lock.acquire(blocking=wait > 0, timeout=wait if 0 < wait < math.inf else None)
        except LockTimeout:
            pass
        finally:
            if not acquired:  # kazoo tries once to take its place in the queue away
                self.abandon()
        return acquired

    def release(self) -> None:
        node = f"{self._path}/{self._lock.node}"
        try:
            was_held = self._until_done(self._client.exists, node) is not None
            self._remove(node)
        except KazooException:
            self.abandon()
            raise
        if not was_held:
            raise LockLost(f"{self._name}: the session with ZooKeeper had expired")

    def abandon(self) -> None:
        self._client.handler.spawn(self._withdraw)

    def _withdraw(self) -> None:
        """Removes whatever node it has, as soon as ZooKeeper answers."""
        try:
            for child in self._until_done(self._client.get_children, self._path):
                if child.startswith(self._lock.prefix):
                    self._remove(f"{self._path}/{child}")
        except KazooException:
            pass  # the client was closed: with its session the node is gone

    def _remove(self, node: str) -> None:
        """Where it is gone, with its session or by an attempt whose answer did not arrive, that is well."""
        with suppress(NoNodeError):
            self._until_done(self._client.delete, node)

    def _until_done(self, call: Any, path: str) -> Any:
        return KazooRetry(max_tries=-1, max_delay=RETRY_S)(call, path)


class ZookeeperServer:
    def __init__(self, config: Mapping[str, Any]) -> None:
        arguments = dict(config)
        port = arguments.pop("port", None)
        if port is not None:
            arguments["hosts"] = with_port(arguments.get("hosts", "127.0.0.1"), port)
        # It gives up only when its session timeout is over: the first one has a short one.
        _end(_started({**arguments, "timeout": min(PROBE_S, arguments.get("timeout", PROBE_S))}))
        self.client = _started(arguments)

    def hold(self, name: str, *, shared: bool) -> Hold:
        return ZookeeperHold(self.client, node_of(name), name, shared)

    def close(self) -> None:
        _end(self.client)


def _started(arguments: Mapping[str, Any]) -> KazooClient:
    """Raises Unreachable."""
    client = KazooClient(**arguments, logger=_LOG)
    _LOG.setLevel(logging.CRITICAL)  # that nobody answers is told by what is raised
    try:
        client.start(timeout=PROBE_S)
    except client.handler.timeout_exception as error:  # start() has stopped it
        raise Unreachable(f"no session within {PROBE_S:g} s") from error
    except KazooException as error:
        _end(client)
        raise Unreachable(f"{type(error).__name__}: {error}") from error
    except BaseException:  # whatever it is, the client's threads do not stay
        _end(client)
        raise
    finally:
        _LOG.setLevel(logging.NOTSET)
    return client


def _end(client: KazooClient) -> None:
    client.stop()
    client.close()


def node_of(name: str) -> str:
    """One level below ROOT, whatever the name: "/", "." and ".." mean something in ZooKeeper's paths."""
    return f"{ROOT}/{quote(name, safe='', errors='surrogateescape').replace('.', '%2E')}"


def with_port(hosts: str, port: int) -> str:
    """The port for each host that has none; what follows the first "/" is a chroot."""
    servers, slash, chroot = hosts.partition("/")
    parts = [host.strip() for host in servers.split(",")]
    return ",".join(part if _has_port(part) else f"{part}:{port}" for part in parts) + slash + chroot


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]
