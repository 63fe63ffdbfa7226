"""The original with a real Redis, and ours with a real node, for the tests that hold the two against each other."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import redis
import redis.lock
from redis.exceptions import LockError

from lockd_client.redis_lock import Lock
from tests.dropins.peers import Peer
from tests.integration.cluster import Cluster

TIMEOUT_S = 2.0  # the shortest that a node takes
WITHIN_S = 20.0


class OverRedis:
    lock_class: Any = redis.lock.Lock

    def __init__(self, server: Peer) -> None:
        self.client = redis.Redis(port=server.port)

    def lock(self, name: Any = "a", **options: Any) -> Any:
        return redis.lock.Lock(self.client, name, **options)

    def remaining(self, name: str = "a") -> float:
        return int(self.client.pttl(name)) / 1000

    def lose(self, name: str = "a") -> None:
        assert self.client.delete(name) == 1

    def close(self) -> None:
        self.client.flushall()
        self.client.close()


class OverLockd:
    lock_class: Any = Lock

    def __init__(self, cluster: Cluster) -> None:
        self.client = cluster.client()

    def lock(self, name: Any = "a", **options: Any) -> Any:
        return Lock(self.client, name, **options)

    def remaining(self, name: str = "a") -> float:
        (holder,) = self.client.holders(name)
        return holder.lease_remaining

    def lose(self, name: str = "a") -> None:
        (holder,) = self.client.holders(name)
        assert self.client.break_hold(holder.token, reason="a test")

    def close(self) -> None:
        for holder in list(self.client.list()):
            self.client.unlock(holder.token)
        self.client.close()


Side = OverRedis | OverLockd


def check_not_held(lock: Any, kind: type[Exception]) -> None:
    """kind: what exactly all calls raise that need a held lock."""
    for call in (lock.release, lock.reacquire, partial(lock.extend, 10)):
        token = lock.local.token
        with pytest.raises(LockError) as caught:
            call()
        assert type(caught.value) is kind
        lock.local.token = token
    assert not lock.owned()


def in_another_thread(call: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(WITHIN_S)
