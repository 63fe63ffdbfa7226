"""Client of lockd, a distributed lock service.

    from lockd_client import LockdClient

    with LockdClient() as client:
        answer = client.try_lock("nightly-report", ttl=30)
        if answer.acquired:
            ...
            client.unlock(answer.token)

What is offered here is loaded when it is first asked for: the daemon imports `lockd_client.proto`, and needs neither
the client nor what loading it sets up for processes that fork (transport.py).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockd_client.client import LockdClient
    from lockd_client.clock import now
    from lockd_client.errors import (
        CallFailed,
        ClientClosed,
        InvalidArgument,
        LimitReached,
        LockdError,
        OutcomeUnknown,
        PermissionDenied,
        RequestTooOld,
        Unauthenticated,
        Unavailable,
    )
    from lockd_client.values import Holder, LockAnswer, Outcome, Peer, RenewAnswer, RequestId, Status, UnlockAnswer

__all__ = [
    "CallFailed",
    "ClientClosed",
    "Holder",
    "InvalidArgument",
    "LimitReached",
    "LockAnswer",
    "LockdClient",
    "LockdError",
    "Outcome",
    "OutcomeUnknown",
    "Peer",
    "PermissionDenied",
    "RenewAnswer",
    "RequestId",
    "RequestTooOld",
    "Status",
    "Unauthenticated",
    "Unavailable",
    "UnlockAnswer",
    "now",
]

_VALUES = ("Holder", "LockAnswer", "Outcome", "Peer", "RenewAnswer", "RequestId", "Status", "UnlockAnswer")
_ELSEWHERE = {"LockdClient": "client", "now": "clock"} | dict.fromkeys(_VALUES, "values")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lockd_client.{_ELSEWHERE.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
