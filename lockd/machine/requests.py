"""Request ids: a repeated command acts once, and is answered as it was."""

from .commands import CLIENT_ID, Answered, Key, Request
from .constants import MARK_RANGES_MAX, RECORD_KEEP_MS
from .marks import NOTHING, covers, newly, union
from .outcomes import (
    Cancelled,
    CredentialCreated,
    Deadlock,
    Granted,
    HeldByOther,
    Link,
    Lost,
    NotHeld,
    Opened,
    Outcome,
    Refusal,
    Released,
    SessionEnded,
    TimedOut,
    UpgradeRefused,
    Withdrawn,
)
from .tables import Mark, MarkKey, Record
from .turn import Turn


def heed(turn: Turn, request: Request) -> None:
    """Takes note of what the client says it has the answers of: those records go."""
    if request.answered is None:
        return
    state, key = turn.state, MarkKey(request.key.caller, request.key.client)
    before = state.marks.get(key)
    old = before.answered if before else NOTHING
    new = union(old, request.answered, MARK_RANGES_MAX)
    until_ms = turn.now + RECORD_KEEP_MS
    if before is None or new is not old or before.until_ms < until_ms:
        state.put_mark(Mark(key.caller, key.client, new, until_ms))
    if new != old:
        _drop_answered(turn, key, old, new)


def _drop_answered(turn: Turn, client: MarkKey, old: Answered, new: Answered) -> None:
    state = turn.state
    for sequence in newly(old, new, state.sequences_of(client)):
        record = state.records[Key(client.caller, CLIENT_ID + client.client + sequence.to_bytes(8, "big"))]
        if record.outcome != "Queued":
            state.drop_record(record)


def is_answered(turn: Turn, key: Key) -> bool:
    """Whether the client has said that it has this sequence's answer."""
    mark = turn.state.marks.get(MarkKey(key.caller, key.client)) if key.client else None
    return mark is not None and covers(mark.answered, key.sequence)


def refusal(turn: Turn, request: Request) -> Refusal | Record | None:
    """Why this request cannot be new, or what it was answered; None for a new one."""
    if is_answered(turn, request.key):
        return Refusal.ANSWERED
    record = turn.state.records.get(request.key)
    if record is None:
        return Refusal.TOO_OLD if turn.now > request.not_after_ms else None
    if record.asked and record.asked != request.asked:
        return Refusal.ID_REUSED
    return record


def repeated_once(turn: Turn, known: Refusal | Record) -> Outcome:
    """For commands that never wait."""
    if isinstance(known, Refusal):
        return known
    return Refusal.ID_REUSED if known.outcome == "Queued" else repeated(turn, known)


def repeated(turn: Turn, record: Record) -> Outcome:
    """The recorded answer, with what is left of a lease and who is in the way as they are now."""
    match record.outcome:
        case "Granted":
            return _granted_again(turn, record)
        case "Opened":
            lease = turn.state.leases.get(record.token)
            if lease is None or lease.ending:
                return SessionEnded()
            return Opened(lease.id, turn.state.remaining_ms(lease.id), lease.ttl_ms)
        case "HeldByOther":
            return HeldByOther(turn.conflict(record.names))
        case "TimedOut":
            return TimedOut(turn.conflict(record.names))
        case "NotHeld":
            return NotHeld(turn.conflict(record.names).holders)
        case "Deadlock":
            return Deadlock(record.cycle)
        case "UpgradeRefused":
            return UpgradeRefused(record.token)
        case "Released":
            return Released(record.token, record.count)
        case "CredentialCreated":
            return CredentialCreated(record.token)
        case "SessionEnded":
            return SessionEnded()
        case "Withdrawn":
            return Withdrawn()
        case "Cancelled":
            return Cancelled()
    raise AssertionError(f"a record cannot say {record.outcome}")


def _granted_again(turn: Turn, record: Record) -> Outcome:
    state = turn.state
    hold = state.holds.get(record.token)
    if hold is None or (hold.lease and state.leases[hold.lease].ending):
        return Lost(record.token)
    return Granted(hold.token, state.remaining_ms(hold.lease), count=hold.count)


def keep(
    turn: Turn,
    request: Request,
    outcome: Outcome,
    *,
    token: int = 0,
    count: int = 0,
    names: tuple[str, ...] = (),
    cycle: tuple[Link, ...] = (),
) -> Outcome:
    """Records what the request is answered, for as long as that can matter."""
    name = type(outcome).__name__
    until_ms = 0 if name in ("Granted", "Queued") else turn.now + RECORD_KEEP_MS
    turn.state.put_record(
        Record(
            key=request.key,
            asked=request.asked,
            outcome=name,
            token=token,
            count=count,
            names=names,
            cycle=cycle,
            until_ms=until_ms,
        )
    )
    return outcome
