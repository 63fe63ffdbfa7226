"""LockService.Stream: many operations on one connection, answered as they end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from lockd.access.admission import Caller
from lockd.access.audit import Refusals
from lockd.access.authority import Authority
from lockd.config import Limits
from lockd.machine.state import State
from lockd.server import stream as module
from lockd.server.room import Room
from lockd.server.turns import STARTS_A_TURN
from lockd.server.unsent import Unsent
from lockd_client.proto import lockd_pb2 as pb
from tests.eventually import async_eventually
from tests.server.node import WITHIN_S, Node, Refusal, Talk, running


def on_a_node(scenario: Callable[[Node], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with running(**settings) as node:
            await scenario(node)

    asyncio.run(run())


def lock(id: int, name: str, *, timeout_ms: int = 0, **fields: Any) -> pb.Operation:
    return pb.Operation(id=id, timeout_ms=timeout_ms, lock=pb.LockRequest(name=name, **fields))


def unlock(id: int, token: int) -> pb.Operation:
    return pb.Operation(id=id, unlock=pb.UnlockRequest(token=token))


def is_locked(id: int, name: str, *, timeout_ms: int = 0, **fields: Any) -> pb.Operation:
    return pb.Operation(id=id, timeout_ms=timeout_ms, is_locked=pb.IsLockedRequest(name=name, **fields))


def error(result: pb.Result) -> tuple[int, str, str]:
    assert result.WhichOneof("what") == "error", result
    return result.error.code, result.error.reason, result.error.message


def test_every_operation_is_answered_under_its_id():
    async def scenario(node: Node) -> None:
        session = await node.open_session()
        operations = [
            lock(1, "a", session_id=session, agent="t1"),
            is_locked(2, "b"),
            pb.Operation(id=3, get=pb.GetRequest(name="a")),
            pb.Operation(id=4, list=pb.ListRequest()),
            pb.Operation(id=5, keep_alive=pb.KeepAliveRequest(session_id=session)),
            pb.Operation(id=6, open_session=pb.OpenSessionRequest(ttl_ms=5_000)),
            pb.Operation(id=7, check_token=pb.CheckTokenRequest(name="a", token=1)),
            pb.Operation(id=8, status=pb.StatusRequest()),
            pb.Operation(id=9, cancel=pb.CancelRequest(request=pb.RequestId(id=b"x"))),
            is_locked(10, "a", consistency=pb.STALE),
            pb.Operation(id=11, renew=pb.RenewRequest(token=99, ttl_ms=5_000)),
            unlock(12, 99),
            pb.Operation(id=13, close_session=pb.CloseSessionRequest(session_id=session)),
        ]
        async with node.stream(*operations) as talk:
            results = await talk.results(len(operations))
            assert talk.leader_address == "127.0.0.1:2080"
        for operation in operations:
            assert results[operation.id].WhichOneof("what") == operation.WhichOneof("what")
        assert results[1].lock.acquired
        assert [holder.name for holder in results[3].get.holders] == ["a"]
        assert results[8].status.leader_id == 1
        assert results[10].is_locked.HasField("staleness")
        assert {operation.WhichOneof("what") for operation in operations} == {
            field.name for field in pb.Operation.DESCRIPTOR.oneofs_by_name["what"].fields
        }

    on_a_node(scenario)


def test_what_ends_together_is_answered_in_one_message():
    async def scenario(node: Node) -> None:
        async with node.stream(*(lock(number, f"name{number}") for number in range(50))) as talk:
            first = await talk.read()
            assert len(first.results) == 50

    on_a_node(scenario)


def test_a_lock_that_waits_says_so_first_and_holds_nothing_up():
    async def scenario(node: Node) -> None:
        held = await node.lock("a")
        async with node.stream(lock(1, "a", wait_ms=-1), lock(2, "a", wait_ms=-1)) as talk:
            queued = [await talk.result(), await talk.result()]
            assert [(result.id, result.lock.outcome) for result in queued] == [(1, pb.QUEUED), (2, pb.QUEUED)]
            assert [result.lock.queue_position for result in queued] == [0, 1]
            await talk.send(is_locked(3, "a"), unlock(4, held.token))
            results = await talk.results(3)
            assert results[3].is_locked.is_locked
            assert results[4].unlock.released
            assert results[1].lock.acquired

    on_a_node(scenario)


def test_an_operation_that_is_wrong_is_answered_and_the_others_go_on():
    async def scenario(node: Node) -> None:
        await node.lock("held")
        wrong = [lock(1, ""), pb.Operation(id=2), lock(3, "held", wait_ms=-1), is_locked(4, "a", consistency=7)]
        async with node.stream(*wrong, is_locked(5, "held")) as talk:
            results = await talk.results(5)
            code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            assert error(results[1]) == (code, "INVALID_ARGUMENT", "name is empty; it takes 1 to 512 bytes")
            assert error(results[2]) == (
                code,
                "INVALID_ARGUMENT",
                "operations: 2 asks for nothing that this node knows",
            )
            assert results[3].lock.outcome == pb.QUEUED
            assert error(results[4])[2] == "consistency is 7; it takes 0 to 1"
            assert results[5].is_locked.is_locked
            await talk.send(is_locked(3, "a"), is_locked(5, "a"))
            results = await talk.results(2)
            assert error(results[3]) == (code, "INVALID_ARGUMENT", "operations.id: 3 is in flight already")
            assert results[5].WhichOneof("what") == "is_locked", "an id whose operation has ended may be used again"

    on_a_node(scenario)


def test_errors_of_the_machine_have_their_codes():
    async def scenario(node: Node) -> None:
        async with node.stream(pb.Operation(id=1, keep_alive=pb.KeepAliveRequest(session_id=99))) as talk:
            code, reason, _ = error(await talk.result())
            assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION.value[0], "SESSION_ENDED")

    on_a_node(scenario)


def test_timeout_ms_bounds_the_work():
    async def scenario(node: Node) -> None:
        async with node.stream(lock(1, "a", timeout_ms=50), is_locked(2, "a", timeout_ms=50)) as talk:
            results = await talk.results(2)
            assert [error(results[id])[1] for id in (1, 2)] == ["NO_LEADER", "NO_LEADER"]
            assert talk.leader_address == ""

    on_a_node(scenario, leads=False)


def test_timeout_ms_does_not_bound_the_wait():
    async def scenario(node: Node) -> None:
        held = await node.lock("a")
        bound = 1_000  # long enough for the work on a busy machine
        operations = lock(1, "a", timeout_ms=bound, wait_ms=60_000), lock(2, "a", timeout_ms=bound, wait_ms=-1)
        async with node.stream(*operations) as talk:
            assert [(await talk.result()).lock.outcome for _ in range(2)] == [pb.QUEUED, pb.QUEUED]
            await async_eventually(lambda: node.admission.clock_ms > held.clock_ms + bound, WITHIN_S)
            await node.unlock(token=held.token)
            assert (await talk.result()).lock.acquired

    on_a_node(scenario)


# -- how a stream ends


def test_a_client_that_has_sent_everything_still_gets_all_answers():
    async def scenario(node: Node) -> None:
        held = await node.lock("a")
        async with node.stream(lock(1, "a", wait_ms=-1), is_locked(2, "a")) as talk:
            await talk.call.done_writing()
            assert (await talk.results(2))[1].lock.outcome == pb.QUEUED
            await node.unlock(token=held.token)
            assert (await talk.result()).lock.acquired
            with pytest.raises(EOFError):
                await talk.read()
            assert await talk.call.code() is grpc.StatusCode.OK

    on_a_node(scenario)


def test_a_lost_stream_withdraws_what_waits_without_a_session_and_ends_no_session():
    async def scenario(node: Node) -> None:
        await node.lock("a")
        session = await node.open_session()
        async with node.stream(lock(1, "a", wait_ms=-1), lock(2, "a", wait_ms=-1, session_id=session)) as talk:
            await talk.results(2)
            await node.waiters("a", 2)
        left = await node.waiters("a", 1)
        assert left.waiters[0].session_id == session
        await async_eventually(lambda: not node.streams._open, WITHIN_S)
        assert not node.admission._in_work

    on_a_node(scenario)


def test_a_grant_that_was_never_sent_is_taken_back():
    """The client has gone while the answer waited for the connection."""

    class Connection:
        """Takes one message and no other."""

        def __init__(self) -> None:
            self.requests: asyncio.Queue[pb.StreamRequest | None] = asyncio.Queue()
            self.is_stuck = asyncio.Event()

        async def send(self, data: bytes) -> None:
            self.is_stuck.set()
            await asyncio.Event().wait()

    async def scenario(node: Node) -> None:
        connection = Connection()
        session = await node.open_session()
        connection.requests.put_nowait(pb.StreamRequest(operations=[lock(1, "sent")]))
        serving = asyncio.ensure_future(node.streams.Stream(connection.requests.get, Caller("peer"), connection.send))
        await connection.is_stuck.wait()
        more = [lock(2, "unsent"), lock(3, "in session", session_id=session)]
        connection.requests.put_nowait(pb.StreamRequest(operations=more))
        await async_eventually(lambda: len(node.replica.state.holds) == 3, WITHIN_S)
        serving.cancel()

        async def held() -> Any:
            page = await node.ask("List")
            return {holder.name for holder in page.holders} == {"sent", "in session"}

        await async_eventually(held, WITHIN_S)

    on_a_node(scenario)


def test_bytes_that_are_no_request_end_the_stream():
    async def scenario(node: Node) -> None:
        call: Any = node.channel.stream_stream("/lockd.v1.LockService/Stream")()
        talk = Talk(call)
        await call.write(pb.StreamRequest(operations=[is_locked(1, "a")]).SerializeToString())
        assert pb.StreamResponse.FromString(await talk.read()).results[0].id == 1
        await call.write(b"\x0a\x01\xff")
        with pytest.raises(Refusal) as raised:
            await talk.read()
        assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
        assert raised.value.message.startswith("StreamRequest does not decode")

    on_a_node(scenario)


def test_a_node_that_stops_answers_what_is_in_flight_and_ends_its_streams():
    async def scenario(node: Node) -> None:
        await node.lock("a")
        async with node.stream(lock(1, "a", wait_ms=-1)) as talk, node.stream() as idle:
            await talk.result()
            node.admission.is_stopping = True
            node.streams.end()
            node.replica.calls.send_away()
            assert error(await talk.result())[1] == "WAITS_ELSEWHERE"
            for each in (talk, idle, node.stream()):
                with pytest.raises(Refusal) as raised:
                    await each.read()
                assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")

    on_a_node(scenario)


# -- limits


def test_a_list_that_the_node_itself_answers_takes_a_turn_of_its_own():
    """It looks at thousands of names at once: 300 of them in one message stopped a node for seconds."""

    async def scenario(node: Node) -> None:
        count, turns = 8, 0
        began: set[int] = set()
        read_stale = node.admission.read_stale

        def noting(*asked: Any) -> Any:
            began.add(turns)
            return read_stale(*asked)

        node.admission.read_stale = noting  # type: ignore[assignment]
        lists = [pb.Operation(id=id, list=pb.ListRequest(consistency=pb.STALE)) for id in range(count)]
        async with node.stream(*lists) as talk:
            results = asyncio.ensure_future(talk.results(count))
            while not results.done():
                turns += 1
                await asyncio.sleep(0)
            await results
        assert len(began) == count

    on_a_node(scenario)


def test_what_keeps_a_session_does_not_wait_for_room_among_its_callers_locks():
    """Locks on one stream would end sessions on another, of the same caller."""

    async def scenario(node: Node) -> None:
        locks = [lock(id, "a", timeout_ms=60_000) for id in range(3)]
        async with node.stream(*locks) as full, node.stream() as other:
            await async_eventually(lambda: sum(node.admission._in_work.values()) == 2, WITHIN_S)
            keep = pb.Operation(id=1, timeout_ms=50, keep_alive=pb.KeepAliveRequest(session_id=1))
            await other.send(keep)
            assert error(await other.result())[1] == "NO_LEADER", "it was taken in"
            assert sum(node.admission._in_work.values()) == 2, "and the third lock was not"
            full.call.cancel()
        await async_eventually(lambda: not node.admission._in_work, WITHIN_S)

    on_a_node(scenario, leads=False, calls_per_caller_max=2)


def test_a_message_of_many_operations_leaves_others_their_turns():
    """What is answered at once would otherwise be answered twenty thousand times in a row."""
    count = 4 * STARTS_A_TURN
    turns = 0
    seen: set[int] = set()

    class Looking:
        leader_address = ""

        def status(self, caller: Caller) -> pb.StatusResponse:
            seen.add(turns)
            return pb.StatusResponse()

    class Roomy:
        def has_room(self, caller: Caller, *, frees: bool) -> bool:
            return True

    async def run() -> None:
        nonlocal turns
        status = [pb.Operation(id=id, status=pb.StatusRequest()) for id in range(count)]
        messages = [pb.StreamRequest(operations=status), None]
        answered: list[bytes] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(data: bytes) -> None:
            answered.append(data)

        everybody = Authority(None, State)
        no_service: Any = Roomy()
        looking: Any = Looking()
        streams = module.Streams(no_service, looking, Limits(), everybody, Refusals(), Room(Unsent(1024 * 1024)))
        stream = asyncio.ensure_future(streams.Stream(receive, Caller("test"), send))
        while not stream.done():
            turns += 1
            await asyncio.sleep(0)
        await stream
        assert sum(len(pb.StreamResponse.FromString(data).results) for data in answered) == count

    asyncio.run(run())
    assert len(seen) >= 4


def test_a_stream_that_met_a_limit_is_not_read_again_at_once(monkeypatch):
    monkeypatch.setattr(module, "REFUSED_PAUSE_S", WITHIN_S)

    async def scenario(node: Node) -> None:
        await node.lock("held")
        more = [lock(id, "more") for id in range(2, 2 + module.REFUSED_A_PAUSE)]
        async with node.stream(lock(1, "held", wait_ms=-1), *more) as talk:
            results = await talk.results(1 + len(more))
            assert error(results[2])[1] == "LIMIT_REACHED"
            await talk.send(pb.Operation(id=99, status=pb.StatusRequest()))
            answer = asyncio.ensure_future(talk.result())
            for _ in range(20):
                await node.get("held")
            assert not answer.done()
            answer.cancel()

    on_a_node(scenario, stream_operations_max=1)


def test_operations_in_flight_are_bounded_and_leave_room_for_what_frees():
    async def scenario(node: Node) -> None:
        held = await node.lock("a")
        async with node.stream(lock(1, "a", wait_ms=-1), lock(2, "b"), unlock(3, held.token)) as talk:
            assert error((await talk.results(1))[2])[1:] == (
                "LIMIT_REACHED",
                "stream_operations_max: 1 of 1 are in use; try again later",
            )
            assert (await talk.result()).lock.outcome == pb.QUEUED
            rest = await talk.results(2)
            assert (rest[1].lock.acquired, rest[3].unlock.released) == (True, True)

    on_a_node(scenario, stream_operations_max=1)


def test_streams_are_bounded():
    async def scenario(node: Node) -> None:
        async with node.stream(is_locked(1, "a")) as talk:
            await talk.result()
            with pytest.raises(Refusal) as raised:
                await node.stream().read()
            assert raised.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert raised.value.message.startswith("streams_max: 1 of 1 are in use")

    on_a_node(scenario, streams_max=1)


def test_a_client_that_reads_slowly_is_not_read_from(monkeypatch):
    """What it has sent waits on its side of the connection, and nothing is lost."""
    monkeypatch.setattr(module, "UNSENT_BYTES_MAX", 1_000)
    monkeypatch.setattr(module, "MESSAGE_BYTES_MAX", 500)

    async def scenario(node: Node) -> None:
        is_free, sent = asyncio.Event(), []
        requests: asyncio.Queue[pb.StreamRequest | None] = asyncio.Queue()

        async def send(data: bytes) -> None:
            await is_free.wait()
            sent.append(pb.StreamResponse.FromString(data))

        status = [pb.Operation(id=number, status=pb.StatusRequest()) for number in range(100)]
        requests.put_nowait(pb.StreamRequest(operations=status))
        requests.put_nowait(None)
        serving = asyncio.ensure_future(node.streams.Stream(requests.get, Caller("peer"), send))
        await async_eventually(lambda: node.streams._open, WITHIN_S)
        (stream,) = node.streams._open
        await async_eventually(lambda: stream._room is not None and stream._unsent > 1_000, WITHIN_S)
        assert requests.qsize() == 1
        assert stream._unsent < 1_200
        is_free.set()
        await serving
        assert [result.id for message in sent for result in message.results] == list(range(100))
        assert all(message.ByteSize() < 600 for message in sent)

    on_a_node(scenario)
