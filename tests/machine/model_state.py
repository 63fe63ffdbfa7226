"""What the plain model keeps, and what can be asked of it: lists searched from end to end, and no index."""

from dataclasses import dataclass, replace

from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd.machine import tables as t

X = c.Mode.EXCLUSIVE


@dataclass(frozen=True)
class Limits:
    """The bounds of one entry and of its answers, small enough to be reached."""

    leases: int
    names: int
    waiters: int
    records: int
    holders_shown: int
    names_per_page: int
    mark_ranges: int


def compatible(wants: tuple[c.Want, ...], others: list[c.Want]) -> bool:
    return not any(want.name == other.name and X in (want.mode, other.mode) for want in wants for other in others)


def names_of(wants: tuple[c.Want, ...]) -> tuple[str, ...]:
    return tuple(want.name for want in wants)


def sequences(answered: c.Answered) -> set[int]:
    return set(range(answered.below)).union(*(range(first, last + 1) for first, last in answered.ranges))


def as_ranges(answered: set[int]) -> c.Answered:
    below = 0
    ranges: list[tuple[int, int]] = []
    for sequence in sorted(answered):
        if sequence == below:
            below += 1
        elif ranges and sequence == ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], sequence
        else:
            ranges.append((sequence, sequence))
    return c.Answered(below, tuple(ranges))


