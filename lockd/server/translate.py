"""Public messages <-> machine values. Pure."""

import hashlib
from collections.abc import Iterable

from lockd.access import bounds
from lockd.config import Limits
from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd_client.proto import lockd_pb2 as pb

LIST_PAGE = 100


def asked(message: pb.LockRequest | pb.UnlockRequest) -> bytes:
    """A digest of everything in the request but its id: what a repeated id is compared by."""
    plain = type(message).FromString(message.SerializeToString())
    plain.ClearField("request")
    kind = message.DESCRIPTOR.name.encode()
    return hashlib.blake2b(kind + b"\n" + plain.SerializeToString(deterministic=True), digest_size=16).digest()


def acquire(message: pb.LockRequest, request: c.Request, call: c.Call) -> c.Acquire:
    return c.Acquire(
        call=call,
        request=request,
        name=message.name,
        ttl_ms=message.ttl_ms,
        owner=message.owner,
        reason=message.reason,
        metadata=tuple(sorted(message.metadata.items())),
    )


def list_holds(message: pb.ListRequest, call: c.Call) -> c.ListHolds:
    limit = message.limit or LIST_PAGE
    return c.ListHolds(call=call, prefix=message.prefix, after=message.after, limit=limit, owner=message.owner)


def check_lock(message: pb.LockRequest, limits: Limits) -> None:
    bounds.check_name(message.name, limits)
    bounds.check_ttl(message.ttl_ms, limits, may_be_zero=True)
    bounds.check_text("owner", message.owner, limits.owner_bytes)
    bounds.check_text("reason", message.reason, limits.reason_bytes)
    bounds.check_metadata(message.metadata, limits)


def check_unlock(message: pb.UnlockRequest, limits: Limits) -> None:
    bounds.check_token(message.token)
    if message.name:
        bounds.check_name(message.name, limits)


def check_list(message: pb.ListRequest, limits: Limits) -> None:
    bounds.check_text("prefix", message.prefix, limits.name_bytes)
    bounds.check_text("after", message.after, limits.name_bytes)
    bounds.check_text("owner", message.owner, limits.owner_bytes)
    bounds.check_page(message.limit, limits)


def holders(found: Iterable[o.Holder]) -> list[pb.Holder]:
    return [
        pb.Holder(
            name=holder.name,
            token=holder.token,
            owner=holder.owner,
            acquired_ms=holder.acquired_ms,
            ttl_ms=holder.ttl_ms,
            lease_remaining_ms=holder.lease_remaining_ms,
            reason=holder.reason,
            metadata=dict(holder.metadata),
        )
        for holder in found
    ]


def lock_response(outcome: o.Outcome, clock_ms: int) -> pb.LockResponse:
    match outcome:
        case o.Granted(token, lease_remaining_ms):
            return pb.LockResponse(
                outcome=pb.GRANTED,
                acquired=True,
                token=token,
                lease_remaining_ms=lease_remaining_ms,
                clock_ms=clock_ms,
            )
        case o.HeldByOther(found):
            return pb.LockResponse(outcome=pb.HELD_BY_OTHER, holders=holders(found), clock_ms=clock_ms)
        case o.Lost(token):
            return pb.LockResponse(outcome=pb.LOST, token=token, clock_ms=clock_ms)
    raise AssertionError(f"a Lock cannot end as {outcome}")


def unlock_response(outcome: o.Outcome, clock_ms: int) -> pb.UnlockResponse:
    match outcome:
        case o.Released():
            return pb.UnlockResponse(outcome=pb.RELEASED, released=True, clock_ms=clock_ms)
        case o.NotHeld(found):
            return pb.UnlockResponse(outcome=pb.NOT_HELD, holders=holders(found), clock_ms=clock_ms)
    raise AssertionError(f"an Unlock cannot end as {outcome}")


def renew_response(outcome: o.Outcome, clock_ms: int) -> pb.RenewResponse:
    match outcome:
        case o.Renewed(lease_remaining_ms):
            return pb.RenewResponse(outcome=pb.RENEWED, lease_remaining_ms=lease_remaining_ms, clock_ms=clock_ms)
        case o.NotHeld():
            return pb.RenewResponse(outcome=pb.NOT_HELD, clock_ms=clock_ms)
    raise AssertionError(f"a Renew cannot end as {outcome}")
