"""What can be asked of the machine: frozen values, complete in themselves.

Limits and bounds were checked before a command was made, or travel in it.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Mode(Enum):
    EXCLUSIVE = 1
    SHARED = 2


class Want(NamedTuple):
    """One lock and how it is wanted. Several of them are one request: granted whole or not at all."""

    name: str
    mode: Mode


class Call(NamedTuple):
    """Where the answer goes: a call that a node has registered in this life of its process."""

    node: int
    life: int
    number: int


class Agent(NamedTuple):
    """A thread of control: the unit of re-entrancy and of deadlock detection."""

    caller: str
    session: int
    name: str


class Key(NamedTuple):
    """A request id, of one authenticated caller."""

    caller: str
    id: bytes
    """CLIENT_ID + 16 bytes of the client + 8 of the sequence, or FREE_ID + whatever the caller chose."""

    @property
    def client(self) -> bytes:
        """The client whose sequence this is; empty for an id of free form."""
        return self.id[1:17] if self.id[:1] == CLIENT_ID else b""

    @property
    def sequence(self) -> int:
        return int.from_bytes(self.id[17:], "big")


FREE_ID, CLIENT_ID = b"\x00", b"\x01"


class Answered(NamedTuple):
    """Of which of its sequences a client has all answers: those below, and those in [first, last] ranges above."""

    below: int
    ranges: tuple[tuple[int, int], ...] = ()


class Request(NamedTuple):
    """What makes a repeated command act once."""

    key: Key
    asked: bytes
    """A digest of what was asked: another request under the same id is told apart by it."""
    not_after_ms: int
    """On the cluster's clock: an id that is not on record is refused after it."""
    answered: Answered | None = None
    """With a client's sequence only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquire:
    """Take locks, wait for them, or learn who is in the way."""

    call: Call
    request: Request
    wants: tuple[Want, ...]
    attempt: int = 0
    """The client's count of its attempts at this request; 0 counts as higher than all before."""
    session: int = 0
    agent: str = ""
    """Empty: no agent, so no re-entrancy and no search for a deadlock."""
    ttl_ms: int = 0
    """Of a lease of the hold's own, without a session; 0: held until it is released."""
    wait_ms: int = 0
    """0: answer at once; below 0: for as long as the session, or the call, lives."""
    lock_delay_ms: int = 0
    reentrant: bool = False
    owner: str = ""
    reason: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    by_name: bool = False
    """Came in by a door that knows no tokens, so that the name alone frees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Free a hold: by token; by session, agent and name; or by name alone where it came in by name alone."""

    call: Call
    request: Request
    token: int = 0
    name: str = ""
    session: int = 0
    agent: str = ""
    by_name: bool = False
    force: bool = False
    """Whosever it is and whatever its count, with its lock delay: an operator's doing."""
    reason: str = ""
    owner: str = ""
    """Who forces, by their own label, for the event."""
    credential: str = ""
    """By which token or certificate, for the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Undo the request with this key: never seen, waiting or granted. Idempotent, hence without an id of its own."""

    call: Call
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """A node's doing, when a call without a session has ended. It acts only while `ended` is the waiter's or hold's."""

    call: Call
    key: Key
    ended: Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """Let the hold's own lease end no earlier than ttl_ms from now. Idempotent, hence without an id."""

    call: Call
    token: int
    ttl_ms: int
    caller: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    call: Call
    request: Request
    ttl_ms: int
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAlive:
    """Let the session end no earlier than its ttl from now. Idempotent, hence without an id."""

    call: Call
    caller: str
    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSession:
    """Answered when all that the session held is free. Idempotent, hence without an id."""

    call: Call
    caller: str
    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenNode:
    """Opens or renews the lease under which the node, in this life of its process, parks calls."""

    call: Call


@dataclass(frozen=True, slots=True, kw_only=True)
class IsLocked:
    call: Call
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Get:
    """One lock: its holds and its waiters in order, at most limit of each."""

    call: Call
    name: str
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ListHolds:
    """Locks by name, after a name, until limit holds (and, if asked for, waiters) were found."""

    call: Call
    prefix: str = ""
    after: str = ""
    limit: int = 100
    owner: str = ""
    mode: Mode | None = None
    with_waiters: bool = False
    token: int = 0
    """Of the only hold that is asked for, all of whose names are on one page; 0: any. No waiter has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckToken:
    """Whether the token is that of a present hold of this name."""

    call: Call
    name: str
    token: int


class Kind(Enum):
    """What the registry keeps."""

    CLIENT = 1
    RESOURCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """Get or create the entry of this name. Idempotent, hence without an id."""

    call: Call
    kind: Kind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unregister:
    """Remove an entry that no hold and no waiter refers to. Idempotent: ids are never used again."""

    call: Call
    kind: Kind
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRegistered:
    """Entries in the order of their ids, after an id; by name or by id, that one alone."""

    call: Call
    kind: Kind
    after: int = 0
    limit: int = 100
    name: str = ""
    id: int = 0


class Role(Enum):
    """What a caller may do, each more than the one before. The machine keeps it; access decides by it."""

    READ = 1
    LOCK = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCredential:
    """Let whoever knows the secret with this hash call under this name."""

    call: Call
    request: Request
    name: str
    role: Role
    prefixes: tuple[str, ...] = ()
    """Of the locks that it is for; none: all."""
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeCredential:
    """Idempotent, hence without an id: ids of credentials are never used again."""

    call: Call
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCredentials:
    """In the order of their ids, after an id."""

    call: Call
    after: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """A leader's doing, in place of a command that its caller may not give (any more). It changes nothing."""

    call: Call
    is_known: bool
    """Whether the leader knows the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """Changes nothing. Who sees its answer has applied every entry that was closed before it."""

    call: Call


Command = (
    Acquire
    | Release
    | Cancel
    | Withdraw
    | Renew
    | OpenSession
    | KeepAlive
    | CloseSession
    | OpenNode
    | IsLocked
    | Get
    | ListHolds
    | CheckToken
    | Register
    | Unregister
    | ListRegistered
    | CreateCredential
    | RevokeCredential
    | ListCredentials
    | Deny
    | Barrier
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginEpoch:
    """The first entry of a leader. It carries no stamp, moves no clock and ends nothing."""

    epoch: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Every other entry: commands that share one stamp, in the order of their arrival."""

    epoch: int
    stamp_ms: int
    commands: tuple[Command, ...] = ()


Entry = BeginEpoch | Batch
