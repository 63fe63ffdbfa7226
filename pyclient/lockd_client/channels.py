"""What both drivers know of gRPC: how channels are set up, and what became of a call that failed."""

import os
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

import grpc as grpc  # reads that when it is loaded; others take it from here

from lockd_client.attempts import Failure

ANSWER_BYTES_MAX = 16 * 1024 * 1024

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


def failure_of(endpoint: str, error: Any) -> Failure:
    """error: a grpc.RpcError, of either API."""
    code, details = error.code(), error.details() or ""
    reason = next((str(value) for key, value in error.trailing_metadata() or () if key == "lockd-reason"), "")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and not reason:
        details = "no answer in time"
    never_sent = code is grpc.StatusCode.UNAVAILABLE and not reason and details.startswith(_NEVER_SENT)
    return Failure(endpoint=endpoint, code=code.name, reason=reason, details=details, sent=not never_sent)


def ended(endpoint: str) -> Failure:
    """Of a stream that the node ended without an error."""
    return Failure(endpoint=endpoint, code="UNAVAILABLE", details="the node ended the stream")


def closed(endpoint: str) -> Failure:
    """Of a call on a channel that was closed here before it was sent."""
    return Failure(endpoint=endpoint, code="CANCELLED", details="the connection was closed here", sent=False)
