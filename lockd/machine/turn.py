"""What one entry does, while it is being applied: grants, ends, answers and events.

Whatever makes room on a name marks the name; serve() then grants what can be granted, in arrival order.
"""

from dataclasses import replace

from .commands import Call, Key, Mode, Release, Want
from .constants import HOLDERS_SHOWN, NAMES_PER_ENTRY, RECORD_KEEP_MS, TOKEN_MAX, WAITERS_PER_ENTRY
from .outcomes import Answer, Applied, Conflict, Event, Granted, Holder, Outcome, TimedOut, What
from .state import State
from .tables import Delay, Hold, Lease, Record, Waiter


class Turn:
    def __init__(self, state: State) -> None:
        self.state = state
        self.names_left, self.waiters_left = NAMES_PER_ENTRY, WAITERS_PER_ENTRY
        """How many names of holds, and waiters, may still end in this entry."""
        self._answers: list[Answer] = []
        self._events: list[Event] = []
        self._dirty: dict[str, None] = {}

    def applied(self) -> Applied:
        if self._events:
            self.state.set_scalars(revision=self._events[-1].revision)
        return Applied(tuple(self._answers), tuple(self._events))

    @property
    def now(self) -> int:
        return self.state.scalars.clock_ms

    # -- answers, events, records

    def answer(self, call: Call, outcome: Outcome, key: Key | None = None) -> None:
        self._answers.append(Answer(call, outcome, key))

    def tell(
        self,
        what: What,
        row: Hold | Waiter | None,
        wants: tuple[Want, ...],
        *,
        reason: str = "",
        by: Release | None = None,
    ) -> None:
        self._events.append(
            Event(
                revision=self.state.scalars.revision + len(self._events) + 1,
                what=what,
                wants=wants,
                clock_ms=self.now,
                token=row.token if isinstance(row, Hold) else 0,
                owner=row.owner if row else "",
                session=row.session if row else 0,
                reason=reason,
                by=by.owner if by else "",
                by_identity=by.request.key.caller if by else "",
                by_credential=by.credential if by else "",
            )
        )

    def expire_record(self, record: Record) -> None:
        """What it waited for has ended: from now on it is kept for a while."""
        self.state.put_record(replace(record, until_ms=self.now + RECORD_KEEP_MS))

    # -- holds

    def grant(
        self,
        row: Waiter,
        *,
        by_name: bool = False,
    ) -> Hold:
        """A new hold for what row asks. Its call, or nobody, delivers the answer."""
        state = self.state
        token = state.scalars.last_token + 1
        assert token <= TOKEN_MAX, "tokens are used up"
        lease = row.session
        if not lease and row.ttl_ms:
            lease = state.scalars.last_lease + 1
            state.put_lease(Lease(id=lease, deadline_ms=self.now + row.ttl_ms, ttl_ms=row.ttl_ms))
            state.set_scalars(last_token=token, last_lease=lease)
        else:
            state.set_scalars(last_token=token)
        hold = Hold(
            token=token,
            key=row.key,
            wants=row.wants,
            lease=lease,
            session=row.session,
            agent=row.agent,
            owner=row.owner,
            reason=row.reason,
            metadata=row.metadata,
            acquired_ms=self.now,
            lock_delay_ms=row.lock_delay_ms,
            call=row.call,
            by_name=by_name,
        )
        state.put_hold(hold)
        self.tell(What.GRANTED, hold, hold.wants, reason=hold.reason)
        return hold

    def break_hold(self, hold: Hold, by: Release) -> None:
        """Whatever its count."""
        self.free(hold, What.BROKEN, reason=by.reason, by=by)

    def free(self, hold: Hold, what: What, *, reason: str = "", by: Release | None = None) -> None:
        """Ends a hold, its own lease and its records' waiting; after an expiry or a forced unlock its delay begins."""
        state = self.state
        state.drop_hold(hold)
        if hold.lease and not hold.session:
            state.drop_lease(state.leases[hold.lease])
        for key in state.records_of_hold(hold.token):
            self.expire_record(state.records[key])
        if hold.lock_delay_ms and what in (What.EXPIRED, What.BROKEN):
            until_ms = self.now + hold.lock_delay_ms
            for name, mode in hold.wants:
                if until_ms > state.lock(name).delays.get(mode, 0):
                    state.put_delay(Delay(name, mode, until_ms))
        self._dirty.update(dict.fromkeys(name for name, _ in hold.wants))
        self.tell(what, hold, hold.wants, reason=reason, by=by)

    def end_delay(self, delay: Delay) -> None:
        self.state.drop_delay(delay)
        self._dirty[delay.name] = None
        self.tell(What.DELAY_ENDED, None, (Want(delay.name, delay.mode),))

    # -- waiters

    def leave(self, waiter: Waiter, outcome: Outcome, why: str) -> None:
        """Ends a wait without a grant: recorded, and answered to the call that waits."""
        self._take_out(waiter, type(outcome).__name__, why)
        self.answer(waiter.call, outcome, waiter.key)

    def time_out(self, waiter: Waiter) -> None:
        """As leave(), and says who is in the way, the waiter itself not among them."""
        names = self._take_out(waiter, TimedOut.__name__, "timed out")
        self.answer(waiter.call, TimedOut(self.conflict(names)), waiter.key)

    def _take_out(self, waiter: Waiter, outcome: str, why: str) -> tuple[str, ...]:
        state = self.state
        state.drop_waiter(waiter)
        names = tuple(name for name, _ in waiter.wants)
        self.expire_record(replace(state.records[waiter.key], outcome=outcome, names=names))
        self._dirty.update(dict.fromkeys(names))
        self.tell(What.LEFT, waiter, waiter.wants, reason=why)
        return names

    # -- the queues

    def serve(self) -> None:
        """Grants, in arrival order, every waiter that can be granted since its names were marked.

        Once is enough: a grant turns places in queues into holds of the same modes, which makes room for nobody.
        """
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        candidates = {arrival: key for name in dirty for key, arrival in self._heads(name)}
        for arrival in sorted(candidates):
            waiter = self.state.waiters[candidates[arrival]]
            if self._is_alive(waiter) and all(self._is_first(want, waiter) for want in waiter.wants):
                self._grant_waiter(waiter)

    def _heads(self, name: str) -> list[tuple[Key, int]]:
        """Of the name's queue, those that its holds and delays do not keep out: one EXCLUSIVE, or the SHARED before."""
        lock = self.state.lock(name)
        heads: list[tuple[Key, int]] = []
        if lock.is_exclusive:
            return heads
        for key, arrival in lock.queue.items():
            if key in lock.exclusives:
                if not heads and lock.admits(Mode.EXCLUSIVE):
                    heads.append((key, arrival))
                break
            heads.append((key, arrival))
        return heads

    def _is_first(self, want: Want, waiter: Waiter) -> bool:
        """Whether holds, delays and the waiters before this one leave it this name."""
        lock = self.state.lock(want.name)
        before = lock.queue if want.mode is Mode.EXCLUSIVE else lock.exclusives
        first = next(iter(before.values()), waiter.arrival)
        return first >= waiter.arrival and lock.admits(want.mode)

    def _is_alive(self, waiter: Waiter) -> bool:
        return not waiter.session or not self.state.leases[waiter.session].ending

    def _grant_waiter(self, waiter: Waiter) -> None:
        state = self.state
        state.drop_waiter(waiter)
        hold = self.grant(waiter)
        state.put_record(replace(state.records[waiter.key], outcome="Granted", token=hold.token))
        granted = Granted(hold.token, state.remaining_ms(hold.lease), self.now - waiter.parked_ms)
        self.answer(waiter.call, granted, waiter.key)

    # -- what is in the way

    def conflict(self, names: tuple[str, ...]) -> Conflict:
        """Who holds these names, at most HOLDERS_SHOWN of them, how many wait for them, and until when they rest."""
        holders: list[Holder] = []
        waiters = delayed_until_ms = 0
        for name in names:
            lock = self.state.lock(name)
            waiters += len(lock.queue)
            delayed_until_ms = max(delayed_until_ms, lock.delayed_until_ms)
            holders += self.holders(name, HOLDERS_SHOWN - len(holders))
        return Conflict(tuple(holders), waiters, delayed_until_ms)

    def holders(self, name: str, most: int) -> list[Holder]:
        return holders(self.state, name, most)


def holders(state: State, name: str, most: int) -> list[Holder]:
    """The holds of this name, at most `most`, in the order of their grants."""
    found: list[Holder] = []
    for token, mode in state.lock(name).holders.items():
        if len(found) >= most:
            break
        found.append(holder(state, state.holds[token], name, mode))
    return found


def holder(state: State, hold: Hold, name: str, mode: Mode) -> Holder:
    lease = state.leases.get(hold.lease)
    return Holder(
        name=name,
        mode=mode,
        token=hold.token,
        owner=hold.owner,
        session=hold.session,
        agent=hold.agent,
        acquired_ms=hold.acquired_ms,
        ttl_ms=lease.ttl_ms if lease else 0,
        lease_remaining_ms=state.remaining_ms(hold.lease),
        reason=hold.reason,
        metadata=hold.metadata,
        count=hold.count,
        names=len(hold.wants),
        identity=hold.key.caller,
    )
