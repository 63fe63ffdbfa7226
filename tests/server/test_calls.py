"""The calls of lockd.v1, one by one, as a client of gRPC has them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from lockd_client.proto import lockapi_pb2
from lockd_client.proto import lockd_pb2 as pb
from tests.eventually import async_eventually
from tests.server.node import WITHIN_S, Node, Refusal, running

CLIENT = bytes(range(16))


def on_a_node(scenario: Callable[[Node], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with running(**settings) as node:
            await scenario(node)

    asyncio.run(run())


def request(sequence: int, **fields: Any) -> pb.RequestId:
    return pb.RequestId(client=CLIENT, sequence=sequence, not_after_ms=240_000, **fields)


async def refusal(call: Awaitable[Any]) -> Refusal:
    with pytest.raises(Refusal) as raised:
        await call
    return raised.value


# -- locks


def test_a_lock_is_taken_shown_renewed_and_released():
    async def scenario(node: Node) -> None:
        lock = await node.lock("a", ttl_ms=60_000, owner="me", reason="why", metadata={"job": "1"})
        assert (lock.outcome, lock.acquired, lock.token, lock.count) == (pb.GRANTED, True, 1, 1)
        assert lock.lease_remaining_ms == 60_000
        found = (await node.get("a")).holders[0]
        assert (found.name, found.token, found.owner, found.reason) == ("a", 1, "me", "why")
        assert (found.mode, found.ttl_ms, found.count, found.names) == (pb.EXCLUSIVE, 60_000, 1, 1)
        assert dict(found.metadata) == {"job": "1"}
        assert (await node.ask("Renew", token=1, ttl_ms=80_000)).lease_remaining_ms == 80_000
        assert (await node.ask("CheckToken", name="a", token=1)).is_current
        assert (await node.ask("IsLocked", name="a")).is_locked
        unlock = await node.unlock(token=1, name="a")
        assert (unlock.outcome, unlock.released, unlock.count) == (pb.RELEASED, True, 0)
        assert (await node.unlock(token=1)).outcome == pb.NOT_HELD
        assert (await node.ask("Renew", token=1, ttl_ms=80_000)).outcome == pb.NOT_HELD
        assert not (await node.ask("CheckToken", name="a", token=1)).is_current

    on_a_node(scenario)


def test_a_lock_that_is_held_is_answered_with_its_holder_or_waited_for():
    async def scenario(node: Node) -> None:
        held = await node.lock("a", owner="first")
        at_once = await node.lock("a")
        assert (at_once.outcome, at_once.acquired) == (pb.HELD_BY_OTHER, False)
        assert [holder.owner for holder in at_once.holders] == ["first"]
        waiting = asyncio.ensure_future(node.lock("a", wait_ms=60_000, owner="second"))
        found = await node.waiters("a", 1)
        assert [(waiter.owner, waiter.position) for waiter in found.waiters] == [("second", 0)]
        await node.unlock(token=held.token)
        granted = await waiting
        assert (granted.outcome, granted.token) == (pb.GRANTED, held.token + 1)

    on_a_node(scenario)


def test_a_wait_that_ends_is_an_answer():
    async def scenario(node: Node) -> None:
        await node.lock("a", owner="first")
        late = await node.lock("a", wait_ms=1)
        assert (late.outcome, late.holders[0].owner) == (pb.TIMED_OUT, "first")

    on_a_node(scenario, default_deadline_ms=5_000)


def test_a_set_is_taken_whole():
    async def scenario(node: Node) -> None:
        wants = [pb.Want(name="a"), pb.Want(name="b", mode=pb.SHARED)]
        granted = await node.lock(wants=wants)
        assert granted.acquired
        assert (await node.lock("b", mode=pb.SHARED)).acquired
        refused = await node.lock(wants=[pb.Want(name="b"), pb.Want(name="c")])
        assert [holder.names for holder in refused.holders] == [2, 1]
        assert not (await node.ask("IsLocked", name="c")).is_locked

    on_a_node(scenario)


def test_a_lock_delay_shows_until_when_it_lasts():
    async def scenario(node: Node) -> None:
        held = await node.lock("a", lock_delay_ms=60_000)
        broken = await node.unlock(token=held.token, force=True, reason="stuck", owner="operator")
        assert broken.released
        refused = await node.lock("a")
        assert refused.outcome == pb.HELD_BY_OTHER
        assert refused.delayed_until_ms > refused.clock_ms
        found = await node.ask("IsLocked", name="a")
        assert (found.is_locked, found.delayed_until_ms) == (False, refused.delayed_until_ms)

    on_a_node(scenario)


def test_lists_are_filtered_and_come_in_pages():
    async def scenario(node: Node) -> None:
        for number in range(4):
            await node.lock(f"jobs/{number}", mode=number % 2, owner=f"owner{number // 2}")
        await node.lock("other")
        page = await node.ask("List", prefix="jobs/", limit=3)
        assert [holder.name for holder in page.holders] == ["jobs/0", "jobs/1", "jobs/2"]
        rest = await node.ask("List", prefix="jobs/", after=page.next, with_waiters=True)
        assert ([holder.name for holder in rest.holders], rest.next) == (["jobs/3"], "")
        shared = await node.ask("List", owner="owner0", mode=pb.ONLY_SHARED)
        assert [holder.name for holder in shared.holders] == ["jobs/1"]

    on_a_node(scenario)


# -- sessions


def test_a_session_holds_and_frees():
    async def scenario(node: Node) -> None:
        opened = await node.ask("OpenSession", ttl_ms=5_000, owner="me")
        assert (opened.ttl_ms, opened.lease_remaining_ms) == (5_000, 5_000)
        session = opened.session_id
        held = await node.lock("a", session_id=session, agent="t1")
        again = await node.lock("a", session_id=session, agent="t1", reentrant=True)
        assert (again.token, again.count) == (held.token, 2)
        upgrade = [await node.lock("b", session_id=session, agent="t1", mode=pb.SHARED)]
        upgrade += [await node.lock("b", session_id=session, agent="t1", reentrant=True)]
        assert [one.outcome for one in upgrade] == [pb.GRANTED, pb.UPGRADE_REFUSED]
        assert (await node.unlock(name="a", session_id=session, agent="t1")).count == 1
        assert (await node.ask("KeepAlive", session_id=session)).lease_remaining_ms == 5_000
        assert (await refusal(node.ask("Renew", token=held.token, ttl_ms=5_000))).reason == "IN_SESSION"
        await node.ask("CloseSession", session_id=session)
        assert not (await node.ask("IsLocked", name="a")).is_locked
        ended = await refusal(node.ask("KeepAlive", session_id=session))
        assert (ended.code, ended.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_ENDED")

    on_a_node(scenario)


def test_a_deadlock_is_an_answer_that_names_the_cycle():
    async def scenario(node: Node) -> None:
        ann, bob = await node.open_session(), await node.open_session()
        await node.lock("a", session_id=ann, agent="t", owner="ann")
        await node.lock("b", session_id=bob, agent="t", owner="bob")
        waiting = asyncio.ensure_future(node.lock("b", session_id=ann, agent="t", owner="ann", wait_ms=-1))
        await node.waiters("b", 1)
        refused = await node.lock("a", session_id=bob, agent="t", owner="bob", wait_ms=-1)
        assert refused.outcome == pb.DEADLOCK
        assert [(link.owner, link.name) for link in refused.cycle] == [("bob", "a"), ("ann", "b")]
        await node.ask("CloseSession", session_id=bob)
        assert (await waiting).acquired

    on_a_node(scenario)


# -- request ids


def test_a_repeated_request_is_answered_as_it_was():
    async def scenario(node: Node) -> None:
        first = await node.lock("a", request=request(1), attempt=1)
        again = await node.lock("a", request=request(1), attempt=2)
        assert (again.outcome, again.token) == (pb.GRANTED, first.token)
        other = await refusal(node.lock("b", request=request(1)))
        assert (other.code, other.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ID_REUSED")
        await node.unlock(token=first.token, request=request(2, answered_below=2))
        answered = await refusal(node.lock("a", request=request(1)))
        assert (answered.code, answered.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ANSWERED")
        free = pb.RequestId(id=b"anything", not_after_ms=240_000)
        tokens = {(await node.lock("c", request=free)).token for _ in range(2)}
        assert len(tokens) == 1

    on_a_node(scenario)


def test_a_later_attempt_takes_the_place_of_an_earlier_one():
    async def scenario(node: Node) -> None:
        held = await node.lock("a")
        attempts = []
        for attempt in (1, 2):
            attempts.append(asyncio.ensure_future(node.lock("a", wait_ms=-1, request=request(1), attempt=attempt)))
            await node.waiters("a", 1)
        superseded = await refusal(attempts[0])
        assert (superseded.code, superseded.reason) == (grpc.StatusCode.ABORTED, "SUPERSEDED")
        await node.unlock(token=held.token)
        assert (await attempts[1]).acquired

    on_a_node(scenario)


def test_cancel_ends_a_wait_and_forestalls_a_lock_that_has_not_come():
    async def scenario(node: Node) -> None:
        await node.lock("a")
        waiting = asyncio.ensure_future(node.lock("a", wait_ms=-1, request=request(1)))
        await node.waiters("a", 1)
        assert (await node.ask("Cancel", request=request(1))).outcome == pb.CANCELLED
        assert (await waiting).outcome == pb.CANCELLED
        await node.ask("Cancel", request=request(2))
        assert (await node.lock("b", request=request(2))).outcome == pb.CANCELLED
        await node.ask("Cancel", request=request(3))
        cancelled = await refusal(node.ask("OpenSession", ttl_ms=5_000, request=request(3)))
        assert (cancelled.code, cancelled.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CANCELLED")

    on_a_node(scenario)


# -- deadlines and callers that go


def test_a_deadline_bounds_the_wait_and_the_waiter_leaves():
    async def scenario(node: Node) -> None:
        await node.lock("a")
        refused = await refusal(node.lock("a", wait_ms=-1, deadline_s=0.2))
        assert (refused.code, refused.reason) in (
            (grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN"),
            (grpc.StatusCode.DEADLINE_EXCEEDED, ""),
        )
        await node.waiters("a", 0)

    on_a_node(scenario)


def test_a_wait_is_not_bounded_by_the_default_for_work():
    async def scenario(node: Node) -> None:
        held = await node.lock("a")
        waits = [asyncio.ensure_future(node.lock(name, wait_ms=wait)) for name, wait in (("a", 60_000), ("a", -1))]
        await node.waiters("a", 2)
        await async_eventually(lambda: node.admission.clock_ms > 300, WITHIN_S)
        await node.unlock(token=held.token)
        first = await waits[0]
        assert first.acquired
        await node.unlock(token=first.token)
        assert (await waits[1]).acquired

    on_a_node(scenario, default_deadline_ms=100)


def test_a_caller_that_breaks_off_leaves_no_waiter():
    async def scenario(node: Node) -> None:
        await node.lock("a")
        waiting = asyncio.ensure_future(node.lock("a", wait_ms=-1))
        await node.waiters("a", 1)
        waiting.cancel()
        await node.waiters("a", 0)

    on_a_node(scenario)


def test_without_a_leader_nothing_is_done_and_that_is_said():
    async def scenario(node: Node) -> None:
        refused = await refusal(node.lock("a", deadline_s=0.3))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "NO_LEADER")
        assert "lockd-leader" not in refused.trailers
        status = await node.cluster.Status(pb.StatusRequest())
        assert (status.leader_id, status.leader_address) == (0, "")
        stale = await node.ask("IsLocked", name="a", consistency=pb.STALE)
        assert stale.HasField("staleness"), "what the node itself knows can be asked for"

    on_a_node(scenario, leads=False)


# -- the rest of an answer


def test_stale_reads_say_how_old_they_are():
    async def scenario(node: Node) -> None:
        await node.lock("a")
        for method in ("IsLocked", "Get"):
            answer = await node.ask(method, name="a", consistency=pb.STALE)
            assert [holder.name for holder in answer.holders] == ["a"]
            assert (answer.staleness.applied_index, answer.staleness.news_age_ms) == (node.replica.journal.applied, 0)
        assert len((await node.ask("List", consistency=pb.STALE)).holders) == 1
        assert not (await node.ask("Get", name="a")).HasField("staleness")

    on_a_node(scenario)


def test_every_answer_says_who_leads():
    async def scenario(node: Node) -> None:
        call = node.locks.IsLocked(pb.IsLockedRequest(name="a"))
        await call
        assert dict(await call.trailing_metadata())["lockd-leader"] == "127.0.0.1:2080"
        refused = await refusal(node.lock(""))
        assert refused.trailers["lockd-leader"] == "127.0.0.1:2080"

    on_a_node(scenario)


def test_status_counts():
    async def scenario(node: Node) -> None:
        session = await node.open_session()
        await node.lock("a")
        waiting = asyncio.ensure_future(node.lock("a", session_id=session, wait_ms=-1))
        await node.waiters("a", 1)
        status = await node.cluster.Status(pb.StatusRequest())
        assert (status.held_locks, status.waiters, status.sessions, status.revision) == (1, 1, 1, 2)
        assert (status.role, status.leader_id, status.leader_address) == ("leader", 1, "127.0.0.1:2080")
        await node.ask("CloseSession", session_id=session)
        assert (await refusal(waiting)).reason == "SESSION_ENDED"

    on_a_node(scenario)


@pytest.mark.parametrize(
    ("method", "fields", "message"),
    [
        ("Lock", {"name": "a", "wants": [pb.Want(name="b")]}, "wants stands beside name and mode"),
        ("Lock", {"mode": pb.SHARED, "wants": [pb.Want(name="b")]}, "wants stands beside name and mode"),
        ("Lock", {"name": "a", "mode": 7}, "mode is 7; it takes 0 to 1"),
        ("Lock", {"name": "a", "request": pb.RequestId(id=b"x", sequence=1, not_after_ms=1)}, "request.id stands"),
        ("Lock", {"name": "a", "request": pb.RequestId(client=CLIENT, not_after_ms=1)}, "request.sequence is 0"),
        ("Cancel", {}, "request.id has 0 bytes"),
        ("List", {"mode": 9}, "mode is 9; it takes 0 to 2"),
        ("Get", {"name": "a", "consistency": 2}, "consistency is 2; it takes 0 to 1"),
        ("Get", {"name": "", "consistency": pb.STALE}, "name is empty"),
    ],
)
def test_requests_out_of_bounds_are_refused(method, fields, message):
    async def scenario(node: Node) -> None:
        refused = await refusal(node.ask(method, **fields))
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
        assert refused.message.startswith(message)

    on_a_node(scenario)


def test_bytes_that_are_no_request_are_an_invalid_argument():
    async def scenario(node: Node) -> None:
        call: Any = node.channel.unary_unary("/lockd.v1.LockService/Lock")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(b"\x0a\x01\xff")
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert Refusal(raised.value).message.startswith("LockRequest does not decode")

    on_a_node(scenario)


# -- lockapi


def test_lockapi_frees_only_what_it_took():
    async def scenario(node: Node) -> None:
        foo, bar = lockapi_pb2.LockName(name="foo"), lockapi_pb2.LockName(name="bar")
        assert (await node.lockapi.Lock(foo)).success
        assert not (await node.lockapi.Lock(foo)).success
        assert (await node.lockapi.IsLocked(foo)).is_locked
        assert (await node.lockapi.Unlock(foo)).success
        assert not (await node.lockapi.Unlock(foo)).success
        await node.lock("bar")
        assert not (await node.lockapi.Unlock(bar)).success

    on_a_node(scenario)
