"""The bounds of every field that a caller fills in. A refusal names the field and the bound."""

import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, cast

from lockd.config import NAME, NAME_IS, Limits
from lockd.machine import commands as c
from lockd.machine.constants import LOCK_DELAY_MAX_MS, SET_MAX, TOKEN_MAX
from lockd.machine.soundness import SEQUENCE_MAX

from .refusal import Reason, Refused

REQUEST_ID_BYTES_MAX = 64
CLIENT_BYTES = 16
ANSWERED_RANGES_MAX = 64
AGENT_BYTES_MAX = 128
PREFIXES_MAX = 64
SHA256_BYTES = 32


def check(command: c.Command, limits: Limits) -> None:
    """Raises Refused. Commands that no caller can give pass."""
    of_kind = _CHECKS.get(type(command))
    if of_kind is not None:
        of_kind(command, limits)


# -- commands


def _check_acquire(ask: c.Acquire, limits: Limits) -> None:
    _check_wants(ask.wants, limits)
    if ask.session and ask.ttl_ms:
        raise _invalid("ttl_ms", f"is {ask.ttl_ms} beside a session_id; in a session the session's ttl counts")
    if ask.ttl_ms:
        check_ttl(ask.ttl_ms, limits, may_be_zero=True)
    if ask.wait_ms > limits.wait_max_ms:
        what = f"is {ask.wait_ms}; it takes up to {limits.wait_max_ms}, or less than 0 for no bound"
        raise _invalid("wait_ms", what, "wait_max_ms")
    if ask.lock_delay_ms > LOCK_DELAY_MAX_MS:
        raise _invalid("lock_delay_ms", f"is {ask.lock_delay_ms}; the bound is {LOCK_DELAY_MAX_MS}")
    if ask.reentrant and not (ask.session and ask.agent and len(ask.wants) == 1):
        raise _invalid("reentrant", "takes a session_id, an agent and exactly one name")
    check_text("agent", ask.agent, AGENT_BYTES_MAX)
    check_text("owner", ask.owner, limits.owner_bytes, "owner_bytes")
    check_text("reason", ask.reason, limits.reason_bytes, "reason_bytes")
    if ask.metadata:
        _check_metadata(ask.metadata, limits)
    check_request(ask.request)


def _check_wants(wants: tuple[c.Want, ...], limits: Limits) -> None:
    if len(wants) == 1:
        check_name(wants[0].name, limits)
        return
    if not 0 < len(wants) <= SET_MAX:
        raise _invalid("wants", f"has {len(wants)} names; it takes 1 to {SET_MAX}")
    seen: set[str] = set()
    for place, (name, _) in enumerate(wants):
        check_name(name, limits, f"wants[{place}].name")
        if name in seen:
            raise _invalid(f"wants[{place}].name", "is there twice; a set names each lock once")
        seen.add(name)


def _check_release(ask: c.Release, limits: Limits) -> None:
    check_text("reason", ask.reason, limits.reason_bytes, "reason_bytes")
    check_text("owner", ask.owner, limits.owner_bytes, "owner_bytes")
    check_request(ask.request)
    if ask.force and not ask.token:
        raise _invalid("token", "is missing; force takes the token of the hold that is to be broken")
    if ask.session:
        if ask.token:
            raise _invalid("token", "stands beside a session_id; a hold is named by one of them")
        if not ask.agent:
            raise _invalid("agent", "is missing; by session it is the session, the agent and the name that free a hold")
        check_text("agent", ask.agent, AGENT_BYTES_MAX)
    elif not ask.by_name:
        check_token(ask.token)
    if ask.name or not ask.token:
        check_name(ask.name, limits)


def _check_cancel(ask: c.Cancel, _limits: Limits) -> None:
    _check_key(ask.key)


def _check_renew(ask: c.Renew, limits: Limits) -> None:
    check_token(ask.token)
    check_ttl(ask.ttl_ms, limits, may_be_zero=False)


def _check_open_session(ask: c.OpenSession, limits: Limits) -> None:
    check_ttl(ask.ttl_ms, limits, may_be_zero=False)
    check_text("owner", ask.owner, limits.owner_bytes, "owner_bytes")
    check_request(ask.request)


