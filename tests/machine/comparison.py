"""The machine and the plain model side by side: whatever they are given, they answer alike and keep the same.

What they are given is made of what they keep, so that commands meet: `pick` chooses among few values of each kind.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from lockd.machine import apply as machine
from lockd.machine import commands as c
from lockd.machine import ending, reading, requests, turn
from lockd.machine import outcomes as o
from lockd.machine import tables as t
from lockd.machine.state import State
from tests.machine.driver import EXCLUSIVE, SHARED, client_key, free_key, whole
from tests.machine.model import Model
from tests.machine.model_state import Limits

LIMITS = Limits(leases=2, names=3, waiters=1, records=3, holders_shown=2, names_per_page=3, mark_ranges=2)
KEEP_MS, GRACE_MS = Model.record_keep_ms, Model.wait_grace_ms

# Some of the values go together, and some come often: each choice that hypothesis makes takes its time.
X, S = EXCLUSIVE, SHARED
WANTS = [
    tuple(c.Want(name, mode) for name, mode in wants)
    for wants in (
        [("a", X)],
        [("a", X)],
        [("a", S)],
        [("a", S)],
        [("b", X)],
        [("b", S)],
        [("é", X)],
        [("a", X), ("b", X)],
        [("b", X), ("a", S)],
        [("a", S), ("a/b", X), ("b", S)],
    )
]
WAITS = [(-1, 0), (-1, 0), (-1, 5), (0, 0), (0, 9), (5, 0), (1_000, 0), (GRACE_MS, 0)]
"""(wait_ms, lock_delay_ms)"""
TTLS_MS = [0, 0, 5, 10, 1_000, KEEP_MS + 5]
WORDS = [
    {},
    {"owner": "ann", "reason": "nightly"},
    {"owner": "bob", "metadata": (("k", "v"), ("k", "w"))},
    {"by_name": True},
]
AGENTS = ["", "t1", "t1", "t2", "t3"]
JUMPS_MS = [0] * 10 + [1, 5, 6, -3, 20, 21, 1_000, 1_001, GRACE_MS, GRACE_MS + 1, KEEP_MS + 1]
ANSWERED = [
    c.Answered(below, ranges)
    for below in (0, 2, 5)
    for ranges in ((), ((3, 3),), ((6, 8),), ((5, 5), (8, 8), (10, 10)))
]
OFTEN = ["lock"] * 6 + ["retry"] * 3 + ["reenter", "unlock", "unlock", "cancel", "withdraw"]
KINDS = [*OFTEN, "open", "open", "keep", "close", "renew", "node", "registry", "credential", "read"]
CROWD = ["lock", "lock", "lock", "lock", "retry", "unlock"]


@contextmanager
def small_bounds() -> Iterator[None]:
    """The machine's constants are those of LIMITS."""
    with ExitStack() as patches:
        for module, name, value in PATCHED:
            patches.enter_context(patch.object(module, name, value))
        yield


PATCHED = [
    (turn, "NAMES_PER_ENTRY", LIMITS.names),
    (turn, "WAITERS_PER_ENTRY", LIMITS.waiters),
    (turn, "HOLDERS_SHOWN", LIMITS.holders_shown),
    (ending, "LEASES_PER_ENTRY", LIMITS.leases),
    (ending, "WAITERS_PER_ENTRY", LIMITS.waiters),
    (ending, "RECORDS_PER_ENTRY", LIMITS.records),
    (reading, "HOLDERS_SHOWN", LIMITS.holders_shown),
    (reading, "NAMES_PER_PAGE", LIMITS.names_per_page),
    (requests, "MARK_RANGES_MAX", LIMITS.mark_ranges),
]

Pick = Callable[[Sequence[Any]], Any]
"""One of these values, of which there is always one."""


