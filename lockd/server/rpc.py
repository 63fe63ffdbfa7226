"""gRPC's side of a call: decoding that answers, deadlines, and errors from the one table."""

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from lockd.access.refusal import Reason, Refused

from .service import Caller
from .status import CODES, REASON_TRAILER

log = structlog.get_logger(__name__)

ANSWER_MARGIN_S = 0.05
"""A call is answered this long before its deadline, so that the answer still arrives."""

_STATUS_TRAILER = "grpc-status-details-bin"

Handler = Callable[[Any, Caller], Awaitable[Message]]


def generic_handler(
    service: ServiceDescriptor, implementation: object, default_timeout_s: float
) -> grpc.GenericRpcHandler:
    """Serves every method of the service with the implementation's method of the same name."""
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        method.name: grpc.unary_unary_rpc_method_handler(
            _answering(getattr(implementation, method.name), method, default_timeout_s),
            request_deserializer=_deserializer(method),
            response_serializer=lambda message: message.SerializeToString(),
        )
        for method in service.methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, methods)


class Undecodable:
    """Stands in for a request that protobuf refused: gRPC itself would answer UNKNOWN."""

    def __init__(self, why: str) -> None:
        self.why = why


def _deserializer(method: MethodDescriptor) -> Callable[[bytes], Message | Undecodable]:
    request_class = message_factory.GetMessageClass(method.input_type)

    def deserialize(data: bytes) -> Message | Undecodable:
        try:
            return request_class.FromString(data)
        except (DecodeError, UnicodeDecodeError) as error:
            return Undecodable(str(error))

    return deserialize


def _answering(handler: Handler, method: MethodDescriptor, default_timeout_s: float) -> Any:
    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            if isinstance(request, Undecodable):
                raise Refused(
                    Reason.INVALID_ARGUMENT,
                    f"{method.input_type.name} does not decode: it is no protobuf of this form, or a text "
                    "field is not valid UTF-8",
                )
            return await handler(request, Caller(context.peer(), _timeout_s(context, default_timeout_s)))
        except Refused as refused:
            await _abort(context, refused.reason, str(refused))
        except Exception as error:  # the edge: the caller is told that it failed, the log has the rest
            log.exception("a call failed", method=method.full_name)
            await _abort(context, Reason.INTERNAL, f"{Reason.INTERNAL.value}: {type(error).__name__}")

    return answer


async def _abort(context: grpc.aio.ServicerContext[Any, Any], reason: Reason, message: str) -> NoReturn:
    code = CODES[reason]
    trailers = ((REASON_TRAILER, reason.name), (_STATUS_TRAILER, _details(code, reason, message)))
    await context.abort(code, message, trailing_metadata=trailers)


def _timeout_s(context: grpc.aio.ServicerContext[Any, Any], default_s: float) -> float:
    remaining: float | None = context.time_remaining()
    if remaining is None:
        return default_s
    return max(0.0, float(remaining) - min(ANSWER_MARGIN_S, 0.1 * float(remaining)))


def _details(code: grpc.StatusCode, reason: Reason, message: str) -> bytes:
    """google.rpc.Status with an ErrorInfo, as grpcurl prints it."""
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason.name, domain="lockd"))
    return bytes(status.SerializeToString())
