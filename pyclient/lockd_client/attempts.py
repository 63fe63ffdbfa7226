"""Which node to ask next, and what a failed attempt means. Pure: time and chance are arguments, nothing is sent here.

An attempt that failed leaves one of two states behind: certainly nothing was done, or nobody knows. Whether the call
may go out again depends on that and on the call (Repeat); what is raised in the end depends on whether any attempt
left the second state.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from lockd_client.endpoints import parse_endpoint
from lockd_client.errors import (
    CallFailed,
    InvalidArgument,
    LimitReached,
    LockdError,
    OutcomeUnknown,
    PermissionDenied,
    RequestTooOld,
    SessionLost,
    Unauthenticated,
    Unavailable,
)
from lockd_client.values import RequestId

ATTEMPT_S = 2.5  # a node that hangs costs this much of the timeout
ATTEMPT_MIN_S = 0.1  # what is left of the timeout and less than this is not used: it would only leave doubt behind
BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 0.5
REFUSED_PAUSE_S = 2.0  # before what nobody waits for is asked again, where the caller was refused
MOVE_PAUSE_S = 1.0  # between two moves to the leader, so that nodes that disagree do not send clients to and fro
UNFIT_S = 15.0  # how long an address that the cluster gave, and that did not answer, is not tried again

CODES = dict(
    enumerate(
        (
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        )
    )
)
"""gRPC's codes by their numbers."""

WITHDRAWN = "WITHDRAWN"  # the reason of a wait that ended with its node, or with its call; nothing is held
RECONNECT = "RECONNECT"  # the reason of a node that is to be asked again, by another connection
_UNDONE = frozenset({"NO_LEADER", "STOPPING", RECONNECT})  # reasons by which a node says that nothing was done


