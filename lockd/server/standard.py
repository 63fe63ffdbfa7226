"""What every gRPC server offers: health and reflection, through the same door as lockd's own services.

The servicers that come with gRPC answer a request that does not decode with UNKNOWN and a traceback in the log. Their
health holds a lock while it writes to a watcher, so that one who does not read stops it for all.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2 as health
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha import reflection_pb2 as asked

from lockd.access.admission import Caller, check_limit
from lockd.access.refusal import Reason, Refused

from .rpc import Receive, Send

HEALTH: ServiceDescriptor = health.DESCRIPTOR.services_by_name["Health"]  # type: ignore[assignment]  # one class
REFLECTION: ServiceDescriptor = asked.DESCRIPTOR.services_by_name["ServerReflection"]  # type: ignore[assignment]


class Health:
    """grpc.health.v1: one status for the node and each of its services."""

    def __init__(self, services: Sequence[str], watchers_max: int) -> None:
        self._known = {"", *services}
        self._watchers_max = watchers_max
        self._serving = False
        self._watchers: set[asyncio.Event] = set()

    def tell(self, *, serving: bool) -> None:
        """From now on."""
        self._serving = serving
        for changed in self._watchers:
            changed.set()

    async def Check(self, message: health.HealthCheckRequest, caller: Caller) -> health.HealthCheckResponse:  # noqa: N802 - gRPC's name
        if message.service not in self._known:
            raise Refused(Reason.UNKNOWN_SERVICE)
        return self._status(message.service)

    async def List(self, message: Any, caller: Caller) -> Any:  # noqa: N802 - gRPC's name
        return health.HealthListResponse(  # type: ignore[attr-defined]  # the stubs lag behind
            statuses={name: self._status(name) for name in self._known}
        )

    async def Watch(self, message: health.HealthCheckRequest, caller: Caller, send: Send) -> None:  # noqa: N802 - gRPC's name
        """Until the client leaves. Raises Refused."""
        check_limit("watchers_max", len(self._watchers), self._watchers_max)
        changed = asyncio.Event()
        self._watchers.add(changed)
        told = None
        try:
            while True:
                changed.clear()
                status = self._status(message.service)
                if status != told:
                    told = status
                    await send(status.SerializeToString())
                await changed.wait()
        finally:
            self._watchers.discard(changed)

    def _status(self, service: str) -> health.HealthCheckResponse:
        status = health.HealthCheckResponse
        if service not in self._known:
            return status(status=status.SERVICE_UNKNOWN)
        return status(status=status.SERVING if self._serving else status.NOT_SERVING)


class Reflection:
    """grpc.reflection.v1alpha, which lets grpcurl do without .proto files."""

    def __init__(self, services: Sequence[str], watchers_max: int) -> None:
        self._servicer = reflection.aio.ReflectionServicer(services)
        self._open, self._open_max = 0, watchers_max

    async def ServerReflectionInfo(self, receive: Receive, caller: Caller, send: Send) -> None:  # noqa: N802 - gRPC's name
        """Until the client has asked for the last time. Raises Refused."""
        check_limit("watchers_max", self._open, self._open_max)
        self._open += 1
        try:
            await self._answer(receive, send)
        finally:
            self._open -= 1

    async def _answer(self, receive: Receive, send: Send) -> None:
        async def requests() -> AsyncIterator[asked.ServerReflectionRequest]:
            while (message := await receive()) is not None:
                yield message

        responses: Any = self._servicer.ServerReflectionInfo(requests(), None)
        async for response in responses:
            await send(response.SerializeToString())
