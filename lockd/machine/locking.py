"""Taking locks and letting go of them."""

from dataclasses import replace

from .commands import Acquire, Agent, Cancel, Mode, Release, Renew, Withdraw
from .deadlock import SearchTooLong, closing_cycle
from .outcomes import (
    Cancelled,
    Deadlock,
    Granted,
    HeldByOther,
    NotHeld,
    Outcome,
    Passed,
    Queued,
    Refusal,
    Released,
    Renewed,
    SessionEnded,
    Superseded,
    UpgradeRefused,
    What,
    Withdrawn,
)
from .requests import heed, is_answered, keep, refusal, repeated, repeated_once
from .state import State
from .tables import Hold, NodeKey, Record, Waiter
from .turn import Turn

# -- Acquire


def acquire(turn: Turn, ask: Acquire) -> None:
    turn.answer(ask.call, _acquire(turn, ask), ask.request.key)


def _acquire(turn: Turn, ask: Acquire) -> Outcome:
    node = turn.state.nodes.get(NodeKey(ask.call.node, ask.call.life))
    if node is None or node.ending:
        return Refusal.STALE_NODE
    heed(turn, ask.request)
    known = refusal(turn, ask.request)
    if isinstance(known, Refusal):
        return known
    if known is None:
        return _new(turn, ask)
    if known.outcome == "Queued":
        return _attempt_again(turn, ask)
    if known.outcome == "Granted":
        _is_told(turn, ask, known)
    return repeated(turn, known)


def _attempt_again(turn: Turn, ask: Acquire) -> Outcome:
    """Another attempt of a request that waits takes the place of the earlier one, and keeps its place in the queue."""
    waiter = turn.state.waiters[ask.request.key]
    if ask.call != waiter.call:
        if ask.attempt and ask.attempt <= waiter.attempt:
            return Superseded()
        turn.answer(waiter.call, Superseded(), waiter.key)
        attempt = ask.attempt or waiter.attempt + 1
        waiter = replace(waiter, call=ask.call, attempt=attempt, parked_ms=turn.now)
        turn.state.put_waiter(waiter)
    return Queued(_position(turn.state, waiter))


def _is_told(turn: Turn, ask: Acquire, record: Record) -> None:
    """Another attempt than the parked one has the answer: nobody may free the hold for want of delivery any more."""
    hold = turn.state.holds.get(record.token)
    if hold is not None and hold.call is not None and hold.call != ask.call:
        turn.state.put_hold(replace(hold, call=None))


def _new(turn: Turn, ask: Acquire) -> Outcome:
    state, request = turn.state, ask.request
    names = tuple(name for name, _ in ask.wants)
    if ask.session and state.session(ask.session, request.key.caller) is None:
        return keep(turn, request, SessionEnded())
    if ask.reentrant and ask.session and (held := _held_by(state, ask)) is not None:
        return _again(turn, ask, held)
    if _is_free(state, ask):
        hold = turn.grant(_as_waiter(turn, ask), by_name=ask.by_name)
        return keep(turn, request, Granted(hold.token, state.remaining_ms(hold.lease)), token=hold.token)
    if not ask.wait_ms:
        return keep(turn, request, HeldByOther(turn.conflict(names)), names=names)
    unchecked = False
    try:
        if cycle := closing_cycle(state, ask):
            return keep(turn, request, Deadlock(cycle), cycle=cycle)
    except SearchTooLong:
        unchecked = True
    return _enqueue(turn, ask, unchecked=unchecked)


def _enqueue(turn: Turn, ask: Acquire, *, unchecked: bool) -> Outcome:
    state = turn.state
    arrival = state.scalars.last_arrival + 1
    state.set_scalars(last_arrival=arrival)
    waiter = _as_waiter(turn, ask, arrival)
    state.put_waiter(waiter)
    turn.tell(What.WAITING, waiter, waiter.wants, reason=waiter.reason)
    return keep(turn, ask.request, Queued(_position(state, waiter), unchecked))


def _as_waiter(turn: Turn, ask: Acquire, arrival: int = 0) -> Waiter:
    return Waiter(
        arrival=arrival,
        key=ask.request.key,
        wants=ask.wants,
        session=ask.session,
        agent=ask.agent,
        ttl_ms=ask.ttl_ms,
        until_ms=turn.now + ask.wait_ms if ask.wait_ms > 0 else 0,
        lock_delay_ms=ask.lock_delay_ms,
        owner=ask.owner,
        reason=ask.reason,
        metadata=ask.metadata,
        since_ms=turn.now,
        call=ask.call,
        attempt=ask.attempt or 1,
        parked_ms=turn.now,
    )


def _is_free(state: State, ask: Acquire) -> bool:
    """Whether holds, delays and everybody in the queues leave room for the whole request."""
    for name, mode in ask.wants:
        lock = state.lock(name)
        before = lock.queue if mode is Mode.EXCLUSIVE else lock.exclusives
        if before or not lock.admits(mode):
            return False
    return True


def _position(state: State, waiter: Waiter) -> int:
    """How many places in its queues are before its own. Counted from the end: a new waiter is there."""
    places = 0
    for name, _ in waiter.wants:
        queue = state.lock(name).queue
        behind = 0
        for arrival in reversed(queue.values()):
            if arrival <= waiter.arrival:
                break
            behind += 1
        places += len(queue) - behind - 1
    return places


