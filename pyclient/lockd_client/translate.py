"""Between values and lockd.v1's messages: milliseconds and protobuf end here. Pure."""

import math
from collections.abc import Iterable

from lockd_client.clock import deadline_of
from lockd_client.errors import InvalidArgument
from lockd_client.proto import lockd_pb2
from lockd_client.values import (
    NO_DEADLINE,
    PASSED,
    Holder,
    LockAnswer,
    Outcome,
    Peer,
    RenewAnswer,
    RequestId,
    Status,
    UnlockAnswer,
)


def milliseconds(ttl: float) -> int:
    """Rounded up, so that no ttl becomes 0, which means another thing. Raises InvalidArgument."""
    if not (math.isfinite(ttl) and ttl >= 0):
        raise InvalidArgument(f"ttl is {ttl}; it is a number of seconds, 0 or more")
    return math.ceil(round(ttl * 1000, 6))


def outcome_of(number: int) -> Outcome:
    name = lockd_pb2.Outcome.Name(number) if number in lockd_pb2.Outcome.values() else ""
    return Outcome(name) if name in Outcome.__members__ else Outcome.UNSPECIFIED


def request_message(request: RequestId) -> lockd_pb2.RequestId:
    return lockd_pb2.RequestId(id=request.id, not_after_ms=request.not_after_ms)


def holders_of(messages: Iterable[lockd_pb2.Holder], clock_ms: int) -> tuple[Holder, ...]:
    return tuple(
        Holder(
            name=message.name,
            token=message.token,
            owner=message.owner,
            acquired_ms=message.acquired_ms,
            age=max(0, clock_ms - message.acquired_ms) / 1000,
            ttl=message.ttl_ms / 1000,
            lease_remaining=message.lease_remaining_ms / 1000,
            reason=message.reason,
            metadata=dict(message.metadata),
        )
        for message in messages
    )


def lock_answer(message: lockd_pb2.LockResponse, sent: float, ttl_ms: int) -> LockAnswer:
    remaining = message.lease_remaining_ms / 1000
    deadline = PASSED
    if message.acquired:
        deadline = deadline_of(sent, remaining) if ttl_ms else NO_DEADLINE
    return LockAnswer(
        acquired=message.acquired,
        outcome=outcome_of(message.outcome),
        token=message.token,
        lease_remaining=remaining,
        deadline=deadline,
        holders=holders_of(message.holders, message.clock_ms),
        clock_ms=message.clock_ms,
    )


def unlock_answer(message: lockd_pb2.UnlockResponse) -> UnlockAnswer:
    return UnlockAnswer(
        released=message.released,
        outcome=outcome_of(message.outcome),
        holders=holders_of(message.holders, message.clock_ms),
    )


def renew_answer(message: lockd_pb2.RenewResponse, sent: float) -> RenewAnswer:
    renewed = message.outcome == lockd_pb2.RENEWED
    remaining = message.lease_remaining_ms / 1000
    return RenewAnswer(
        renewed=renewed, lease_remaining=remaining, deadline=deadline_of(sent, remaining) if renewed else PASSED
    )


def status_of(message: lockd_pb2.StatusResponse) -> Status:
    return Status(
        node_id=message.node_id,
        version=message.version,
        role=message.role,
        leader_id=message.leader_id,
        leader_address=message.leader_address,
        term=message.term,
        epoch=message.epoch,
        clock_ms=message.clock_ms,
        commit_index=message.commit_index,
        applied_index=message.applied_index,
        first_log_index=message.first_log_index,
        last_log_index=message.last_log_index,
        held_locks=message.held_locks,
        request_records=message.request_records,
        machine_version=message.machine_version,
        peers=tuple(
            Peer(node_id=peer.node_id, address=peer.address, connected=peer.connected, match_index=peer.match_index)
            for peer in message.peers
        ),
    )
