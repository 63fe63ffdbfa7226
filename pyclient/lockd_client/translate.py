"""Between values and lockd.v1's messages: milliseconds and protobuf end here. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from lockd_client.clock import deadline_of
from lockd_client.errors import InvalidArgument
from lockd_client.proto import lockd_pb2
from lockd_client.values import (
    NO_DEADLINE,
    PASSED,
    AccessToken,
    CycleLink,
    Event,
    EventKind,
    Holder,
    LockAnswer,
    LockInfo,
    Mode,
    Outcome,
    Peer,
    RenewAnswer,
    RequestId,
    Role,
    Status,
    TokenCheck,
    UnlockAnswer,
    Waiter,
)

FOREVER_MS = -1  # of a wait

NameT = TypeVar("NameT", bound=StrEnum)


def milliseconds(seconds: float, what: str = "ttl") -> int:
    """Rounded up, so that nothing becomes 0, which means another thing. Raises InvalidArgument."""
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InvalidArgument(f"{what} is {seconds}; it is a number of seconds, 0 or more")
    return math.ceil(round(seconds * 1000, 6))


def wait_milliseconds(wait: float) -> int:
    """wait: seconds; infinite for as long as it takes. Raises InvalidArgument."""
    return FOREVER_MS if wait == math.inf else milliseconds(wait, "wait")


def _named(kind: type[NameT], numbers: EnumTypeWrapper, number: int, prefix: str = "") -> NameT | None:
    name = numbers.Name(number).removeprefix(prefix) if number in numbers.values() else ""
    return kind(name) if name in kind.__members__ else None


def mode_message(shared: bool) -> lockd_pb2.Mode:
    return lockd_pb2.SHARED if shared else lockd_pb2.EXCLUSIVE


def mode_of(number: int) -> Mode:
    return Mode.SHARED if number == lockd_pb2.SHARED else Mode.EXCLUSIVE


def outcome_of(number: int) -> Outcome:
    return _named(Outcome, lockd_pb2.Outcome, number) or Outcome.UNSPECIFIED


def request_message(request: RequestId, below: int = 0, ranges: Sequence[tuple[int, int]] = ()) -> lockd_pb2.RequestId:
    """below, ranges: what has been answered; only with a client and a sequence."""
    if request.id:
        return lockd_pb2.RequestId(id=request.id, not_after_ms=request.not_after_ms)
    return lockd_pb2.RequestId(
        client=request.client,
        sequence=request.sequence,
        not_after_ms=request.not_after_ms,
        answered_below=below,
        answered=[lockd_pb2.Range(first=first, last=last) for first, last in ranges],
    )


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
            mode=mode_of(message.mode),
            session_id=message.session_id,
            agent=message.agent,
            count=message.count,
            names=message.names,
            identity=message.identity,
        )
        for message in messages
    )


def waiters_of(messages: Iterable[lockd_pb2.Waiter], clock_ms: int) -> tuple[Waiter, ...]:
    return tuple(
        Waiter(
            name=message.name,
            mode=mode_of(message.mode),
            position=message.position,
            owner=message.owner,
            session_id=message.session_id,
            agent=message.agent,
            waited=max(0, clock_ms - message.since_ms) / 1000,
            until_ms=message.until_ms,
            reason=message.reason,
            metadata=dict(message.metadata),
            identity=message.identity,
        )
        for message in messages
    )


def lock_answer(message: lockd_pb2.LockResponse, sent: float, ttl_ms: int) -> LockAnswer:
    """ttl_ms: 0 where the hold has no lease of its own."""
    remaining, waited = message.lease_remaining_ms / 1000, message.waited_ms / 1000
    deadline = PASSED
    if message.acquired:
        deadline = deadline_of(sent, remaining, waited) if ttl_ms else NO_DEADLINE
    return LockAnswer(
        acquired=message.acquired,
        outcome=outcome_of(message.outcome),
        token=message.token,
        lease_remaining=remaining,
        deadline=deadline,
        holders=holders_of(message.holders, message.clock_ms) if message.holders else (),
        clock_ms=message.clock_ms,
        waited=waited,
        waiters=message.waiters,
        delayed_until_ms=message.delayed_until_ms,
        cycle=tuple(
            CycleLink(owner=link.owner, session_id=link.session_id, agent=link.agent, name=link.name)
            for link in message.cycle
        ),
        count=message.count,
        sent=sent,
    )


def unlock_answer(message: lockd_pb2.UnlockResponse) -> UnlockAnswer:
    return UnlockAnswer(
        released=message.released,
        outcome=outcome_of(message.outcome),
        holders=holders_of(message.holders, message.clock_ms) if message.holders else (),
        count=message.count,
    )


def renew_answer(message: lockd_pb2.RenewResponse, sent: float) -> RenewAnswer:
    renewed = message.outcome == lockd_pb2.RENEWED
    remaining = message.lease_remaining_ms / 1000
    deadline = deadline_of(sent, remaining) if renewed else PASSED
    return RenewAnswer(renewed=renewed, lease_remaining=remaining, deadline=deadline, sent=sent)


def kept_answer(message: lockd_pb2.KeepAliveResponse, sent: float) -> RenewAnswer:
    remaining = message.lease_remaining_ms / 1000
    return RenewAnswer(renewed=True, lease_remaining=remaining, deadline=deadline_of(sent, remaining), sent=sent)


@dataclass(frozen=True, slots=True)
class Opened:
    session_id: int
    ttl: float
    renewal: RenewAnswer


def opened(message: lockd_pb2.OpenSessionResponse, sent: float) -> Opened:
    remaining = message.lease_remaining_ms / 1000
    renewal = RenewAnswer(renewed=True, lease_remaining=remaining, deadline=deadline_of(sent, remaining), sent=sent)
    return Opened(message.session_id, message.ttl_ms / 1000, renewal)


@dataclass(frozen=True, slots=True)
class Page:
    """next: where the next page begins: after this name. Empty: there is none."""

    holders: tuple[Holder, ...]
    waiters: tuple[Waiter, ...]
    next: str


def page_of(message: lockd_pb2.ListResponse) -> Page:
    return Page(
        holders_of(message.holders, message.clock_ms), waiters_of(message.waiters, message.clock_ms), message.next
    )


def lock_info(name: str, message: lockd_pb2.GetResponse) -> LockInfo:
    return LockInfo(
        name=name,
        holders=holders_of(message.holders, message.clock_ms),
        waiters=waiters_of(message.waiters, message.clock_ms),
        holders_count=message.holders_count,
        waiters_count=message.waiters_count,
        delayed_until_ms=message.delayed_until_ms,
        clock_ms=message.clock_ms,
    )


def token_check(message: lockd_pb2.CheckTokenResponse) -> TokenCheck:
    return TokenCheck(is_current=message.is_current, holders=holders_of(message.holders, message.clock_ms))


def event_of(message: lockd_pb2.Event) -> Event:
    return Event(
        revision=message.revision,
        kind=_named(EventKind, lockd_pb2.EventKind, message.kind, "EVENT_") or EventKind.UNSPECIFIED,
        wants=tuple((want.name, mode_of(want.mode)) for want in message.wants),
        clock_ms=message.clock_ms,
        token=message.token,
        owner=message.owner,
        session_id=message.session_id,
        reason=message.reason,
        by=message.by,
        by_identity=message.by_identity,
        by_credential=message.by_credential,
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
        waiters=message.waiters,
        sessions=message.sessions,
        revision=message.revision,
        refused=dict(message.refused),
    )


_ROLES = {Role.READ: lockd_pb2.READ, Role.LOCK: lockd_pb2.LOCK, Role.ADMIN: lockd_pb2.ADMIN}


def role_message(role: Role | str) -> lockd_pb2.Role:
    """Raises InvalidArgument."""
    if role not in tuple(Role):
        raise InvalidArgument(f"role is {role!r}; it is one of {', '.join(Role)}")
    return _ROLES[Role(role)]


def role_of(number: int) -> Role | None:
    return next((role for role, known in _ROLES.items() if known == number), None)


def access_token(message: lockd_pb2.AccessToken) -> AccessToken:
    return AccessToken(
        id=message.token_id,
        name=message.name,
        role=role_of(message.role),
        prefixes=tuple(message.prefixes),
        created_ms=message.created_ms,
        created_by=message.created_by,
    )
