"""The records of the replicated state: what a store and a snapshot hold, and nothing that could be derived."""

from dataclasses import dataclass
from typing import NamedTuple

from .commands import Agent, Answered, Call, Key, Kind, Mode, Role, Want
from .outcomes import Link


@dataclass(frozen=True, slots=True)
class Scalars:
    clock_ms: int = 0
    epoch: int = 0
    version: int = 0
    last_token: int = 0
    last_lease: int = 0
    last_arrival: int = 0
    last_entry_id: int = 0
    """Of the registry."""
    revision: int = 0
    """Of the last event."""
    last_credential: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Of one hold, or a session."""

    id: int
    deadline_ms: int
    ttl_ms: int
    is_session: bool = False
    caller: str = ""
    owner: str = ""
    ending: bool = False
    """It has begun to end and accepts nothing; what is left of it ends with the next entries."""
    closed: bool = False
    """By CloseSession, not by its deadline: no lock delays begin."""
    closer: Call | None = None
    """The CloseSession to answer when it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One grant."""

    token: int
    key: Key
    wants: tuple[Want, ...]
    lease: int
    """0: without a lease, held until it is released."""
    session: int
    """The lease again where it is a session's, else 0."""
    agent: str
    owner: str
    reason: str
    metadata: tuple[tuple[str, str], ...]
    acquired_ms: int
    lock_delay_ms: int
    call: Call | None
    """The parked call that this grant answered. None once another attempt was answered with it."""
    count: int = 1
    by_name: bool = False

    @property
    def who(self) -> Agent | None:
        return Agent(self.key.caller, self.session, self.agent) if self.agent else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiter:
    """A request with a place in the queue of each of its names."""

    arrival: int
    key: Key
    wants: tuple[Want, ...]
    session: int
    agent: str
    ttl_ms: int
    until_ms: int
    """0: for as long as its session, or its call, lives."""
    lock_delay_ms: int
    owner: str
    reason: str
    metadata: tuple[tuple[str, str], ...]
    since_ms: int
    call: Call
    attempt: int
    parked_ms: int
    """The clock at the entry that took the present attempt in."""

    @property
    def who(self) -> Agent | None:
        return Agent(self.key.caller, self.session, self.agent) if self.agent else None


class DelayKey(NamedTuple):
    name: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Delay:
    """Until then a name is as if held in this mode."""

    name: str
    mode: Mode
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a request id was answered."""

    key: Key
    asked: bytes
    """Empty: cancelled before it was seen, so that any request under this id was meant."""
    outcome: str
    """The outcome's class. Queued while the request waits."""
    token: int = 0
    """Or the session's or the credential's id."""
    count: int = 0
    names: tuple[str, ...] = ()
    cycle: tuple[Link, ...] = ()
    until_ms: int = 0
    """0: as long as its waiter or hold lives."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Which of a client's sequences are answered for good."""

    caller: str
    client: bytes
    answered: Answered
    until_ms: int


class MarkKey(NamedTuple):
    caller: str
    client: bytes


class NodeKey(NamedTuple):
    node: int
    life: int


@dataclass(frozen=True, slots=True)
class NodeLease:
    """A node, in one life of its process, may park calls."""

    node: int
    life: int
    deadline_ms: int
    ending: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A client or a resource by name, under an id that is never used again."""

    id: int
    kind: Kind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A bearer token: whoever knows the secret with this hash is `name`."""

    id: int
    name: str
    role: Role
    prefixes: tuple[str, ...]
    sha256: bytes
    created_ms: int
    created_by: str


RECORDED = (
    "Queued",
    "Granted",
    "HeldByOther",
    "TimedOut",
    "Deadlock",
    "UpgradeRefused",
    "SessionEnded",
    "Withdrawn",
    "Cancelled",
    "Released",
    "NotHeld",
    "Opened",
    "CredentialCreated",
)
"""The outcomes that are kept in records. Stored by their place here: new ones go to the end."""

Value = Scalars | Lease | Hold | Waiter | Delay | Record | Mark | NodeLease | Entry | Credential

TABLES = ("scalars", "leases", "holds", "waiters", "delays", "records", "marks", "nodes", "registry", "credentials")
"""Keys: None; lease id; token; Key; DelayKey; Key; MarkKey; NodeKey; entry id; credential id."""


class Change(NamedTuple):
    """A record that came (value) or went (None)."""

    table: str
    key: object
    value: Value | None
