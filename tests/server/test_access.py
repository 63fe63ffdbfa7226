"""Tokens over gRPC: who is let in, through which call, and until when."""

import asyncio
import hashlib
from typing import Any

import grpc
import pytest

from lockd.access.admission import Caller
from lockd.config import Auth, DeclaredToken
from lockd_client.proto import lockapi_pb2, lockd_pb2_grpc
from lockd_client.proto import lockd_pb2 as pb
from tests.eventually import async_eventually
from tests.server.node import WITHIN_S, Node, Refusal, Talk, running

ADMIN, CI, READER = "a" * 40, "c" * 40, "r" * 40


def hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


AUTH = Auth(
    tokens=(
        DeclaredToken(name="ops", role="admin", sha256=hashed(ADMIN)),
        DeclaredToken(name="ci", role="lock", prefixes=("ci/",), sha256=hashed(CI)),
        DeclaredToken(name="dashboard", role="read", sha256=hashed(READER)),
    )
)


def bearer(secret: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {secret}"),)


def on_a_node(scenario: Any, **limits: Any) -> None:
    async def run() -> None:
        async with running(auth=AUTH, **limits) as node:
            await scenario(node)

    asyncio.run(run())


async def ask(node: Node, secret: str, method: str, **fields: Any) -> Any:
    """Raises Refusal."""
    access = lockd_pb2_grpc.AccessServiceStub(node.channel)
    stub = next(each for each in (node.locks, access, node.cluster) if hasattr(each, method))
    try:
        return await getattr(stub, method)(getattr(pb, f"{method}Request")(**fields), metadata=bearer(secret))
    except grpc.aio.AioRpcError as error:
        raise Refusal(error) from error


def test_a_node_without_a_leader_does_not_judge_tokens_that_it_does_not_know():
    async def run() -> None:
        async with running(auth=AUTH, leads=False) as node:
            with pytest.raises(Refusal) as refusal:
                await ask(node, "w" * 40, "Status")
            assert (refusal.value.code.name, refusal.value.reason) == ("UNAVAILABLE", "NO_LEADER")
            assert await ask(node, READER, "Status"), "one that its file declares is known"

    asyncio.run(run())


async def refused(node: Node, secret: str, method: str, **fields: Any) -> str:
    with pytest.raises(Refusal) as refusal:
        await ask(node, secret, method, **fields)
    assert refusal.value.code.name == refusal.value.reason
    return refusal.value.reason


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", ADMIN),),
        (("authorization", f"Basic {ADMIN}"),),
        bearer("wrong"),
        bearer(ADMIN[:-1]),
        bearer(ADMIN) + bearer(CI),
    ],
)
def test_without_a_token_that_is_known_nothing_is_answered(metadata):
    async def scenario(node: Node) -> None:
        calls: list[Any] = [
            node.locks.Lock(pb.LockRequest(name="a"), metadata=metadata),
            node.locks.IsLocked(pb.IsLockedRequest(name="a", consistency=pb.STALE), metadata=metadata),
            node.cluster.Status(pb.StatusRequest(), metadata=metadata),
            node.lockapi.Lock(lockapi_pb2.LockName(name="a"), metadata=metadata),
            node.locks.Lock(pb.LockRequest(name="\0"), metadata=metadata),
        ]
        for call in calls:
            assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
            assert ADMIN not in (await call.details())
        for call in (node.locks.Stream(metadata=metadata), node.locks.Watch(pb.WatchRequest(), metadata=metadata)):
            assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert not node.replica.state.holds

    on_a_node(scenario)


def test_roles_and_prefixes():
    async def scenario(node: Node) -> None:
        assert (await ask(node, CI, "Lock", name="ci/a", wait_ms=0)).acquired
        assert await refused(node, CI, "Lock", name="db/a") == "PERMISSION_DENIED"
        assert await refused(node, CI, "Get", name="db/a", consistency=pb.STALE) == "PERMISSION_DENIED"
        assert await refused(node, CI, "List") == "PERMISSION_DENIED"
        assert await refused(node, READER, "Lock", name="ci/b") == "PERMISSION_DENIED"
        assert await refused(node, CI, "CreateToken", name="x", role=pb.ADMIN) == "PERMISSION_DENIED"
        held = await ask(node, READER, "List")
        assert [(holder.name, holder.identity) for holder in held.holders] == [("ci/a", "ci")]
        status = await ask(node, READER, "Status")
        assert status.refused == {"PERMISSION_DENIED": 5}

    on_a_node(scenario)


