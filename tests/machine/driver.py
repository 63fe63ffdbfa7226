"""A machine to drive in tests: a state, and the entries that are applied to it one after the other.

The commands made here have calls of their own, from a node whose lease never ends, and request ids of their own
unless one is given. So a test names only what it is about.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

from lockd.machine import commands as c
from lockd.machine.apply import apply
from lockd.machine.outcomes import Answer, Applied, Event, Granted, Holder, LockState, Opened, Outcome, Queued, What
from lockd.machine.state import State
from lockd.machine.tables import Change, NodeLease, Value

FOREVER = 2**60
EXCLUSIVE, SHARED = c.Mode.EXCLUSIVE, c.Mode.SHARED
LIFE = 7
"""Of the nodes whose lease never ends: 1, 2 and 3."""

AskedT = TypeVar("AskedT", c.Acquire, c.Release, c.OpenSession)
_fresh = count(1)


def call(node: int = 1, life: int = LIFE) -> c.Call:
    """One that was never used."""
    return c.Call(node, life, next(_fresh))


def free_key(id: bytes = b"", *, caller: str = "ann") -> c.Key:
    return c.Key(caller, c.FREE_ID + (id or b"fresh %d" % next(_fresh)))


def client_key(sequence: int, *, client: int = 1, caller: str = "ann") -> c.Key:
    """Of a client library: the id is its own and the request's place in its sequence."""
    return c.Key(caller, c.CLIENT_ID + client.to_bytes(16, "big") + sequence.to_bytes(8, "big"))


def request(
    key: c.Key | None = None,
    *,
    asked: bytes = b"digest",
    not_after_ms: int = FOREVER,
    answered: c.Answered | None = None,
) -> c.Request:
    return c.Request(key or free_key(), asked, not_after_ms, answered)


def lock(*names: str | c.Want, mode: c.Mode = EXCLUSIVE, req: c.Request | None = None, **how: Any) -> c.Acquire:
    """One request for these names, in this mode, but for those that are given as wants. how: fields of Acquire."""
    wants = tuple(c.Want(name, mode) if isinstance(name, str) else name for name in names)
    return c.Acquire(**{"call": call(), **how}, request=req or request(), wants=wants)


def read_lock(*names: str, req: c.Request | None = None, **how: Any) -> c.Acquire:
    return lock(*names, mode=SHARED, req=req, **how)


def shared(name: str) -> c.Want:
    return c.Want(name, SHARED)


def exclusive(name: str) -> c.Want:
    return c.Want(name, EXCLUSIVE)


def unlock(token: int, *, name: str = "", req: c.Request | None = None, caller: str = "ann") -> c.Release:
    return c.Release(call=call(), request=req or request(free_key(caller=caller)), token=token, name=name)


def unlock_in(session: int, name: str, agent: str, *, req: c.Request | None = None) -> c.Release:
    return c.Release(call=call(), request=req or request(), session=session, name=name, agent=agent)


def unlock_by_name(name: str, *, req: c.Request | None = None, caller: str = "ann") -> c.Release:
    return c.Release(call=call(), request=req or request(free_key(caller=caller)), name=name, by_name=True)


def break_lock(token: int, *, reason: str = "", by: str = "", caller: str = "ann", credential: str = "") -> c.Release:
    who: dict[str, Any] = {"request": request(free_key(caller=caller)), "owner": by, "credential": credential}
    return c.Release(call=call(), token=token, force=True, reason=reason, **who)


def renew(token: int, ttl_ms: int, *, caller: str = "ann") -> c.Renew:
    return c.Renew(call=call(), caller=caller, token=token, ttl_ms=ttl_ms)


def cancel(ask: c.Acquire | c.Key) -> c.Cancel:
    return c.Cancel(call=call(), key=ask if isinstance(ask, c.Key) else ask.request.key)


def withdraw(ask: c.Acquire, *, ended: c.Call | None = None) -> c.Withdraw:
    """What a node proposes when the call of this attempt has ended."""
    return c.Withdraw(call=call(), key=ask.request.key, ended=ended or ask.call)


def open_session(ttl_ms: int = 10_000, *, req: c.Request | None = None, owner: str = "") -> c.OpenSession:
    return c.OpenSession(call=call(), request=req or request(), ttl_ms=ttl_ms, owner=owner)


def keep_alive(session: int, *, caller: str = "ann") -> c.KeepAlive:
    return c.KeepAlive(call=call(), caller=caller, session=session)


def close(session: int, *, caller: str = "ann") -> c.CloseSession:
    return c.CloseSession(call=call(), caller=caller, session=session)


def open_node(node: int, life: int) -> c.OpenNode:
    return c.OpenNode(call=call(node, life))


def is_locked(name: str) -> c.IsLocked:
    return c.IsLocked(call=call(), name=name)


def get(name: str, limit: int = 100) -> c.Get:
    return c.Get(call=call(), name=name, limit=limit)


def barrier() -> c.Barrier:
    return c.Barrier(call=call())


def again(command: AskedT, *, node: int = 2, life: int = LIFE, attempt: int | None = None) -> AskedT:
    """The same request by another call. Without attempt, the number is as it was: the client gave none, or lagged."""
    other = replace(command, call=call(node, life))
    if attempt is not None:
        assert isinstance(other, c.Acquire)
        other = replace(other, attempt=attempt)
    return other


