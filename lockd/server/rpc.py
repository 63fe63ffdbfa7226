"""gRPC's side of a call: decoding that answers, deadlines, and errors from the one table."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from lockd.access.audit import Refusals
from lockd.access.refusal import Reason, Refused

from .callers import Callers, Context
from .room import Room
from .status import CODES, LEADER_TRAILER, REASON_TRAILER, number
from .unsent import Unsent

log = structlog.get_logger(__name__)

ANSWER_MARGIN_S = 0.05
"""A call is answered this long before its deadline, so that the answer still arrives."""

LIMIT_PAUSE_S = 0.05
"""Who met a limit is told so after this time: asking faster serves nobody."""

_STATUS_TRAILER = "grpc-status-details-bin"

Receive = Callable[[], Awaitable[Any]]
"""The next message of a stream; None after the last. Raises Refused where it does not decode."""

Send = Callable[[bytes], Awaitable[None]]
"""Sends one encoded message; returns when gRPC has taken it, which a slow reader delays."""


@dataclass(frozen=True, slots=True)
class Edge:
    """What all calls of a node share."""

    callers: Callers
    refusals: Refusals
    leader_address: Callable[[], str]
    message_bytes: int
    """The longest request that is looked at."""
    room: Room


def generic_handler(
    service: ServiceDescriptor, implementations: tuple[object, ...], edge: Edge
) -> grpc.GenericRpcHandler:
    """Serves every method of the service with the method of the same name of the first implementation that has it.

    One that answers once is given the message and its Caller, and returns the response. One that streams its answers
    is given the message (Receive where the requests are a stream, too), its Caller and Send. Each raises Refused.
    """
    methods = {
        method.name: _method_handler(method, _implementation(method, implementations), edge)
        for method in service.methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, methods)


def _implementation(method: MethodDescriptor, implementations: tuple[object, ...]) -> Any:
    return next(getattr(each, method.name) for each in implementations if hasattr(each, method.name))


def _method_handler(method: MethodDescriptor, implementation: Any, edge: Edge) -> "grpc.RpcMethodHandler[Any, Any]":
    decode = _deserializer(method, edge.message_bytes)
    # Serializers that are missing leave bytes as they are.
    if not method.server_streaming:
        return grpc.unary_unary_rpc_method_handler(
            _answering(implementation, method, edge), request_deserializer=decode, response_serializer=None
        )
    make = grpc.stream_stream_rpc_method_handler if method.client_streaming else grpc.unary_stream_rpc_method_handler
    return make(_streaming(implementation, method, edge), request_deserializer=decode, response_serializer=None)


def _deserializer(method: MethodDescriptor, bytes_max: int) -> Callable[[bytes], Message | Refused]:
    """Refused stands in for a request that cannot be looked at: to what is raised here, gRPC would answer UNKNOWN."""
    request_class = message_factory.GetMessageClass(method.input_type)

    def deserialize(data: bytes) -> Message | Refused:
        if len(data) > bytes_max:
            what = f"message_bytes: the request has {len(data)} bytes; the bound is {bytes_max}"
            return Refused(Reason.INVALID_ARGUMENT, what, limit="message_bytes")
        try:
            return request_class.FromString(data)
        except (DecodeError, UnicodeDecodeError):
            return Refused(
                Reason.INVALID_ARGUMENT,
                f"{method.input_type.name} does not decode: it is no protobuf of this form, or a text field is not "
                "valid UTF-8",
            )

    return deserialize


def _decoded(request: Any) -> Any:
    """Raises Refused."""
    if isinstance(request, Refused):
        raise request
    return request


def _answering(implementation: Any, method: MethodDescriptor, edge: Edge) -> Any:
    async def answer(request: Any, context: Context) -> Any:
        try:
            caller = await edge.callers.caller(context, _timeout_s(context))
            edge.room.unsent.check(caller.key)
            await edge.room.turns.take(caller.key)
            response = (await implementation(_decoded(request), caller)).SerializeToString()
        except Refused as refused:
            await _refuse(context, refused, edge)
        except Exception as error:  # the edge: the caller is told that it failed, the log has the rest
            log.exception("a call failed", method=method.full_name)
            await _fail(context, error)
        if leader := edge.leader_address():
            context.set_trailing_metadata(((LEADER_TRAILER, leader),))
        edge.room.turns.charge(len(response))
        _count_until_sent(context, edge.room.unsent, caller.key, len(response))
        return response

    return answer


def _count_until_sent(context: Context, unsent: Unsent, key: str, size: int) -> None:
    unsent.add(key, size)
    context.add_done_callback(lambda *_: unsent.drop(key, size))  # type: ignore[arg-type]  # the stub names its argument


def _streaming(implementation: Any, method: MethodDescriptor, edge: Edge) -> Any:
    async def stream(request: Any, context: Context) -> None:
        async def receive() -> Any:
            message = await context.read()
            return None if message is grpc.aio.EOF else _decoded(message)

        try:
            caller = await edge.callers.caller(context)
            message = receive if method.client_streaming else _decoded(request)
            await implementation(message, caller, context.write)
        except Refused as refused:
            await _refuse(context, refused, edge)
        except grpc.aio.InternalError:
            raise  # the connection has gone: gRPC's own task knows
        except Exception as error:  # the edge, as above
            log.exception("a stream failed", method=method.full_name)
            await _fail(context, error)

    return stream


async def _refuse(context: Context, refused: Refused, edge: Edge) -> NoReturn:
    edge.refusals.note(refused, context.peer())
    if refused.reason is Reason.LIMIT_REACHED:
        await asyncio.sleep(LIMIT_PAUSE_S)
    await _abort(context, refused.reason, str(refused), edge.leader_address())


async def _fail(context: Context, error: Exception) -> NoReturn:
    await _abort(context, Reason.INTERNAL, f"{Reason.INTERNAL.value}: {type(error).__name__}", "")


async def _abort(context: Context, reason: Reason, message: str, leader: str) -> NoReturn:
    code = CODES[reason]
    trailers: tuple[tuple[str, str | bytes], ...] = (
        (REASON_TRAILER, reason.name),
        (_STATUS_TRAILER, _details(code, reason, message)),
    )
    if leader:
        trailers += ((LEADER_TRAILER, leader),)
    await context.abort(code, message, trailing_metadata=trailers)


def _timeout_s(context: Context) -> float | None:
    """The call's own deadline, as far as it leaves time to answer."""
    remaining: float | None = context.time_remaining()
    if remaining is None:
        return None
    return max(0.0, float(remaining) - min(ANSWER_MARGIN_S, 0.1 * float(remaining)))


def _details(code: grpc.StatusCode, reason: Reason, message: str) -> bytes:
    """google.rpc.Status with an ErrorInfo, as grpcurl prints it."""
    status = status_pb2.Status(code=number(code), message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason.name, domain="lockd"))
    return bytes(status.SerializeToString())
