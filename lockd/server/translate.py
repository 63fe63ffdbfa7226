"""Public messages <-> machine values. Pure.

An answer is made as a dict of the response's fields, zeros left out: protobuf fills a message from it, also where the
message is part of another, without an object in between.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from lockd.access import bounds
from lockd.access.refusal import Reason, Refused
from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd_client.proto import lockd_pb2 as pb

LIST_PAGE = 100

OWN_ASKED = b"\x00"
"""In place of a digest, where the node makes the id: nobody can use it for another request."""

Fields = dict[str, Any]
Identified = pb.LockRequest | pb.UnlockRequest | pb.OpenSessionRequest | pb.CreateTokenRequest

_MODES = (c.Mode.EXCLUSIVE, c.Mode.SHARED)
_ROLES = {pb.READ: c.Role.READ, pb.LOCK: c.Role.LOCK, pb.ADMIN: c.Role.ADMIN}
_KINDS: dict[int, c.Kind] = {pb.CLIENT: c.Kind.CLIENT, pb.RESOURCE: c.Kind.RESOURCE}
_FILTERS = (None, c.Mode.EXCLUSIVE, c.Mode.SHARED)

EVENT_KINDS = {
    o.What.GRANTED: pb.EVENT_GRANTED,
    o.What.RELEASED: pb.EVENT_RELEASED,
    o.What.EXPIRED: pb.EVENT_EXPIRED,
    o.What.BROKEN: pb.EVENT_BROKEN,
    o.What.WAITING: pb.EVENT_WAITING,
    o.What.LEFT: pb.EVENT_LEFT,
    o.What.DELAY_ENDED: pb.EVENT_DELAY_ENDED,
}


# -- request ids


def request(message: Identified, caller: str) -> c.Request:
    """Raises Refused."""
    id = message.request
    answered = None
    if id.client:
        ranges = tuple([(span.first, span.last) for span in id.answered]) if id.answered else ()
        answered = c.Answered(id.answered_below, ranges)
    return c.Request(key(id, caller), asked(message), id.not_after_ms, answered)


def key(id: pb.RequestId, caller: str) -> c.Key:
    """Raises Refused."""
    bounds.check_id(id.id, id.client, id.sequence)
    if id.client:
        return c.Key(caller, c.CLIENT_ID + id.client + id.sequence.to_bytes(8, "big"))
    return c.Key(caller, c.FREE_ID + id.id)


def asked(message: Identified) -> bytes:
    """A digest of everything in the request but its id and the attempt: what a repeated id is compared by."""
    plain = type(message)()
    plain.CopyFrom(message)  # type: ignore[arg-type]  # of its own type
    plain.ClearField("request")
    if isinstance(plain, pb.LockRequest):
        plain.ClearField("attempt")
    kind = message.DESCRIPTOR.name.encode()
    return hashlib.blake2b(kind + b"\n" + plain.SerializeToString(deterministic=True), digest_size=16).digest()


# -- commands


def acquire(message: pb.LockRequest, call: c.Call, request: c.Request) -> c.Acquire:
    """Raises Refused."""
    return c.Acquire(
        call=call,
        request=request,
        wants=_wants(message),
        attempt=message.attempt,
        session=message.session_id,
        agent=message.agent,
        ttl_ms=message.ttl_ms,
        wait_ms=message.wait_ms,
        lock_delay_ms=message.lock_delay_ms,
        reentrant=message.reentrant,
        owner=message.owner,
        reason=message.reason,
        metadata=tuple(sorted(message.metadata.items())) if message.metadata else (),
    )


def _wants(message: pb.LockRequest) -> tuple[c.Want, ...]:
    wants = message.wants[:]
    if not wants:
        return (c.Want(message.name, _mode(message.mode)),)
    if message.name or message.mode:
        raise Refused(Reason.INVALID_ARGUMENT, "wants stands beside name and mode; a request has one of them")
    return tuple([c.Want(want.name, _mode(want.mode)) for want in wants])


def _mode(number: int) -> c.Mode:
    return _MODES[_known("mode", number, len(_MODES))]


def _known(field: str, number: int, count: int) -> int:
    """Numbers of enums are open: any may come."""
    if not 0 <= number < count:
        raise Refused(Reason.INVALID_ARGUMENT, f"{field} is {number}; it takes 0 to {count - 1}")
    return number


def release(message: pb.UnlockRequest, call: c.Call, request: c.Request) -> c.Release:
    return c.Release(
        call=call,
        request=request,
        token=message.token,
        name=message.name,
        session=message.session_id,
        agent=message.agent,
        force=message.force,
        reason=message.reason,
        owner=message.owner,
    )


def open_session(message: pb.OpenSessionRequest, call: c.Call, request: c.Request) -> c.OpenSession:
    return c.OpenSession(call=call, request=request, ttl_ms=message.ttl_ms, owner=message.owner)


def cancel(message: pb.CancelRequest, call: c.Call, caller: str) -> c.Cancel:
    """Raises Refused."""
    return c.Cancel(call=call, key=key(message.request, caller))


def keep_alive(message: pb.KeepAliveRequest, call: c.Call, caller: str) -> c.KeepAlive:
    return c.KeepAlive(call=call, caller=caller, session=message.session_id)


def close_session(message: pb.CloseSessionRequest, call: c.Call, caller: str) -> c.CloseSession:
    return c.CloseSession(call=call, caller=caller, session=message.session_id)


def renew(message: pb.RenewRequest, call: c.Call, caller: str) -> c.Renew:
    return c.Renew(call=call, caller=caller, token=message.token, ttl_ms=message.ttl_ms)


def is_locked(message: pb.IsLockedRequest, call: c.Call, _caller: str) -> c.IsLocked:
    return c.IsLocked(call=call, name=message.name)


def get(message: pb.GetRequest, call: c.Call, _caller: str) -> c.Get:
    return c.Get(call=call, name=message.name, limit=message.limit or LIST_PAGE)


def list_holds(message: pb.ListRequest, call: c.Call, _caller: str) -> c.ListHolds:
    """Raises Refused."""
    return c.ListHolds(
        call=call,
        prefix=message.prefix,
        after=message.after,
        limit=message.limit or LIST_PAGE,
        owner=message.owner,
        mode=_FILTERS[_known("mode", message.mode, len(_FILTERS))],
        with_waiters=message.with_waiters,
        token=message.token,
    )


def check_token(message: pb.CheckTokenRequest, call: c.Call, _caller: str) -> c.CheckToken:
    return c.CheckToken(call=call, name=message.name, token=message.token)


def create_token(message: pb.CreateTokenRequest, call: c.Call, request: c.Request) -> c.CreateCredential:
    """Raises Refused."""
    role = _ROLES.get(message.role)
    if role is None:
        raise Refused(Reason.INVALID_ARGUMENT, f"role is {message.role}; it takes 1 (READ), 2 (LOCK) or 3 (ADMIN)")
    return c.CreateCredential(
        call=call,
        request=request,
        name=message.name,
        role=role,
        prefixes=tuple(message.prefixes),
        sha256=message.secret_sha256,
    )


def list_tokens(message: pb.ListTokensRequest, call: c.Call, _caller: str) -> c.ListCredentials:
    return c.ListCredentials(call=call, after=message.after, limit=message.limit or LIST_PAGE)


def revoke_token(message: pb.RevokeTokenRequest, call: c.Call, _caller: str) -> c.RevokeCredential:
    return c.RevokeCredential(call=call, id=message.token_id)


def register(message: pb.RegisterRequest, call: c.Call, _caller: str) -> c.Register:
    """Raises Refused."""
    return c.Register(call=call, kind=_kind(message.kind), name=message.name)


def unregister(message: pb.UnregisterRequest, call: c.Call, _caller: str) -> c.Unregister:
    """Raises Refused."""
    return c.Unregister(call=call, kind=_kind(message.kind), id=message.id)


def list_registered(message: pb.ListRegisteredRequest, call: c.Call, _caller: str) -> c.ListRegistered:
    """Raises Refused."""
    return c.ListRegistered(
        call=call,
        kind=_kind(message.kind),
        after=message.after,
        limit=message.limit or LIST_PAGE,
        name=message.name,
        id=message.id,
    )


def _kind(number: int) -> c.Kind:
    kind = _KINDS.get(number)
    if kind is None:
        raise Refused(Reason.INVALID_ARGUMENT, f"kind is {number}; it takes 1 (CLIENT) or 2 (RESOURCE)")
    return kind


def is_stale(message: pb.IsLockedRequest | pb.GetRequest | pb.ListRequest) -> bool:
    """Whether the node itself is to answer. Raises Refused."""
    return _known("consistency", message.consistency, 2) == pb.STALE


# -- outcomes


def lock_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    match outcome:
        case o.Granted(token, lease_remaining_ms, waited_ms, count):
            return {
                "outcome": pb.GRANTED,
                "acquired": True,
                "token": token,
                "lease_remaining_ms": lease_remaining_ms,
                "waited_ms": waited_ms,
                "count": count,
                "clock_ms": clock_ms,
            }
        case o.Queued(position):
            return {"outcome": pb.QUEUED, "queue_position": position, "clock_ms": clock_ms}
        case o.HeldByOther(conflict):
            return {"outcome": pb.HELD_BY_OTHER, "clock_ms": clock_ms, **_conflict(conflict)}
        case o.TimedOut(conflict):
            return {"outcome": pb.TIMED_OUT, "clock_ms": clock_ms, **_conflict(conflict)}
        case o.Deadlock(cycle):
            return {"outcome": pb.DEADLOCK, "cycle": [_link(link) for link in cycle], "clock_ms": clock_ms}
        case o.UpgradeRefused(token):
            return {"outcome": pb.UPGRADE_REFUSED, "token": token, "clock_ms": clock_ms}
        case o.Lost(token):
            return {"outcome": pb.LOST, "token": token, "clock_ms": clock_ms}
        case o.Cancelled():
            return {"outcome": pb.CANCELLED, "clock_ms": clock_ms}
    raise AssertionError(f"a Lock cannot end as {outcome}")


def unlock_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    match outcome:
        case o.Released(_, count):
            return {"outcome": pb.RELEASED, "released": True, "count": count, "clock_ms": clock_ms}
        case o.NotHeld(found):
            return {"outcome": pb.NOT_HELD, "holders": holders(found), "clock_ms": clock_ms}
        case o.Cancelled():
            return {"outcome": pb.CANCELLED, "clock_ms": clock_ms}
    raise AssertionError(f"an Unlock cannot end as {outcome}")


def cancel_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    if isinstance(outcome, o.Cancelled):
        return {"outcome": pb.CANCELLED, "clock_ms": clock_ms}
    raise AssertionError(f"a Cancel cannot end as {outcome}")


def renew_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    match outcome:
        case o.Renewed(lease_remaining_ms):
            return {"outcome": pb.RENEWED, "lease_remaining_ms": lease_remaining_ms, "clock_ms": clock_ms}
        case o.NotHeld():
            return {"outcome": pb.NOT_HELD, "clock_ms": clock_ms}
    raise AssertionError(f"a Renew cannot end as {outcome}")


def open_session_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    """Raises Refused."""
    match outcome:
        case o.Opened(session, lease_remaining_ms, ttl_ms):
            return {
                "session_id": session,
                "lease_remaining_ms": lease_remaining_ms,
                "ttl_ms": ttl_ms,
                "clock_ms": clock_ms,
            }
        case o.Cancelled():
            raise Refused(Reason.CANCELLED)
    raise AssertionError(f"an OpenSession cannot end as {outcome}")


def keep_alive_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    if isinstance(outcome, o.Kept):
        return {"lease_remaining_ms": outcome.lease_remaining_ms, "clock_ms": clock_ms}
    raise AssertionError(f"a KeepAlive cannot end as {outcome}")


def close_session_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    if isinstance(outcome, o.Closed):
        return {"clock_ms": clock_ms}
    raise AssertionError(f"a CloseSession cannot end as {outcome}")


def is_locked_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    assert isinstance(outcome, o.LockState)
    return {
        "is_locked": outcome.holders_count > 0,
        "holders": holders(outcome.holders),
        "delayed_until_ms": outcome.delayed_until_ms,
        "clock_ms": clock_ms,
    }


def get_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    assert isinstance(outcome, o.LockState)
    return {
        "holders": holders(outcome.holders),
        "waiters": waiters(outcome.waiters),
        "holders_count": outcome.holders_count,
        "waiters_count": outcome.waiters_count,
        "delayed_until_ms": outcome.delayed_until_ms,
        "clock_ms": clock_ms,
    }


def list_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    assert isinstance(outcome, o.Page)
    return {
        "holders": holders(outcome.holders),
        "waiters": waiters(outcome.waiters),
        "next": outcome.next,
        "clock_ms": clock_ms,
    }


def check_token_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    assert isinstance(outcome, o.TokenState)
    return {"is_current": outcome.is_current, "holders": holders(outcome.holders), "clock_ms": clock_ms}


def create_token_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    """Raises Refused."""
    match outcome:
        case o.CredentialCreated(id):
            return {"token_id": id, "clock_ms": clock_ms}
        case o.Cancelled():
            raise Refused(Reason.CANCELLED)
    raise AssertionError(f"a CreateToken cannot end as {outcome}")


def list_tokens_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    assert isinstance(outcome, o.Credentials)
    tokens = [
        {
            "token_id": each.id,
            "name": each.name,
            "role": each.role.value,
            "prefixes": each.prefixes,
            "created_ms": each.created_ms,
            "created_by": each.created_by,
        }
        for each in outcome.shown
    ]
    return {"tokens": tokens, "next": outcome.next, "clock_ms": clock_ms}


def revoke_token_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    assert isinstance(outcome, o.CredentialRevoked)
    return {"revoked": outcome.found, "clock_ms": clock_ms}


def register_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    assert isinstance(outcome, o.Registered)
    ((id, _),) = outcome.entries
    return {"id": id, "clock_ms": clock_ms}


def unregister_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    assert isinstance(outcome, o.Unregistered)
    return {"removed": outcome.found and not outcome.in_use, "in_use": outcome.in_use, "clock_ms": clock_ms}


def list_registered_response(outcome: o.Outcome, clock_ms: int) -> Fields:
    assert isinstance(outcome, o.Registered)
    entries = [{"id": id, "name": name} for id, name in outcome.entries]
    return {"entries": entries, "next": outcome.next, "clock_ms": clock_ms}


# -- parts


def holders(found: Iterable[o.Holder]) -> list[Fields]:
    return [
        {
            "name": holder.name,
            "mode": _number(holder.mode),
            "token": holder.token,
            "owner": holder.owner,
            "session_id": holder.session,
            "agent": holder.agent,
            "acquired_ms": holder.acquired_ms,
            "ttl_ms": holder.ttl_ms,
            "lease_remaining_ms": holder.lease_remaining_ms,
            "reason": holder.reason,
            "metadata": dict(holder.metadata),
            "count": holder.count,
            "names": holder.names,
            "identity": holder.identity,
        }
        for holder in found
    ]


def waiters(found: Iterable[o.Waiting]) -> list[Fields]:
    return [
        {
            "name": waiter.name,
            "mode": _number(waiter.mode),
            "position": waiter.position,
            "owner": waiter.owner,
            "session_id": waiter.session,
            "agent": waiter.agent,
            "since_ms": waiter.since_ms,
            "until_ms": waiter.until_ms,
            "reason": waiter.reason,
            "metadata": dict(waiter.metadata),
            "identity": waiter.identity,
        }
        for waiter in found
    ]


def event(found: o.Event, sees: Callable[[str], bool]) -> Fields:
    """sees: whether the watcher may know of a name."""
    return {
        "revision": found.revision,
        "kind": EVENT_KINDS[found.what],
        "wants": [{"name": name, "mode": _number(mode)} for name, mode in found.wants if sees(name)],
        "clock_ms": found.clock_ms,
        "token": found.token,
        "owner": found.owner,
        "session_id": found.session,
        "reason": found.reason,
        "by": found.by,
        "by_identity": found.by_identity,
        "by_credential": found.by_credential,
    }


def _number(mode: c.Mode) -> int:
    return pb.SHARED if mode is c.Mode.SHARED else pb.EXCLUSIVE


def _conflict(conflict: o.Conflict) -> Fields:
    return {
        "holders": holders(conflict.holders),
        "waiters": conflict.waiters,
        "delayed_until_ms": conflict.delayed_until_ms,
    }


def _link(link: o.Link) -> Fields:
    return {"owner": link.owner, "session_id": link.session, "agent": link.agent, "name": link.name}
