"""Callers without a token, or with one that is not good for what they ask: by every way in, at any node.

What a leader does with a command whose node let it through, because it had not applied a revocation yet, is in
tests/engine/test_denials.py.
"""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import grpc
import pytest

from lockd_client import LockdClient, methods
from lockd_client.proto import lockapi_pb2
from lockd_client.proto import lockd_pb2 as pb
from tests.eventually import eventually
from tests.integration.cluster import Cluster, new_secret, running
from tests.integration.raw import CALL_S, OPTIONS, reason_of

WITHIN_S = 20.0
UNAUTHENTICATED, DENIED = "UNAUTHENTICATED", "PERMISSION_DENIED"


class Way(NamedTuple):
    method: methods.Method[Any, Any]
    request: Any


def reads(name: str) -> dict[str, Way]:
    stale: Any = {"consistency": pb.STALE}
    return {
        "IsLocked": Way(methods.IS_LOCKED, pb.IsLockedRequest(name=name)),
        "Get": Way(methods.GET, pb.GetRequest(name=name)),
        "List": Way(methods.LIST, pb.ListRequest(prefix=name)),
        "CheckToken": Way(methods.CHECK_TOKEN, pb.CheckTokenRequest(name=name, token=1)),
        "IsLocked, STALE": Way(methods.IS_LOCKED, pb.IsLockedRequest(name=name, **stale)),
        "Get, STALE": Way(methods.GET, pb.GetRequest(name=name, **stale)),
        "List, STALE": Way(methods.LIST, pb.ListRequest(prefix=name, **stale)),
        "ListRegistered": Way(methods.LIST_REGISTERED, pb.ListRegisteredRequest(kind=pb.RESOURCE, name=name)),
        "IsLocked by name": Way(methods.IS_LOCKED_BY_NAME, lockapi_pb2.LockName(name=name)),
        "Watch": Way(methods.WATCH, pb.WatchRequest(prefix=name)),
    }


def writes(name: str) -> dict[str, Way]:
    both = [pb.Want(name=f"{name}/2"), pb.Want(name=f"{name}/3")]
    return {
        "Lock": Way(methods.LOCK, pb.LockRequest(name=f"{name}/1", ttl_ms=60_000)),
        "Lock of a set": Way(methods.LOCK, pb.LockRequest(wants=both, ttl_ms=60_000)),
        "Unlock": Way(methods.UNLOCK, pb.UnlockRequest(token=1, name=name)),
        "Lock by name": Way(methods.LOCK_BY_NAME, lockapi_pb2.LockName(name=f"{name}/4")),
        "Unlock by name": Way(methods.UNLOCK_BY_NAME, lockapi_pb2.LockName(name=f"{name}/4")),
        "Register": Way(methods.REGISTER, pb.RegisterRequest(kind=pb.RESOURCE, name=f"{name}/5")),
    }


SESSIONS = {
    "OpenSession": Way(methods.OPEN_SESSION, pb.OpenSessionRequest(ttl_ms=10_000)),
    "KeepAlive": Way(methods.KEEP_ALIVE, pb.KeepAliveRequest(session_id=1)),
    "Renew": Way(methods.RENEW, pb.RenewRequest(token=1, ttl_ms=10_000)),
    "Unregister": Way(methods.UNREGISTER, pb.UnregisterRequest(kind=pb.CLIENT, id=2**53)),
}

ADMINS = {
    "CreateToken": Way(methods.CREATE_TOKEN, pb.CreateTokenRequest(name="eve", role=pb.ADMIN, secret_sha256=b"e" * 32)),
    "ListTokens": Way(methods.LIST_TOKENS, pb.ListTokensRequest()),
    "RevokeToken": Way(methods.REVOKE_TOKEN, pb.RevokeTokenRequest(token_id=1)),
}

STATUS = {"Status": Way(methods.STATUS, pb.StatusRequest())}


def force(token: int) -> dict[str, Way]:
    return {"Unlock by force": Way(methods.UNLOCK, pb.UnlockRequest(token=token, force=True, reason="mine"))}