class Repeat(Enum):
    READ = auto()  # changes nothing
    SAFE = auto()  # acts once however often it is sent: it carries an id, or is idempotent
    ONCE = auto()  # sent again only where it certainly was not carried out


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """code: gRPC's name for it. sent: False only where the call certainly never left this process. patience: seconds
    after which the endpoint, if it goes on failing so, will not answer this client: 0 where it says at once that the
    two do not fit together. spoilt: whether the connection is of no further use, whatever the node is.
    """

    endpoint: str
    code: str
    reason: str = ""
    details: str = ""
    sent: bool = True
    patience: float = math.inf
    spoilt: bool = False

    @property
    def from_node(self) -> bool:
        """False where the connection broke, or time ran out, before the node said anything."""
        return bool(self.reason) or self.code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")

    @property
    def is_refusal(self) -> bool:
        """Asking again gives the same."""
        return _verdict(self) is _Verdict.REFUSED

    @property
    def is_of_the_caller(self) -> bool:
        """A refusal that may end: a limit, or credentials that are replaced. Whoever can wait asks again."""
        return self.is_refusal and self.code in ("RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "PERMISSION_DENIED")

    def on_the_way(self) -> "Failure":
        """Of the calls that were in flight on a stream when it ended so, or was left."""
        details = f"{self.reason or self.code}: {self.details}"
        return Failure(endpoint=self.endpoint, code="CANCELLED", details=details)

    def __str__(self) -> str:
        word = self.reason if self.reason and self.reason != self.code else self.code
        return f"{self.endpoint}: {word}: {self.details}" if self.details else f"{self.endpoint}: {word}"


class _Verdict(Enum):
    UNDONE = auto()  # nothing was done; ask again
    UNKNOWN = auto()  # it may have been done; asking again may tell
    REFUSED = auto()  # nothing was done; asking again gives the same
    BROKEN = auto()  # it may have been done; asking again gives the same


_KINDS: dict[str, type[LockdError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "RESOURCE_EXHAUSTED": LimitReached,
    "PERMISSION_DENIED": PermissionDenied,
    "UNAUTHENTICATED": Unauthenticated,
}

_REASONS: dict[str, type[LockdError]] = {
    "TOO_OLD": RequestTooOld,
    "ANSWERED": RequestTooOld,
    "SESSION_ENDED": SessionLost,
}

_FINAL = frozenset({*_REASONS, WITHDRAWN, "CANCELLED", "INVALID_ARGUMENT", "ID_REUSED"})
"""Reasons that say, whatever the attempts before did, that this request holds nothing and never will."""


def _verdict(failure: Failure) -> _Verdict:
    if not failure.sent:
        return _Verdict.UNDONE
    if failure.reason == "OUTCOME_UNKNOWN":
        return _Verdict.UNKNOWN
    if failure.reason in _FINAL:
        return _Verdict.REFUSED
    match failure.code:
        case "UNAVAILABLE" | "ABORTED":
            # A node gives a reason; without one, gRPC itself says that a connection broke.
            return _Verdict.UNDONE if failure.reason in _UNDONE else _Verdict.UNKNOWN
        case "DEADLINE_EXCEEDED" | "CANCELLED":
            return _Verdict.UNKNOWN
        case "UNKNOWN" | "INTERNAL" | "DATA_LOSS":
            return _Verdict.BROKEN
        case _:
            return _Verdict.REFUSED


class Doubt:
    """What is known of one call after the attempts that it had."""

    def __init__(self, repeat: Repeat, *, request: RequestId | None = None, in_doubt: bool = False) -> None:
        """request: what OutcomeUnknown is to carry. in_doubt: a call before this one may have carried it out."""
        self.request = request
        self.in_doubt = in_doubt
        self._repeat = repeat
        self._last: Failure | None = None
        self._tried: list[str] = []

    @property
    def is_untried(self) -> bool:
        return self._last is None

    def failed(self, failure: Failure) -> LockdError | None:
        """What to raise now; None to go on."""
        self._last = failure
        if failure.endpoint not in self._tried:
            self._tried.append(failure.endpoint)
        verdict = _verdict(failure)
        if verdict is _Verdict.REFUSED:
            return self._refusal(failure)
        in_doubt = verdict in (_Verdict.UNKNOWN, _Verdict.BROKEN)
        self.in_doubt |= in_doubt and self._repeat is not Repeat.READ
        if verdict is _Verdict.BROKEN:
            return self._outcome_unknown() if self.in_doubt else self._error(CallFailed, failure)
        if in_doubt and self._repeat is Repeat.ONCE:
            return self._outcome_unknown()
        return None

    def exhausted(self) -> LockdError:
        """What to raise when the time, or the nodes, have run out."""
        if self.in_doubt:
            return self._outcome_unknown()
        reason = self._last.reason if self._last else ""
        return Unavailable(self._last_error(), reason=reason, endpoints=self._tried)

    def _refusal(self, failure: Failure) -> LockdError:
        is_final = failure.reason in _FINAL or failure.code == "INVALID_ARGUMENT"
        if self.in_doubt and not is_final:  # an attempt before may have been carried out all the same
            return self._outcome_unknown()
        return self._error(_REASONS.get(failure.reason) or _KINDS.get(failure.code, CallFailed), failure)

    def _outcome_unknown(self) -> LockdError:
        return OutcomeUnknown(self._last_error(), endpoints=self._tried, request=self.request)

    def _error(self, kind: type[LockdError], failure: Failure) -> LockdError:
        return kind(str(failure), reason=failure.reason or failure.code, endpoints=self._tried)

    def _last_error(self) -> str:
        return str(self._last) if self._last else "the timeout ran out before the first attempt"


class Route:
    """Which endpoint a client turns to: in turn, beginning with the last that answered, and to the leader if the
    cluster says where it serves.
    """

    def __init__(self, endpoints: Sequence[str], chance: Callable[[], float]) -> None:
        """chance: 0 to 1."""
        self.endpoints = tuple(endpoints)
        self.not_before = 0.0  # when the next attempt may be made
        self.chance = chance
        self._place = 0
        self._failures = 0  # since anything succeeded
        self._moved = -MOVE_PAUSE_S
        self._unfit: dict[str, float] = {}
        self._returns = 0  # to the same endpoint since anything succeeded
        self._shut: dict[str, float] = {}  # endpoints, and from when on they count as such that will never answer

    @property
    def endpoint(self) -> str:
        return self.endpoints[self._place]

    def failed(self, endpoint: str, time: float, patience: float = math.inf) -> None:
        """The next endpoint's turn; after each round a pause. patience: the failure's."""
        if patience == math.inf:
            self._shut.pop(endpoint, None)
        else:
            self._shut[endpoint] = min(self._shut.get(endpoint, math.inf), time + patience)
        if endpoint not in self.endpoints:  # an address that the cluster gave
            self.unfit(endpoint, time)
            return
        self._failures += 1
        self._place = (self.endpoints.index(endpoint) + 1) % len(self.endpoints)
        turn, place = divmod(self._failures, len(self.endpoints))
        self.not_before = time + (self._backoff(turn) if place == 0 else 0.0)

    def returned(self, time: float) -> None:
        """The same endpoint is to be asked again, by another connection; the second time after a pause."""
        self.not_before = time + (self._backoff(self._returns) if self._returns else 0.0)
        self._returns += 1

    def is_shut(self, time: float) -> bool:
        """Whether no endpoint will answer, as far as their failures tell."""
        return all(self._shut.get(endpoint, math.inf) <= time for endpoint in self.endpoints)

    def unfit(self, endpoint: str, time: float) -> None:
        """The leader does not answer there."""
        self._unfit[endpoint] = time + UNFIT_S

    def rested(self) -> None:
        """Nobody has asked for anything for a while: the next call does not wait for the pause of those before."""
        self._failures = 0
        self.not_before = 0.0

    def succeeded(self, endpoint: str) -> None:
        self._failures = self._returns = 0
        self._shut.pop(endpoint, None)
        if endpoint in self.endpoints:
            self._place = self.endpoints.index(endpoint)

    def leader(self, address: str, time: float) -> str | None:
        """The endpoint to move to, for a client that is elsewhere. It counts as a move."""
        try:
            endpoint = parse_endpoint(address)
        except InvalidArgument:
            return None
        if time < self._moved + MOVE_PAUSE_S or time < self._unfit.get(endpoint, time):
            return None
        self._moved = time
        return endpoint

    def _backoff(self, turn: int) -> float:
        longest: float = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(turn - 1, 10))
        return longest * (0.5 + 0.5 * self.chance())
