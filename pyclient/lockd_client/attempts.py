"""Which node to ask next, and what a failed call means. Pure: time and chance are arguments, nothing is sent here.

An attempt that failed leaves one of two states behind: certainly nothing was done, or nobody knows. Whether the call
may go out again depends on that and on the call (Repeat); what is raised in the end depends on whether any attempt
left the second state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from lockd_client.errors import (
    CallFailed,
    InvalidArgument,
    LimitReached,
    LockdError,
    OutcomeUnknown,
    PermissionDenied,
    RequestTooOld,
    Unauthenticated,
    Unavailable,
)
from lockd_client.values import RequestId

ATTEMPT_S = 2.5  # a node that hangs costs this much of the timeout
ATTEMPT_MIN_S = 0.1  # what is left of the timeout and less than this is not used: it would only leave doubt behind
BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 0.5


class Repeat(Enum):
    READ = auto()  # changes nothing
    SAFE = auto()  # acts once however often it is sent: it carries an id, or is idempotent
    ONCE = auto()  # sent again only where it certainly was not carried out


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """code: gRPC's name for it. sent: False only where the call certainly never left this process."""

    endpoint: str
    code: str
    reason: str
    details: str
    sent: bool = True

    @property
    def from_node(self) -> bool:
        """False where the connection broke, or time ran out, before the node said anything."""
        return bool(self.reason) or self.code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")

    def __str__(self) -> str:
        word = self.reason if self.reason and self.reason != self.code else self.code
        return f"{self.endpoint}: {word}: {self.details}" if self.details else f"{self.endpoint}: {word}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """Wait `delay` seconds, then ask `endpoint` for at most `timeout` seconds."""

    endpoint: str
    delay: float
    timeout: float


class _Verdict(Enum):
    UNDONE = auto()  # nothing was done; ask again
    UNKNOWN = auto()  # it may have been done; asking again may tell
    REFUSED = auto()  # nothing was done; asking again gives the same
    BROKEN = auto()  # it may have been done; asking again gives the same


_REFUSALS: dict[str, type[LockdError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "RESOURCE_EXHAUSTED": LimitReached,
    "PERMISSION_DENIED": PermissionDenied,
    "UNAUTHENTICATED": Unauthenticated,
}


_UNDONE = frozenset({"NO_LEADER", "STOPPING"})  # reasons by which a node says that nothing was done


def _verdict(failure: Failure) -> _Verdict:
    if not failure.sent:
        return _Verdict.UNDONE
    if failure.reason == "OUTCOME_UNKNOWN":
        return _Verdict.UNKNOWN
    if failure.reason == RequestTooOld.default_reason:
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


class Attempts:
    """The attempts of one call, over endpoints in turn, until `deadline` or for so many rounds."""

    def __init__(
        self,
        endpoints: Sequence[str],
        repeat: Repeat,
        *,
        deadline: float,
        chance: Callable[[], float],
        request: RequestId | None = None,
        rounds: int | None = None,
        in_doubt: bool = False,
    ) -> None:
        """deadline: on the clock of next()'s argument. chance: 0 to 1. request: what OutcomeUnknown is to carry.

        in_doubt: a call before this one may have carried the request out.
        """
        self._endpoints = tuple(endpoints)
        self._repeat = repeat
        self._deadline = deadline
        self._chance = chance
        self._request = request
        self._rounds = rounds
        self._made = 0
        self._in_doubt = in_doubt
        self._last: Failure | None = None

    def next(self, time: float) -> Attempt | None:
        """None when the time or the rounds have run out."""
        turn, place = divmod(self._made, len(self._endpoints))
        if self._rounds is not None and turn >= self._rounds:
            return None
        delay = self._backoff(turn) if turn and place == 0 else 0.0
        left = self._deadline - time - delay
        if left < (ATTEMPT_MIN_S if self._made else 0.0):
            return None
        self._made += 1
        return Attempt(self._endpoints[place], delay, min(left, self._patience(left)))

    def failed(self, failure: Failure) -> LockdError | None:
        """What to raise now; None to go on."""
        self._last = failure
        verdict = _verdict(failure)
        if verdict is _Verdict.REFUSED:
            return self._refusal(failure)
        in_doubt = verdict in (_Verdict.UNKNOWN, _Verdict.BROKEN)
        self._in_doubt |= in_doubt and self._repeat is not Repeat.READ
        if verdict is _Verdict.BROKEN:
            return self._outcome_unknown() if self._in_doubt else self._error(CallFailed, failure)
        if in_doubt and self._repeat is Repeat.ONCE:
            return self._outcome_unknown()
        return None

    def exhausted(self) -> LockdError:
        """What to raise when next() has no more."""
        if self._in_doubt:
            return self._outcome_unknown()
        return Unavailable(self._last_error(), reason=self._last.reason if self._last else "", endpoints=self._tried())

    def _refusal(self, failure: Failure) -> LockdError:
        if failure.reason == RequestTooOld.default_reason:
            return self._error(RequestTooOld, failure)
        if (
            self._in_doubt and failure.code != "INVALID_ARGUMENT"
        ):  # this node refuses, and an attempt before may have been carried out all the same
            return self._outcome_unknown()
        return self._error(_REFUSALS.get(failure.code, CallFailed), failure)

    def _outcome_unknown(self) -> LockdError:
        return OutcomeUnknown(self._last_error(), endpoints=self._tried(), request=self._request)

    def _error(self, kind: type[LockdError], failure: Failure) -> LockdError:
        return kind(str(failure), reason=failure.reason or failure.code, endpoints=self._tried())

    def _last_error(self) -> str:
        return str(self._last) if self._last else "the timeout ran out before the first attempt"

    def _tried(self) -> tuple[str, ...]:
        return self._endpoints[: self._made]

    def _patience(self, left: float) -> float:
        """A call that cannot be repeated after it timed out is given longer, and others still have their turn."""
        if self._repeat is not Repeat.ONCE:
            return ATTEMPT_S
        return left if len(self._endpoints) == 1 else max(ATTEMPT_S, left / 2)

    def _backoff(self, turn: int) -> float:
        longest: float = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(turn - 1, 10))
        return longest * (0.5 + 0.5 * self._chance())
