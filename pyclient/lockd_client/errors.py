"""What calls raise. The first paragraph of each docstring is what its message begins with, remedy included."""

from collections.abc import Sequence
from typing import ClassVar

from lockd_client.values import CycleLink, RequestId


class LockdError(Exception):
    """A call to lockd failed.

    `reason` is a word for programs: what the node sent as `lockd-reason`, else the gRPC code's name.
    `endpoints` are those that were tried, `last_error` is what the last of them said.
    """

    default_reason: ClassVar[str] = "FAILED"

    def __init__(self, last_error: str = "", *, reason: str = "", endpoints: Sequence[str] = ()) -> None:
        self.last_error = last_error
        self.reason = reason or self.default_reason
        self.endpoints = tuple(endpoints)
        super().__init__(last_error)

    def __str__(self) -> str:
        return " ".join([self._opening(), *self._particulars()])

    @classmethod
    def _opening(cls) -> str:
        paragraph = (cls.__doc__ or f"{cls.__name__}.").split("\n\n")[0]
        return " ".join(paragraph.split())

    def _particulars(self) -> list[str]:
        tried = [f"Tried {', '.join(self.endpoints)}."] if self.endpoints else []
        label = "Last error: " if self.endpoints else ""
        return tried + ([label + self.last_error] if self.last_error else [])


class InvalidArgument(LockdError, ValueError):
    """The call was refused and changed nothing: an argument is out of its bounds."""

    default_reason = "INVALID_ARGUMENT"


class LimitReached(LockdError):
    """The call was refused and changed nothing: a limit is reached. Try later, or raise that limit in cluster.yml."""

    default_reason = "RESOURCE_EXHAUSTED"


class PermissionDenied(LockdError):
    """The call was refused and changed nothing: this caller may not do it. Use the token (token= or LOCKD_TOKEN)
    of one that may, or have one made for this: `lockd token create`.
    """

    default_reason = "PERMISSION_DENIED"


class Unauthenticated(LockdError):
    """The call was refused and changed nothing: the node does not know this caller. Check its token (token=,
    token_file=, LOCKD_TOKEN, LOCKD_TOKEN_FILE or client.toml) or its certificate (cert= and key=).
    """

    default_reason = "UNAUTHENTICATED"


class Unavailable(LockdError):
    """No node answered in time, and nothing was changed. Check that lockd runs (`lockd status`) and that endpoints=
    or LOCKD_ENDPOINTS name its nodes.
    """

    default_reason = "UNAVAILABLE"


class OutcomeUnknown(LockdError):
    """The call may have been carried out, or not: its answer did not arrive. Where the error carries a request, make
    the same call again with request= to learn what became of it; where it carries none, look (is_locked, holders)
    before calling again.

    `request` is the id under which the call went out, None for calls that carry no id.
    """

    default_reason = "OUTCOME_UNKNOWN"

    def __init__(
        self,
        last_error: str = "",
        *,
        reason: str = "",
        endpoints: Sequence[str] = (),
        request: RequestId | None = None,
    ) -> None:
        super().__init__(last_error, reason=reason, endpoints=endpoints)
        self.request = request


class RequestTooOld(LockdError):
    """The cluster no longer answers this request id: its not_after_ms has passed and there is no record of it. Look at
    the lock (is_locked, holders), then make the call without request=.
    """

    default_reason = "TOO_OLD"


class CallFailed(LockdError):
    """The node failed the call, and another attempt would fail in the same way. Where the last error does not say what
    to do, look into that node's log, and compare the versions of client and node (`lockd status -o json`).
    """


class ClientClosed(LockdError):
    """This client was closed. Make a new LockdClient."""

    default_reason = "CLIENT_CLOSED"


class LockTimeout(LockdError):
    """The lock was not acquired within its wait, and nothing is held. Wait longer, or see who holds it (get)."""

    default_reason = "TIMED_OUT"


class LockLost(LockdError):
    """The lock was lost: its lease ended, or it was broken, before it was released. What it protected may have been
    touched by another holder since.
    """

    default_reason = "LOST"


class SessionLost(LockdError):
    """The session has ended, and with it all that was held and waited for in it. Open another."""

    default_reason = "SESSION_ENDED"


class NotOwned(LockdError):
    """The lock is not held by this object. Acquire it before it is released."""

    default_reason = "NOT_HELD"


class DeadlockError(LockdError):
    """The wait was refused: it would have closed a ring of holders that wait for each other. Release what is held,
    then try again; taking several locks with lock_all avoids this.

    `cycle` names the ring, the refused wait first.
    """

    default_reason = "DEADLOCK"

    def __init__(
        self,
        last_error: str = "",
        *,
        reason: str = "",
        endpoints: Sequence[str] = (),
        cycle: Sequence[CycleLink] = (),
    ) -> None:
        super().__init__(last_error, reason=reason, endpoints=endpoints)
        self.cycle = tuple(cycle)


class UpgradeRefused(LockdError):
    """The wait was refused: this agent holds the lock shared, and two that wait to have theirs exclusive would wait for
    each other. Release it, then acquire it exclusively.
    """

    default_reason = "UPGRADE_REFUSED"


class Compacted(LockdError):
    """The events from that revision on are no longer kept. Read the present state (list), then watch from now on."""

    default_reason = "COMPACTED"
