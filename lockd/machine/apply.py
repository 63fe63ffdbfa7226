"""The state machine. `apply` is given one log entry and answers; it never refuses by raising.

Rules
-----
1. A lock is granted when nobody holds its name, with a token greater than every token before it.
2. A lease ends when the clock has passed its deadline, and its hold with it.
3. A request id acts once. Its answer is repeated for as long as its hold lives and RECORD_KEEP_MS after;
   a repeated grant reports what remains of the lease, or Lost.
4. Releasing or renewing what is not held changes nothing.

Theory of operation
-------------------
An entry is a batch of commands with one stamp, closed by a leader, or BeginEpoch. Raft's log decides the
order; every replica applies the same entries to the same state and so reaches the same state. There is no
other input: no clock, no chance, no configuration.

Time is `clock_ms`. Only entries move it: a batch that counts sets `clock_ms = max(clock_ms, stamp_ms)`,
then ends the leases that are due, at most LEASES_PER_ENTRY of them, and then runs its commands in order.

A batch counts only if the term it was appended in equals its epoch and that epoch is the current one. A
leader begins an epoch, numbered by its Raft term, before it closes any batch. So a batch that a deposed
leader closed, and that entered the log later, changes nothing, and its commands are answered STALE_EPOCH.

A leader's stamp is clock_ms at its own BeginEpoch plus the monotonic time since it applied that entry.

Why no lease ends early
-----------------------
Let w(p) be the real time at which the stamp that set the clock at log position p was read, and c(p) the
clock there. Claim: for j <= k, c(k) - c(j) <= w(k) - w(j). Within an epoch both differences are taken on
one monotonic clock. Across a BeginEpoch at i the base is c(i), and the new leader applies i at a real time
a >= w(i), since everything before i in its log was closed before it got there; so
c(k) - c(j) <= (w(k) - a) + (w(i) - w(j)) <= w(k) - w(j). A deposed leader's late entries do not count,
replay and snapshots repeat the same positions, a restarted leader begins a new epoch, and time without a
leader is not counted: leases may end late, never early. Clocks that run at different rates are the
client's margin.

What is ugly here
-----------------
Outcomes are kept in records by the name of their class, since a record must survive a restart, and a
Holder in a repeated HeldByOther is read afresh: it says who holds the lock now, not who held it then.
"""

from .commands import Acquire, Barrier, Batch, BeginEpoch, Command, Entry, IsLocked, ListHolds, Release, Renew, Request
from .outcomes import (
    Answer,
    Applied,
    Ended,
    Granted,
    HeldByOther,
    Holder,
    LockedState,
    Lost,
    NotHeld,
    Outcome,
    Page,
    Passed,
    Refusal,
    Released,
    Renewed,
)
from .state import Hold, Lease, Record, State

VERSION = 1
"""Of these rules and constants. A node refuses an epoch with a version that it does not know."""

RECORD_KEEP_MS = 300_000
LEASES_PER_ENTRY = 1_000
RECORDS_PER_ENTRY = 10_000
NAMES_PER_PAGE = 5_000
"""How many names a page of a list looks at, whether or not they are its owner's."""
TOKEN_MAX = 2**53 - 1


def apply(state: State, entry: Entry, append_term: int) -> Applied:
    """Runs one entry. append_term is the Raft term in which the entry was appended to the log."""
    if isinstance(entry, BeginEpoch):
        if append_term == entry.epoch > state.scalars.epoch:
            state.set_scalars(epoch=entry.epoch, version=max(entry.version, state.scalars.version))
        return Applied()
    if not counts(state, entry, append_term):
        return Applied(tuple(Answer(command.call, Refusal.STALE_EPOCH) for command in entry.commands))
    if entry.stamp_ms > state.scalars.clock_ms:
        state.set_scalars(clock_ms=entry.stamp_ms)
    ended = [_free(state, state.holds[lease.hold], expired=True) for lease in state.due_leases(LEASES_PER_ENTRY)]
    for key in state.due_records(RECORDS_PER_ENTRY):
        state.drop_record(key)
    answers = tuple(Answer(command.call, _run(state, command, ended)) for command in entry.commands)
    return Applied(answers, tuple(ended))


def counts(state: State, entry: Batch, append_term: int) -> bool:
    """Whether the entry was closed and appended by the leader of the current epoch."""
    return append_term == entry.epoch == state.scalars.epoch


def more_is_due(state: State) -> bool:
    """Whether an empty entry with a later stamp, or with the same one, would end something more."""
    bound = state.next_bound_ms()
    return bound is not None and bound < state.scalars.clock_ms


