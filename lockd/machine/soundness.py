"""What every command must keep to so that `apply` can answer it with values that a store can hold.

Admission, at the node that took the call, has narrower bounds and says them to the caller. This is the leader's own
look at what other members propose: what entered the log is applied by every node, again after every restart, so one
command that made `apply` raise would end them all for good.
"""

from collections.abc import Callable
from typing import Any, cast

from . import commands as c
from .constants import LOCK_DELAY_MAX_MS, SET_MAX

DURATION_MAX_MS = 2**53
"""Of a ttl or a wait. Added to any clock it stays below what 64 bits hold."""

SEQUENCE_MAX = 2**63 - 1
"""Of a client's requests, and of what it says is answered."""

_CLIENT_ID_BYTES = 1 + 16 + 8


def unsound(command: c.Command) -> str:
    """What is wrong with it; empty where nothing is."""
    check = _CHECKS.get(type(command))
    return check(command) if check else ""


def _acquire(ask: c.Acquire) -> str:
    names = {name for name, _ in ask.wants}
    if not 0 < len(ask.wants) <= SET_MAX or len(names) < len(ask.wants) or "" in names:
        return f"wants: 1 to {SET_MAX} different names"
    if ask.session and ask.ttl_ms:
        return "ttl_ms: in a session the session's counts"
    if ask.wait_ms > DURATION_MAX_MS:
        return f"wait_ms: {ask.wait_ms} is above {DURATION_MAX_MS}"
    if ask.lock_delay_ms > LOCK_DELAY_MAX_MS:
        return f"lock_delay_ms: {ask.lock_delay_ms} is above {LOCK_DELAY_MAX_MS}"
    if ask.reentrant and not (ask.session and ask.agent and len(ask.wants) == 1):
        return "reentrant: takes a session, an agent and one name"
    return _ttl(ask.ttl_ms) or _request(ask.request)


def _ttl(ttl_ms: int) -> str:
    return f"ttl_ms: {ttl_ms} is above {DURATION_MAX_MS}" if ttl_ms > DURATION_MAX_MS else ""


def _request(request: c.Request) -> str:
    answered = request.answered
    if answered is None:
        return _key(request.key)
    if not request.key.client:
        return "answered: only with a client's sequence"
    least = answered.below
    for first, last in answered.ranges:
        if not least <= first <= last:
            return "answered: ranges ascend"
        least = last + 1
    return "answered: beyond any sequence" if least > SEQUENCE_MAX + 1 else _key(request.key)


def _key(key: c.Key) -> str:
    if key.id[:1] == c.CLIENT_ID:
        if len(key.id) != _CLIENT_ID_BYTES or key.sequence > SEQUENCE_MAX:
            return "key: no client and sequence"
    elif key.id[:1] != c.FREE_ID or len(key.id) == 1:
        return "key: of no known form"
    return ""


_CHECKS = cast(
    dict[type, Callable[[Any], str]],
    {
        c.Acquire: _acquire,
        c.Release: lambda ask: _request(ask.request),
        c.OpenSession: lambda ask: _ttl(ask.ttl_ms) or _request(ask.request),
        c.Renew: lambda ask: _ttl(ask.ttl_ms),
        c.Cancel: lambda ask: _key(ask.key),
        c.Withdraw: lambda ask: _key(ask.key),
        c.CreateCredential: lambda ask: _request(ask.request),
    },
)
