"""Entries of type redis. A lock is redis-py's own Lock, whose key is the name; it knows no shared reads."""

import inspect
import math
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import LockError, LockNotOwnedError, RedisError
from redis.lock import Lock
from redis.retry import Retry

from lockd_client.distributed_lock.servers import PROBE_S, TTL_S, Hold, Unreachable
from lockd_client.errors import LockLost

SOCKET_S = 5.0  # for an answer, where the entry does not say; nothing that a lock sends waits on the server
POLL_S = 0.1

_OBJECTS = {
    "cache",
    "cache_config",
    "connection_pool",
    "credential_provider",
    "driver_info",
    "event_dispatcher",
    "maint_notifications_config",
    "oss_cluster_maint_notifications_handler",
    "redis_connect_func",
    "retry",
    "retry_on_error",
    "ssl_ocsp_context",
}  # that YAML cannot write
FIELDS = frozenset(inspect.signature(redis.Redis).parameters) - _OBJECTS | {"ttl"}


class RedisHold:
    """Renewed by a thread while it is held."""

    token = 0

    def __init__(self, client: redis.Redis, name: str, ttl: float) -> None:
        # The thread that renews it has to know its token.
        self._lock = Lock(client, name, timeout=ttl, sleep=POLL_S, thread_local=False)
        self._name, self._ttl = name, ttl
        self._id = uuid.uuid4().hex  # the value of the key; known before it is set, whatever becomes of that
        self._is_over = threading.Event()

    def acquire(self, wait: float) -> bool:
        longest = None if math.isinf(wait) else wait
        acquired = self._lock.acquire(blocking=wait > 0, blocking_timeout=longest, token=self._id)
        if acquired:
            threading.Thread(target=self._renew, name=f"renews {self._name}", daemon=True).start()
        return bool(acquired)

    def release(self) -> None:
        self._is_over.set()
        try:
            self._lock.release()
        except LockNotOwnedError:
            raise LockLost(f"{self._name}: it was not renewed for {self._ttl} s, or its key was deleted") from None

    def abandon(self) -> None:
        self._is_over.set()
        threading.Thread(target=self._delete, name=f"gives {self._name} back", daemon=True).start()

    def _delete(self) -> None:
        """Where Redis does not answer, the key goes with its ttl."""
        self._lock.local.token = self._id.encode()
        with suppress(RedisError):
            self._lock.release()

    def _renew(self) -> None:
        pause = self._ttl / 3
        while not self._is_over.wait(pause):
            try:
                self._lock.extend(self._ttl, replace_ttl=True)
            except LockError:  # it is another's now, or nobody's; release() says so
                return
            except RedisError:  # Redis may be back in time
                pause = self._ttl / 10
            else:
                pause = self._ttl / 3


class RedisServer:
    def __init__(self, config: Mapping[str, Any]) -> None:
        arguments = {"socket_timeout": SOCKET_S, "socket_connect_timeout": SOCKET_S, **config}
        self._ttl = float(arguments.pop("ttl", TTL_S))
        _probe({**arguments, "socket_timeout": PROBE_S, "socket_connect_timeout": PROBE_S})
        self.client = redis.Redis(**arguments)

    def hold(self, name: str, *, shared: bool) -> Hold:
        """shared: it is exclusive all the same."""
        return RedisHold(self.client, name, self._ttl)

    def close(self) -> None:
        self.client.close()


def _probe(arguments: Mapping[str, Any]) -> None:
    """Raises Unreachable."""
    with redis.Redis(**arguments, retry=Retry(NoBackoff(), 0)) as client:
        try:
            client.ping()
        except RedisError as error:
            raise Unreachable(str(error)) from error
