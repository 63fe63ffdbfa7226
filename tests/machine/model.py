"""The machine once more, as plainly as can be: lists searched from end to end, and no index.

Written from the rules in semantics.md. It answers with the machine's outcomes and keeps the machine's records, so that
the two are compared value by value. Of a deadlock it knows all edges rather than one cycle: see `edges`.
"""

from dataclasses import replace

from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd.machine import tables as t
from tests.machine.model_state import Limits, ModelState, X, compatible, names_of


class Model(ModelState):
    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.names_left = self.waiters_left = 0
        self.edges: dict[c.Key, set[tuple[o.Link, tuple[int, str]]]] = {}
        """Of a request that was refused as a deadlock: who waited for whom by then, the request's own wait included."""

    # -- entries

    def apply(self, entry: c.Entry, append_term: int) -> o.Applied:
        if isinstance(entry, c.BeginEpoch):
            if append_term == entry.epoch > self.scalars.epoch:
                self.set(epoch=entry.epoch, version=max(entry.version, self.scalars.version))
            return o.Applied()
        if not append_term == entry.epoch == self.scalars.epoch:
            return o.Applied(tuple(o.Answer(command.call, o.Refusal.STALE_EPOCH) for command in entry.commands))
        self.set(clock_ms=max(self.now, entry.stamp_ms))
        self.answers, self.events = [], []
        self.names_left, self.waiters_left = self.limits.names, self.limits.waiters
        self.end_due()
        self.serve()
        for command in entry.commands:
            getattr(self, type(command).__name__)(command)
            self.serve()
        return o.Applied(tuple(self.answers), tuple(self.events))

    # -- what time ends

    def end_due(self) -> None:
        for node in sorted(key for key in self.nodes if self.nodes[key].ending):
            self.end_node(node)
        for id in sorted(id for id in self.leases if self.leases[id].ending):
            self.end_lease(id)
        late_nodes = [
            key for key in self.nodes if self.now > self.nodes[key].deadline_ms and not self.nodes[key].ending
        ]
        for node in sorted(late_nodes, key=lambda key: (self.nodes[key].deadline_ms, key)):
            self.end_node(node)
        late = [waiter for waiter in self.waiters if waiter.until_ms and self.now > waiter.until_ms]
        for waiter in sorted(late, key=lambda waiter: (waiter.until_ms, waiter.arrival))[: self.waiters_left]:
            self.waiters_left -= 1
            self.leave(waiter, o.TimedOut, "timed out")
        over = sorted(
            (delay.until_ms, delay.name, delay.mode.name) for delay in self.delays.values() if self.now > delay.until_ms
        )
        for _, name, mode in over[: self.limits.waiters]:
            del self.delays[t.DelayKey(name, c.Mode[mode])]
            self.tell(o.What.DELAY_ENDED, None, (c.Want(name, c.Mode[mode]),))
        self.end_due_leases()
        old = sorted((record.until_ms, key) for key, record in self.records.items() if 0 < record.until_ms < self.now)
        for _, key in old[: self.limits.records]:
            del self.records[key]
        forgotten = sorted((mark.until_ms, key) for key, mark in self.marks.items() if self.now > mark.until_ms)
        for _, client in forgotten[: max(0, self.limits.records - len(old))]:
            del self.marks[client]

    def due_leases(self) -> list[int]:
        late = [lease for lease in self.leases.values() if self.now > lease.deadline_ms and not lease.ending]
        return [lease.id for lease in sorted(late, key=lambda lease: (lease.deadline_ms, lease.id))]

    def end_due_leases(self) -> None:
        for id in self.due_leases()[: self.limits.leases]:
            if not self.names_left or not self.waiters_left:
                return
            lease = self.leases[id]
            if not lease.is_session and sum(len(hold.wants) for hold in self.on_lease(id)) > self.names_left:
                return
            self.leases[id] = replace(lease, ending=True)
            self.end_lease(id)

    def on_lease(self, id: int) -> list[t.Hold]:
        return [hold for hold in self.holds.values() if hold.lease == id]

    def end_lease(self, id: int) -> None:
        closed, closer = self.leases[id].closed, self.leases[id].closer
        for waiter in [waiter for waiter in self.waiters if waiter.session == id]:
            if not self.waiters_left:
                return
            self.waiters_left -= 1
            self.leave(waiter, o.SessionEnded, "session ended")
        for hold in self.on_lease(id):
            if len(hold.wants) > self.names_left:
                return
            self.names_left -= len(hold.wants)
            self.free(hold, o.What.RELEASED if closed else o.What.EXPIRED)
        self.leases.pop(id, None)
        if closer:
            self.answer(closer, o.Closed())

    def end_node(self, key: t.NodeKey) -> None:
        self.nodes[key] = replace(self.nodes[key], ending=True)
        for waiter in [w for w in self.waiters if (w.call.node, w.call.life) == key and not w.session]:
            if not self.waiters_left:
                return
            self.waiters_left -= 1
            self.leave(waiter, o.Withdrawn, "node gone")
        del self.nodes[key]

    # -- granting

    def taken(self) -> list[c.Want]:
        held = [want for hold in self.holds.values() for want in hold.wants]
        return held + [c.Want(delay.name, delay.mode) for delay in self.delays.values()]

    def serve(self) -> None:
        """Every waiter, in arrival order, is granted unless a hold, a delay or a waiter ahead is in its way."""
        ahead: list[c.Want] = []
        for waiter in list(self.waiters):
            is_alive = not waiter.session or not self.leases[waiter.session].ending
            if is_alive and compatible(waiter.wants, self.taken() + ahead):
                self.waiters.remove(waiter)
                hold = self.grant(waiter)
                self.records[waiter.key] = replace(self.records[waiter.key], outcome="Granted", token=hold.token)
                waited_ms = self.now - waiter.parked_ms
                self.answer(waiter.call, o.Granted(hold.token, self.remaining(hold.lease), waited_ms), waiter.key)
            else:
                ahead += waiter.wants

    def grant(self, waiter: t.Waiter, *, by_name: bool = False) -> t.Hold:
        self.set(last_token=self.scalars.last_token + 1)
        lease = waiter.session or (self.new_lease(waiter.ttl_ms) if waiter.ttl_ms else 0)
        shared = {field: getattr(waiter, field) for field in HOLD_AS_WAITER}
        hold = t.Hold(token=self.scalars.last_token, lease=lease, acquired_ms=self.now, by_name=by_name, **shared)
        self.holds[hold.token] = hold
        self.tell(o.What.GRANTED, hold, hold.wants, hold.reason)
        return hold

    def new_lease(self, ttl_ms: int, **rest: str) -> int:
        id = self.scalars.last_lease + 1
        self.set(last_lease=id)
        is_session = bool(rest)
        self.leases[id] = t.Lease(
            id=id,
            deadline_ms=self.now + ttl_ms,
            ttl_ms=ttl_ms,
            is_session=is_session,
            **rest,  # type: ignore[arg-type]
        )
        return id

    def free(self, hold: t.Hold, what: o.What, reason: str = "", by: c.Release | None = None) -> None:
        del self.holds[hold.token]
        if hold.lease and not hold.session:
            del self.leases[hold.lease]
        for key, record in self.records.items():
            if record.outcome == "Granted" and record.token == hold.token and not record.until_ms:
                self.records[key] = replace(record, until_ms=self.now + self.record_keep_ms)
        if hold.lock_delay_ms and what in (o.What.EXPIRED, o.What.BROKEN):
            for name, mode in hold.wants:
                before = self.delays.get(t.DelayKey(name, mode))
                until_ms = max(self.now + hold.lock_delay_ms, before.until_ms if before else 0)
                self.delays[t.DelayKey(name, mode)] = t.Delay(name, mode, until_ms)
        self.tell(what, hold, hold.wants, reason, by)

    def let_go(self, hold: t.Hold, what: o.What, reason: str = "", by: c.Release | None = None) -> int:
        if hold.count == 1 or what is o.What.BROKEN:
            self.free(hold, what, reason, by)
            return 0
        self.holds[hold.token] = replace(hold, count=hold.count - 1)
        return hold.count - 1

    def leave(self, waiter: t.Waiter, outcome: type, why: str) -> None:
        self.waiters.remove(waiter)
        self.note(waiter.key, outcome.__name__, names=names_of(waiter.wants))
        self.tell(o.What.LEFT, waiter, waiter.wants, why)
        self.answer(waiter.call, self.repeated(self.records[waiter.key]), waiter.key)

    # -- Acquire

    def Acquire(self, ask: c.Acquire) -> None:
        self.answer(ask.call, self.acquire(ask), ask.request.key)

    def acquire(self, ask: c.Acquire) -> o.Outcome:
        node = self.nodes.get(t.NodeKey(ask.call.node, ask.call.life))
        if node is None or node.ending:
            return o.Refusal.STALE_NODE
        known = self.known(ask.request)
        if isinstance(known, o.Refusal):
            return known
        if known is None:
            self.records[ask.request.key] = t.Record(key=ask.request.key, asked=ask.request.asked, outcome="")
            return self.first_attempt(ask)
        if known.outcome == "Queued":
            return self.attempt_again(ask)
        if known.outcome == "Granted" and known.token in self.holds and self.holds[known.token].call != ask.call:
            self.holds[known.token] = replace(self.holds[known.token], call=None)
        return self.repeated(known)

    def attempt_again(self, ask: c.Acquire) -> o.Outcome:
        place = next(i for i, waiter in enumerate(self.waiters) if waiter.key == ask.request.key)
        waiter = self.waiters[place]
        if ask.call != waiter.call:
            attempt = ask.attempt or waiter.attempt + 1
            if attempt <= waiter.attempt:
                return o.Superseded()
            self.answer(waiter.call, o.Superseded(), waiter.key)
            self.waiters[place] = replace(waiter, call=ask.call, attempt=attempt, parked_ms=self.now)
        return o.Queued(self.position(waiter))

    def first_attempt(self, ask: c.Acquire) -> o.Outcome:
        key, names = ask.request.key, names_of(ask.wants)
        if ask.session and not self.session(ask.session, key.caller):
            self.note(key, "SessionEnded")
            return o.SessionEnded()
        who = c.Agent(key.caller, ask.session, ask.agent)
        mine = [hold for hold in self.holds.values() if hold.who == who and names[0] in names_of(hold.wants)]
        if ask.reentrant and ask.session and mine:
            return self.reenter(ask, mine[0])
        waiter = self.as_waiter(ask)
        if compatible(ask.wants, self.taken() + [want for other in self.waiters for want in other.wants]):
            hold = self.grant(waiter, by_name=ask.by_name)
            self.note(key, "Granted", token=hold.token)
            return o.Granted(hold.token, self.remaining(hold.lease))
        if not ask.wait_ms:
            self.note(key, "HeldByOther", names=names)
            return o.HeldByOther(self.conflict(names))
        if ask.agent and self.closes_a_cycle(waiter):
            self.note(key, "Deadlock")
            return o.Deadlock(())
        self.set(last_arrival=waiter.arrival)
        self.waiters.append(waiter)
        self.tell(o.What.WAITING, waiter, waiter.wants, waiter.reason)
        self.note(key, "Queued")
        return o.Queued(self.position(waiter))

    def reenter(self, ask: c.Acquire, hold: t.Hold) -> o.Outcome:
        (want,) = ask.wants
        if want.mode is X and c.Want(want.name, X) not in hold.wants:
            self.note(ask.request.key, "UpgradeRefused", token=hold.token)
            return o.UpgradeRefused(hold.token)
        self.holds[hold.token] = replace(hold, count=hold.count + 1)
        self.note(ask.request.key, "Granted", token=hold.token)
        return o.Granted(hold.token, self.remaining(hold.lease), count=hold.count + 1)

    def as_waiter(self, ask: c.Acquire) -> t.Waiter:
        return t.Waiter(
            arrival=self.scalars.last_arrival + 1,
            key=ask.request.key,
            until_ms=self.now + ask.wait_ms if ask.wait_ms > 0 else 0,
            since_ms=self.now,
            attempt=ask.attempt or 1,
            parked_ms=self.now,
            **{field: getattr(ask, field) for field in WAITER_AS_ACQUIRE},
        )

    def position(self, waiter: t.Waiter) -> int:
        ahead = [want.name for other in self.waiters if other.arrival < waiter.arrival for want in other.wants]
        return sum(ahead.count(name) for name in names_of(waiter.wants))

    # -- deadlocks

    def closes_a_cycle(self, asking: t.Waiter) -> bool:
        """Whether whoever is in its way, or in the way of those, waits for a hold of the agent that asks."""
        if not any(hold.who == asking.who for hold in self.holds.values()):
            return False
        edges: set[tuple[o.Link, tuple[int, str]]] = set()
        followed, closes = [asking], False
        for waiter in followed:
            for name, blocker in self.in_the_way_of(waiter):
                edges.add((o.Link(waiter.owner, waiter.session, waiter.agent, name), (blocker.session, blocker.agent)))
                closes |= blocker.who == asking.who and isinstance(blocker, t.Hold)
                followed += [other for other in self.waiters if other.who == blocker.who and other not in followed]
        self.edges[asking.key] = edges
        return closes

    def in_the_way_of(self, waiter: t.Waiter) -> list[tuple[str, t.Hold | t.Waiter]]:
        """By name, those with an agent: incompatible holds, and waiters ahead as far as the nearest EXCLUSIVE one."""
        found: list[tuple[str, t.Hold | t.Waiter]] = []
        for want in waiter.wants:
            found += [(want.name, hold) for hold in self.holds.values() if not compatible((want,), list(hold.wants))]
            for other in [other for other in reversed(self.waiters) if other.arrival < waiter.arrival]:
                if not compatible((want,), list(other.wants)):
                    found.append((want.name, other))
                if c.Want(want.name, X) in other.wants and other.agent:
                    break
        return [(name, blocker) for name, blocker in found if blocker.agent]

    # -- the other commands, by their names

    def session(self, id: int, caller: str) -> t.Lease | None:
        lease = self.leases.get(id)
        return lease if lease and lease.is_session and lease.caller == caller and not lease.ending else None

    def Release(self, ask: c.Release) -> None:
        outcome = self.once(ask.request)
        self.answer(ask.call, outcome or self.release(ask))

    def release(self, ask: c.Release) -> o.Outcome:
        def is_meant(hold: t.Hold) -> bool:
            named = ask.name in names_of(hold.wants)
            own = ask.force or hold.key.caller == ask.request.key.caller
            if ask.by_name:
                return named and own and hold.by_name and not hold.lease
            if ask.session:
                return named and hold.who == c.Agent(ask.request.key.caller, ask.session, ask.agent)
            return hold.token == ask.token and own and (named or not ask.name)

        meant = [hold for hold in self.holds.values() if is_meant(hold)]
        if meant:
            how = (o.What.BROKEN, ask.reason, ask) if ask.force else (o.What.RELEASED, "", None)
            count = self.let_go(meant[0], *how)
            self.note(ask.request.key, "Released", token=meant[0].token, count=count)
            return o.Released(meant[0].token, count)
        of_token = self.holds.get(ask.token)
        name = ask.name or (of_token.wants[0].name if of_token else "")
        names = (name,) if name else ()
        self.note(ask.request.key, "NotHeld", names=names)
        return o.NotHeld(self.conflict(names).holders)

    def Cancel(self, ask: c.Cancel) -> None:
        if self.is_answered(ask.key):
            return self.answer(ask.call, o.Refusal.ANSWERED)
        record = self.records.get(ask.key)
        hold = self.holds.get(record.token) if record and record.outcome == "Granted" else None
        if record is None or hold:
            self.note(ask.key, "Cancelled")
        if hold:
            self.let_go(hold, o.What.RELEASED, "cancelled")
        for waiter in [waiter for waiter in self.waiters if waiter.key == ask.key]:
            self.leave(waiter, o.Cancelled, "cancelled")
        return self.answer(ask.call, o.Cancelled())

    def Withdraw(self, ask: c.Withdraw) -> None:
        for waiter in list(self.waiters):
            if waiter.key == ask.key and waiter.call == ask.ended and not waiter.session:
                self.leave(waiter, o.Withdrawn, "withdrawn")
        record = self.records.get(ask.key)
        for hold in list(self.holds.values()):
            is_its = record and record.outcome == "Granted" and record.token == hold.token
            if is_its and hold.call == ask.ended and not hold.session:
                self.note(ask.key, "Withdrawn")
                self.free(hold, o.What.RELEASED, "withdrawn")
        self.answer(ask.call, o.Passed())

    def Renew(self, ask: c.Renew) -> None:
        hold = self.holds.get(ask.token)
        if hold is None or hold.key.caller != ask.caller:
            return self.answer(ask.call, o.NotHeld())
        if hold.session or not hold.lease:
            return self.answer(ask.call, o.Refusal.IN_SESSION if hold.session else o.Refusal.NO_LEASE)
        lease = self.leases[hold.lease]
        if self.now + ask.ttl_ms >= lease.deadline_ms:
            self.leases[lease.id] = replace(lease, deadline_ms=self.now + ask.ttl_ms, ttl_ms=ask.ttl_ms)
        return self.answer(ask.call, o.Renewed(self.remaining(lease.id)))

    def OpenSession(self, ask: c.OpenSession) -> None:
        outcome = self.once(ask.request)
        if outcome is None:
            id = self.new_lease(ask.ttl_ms, caller=ask.request.key.caller, owner=ask.owner)
            self.note(ask.request.key, "Opened", token=id)
            outcome = o.Opened(id, ask.ttl_ms, ask.ttl_ms)
        self.answer(ask.call, outcome)

    def KeepAlive(self, ask: c.KeepAlive) -> None:
        lease = self.session(ask.session, ask.caller)
        if lease is None:
            return self.answer(ask.call, o.SessionEnded())
        self.leases[lease.id] = replace(lease, deadline_ms=max(lease.deadline_ms, self.now + lease.ttl_ms))
        return self.answer(ask.call, o.Kept(self.remaining(lease.id)))

    def CloseSession(self, ask: c.CloseSession) -> None:
        lease = self.leases.get(ask.session)
        if lease is None or not lease.is_session or lease.caller != ask.caller:
            return self.answer(ask.call, o.Closed())
        if lease.closer not in (None, ask.call):
            self.answer(lease.closer, o.Superseded())
        self.leases[lease.id] = replace(lease, ending=True, closed=lease.closed or not lease.ending, closer=ask.call)
        return self.end_lease(lease.id)

    def OpenNode(self, ask: c.OpenNode) -> None:
        mine = t.NodeKey(ask.call.node, ask.call.life)
        for other in sorted(key for key in self.nodes if key.node == mine.node and key != mine):
            self.end_node(other)
        if mine in self.nodes and self.nodes[mine].ending:
            return self.answer(ask.call, o.Refusal.STALE_NODE)
        self.nodes[mine] = t.NodeLease(mine.node, mine.life, self.now + self.wait_grace_ms)
        return self.answer(ask.call, o.Passed())


HOLD_AS_WAITER = ("key", "wants", "session", "agent", "owner", "reason", "metadata", "lock_delay_ms", "call")
WAITER_AS_ACQUIRE = ("call", "wants", "session", "agent", "owner", "reason", "metadata", "lock_delay_ms", "ttl_ms")