class Comparison:
    def __init__(self, pick: Pick) -> None:
        self.pick = pick
        self.state, self.model = State(), Model(LIMITS)
        self.stored: dict[tuple[str, object], t.Value] = {("scalars", None): self.state.scalars}
        self.lives = {1: 1, 2: 1}
        self.calls = 0
        self.locks: dict[c.Key, c.Acquire] = {}
        """The last attempts,"""
        self.attempts: list[tuple[c.Key, c.Call]] = []
        """and all that there were."""
        self.seen: set[str] = set()
        """What was ever answered."""

    # -- entries

    def apply(self, entry: c.Entry, append_term: int) -> o.Applied:
        applied = machine.apply(self.state, entry, append_term)
        expected = self.model.apply(entry, append_term)
        assert list(map(without_cycle, applied.answers)) == list(map(without_cycle, expected.answers))
        assert applied.events == expected.events
        self.look_at_cycles(applied.answers)
        for table, key, value in self.state.take_changes():
            if value is None:
                self.stored.pop((table, key), None)
            else:
                self.stored[table, key] = value
        for answer in applied.answers:
            outcome = answer.outcome
            self.seen.add(outcome.name if isinstance(outcome, o.Refusal) else type(outcome).__name__)
        return applied

    def look_at_cycles(self, answers: tuple[o.Answer, ...]) -> None:
        """Each link that the machine names is one that the model knows, and the last leads back to the first."""
        for answer in answers:
            key = answer.key
            if key is None or not isinstance(answer.outcome, o.Deadlock):
                continue
            links = answer.outcome.cycle
            followers = [(link.session, link.agent) for link in (*links[1:], links[0])]
            assert set(zip(links, followers, strict=True)) <= self.model.edges[key]
            if key in self.model.records:
                self.model.records[key] = replace(self.model.records[key], cycle=links)

    def batch(self, jump_ms: int, commands: list[c.Command]) -> o.Applied:
        epoch, stamp_ms = self.model.scalars.epoch, max(0, self.model.now + jump_ms)
        return self.apply(c.Batch(epoch=epoch, stamp_ms=stamp_ms, commands=tuple(commands)), epoch)

    def begin(self) -> None:
        """Two nodes, and a session that lasts and holds two names, so that there are queues from the start."""
        self.apply(c.BeginEpoch(epoch=1, version=1), 1)
        long = c.OpenSession(call=self.call(1), request=c.Request(free_key(b"long"), b"open", 0), ttl_ms=10**9)
        self.batch(0, [*self.renewals(), long, self.first_lock("a", "t1"), self.first_lock("b", "t2")])

    def first_lock(self, name: str, agent: str) -> c.Acquire:
        key, wants = free_key(name.encode()), (c.Want(name, X),)
        request = c.Request(key, b"lock", 0)
        ask = c.Acquire(call=self.call(1), request=request, wants=wants, session=1, agent=agent)
        return self.locks.setdefault(key, ask)

    def renewals(self) -> list[c.Command]:
        """As nodes do in time; where more time has passed at once, their leases have ended."""
        return [c.OpenNode(call=self.call(node)) for node in self.lives]

    def entry(self) -> None:
        commands = [self.command(KINDS) for _ in range(self.pick(range(1, 6)))]
        self.batch(self.pick(JUMPS_MS), self.renewals() + commands)

    def crowd(self) -> None:
        commands = [self.command(CROWD) for _ in range(self.pick(range(3, 10)))]
        self.batch(self.pick([0, 0, 1]), self.renewals() + commands)

    def begin_epoch(self) -> None:
        epoch = max(0, self.model.scalars.epoch + self.pick([1, 1, 2, 0, -1]))
        entry = c.BeginEpoch(epoch=epoch, version=self.pick(range(5)))
        self.apply(entry, max(0, epoch + self.pick([0, 0, 0, -1, 1])))

    def stale_entry(self) -> None:
        later, off = self.pick([(-1, 0), (-1, 1), (0, 1), (0, -1), (1, -1), (2, 0)])
        epoch, before = self.model.scalars.epoch + later, whole(self.state)
        asked = self.command(KINDS)
        entry = c.Batch(epoch=epoch, stamp_ms=self.model.now + 10**9, commands=(asked,))
        applied = self.apply(entry, epoch + off)
        assert applied == o.Applied((o.Answer(asked.call, o.Refusal.STALE_EPOCH),))
        assert whole(self.state) == before

    def at_the_next_bound(self) -> None:
        """Or just past it."""
        bound = self.state.next_bound_ms()
        if bound is not None:
            self.batch(bound + self.pick([0, 1]) - self.model.now, [])

    def restart(self) -> None:
        """The machine goes on from its records."""
        self.state = State.restored(iter(whole(self.state)))

    # -- commands

    def call(self, node: int) -> c.Call:
        self.calls += 1
        return c.Call(node, self.lives[node], self.calls)

    def command(self, kinds: list[str]) -> c.Command:
        """Of one of these kinds, which new_* make."""
        kind = self.pick(kinds)
        call = self.call(self.pick([1, 1, 2]))
        make: Callable[[c.Call], c.Command] = getattr(self, f"new_{kind}")
        command = make(call)
        if isinstance(command, c.Acquire):
            self.attempts.append((command.request.key, command.call))
        return command

    def request(self, kind: bytes) -> c.Request:
        """Most ids are new, some are on record, some reused for something else."""
        name, where = self.pick(["free", "free", "client", "client", "old"]), self.pick(range(16))
        caller = self.pick(["ann"] * 7 + ["bo"])
        key = free_key(b"%d" % self.calls, caller=caller) if name == "free" else client_key(where, caller=caller)
        if name == "old":
            key = self.pick([*self.model.records, key])
        not_after_ms = max(0, self.model.now + (where - 1) * 1_000)
        answered = self.pick([None, None, *ANSWERED]) if key.client else None
        return c.Request(key, kind if where else b"lock", not_after_ms, answered)

    def new_lock(self, call: c.Call) -> c.Acquire:
        sessions = [id for id, lease in self.model.leases.items() if lease.is_session]
        session = self.pick([0, 0, 0, *sessions * 3, 99])
        wants, agent = self.pick(WANTS), self.pick(AGENTS)
        (wait_ms, lock_delay_ms), words = self.pick(WAITS), self.pick(WORDS)
        ask = c.Acquire(
            call=call,
            request=self.request(b"lock"),
            wants=wants,
            session=session,
            agent=agent,
            wait_ms=wait_ms,
            lock_delay_ms=lock_delay_ms,
            ttl_ms=0 if session else self.pick(TTLS_MS),
            reentrant=bool(session and agent and len(wants) == 1 and self.pick([False, True])),
            **words,
        )
        self.locks[ask.request.key] = ask
        return ask

    def new_reenter(self, call: c.Call) -> c.Command:
        held = [hold for hold in self.model.holds.values() if hold.session and hold.agent]
        if not held:
            return c.Barrier(call=call)
        hold: t.Hold = self.pick(held)
        wants = (hold.wants[0]._replace(mode=self.pick([X, S])),)
        asked: dict[str, Any] = {
            "wants": wants,
            "session": hold.session,
            "agent": hold.agent,
            "reentrant": True,
            "ttl_ms": 0,
        }
        ask = replace(self.new_lock(call), **asked)
        self.locks[ask.request.key] = ask
        return ask

    def new_retry(self, call: c.Call) -> c.Command:
        """Another attempt of what was asked before, or the very same call proposed again."""
        if not self.locks:
            return c.Barrier(call=call)
        ask: c.Acquire = self.pick([*self.locks.values()])
        attempt = self.pick(range(5))
        return replace(ask, call=call, attempt=attempt) if attempt < 4 else ask

    def new_unlock(self, call: c.Call) -> c.Command:
        request, how = self.request(b"unlock"), self.pick(["token", "agent", "name", "force"])
        hold = self.pick([*self.model.holds.values()]) if self.model.holds else None
        token, name = (hold.token, hold.wants[0].name) if hold else (99, "a")
        if how == "agent":
            session, agent = (hold.session, hold.agent) if hold else (1, "t1")
            return c.Release(call=call, request=request, session=session, name=name, agent=agent)
        if how == "name":
            return c.Release(call=call, request=request, name=name, by_name=True)
        if how == "force":
            who: dict[str, Any] = {"owner": "operator", "credential": "t:1"}
            return c.Release(call=call, request=request, token=token, force=True, reason="stuck", **who)
        return c.Release(call=call, request=request, token=token, name=self.pick(["", name, "b"]))

    def new_cancel(self, call: c.Call) -> c.Command:
        return c.Cancel(call=call, key=self.pick([*self.locks, free_key(b"unseen"), client_key(3)]))

    def new_withdraw(self, call: c.Call) -> c.Command:
        rows: list[t.Waiter | t.Hold] = [*self.model.waiters, *self.model.holds.values()]
        ended: list[tuple[c.Key, c.Call | None]] = [(row.key, row.call) for row in rows if row.call]
        ended += self.attempts[-6:]
        key, its_call = self.pick([*ended, (free_key(b"unseen"), call)])
        return c.Withdraw(call=call, key=key, ended=its_call)

    def new_renew(self, call: c.Call) -> c.Command:
        leased = [token for token, hold in self.model.holds.items() if hold.lease and not hold.session]
        token, ttl_ms = self.pick(leased * 2 + [*self.model.holds, 99]), self.pick([1, 10, 1_000])
        return c.Renew(call=call, caller=self.pick(["ann", "ann", "ann", "bo"]), token=token, ttl_ms=ttl_ms)

    def new_open(self, call: c.Call) -> c.Command:
        ttl_ms, owner = self.pick([(20, ""), (1_000, "ann"), (1_000, ""), (KEEP_MS * 9, "bob")])
        return c.OpenSession(call=call, request=self.request(b"open"), ttl_ms=ttl_ms, owner=owner)

    def new_keep(self, call: c.Call) -> c.Command:
        caller, session = self.pick(["ann", "ann", "bo"]), self.pick([*self.model.leases, 99])
        return c.KeepAlive(call=call, caller=caller, session=session)

    def new_close(self, call: c.Call) -> c.Command:
        caller, session = self.pick(["ann", "ann", "bo"]), self.pick([*self.model.leases, 99])
        return c.CloseSession(call=call, caller=caller, session=session)

    def new_node(self, call: c.Call) -> c.Command:
        """Its next life, or a late command of the life before."""
        late = self.pick([False, True])
        self.lives[call.node] += not late
        return c.OpenNode(call=call._replace(life=self.lives[call.node] - late))

    def new_registry(self, call: c.Call) -> c.Command:
        what, kind = self.pick("rrul"), self.pick(list(c.Kind))
        name = self.pick(["a", "ann"])
        if what == "r":
            return c.Register(call=call, kind=kind, name=name)
        if what == "u":
            return c.Unregister(call=call, kind=kind, id=self.pick([*self.model.registry, 99]))
        after, limit, how = self.pick([0, 1, 2]), self.pick([1, 2]), self.pick(["page", "name", "id"])
        which = {"name": {"name": name}, "id": {"id": self.pick([*self.model.registry, 99])}, "page": {}}[how]
        return c.ListRegistered(call=call, kind=kind, after=after, limit=limit, **which)

    def new_credential(self, call: c.Call) -> c.Command:
        what, id = self.pick("ccrld"), self.pick([*self.model.credentials, 99])
        match what:
            case "c":
                name, role, sha256 = self.pick(["ci", "ops"]), self.pick(list(c.Role)), self.pick([b"1", b"2", b"3"])
                prefixes = self.pick([(), ("a/",), ("a", "b")])
                how: dict[str, Any] = {"name": name, "role": role, "sha256": sha256, "prefixes": prefixes}
                return c.CreateCredential(call=call, request=self.request(b"create" + sha256), **how)
            case "r":
                return c.RevokeCredential(call=call, id=id)
            case "d":
                return c.Deny(call=call, is_known=self.pick([True, False]))
        return c.ListCredentials(call=call, after=self.pick([0, 1, id]), limit=self.pick([1, 2]))

    def new_read(self, call: c.Call) -> c.Command:
        what, name = self.pick("iglct"), self.pick(["a", "b", "a/b", "zz"])
        match what:
            case "i":
                return c.IsLocked(call=call, name=name)
            case "g":
                return c.Get(call=call, name=name, limit=self.pick([1, 2, 3]))
            case "t":
                return c.CheckToken(call=call, name=name, token=self.pick([*self.model.holds, 99]))
        prefix, after = self.pick(["", "", "a", "a/"]), self.pick(["", "", "a", "é"])
        owner, mode = self.pick([("", None), ("ann", None), ("", X), ("bob", S)])
        limit, with_waiters = self.pick([1, 2, 3, 4]), self.pick([True, False])
        ask = c.ListHolds(
            call=call, prefix=prefix, after=after, limit=limit, owner=owner, mode=mode, with_waiters=with_waiters
        )
        return replace(ask, token=self.pick([*self.model.holds, 99])) if self.pick([False, False, True]) else ask

    # -- after every step

    def check(self) -> None:
        assert list(self.state.invariants()) == []
        self.state_and_model_are_the_same()
        self.a_store_that_followed_restores_the_same()
        self.bounds_are_known()

    def state_and_model_are_the_same(self) -> None:
        state, model = self.state, self.model
        assert state.scalars == model.scalars
        assert state.leases == model.leases
        assert state.holds == model.holds
        assert sorted(state.waiters.values(), key=lambda waiter: waiter.arrival) == model.waiters
        assert state.delays == model.delays
        assert state.records == model.records
        assert state.marks == model.marks
        assert state.nodes == model.nodes
        assert state.registry == model.registry
        assert state.credentials == model.credentials

    def a_store_that_followed_restores_the_same(self) -> None:
        records = whole(self.state)
        restored = State.restored(iter(records))
        assert whole(restored) == records
        assert restored.next_bound_ms() == self.state.next_bound_ms()
        assert restored.next_record_end_ms() == self.state.next_record_end_ms()
        assert {(table, key): value for table, key, value in records} == {
            **self.stored,
            ("scalars", None): self.state.scalars,
        }

    def bounds_are_known(self) -> None:
        model, pending = self.model, []
        leases, nodes = list(model.leases.values()), list(model.nodes.values())
        pending += [-1 if lease.ending else lease.deadline_ms for lease in leases]
        pending += [-1 if node.ending else node.deadline_ms for node in nodes]
        pending += [waiter.until_ms for waiter in model.waiters if waiter.until_ms]
        pending += [delay.until_ms for delay in model.delays.values()]
        assert self.state.next_bound_ms() == min(pending, default=None)
        assert machine.more_is_due(self.state) == (min(pending, default=model.now) < model.now)


def without_cycle(answer: o.Answer) -> o.Answer:
    return replace(answer, outcome=o.Deadlock(())) if isinstance(answer.outcome, o.Deadlock) else answer