def test_what_is_another_identitys_is_let_alone_but_by_force():
    async def scenario(node: Node) -> None:
        token = (await ask(node, CI, "Lock", name="ci/a", ttl_ms=5_000)).token
        assert (await ask(node, ADMIN, "Unlock", token=token)).outcome == pb.NOT_HELD
        assert (await ask(node, ADMIN, "Renew", token=token, ttl_ms=60_000)).outcome == pb.NOT_HELD
        assert await refused(node, CI, "Unlock", token=token, force=True) == "PERMISSION_DENIED"
        watch = Talk(node.locks.Watch(pb.WatchRequest(), metadata=bearer(READER)))
        await watch.read()
        assert (await ask(node, ADMIN, "Unlock", token=token, force=True, reason="stuck", owner="ann@desk")).released
        (event,) = (await watch.read()).events
        assert (event.kind, event.token, event.reason) == (pb.EVENT_BROKEN, token, "stuck")
        assert (event.by, event.by_identity) == ("ann@desk", "ops")
        assert event.by_credential.startswith("file:")
        watch.call.cancel()

    on_a_node(scenario)


def test_a_session_is_its_identitys():
    async def scenario(node: Node) -> None:
        session = (await ask(node, CI, "OpenSession", ttl_ms=10_000)).session_id
        with pytest.raises(Refusal, match="SESSION_ENDED"):
            await ask(node, ADMIN, "KeepAlive", session_id=session)
        await ask(node, ADMIN, "CloseSession", session_id=session)
        assert (await ask(node, CI, "KeepAlive", session_id=session)).lease_remaining_ms > 0

    on_a_node(scenario)


def test_watching_shows_no_name_outside_of_the_prefixes():
    async def scenario(node: Node) -> None:
        watch = Talk(node.locks.Watch(pb.WatchRequest(prefix="ci/"), metadata=bearer(CI)))
        await watch.read()
        await ask(node, ADMIN, "Lock", wants=[pb.Want(name="db/secret"), pb.Want(name="ci/a")])
        (event,) = (await watch.read()).events
        assert [want.name for want in event.wants] == ["ci/a"]
        watch.call.cancel()
        outside = node.locks.Watch(pb.WatchRequest(prefix="c"), metadata=bearer(CI))
        assert await outside.code() is grpc.StatusCode.PERMISSION_DENIED

    on_a_node(scenario)


def test_an_answer_shows_no_holder_outside_of_the_prefixes():
    """Fencing tokens are numbers in a row: whoever names one that is another's asks what it holds."""

    async def scenario(node: Node) -> None:
        secret = (await ask(node, ADMIN, "Lock", name="db/secret", owner="ann", reason="payroll")).token
        plain = (await ask(node, ADMIN, "Lock", name="ci/a")).token
        for request in (
            None,
            pb.RequestId(id=b"once", not_after_ms=1_000_000),
            pb.RequestId(id=b"once", not_after_ms=1_000_000),
        ):
            answer = await ask(node, CI, "Unlock", token=secret, request=request)
            assert (answer.outcome, list(answer.holders)) == (pb.NOT_HELD, [])
        assert [holder.name for holder in (await ask(node, CI, "Unlock", token=plain)).holders] == ["ci/a"]
        assert [holder.name for holder in (await ask(node, ADMIN, "Unlock", token=99, name="db/secret")).holders]

    on_a_node(scenario)


def test_a_cycle_shows_no_wait_outside_of_the_prefixes():
    async def scenario(node: Node) -> None:
        ours = (await ask(node, CI, "OpenSession", ttl_ms=10_000)).session_id
        theirs = (await ask(node, ADMIN, "OpenSession", ttl_ms=10_000)).session_id
        mine: dict[str, Any] = {"session_id": ours, "agent": "ci-1", "wait_ms": -1}
        ops: dict[str, Any] = {"session_id": theirs, "wait_ms": -1}
        await ask(node, CI, "Lock", name="ci/a", **mine)
        await ask(node, ADMIN, "Lock", name="ci/b", agent="one", **ops)
        await ask(node, ADMIN, "Lock", name="db/c", agent="two", **ops)
        waits = [
            asyncio.ensure_future(ask(node, ADMIN, "Lock", name="db/c", agent="one", **ops)),
            asyncio.ensure_future(ask(node, ADMIN, "Lock", name="ci/a", agent="two", **ops)),
        ]
        await async_eventually(lambda: len(node.replica.state.waiters) == 2, WITHIN_S)
        cycle = (await ask(node, CI, "Lock", name="ci/b", **mine)).cycle
        assert [(link.agent, link.name) for link in cycle] == [("ci-1", "ci/b"), ("", ""), ("two", "ci/a")]
        for wait in waits:
            wait.cancel()

    on_a_node(scenario)


# -- tokens of the log


async def create(node: Node, secret: str, **fields: Any) -> int:
    asked = {"name": "new", "role": pb.LOCK, "secret_sha256": hashed(secret), **fields}
    id: int = (await ask(node, ADMIN, "CreateToken", **asked)).token_id
    return id


