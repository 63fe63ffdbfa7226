"""What can be asked of the machine: frozen values, complete in themselves.

Limits and bounds were checked before a command was made, or travel in it.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Call(NamedTuple):
    """Where the answer goes: a call that a node has registered in this life of its process."""

    node: int
    life: int
    number: int


class Request(NamedTuple):
    """What makes a repeated command act once."""

    caller: str
    """The authenticated caller; an id belongs to it alone."""
    id: bytes
    asked: bytes
    """A digest of what was asked: another request under the same id is told apart by it."""
    not_after_ms: int
    """On the cluster's clock: an id that is not on record is refused after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquire:
    """Take an exclusive lock or learn who holds it."""

    call: Call
    request: Request
    name: str
    ttl_ms: int = 0
    """0: held until it is released."""
    owner: str = ""
    reason: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    by_name: bool = False
    """Came in by a door that knows no tokens, so that the name alone frees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Free the hold with this token, or, by name alone, a hold that came in by name alone."""

    call: Call
    request: Request
    token: int = 0
    name: str = ""
    by_name: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """Let the hold's lease end no earlier than ttl_ms from now. Idempotent, hence without an id."""

    call: Call
    token: int
    ttl_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IsLocked:
    call: Call
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListHolds:
    """Holds by name, after a name, at most limit of them."""

    call: Call
    prefix: str = ""
    after: str = ""
    limit: int = 100
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """Changes nothing. Who sees its answer has applied every entry that was closed before it."""

    call: Call


Command = Acquire | Release | Renew | IsLocked | ListHolds | Barrier


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