def _run(state: State, command: Command, ended: list[Ended]) -> Outcome:
    match command:
        case Acquire():
            return _known(state, command.request) or _acquire(state, command)
        case Release():
            return _known(state, command.request) or _release(state, command, ended)
        case Renew():
            return _renew(state, command)
        case IsLocked():
            return LockedState(_holders(state, command.name))
        case ListHolds():
            return _list(state, command)
        case Barrier():
            return Passed()


# -- request ids


def _known(state: State, request: Request) -> Outcome | None:
    """The answer for an id that is on record or too old to be new; None for a new one."""
    record = state.records.get((request.caller, request.id))
    if record is None:
        return Refusal.TOO_OLD if state.scalars.clock_ms > request.not_after_ms else None
    if record.request.asked != request.asked:
        return Refusal.ID_REUSED
    match record.outcome:
        case "Granted":
            hold = state.holds.get(record.token)
            return Granted(hold.token, state.remaining_ms(hold.lease)) if hold else Lost(record.token)
        case "HeldByOther":
            return HeldByOther(_holders(state, record.name))
        case "Released":
            return Released(record.token)
        case _:
            return NotHeld(_holders(state, record.name))


def _record(state: State, request: Request, outcome: Outcome, *, token: int = 0, name: str = "") -> Outcome:
    lasting = isinstance(outcome, Granted)
    until_ms = 0 if lasting else state.scalars.clock_ms + RECORD_KEEP_MS
    state.put_record(Record(request, type(outcome).__name__, token, name, until_ms))
    return outcome


# -- commands


def _acquire(state: State, ask: Acquire) -> Outcome:
    if holders := _holders(state, ask.name):
        return _record(state, ask.request, HeldByOther(holders), name=ask.name)
    token = state.scalars.last_token + 1
    assert token <= TOKEN_MAX, "tokens are used up"
    lease = state.scalars.last_lease + 1 if ask.ttl_ms else 0
    state.set_scalars(last_token=token, last_lease=lease or state.scalars.last_lease)
    clock_ms = state.scalars.clock_ms
    if lease:
        state.put_lease(Lease(lease, clock_ms + ask.ttl_ms, ask.ttl_ms, token))
    state.put_hold(
        Hold(token, ask.name, lease, ask.owner, ask.reason, ask.metadata, clock_ms, ask.by_name, ask.request)
    )
    return _record(state, ask.request, Granted(token, state.remaining_ms(lease)), token=token, name=ask.name)


def _release(state: State, ask: Release, ended: list[Ended]) -> Outcome:
    hold = state.hold_of(ask.name) if ask.by_name else state.holds.get(ask.token)
    if hold is None or not _may_free(ask, hold):
        name = ask.name or (hold.name if hold else "")
        return _record(state, ask.request, NotHeld(_holders(state, name)), name=name)
    ended.append(_free(state, hold, expired=False))
    return _record(state, ask.request, Released(hold.token), token=hold.token, name=hold.name)


def _may_free(ask: Release, hold: Hold) -> bool:
    if ask.by_name:
        return hold.by_name and not hold.lease
    return not ask.name or ask.name == hold.name


def _renew(state: State, ask: Renew) -> Outcome:
    hold = state.holds.get(ask.token)
    if hold is None:
        return NotHeld()
    lease = state.leases.get(hold.lease)
    if lease is None:
        return Refusal.NO_LEASE
    deadline_ms = state.scalars.clock_ms + ask.ttl_ms
    if deadline_ms >= lease.deadline_ms:
        state.put_lease(Lease(lease.id, deadline_ms, ask.ttl_ms, hold.token))
    return Renewed(state.remaining_ms(lease.id))


def _list(state: State, ask: ListHolds) -> Page:
    found: list[Holder] = []
    last = ""
    for looked_at, name in enumerate(state.names_after(ask.prefix, ask.after)):
        if len(found) == ask.limit or looked_at == NAMES_PER_PAGE:
            return Page(tuple(found), next=last)
        hold = state.hold_of(name)
        assert hold is not None
        if not ask.owner or ask.owner == hold.owner:
            found.append(state.holder(hold))
        last = name
    return Page(tuple(found))


def _free(state: State, hold: Hold, *, expired: bool) -> Ended:
    state.drop_hold(hold)
    state.drop_lease(hold.lease)
    record = state.records[hold.request.caller, hold.request.id]
    state.put_record(
        Record(record.request, record.outcome, record.token, record.name, state.scalars.clock_ms + RECORD_KEEP_MS)
    )
    return Ended(hold.token, hold.name, expired)


def _holders(state: State, name: str) -> tuple[Holder, ...]:
    hold = state.hold_of(name)
    return (state.holder(hold),) if hold else ()