class Door:
    """A node, as somebody with these headers meets it."""

    def __init__(self, cluster: Cluster, id: int, *headers: str) -> None:
        credentials = grpc.ssl_channel_credentials(cluster.secured.authority.ca.read_bytes())
        self.channel = grpc.secure_channel(cluster.nodes[id].endpoint, credentials, options=OPTIONS)
        self._metadata = tuple(("authorization", header) for header in headers)

    def __enter__(self) -> "Door":
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def reasons(self, ways: Mapping[str, Way]) -> dict[str, set[str]]:
        """Why each was refused, by both calls and streams; an empty reason: it was not."""
        found = {name: {self.ask(way)} for name, way in ways.items()}
        for name, way in ways.items():
            if way.method.field:
                found[name].add(self.operation(way))
        return found

    def ask(self, way: Way, refused: str = "") -> str:
        """refused: the reason where there is no connection."""
        method = way.method
        kind = self.channel.unary_stream if method is methods.WATCH else self.channel.unary_unary
        call = kind(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString,
        )
        try:
            answer = call(way.request, timeout=CALL_S, metadata=self._metadata)
            if method is methods.WATCH:
                next(answer)
                answer.cancel()
        except grpc.RpcError as error:
            return reason_of(error) or refused
        return ""

    def operation(self, way: Way) -> str:
        """By a stream: it, or its one operation, is refused."""
        operation = pb.Operation(id=1, **{way.method.field: way.request})
        try:
            answers = list(self.stream(iter([pb.StreamRequest(operations=[operation])])))
        except grpc.RpcError as error:
            return reason_of(error)
        (result,) = (result for answer in answers for result in answer.results)
        return str(result.error.reason)

    def stream(self, requests: Iterator[pb.StreamRequest]) -> Any:
        call = self.channel.stream_stream(
            methods.STREAM.path,
            request_serializer=pb.StreamRequest.SerializeToString,
            response_deserializer=pb.StreamResponse.FromString,
        )
        return call(requests, timeout=CALL_S, metadata=self._metadata)

    def watch(self) -> Any:
        call = self.channel.unary_stream(
            methods.WATCH.path,
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        return call(pb.WatchRequest(), timeout=CALL_S, metadata=self._metadata)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("callers"), tls="none") as cluster:
        yield cluster


@pytest.fixture(params=["the leader", "a follower"])
def id(request: pytest.FixtureRequest, cluster: Cluster) -> int:
    leader = cluster.wait_until_whole()
    return leader if request.param == "the leader" else cluster.others(leader)[0]


@pytest.fixture(scope="module")
def admin(cluster: Cluster) -> Iterator[LockdClient]:
    with cluster.client() as client:
        yield client


@pytest.fixture
def held(admin: LockdClient) -> Iterator[int]:
    """The token of a lock that is held; nothing that is refused changes anything."""
    answer = admin.try_lock("db/held", ttl=600)
    before, tokens = list(admin.list()), admin.list_tokens()
    yield answer.token
    assert [(each.name, each.token) for each in admin.list()] == [(each.name, each.token) for each in before]
    assert admin.list_tokens() == tokens
    assert admin.unlock(answer.token).released


def all_of(reason: str, ways: Mapping[str, Way]) -> dict[str, set[str]]:
    return {name: {reason} for name in ways}


def test_an_admin_may_do_all_of_it(cluster: Cluster, id: int, admin: LockdClient) -> None:
    """What the others are refused is refused to them, and not to everybody."""
    own = {name: way for name, way in SESSIONS.items() if name == "OpenSession"}  # the others need what it answers
    ways = {**reads("free"), **writes("free"), **own, **ADMINS, **STATUS}
    with Door(cluster, id, f"Bearer {cluster.secured.secret('admin')}") as door:
        assert door.reasons(ways) == all_of("", ways)
    for token in {holder.token for holder in admin.list("free")}:
        assert admin.break_hold(token, reason="the test is over").released
    for each in admin.list_tokens():
        admin.revoke_token(each.id)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("",),
        ("Bearer",),
        ("Bearer ",),
        ("Bearer " + "x" * 43,),
        ("Bearer {another}",),
        ("Basic YWRtaW46YWRtaW4=",),
        ("Bearer {admin}", "Bearer {admin}"),
        ("Bearer {admin}x",),
        ("Bearer {hash}",),
        ("{admin}",),
    ],
)
def test_without_a_token_that_is_known_there_is_nothing(
    cluster: Cluster, id: int, held: int, headers: tuple[str, ...]
) -> None:
    secret = cluster.secured.secret("admin")
    hash = hashlib.sha256(secret.encode()).hexdigest()
    ways = {**reads("db/held"), **writes("db/held"), **SESSIONS, **ADMINS, **STATUS, **force(held)}
    with Door(
        cluster, id, *(header.format(admin=secret, hash=hash, another=new_secret()) for header in headers)
    ) as door:
        assert door.reasons(ways) == all_of(UNAUTHENTICATED, ways)


