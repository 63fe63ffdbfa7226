"""The machine once more, as plainly as can be: two dicts, searched from end to end, and no index.

Written from the rules in semantics.md and in apply's docstring. It answers with the machine's outcomes, so
that the two are compared value by value.
"""

from dataclasses import dataclass

from lockd.machine import commands as c
from lockd.machine import outcomes as o


@dataclass
class Held:
    name: str
    owner: str
    reason: str
    metadata: tuple[tuple[str, str], ...]
    acquired_ms: int
    by_name: bool
    key: tuple[str, bytes]
    ttl_ms: int
    deadline_ms: int | None
    """None: without a lease."""


@dataclass
class Known:
    asked: bytes
    answer: str
    token: int
    name: str
    until_ms: int | None
    """None: as long as its hold lives."""


class Model:
    def __init__(self, *, record_keep_ms: int, leases_per_entry: int, records_per_entry: int) -> None:
        self.record_keep_ms = record_keep_ms
        self.leases_per_entry, self.records_per_entry = leases_per_entry, records_per_entry
        self.clock_ms = self.epoch = self.version = self.last_token = 0
        self.held: dict[int, Held] = {}
        self.known: dict[tuple[str, bytes], Known] = {}

    def apply(self, entry: c.Entry, append_term: int) -> o.Applied:
        if isinstance(entry, c.BeginEpoch):
            if entry.epoch == append_term and entry.epoch > self.epoch:
                self.epoch = entry.epoch
                self.version = max(self.version, entry.version)
            return o.Applied()
        if entry.epoch != append_term or entry.epoch != self.epoch:
            return o.Applied(tuple(o.Answer(each.call, o.Refusal.STALE_EPOCH) for each in entry.commands))
        self.clock_ms = max(self.clock_ms, entry.stamp_ms)
        ended = [self.end(token, expired=True) for token in self.due()[: self.leases_per_entry]]
        for key in self.forgettable()[: self.records_per_entry]:
            del self.known[key]
        answers = []
        for command in entry.commands:
            outcome, freed = self.run(command)
            answers.append(o.Answer(command.call, outcome))
            ended += freed
        return o.Applied(tuple(answers), tuple(ended))

    def due(self) -> list[int]:
        """A younger lease has a greater token: one number orders both."""
        late = [
            (hold.deadline_ms, token)
            for token, hold in self.held.items()
            if hold.deadline_ms is not None and self.clock_ms > hold.deadline_ms
        ]
        return [token for _, token in sorted(late)]

    def forgettable(self) -> list[tuple[str, bytes]]:
        late = [
            (known.until_ms, key)
            for key, known in self.known.items()
            if known.until_ms is not None and self.clock_ms > known.until_ms
        ]
        return [key for _, key in sorted(late)]

    def end(self, token: int, *, expired: bool) -> o.Ended:
        hold = self.held.pop(token)
        self.known[hold.key].until_ms = self.clock_ms + self.record_keep_ms
        return o.Ended(token, hold.name, expired)

    def run(self, command: c.Command) -> tuple[o.Outcome, list[o.Ended]]:
        match command:
            case c.Acquire() | c.Release():
                return self.once(command)
            case c.Renew():
                return self.renew(command), []
            case c.IsLocked():
                return o.LockedState(self.holders(command.name)), []
            case c.ListHolds():
                return self.page(command), []
            case c.Barrier():
                return o.Passed(), []

    def once(self, ask: c.Acquire | c.Release) -> tuple[o.Outcome, list[o.Ended]]:
        key = (ask.request.caller, ask.request.id)
        known = self.known.get(key)
        if known is not None and known.asked != ask.request.asked:
            return o.Refusal.ID_REUSED, []
        if known is not None:
            return self.repeated(known), []
        if self.clock_ms > ask.request.not_after_ms:
            return o.Refusal.TOO_OLD, []
        return self.acquire(ask, key) if isinstance(ask, c.Acquire) else self.release(ask, key)

    def repeated(self, known: Known) -> o.Outcome:
        if known.answer == "granted":
            return self.granted(known.token) if known.token in self.held else o.Lost(known.token)
        if known.answer == "released":
            return o.Released(known.token)
        holders = self.holders(known.name)
        return o.HeldByOther(holders) if known.answer == "held by other" else o.NotHeld(holders)

    def acquire(self, ask: c.Acquire, key: tuple[str, bytes]) -> tuple[o.Outcome, list[o.Ended]]:
        until_ms = self.clock_ms + self.record_keep_ms
        if holders := self.holders(ask.name):
            self.known[key] = Known(ask.request.asked, "held by other", 0, ask.name, until_ms)
            return o.HeldByOther(holders), []
        self.last_token += 1
        deadline_ms = self.clock_ms + ask.ttl_ms if ask.ttl_ms else None
        self.held[self.last_token] = Held(
            ask.name, ask.owner, ask.reason, ask.metadata, self.clock_ms, ask.by_name, key, ask.ttl_ms, deadline_ms
        )
        self.known[key] = Known(ask.request.asked, "granted", self.last_token, ask.name, None)
        return self.granted(self.last_token), []

    def release(self, ask: c.Release, key: tuple[str, bytes]) -> tuple[o.Outcome, list[o.Ended]]:
        until_ms = self.clock_ms + self.record_keep_ms
        for token, hold in self.held.items():
            if ask.by_name:
                frees = hold.name == ask.name and hold.by_name and hold.deadline_ms is None
            else:
                frees = token == ask.token and ask.name in ("", hold.name)
            if frees:
                self.known[key] = Known(ask.request.asked, "released", token, hold.name, until_ms)
                return o.Released(token), [self.end(token, expired=False)]
        self.known[key] = Known(ask.request.asked, "not held", 0, ask.name, until_ms)
        return o.NotHeld(self.holders(ask.name)), []

    def renew(self, ask: c.Renew) -> o.Outcome:
        hold = self.held.get(ask.token)
        if hold is None:
            return o.NotHeld()
        if hold.deadline_ms is None:
            return o.Refusal.NO_LEASE
        if self.clock_ms + ask.ttl_ms >= hold.deadline_ms:
            hold.deadline_ms = self.clock_ms + ask.ttl_ms
            hold.ttl_ms = ask.ttl_ms
        return o.Renewed(self.remaining_ms(hold))

    def page(self, ask: c.ListHolds) -> o.Page:
        names = sorted(
            hold.name
            for hold in self.held.values()
            if hold.name.startswith(ask.prefix) and (hold.name > ask.after or not ask.after)
        )
        found: list[o.Holder] = []
        for place, name in enumerate(names):
            if len(found) == ask.limit:
                return o.Page(tuple(found), next=names[place - 1])
            found += [holder for holder in self.holders(name) if ask.owner in ("", holder.owner)]
        return o.Page(tuple(found))

    # -- as others see it

    def remaining_ms(self, hold: Held) -> int:
        return 0 if hold.deadline_ms is None else max(0, hold.deadline_ms - self.clock_ms)

    def granted(self, token: int) -> o.Granted:
        return o.Granted(token, self.remaining_ms(self.held[token]))

    def holders(self, name: str) -> tuple[o.Holder, ...]:
        return tuple(
            o.Holder(
                name=hold.name,
                token=token,
                owner=hold.owner,
                acquired_ms=hold.acquired_ms,
                ttl_ms=hold.ttl_ms,
                lease_remaining_ms=self.remaining_ms(hold),
                reason=hold.reason,
                metadata=hold.metadata,
            )
            for token, hold in self.held.items()
            if hold.name == name
        )
