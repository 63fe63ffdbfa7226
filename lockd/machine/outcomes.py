"""What the machine answers: values, one class for each way a command can end."""

from dataclasses import dataclass
from enum import Enum

from .commands import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One hold, as others may see it."""

    name: str
    token: int
    owner: str
    acquired_ms: int
    ttl_ms: int
    lease_remaining_ms: int
    reason: str
    metadata: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Granted:
    token: int
    lease_remaining_ms: int


@dataclass(frozen=True, slots=True)
class HeldByOther:
    holders: tuple[Holder, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """The request was granted once; the hold has ended since."""

    token: int


@dataclass(frozen=True, slots=True)
class Released:
    token: int


@dataclass(frozen=True, slots=True)
class NotHeld:
    """Nothing was changed."""

    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True, slots=True)
class Renewed:
    lease_remaining_ms: int


@dataclass(frozen=True, slots=True)
class LockedState:
    holders: tuple[Holder, ...]


@dataclass(frozen=True, slots=True)
class Page:
    holders: tuple[Holder, ...]
    next: str = ""
    """Where the next page begins: after this name. Empty: there is none."""


class Refusal(Enum):
    """Nothing was done and nothing was recorded."""

    STALE_EPOCH = "the entry belongs to a deposed leader; ask the present one"
    TOO_OLD = "the request's not_after_ms has passed and its id is not on record"
    ID_REUSED = "another request was made under this id"
    NO_LEASE = "the hold has no lease: it is held until it is released"


@dataclass(frozen=True, slots=True)
class Passed:
    """A barrier's answer."""


Outcome = Granted | HeldByOther | Lost | Released | NotHeld | Renewed | LockedState | Page | Passed | Refusal


@dataclass(frozen=True, slots=True)
class Answer:
    call: Call
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Ended:
    """A hold that ended in this entry."""

    token: int
    name: str
    expired: bool


@dataclass(frozen=True, slots=True)
class Applied:
    """What one entry did."""

    answers: tuple[Answer, ...] = ()
    ended: tuple[Ended, ...] = ()
