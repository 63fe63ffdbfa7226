"""The replicated state: its tables, and the indices derived from them.

Only put_*, drop_* and set_scalars change it. Every change is remembered until take_changes(), so that a store can
follow entry by entry.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .bounds import Bounds
from .commands import Agent, Key, Kind
from .invariants import broken
from .locks import NO_LOCK, NO_USE, Lock, Use
from .tables import (
    TABLES,
    Change,
    Credential,
    Delay,
    DelayKey,
    Entry,
    Hold,
    Lease,
    Mark,
    MarkKey,
    NodeKey,
    NodeLease,
    Record,
    Scalars,
    Waiter,
)


class State:
    def __init__(self) -> None:
        self.scalars = Scalars()
        self.leases: dict[int, Lease] = {}
        self.holds: dict[int, Hold] = {}
        self.waiters: dict[Key, Waiter] = {}
        self.delays: dict[DelayKey, Delay] = {}
        self.records: dict[Key, Record] = {}
        self.marks: dict[MarkKey, Mark] = {}
        self.nodes: dict[NodeKey, NodeLease] = {}
        self.registry: dict[int, Entry] = {}
        self.credentials: dict[int, Credential] = {}
        self._touched: dict[tuple[str, Any], None] = {}
        # Derived: never stored, built again by put_*.
        self._locks: dict[str, Lock] = {}
        self._names: list[str] = []
        self._leases_use: dict[int, Use] = {}
        self._agents: dict[Agent, Use] = {}
        self._parked: dict[NodeKey, dict[Key, None]] = {}
        self._records_of_hold: dict[int, dict[Key, None]] = {}
        self._sequences: dict[MarkKey, dict[int, None]] = {}
        self._registered: dict[tuple[Kind, str], int] = {}
        self._entry_ids: dict[Kind, list[int]] = {kind: [] for kind in Kind}
        self._secrets: dict[bytes, int] = {}
        self._owners: Counter[str] = Counter()
        self._sessions: Counter[str] = Counter()
        self._records: Counter[str] = Counter()
        self._marks: Counter[str] = Counter()
        self.lease_ends: Bounds[int] = Bounds()
        self.wait_ends: Bounds[tuple[int, Key]] = Bounds()
        self.delay_ends: Bounds[tuple[str, str]] = Bounds()
        self.node_ends: Bounds[NodeKey] = Bounds()
        self.record_ends: Bounds[Key] = Bounds()
        self.mark_ends: Bounds[MarkKey] = Bounds()
        self.ending_leases: dict[int, None] = {}
        self.ending_nodes: dict[NodeKey, None] = {}

    @classmethod
    def restored(cls, changes: Iterator[Change]) -> State:
        """A state from stored records. Raises ValueError where they contradict one another."""
        state = cls()
        found: dict[str, list[Any]] = {table: [] for table in TABLES}
        for table, _, value in changes:
            found[table].append(value)
        found["holds"].sort(key=lambda hold: hold.token)
        found["waiters"].sort(key=lambda waiter: waiter.arrival)
        for table, values in found.items():
            put = getattr(state, _PUT[table])
            for value in values:
                put(value)
        state._touched.clear()
        problems = list(state.invariants())
        if problems:
            raise ValueError("; ".join(problems[:3]))
        return state

    # -- reading

    def lock(self, name: str) -> Lock:
        """What stands on this name: an idle lock where nothing does."""
        return self._locks.get(name, NO_LOCK)

    def names_after(self, prefix: str, after: str) -> Iterator[str]:
        """Names of locks with this prefix, greater than after, in order of their code points."""
        start = bisect_right(self._names, after) if after >= prefix else bisect_left(self._names, prefix)
        for index in range(start, len(self._names)):
            if not self._names[index].startswith(prefix):
                return
            yield self._names[index]

    def remaining_ms(self, lease: int) -> int:
        return max(0, self.leases[lease].deadline_ms - self.scalars.clock_ms) if lease in self.leases else 0

    def session(self, id: int, caller: str) -> Lease | None:
        """The caller's session of this id, unless it has begun to end."""
        lease = self.leases.get(id)
        return lease if lease and lease.is_session and not lease.ending and lease.caller == caller else None

    def on_lease(self, id: int) -> Use:
        return self._leases_use.get(id, NO_USE)

    def of_agent(self, agent: Agent) -> Use:
        return self._agents.get(agent, NO_USE)

    def parked_by(self, node: NodeKey) -> dict[Key, None]:
        """Waiters without a session whose call this node, in this life, has parked."""
        return self._parked.get(node, {})

    def records_of_hold(self, token: int) -> list[Key]:
        """The records that live as long as this hold."""
        return list(self._records_of_hold.get(token, ()))

    def sequences_of(self, client: MarkKey) -> dict[int, None]:
        """The sequences of this client that are on record."""
        return self._sequences.get(client, {})

    def registered(self, kind: Kind, name: str) -> int:
        """The id of this entry; 0: there is none."""
        return self._registered.get((kind, name), 0)

    def registered_after(self, kind: Kind, after: int, most: int) -> tuple[list[int], bool]:
        """The next ids of this kind, at most `most`, and whether there are more."""
        ids = self._entry_ids[kind]
        start = bisect_right(ids, after)
        return ids[start : start + most], start + most < len(ids)

    def credential_of(self, sha256: bytes) -> Credential | None:
        """The one whose secret has this hash."""
        id = self._secrets.get(sha256)
        return self.credentials[id] if id else None

    def owns_anything(self, owner: str) -> bool:
        """Whether a hold or a waiter has this owner."""
        return self._owners[owner] > 0

    def waiters_of(self, name: str) -> int:
        return len(self.lock(name).queue)

    def waiters_in(self, session: int) -> int:
        return len(self.on_lease(session).waiters)

    def sessions_of(self, caller: str) -> int:
        return self._sessions[caller]

    def records_of(self, caller: str) -> int:
        return self._records[caller]

    def marks_of(self, caller: str) -> int:
        """Of the caller's clients, each with the ranges that it said are answered."""
        return self._marks[caller]

    @property
    def sessions_count(self) -> int:
        return self._sessions.total()

    def next_bound_ms(self) -> int | None:
        """The clock beyond which something of a lock, a lease or a wait is due to end; None: nothing is pending.

        What has begun to end is due at once.
        """
        if self.ending_leases or self.ending_nodes:
            return -1
        ends = (self.lease_ends.next(), self.wait_ends.next(), self.delay_ends.next(), self.node_ends.next())
        return min((bound for bound in ends if bound is not None), default=None)

    def next_record_end_ms(self) -> int | None:
        """The clock beyond which a request record or a mark may go; None while all of them last."""
        ends = (self.record_ends.next(), self.mark_ends.next())
        return min((bound for bound in ends if bound is not None), default=None)

    # -- changing

    def set_scalars(self, **fields: int) -> None:
        self.put_scalars(replace(self.scalars, **fields))

    def put_scalars(self, scalars: Scalars) -> None:
        self.scalars = scalars
        self._touched["scalars", None] = None

    def put_lease(self, lease: Lease) -> None:
        if lease.id not in self.leases:
            self._sessions[lease.caller] += lease.is_session
        self.leases[lease.id] = lease
        if lease.ending:
            self.ending_leases[lease.id] = None
            self.lease_ends.drop(lease.id)
        else:
            self.lease_ends.put(lease.id, lease.deadline_ms)
        self._touched["leases", lease.id] = None

    def drop_lease(self, lease: Lease) -> None:
        del self.leases[lease.id]
        self._sessions[lease.caller] -= lease.is_session
        self.lease_ends.drop(lease.id)
        self.ending_leases.pop(lease.id, None)
        self._touched["leases", lease.id] = None

    def put_hold(self, hold: Hold) -> None:
        is_new = hold.token not in self.holds
        self.holds[hold.token] = hold
        self._touched["holds", hold.token] = None
        if not is_new:
            return
        for name, mode in hold.wants:
            self._lock_of(name).holders[hold.token] = mode
        if hold.lease:
            self._leases_use.setdefault(hold.lease, Use()).holds[hold.token] = None
        if who := hold.who:
            self._agents.setdefault(who, Use()).holds[hold.token] = None
        self._owners[hold.owner] += 1

    def drop_hold(self, hold: Hold) -> None:
        del self.holds[hold.token]
        self._touched["holds", hold.token] = None
        for name, _ in hold.wants:
            del self._locks[name].holders[hold.token]
            self._forget_if_idle(name)
        if hold.lease:
            _take_out(self._leases_use, hold.lease, token=hold.token)
        if who := hold.who:
            _take_out(self._agents, who, token=hold.token)
        self._disown(hold.owner)

    def put_waiter(self, waiter: Waiter) -> None:
        """A new one joins the queues at their ends. Another attempt of the same keeps its places."""
        before = self.waiters.get(waiter.key)
        self.waiters[waiter.key] = waiter
        self._touched["waiters", waiter.key] = None
        if before is not None:
            self._unpark(before)
        else:
            self._enqueue(waiter)
        if not waiter.session:
            self._parked.setdefault(NodeKey(*waiter.call[:2]), {})[waiter.key] = None

    def _enqueue(self, waiter: Waiter) -> None:
        for name, mode in waiter.wants:
            self._lock_of(name).enqueue(waiter.key, waiter.arrival, mode)
        if waiter.session:
            self._leases_use.setdefault(waiter.session, Use()).waiters[waiter.key] = None
        if who := waiter.who:
            self._agents.setdefault(who, Use()).waiters[waiter.key] = None
        if waiter.until_ms:
            self.wait_ends.put((waiter.arrival, waiter.key), waiter.until_ms)
        self._owners[waiter.owner] += 1

    def drop_waiter(self, waiter: Waiter) -> None:
        del self.waiters[waiter.key]
        self._touched["waiters", waiter.key] = None
        for name, _ in waiter.wants:
            lock = self._locks[name]
            del lock.queue[waiter.key]
            lock.exclusives.pop(waiter.key, None)
            self._forget_if_idle(name)
        if waiter.session:
            _take_out(self._leases_use, waiter.session, key=waiter.key)
        if who := waiter.who:
            _take_out(self._agents, who, key=waiter.key)
        self.wait_ends.drop((waiter.arrival, waiter.key))
        self._unpark(waiter)
        self._disown(waiter.owner)

    def put_delay(self, delay: Delay) -> None:
        self.delays[DelayKey(delay.name, delay.mode)] = delay
        self._lock_of(delay.name).delay(delay.mode, delay.until_ms)
        self.delay_ends.put((delay.name, delay.mode.name), delay.until_ms)
        self._touched["delays", DelayKey(delay.name, delay.mode)] = None

    def drop_delay(self, delay: Delay) -> None:
        del self.delays[DelayKey(delay.name, delay.mode)]
        del self._locks[delay.name].delays[delay.mode]
        self._forget_if_idle(delay.name)
        self.delay_ends.drop((delay.name, delay.mode.name))
        self._touched["delays", DelayKey(delay.name, delay.mode)] = None

    def put_record(self, record: Record) -> None:
        key = record.key
        before = self.records.get(key)
        if before is None:
            self._records[key.caller] += 1
            if client := key.client:
                self._sequences.setdefault(MarkKey(key.caller, client), {})[key.sequence] = None
        else:
            self._unbind(before)
        self.records[key] = record
        if record.until_ms:
            self.record_ends.put(key, record.until_ms)
        elif record.outcome == "Granted":
            self._records_of_hold.setdefault(record.token, {})[key] = None
        self._touched["records", key] = None

    def drop_record(self, record: Record) -> None:
        key = record.key
        del self.records[key]
        self._records[key.caller] -= 1
        self._unbind(record)
        self.record_ends.drop(key)
        if client := key.client:
            mark_key = MarkKey(key.caller, client)
            del self._sequences[mark_key][key.sequence]
            if not self._sequences[mark_key]:
                del self._sequences[mark_key]
        self._touched["records", key] = None

    def put_mark(self, mark: Mark) -> None:
        key = MarkKey(mark.caller, mark.client)
        before = self.marks.get(key)
        self._marks[key.caller] += _places(mark) - (_places(before) if before else 0)
        self.marks[key] = mark
        self.mark_ends.put(key, mark.until_ms)
        self._touched["marks", key] = None

    def drop_mark(self, key: MarkKey) -> None:
        self._marks[key.caller] -= _places(self.marks[key])
        del self.marks[key]
        self.mark_ends.drop(key)
        self._touched["marks", key] = None

    def put_node(self, node: NodeLease) -> None:
        key = NodeKey(node.node, node.life)
        self.nodes[key] = node
        if node.ending:
            self.ending_nodes[key] = None
            self.node_ends.drop(key)
        else:
            self.node_ends.put(key, node.deadline_ms)
        self._touched["nodes", key] = None

    def drop_node(self, key: NodeKey) -> None:
        del self.nodes[key]
        self.node_ends.drop(key)
        self.ending_nodes.pop(key, None)
        self._touched["nodes", key] = None

    def put_entry(self, entry: Entry) -> None:
        """Of a new id."""
        self.registry[entry.id] = entry
        insort(self._entry_ids[entry.kind], entry.id)
        self._registered[entry.kind, entry.name] = entry.id
        self._touched["registry", entry.id] = None

    def drop_entry(self, entry: Entry) -> None:
        del self.registry[entry.id]
        ids = self._entry_ids[entry.kind]
        del ids[bisect_left(ids, entry.id)]
        del self._registered[entry.kind, entry.name]
        self._touched["registry", entry.id] = None

    def put_credential(self, credential: Credential) -> None:
        self.credentials[credential.id] = credential
        self._secrets[credential.sha256] = credential.id
        self._touched["credentials", credential.id] = None

    def drop_credential(self, credential: Credential) -> None:
        del self.credentials[credential.id]
        del self._secrets[credential.sha256]
        self._touched["credentials", credential.id] = None

    def take_changes(self) -> list[Change]:
        """What changed since the last call, each record once, as it is now."""
        touched, self._touched = self._touched, {}
        return [
            Change(table, key, self.scalars if table == "scalars" else getattr(self, table).get(key))
            for table, key in touched
        ]

    def all_records(self) -> Iterator[Change]:
        """The whole state, table by table, each in the order of its keys."""
        yield Change("scalars", None, self.scalars)
        for table in TABLES[1:]:
            rows = getattr(self, table)
            for key in sorted(rows, key=_ordered):
                yield Change(table, key, rows[key])

    # -- indices

    def _lock_of(self, name: str) -> Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = Lock()
            if self._names and name > self._names[-1]:
                self._names.append(name)
            else:
                insort(self._names, name)
        return lock

    def _forget_if_idle(self, name: str) -> None:
        if self._locks[name].is_idle:
            del self._locks[name]
            del self._names[bisect_left(self._names, name)]

    def _unpark(self, waiter: Waiter) -> None:
        if waiter.session:
            return
        node = NodeKey(*waiter.call[:2])
        del self._parked[node][waiter.key]
        if not self._parked[node]:
            del self._parked[node]

    def _unbind(self, record: Record) -> None:
        bound = self._records_of_hold.get(record.token)
        if bound and bound.pop(record.key, 0) is None and not bound:
            del self._records_of_hold[record.token]

    def _disown(self, owner: str) -> None:
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]

    def invariants(self) -> Iterator[str]:
        """What is broken, in words. Nothing, unless the machine or its store has a fault."""
        return broken(self)


_PUT = {
    "scalars": "put_scalars",
    "leases": "put_lease",
    "holds": "put_hold",
    "waiters": "put_waiter",
    "delays": "put_delay",
    "records": "put_record",
    "marks": "put_mark",
    "nodes": "put_node",
    "registry": "put_entry",
    "credentials": "put_credential",
}


def _places(mark: Mark) -> int:
    return 1 + len(mark.answered.ranges)


def _ordered(key: Any) -> Any:
    return (key.name, key.mode.value) if isinstance(key, DelayKey) else key


def _take_out(uses: dict[Any, Use], of: Any, *, token: int = 0, key: Key | None = None) -> None:
    use = uses[of]
    if token:
        del use.holds[token]
    else:
        del use.waiters[key]  # type: ignore[arg-type]  # one of the two is given
    if use.is_empty:
        del uses[of]
