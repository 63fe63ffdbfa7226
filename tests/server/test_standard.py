"""Health and reflection: what does not decode is answered, and a watcher that does not read holds nobody up."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2 as health

from lockd.access.admission import Caller
from lockd.access.audit import Refusals
from lockd.access.refusal import Reason, Refused
from lockd.server.callers import Strangers
from lockd.server.room import Room
from lockd.server.rpc import Edge, generic_handler
from lockd.server.standard import HEALTH, REFLECTION, Health, Reflection
from lockd.server.unsent import Unsent
from tests.eventually import async_eventually

SERVICES = ("lockd.v1.LockService",)
CALLER = Caller("test")
STATUS = health.HealthCheckResponse


def watched(service: str = "") -> health.HealthCheckRequest:
    return health.HealthCheckRequest(service=service)


def test_a_status_is_the_nodes_for_each_of_its_services():
    async def run() -> None:
        told = Health(SERVICES, 10)
        for serving, status in ((False, STATUS.NOT_SERVING), (True, STATUS.SERVING)):
            told.tell(serving=serving)
            for name in ("", *SERVICES):
                assert (await told.Check(watched(name), CALLER)).status == status
            assert set((await told.List(None, CALLER)).statuses) == {"", *SERVICES}
        with pytest.raises(Refused) as raised:
            await told.Check(watched("other"), CALLER)
        assert raised.value.reason is Reason.UNKNOWN_SERVICE

    asyncio.run(run())


def test_a_watcher_is_told_of_changes_and_one_that_does_not_read_holds_nobody_up():
    async def run() -> None:
        told = Health(SERVICES, 10)
        heard: list[int] = []

        async def send(data: bytes) -> None:
            heard.append(STATUS.FromString(data).status)

        async def never(data: bytes) -> None:
            await asyncio.get_running_loop().create_future()

        watching = [asyncio.ensure_future(told.Watch(watched(), CALLER, each)) for each in (never, send)]
        await async_eventually(lambda: len(heard) == 1, 5.0)
        told.tell(serving=True)
        await async_eventually(lambda: len(heard) == 2, 5.0)
        assert heard == [STATUS.NOT_SERVING, STATUS.SERVING]
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        assert not told._watchers

    asyncio.run(run())


def test_watchers_are_bounded():
    async def run() -> None:
        told = Health(SERVICES, 0)
        with pytest.raises(Refused, match="watchers_max: 0 of 0"):
            await told.Watch(watched(), CALLER, None)  # type: ignore[arg-type]  # nothing is sent

    asyncio.run(run())


def test_streams_that_ask_for_reflection_are_bounded():
    """Nobody is asked who they are, and each that is open takes memory."""

    async def run() -> None:
        reflection = Reflection(SERVICES, 1)
        asked: asyncio.Queue[None] = asyncio.Queue()
        first = asyncio.ensure_future(reflection.ServerReflectionInfo(asked.get, CALLER, None))  # type: ignore[arg-type]  # nothing is sent
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="watchers_max: 1 of 1"):
            await reflection.ServerReflectionInfo(asked.get, CALLER, None)  # type: ignore[arg-type]
        asked.put_nowait(None)
        await first
        asked.put_nowait(None)
        await reflection.ServerReflectionInfo(asked.get, CALLER, None)  # type: ignore[arg-type]

    asyncio.run(run())


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_what_does_not_decode_is_an_invalid_argument(path: str):
    async def run() -> None:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        edge = Edge(Strangers(), Refusals(), lambda: "", 16 * 1024, Room(Unsent(1024)))
        server.add_generic_rpc_handlers(
            (
                generic_handler(HEALTH, (Health(SERVICES, 10),), edge),
                generic_handler(REFLECTION, (Reflection(SERVICES, 10),), edge),
            )
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            method: Any = channel.stream_stream(path)
            call = method(iter([b"\x0a\x02\xc3\x28"]))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call.read()
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert ("lockd-reason", "INVALID_ARGUMENT") in list(raised.value.trailing_metadata() or ())
        await server.stop(None)

    asyncio.run(run())
