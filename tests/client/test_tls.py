"""TLS and tokens against a node that asks for them."""

import asyncio
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockd_client import (
    AsyncLockdClient,
    LockdClient,
    LockdError,
    LockLost,
    OutcomeUnknown,
    Unauthenticated,
    Unavailable,
)
from lockd_client.proto import lockd_pb2
from tests.certificates import Authority
from tests.client.fake_node import Fail, FakeNode
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
from tests.eventually import eventually


def arrived(node: FakeNode) -> set[str | None]:
    """What was asked on streams."""
    return {operation.WhichOneof("what") for message in node.messages for operation in message.operations}


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
        eventually(lambda: arrived(node) == {"status", "lock", "is_locked"}, WITHIN_S)
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
