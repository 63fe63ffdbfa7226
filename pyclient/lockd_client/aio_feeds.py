"""What the asyncio client follows: events, and who leads."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from lockd_client import channels, methods
from lockd_client.aio_transport import AioTransport
from lockd_client.attempts import Failure
from lockd_client.channels import grpc
from lockd_client.clock import now
from lockd_client.elections import concerns
from lockd_client.errors import Compacted
from lockd_client.values import Event, Leader
from lockd_client.watching import Watching

if TYPE_CHECKING:
    from lockd_client.aio_client import AsyncLockdClient


async def watch(transport: AioTransport, watching: Watching) -> AsyncIterator[Event]:
    route = watching.route
    while True:
        await asyncio.sleep(max(0.0, route.not_before - now()))  # after a failure
        endpoint = route.endpoint
        failure: Failure = channels.ended(endpoint)
        with transport.way(endpoint) as (way, edition):
            call = None
            try:
                call = way.channel.unary_stream(
                    methods.WATCH.path,
                    request_serializer=methods.WATCH.request.SerializeToString,
                    response_deserializer=methods.WATCH.answer.FromString,
                )(watching.request(), metadata=transport.metadata)
                async for response in call:
                    watching.heard(now())
                    for event in watching.took(response, endpoint):
                        yield event
            except grpc.RpcError as error:
                failure = channels.failure_of(endpoint, error, way.pem)
            finally:
                if call is not None:
                    call.cancel()
            failure = transport.judged(way, edition, failure)
        raised = watching.failed(failure, now())
        if raised is not None:
            raise raised


async def observe(client: "AsyncLockdClient", name: str) -> AsyncIterator[Leader | None]:
    while True:
        revision = (await client.status()).revision  # what is told after it, or was so before the leader is asked for
        leader = await client.leader(name)
        yield leader
        try:
            async for event in client.watch(name, revision + 1):
                if concerns(event, name) and (news := await client.leader(name)) != leader:
                    leader = news
                    yield leader
        except Compacted:
            continue
