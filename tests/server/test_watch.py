"""LockService.Watch: what happens to locks, as it happens and from the past."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from lockd.server import watch as module
from lockd_client.proto import lockd_pb2 as pb
from tests.eventually import async_eventually
from tests.server.node import WITHIN_S, Node, Refusal, Talk, running


def on_a_node(scenario: Callable[[Node], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with running(**settings) as node:
            await scenario(node)

    asyncio.run(run())


async def events(talk: Talk, count: int) -> list[pb.Event]:
    found: list[pb.Event] = []
    while len(found) < count:
        found += (await talk.read()).events
    return found


def test_the_first_message_comes_at_once_and_from_then_on_nothing_is_missed():
    async def scenario(node: Node) -> None:
        await node.lock("a")
        async with node.watch() as watch:
            first = await watch.read()
            assert (list(first.events), first.revision) == ([], 1)
            await node.lock("b", owner="me")
            granted = (await events(watch, 1))[0]
            assert (granted.revision, granted.kind, granted.token) == (2, pb.EVENT_GRANTED, 2)
            assert (granted.owner, [want.name for want in granted.wants]) == ("me", ["b"])

    on_a_node(scenario)


def test_the_life_of_a_lock():
    async def scenario(node: Node) -> None:
        async with node.watch("a") as watch:
            await watch.read()
            session = await node.open_session()
            held = await node.lock("a", lock_delay_ms=1)
            waiting = asyncio.ensure_future(node.lock("a", wait_ms=-1, session_id=session, mode=pb.SHARED))
            await node.waiters("a", 1)
            await node.lock("b")
            await node.lock("a", wait_ms=1)
            await node.unlock(token=held.token, force=True, reason="stuck", owner="operator")
            await waiting
            await node.ask("CloseSession", session_id=session)
            told = await events(watch, 8)
        kinds = [pb.EventKind.Name(event.kind).removeprefix("EVENT_") for event in told]
        assert kinds == ["GRANTED", "WAITING", "WAITING", "LEFT", "BROKEN", "DELAY_ENDED", "GRANTED", "RELEASED"]
        assert (told[4].reason, told[4].by) == ("stuck", "operator")
        assert (told[6].session_id, told[6].wants[0].mode) == (session, pb.SHARED)

    on_a_node(scenario)


def test_a_watcher_that_comes_back_goes_on_where_it_was():
    async def scenario(node: Node) -> None:
        for number in range(5):
            await node.lock(f"name{number}")
        async with node.watch(from_revision=3) as watch:
            message = await watch.read()
            assert [event.revision for event in message.events] == [3, 4, 5]
            assert message.revision == 5
            assert message.clock_ms > 0

    on_a_node(scenario)


def test_a_past_that_takes_several_messages_can_be_gone_on_from_after_each(monkeypatch):
    monkeypatch.setattr(module, "MESSAGE_BYTES_MAX", 100)

    async def scenario(node: Node) -> None:
        for number in range(20):
            await node.lock(f"name{number}")
        async with node.watch(from_revision=1) as watch:
            told: list[int] = []
            while len(told) < 20:
                message = await watch.read()
                told += [event.revision for event in message.events]
                assert message.revision == told[-1]
            assert told == list(range(1, 21))

    on_a_node(scenario)


def test_a_past_that_is_not_kept_is_compacted():
    async def scenario(node: Node) -> None:
        for number in range(5):
            await node.lock(f"name{number}")
        with pytest.raises(Refusal) as raised:
            await node.watch(from_revision=1).read()
        assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.OUT_OF_RANGE, "COMPACTED")

    on_a_node(scenario, events_kept_max=3)


def test_watchers_are_bounded_and_one_that_has_left_makes_room():
    async def scenario(node: Node) -> None:
        async with node.watch() as watch:
            await watch.read()
            with pytest.raises(Refusal) as raised:
                await node.watch().read()
            assert raised.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert raised.value.message.startswith("watchers_max: 1 of 1 are in use")

        async def is_admitted() -> Any:
            async with node.watch() as another:
                try:
                    await another.read()
                except Refusal:
                    return False
                return True

        await async_eventually(is_admitted, WITHIN_S)

    on_a_node(scenario, watchers_max=1)


def test_a_prefix_has_its_bound():
    async def scenario(node: Node) -> None:
        with pytest.raises(Refusal) as raised:
            await node.watch("p" * 513).read()
        assert raised.value.message == "prefix has 513 bytes; the bound is 512"

    on_a_node(scenario)


def test_a_node_that_stops_ends_its_watches():
    async def scenario(node: Node) -> None:
        async with node.watch() as watch:
            await watch.read()
            node.feed.end()
            with pytest.raises(Refusal) as raised:
                await watch.read()
            assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")

    on_a_node(scenario)