def _check_session(ask: c.KeepAlive | c.CloseSession, _limits: Limits) -> None:
    if not ask.session:
        raise _invalid("session_id", "is missing; it is what OpenSession answered")


def _check_is_locked(ask: c.IsLocked, limits: Limits) -> None:
    check_name(ask.name, limits)


def _check_get(ask: c.Get, limits: Limits) -> None:
    check_name(ask.name, limits)
    check_page(ask.limit, limits)


def _check_list(ask: c.ListHolds, limits: Limits) -> None:
    check_text("prefix", ask.prefix, limits.name_bytes, "name_bytes")
    check_text("after", ask.after, limits.name_bytes, "name_bytes")
    check_text("owner", ask.owner, limits.owner_bytes, "owner_bytes")
    if ask.token:
        check_token(ask.token)
    check_page(ask.limit, limits)


def _check_check_token(ask: c.CheckToken, limits: Limits) -> None:
    check_name(ask.name, limits)
    check_token(ask.token)


def _check_create_credential(ask: c.CreateCredential, limits: Limits) -> None:
    if not NAME.fullmatch(ask.name):
        raise _invalid("name", f"is no identity: it takes {NAME_IS}")
    if len(ask.prefixes) > PREFIXES_MAX:
        raise _invalid("prefixes", f"has {len(ask.prefixes)}; the bound is {PREFIXES_MAX}")
    for place, prefix in enumerate(ask.prefixes):
        check_name(prefix, limits, f"prefixes[{place}]")
    if len(ask.sha256) != SHA256_BYTES:
        raise _invalid("secret_sha256", f"has {len(ask.sha256)} bytes; a SHA-256 has {SHA256_BYTES}")
    check_request(ask.request)


def _check_revoke_credential(ask: c.RevokeCredential, _limits: Limits) -> None:
    if not ask.id:
        raise _invalid("token_id", "is missing; it is what CreateToken answered")


def _check_list_credentials(ask: c.ListCredentials, limits: Limits) -> None:
    check_page(ask.limit, limits)


def _check_register(ask: c.Register, limits: Limits) -> None:
    if ask.kind is c.Kind.RESOURCE:
        check_name(ask.name, limits)
    elif not ask.name:
        raise _invalid("name", f"is empty; it takes 1 to {limits.owner_bytes} bytes")
    else:
        check_text("name", ask.name, limits.owner_bytes, "owner_bytes")


def _check_unregister(ask: c.Unregister, _limits: Limits) -> None:
    if not ask.id:
        raise _invalid("id", "is missing; it is what Register answered")


def _check_list_registered(ask: c.ListRegistered, limits: Limits) -> None:
    if ask.name and ask.id:
        raise _invalid("id", "stands beside a name; an entry is found by one of them")
    check_text("name", ask.name, limits.name_bytes, "name_bytes")
    check_page(ask.limit, limits)


_CHECKS = cast(
    dict[type, Callable[[Any, Limits], None]],
    {
        c.Acquire: _check_acquire,
        c.Release: _check_release,
        c.Cancel: _check_cancel,
        c.Renew: _check_renew,
        c.OpenSession: _check_open_session,
        c.KeepAlive: _check_session,
        c.CloseSession: _check_session,
        c.IsLocked: _check_is_locked,
        c.Get: _check_get,
        c.ListHolds: _check_list,
        c.CheckToken: _check_check_token,
        c.Register: _check_register,
        c.Unregister: _check_unregister,
        c.ListRegistered: _check_list_registered,
        c.CreateCredential: _check_create_credential,
        c.RevokeCredential: _check_revoke_credential,
        c.ListCredentials: _check_list_credentials,
    },
)


# -- fields


def check_name(name: str, limits: Limits, field: str = "name") -> None:
    if not name:
        raise _invalid(field, f"is empty; it takes 1 to {limits.name_bytes} bytes")
    check_text(field, name, limits.name_bytes, "name_bytes")


