"""The one table from reasons to gRPC codes."""

import grpc

from lockd.access.refusal import Reason

CODES = {
    Reason.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.ID_REUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TOO_OLD: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NO_LEASE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NO_LEADER: grpc.StatusCode.UNAVAILABLE,
    Reason.NO_ANSWER: grpc.StatusCode.UNAVAILABLE,
    Reason.OUTCOME_UNKNOWN: grpc.StatusCode.UNKNOWN,
    Reason.LIMIT_REACHED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.STOPPING: grpc.StatusCode.UNAVAILABLE,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}

REASON_TRAILER = "lockd-reason"
"""ASCII; what lockd's own client reads."""
