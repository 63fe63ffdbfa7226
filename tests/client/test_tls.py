"""TLS and tokens against a node that asks for them, also while they are replaced."""

import asyncio
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from lockd_client import (
    AsyncLockdClient,
    InvalidArgument,
    LockdClient,
    LockdError,
    LockLost,
    OutcomeUnknown,
    Unauthenticated,
    Unavailable,
)
from lockd_client.proto import lockd_pb2
from tests.certificates import Authority
from tests.client.fake_node import Fail, FakeNode, State
from tests.client.guard import Guard
from tests.eventually import async_eventually, eventually

TOKEN = "lockd_" + "t" * 40
OTHER = "lockd_" + "o" * 40
WITHIN_S = 20.0
LONG_S = 60.0  # of a call that must end by itself
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
def node(authority: Authority) -> Iterator[FakeNode]:
    with FakeNode(guard=Guard(tokens={TOKEN}, tls=authority.node(1))) as node:
        yield node


def replace(path: Path, content: str | bytes) -> None:
    """At once, as whoever replaces a file in use should."""
    beside = path.with_name("beside")
    beside.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(beside, path)


def used(node: FakeNode, token: str, method: str = "Stream") -> bool:
    return any(path.endswith(f"/{method}") and carried == token for path, carried in node.guard.seen)


# ---- what travels


def test_every_call_carries_the_token(node: FakeNode, authority: Authority) -> None:
    node.state.events.append(lockd_pb2.Event(revision=1, token=7))
    with LockdClient(port=node.port, token=TOKEN, cacert=authority.ca) as client:
        assert client.try_lock("a", ttl=30)
        assert client.Lock("b")
        assert client.status(node.endpoint).node_id == 1
        assert next(client.watch(from_revision=1)).token == 7
    assert {token for _, token in node.guard.seen} == {TOKEN}
    assert {path.rpartition("/")[2] for path, _ in node.guard.seen} == {"Stream", "Lock", "Status", "Watch"}


def test_every_call_of_asyncio_carries_the_token(node: FakeNode, authority: Authority) -> None:
    node.state.events.append(lockd_pb2.Event(revision=1, token=7))

    async def use() -> None:
        async with AsyncLockdClient(port=node.port, token=TOKEN, cacert=authority.ca) as client:
            assert await client.try_lock("a", ttl=30)
            assert await client.Lock("b")
            assert (await client.status(node.endpoint)).node_id == 1
            watch = client.watch(from_revision=1)
            assert (await anext(watch)).token == 7
            await watch.aclose()  # type: ignore[attr-defined]  # it is a generator

    asyncio.run(use())
    assert {token for _, token in node.guard.seen} == {TOKEN}
    assert {path.rpartition("/")[2] for path, _ in node.guard.seen} == {"Stream", "Lock", "Status", "Watch"}


def test_a_client_with_a_certificate(authority: Authority) -> None:
    cert, key = authority.client("ann")
    with (
        FakeNode(guard=Guard(tls=authority.node(1), client_ca=authority.ca)) as node,
        LockdClient(port=node.port, cacert=authority.ca, cert=cert, key=key) as client,
    ):
        assert client.try_lock("a", ttl=30)


def test_without_cacert_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeNode(guard=Guard(tokens={TOKEN})) as node:
        monkeypatch.setenv("LOCKD_TOKEN", TOKEN)
        with LockdClient(port=node.port) as client:
            assert client.try_lock("a", ttl=30)


# ---- what does not fit together ends at once, in words


def failing(node: FakeNode, **credentials: Any) -> list[Unavailable]:
    """How calls fail there, of both clients."""
    with LockdClient(port=node.port, timeout=LONG_S, **credentials) as client:
        with pytest.raises(Unavailable) as blocking:
            client.try_lock("a", ttl=30)
        with pytest.raises(Unavailable):
            client.status(node.endpoint)
        with pytest.raises(Unavailable) as watching:
            next(client.watch())

    async def use() -> Unavailable:
        async with AsyncLockdClient(port=node.port, timeout=LONG_S, **credentials) as client:
            with pytest.raises(Unavailable) as refused:
                await client.try_lock("a", ttl=30)
            return refused.value

    assert node.seen == []
    return [blocking.value, watching.value, asyncio.run(use())]


def test_a_node_of_another_authority(node: FakeNode, tmp_path: Path) -> None:
    for error in failing(node, cacert=Authority(tmp_path / "other").ca):
        assert "TLS handshake failed: its certificate was not issued by an authority in cacert" in str(error)
        assert "nothing was changed" in str(error)


def test_a_certificate_that_has_expired(authority: Authority) -> None:
    short = authority.node(2, days=1e-9)
    with FakeNode(guard=Guard(tls=short)) as node:
        for error in failing(node, cacert=authority.ca):
            assert "TLS handshake failed: its certificate has expired" in str(error)


def test_a_certificate_for_another_host(authority: Authority) -> None:
    with FakeNode(guard=Guard(tls=authority.node(2, "db1.example.org"))) as node:
        for error in failing(node, cacert=authority.ca):
            assert "TLS handshake failed: its certificate is for another name or address" in str(error)


def test_a_node_without_tls(authority: Authority) -> None:
    with FakeNode() as node:
        for error in failing(node, cacert=authority.ca):
            assert "TLS handshake failed: the node does not speak TLS there: leave out cacert" in str(error)


def test_a_client_without_tls(node: FakeNode) -> None:
    for error in failing(node):
        assert "the node closed the connection at once: if it asks for TLS, give cacert" in str(error)


