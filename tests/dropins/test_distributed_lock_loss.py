"""Locks that are lost while they are held, and servers that fail under them."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.lock
from kazoo.client import KazooClient  # type: ignore[import-untyped]  # kazoo ships no types

from lockd_client import LockLost, NotOwned
from lockd_client.distributed_lock import get_lock, get_locking_client, update_config
from lockd_client.distributed_lock.choice import CHOICE
from lockd_client.distributed_lock.servers import TTL_S
from tests.dropins.peers import Peer, redis_server, zookeeper_server
from tests.eventually import eventually

WITHIN_S = 30.0


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> Iterator[None]:
    yield
    CHOICE.forget()


@pytest.fixture
def one_redis() -> Iterator[Peer]:
    with redis_server() as peer:
        use_redis(peer, ttl=1)
        yield peer


def use_redis(peer: Peer, **config: float) -> None:
    update_config([{"type": "redis", "config": {"host": peer.host, "port": peer.port, **config}}])


@pytest.fixture
def zookeeper() -> Iterator[Peer]:
    with zookeeper_server() as peer:
        update_config([{"type": "zookeeper", "config": {"hosts": peer.host, "port": peer.port}}])
        yield peer


def expire(client: KazooClient, peer: Peer) -> None:
    """Ends its session, as ZooKeeper does after its timeout: another connection takes it over and closes it."""
    heir = KazooClient(f"{peer.host}:{peer.port}", client_id=client.client_id)
    heir.start(timeout=WITHIN_S)
    heir.stop()
    heir.close()


def test_a_key_that_was_deleted_in_redis_is_a_lost_lock(one_redis: Peer, tmp_path: Path) -> None:
    lock = get_lock(tmp_path / "x")
    with pytest.raises(LockLost, match=r"x: it was not renewed for 1\.0 s, or its key was deleted"), lock:
        assert get_locking_client().delete(lock.name) == 1
    with pytest.raises(NotOwned):
        lock.release()
    with lock:
        pass


def test_the_key_of_another_is_not_deleted(one_redis: Peer, tmp_path: Path) -> None:
    lock = get_lock(tmp_path / "x")
    with pytest.raises(LockLost), lock:
        get_locking_client().set(lock.name, "another's")
    assert get_locking_client().get(lock.name) == b"another's"


def test_a_redis_that_comes_back_empty_has_lost_the_locks(one_redis: Peer, tmp_path: Path) -> None:
    with pytest.raises(LockLost), get_lock(tmp_path / "x"):
        one_redis.kill()
        again = redis_server(one_redis.port)
        again.__enter__()
    again.__exit__(None, None, None)


def test_a_redis_whose_answers_stay_away_for_less_than_the_ttl_loses_nothing(one_redis: Peer, tmp_path: Path) -> None:
    use_redis(one_redis, ttl=3, socket_timeout=0.1)
    client = redis.Redis(port=one_redis.port)
    lock = get_lock(tmp_path / "x")
    with lock:
        eventually(lambda: int(client.pttl(lock.name)) < 2500, WITHIN_S)
        client.execute_command("CLIENT", "PAUSE", 900, "ALL")  # past the first renewal
        eventually(lambda: int(client.pttl(lock.name)) > 2700, WITHIN_S)
    client.close()


def test_a_renewal_that_fails_is_made_again(one_redis: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once redis-py has given up repeating it."""
    failures: list[Exception] = [redis.TimeoutError(), redis.ConnectionError()]
    extend = redis.lock.Lock.extend

    def failing_at_first(*arguments: Any, **options: Any) -> bool:
        if failures:
            raise failures.pop()
        return extend(*arguments, **options)

    monkeypatch.setattr(redis.lock.Lock, "extend", failing_at_first)
    use_redis(one_redis, ttl=3)
    with get_lock(tmp_path / "x") as lock:
        client = get_locking_client()
        eventually(lambda: int(client.pttl(lock.name)) < 2000, WITHIN_S)
        eventually(lambda: int(client.pttl(lock.name)) > 2500, WITHIN_S)
    assert failures == []


def test_locks_in_redis_are_those_of_redis_py_under_the_same_key(one_redis: Peer, tmp_path: Path) -> None:
    """Programs that use redis.Redis.lock() with the name are kept out, and keep out."""
    lock = get_lock(tmp_path / "x")
    theirs = get_locking_client().lock(lock.name, timeout=30)
    with lock:
        assert theirs.acquire(blocking=False) is False
    with theirs:
        assert lock.acquire(timeout=0.3) is False


def test_without_a_ttl_a_hold_in_redis_lives_half_a_minute_without_renewal(one_redis: Peer, tmp_path: Path) -> None:
    use_redis(one_redis)
    with get_lock(tmp_path / "x") as lock:
        assert 0 < get_locking_client().pttl(lock.name) <= TTL_S * 1000


@pytest.mark.parametrize("kind", ["redis", "zookeeper"])
def test_the_exception_of_the_body_is_not_masked_by_the_loss(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    peer = request.getfixturevalue("one_redis" if kind == "redis" else "zookeeper")
    with pytest.raises(ZeroDivisionError) as raised, get_lock(tmp_path / "x") as lock:
        if kind == "redis":
            get_locking_client().delete(lock.name)
        else:
            expire(get_locking_client(), peer)
        _ = 1 / 0
    (note,) = raised.value.__notes__
    assert note.startswith("while the lock was released: LockLost: ")


def test_a_session_of_zookeeper_that_expired_is_a_lost_lock(zookeeper: Peer, tmp_path: Path) -> None:
    lock = get_lock(tmp_path / "x")
    with pytest.raises(LockLost, match="x: the session with ZooKeeper had expired"), lock:
        expire(get_locking_client(), zookeeper)
    with lock:
        pass


def test_a_release_waits_for_a_zookeeper_that_stands_still(zookeeper: Peer, tmp_path: Path) -> None:
    lock = get_lock(tmp_path / "x")
    lock.acquire()
    with ThreadPoolExecutor(1) as thread:
        os.kill(zookeeper.process.pid, signal.SIGSTOP)
        releasing = thread.submit(lock.release)
        eventually(releasing.running, WITHIN_S)
        os.kill(zookeeper.process.pid, signal.SIGCONT)
        releasing.result(WITHIN_S)
    assert lock.acquire(timeout=WITHIN_S) is True


def test_an_acquire_that_fails_leaves_the_object_free_to_be_used_again(tmp_path: Path) -> None:
    with redis_server() as peer:
        use_redis(peer)
        lock = get_lock(tmp_path / "x")
        peer.kill()
        with pytest.raises(redis.ConnectionError):
            lock.acquire()
        with redis_server(peer.port):
            assert lock.acquire(timeout=WITHIN_S) is True
            lock.release()
