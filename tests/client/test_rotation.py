"""Tokens and certificates that are replaced while clients use them."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from lockd_client import (
    AsyncLockdClient,
    InvalidArgument,
    LockdClient,
    LockdError,
    Unauthenticated,
    Unavailable,
)
from lockd_client.proto import lockd_pb2
from tests.certificates import Authority
from tests.client.fake_node import Fail, FakeNode
from tests.client.fake_state import State
from tests.client.guard import Guard
from tests.client.secured import (
    LONG_S,
    OTHER,
    TOKEN,
    UNAUTHENTICATED,
    WITHIN_S,
    replace,
    used,
)
from tests.eventually import async_eventually, eventually

# ---- what is replaced while a client runs


class Load:
    """Threads that lock and unlock until it is left, and how their calls failed."""

    def __init__(self, client: LockdClient, threads: int = 4) -> None:
        self.client = client
        self.done = 0
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(str(n),)) for n in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self) -> None:
        before = self.done
        eventually(lambda: self.done > before + 20 or self.errors, WITHIN_S)

    def _run(self, name: str) -> None:
        while not self._stop.is_set():
            try:
                answer = self.client.try_lock(name, ttl=30)
                assert answer.acquired
                assert self.client.unlock(answer.token)
                assert self.client.IsLocked(name) is False
                self.done += 1
            except (LockdError, AssertionError) as error:
                self.errors.append(repr(error))
                return


def retired(client: LockdClient) -> bool:
    return bool(client._transport._channels._retired)


def test_a_new_token_is_used_without_a_failed_call(node: FakeNode, authority: Authority, token_file: Path) -> None:
    client = LockdClient(port=node.port, timeout=LONG_S, token_file=token_file, cacert=authority.ca)
    with client, Load(client) as load:
        node.guard.tokens = {TOKEN, OTHER}
        replace(token_file, OTHER)
        eventually(lambda: used(node, OTHER), WITHIN_S)
        load.goes_on()
        node.guard.tokens = {OTHER}
        node.break_streams(UNAUTHENTICATED, "UNAUTHENTICATED", TOKEN)
        load.goes_on()
    assert load.errors == []
    assert len(set(node.peers_of_streams)) == 1  # a token needs no other connection


def test_a_token_that_is_revoked_after_it_was_replaced(node: FakeNode, authority: Authority, token_file: Path) -> None:
    client = LockdClient(port=node.port, timeout=LONG_S, token_file=token_file, cacert=authority.ca)
    with client, Load(client) as load:
        replace(token_file, OTHER)
        node.guard.tokens = {OTHER}
        node.break_streams(UNAUTHENTICATED, "UNAUTHENTICATED", TOKEN)
        load.goes_on()
        assert used(node, OTHER)
    assert load.errors == []


def test_a_token_that_is_not_known_yet_harms_nobody(node: FakeNode, authority: Authority, token_file: Path) -> None:
    with LockdClient(port=node.port, timeout=LONG_S, token_file=token_file, cacert=authority.ca) as client:
        assert client.try_lock("a", ttl=30)
        replace(token_file, OTHER)
        eventually(lambda: used(node, OTHER), WITHIN_S)
        assert client.is_locked("a")
        node.guard.tokens = {TOKEN, OTHER}
        before = len(node.peers_of_streams)
        eventually(lambda: len(node.peers_of_streams) > before, WITHIN_S)
        assert client.is_locked("a")


def test_new_certificates_are_used_without_a_failed_call(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.client("ann")
    guard = Guard(tls=authority.node(1), client_ca=authority.ca)
    with FakeNode(guard=guard) as node:
        client = LockdClient(port=node.port, timeout=LONG_S, cacert=authority.ca, cert=cert, key=key)
        with client, Load(client) as load:
            later = Authority(tmp_path / "later")
            replace(authority.ca, authority.ca.read_bytes() + later.ca.read_bytes())
            eventually(lambda: len(set(node.peers_of_streams)) == 2, WITHIN_S)
            guard.tls = later.node(1)
            new_cert, new_key = later.client("ann")
            replace(cert, new_cert.read_bytes())
            load.goes_on()
            replace(key, new_key.read_bytes())
            eventually(lambda: len(set(node.peers_of_streams)) == 3, WITHIN_S)
            replace(authority.ca, later.ca.read_bytes())
            eventually(lambda: len(set(node.peers_of_streams)) == 4, WITHIN_S)
            load.goes_on()
        assert load.errors == []


def test_the_calls_of_asyncio_go_over_too(node: FakeNode, authority: Authority, token_file: Path) -> None:
    async def use() -> None:
        client = AsyncLockdClient(port=node.port, timeout=LONG_S, token_file=token_file, cacert=authority.ca)
        async with client:
            stop = False

            done = 0

            async def load(name: str) -> None:
                nonlocal done
                while not stop:
                    answer = await client.try_lock(name, ttl=30)
                    assert await client.unlock(answer.token)
                    assert not await client.IsLocked(name)
                    done += 1

            async def seen(condition: Callable[[], object]) -> None:
                """While no call has failed."""
                await async_eventually(lambda: condition() or any(task.done() for task in tasks), WITHIN_S)
                await asyncio.gather(*(task for task in tasks if task.done()))

            tasks = [asyncio.create_task(load(str(n))) for n in range(4)]
            node.guard.tokens = {TOKEN, OTHER}
            replace(token_file, OTHER)
            await seen(lambda: used(node, OTHER))
            node.guard.tokens = {OTHER}
            node.break_streams(UNAUTHENTICATED, "UNAUTHENTICATED", TOKEN)
            replace(authority.ca, authority.ca.read_bytes() * 2)
            await seen(lambda: len(set(node.peers_of_streams)) == 2)
            await seen(lambda: not client._transport._channels._retired)
            before = done
            await seen(lambda: done > before + 20)
            node.break_streams(reason="RECONNECT")
            await seen(lambda: len(set(node.peers_of_streams)) == 3)
            stop = True
            await asyncio.gather(*tasks)
            node.guard.tokens = set()
            node.break_streams(UNAUTHENTICATED, "UNAUTHENTICATED")
            with pytest.raises(Unauthenticated):
                await client.is_locked("a")

    asyncio.run(use())


def test_a_wait_keeps_its_place_while_the_token_is_replaced(
    node: FakeNode, authority: Authority, token_file: Path
) -> None:
    client = LockdClient(port=node.port, timeout=LONG_S, token_file=token_file, cacert=authority.ca)
    with client:
        first = client.try_lock("a", ttl=0)
        waiting = threading.Thread(target=client.lock("a", ttl=0).acquire)
        waiting.start()
        eventually(lambda: node.state.waiters, WITHIN_S)
        node.guard.tokens = {TOKEN, OTHER}
        replace(token_file, OTHER)
        eventually(lambda: used(node, OTHER), WITHIN_S)
        client.unlock(first.token)
        waiting.join()
    assert len(node.calls(lockd_pb2.LockRequest)) == 2


# ---- a node that wants another connection


def test_another_connection_to_the_same_node(authority: Authority) -> None:
    state, guard = State(), Guard(tls=authority.node(1))
    with (
        FakeNode(1, state=state, guard=guard) as node,
        FakeNode(1, state=state, guard=Guard(tls=authority.node(2))) as other,
        LockdClient(endpoints=[node.endpoint, other.endpoint], timeout=LONG_S, cacert=authority.ca) as client,
        Load(client) as load,
    ):
        for turn in range(2, 5):
            node.break_streams(reason="RECONNECT")
            eventually(lambda turn=turn: len(set(node.peers_of_streams)) == turn, WITHIN_S)  # type: ignore[misc]
            load.goes_on()
            eventually(lambda: not retired(client), WITHIN_S)
        assert load.errors == []
        assert other.peers_of_streams == []


def test_a_unary_call_that_is_to_come_by_another_connection() -> None:
    with FakeNode() as node, LockdClient(port=node.port) as client:
        client.status()
        node.before.append(Fail(grpc.StatusCode.UNAVAILABLE, "RECONNECT"))
        assert client.Lock("a")  # it carries no id, so it goes out again only where nothing was done
        node.before_status.append(Fail(grpc.StatusCode.UNAVAILABLE, "RECONNECT"))
        assert client.status(node.endpoint).node_id == 1


def test_a_node_that_is_never_content(authority: Authority) -> None:
    """Calls end with their timeout, and the node is asked a bounded number of times."""
    with FakeNode() as node, LockdClient(port=node.port, timeout=1.5) as client:
        node.before_status += [Fail(grpc.StatusCode.UNAVAILABLE, "RECONNECT")] * 1000
        with pytest.raises(Unavailable, match="RECONNECT"):
            client.is_locked("a")
        with pytest.raises(Unavailable, match="RECONNECT"):
            client.status(node.endpoint)
        assert len(node.before_status) > 950


def test_a_watch_by_another_connection() -> None:
    with FakeNode() as node, FakeNode() as other:
        node.state.events.append(lockd_pb2.Event(revision=1, token=7))
        with LockdClient(endpoints=[node.endpoint, other.endpoint]) as client:
            watch = client.watch(from_revision=1)
            assert next(watch).token == 7
            node.after.append(Fail(grpc.StatusCode.UNAVAILABLE, "RECONNECT"))
            eventually(lambda: not node.after, WITHIN_S)
            node.state.events.append(lockd_pb2.Event(revision=2, token=8))
            assert next(watch).token == 8
        assert other.seen == []


def test_a_leader_beyond_loopback_is_not_told_a_token_in_clear() -> None:
    with (
        FakeNode(1, leader_id=2, guard=Guard(tokens={TOKEN})) as node,
        LockdClient(port=node.port, token=TOKEN) as client,
    ):
        node.leader_address = "192.0.2.1:2080"
        assert client.try_lock("a", ttl=30)
        assert client._transport._engine.links.better is None
        with pytest.raises(InvalidArgument):
            client.status("192.0.2.1:2080")


def test_a_child_goes_on_with_tls(node: FakeNode, authority: Authority) -> None:
    from tests.client.test_fork import run

    out = run(
        f"""
        import os
        from lockd_client import LockdClient
        client = LockdClient(token={TOKEN!r}, cacert={str(authority.ca)!r})
        print(client.try_lock("before", ttl=0).acquired, flush=True)
        child = os.fork()
        if child == 0:
            print(client.try_lock("child", ttl=0).acquired, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(client.try_lock("parent", ttl=0).acquired)
        """,
        node,
    )
    assert out.split() == ["True"] * 3
