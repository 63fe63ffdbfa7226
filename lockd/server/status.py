"""The one table from reasons to gRPC codes."""

import grpc

from lockd.access.refusal import Reason

CODES = {
    Reason.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.ID_REUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TOO_OLD: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ANSWERED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CANCELLED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NO_LEASE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.IN_SESSION: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SESSION_ENDED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.WITHDRAWN: grpc.StatusCode.ABORTED,
    Reason.SUPERSEDED: grpc.StatusCode.ABORTED,
    Reason.COMPACTED: grpc.StatusCode.OUT_OF_RANGE,
    Reason.NO_LEADER: grpc.StatusCode.UNAVAILABLE,
    Reason.NO_ANSWER: grpc.StatusCode.UNAVAILABLE,
    Reason.OUTCOME_UNKNOWN: grpc.StatusCode.UNKNOWN,
    Reason.LIMIT_REACHED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.STOPPING: grpc.StatusCode.UNAVAILABLE,
    Reason.WAITS_ELSEWHERE: grpc.StatusCode.UNAVAILABLE,
    Reason.SECRET_IN_USE: grpc.StatusCode.ALREADY_EXISTS,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.RECONNECT: grpc.StatusCode.UNAVAILABLE,
    Reason.UNKNOWN_SERVICE: grpc.StatusCode.NOT_FOUND,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}

REASON_TRAILER = "lockd-reason"
"""ASCII; what lockd's own client reads."""

LEADER_TRAILER = "lockd-leader"
"""Where the leader serves clients, as this node knows."""


def number(code: grpc.StatusCode) -> int:
    """gRPC's number of the code."""
    return int(code.value[0])