def whole(state: State) -> list[Change]:
    return list(state.all_records())


class Machine:
    """Epoch 1 has begun; the clock is at 0; nothing is held. Nodes 1, 2 and 3 have leases that never end.

    After each entry it checks that nothing is broken, and that a store which follows the changes could restore
    the state.
    """

    def __init__(self, *, epoch: int = 1) -> None:
        self.state = State()
        for node in (1, 2, 3):
            self.state.put_node(NodeLease(node, LIFE, FOREVER))
        self.stored: dict[tuple[str, object], Value | None] = {("scalars", None): self.state.scalars}
        self.changed: list[Change] = []
        """By the last entry."""
        self.answers: defaultdict[c.Call, list[Outcome]] = defaultdict(list)
        """All that each call was ever answered, in order."""
        self.events: list[Event] = []
        """All that ever happened."""
        self._follow()
        self.begin(epoch)

    # -- entries

    def apply(self, entry: c.Entry, append_term: int) -> Applied:
        applied = apply(self.state, entry, append_term)
        assert list(self.state.invariants()) == []
        self._follow()
        self.events += applied.events
        for answer in applied.answers:
            self.answers[answer.call].append(answer.outcome)
        return applied

    def _follow(self) -> None:
        self.changed = self.state.take_changes()
        for table, key, value in self.changed:
            if value is None:
                self.stored.pop((table, key), None)
            else:
                self.stored[table, key] = value
        assert self.stored == {(table, key): value for table, key, value in self.state.all_records()}

    def restart(self) -> None:
        """Goes on with what a store holds."""
        records = whole(self.state)
        self.state, self.changed = State.restored(iter(records)), []
        assert whole(self.state) == records

    def begin(self, epoch: int, *, version: int = 1, append_term: int | None = None) -> Applied:
        entry = c.BeginEpoch(epoch=epoch, version=version)
        return self.apply(entry, epoch if append_term is None else append_term)

    def entry(
        self, *commands: c.Command, at: int | None = None, epoch: int | None = None, append_term: int | None = None
    ) -> Applied:
        """One batch. at: its stamp, the present clock if none is given."""
        epoch = self.epoch if epoch is None else epoch
        stamp_ms = self.clock_ms if at is None else at
        batch = c.Batch(epoch=epoch, stamp_ms=stamp_ms, commands=commands)
        return self.apply(batch, epoch if append_term is None else append_term)

    def run(self, *commands: c.Command, at: int | None = None) -> Outcome:
        """What the last command of one batch was answered in it."""
        answers = self.entry(*commands, at=at).answers
        return next(answer.outcome for answer in answers if answer.call == commands[-1].call)

    # -- what tests ask for again and again

    def hold(self, *names: str | c.Want, mode: c.Mode = EXCLUSIVE, **how: Any) -> int:
        """Takes a lock; the token."""
        outcome = self.run(lock(*names, mode=mode, **how))
        assert isinstance(outcome, Granted), outcome
        return outcome.token

    def wait(self, *names: str | c.Want, mode: c.Mode = EXCLUSIVE, **how: Any) -> c.Acquire:
        """A request that waits, for as long as may be unless wait_ms is given."""
        ask = lock(*names, mode=mode, **{"wait_ms": -1, **how})
        outcome = self.run(ask)
        assert isinstance(outcome, Queued), outcome
        return ask

    def session(self, ttl_ms: int = 10_000, *, caller: str = "ann", owner: str = "") -> int:
        outcome = self.run(open_session(ttl_ms, req=request(free_key(caller=caller)), owner=owner))
        assert isinstance(outcome, Opened), outcome
        return outcome.session

    def last_answer(self, ask: c.Command) -> Outcome | None:
        """The last that this very call was answered; None: nothing yet."""
        return self.answers[ask.call][-1] if self.answers[ask.call] else None

    def waits(self, ask: c.Acquire) -> bool:
        return ask.request.key in self.state.waiters

    def tokens(self, name: str) -> list[int]:
        return [holder.token for holder in self.holders(name)]

    def holders(self, name: str) -> tuple[Holder, ...]:
        return self.lock_state(name).holders

    def lock_state(self, name: str) -> LockState:
        """As Get tells it, in an entry of its own. It changes nothing."""
        outcome = self.run(get(name))
        assert isinstance(outcome, LockState)
        return outcome

    @property
    def clock_ms(self) -> int:
        return self.state.scalars.clock_ms

    @property
    def epoch(self) -> int:
        return self.state.scalars.epoch

    def names(self) -> Iterator[str]:
        return self.state.names_after("", "")


def outcomes(applied: Applied) -> list[Any]:
    """In the order of the answers. Any: a test knows which outcome it looks into."""
    return [answer.outcome for answer in applied.answers]


def given(answers: tuple[Answer, ...], ask: c.Command) -> list[Outcome]:
    """What one entry answered this call."""
    return [answer.outcome for answer in answers if answer.call == ask.call]


def ended(applied: Applied) -> list[int]:
    """The tokens of the holds that time ended in this entry, in order."""
    return [event.token for event in applied.events if event.what is What.EXPIRED]


def grants(applied: Applied) -> list[int]:
    return [event.token for event in applied.events if event.what is What.GRANTED]


def granted(outcome: Outcome | None) -> bool:
    return isinstance(outcome, Granted)