def test_a_token_is_made_used_shown_and_revoked():
    async def scenario(node: Node) -> None:
        id = await create(node, "n" * 40, prefixes=("new/",))
        assert (await ask(node, "n" * 40, "Lock", name="new/a")).acquired
        (shown,) = (await ask(node, ADMIN, "ListTokens")).tokens
        assert (shown.token_id, shown.name, shown.role, list(shown.prefixes)) == (id, "new", pb.LOCK, ["new/"])
        assert shown.created_by == "ops"
        assert (await ask(node, ADMIN, "RevokeToken", token_id=id)).revoked
        assert await refused(node, "n" * 40, "IsLocked", name="new/a") == "UNAUTHENTICATED"
        assert not (await ask(node, ADMIN, "RevokeToken", token_id=id)).revoked
        assert (await ask(node, ADMIN, "IsLocked", name="new/a")).is_locked, "what was done with it stays"

    on_a_node(scenario)


def test_an_admin_of_prefixes_makes_no_tokens():
    async def scenario(node: Node) -> None:
        await create(node, "n" * 40, role=pb.ADMIN, prefixes=("a/",))
        fields = {"name": "more", "role": pb.ADMIN, "secret_sha256": hashed("m" * 40)}
        assert await refused(node, "n" * 40, "CreateToken", **fields) == "PERMISSION_DENIED"

    on_a_node(scenario)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "name is no identity"),
        ({"name": "a b"}, "name is no identity"),
        ({"role": 0}, "role is 0; it takes 1"),
        ({"role": 9}, "role is 9; it takes 1"),
        ({"prefixes": [""]}, r"prefixes\[0\] is empty"),
        ({"prefixes": ["a\n"]}, r"prefixes\[0\] has the control character"),
        ({"prefixes": ["a"] * 65}, "prefixes has 65; the bound is 64"),
        ({"secret_sha256": b"short"}, "secret_sha256 has 5 bytes; a SHA-256 has 32"),
    ],
)
def test_a_token_that_cannot_be_made_names_the_field(fields, said):
    async def scenario(node: Node) -> None:
        good: dict[str, Any] = {"name": "new", "role": pb.READ, "secret_sha256": hashed("n" * 40)}
        with pytest.raises(Refusal, match=f"INVALID_ARGUMENT: {said}"):
            await ask(node, ADMIN, "CreateToken", **{**good, **fields})

    on_a_node(scenario)


def test_a_secret_belongs_to_one_token_and_tokens_have_a_limit():
    async def scenario(node: Node) -> None:
        await create(node, "n" * 40)
        with pytest.raises(Refusal, match="SECRET_IN_USE"):
            await create(node, "n" * 40, name="other")
        await create(node, "m" * 40)
        with pytest.raises(Refusal, match="LIMIT_REACHED: tokens_max: 2 of 2"):
            await create(node, "k" * 40)

    on_a_node(scenario, tokens_max=2)


def test_streams_and_watches_of_a_revoked_token_end():
    """The daemon looks for them all the time; here the test does."""

    async def scenario(node: Node) -> None:
        id = await create(node, "n" * 40)
        await ask(node, ADMIN, "Lock", name="a")
        stream = Talk(node.locks.Stream(metadata=bearer("n" * 40)))
        waits = pb.Operation(id=1, lock=pb.LockRequest(name="a", wait_ms=-1))
        await stream.send(waits)
        assert (await stream.result()).lock.outcome == pb.QUEUED
        watch = Talk(node.locks.Watch(pb.WatchRequest(), metadata=bearer("n" * 40)))
        await watch.read()
        other = Talk(node.locks.Stream(metadata=bearer(READER)))
        await other.send(pb.Operation(id=1, status=pb.StatusRequest()))
        await other.result()
        await ask(node, ADMIN, "RevokeToken", token_id=id)
        await stream.send(pb.Operation(id=2, is_locked=pb.IsLockedRequest(name="a")))
        assert (await stream.result()).error.reason == "UNAUTHENTICATED", "at once, whoever looks when"
        node.streams.end_unknown()
        node.watches.end_unknown()
        for talk in (stream, watch):
            with pytest.raises(Refusal, match="UNAUTHENTICATED"):
                await talk.read()
        await other.send(pb.Operation(id=2, status=pb.StatusRequest()))
        assert (await other.result()).status.node_id == 1, "others go on"
        other.call.cancel()
        await async_eventually(lambda: not node.replica.state.waiters, WITHIN_S)

    on_a_node(scenario)