def test_outside_of_its_prefix_a_token_is_good_for_nothing(cluster: Cluster, id: int, held: int) -> None:
    ways = {**reads("db/held"), **writes("db/held"), **reads("c"), **writes("cx"), **ADMINS, **force(held)}
    with Door(cluster, id, f"Bearer {cluster.secured.secret('ci')}") as door:
        assert door.reasons(ways) == all_of(DENIED, ways)
        assert door.reasons(reads("ci/")) == all_of("", reads("ci/"))


def test_a_role_that_is_too_small(cluster: Cluster, id: int, held: int) -> None:
    reader = {**writes("db/held"), **SESSIONS, **ADMINS, **force(held)}
    with Door(cluster, id, f"Bearer {cluster.secured.secret('dashboard')}") as door:
        assert door.reasons(reader) == all_of(DENIED, reader)
        assert door.reasons(reads("db/held")) == all_of("", reads("db/held"))
    with cluster.client(id) as admin:
        locker = admin.create_token("locker", "lock")
        try:
            with Door(cluster, id, f"Bearer {locker.secret}") as door:
                ways = {**ADMINS, **force(held)}
                assert door.reasons(ways) == all_of(DENIED, ways)
        finally:
            admin.revoke_token(locker.id)


def test_a_revoked_token(cluster: Cluster, id: int, held: int, admin: LockdClient) -> None:
    """At another node than the one that it is used at. What goes through the log is refused from then on; what a node
    says from what it has applied, when it has applied that.
    """
    token = admin.create_token("robot", "lock")
    with Door(cluster, id, f"Bearer {token.secret}") as door, cluster.client(*cluster.others(id)) as elsewhere:
        eventually(lambda: door.ask(STATUS["Status"]) == "", WITHIN_S)
        everything = {**reads("db/held"), **SESSIONS, **STATUS}
        assert UNAUTHENTICATED not in set().union(*door.reasons(everything).values())
        assert elsewhere.revoke_token(token.id)
        local = ("Watch", "Status", "IsLocked, STALE", "Get, STALE", "List, STALE")
        ways = {
            name: way
            for name, way in {**reads("db/held"), **writes("db/held"), **SESSIONS, **ADMINS, **force(held)}.items()
            if name not in local
        }
        assert door.reasons(ways) == all_of(UNAUTHENTICATED, ways)
        eventually(lambda: door.ask(STATUS["Status"]) == UNAUTHENTICATED, WITHIN_S)
        ways = {**reads("db/held"), **writes("db/held"), **SESSIONS, **ADMINS, **STATUS, **force(held)}
        assert door.reasons(ways) == all_of(UNAUTHENTICATED, ways)


@pytest.mark.parametrize("keeps_its_store", [True, False])
def test_a_node_that_comes_back_refuses_no_token_that_was_made_meanwhile(
    cluster: Cluster, admin: LockdClient, keeps_its_store: bool
) -> None:
    away = cluster.others(cluster.wait_until_whole())[0]
    cluster.stop(away)
    if not keeps_its_store:
        cluster.empty_data_directory(away)
    token = admin.create_token("robot", "lock")
    cluster.start(away)
    seen: set[str] = set()

    def is_let_in() -> bool:
        with Door(cluster, away, f"Bearer {token.secret}") as door:  # one that was refused a connection would wait
            seen.add(door.ask(STATUS["Status"], refused="no connection"))
        return "" in seen

    eventually(is_let_in, WITHIN_S)
    admin.revoke_token(token.id)
    assert seen <= {"", "NO_LEADER", "no connection"}


def test_streams_and_watches_of_a_revoked_token_end(cluster: Cluster, id: int, held: int, admin: LockdClient) -> None:
    token = admin.create_token("robot", "lock")
    with Door(cluster, id, f"Bearer {token.secret}") as door:
        hold_open = iter(lambda: eventually(lambda: ended, WITHIN_S), None)
        ended: list[str] = []
        first = pb.StreamRequest(operations=[pb.Operation(id=1, status=pb.StatusRequest())])

        def requests() -> Iterator[pb.StreamRequest]:
            yield first
            next(hold_open)

        eventually(lambda: door.ask(STATUS["Status"]) == "", WITHIN_S)
        stream, watch = door.stream(requests()), door.watch()
        assert len(list(islice(stream, 1))) == len(list(islice(watch, 1))) == 1
        assert admin.revoke_token(token.id)
        for call in (stream, watch):
            with pytest.raises(grpc.RpcError) as caught:
                list(call)
            ended.append(reason_of(caught.value))
        assert ended == [UNAUTHENTICATED, UNAUTHENTICATED]
