"""Client of lockd, a distributed lock service.

    from lockd_client import LockdClient

    client = LockdClient()
    with client.lock("nightly-report", ttl=30) as lock:
        ...
        lock.check()  # raises LockLost if it is not held any more

AsyncLockdClient has the same for asyncio.

What is offered here is loaded when it is first asked for: the daemon imports `lockd_client.proto`, and needs neither
the client nor what loading it sets up for processes that fork (transport.py).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockd_client.aio_client import AsyncLockdClient
    from lockd_client.aio_locks import AsyncLock, AsyncSession
    from lockd_client.client import LockdClient
    from lockd_client.clock import now
    from lockd_client.errors import (
        CallFailed,
        ClientClosed,
        Compacted,
        DeadlockError,
        InvalidArgument,
        LimitReached,
        LockdError,
        LockLost,
        LockTimeout,
        NotOwned,
        OutcomeUnknown,
        PermissionDenied,
        RequestTooOld,
        SessionLost,
        Unauthenticated,
        Unavailable,
        UpgradeRefused,
    )
    from lockd_client.locks import Lock, Session
    from lockd_client.values import (
        AccessToken,
        CycleLink,
        Event,
        EventKind,
        Explanation,
        Holder,
        Leader,
        LockAnswer,
        LockInfo,
        Mode,
        NewToken,
        Outcome,
        Peer,
        RenewAnswer,
        RequestId,
        Role,
        State,
        Status,
        TokenCheck,
        UnlockAnswer,
        Waiter,
        WaitingHolder,
    )

__all__ = [
    "AccessToken",
    "AsyncLock",
    "AsyncLockdClient",
    "AsyncSession",
    "CallFailed",
    "ClientClosed",
    "Compacted",
    "CycleLink",
    "DeadlockError",
    "Event",
    "EventKind",
    "Explanation",
    "Holder",
    "InvalidArgument",
    "Leader",
    "LimitReached",
    "Lock",
    "LockAnswer",
    "LockInfo",
    "LockLost",
    "LockTimeout",
    "LockdClient",
    "LockdError",
    "Mode",
    "NewToken",
    "NotOwned",
    "Outcome",
    "OutcomeUnknown",
    "Peer",
    "PermissionDenied",
    "RenewAnswer",
    "RequestId",
    "RequestTooOld",
    "Role",
    "Session",
    "SessionLost",
    "State",
    "Status",
    "TokenCheck",
    "Unauthenticated",
    "Unavailable",
    "UnlockAnswer",
    "UpgradeRefused",
    "Waiter",
    "WaitingHolder",
    "now",
]

_VALUES = (
    "AccessToken",
    "CycleLink",
    "Event",
    "EventKind",
    "Explanation",
    "Holder",
    "Leader",
    "LockAnswer",
    "LockInfo",
    "Mode",
    "NewToken",
    "Outcome",
    "Peer",
    "RenewAnswer",
    "RequestId",
    "Role",
    "State",
    "Status",
    "TokenCheck",
    "UnlockAnswer",
    "Waiter",
    "WaitingHolder",
)
_ELSEWHERE = {
    "AsyncLock": "aio_locks",
    "AsyncLockdClient": "aio_client",
    "AsyncSession": "aio_locks",
    "Lock": "locks",
    "LockdClient": "client",
    "Session": "locks",
    "now": "clock",
} | dict.fromkeys(_VALUES, "values")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lockd_client.{_ELSEWHERE.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