# -- re-entrancy


def _held_by(state: State, ask: Acquire) -> Hold | None:
    """The hold of the one name that the asking agent has in its session."""
    agent = Agent(ask.request.key.caller, ask.session, ask.agent)
    return _hold_of(state, agent, ask.wants[0].name)


def _hold_of(state: State, agent: Agent, name: str) -> Hold | None:
    holders = state.lock(name).holders
    return next((state.holds[token] for token in state.of_agent(agent).holds if token in holders), None)


def _again(turn: Turn, ask: Acquire, hold: Hold) -> Outcome:
    name, mode = ask.wants[0]
    if mode is Mode.EXCLUSIVE and turn.state.lock(name).holders[hold.token] is Mode.SHARED:
        return keep(turn, ask.request, UpgradeRefused(hold.token), token=hold.token)
    counted = replace(hold, count=hold.count + 1)
    turn.state.put_hold(counted)
    granted = Granted(hold.token, turn.state.remaining_ms(hold.lease), count=counted.count)
    return keep(turn, ask.request, granted, token=hold.token)


def _let_go(turn: Turn, hold: Hold, *, reason: str = "") -> int:
    """Takes one count off the hold, or ends it. What is left of the count."""
    if hold.count > 1:
        turn.state.put_hold(replace(hold, count=hold.count - 1))
        return hold.count - 1
    turn.free(hold, What.RELEASED, reason=reason)
    return 0


# -- Release, Cancel, Withdraw, Renew


def release(turn: Turn, ask: Release) -> None:
    turn.answer(ask.call, _release(turn, ask))


def _release(turn: Turn, ask: Release) -> Outcome:
    heed(turn, ask.request)
    known = refusal(turn, ask.request)
    if known is not None:
        return repeated_once(turn, known)
    hold = _named(turn.state, ask)
    if hold is None:
        other = turn.state.holds.get(ask.token)
        name = ask.name or (other.wants[0].name if other else "")
        names = (name,) if name else ()
        return keep(turn, ask.request, NotHeld(turn.conflict(names).holders), names=names)
    if ask.force:
        turn.break_hold(hold, ask)
        count = 0
    else:
        count = _let_go(turn, hold)
    return keep(turn, ask.request, Released(hold.token, count), token=hold.token, count=count)


def _named(state: State, ask: Release) -> Hold | None:
    """The hold that the command means, if its caller may free it in this way."""
    caller = ask.request.key.caller
    if ask.by_name:
        held = [state.holds[token] for token in state.lock(ask.name).holders]
        return next((hold for hold in held if hold.by_name and not hold.lease and hold.key.caller == caller), None)
    if ask.session:
        return _hold_of(state, Agent(caller, ask.session, ask.agent), ask.name)
    hold = state.holds.get(ask.token)
    if hold is None or (ask.name and ask.token not in state.lock(ask.name).holders):
        return None
    return hold if ask.force or hold.key.caller == caller else None


def cancel(turn: Turn, ask: Cancel) -> None:
    turn.answer(ask.call, _cancel(turn, ask))


def _cancel(turn: Turn, ask: Cancel) -> Outcome:
    state = turn.state
    if is_answered(turn, ask.key):
        return Refusal.ANSWERED
    record = state.records.get(ask.key)
    if record is None:
        record = Record(key=ask.key, asked=b"", outcome="Cancelled")
        turn.expire_record(record)
    elif record.outcome == "Queued":
        turn.leave(state.waiters[ask.key], Cancelled(), "cancelled")
    elif record.outcome == "Granted" and (hold := state.holds.get(record.token)):
        turn.expire_record(replace(record, outcome="Cancelled"))
        _let_go(turn, hold, reason="cancelled")
    return Cancelled()


def withdraw(turn: Turn, ask: Withdraw) -> None:
    """Its own call is over: the waiter leaves, or the hold is freed, unless another attempt has taken it over."""
    state = turn.state
    record = state.records.get(ask.key)
    if record and record.outcome == "Queued":
        waiter = state.waiters[ask.key]
        if waiter.call == ask.ended and not waiter.session:
            turn.leave(waiter, Withdrawn(), "withdrawn")
    elif record and record.outcome == "Granted":
        hold = state.holds.get(record.token)
        if hold and hold.call == ask.ended and not hold.session:
            turn.expire_record(replace(record, outcome="Withdrawn"))
            turn.free(hold, What.RELEASED, reason="withdrawn")
    turn.answer(ask.call, Passed())


def renew(turn: Turn, ask: Renew) -> None:
    turn.answer(ask.call, _renew(turn, ask))


def _renew(turn: Turn, ask: Renew) -> Outcome:
    state = turn.state
    hold = state.holds.get(ask.token)
    if hold is None or hold.key.caller != ask.caller:
        return NotHeld()
    if not hold.lease:
        return Refusal.NO_LEASE
    if hold.session:
        return Refusal.IN_SESSION
    lease = state.leases[hold.lease]
    deadline_ms = turn.now + ask.ttl_ms
    if deadline_ms >= lease.deadline_ms:
        state.put_lease(replace(lease, deadline_ms=deadline_ms, ttl_ms=ask.ttl_ms))
    return Renewed(state.remaining_ms(lease.id))
