"""The replicated state: five tables, and the indices derived from them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from .commands import Request
from .outcomes import Holder


@dataclass(frozen=True, slots=True)
class Scalars:
    clock_ms: int = 0
    epoch: int = 0
    version: int = 0
    last_token: int = 0
    last_lease: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    token: int
    name: str
    lease: int
    """0: without a lease, held until it is released."""
    owner: str
    reason: str
    metadata: tuple[tuple[str, str], ...]
    acquired_ms: int
    by_name: bool
    request: Request


@dataclass(frozen=True, slots=True)
class Lease:
    id: int
    deadline_ms: int
    ttl_ms: int
    hold: int


@dataclass(frozen=True, slots=True)
class Record:
    """What a request id was answered."""

    request: Request
    outcome: str
    """The outcome's class: Granted, HeldByOther, Released, NotHeld."""
    token: int
    name: str
    until_ms: int
    """0: as long as its hold lives."""


class Change(NamedTuple):
    """A record that came (value) or went (None)."""

    table: str
    key: object
    value: Scalars | Hold | Lease | Record | None


TABLES = ("scalars", "holds", "leases", "records")


class State:
    """Holds, leases and request records. Only put_*, drop_* and set_scalars change it.

    Every change is remembered until take_changes(), so that a store can follow entry by entry.
    """

    def __init__(self) -> None:
        self.scalars = Scalars()
        self.holds: dict[int, Hold] = {}
        self.leases: dict[int, Lease] = {}
        self.records: dict[tuple[str, bytes], Record] = {}
        self._touched: dict[tuple[str, object], None] = {}
        # Derived: never stored, rebuilt from the tables.
        self._token_of: dict[str, int] = {}
        self._names: list[str] = []
        self._deadlines: list[tuple[int, int]] = []
        self._record_ends: list[tuple[int, str, bytes]] = []

    @classmethod
    def restored(cls, changes: Iterator[Change]) -> State:
        """A state from stored records. Raises ValueError where they contradict one another."""
        state = cls()
        for table, key, value in changes:
            if isinstance(value, Scalars):
                state.scalars = value
            else:
                getattr(state, table)[key] = value
        state._token_of = {hold.name: token for token, hold in state.holds.items()}
        state._names = sorted(state._token_of)
        state._deadlines = [(lease.deadline_ms, lease.id) for lease in state.leases.values()]
        state._record_ends = [(r.until_ms, *key) for key, r in state.records.items() if r.until_ms]
        heapify(state._deadlines)
        heapify(state._record_ends)
        problems = list(state.invariants())
        if problems:
            raise ValueError("; ".join(problems[:3]))
        return state

    # -- reading

    def hold_of(self, name: str) -> Hold | None:
        token = self._token_of.get(name)
        return self.holds[token] if token else None

    def names_after(self, prefix: str, after: str) -> Iterator[str]:
        """Names with this prefix, greater than after, in order of their code points."""
        start = bisect_right(self._names, after) if after >= prefix else bisect_left(self._names, prefix)
        for index in range(start, len(self._names)):
            if not self._names[index].startswith(prefix):
                return
            yield self._names[index]

    def remaining_ms(self, lease: int) -> int:
        return max(0, self.leases[lease].deadline_ms - self.scalars.clock_ms) if lease in self.leases else 0

    def holder(self, hold: Hold) -> Holder:
        lease = self.leases.get(hold.lease)
        return Holder(
            name=hold.name,
            token=hold.token,
            owner=hold.owner,
            acquired_ms=hold.acquired_ms,
            ttl_ms=lease.ttl_ms if lease else 0,
            lease_remaining_ms=self.remaining_ms(hold.lease),
            reason=hold.reason,
            metadata=hold.metadata,
        )

    def next_bound_ms(self) -> int | None:
        """The clock beyond which a lease is due to end; None while no lease runs."""
        heap = self._deadlines
        while heap:
            deadline_ms, id = heap[0]
            lease = self.leases.get(id)
            if lease and lease.deadline_ms == deadline_ms:
                return deadline_ms
            heappop(heap)  # the lease was renewed or has ended since
        return None

    def next_record_end_ms(self) -> int | None:
        """The clock beyond which a request record may go, or an earlier one; None while all of them last."""
        return self._record_ends[0][0] if self._record_ends else None

    def due_leases(self, most: int) -> list[Lease]:
        """At most `most` leases whose deadline the clock has passed, in (deadline, id) order."""
        due: list[Lease] = []
        while len(due) < most and (bound := self.next_bound_ms()) is not None and bound < self.scalars.clock_ms:
            due.append(self.leases[heappop(self._deadlines)[1]])
        return due

    def due_records(self, most: int) -> list[tuple[str, bytes]]:
        """At most `most` keys of records whose time is over."""
        due: list[tuple[str, bytes]] = []
        while len(due) < most and self._record_ends and self._record_ends[0][0] < self.scalars.clock_ms:
            until, caller, id = heappop(self._record_ends)
            record = self.records.get((caller, id))
            if record and record.until_ms == until:
                due.append((caller, id))
        return due

    # -- changing

    def set_scalars(self, **fields: int) -> None:
        self.scalars = replace(self.scalars, **fields)
        self._touched["scalars", None] = None

    def put_hold(self, hold: Hold) -> None:
        self.holds[hold.token] = hold
        self._token_of[hold.name] = hold.token
        insort(self._names, hold.name)
        self._touched["holds", hold.token] = None

    def drop_hold(self, hold: Hold) -> None:
        del self.holds[hold.token]
        del self._token_of[hold.name]
        del self._names[bisect_left(self._names, hold.name)]
        self._touched["holds", hold.token] = None

    def put_lease(self, lease: Lease) -> None:
        before = self.leases.get(lease.id)
        self.leases[lease.id] = lease
        if before is None or before.deadline_ms != lease.deadline_ms:  # a second entry would end it twice
            heappush(self._deadlines, (lease.deadline_ms, lease.id))
        if len(self._deadlines) > 2 * len(self.leases) + 64:  # renewals leave their old deadlines behind
            self._deadlines = [(one.deadline_ms, one.id) for one in self.leases.values()]
            heapify(self._deadlines)
        self._touched["leases", lease.id] = None

    def drop_lease(self, id: int) -> None:
        if self.leases.pop(id, None):
            self._touched["leases", id] = None

    def put_record(self, record: Record) -> None:
        key = record.request.caller, record.request.id
        self.records[key] = record
        if record.until_ms:
            heappush(self._record_ends, (record.until_ms, *key))
        self._touched["records", key] = None

    def drop_record(self, key: tuple[str, bytes]) -> None:
        del self.records[key]
        self._touched["records", key] = None

    def take_changes(self) -> list[Change]:
        """What changed since the last call, each record once, as it is now."""
        touched, self._touched = self._touched, {}
        return [Change(table, key, self._now(table, key)) for table, key in touched]

    def all_records(self) -> Iterator[Change]:
        """The whole state, table by table, each in the order of its keys."""
        yield Change("scalars", None, self.scalars)
        for table in TABLES[1:]:
            for key, value in sorted(getattr(self, table).items()):
                yield Change(table, key, value)

    def _now(self, table: str, key: object) -> Scalars | Hold | Lease | Record | None:
        if table == "scalars":
            return self.scalars
        value: Hold | Lease | Record | None = getattr(self, table).get(key)
        return value

    # -- checking

    def invariants(self) -> Iterator[str]:
        """What is broken, in words. Nothing, unless the machine or its store has a fault."""
        if len(self._token_of) != len(self.holds):
            yield "two holds share one name"
        if self._names != sorted(self._token_of):
            yield "the name index differs from the holds"
        for token, hold in self.holds.items():
            if token != hold.token or not 0 < token <= self.scalars.last_token:
                yield f"hold {token} has a token that was not given out"
            if hold.lease and (hold.lease not in self.leases or self.leases[hold.lease].hold != token):
                yield f"hold {token} names lease {hold.lease}, which is not its own"
            record = self.records.get((hold.request.caller, hold.request.id))
            if record is None or record.token != token or record.until_ms:
                yield f"hold {token} has no lasting request record"
        for id, lease in self.leases.items():
            if id != lease.id or not 0 < id <= self.scalars.last_lease:
                yield f"lease {id} has an id that was not given out"
            if lease.hold not in self.holds or self.holds[lease.hold].lease != id:
                yield f"lease {id} belongs to no hold"
        for key, record in self.records.items():
            if not record.until_ms and record.token not in self.holds:
                yield f"request record {key} waits for a hold that is gone"