def check_text(field: str, text: str, bytes_max: int, limit: str = "") -> None:
    """Bounds the UTF-8 length and keeps control characters out. limit: the name of the limit that is the bound."""
    size = len(text) if text.isascii() else len(text.encode())
    if size > bytes_max:
        raise _invalid(field, f"has {size} bytes; the bound is {bytes_max}", limit)
    if text.isprintable():
        return
    for place, character in enumerate(text):
        if unicodedata.category(character) == "Cc":
            raise _invalid(field, f"has the control character U+{ord(character):04X} at place {place + 1}")


def _check_metadata(metadata: Iterable[tuple[str, str]], limits: Limits) -> None:
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata)
    if size > limits.metadata_bytes:
        raise _invalid("metadata", f"has {size} bytes; the bound is {limits.metadata_bytes}", "metadata_bytes")


def check_ttl(ttl_ms: int, limits: Limits, *, may_be_zero: bool) -> None:
    if ttl_ms == 0 and may_be_zero:
        return
    if not limits.ttl_min_ms <= ttl_ms <= limits.ttl_max_ms:
        zero = "0 (until it is unlocked) or " if may_be_zero else ""
        limit = "ttl_min_ms" if ttl_ms < limits.ttl_min_ms else "ttl_max_ms"
        raise _invalid("ttl_ms", f"is {ttl_ms}; it takes {zero}{limits.ttl_min_ms} to {limits.ttl_max_ms}", limit)


def check_token(token: int) -> None:
    if not 0 < token <= TOKEN_MAX:
        raise _invalid("token", f"is {token}; it takes 1 to {TOKEN_MAX}")


def check_page(limit: int, limits: Limits) -> None:
    if limit > limits.list_page_max:
        raise _invalid("limit", f"is {limit}; the bound is {limits.list_page_max}", "list_page_max")


# -- request ids


def check_id(id: bytes, client: bytes, sequence: int) -> None:
    """Of the two forms of an id, one is given, and whole."""
    if not client and not sequence:
        return
    if id:
        raise _invalid("request.id", "stands beside a client and sequence; a request has one of them")
    if len(client) != CLIENT_BYTES:
        raise _invalid("request.client", f"has {len(client)} bytes; it takes {CLIENT_BYTES}")
    if not 0 < sequence <= SEQUENCE_MAX:
        raise _invalid("request.sequence", f"is {sequence}; it takes 1 to {SEQUENCE_MAX}")


def check_request(request: c.Request) -> None:
    """not_after_ms has no upper bound: a node that lags would refuse honest callers by its clock, and a far one
    harms nobody but the caller, whose late duplicate may act again once its record has gone.
    """
    _check_key(request.key)
    if not request.not_after_ms:
        raise _invalid("request.not_after_ms", "is missing; it is the last clock_ms that was seen + 240000")
    if request.answered is not None:
        _check_answered(request.answered)


def _check_key(key: c.Key) -> None:
    size = len(key.id) - 1
    if not key.client and not 1 <= size <= REQUEST_ID_BYTES_MAX:
        raise _invalid("request.id", f"has {size} bytes; it takes 1 to {REQUEST_ID_BYTES_MAX}")


def _check_answered(answered: c.Answered) -> None:
    if len(answered.ranges) > ANSWERED_RANGES_MAX:
        raise _invalid("request.answered", f"has {len(answered.ranges)} ranges; the bound is {ANSWERED_RANGES_MAX}")
    if answered.below > SEQUENCE_MAX:
        raise _invalid("request.answered_below", f"is {answered.below}; the bound is {SEQUENCE_MAX}")
    least = answered.below
    for place, (first, last) in enumerate(answered.ranges):
        if last > SEQUENCE_MAX:
            raise _invalid(f"request.answered[{place}].last", f"is {last}; the bound is {SEQUENCE_MAX}")
        if not least <= first <= last:
            raise _invalid(
                f"request.answered[{place}]",
                f"is {first} to {last}; ranges ascend, apart from each other, above answered_below",
            )
        least = last + 1


def _invalid(field: str, what: str, limit: str = "") -> Refused:
    return Refused(Reason.INVALID_ARGUMENT, f"{field} {what}", limit=limit)