class ModelState:
    record_keep_ms, wait_grace_ms = 300_000, 10_000

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.scalars = t.Scalars()
        self.leases: dict[int, t.Lease] = {}
        self.holds: dict[int, t.Hold] = {}
        self.waiters: list[t.Waiter] = []
        """In the order of their arrival."""
        self.delays: dict[t.DelayKey, t.Delay] = {}
        self.records: dict[c.Key, t.Record] = {}
        self.marks: dict[t.MarkKey, t.Mark] = {}
        self.nodes: dict[t.NodeKey, t.NodeLease] = {}
        self.registry: dict[int, t.Entry] = {}
        self.credentials: dict[int, t.Credential] = {}
        self.answers: list[o.Answer] = []
        self.events: list[o.Event] = []

    @property
    def now(self) -> int:
        return self.scalars.clock_ms

    def set(self, **fields: int) -> None:
        self.scalars = replace(self.scalars, **fields)

    def answer(self, call: c.Call, outcome: o.Outcome, key: c.Key | None = None) -> None:
        self.answers.append(o.Answer(call, outcome, key))

    def tell(
        self,
        what: o.What,
        row: t.Hold | t.Waiter | None,
        wants: tuple[c.Want, ...],
        reason: str = "",
        by: c.Release | None = None,
    ) -> None:
        self.set(revision=self.scalars.revision + 1)
        event = o.Event(revision=self.scalars.revision, what=what, wants=wants, clock_ms=self.now, reason=reason)
        if by:
            event = replace(event, by=by.owner, by_identity=by.request.key.caller, by_credential=by.credential)
        if row:
            event = replace(event, owner=row.owner, session=row.session)
        self.events.append(replace(event, token=row.token) if isinstance(row, t.Hold) else event)

    # -- request ids

    def note(self, key: c.Key, outcome: str, **fields: object) -> None:
        """In the request's record; a new one if there is none."""
        until_ms = 0 if outcome in ("Granted", "Queued") else self.now + self.record_keep_ms
        record = self.records.get(key) or t.Record(key=key, asked=b"", outcome=outcome)
        self.records[key] = replace(record, outcome=outcome, until_ms=until_ms, **fields)  # type: ignore[arg-type]

    def is_answered(self, key: c.Key) -> bool:
        mark = self.marks.get(t.MarkKey(key.caller, key.client))
        return mark is not None and bool(key.client) and key.sequence in sequences(mark.answered)

    def heed(self, request: c.Request) -> None:
        said = request.answered
        if said is None:
            return
        key = t.MarkKey(request.key.caller, request.key.client)
        old = sequences(self.marks[key].answered) if key in self.marks else set()
        answered = as_ranges(old | sequences(said))
        if len(answered.ranges) > self.limits.mark_ranges:
            answered = as_ranges(old | set(range(said.below)))
        self.marks[key] = t.Mark(key.caller, key.client, answered, self.now + self.record_keep_ms)
        for each in [each for each in self.records if (each.caller, each.client) == key]:
            is_new = each.sequence in sequences(answered) - old
            if is_new and self.records[each].outcome != "Queued":
                del self.records[each]

    def known(self, request: c.Request) -> o.Refusal | t.Record | None:
        self.heed(request)
        record = self.records.get(request.key)
        if self.is_answered(request.key):
            return o.Refusal.ANSWERED
        if record is None:
            return o.Refusal.TOO_OLD if self.now > request.not_after_ms else None
        return o.Refusal.ID_REUSED if record.asked not in (b"", request.asked) else record

    def once(self, request: c.Request) -> o.Outcome | None:
        """The answer, unless the request is new: then it is put on record."""
        known = self.known(request)
        if known is None:
            self.records[request.key] = t.Record(key=request.key, asked=request.asked, outcome="")
            return None
        if isinstance(known, o.Refusal):
            return known
        return o.Refusal.ID_REUSED if known.outcome == "Queued" else self.repeated(known)

    def repeated(self, record: t.Record) -> o.Outcome:
        lease, hold = self.leases.get(record.token), self.holds.get(record.token)
        match record.outcome:
            case "CredentialCreated":
                return o.CredentialCreated(record.token)
            case "Granted" if hold and not (hold.lease and self.leases[hold.lease].ending):
                return o.Granted(hold.token, self.remaining(hold.lease), count=hold.count)
            case "Granted":
                return o.Lost(record.token)
            case "Opened" if lease and not lease.ending:
                return o.Opened(lease.id, self.remaining(lease.id), lease.ttl_ms)
            case "Opened":
                return o.SessionEnded()
            case "HeldByOther":
                return o.HeldByOther(self.conflict(record.names))
            case "TimedOut":
                return o.TimedOut(self.conflict(record.names))
            case "NotHeld":
                return o.NotHeld(self.conflict(record.names).holders)
            case "Released":
                return o.Released(record.token, record.count)
            case "Deadlock":
                return o.Deadlock(record.cycle)
            case "UpgradeRefused":
                return o.UpgradeRefused(record.token)
        plain = {"SessionEnded": o.SessionEnded(), "Withdrawn": o.Withdrawn(), "Cancelled": o.Cancelled()}
        return plain[record.outcome]  # type: ignore[return-value]

    # -- who is there

    def remaining(self, lease: int) -> int:
        return max(0, self.leases[lease].deadline_ms - self.now) if lease in self.leases else 0

    def holders(self, name: str) -> list[o.Holder]:
        return [
            o.Holder(
                name=name,
                mode=want.mode,
                ttl_ms=self.leases[hold.lease].ttl_ms if hold.lease else 0,
                lease_remaining_ms=self.remaining(hold.lease),
                names=len(hold.wants),
                identity=hold.key.caller,
                **{field: getattr(hold, field) for field in HOLDER_AS_HOLD},
            )
            for hold in self.holds.values()
            for want in hold.wants
            if want.name == name
        ]

    def waiting(self, name: str) -> list[o.Waiting]:
        places = [(waiter, want) for waiter in self.waiters for want in waiter.wants if want.name == name]
        return [
            o.Waiting(
                name=name,
                mode=want.mode,
                position=position,
                identity=waiter.key.caller,
                **{field: getattr(waiter, field) for field in WAITING_AS_WAITER},
            )
            for position, (waiter, want) in enumerate(places)
        ]

    def delayed_until(self, names: tuple[str, ...]) -> int:
        return max((delay.until_ms for delay in self.delays.values() if delay.name in names), default=0)

    def conflict(self, names: tuple[str, ...]) -> o.Conflict:
        holders = [holder for name in names for holder in self.holders(name)]
        waiters = sum(len(self.waiting(name)) for name in names)
        return o.Conflict(tuple(holders[: self.limits.holders_shown]), waiters, self.delayed_until(names))

    # -- reads

    def lock_state(self, name: str, holders_max: int, waiters_max: int) -> o.LockState:
        holders, waiting = self.holders(name), self.waiting(name)
        return o.LockState(
            tuple(holders[:holders_max]),
            tuple(waiting[:waiters_max]),
            len(holders),
            len(waiting),
            self.delayed_until((name,)),
        )

    def IsLocked(self, ask: c.IsLocked) -> None:
        self.answer(ask.call, self.lock_state(ask.name, self.limits.holders_shown, 0))

    def Get(self, ask: c.Get) -> None:
        self.answer(ask.call, self.lock_state(ask.name, ask.limit, ask.limit))

    def ListHolds(self, ask: c.ListHolds) -> None:
        if ask.token:
            return self.answer(ask.call, o.Page(tuple(self.rows_of_token(ask))))
        held = [name for hold in self.holds.values() for name in names_of(hold.wants)]
        waited = [name for waiter in self.waiters for name in names_of(waiter.wants)]
        names = {*held, *waited, *(delay.name for delay in self.delays.values())}
        page = [name for name in sorted(names) if name.startswith(ask.prefix) and name > ask.after]
        found: list[o.Holder] = []
        waiting: list[o.Waiting] = []
        for place, name in enumerate(page):
            if len(found) + len(waiting) >= ask.limit or place == self.limits.names_per_page:
                return self.answer(ask.call, o.Page(tuple(found), tuple(waiting), next=page[place - 1]))
            found += [each for each in self.holders(name) if self.is_asked_for(ask, each)][: ask.limit]
            if ask.with_waiters:
                waiting += [each for each in self.waiting(name) if self.is_asked_for(ask, each)][: ask.limit]
        return self.answer(ask.call, o.Page(tuple(found), tuple(waiting)))

    def rows_of_token(self, ask: c.ListHolds) -> list[o.Holder]:
        names = sorted({name for hold in self.holds.values() for name in names_of(hold.wants)})
        rows = [row for name in names for row in self.holders(name) if row.token == ask.token]
        in_place = [row for row in rows if row.name.startswith(ask.prefix) and row.name > ask.after]
        return [row for row in in_place if self.is_asked_for(ask, row)]

    def is_asked_for(self, ask: c.ListHolds, row: o.Holder | o.Waiting) -> bool:
        return ask.owner in ("", row.owner) and ask.mode in (None, row.mode)

    def CheckToken(self, ask: c.CheckToken) -> None:
        holders = self.holders(ask.name)
        is_current = ask.token in [holder.token for holder in holders]
        self.answer(ask.call, o.TokenState(is_current, tuple(holders[: self.limits.holders_shown])))

    def Barrier(self, ask: c.Barrier) -> None:
        self.answer(ask.call, o.Passed())

    # -- the registry

    def entries(self, kind: c.Kind, name: str = "") -> list[tuple[int, str]]:
        mine = [entry for entry in self.registry.values() if entry.kind is kind and name in ("", entry.name)]
        return sorted((entry.id, entry.name) for entry in mine)

    def Register(self, ask: c.Register) -> None:
        if not self.entries(ask.kind, ask.name):
            id = self.scalars.last_entry_id + 1
            self.set(last_entry_id=id)
            self.registry[id] = t.Entry(id, ask.kind, ask.name)
        self.answer(ask.call, o.Registered(ask.kind, tuple(self.entries(ask.kind, ask.name))))

    def Unregister(self, ask: c.Unregister) -> None:
        entry = self.registry.get(ask.id)
        if entry is None or entry.kind is not ask.kind:
            return self.answer(ask.call, o.Unregistered(found=False))
        rows: list[t.Hold | t.Waiter] = [*self.holds.values(), *self.waiters]
        used = {row.owner for row in rows}
        if ask.kind is c.Kind.RESOURCE:
            used = {name for row in rows for name in names_of(row.wants)} | {key.name for key in self.delays}
        if entry.name not in used:
            del self.registry[ask.id]
        return self.answer(ask.call, o.Unregistered(found=True, in_use=entry.name in used))

    def ListRegistered(self, ask: c.ListRegistered) -> None:
        found = self.entries(ask.kind, ask.name)
        if ask.id:
            found = [(id, name) for id, name in found if id == ask.id]
        elif not ask.name:
            found = [(id, name) for id, name in found if id > ask.after]
        page = found if ask.name or ask.id else found[: ask.limit]
        self.answer(ask.call, o.Registered(ask.kind, tuple(page), page[-1][0] if len(page) < len(found) else 0))

    # -- credentials

    def CreateCredential(self, ask: c.CreateCredential) -> None:
        self.answer(ask.call, self.create_credential(ask))

    def create_credential(self, ask: c.CreateCredential) -> o.Outcome:
        outcome = self.once(ask.request)
        if outcome is not None:
            return outcome
        if any(row.sha256 == ask.sha256 for row in self.credentials.values()):
            del self.records[ask.request.key]
            return o.Refusal.SECRET_IN_USE
        self.set(last_credential=self.scalars.last_credential + 1)
        id = self.scalars.last_credential
        self.credentials[id] = t.Credential(
            id=id,
            created_ms=self.now,
            created_by=ask.request.key.caller,
            name=ask.name,
            role=ask.role,
            prefixes=ask.prefixes,
            sha256=ask.sha256,
        )
        self.note(ask.request.key, "CredentialCreated", token=id)
        return o.CredentialCreated(id)

    def RevokeCredential(self, ask: c.RevokeCredential) -> None:
        self.answer(ask.call, o.CredentialRevoked(self.credentials.pop(ask.id, None) is not None))

    def ListCredentials(self, ask: c.ListCredentials) -> None:
        found = [row for row in self.credentials.values() if row.id > ask.after]
        page = found[: ask.limit]
        shown = tuple(o.CredentialShown(**{name: getattr(row, name) for name in CREDENTIAL_AS_SHOWN}) for row in page)
        self.answer(ask.call, o.Credentials(shown, page[-1].id if len(page) < len(found) else 0))

    def Deny(self, ask: c.Deny) -> None:
        self.answer(ask.call, o.Refusal.DENIED if ask.is_known else o.Refusal.UNKNOWN_CALLER)


CREDENTIAL_AS_SHOWN = ("id", "name", "role", "prefixes", "created_ms", "created_by")
HOLDER_AS_HOLD = ("token", "owner", "session", "agent", "acquired_ms", "reason", "metadata", "count")
WAITING_AS_WAITER = ("owner", "session", "agent", "since_ms", "until_ms", "reason", "metadata")
