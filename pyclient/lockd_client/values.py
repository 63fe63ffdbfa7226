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
    QUEUED = "QUEUED"
    TIMED_OUT = "TIMED_OUT"
    DEADLOCK = "DEADLOCK"
    UPGRADE_REFUSED = "UPGRADE_REFUSED"  # held shared, wanted re-entrantly exclusive
    CANCELLED = "CANCELLED"


class Mode(StrEnum):
    EXCLUSIVE = "EXCLUSIVE"
    SHARED = "SHARED"


class State(StrEnum):
    """What a holder may believe of its hold, by its own clock alone.

    CONNECTED: its lease is renewed as it should be, and nobody else has the lock. SUSPENDED: less than a third of the
    ttl is left, since no node answered a renewal, or the work reported no progress; nobody else has the lock yet, and
    remaining() says for how long: begin nothing that takes longer. It may become CONNECTED again. LOST: the lease may
    have ended, and another may hold the lock; it stays lost. Without renewals it is CONNECTED until it is LOST.
    """

    CONNECTED = "CONNECTED"
    SUSPENDED = "SUSPENDED"
    LOST = "LOST"


@dataclass(frozen=True, slots=True)
class RequestId:
    """What makes a repeated call act once.

    Either `id`, 1 to 64 bytes of the caller's choice; or `client` (16 bytes) and `sequence` (from 1), as the library
    makes them. not_after_ms: on the cluster's clock; after it, an id without a record is refused. attempts: how often
    the call went out; one more is higher than all of them.
    """

    id: bytes = b""
    not_after_ms: int = 0
    client: bytes = b""
    sequence: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One hold of one name. `age`, `ttl` and `lease_remaining` are seconds at the moment of the answer; a ttl of 0
    means that it is held until it is unlocked. session_id 0: none. `count`: re-entrant acquisitions that were not
    released yet. `names`: how many locks the grant spans. `identity`: who took it, as the cluster knows them; empty
    where it asks nobody who they are.
    """

    name: str
    token: int
    owner: str
    acquired_ms: int
    age: float
    ttl: float
    lease_remaining: float
    reason: str
    metadata: Mapping[str, str] = field(hash=False)
    mode: Mode = Mode.EXCLUSIVE
    session_id: int = 0
    agent: str = ""
    count: int = 1
    names: int = 1
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiter:
    """One waiter for one name. position: how many wait for this name before it. `waited`: seconds. until_ms: on the
    cluster's clock; 0: as long as its session, or its call, lives. `identity` as in Holder.
    """

    name: str
    mode: Mode
    position: int
    owner: str
    session_id: int
    agent: str
    waited: float
    until_ms: int
    reason: str
    metadata: Mapping[str, str] = field(hash=False)
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockInfo:
    """One lock. holders and waiters are the first of them, waiters in the order of their turns; the counts are whole.
    delayed_until_ms: the end of a lock delay on the cluster's clock, 0 where there is none.
    """

    name: str
    holders: tuple[Holder, ...]
    waiters: tuple[Waiter, ...]
    holders_count: int
    waiters_count: int
    delayed_until_ms: int
    clock_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Who won an election. value: what they said of themselves. token: rises from leader to leader. `age`: seconds
    since then, at the moment of the answer.
    """

    value: str
    token: int
    owner: str
    age: float = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingHolder:
    """Somebody holds a lock and waits for another: `waits` says for which, and since when; `lock` is that one."""

    holder: Holder
    waits: Waiter
    lock: LockInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a lock is not free. chain: those of its holders that wait for other locks themselves, then the holders of
    these that wait, and so on; waits of callers that name no agent are not found. is_whole: False where the search came
    to its bound, or where this caller may not see all names. Each lock is of a moment of its own.
    """

    lock: LockInfo
    chain: tuple[WaitingHolder, ...]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class CycleLink:
    """In a cycle: this agent waits for this lock, and so for the next agent."""

    owner: str
    session_id: int
    agent: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCheck:
    """True where the token is that of a present hold. `holders` says who holds the lock."""

    is_current: bool
    holders: tuple[Holder, ...]

    def __bool__(self) -> bool:
        return self.is_current


class EventKind(StrEnum):
    UNSPECIFIED = "UNSPECIFIED"  # a newer node's, for which this version has no name
    GRANTED = "GRANTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    BROKEN = "BROKEN"
    WAITING = "WAITING"
    LEFT = "LEFT"  # a waiter, without a grant; `reason` says why
    DELAY_ENDED = "DELAY_ENDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened to locks. revision: one number over all events of the cluster, rising by one. wants: the names and
    their modes. `by`: who broke a hold, by their own label, and `reason` why. by_identity: who that is, as the cluster
    knows them; by_credential: by which token or certificate.
    """

    revision: int
    kind: EventKind
    wants: tuple[tuple[str, Mode], ...]
    clock_ms: int
    token: int
    owner: str
    session_id: int
    reason: str
    by: str
    by_identity: str = ""
    by_credential: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockAnswer:
    """True where the lock was acquired.

    `token` is the fencing token, 0 where not acquired. `deadline` is on this client's clock (`lockd_client.now()`) and
    earlier than the lease's end by a margin for clocks that run at different rates: infinite for a hold without a ttl,
    minus infinity where not acquired. `holders` says who holds the lock, at most 32, and `waiters` how many wait for
    it. `waited` is how long the request waited, in seconds on the cluster's clock. delayed_until_ms: the end of a
    lock delay on that clock. `cycle` with DEADLOCK: the ring that the wait would have closed, the request's own link
    first. `count`: re-entrant acquisitions, this one included.
    """

    acquired: bool
    outcome: Outcome
    token: int
    lease_remaining: float
    deadline: float
    holders: tuple[Holder, ...]
    clock_ms: int
    waited: float = 0.0
    waiters: int = 0
    delayed_until_ms: int = 0
    cycle: tuple[CycleLink, ...] = ()
    count: int = 0
    sent: float = 0.0  # when the attempt that was answered was sent, as `deadline`

    def __bool__(self) -> bool:
        return self.acquired

    def remaining(self) -> float:
        """Seconds until `deadline`, never below 0. At 0 stop what the lock protects."""
        return max(0.0, self.deadline - now())


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlockAnswer:
    """True where a hold was released. Otherwise nothing was changed and `holders` says who holds the name, if one was
    given. `count`: re-entrant acquisitions that are left.
    """

    released: bool
    outcome: Outcome
    holders: tuple[Holder, ...]
    count: int = 0

    def __bool__(self) -> bool:
        return self.released


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewAnswer:
    """True where the hold was renewed. `deadline` as in LockAnswer."""

    renewed: bool
    lease_remaining: float
    deadline: float
    sent: float = 0.0

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
    """One node's own view, read locally. role: leader, follower, candidate or joining. leader_id 0: none known.
    refused: how many calls this process of the node refused, by limit or reason.
    """

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
    waiters: int = 0
    sessions: int = 0
    revision: int = 0
    refused: Mapping[str, int] = field(default_factory=dict, hash=False)


class Role(StrEnum):
    """What a caller may do; each includes those before it."""

    READ = "read"  # look and watch
    LOCK = "lock"  # and take, release, wait, open sessions
    ADMIN = "admin"  # and break the holds of others; where it is for all names, also manage tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A token that was created, without its secret. name: the identity; tokens of one name are one caller. prefixes: of
    the names of locks that it is for; none: all names. role None: a newer node's, for which this version has no name.
    created_ms: on the cluster's clock. created_by: whose identity.
    """

    id: int
    name: str
    role: Role | None
    prefixes: tuple[str, ...]
    created_ms: int
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """secret: what its owner's calls carry. It is nowhere else: the cluster keeps its hash."""

    id: int
    name: str
    role: Role
    prefixes: tuple[str, ...]
    secret: str = field(repr=False)