def test_a_revoked_caller_that_does_not_read_leaves_the_queues():
    """The stream ends when the connection takes the end of it; what it asked for waits no longer."""

    async def scenario(node: Node) -> None:
        id = await create(node, "n" * 40)
        caller = Caller("peer", None, "new", f"token:{id}")
        is_stuck = asyncio.Event()
        requests: asyncio.Queue[pb.StreamRequest] = asyncio.Queue()

        async def send(data: bytes) -> None:
            is_stuck.set()
            await asyncio.Event().wait()

        held = (await ask(node, ADMIN, "Lock", name="a")).token
        stream = asyncio.ensure_future(node.streams.Stream(requests.get, caller, send))
        requests.put_nowait(pb.StreamRequest(operations=[pb.Operation(id=1, status=pb.StatusRequest())]))
        await is_stuck.wait()
        lock = pb.LockRequest(name="a", wait_ms=-1)
        requests.put_nowait(pb.StreamRequest(operations=[pb.Operation(id=2, lock=lock)]))
        await async_eventually(lambda: node.replica.state.waiters, WITHIN_S)
        await ask(node, ADMIN, "RevokeToken", token_id=id)
        node.streams.end_unknown()
        await async_eventually(lambda: not node.replica.state.waiters, WITHIN_S)
        assert not node.admission._waiting
        assert not node.unsent._bytes
        assert not stream.done()
        stream.cancel()
        assert (await ask(node, ADMIN, "Unlock", token=held)).released
        assert not node.replica.state.holds

    on_a_node(scenario)


def test_a_watch_ends_where_its_token_is_bound_to_other_prefixes():
    """cluster.yml may be read again. What would come has other names than the watcher may know of."""

    async def scenario(node: Node) -> None:
        watch = Talk(node.locks.Watch(pb.WatchRequest(prefix="ci/"), metadata=bearer(CI)))
        other = Talk(node.locks.Watch(pb.WatchRequest(prefix="ci/new/"), metadata=bearer(CI)))
        await watch.read()
        await other.read()
        bound = DeclaredToken(name="ci", role="lock", prefixes=("ci/new/",), sha256=hashed(CI))
        node.authority.declare(Auth(tokens=(AUTH.tokens[0], bound)))
        node.watches.end_unknown()
        await ask(node, ADMIN, "Lock", name="ci/new/a")
        with pytest.raises(Refusal, match="PERMISSION_DENIED"):
            await watch.read()
        assert (await other.read()).events, "what is still within them goes on"
        other.call.cancel()

    on_a_node(scenario)


async def at_once() -> None:
    pass


def test_streams_that_are_to_move_end_when_only_waits_are_left():
    async def scenario(node: Node) -> None:
        await ask(node, ADMIN, "Lock", name="a")
        stream = Talk(node.locks.Stream(metadata=bearer(ADMIN)))
        await stream.send(pb.Operation(id=1, lock=pb.LockRequest(name="a", wait_ms=-1)))
        assert (await stream.result()).lock.outcome == pb.QUEUED
        watch = Talk(node.locks.Watch(pb.WatchRequest(), metadata=bearer(ADMIN)))
        await watch.read()
        await node.streams.move(at_once)
        await node.watches.move(at_once)
        for talk in (stream, watch):
            with pytest.raises(Refusal, match="RECONNECT"):
                await talk.read()
        assert node.replica.state.waiters, "its client has time to come back for its place"

    on_a_node(scenario)


def test_a_message_over_the_limit_is_named():
    async def scenario(node: Node) -> None:
        with pytest.raises(Refusal, match=r"INVALID_ARGUMENT: message_bytes: the request has \d+ bytes"):
            await ask(node, ADMIN, "Lock", name="a" * 20_000)
        assert node.refusals.counts["message_bytes"] == 1

    on_a_node(scenario, message_bytes=16 * 1024)


def test_who_reads_no_answers_is_answered_no_more():
    """Unread ones wait in this node's memory."""

    async def scenario(node: Node) -> None:
        node.unsent.add("ci", 2**20 + 1)
        with pytest.raises(Refusal, match="LIMIT_REACHED: unsent_bytes_max: 1048577 bytes"):
            await ask(node, CI, "Get", name="ci/a")
        assert (await ask(node, READER, "Get", name="a")).clock_ms >= 0, "others are answered"
        stream = Talk(node.locks.Stream(metadata=bearer(CI)))
        await stream.send(pb.Operation(id=1, is_locked=pb.IsLockedRequest(name="ci/a")))
        reading = asyncio.ensure_future(stream.result())
        assert (await ask(node, READER, "Get", name="a")).clock_ms >= 0
        assert not reading.done()
        node.unsent.drop("ci", 2**20 + 1)
        assert (await reading).is_locked.clock_ms >= 0
        stream.call.cancel()
        await async_eventually(lambda: not node.unsent._bytes, WITHIN_S)

    on_a_node(scenario, unsent_bytes_max=2**20)
