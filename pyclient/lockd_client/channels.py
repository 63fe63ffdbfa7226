"""What both drivers know of gRPC: how channels are set up and replaced, and what became of a call that failed."""

import os
from collections import deque
from collections.abc import Callable
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

import grpc as grpc  # reads that when it is loaded; others take it from here

from lockd_client.attempts import RECONNECT, Failure
from lockd_client.credentials import Credentials, Pem

ANSWER_BYTES_MAX = 16 * 1024 * 1024
SHUT_S = 2.0  # how long a node is asked again that closes connections while they are opened: it may be starting

OPTIONS = (
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

# What it says then of TLS (grpcio 1.73.1 and 1.85.1), and what to do about it. The first that fits.
_HANDSHAKES = (
    ("WRONG_VERSION_NUMBER", "the node does not speak TLS there: leave out cacert, or check the port"),
    ("Hostname Verification", "its certificate is for another name or address: check the endpoint's host"),
    ("is not in peer certificate", "its certificate is for another name or address: check the endpoint's host"),
    ("certificate has expired", "its certificate has expired: it needs another one"),
    ("not yet valid", "its certificate is not valid yet: check the clocks"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate was not issued by an authority in cacert: check cacert"),
    ("Failed to create security handshaker", "cacert, or cert and key, cannot be used: check these files"),
    ("handshake failed", "check cacert, cert and key"),
)
# A node that asks for TLS, or for a certificate that it does not get, closes the connection and says no more.
_CLOSED = ("Socket closed", "Connection reset by peer")


# What grpc.aio says of a stream that ended while it was written to, in place of the word by which it ended.
_WORD_LOST = "Internal error from Core"


def failure_of(endpoint: str, error: Any, pem: Pem | None) -> Failure:
    """error: a grpc.RpcError, of either API. pem: what the connection was opened with.

    What the blocking API raises is the call itself. With its traceback, whose frames hold the call, it would be garbage
    that only a collection finds: the one at the interpreter's end, where the call's finalizer waits for ever for a
    thread of gRPC's that has gone.
    """
    error.__traceback__ = None
    code, details = error.code(), error.details() or ""
    reason = next((str(value) for key, value in error.trailing_metadata() or () if key == "lockd-reason"), "")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and not reason:
        details = "no answer in time"
    if code is grpc.StatusCode.UNAVAILABLE and not reason and details.startswith(_NEVER_SENT):
        return _never_sent(endpoint, details, pem)
    return Failure(endpoint=endpoint, code=code.name, reason=reason, details=details)


def _never_sent(endpoint: str, details: str, pem: Pem | None) -> Failure:
    patience = float("inf")
    remedy = next((remedy for word, remedy in _HANDSHAKES if word in details), "") if pem is not None else ""
    if remedy:
        patience, details = 0.0, f"TLS handshake failed: {remedy} ({details.rpartition('last error: ')[2]})"
    elif any(word in details for word in _CLOSED):
        patience = SHUT_S
        if pem is None:
            details = f"the node closed the connection at once: if it asks for TLS, give cacert ({details})"
        elif pem.cert is None:
            details = (
                f"TLS handshake failed: if the node asks for a client's certificate, give cert and key ({details})"
            )
        else:
            details = f"TLS handshake failed: the node may not accept this client's certificate, check cert ({details})"
    return Failure(endpoint=endpoint, code="UNAVAILABLE", details=details, sent=False, patience=patience)


def unmasked(failure: Failure) -> Failure:
    """Of a stream of grpc.aio. The word that was lost may have asked for another connection. If it was another one,
    the node says it again there.
    """
    if failure.code != "INTERNAL" or failure.reason or failure.details != _WORD_LOST:
        return failure
    return Failure(endpoint=failure.endpoint, code="UNAVAILABLE", reason=RECONNECT, details="the node ended the stream")


def ended(endpoint: str) -> Failure:
    """Of a stream that the node ended without an error."""
    return Failure(endpoint=endpoint, code="UNAVAILABLE", details="the node ended the stream")


def closed(endpoint: str) -> Failure:
    """Of a call on a channel that was closed here before it was sent."""
    return Failure(endpoint=endpoint, code="CANCELLED", details="the connection was closed here", sent=False)


def not_begun(endpoint: str, error: ValueError | RuntimeError) -> Failure:
    """Of a call. ValueError: what gRPC raises for a closed channel. RuntimeError: no further thread was to be had, and
    for want of it gRPC may never read from this channel.
    """
    if isinstance(error, ValueError):
        return closed(endpoint)
    return Failure(endpoint=endpoint, code="UNAVAILABLE", details=str(error), spoilt=True)


def _keep_for_ever(channel: Any) -> None:
    """To close it, and so to finalize it, would wait for ever for the thread that is not there; at the interpreter's
    end, too, from which no list would keep it.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(channel))


class Way:
    """A channel to a node. calls: how many are in flight on it."""

    __slots__ = ("calls", "channel", "endpoint", "pem")

    def __init__(self, endpoint: str, channel: Any, pem: Pem | None) -> None:
        self.endpoint = endpoint
        self.channel = channel
        self.pem = pem
        self.calls = 0


class Channels:
    """A client's channels: one to each node for new calls, and those that only carry to its end what is in flight on
    them, since closing a channel ends its calls. Not thread-safe but for left().
    """

    def __init__(self, credentials: Credentials, make: Callable[[str, Pem | None], Any]) -> None:
        """make: a channel to an endpoint."""
        self._credentials = credentials
        self._make = make
        self._ways: dict[str, Way] = {}
        self._retired: list[Way] = []
        self._left: deque[Way] = deque()

    def take(self, endpoint: str) -> Way:
        """For one call, which ends with left()."""
        way = self._ways.get(endpoint)
        if way is None or way.pem is not self._credentials.pem:
            if way is not None:
                self._retired.append(way)
            pem = self._credentials.pem
            way = self._ways[endpoint] = Way(endpoint, self._make(endpoint, pem), pem)
        way.calls += 1
        return way

    def left(self, way: Way) -> None:
        """May be called by any thread, at any moment: by one that collects garbage too."""
        self._left.append(way)

    def heed(self, way: Way, failure: Failure) -> None:
        """A call on it ended so. No further one goes that way if the node wants another connection, or if this one is
        of no use.
        """
        if (failure.reason == RECONNECT or failure.spoilt) and self._ways.get(way.endpoint) is way:
            del self._ways[way.endpoint]
            if failure.spoilt:
                _keep_for_ever(way.channel)
            else:
                self._retired.append(way)

    def take_idle(self) -> list[Any]:
        """The channels that are of no more use, to be closed."""
        while self._left:
            self._left.popleft().calls -= 1
        if not self._retired:
            return []
        idle = [way for way in self._retired if not way.calls]
        self._retired = [way for way in self._retired if way.calls]
        return [way.channel for way in idle]

    def take_all(self) -> list[Any]:
        every = [*self._ways.values(), *self._retired]
        self._ways.clear()
        self._retired.clear()
        return [way.channel for way in every]


def channel_credentials(pem: Pem) -> Any:
    return grpc.ssl_channel_credentials(pem.cacert, pem.key, pem.cert)
