"""What the machine answers: values, one class for each way a command can end."""

from dataclasses import dataclass
from enum import Enum

from .commands import Call, Key, Kind, Mode, Role, Want


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One hold of one name, as others may see it."""

    name: str
    mode: Mode
    token: int
    owner: str
    session: int
    agent: str
    acquired_ms: int
    ttl_ms: int
    lease_remaining_ms: int
    reason: str
    metadata: tuple[tuple[str, str], ...]
    count: int
    """How often it was acquired, re-entrantly, and not yet released."""
    names: int
    """How many locks its grant spans."""
    identity: str = ""
    """Who took it; empty where nobody is asked who they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One waiter for one name. position: how many wait for this name before it."""

    name: str
    mode: Mode
    position: int
    owner: str
    session: int
    agent: str
    since_ms: int
    until_ms: int
    """0: for as long as its session, or its call, lives."""
    reason: str
    metadata: tuple[tuple[str, str], ...]
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Conflict:
    """What is in a request's way: at most HOLDERS_SHOWN holds, how many wait, and a lock delay."""

    holders: tuple[Holder, ...] = ()
    waiters: int = 0
    delayed_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """In a cycle: this agent waits for this lock, and so for the next agent."""

    owner: str
    session: int
    agent: str
    name: str


# -- of Acquire


@dataclass(frozen=True, slots=True)
class Granted:
    token: int
    lease_remaining_ms: int
    waited_ms: int = 0
    """Cluster time between the entry that took this attempt in and the one that granted."""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Queued:
    """Not the end: the call is parked. position: how many places, over all its names, are before its own."""

    position: int
    unchecked: bool = False
    """The search for a deadlock went over its bound, and the wait was admitted."""


@dataclass(frozen=True, slots=True)
class HeldByOther:
    conflict: Conflict


@dataclass(frozen=True, slots=True)
class TimedOut:
    conflict: Conflict


@dataclass(frozen=True, slots=True)
class Deadlock:
    """The wait would have closed this cycle. The first link is the request's own."""

    cycle: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class UpgradeRefused:
    """The agent holds the lock SHARED and asked, re-entrantly, for EXCLUSIVE."""

    token: int


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The session does not exist, is the caller's no more, or has begun to end."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The wait ended with the call, or with the node that parked it."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Of Cancel: the request holds nothing and never will. Of Acquire: it was cancelled."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A later attempt of the same request took this call's place, or was there before it."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The request was granted once; the hold has ended since."""

    token: int


# -- of the others


@dataclass(frozen=True, slots=True)
class Released:
    token: int
    count: int = 0
    """What is left of a re-entrant hold; 0: it is free."""


@dataclass(frozen=True, slots=True)
class NotHeld:
    """Nothing was changed."""

    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True, slots=True)
class Renewed:
    lease_remaining_ms: int


@dataclass(frozen=True, slots=True)
class Opened:
    session: int
    lease_remaining_ms: int
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Kept:
    lease_remaining_ms: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is gone, and all that it held."""


@dataclass(frozen=True, slots=True)
class LockState:
    """holders and waiters: at most as many as were asked for; the counts are whole."""

    holders: tuple[Holder, ...] = ()
    waiters: tuple[Waiting, ...] = ()
    holders_count: int = 0
    waiters_count: int = 0
    delayed_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    holders: tuple[Holder, ...]
    waiters: tuple[Waiting, ...] = ()
    next: str = ""
    """Where the next page begins: after this name. Empty: there is none."""


@dataclass(frozen=True, slots=True)
class TokenState:
    is_current: bool
    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True, slots=True)
class Registered:
    """One page of entries, as (id, name)."""

    kind: Kind
    entries: tuple[tuple[int, str], ...]
    next: int = 0
    """After which id the next page begins; 0: there is none."""


@dataclass(frozen=True, slots=True)
class Unregistered:
    """found: whether there was such an entry. in_use: it is referred to and stays."""

    found: bool
    in_use: bool = False


@dataclass(frozen=True, slots=True)
class CredentialCreated:
    id: int


@dataclass(frozen=True, slots=True)
class CredentialRevoked:
    """found: whether there was such a one."""

    found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialShown:
    """Without its hash."""

    id: int
    name: str
    role: Role
    prefixes: tuple[str, ...]
    created_ms: int
    created_by: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """One page. next: after which id the next one begins; 0: there is none."""

    shown: tuple[CredentialShown, ...]
    next: int = 0


@dataclass(frozen=True, slots=True)
class Passed:
    """A barrier's answer, a withdrawal's, and that of a node's lease."""


class Refusal(Enum):
    """Nothing was done and nothing was recorded."""

    STALE_EPOCH = "the entry belongs to a deposed leader; ask the present one"
    STALE_NODE = "the node's lease has ended; it opens another and asks again"
    TOO_OLD = "the request's not_after_ms has passed and its id is not on record"
    ANSWERED = "the client has said that it has this request's answer"
    ID_REUSED = "another request was made under this id"
    NO_LEASE = "the hold has no lease: it is held until it is released"
    IN_SESSION = "the hold lives as long as its session: keep the session alive"
    SECRET_IN_USE = "another credential has this secret"  # noqa: S105  # a reason, no password
    UNKNOWN_CALLER = "the leader does not know the caller (any more)"
    DENIED = "the caller may not do this"


Outcome = (
    Granted
    | Queued
    | HeldByOther
    | TimedOut
    | Deadlock
    | UpgradeRefused
    | SessionEnded
    | Withdrawn
    | Cancelled
    | Superseded
    | Lost
    | Released
    | NotHeld
    | Renewed
    | Opened
    | Kept
    | Closed
    | LockState
    | Page
    | TokenState
    | Registered
    | Unregistered
    | CredentialCreated
    | CredentialRevoked
    | Credentials
    | Passed
    | Refusal
)


@dataclass(frozen=True, slots=True)
class Answer:
    call: Call
    outcome: Outcome
    key: Key | None = None
    """Of an Acquire's answer: what a node names where nobody waits for that call any more."""


class What(Enum):
    """What happened to a lock. The values are those that watchers read."""

    GRANTED = "granted"
    RELEASED = "released"
    EXPIRED = "expired"
    BROKEN = "broken"
    WAITING = "waiting"
    LEFT = "left"
    """A waiter, without a grant."""
    DELAY_ENDED = "delay ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """revision: one number over all events of the cluster, rising by one."""

    revision: int
    what: What
    wants: tuple[Want, ...]
    clock_ms: int
    token: int = 0
    owner: str = ""
    session: int = 0
    reason: str = ""
    """Why a waiter left, or why a hold was broken."""
    by: str = ""
    """Who broke it, by their own label."""
    by_identity: str = ""
    """And who they are."""
    by_credential: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """What one entry did."""

    answers: tuple[Answer, ...] = ()
    events: tuple[Event, ...] = ()
