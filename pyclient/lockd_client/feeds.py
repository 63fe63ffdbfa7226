"""What the blocking client follows: events, and who leads."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lockd_client import channels, methods
from lockd_client.attempts import Failure
from lockd_client.channels import grpc
from lockd_client.clock import now
from lockd_client.elections import concerns
from lockd_client.errors import Compacted
from lockd_client.transport import Transport
from lockd_client.values import Event, Leader
from lockd_client.watching import Watching

if TYPE_CHECKING:
    from lockd_client.client import LockdClient


def watch(transport: Transport, watching: Watching) -> Iterator[Event]:
    route = watching.route
    while True:
        time.sleep(max(0.0, route.not_before - now()))  # after a failure
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
                while True:
                    with transport.busy():
                        response = next(call, None)
                    watching.heard(now())
                    if response is None:
                        break
                    yield from watching.took(response, endpoint)
            except grpc.RpcError as error:
                failure = channels.failure_of(endpoint, error, way.pem)
            except ValueError:  # what gRPC raises for a closed channel
                failure = channels.closed(endpoint)
            finally:
                if call is not None:
                    call.cancel()
            failure = transport.judged(way, edition, failure)
        raised = watching.failed(failure, now())
        if raised is not None:
            raise raised


def observe(client: "LockdClient", name: str) -> Iterator[Leader | None]:
    while True:
        revision = client.status().revision  # what is told after it, or was so before the leader is asked for
        leader = client.leader(name)
        yield leader
        try:
            for event in client.watch(name, revision + 1):
                if concerns(event, name) and (news := client.leader(name)) != leader:
                    leader = news
                    yield leader
        except Compacted:
            continue
