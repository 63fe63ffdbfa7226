"""Tokens that are made, listed and revoked by a client."""

import asyncio
import hashlib
from collections.abc import Iterator

import grpc
import pytest

from lockd_client import (
    AccessToken,
    AsyncLockdClient,
    InvalidArgument,
    LockdClient,
    OutcomeUnknown,
    PermissionDenied,
    RequestId,
    Role,
    translate,
)
from lockd_client.proto import lockd_pb2
from tests.client.fake_node import Fail, FakeNode

BROKE_OFF = Fail(grpc.StatusCode.UNAVAILABLE)


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


@pytest.fixture
def client(node: FakeNode) -> Iterator[LockdClient]:
    with LockdClient(port=node.port) as client:
        yield client


def test_a_token_is_made_and_its_secret_stays_here(node: FakeNode, client: LockdClient) -> None:
    made = client.create_token("ci", role="lock", prefixes=["ci/", "db/"])
    assert (made.id, made.name, made.role, made.prefixes) == (1, "ci", Role.LOCK, ("ci/", "db/"))
    assert made.secret.startswith("lockd_")
    assert len(made.secret) == len("lockd_") + 43
    assert made.secret not in repr(made)
    (request,) = node.guard.access.requests
    assert request.secret_sha256 == hashlib.sha256(made.secret.encode()).digest()
    assert made.secret.encode() not in request.SerializeToString()
    assert (request.name, request.role, list(request.prefixes)) == ("ci", lockd_pb2.LOCK, ["ci/", "db/"])
    assert client.create_token("ci", "lock").secret != made.secret


def test_a_call_whose_answer_is_lost_acts_once(node: FakeNode, client: LockdClient) -> None:
    node.guard.access.after.append(BROKE_OFF)
    made = client.create_token("ci", Role.ADMIN)
    assert list(node.guard.access.created) == [made.id]
    first, second = node.guard.access.requests
    assert first.secret_sha256 == second.secret_sha256
    assert (first.request.client, first.request.sequence) == (second.request.client, second.request.sequence)


def test_what_became_of_a_call_can_be_asked_with_the_same_secret(node: FakeNode) -> None:
    secret = "s" * 32
    node.guard.access.after += [BROKE_OFF] * 1000
    with LockdClient(port=node.port, timeout=1) as client:
        with pytest.raises(OutcomeUnknown) as unknown:
            client.create_token("ci", "read", secret=secret)
        assert secret not in str(unknown.value)
        node.guard.access.after.clear()
        request = unknown.value.request
        assert isinstance(request, RequestId)
        made = client.create_token("ci", "read", secret=secret, request=request)
    assert (made.id, made.secret) == (1, secret)
    assert list(node.guard.access.created) == [1]


def test_tokens_are_listed_page_by_page_and_revoked(node: FakeNode, client: LockdClient) -> None:
    for name in "abcde":
        client.create_token(name, "read", [f"{name}/"])
    listed = client.list_tokens()
    assert [token.name for token in listed] == list("abcde")
    assert listed[0] == AccessToken(
        id=1, name="a", role=Role.READ, prefixes=("a/",), created_ms=1000, created_by="admin"
    )
    assert client.revoke_token(3) is True
    assert client.revoke_token(3) is False
    assert [token.id for token in client.list_tokens()] == [1, 2, 4, 5]
    for token in listed:
        client.revoke_token(token.id)
    assert client.list_tokens() == ()


def test_the_same_with_asyncio(node: FakeNode) -> None:
    async def use() -> None:
        async with AsyncLockdClient(port=node.port) as client:
            made = await client.create_token("ci", "lock")
            assert [token.id for token in await client.list_tokens()] == [made.id]
            assert await client.revoke_token(made.id)
            assert await client.list_tokens() == ()

    asyncio.run(use())


def test_arguments_that_are_none(node: FakeNode, client: LockdClient) -> None:
    with pytest.raises(InvalidArgument, match="role is 'owner'; it is one of read, lock, admin"):
        client.create_token("ci", "owner")
    with pytest.raises(InvalidArgument, match=r"prefixes is a list, as in prefixes=\['ci/'\]"):
        client.create_token("ci", "lock", "ci/")
    with pytest.raises(InvalidArgument, match="secret has 5 characters"):
        client.create_token("ci", "lock", secret="short")
    with pytest.raises(InvalidArgument):
        client.create_token("\ud800", "lock")
    with pytest.raises(InvalidArgument):
        client.revoke_token(-1)
    assert node.guard.access.requests == []


def test_whoever_may_not(node: FakeNode, client: LockdClient) -> None:
    node.guard.access.before.append(Fail(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", "needs admin"))
    with pytest.raises(PermissionDenied, match="Use the token .* of one that may.*needs admin"):
        client.create_token("ci", "lock")


def test_a_role_of_a_newer_node() -> None:
    assert translate.role_of(99) is None
    assert [translate.role_of(translate.role_message(role)) for role in Role] == list(Role)


# ---- what nodes say of callers


def test_identities(node: FakeNode, client: LockdClient) -> None:
    client.try_lock("a", ttl=0)
    assert client.holders("a")[0].identity == ""
    node.holds["a"].identity = "ci"
    assert client.holders("a")[0].identity == "ci"
    (waiter,) = translate.waiters_of([lockd_pb2.Waiter(name="a", identity="ann")], 0)
    assert waiter.identity == "ann"
    event = translate.event_of(lockd_pb2.Event(by="me", by_identity="admin", by_credential="token 7"))
    assert (event.by, event.by_identity, event.by_credential) == ("me", "admin", "token 7")
    status = translate.status_of(lockd_pb2.StatusResponse(refused={"UNAUTHENTICATED": 3}))
    assert status.refused == {"UNAUTHENTICATED": 3}
    assert hash(status)