def test_a_client_without_the_certificate_that_is_asked_for(authority: Authority, tmp_path: Path) -> None:
    cert, key = Authority(tmp_path / "other").client("eve")
    with FakeNode(guard=Guard(tls=authority.node(1), client_ca=authority.ca)) as node:
        for error in failing(node, cacert=authority.ca):
            assert "TLS handshake failed: if the node asks for a client's certificate, give cert and key" in str(error)
        for error in failing(node, cacert=authority.ca, cert=cert, key=key):
            assert "TLS handshake failed: the node may not accept this client's certificate" in str(error)


def test_a_node_that_does_not_fit_is_passed_over(node: FakeNode, authority: Authority) -> None:
    with (
        FakeNode(1, state=node.state) as plain,
        LockdClient(endpoints=[plain.endpoint, node.endpoint], token=TOKEN, cacert=authority.ca) as client,
    ):
        assert client.try_lock("a", ttl=30)


# ---- a node that does not know the caller


def test_an_unknown_token_fails_at_once(node: FakeNode, authority: Authority) -> None:
    with LockdClient(port=node.port, timeout=LONG_S, token=OTHER, cacert=authority.ca) as client:
        for call in (
            lambda: client.try_lock("a", ttl=30),
            lambda: client.Lock("a"),
            lambda: client.status(node.endpoint),
            lambda: next(client.watch()),
            lambda: client.lock("a").acquire(),
        ):
            with pytest.raises(Unauthenticated, match="Check its token .*LOCKD_TOKEN") as refused:
                call()
            assert refused.value.reason == "UNAUTHENTICATED"
            assert OTHER not in "".join(traceback.format_exception(refused.value)) + repr(refused.value)
    assert node.seen == []


def test_a_token_that_was_revoked(node: FakeNode, authority: Authority, token_file: Path) -> None:
    with LockdClient(port=node.port, timeout=LONG_S, token_file=token_file, cacert=authority.ca) as client:
        assert client.try_lock("a", ttl=30)
        node.guard.tokens = set()
        node.break_streams(UNAUTHENTICATED, "UNAUTHENTICATED")
        with pytest.raises(Unauthenticated):
            client.is_locked("a")
        with pytest.raises(Unauthenticated):
            client.is_locked("a")


def test_calls_in_flight_when_a_token_is_revoked(node: FakeNode, authority: Authority) -> None:
    """What only reads was refused; what changes something may have been carried out."""
    with LockdClient(port=node.port, timeout=LONG_S, token=TOKEN, cacert=authority.ca) as client:
        client.status()
        node.before += [node.hang, node.hang]
        ends: list[Exception] = []

        def use(call: Callable[[], object]) -> None:
            try:
                call()
            except LockdError as error:
                ends.append(error)

        calls = [lambda: client.try_lock("a", ttl=30), lambda: client.is_locked("a")]
        threads = [threading.Thread(target=use, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        eventually(lambda: sum(len(message.operations) for message in node.messages) == 3, WITHIN_S)
        node.guard.tokens = set()
        node.break_streams(UNAUTHENTICATED, "UNAUTHENTICATED")
        for thread in threads:
            thread.join()
        node.resume()
    assert {type(error) for error in ends} == {OutcomeUnknown, Unauthenticated}


def test_a_watch_of_a_token_that_was_revoked(node: FakeNode, authority: Authority, token_file: Path) -> None:
    node.state.events.append(lockd_pb2.Event(revision=1, token=7))
    with LockdClient(port=node.port, timeout=LONG_S, token_file=token_file, cacert=authority.ca) as client:
        watch = client.watch(from_revision=1)
        assert next(watch).token == 7
        node.guard.tokens = {OTHER}
        replace(token_file, OTHER)
        node.state.events.append(lockd_pb2.Event(revision=2, token=8))
        node.after.append(Fail(UNAUTHENTICATED, "UNAUTHENTICATED"))
        assert next(watch).token == 8
        node.state.events.append(lockd_pb2.Event(revision=3, token=9))
        assert next(watch).token == 9
        assert used(node, OTHER, "Watch")
        node.guard.tokens = set()
        node.after.append(Fail(UNAUTHENTICATED, "UNAUTHENTICATED"))
        with pytest.raises(Unauthenticated):
            next(watch)


def test_what_is_held_by_a_token_that_was_revoked_is_lost(node: FakeNode, authority: Authority) -> None:
    with LockdClient(port=node.port, timeout=LONG_S, token=TOKEN, cacert=authority.ca) as client:
        lock = client.lock("a", ttl=2)
        lock.acquire()
        node.guard.tokens = set()
        node.break_streams(UNAUTHENTICATED, "UNAUTHENTICATED")
        assert lock.lost.wait(WITHIN_S)
        with pytest.raises(LockLost):
            lock.check()


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

            async def load(name: str) -> int:
                done = 0
                while not stop:
                    answer = await client.try_lock(name, ttl=30)
                    assert await client.unlock(answer.token)
                    assert not await client.IsLocked(name)
                    done += 1
                return done

            tasks = [asyncio.create_task(load(str(n))) for n in range(4)]
            node.guard.tokens = {TOKEN, OTHER}
            replace(token_file, OTHER)
            await async_eventually(lambda: used(node, OTHER), WITHIN_S)
            node.guard.tokens = {OTHER}
            node.break_streams(UNAUTHENTICATED, "UNAUTHENTICATED", TOKEN)
            replace(authority.ca, authority.ca.read_bytes() * 2)
            await async_eventually(lambda: len(set(node.peers_of_streams)) == 2, WITHIN_S)
            await async_eventually(lambda: not client._transport._channels._retired, WITHIN_S)
            node.break_streams(reason="RECONNECT")
            await async_eventually(lambda: len(set(node.peers_of_streams)) == 3, WITHIN_S)
            stop = True
            assert all(await asyncio.gather(*tasks))
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
