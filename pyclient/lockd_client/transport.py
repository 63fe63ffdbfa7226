"""gRPC ends here: one channel per endpoint, one call at a time on it, and what became of that call.

Forks. gRPC survives a fork only if its fork support was on before it was loaded and no thread is inside a call (tried
with grpcio 1.85.1: otherwise the child hangs, in the fork itself or in its first call, past every deadline). So this
module turns the support on; a fork holds back new calls, waits a while for those in flight and then breaks their
connections, as any connection may break; and a child makes channels of its own.
"""

import os
import threading
import time
import weakref
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

import grpc  # reads that when it is loaded

from lockd_client import methods
from lockd_client.attempts import Failure
from lockd_client.clock import now
from lockd_client.errors import ClientClosed
from lockd_client.methods import AnswerT, Method, RequestT
from lockd_client.proto import lockd_pb2

SOUND_S = 2.0  # what a host that is off costs of the timeout
FORK_S = 1.0  # how long a fork waits for calls in flight
ANSWER_BYTES_MAX = 16 * 1024 * 1024

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),  # nodes are reached directly, whatever http_proxy says
    ("grpc.use_local_subchannel_pool", 1),  # a client's connections, and their backoff, are its own
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),  # in truth how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
)

# How gRPC begins to say that a call found no connection to leave by. Of calls on a channel that was connected before,
# nothing else tells. A wording that is not listed counts as sent.
_NEVER_SENT = (
    "failed to connect to all addresses",
    "connections to all backends failing",
    "errors resolving",
    "DNS resolution failed",
)

_GotT = TypeVar("_GotT", bound=Message)


@dataclass(frozen=True, slots=True)
class Answer(Generic[_GotT]):
    """sent: on the clock of clock.now(), not later than the request left."""

    message: _GotT
    endpoint: str
    sent: float


class _Fork:
    """Keeps calls and forks apart."""

    def __init__(self) -> None:
        self.transports: weakref.WeakSet[Transport] = weakref.WeakSet()
        self.changed = threading.Condition()
        self.calls = 0
        self.forks = 0
        self.parents: list[object] = []  # kept: closing a parent's channel here would disturb the parent's connection

    def enter(self) -> None:
        with self.changed:
            while self.forks:
                self.changed.wait()
            self.calls += 1

    def leave(self) -> None:
        with self.changed:
            self.calls -= 1
            self.changed.notify_all()

    def before(self) -> None:
        with self.changed:
            self.forks += 1
            if self.changed.wait_for(self.is_quiet, FORK_S):
                return
        for transport in list(self.transports):
            transport.disconnect()
        with self.changed:
            self.changed.wait_for(self.is_quiet, FORK_S)

    def in_parent(self) -> None:
        with self.changed:
            self.forks -= 1
            self.changed.notify_all()

    def in_child(self) -> None:
        self.changed = threading.Condition()
        self.calls = self.forks = 0
        for transport in self.transports:
            self.parents.append(transport.start_over())

    def is_quiet(self) -> bool:
        return self.calls == 0


_FORK = _Fork()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_FORK.before, after_in_parent=_FORK.in_parent, after_in_child=_FORK.in_child)


class _Link:
    """A channel to one endpoint."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.channel = grpc.insecure_channel(endpoint, options=_OPTIONS)
        self.answers = False  # as far as the last call knew
        self._calls: dict[str, Any] = {}

    def unary(self, method: Method[RequestT, AnswerT]) -> Any:
        call = self._calls.get(method.path)
        if call is None:
            call = self.channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.answer.FromString,
            )
            self._calls[method.path] = call
        return call


class Transport:
    """Calls to any endpoint. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[str, _Link] = {}
        self._closed = threading.Event()
        _FORK.transports.add(self)

    def call(
        self, endpoint: str, method: Method[RequestT, AnswerT], request: RequestT, timeout: float, *, sound: bool
    ) -> Answer[AnswerT] | Failure:
        """One attempt of at most `timeout` seconds. Raises ClientClosed.

        sound: where the endpoint is not known to answer, ask it something harmless first, so that a call that changes
        something is not left in doubt by a host that is off.
        """
        deadline = time.monotonic() + timeout
        _FORK.enter()
        try:
            link = self._link(endpoint)
            if sound and not link.answers:
                silence = self._attempt(link, methods.STATUS, lockd_pb2.StatusRequest(), min(timeout, SOUND_S))
                if isinstance(silence, Failure) and not link.answers:
                    return replace(silence, sent=False)
            return self._attempt(link, method, request, max(0.0, deadline - time.monotonic()))
        finally:
            _FORK.leave()

    def pause(self, seconds: float) -> None:
        """Returns early if the transport is closed meanwhile."""
        if seconds > 0:
            self._closed.wait(seconds)

    def close(self) -> None:
        """Calls in flight end as failed. Closing twice is allowed."""
        with self._lock:
            self._closed.set()
        self.disconnect()

    def disconnect(self) -> None:
        """Calls in flight end as failed; later ones connect again."""
        with self._lock:
            links, self._links = self._links, {}
        for link in links.values():
            link.channel.close()

    def start_over(self) -> object:
        """In a child after a fork: forgets what was the parent's, and returns it."""
        closed = self._closed.is_set()
        parents, self._links = self._links, {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        if closed:
            self._closed.set()
        return parents

    def _attempt(
        self, link: _Link, method: Method[RequestT, AnswerT], request: RequestT, timeout: float
    ) -> Answer[AnswerT] | Failure:
        sent = now()
        try:
            message = link.unary(method)(request, timeout=timeout)
        except grpc.RpcError as error:
            if self._closed.is_set():
                raise ClientClosed from error
            failure = _failure(link.endpoint, error, timeout)
            link.answers = failure.from_node
            return failure
        except ValueError as error:  # what gRPC raises for a closed channel
            if self._closed.is_set():
                raise ClientClosed from error
            if self._links.get(link.endpoint) is link:
                raise
            return Failure(endpoint=link.endpoint, code="CANCELLED", reason="", details=str(error), sent=False)
        link.answers = True
        return Answer(message, link.endpoint, sent)

    def _link(self, endpoint: str) -> _Link:
        with self._lock:
            if self._closed.is_set():
                raise ClientClosed
            if endpoint not in self._links:
                self._links[endpoint] = _Link(endpoint)
            return self._links[endpoint]


def _failure(endpoint: str, error: grpc.RpcError, timeout: float) -> Failure:
    code, details = error.code(), error.details() or ""
    trailers: Any = error.trailing_metadata() or ()  # pairs, whatever its stubs say
    reason = next((str(value) for key, value in trailers if key == "lockd-reason"), "")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and not reason:
        details = f"no answer within {timeout:.1f} s"
    never_sent = code is grpc.StatusCode.UNAVAILABLE and not reason and details.startswith(_NEVER_SENT)
    return Failure(endpoint=endpoint, code=code.name, reason=reason, details=details, sent=not never_sent)
