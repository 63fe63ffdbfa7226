"""What calls take and answer. Seconds are floats; what ends in `_ms` is milliseconds on the cluster's clock."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lockd_client.clock import now

NO_DEADLINE = math.inf  # a hold that lives until it is unlocked
PASSED = -math.inf  # the deadline of what is not held


class Outcome(StrEnum):
    UNSPECIFIED = "UNSPECIFIED"  # a newer node's answer, for which this version has no name
    GRANTED = "GRANTED"
    HELD_BY_OTHER = "HELD_BY_OTHER"
    LOST = "LOST"  # this request was granted once and the hold has ended since
    RELEASED = "RELEASED"
    NOT_HELD = "NOT_HELD"
    RENEWED = "RENEWED"


@dataclass(frozen=True, slots=True)
class RequestId:
    """What makes a repeated call act once.

    id: 1 to 64 bytes. not_after_ms: on the cluster's clock; after it, an id without a record is refused.
    """

    id: bytes
    not_after_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One hold. `age`, `ttl` and `lease_remaining` are seconds at the moment of the answer; a ttl of 0 means none."""

    name: str
    token: int
    owner: str
    acquired_ms: int
    age: float
    ttl: float
    lease_remaining: float
    reason: str
    metadata: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockAnswer:
    """True where the lock was acquired.

    `token` is the fencing token, 0 where not acquired. `deadline` is on this client's clock (`lockd_client.now()`) and
    earlier than the lease's end by a margin for clocks that run at different rates: infinite for a hold without a ttl,
    minus infinity where not acquired. `holders` says who holds the lock.
    """

    acquired: bool
    outcome: Outcome
    token: int
    lease_remaining: float
    deadline: float
    holders: tuple[Holder, ...]
    clock_ms: int

    def __bool__(self) -> bool:
        return self.acquired

    def remaining(self) -> float:
        """Seconds until `deadline`, never below 0. At 0 stop what the lock protects."""
        return max(0.0, self.deadline - now())


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlockAnswer:
    """True where a hold was released. Otherwise nothing was changed and `holders` says who holds the name, if one was
    given.
    """

    released: bool
    outcome: Outcome
    holders: tuple[Holder, ...]

    def __bool__(self) -> bool:
        return self.released


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewAnswer:
    """True where the hold was renewed. `deadline` as in LockAnswer."""

    renewed: bool
    lease_remaining: float
    deadline: float

    def __bool__(self) -> bool:
        return self.renewed

    def remaining(self) -> float:
        """Seconds until `deadline`, never below 0."""
        return max(0.0, self.deadline - now())


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another node, as the answering node sees it. match_index is 0 unless the answering node leads."""

    node_id: int
    address: str
    connected: bool
    match_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One node's own view, read locally. role: leader, follower, candidate or joining. leader_id 0: none known."""

    node_id: int
    version: str
    role: str
    leader_id: int
    leader_address: str
    term: int
    epoch: int
    clock_ms: int
    commit_index: int
    applied_index: int
    first_log_index: int
    last_log_index: int
    held_locks: int
    request_records: int
    machine_version: int
    peers: tuple[Peer, ...]
