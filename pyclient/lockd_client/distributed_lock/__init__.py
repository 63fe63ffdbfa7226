"""Locks on whichever server is there: lockd, Redis, ZooKeeper, or files.

    from lockd_client.distributed_lock import get_lock

    with get_lock("/data/results"):
        ...

The environment variable ISF_DISTRIBUTED_LOCK_CONFIG names a YAML file with a list of {type, config}; the first entry
that answers is used by the whole process. Where it is not set, or the file does not exist, these are tried: lockd on
localhost:2080, Redis on localhost:6379, files. Where ISF_DISTRIBUTED_LOCK_BLOCK is set, to whatever, every getter
raises RuntimeError.

Processes that come to use different servers do not exclude each other: in production, list one server.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

try:
    from lockd_client.distributed_lock.by_file import InterProcessLockNoWritePermission
    from lockd_client.distributed_lock.choice import CHOICE, NoLockingServer
    from lockd_client.distributed_lock.config import DEFAULT_CONFIG, BadLockingConfig
    from lockd_client.distributed_lock.locks import DistributedLock
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing not in ("fasteners", "kazoo", "redis", "yaml"):
        raise
    raise ModuleNotFoundError(
        f"{missing} is not installed: pip install 'lockd-client[distributed-lock]'", name=missing
    ) from error

__all__ = [
    "DEFAULT_CONFIG",
    "BadLockingConfig",
    "DistributedLock",
    "InterProcessLockNoWritePermission",
    "NoLockingServer",
    "get_lock",
    "get_locking_client",
    "get_locking_server",
    "get_locking_server_client",
    "get_read_lock",
    "get_write_lock",
    "update_config",
]

BLOCK_VARIABLE = "ISF_DISTRIBUTED_LOCK_BLOCK"


def get_lock(name: str | os.PathLike[str]) -> DistributedLock:
    """An exclusive lock with this name, a path. Nothing is acquired yet; the server is looked for.

    Raises RuntimeError where ISF_DISTRIBUTED_LOCK_BLOCK is set, BadLockingConfig, NoLockingServer, InvalidArgument.
    """
    return _lock(name, shared=False)


def get_read_lock(name: str | os.PathLike[str]) -> DistributedLock:
    """A shared lock: many may hold it shared, or one exclusively (get_lock, get_write_lock).

    Redis knows no shared locks: there it is exclusive. Raises as get_lock().
    """
    return _lock(name, shared=True)


def get_write_lock(name: str | os.PathLike[str]) -> DistributedLock:
    """The same as get_lock()."""
    return _lock(name, shared=False)


def get_locking_server_client() -> tuple[dict[str, Any], Any]:
    """The entry of the configuration that is used, and its client: a LockdClient, a redis.Redis, a
    kazoo.client.KazooClient, or None for files. The client is the locks' own: do not close it.

    Raises RuntimeError where ISF_DISTRIBUTED_LOCK_BLOCK is set, BadLockingConfig, NoLockingServer.
    """
    _check_block()
    chosen = CHOICE.get()
    return chosen.entry, chosen.server.client


def get_locking_client() -> Any:
    """The second of get_locking_server_client()."""
    return get_locking_server_client()[1]


def get_locking_server() -> dict[str, Any]:
    """The first of get_locking_server_client()."""
    return get_locking_server_client()[0]


def update_config(config: Sequence[Mapping[str, Any]]) -> None:
    """From now on this process, and what it forks, uses the first of these entries that answers, which is looked for
    when it is first needed. What is held now stays held where it was acquired, and clients that were handed out stay
    open until the process ends.

    Raises BadLockingConfig, and then nothing is changed.
    """
    CHOICE.update(config)


def _lock(name: str | os.PathLike[str], *, shared: bool) -> DistributedLock:
    _check_block()
    CHOICE.get()
    return DistributedLock(name, shared=shared)


def _check_block() -> None:
    if BLOCK_VARIABLE in os.environ:
        raise RuntimeError(f"{BLOCK_VARIABLE} is set: this process must not use distributed locks")
