"""The one step between every edge and the log: rights, bounds, limits, audit, and answers that do not guess.

Limits are checked against what this node has applied, which lags by the commands on their way: a burst may go over
one by as much as its caller may have in flight.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from lockd.config import Limits
from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd.raft.calls import Make
from lockd.raft.errors import NodeStopping, NoLeader, OutcomeUnknown, RaftError
from lockd.raft.proposals import weight
from lockd.raft.replica import Replica

from . import audit, bounds
from .authority import Authority
from .refusal import Reason, Refused

REFUSALS = {
    o.Refusal.TOO_OLD: Reason.TOO_OLD,
    o.Refusal.ANSWERED: Reason.ANSWERED,
    o.Refusal.ID_REUSED: Reason.ID_REUSED,
    o.Refusal.NO_LEASE: Reason.NO_LEASE,
    o.Refusal.IN_SESSION: Reason.IN_SESSION,
    o.Refusal.SECRET_IN_USE: Reason.SECRET_IN_USE,
    o.Refusal.UNKNOWN_CALLER: Reason.UNAUTHENTICATED,
    o.Refusal.DENIED: Reason.PERMISSION_DENIED,
}
"""STALE_EPOCH and STALE_NODE never get here: the replica asks again."""

NO_ANSWERS: dict[type, Reason] = {
    o.SessionEnded: Reason.SESSION_ENDED,
    o.Withdrawn: Reason.WITHDRAWN,
    o.Superseded: Reason.SUPERSEDED,
}
"""Outcomes that callers see as errors."""

_READS = (c.IsLocked, c.Get, c.ListHolds, c.CheckToken, c.ListRegistered, c.ListCredentials)
_FREEING = (c.Release, c.Cancel, c.Renew, c.KeepAlive, c.CloseSession, c.RevokeCredential)
_RECORDED = (c.Acquire, c.OpenSession, c.Release, c.Cancel, c.CreateCredential)

_Recorded = c.Acquire | c.OpenSession | c.Release | c.Cancel | c.CreateCredential


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. timeout_s: how long they wait; None: as long as the node's default has it.

    identity, credential: as Authority gave them; empty where nobody is asked.
    """

    peer: str
    timeout_s: float | None = None
    identity: str = ""
    credential: str = ""

    @property
    def key(self) -> str:
        """Whose room a call takes: where nobody is asked who they are, each connection counts as a caller."""
        return self.identity or self.peer


OWN_ID_YOUNG_S = 200.0
"""Less than it takes an id to become too old."""


class Patience(NamedTuple):
    """How long a call may take, in seconds."""

    work_s: float | None
    parked_s: float | None = 0.0
    """Once it has parked, from then on instead of work_s. 0: work_s goes on. None: no bound."""


class Admission:
    def __init__(self, replica: Replica, limits: Limits, authority: Authority) -> None:
        self.replica, self.limits, self.authority = replica, limits, authority
        self.is_stopping = False
        self._in_work: Counter[str] = Counter()
        """Calls of this node by their callers' keys, and by weight; those that wait for locks are not among them."""
        self._waiting: Counter[str] = Counter()
        """Those."""

    @property
    def clock_ms(self) -> int:
        return self.replica.state.scalars.clock_ms

    async def commit(self, make: Make, caller: Caller, patience: Patience, *, has_own_id: bool = False) -> o.Outcome:
        """The outcome of the command that make returns. Raises Refused. A caller that is cancelled has broken off.

        has_own_id: the caller gave no id, and each command that make returns has a new one. A node that has just
        come back makes its ids from a clock that lies behind; TOO_OLD for so young an id proves that nothing was
        done, and by then the clock is right.
        """
        ended: asyncio.Future[o.Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: o.Outcome | Refused) -> None:
            if ended.done() or isinstance(outcome, o.Queued):
                return
            if isinstance(outcome, Refused):
                ended.set_exception(outcome)
            else:
                ended.set_result(outcome)

        pending = self.submit(make, done, caller, patience, has_own_id=has_own_id)
        try:
            return await ended
        except asyncio.CancelledError:
            ended.cancel()
            pending.leave()
            raise

    def submit(
        self, make: Make, done: "Done", caller: Caller, patience: Patience, *, has_own_id: bool = False
    ) -> "Pending":
        """The same without a task. Raises Refused where the command is not admitted; what comes later is given to done.

        done: is given Queued once where the call parks, and in the end an outcome or a Refused.
        """
        pending = Pending(self, make, done, caller, patience, has_own_id=has_own_id)
        pending.send()
        return pending

    def has_room(self, caller: Caller, *, frees: bool) -> bool:
        """Whether the caller's next call would be taken in. To be asked again a little later where it would not.

        frees: whether that call frees a hold or keeps it.
        """
        return self._in_work[caller.key] < _room(frees) * self.limits.calls_per_caller_max

    def read_stale(self, make: Make, caller: Caller) -> o.Outcome:
        """From what this node has applied. Raises Refused."""

        asked: list[c.Command] = []

        def admitted(call: c.Call) -> c.Command:
            command = make(call)
            asked.append(command)
            self.authority.check(caller.credential, command)
            bounds.check(command, self.limits)
            return command

        outcome = self.replica.read_stale(admitted)
        return self.authority.shown(caller.credential, asked[0], outcome)

    # -- limits

    def _admit(self, command: c.Command, caller: Caller) -> None:
        """What frees a hold or keeps it has room of its own: twice what the others have. Raises Refused."""
        if self.is_stopping:
            raise Refused(Reason.STOPPING)
        self.authority.check(caller.credential, command)
        bounds.check(command, self.limits)
        room = _room(isinstance(command, _FREEING))
        check_limit("calls_per_caller_max", self._in_work[caller.key], room * self.limits.calls_per_caller_max)
        if isinstance(command, _RECORDED):
            self._check_tables(command, caller, room)
        elif isinstance(command, c.Register):
            self._check_registry(command)

    def _check_registry(self, command: c.Register) -> None:
        """A name that has an entry takes no new place."""
        state = self.replica.state
        if not state.registered(command.kind, command.name):
            check_limit("registered_max", len(state.registry), self.limits.registered_max)

    def _check_tables(self, command: _Recorded, caller: Caller, room: int) -> None:
        """An id on record takes no new place."""
        try:
            self._check_places(command, caller, room)
        except Refused:
            key = command.key if isinstance(command, c.Cancel) else command.request.key
            if key not in self.replica.state.records:
                raise

    def _check_places(self, command: _Recorded, caller: Caller, room: int) -> None:
        state, limits, identity = self.replica.state, self.limits, caller.identity
        on_record = state.records_of(identity) + state.marks_of(identity)
        check_limit("records_per_caller_max", on_record, room * limits.records_per_caller_max)
        if isinstance(command, c.OpenSession):
            check_limit("sessions_per_caller_max", state.sessions_of(identity), limits.sessions_per_caller_max)
        elif isinstance(command, c.CreateCredential):
            check_limit("tokens_max", len(state.credentials), limits.tokens_max)
        elif isinstance(command, c.Acquire) and command.wait_ms:
            check_limit("waits_per_caller_max", self._waiting[caller.key], limits.waits_per_caller_max)
            for name, _ in command.wants:
                check_limit("waiters_per_name_max", state.waiters_of(name), limits.waiters_per_name_max)
            if command.session:
                in_session = state.waiters_in(command.session)
                check_limit("waiters_per_session_max", in_session, limits.waiters_per_session_max)


Done = Callable[[o.Outcome | Refused], None]


class Pending:
    """A command that was submitted, until its end. Its caller may leave at any time, also after it."""

    __slots__ = (
        "_admission",
        "_begun",
        "_call",
        "_caller",
        "_command",
        "_counter",
        "_done",
        "_has_own_id",
        "_make",
        "_outcome",
        "_patience",
        "_weight",
    )

    def __init__(
        self,
        admission: Admission,
        make: Make,
        done: Done,
        caller: Caller,
        patience: Patience,
        *,
        has_own_id: bool,
    ) -> None:
        self._admission, self._make, self._done = admission, make, done
        self._caller, self._patience, self._has_own_id = caller, patience, has_own_id
        self._outcome: o.Outcome | RaftError | None = None
        self._begun = time.monotonic()
        self._counter: Counter[str] | None = None
        """Where it counts: among those in work, or those that wait."""
        self._command: c.Command
        self._call: c.Call

    def send(self) -> None:
        """Raises Refused."""
        caller = self._caller
        calls = self._admission.replica.calls
        self._call = calls.submit(self._admitted, self._hear, *self._patience, caller.credential, caller.key)
        self._count(self._admission._in_work)

    def leave(self) -> None:
        """The caller broke off: what was asked for without a session is withdrawn, unless its client comes back."""
        if self._outcome is None:
            self._admission.replica.calls.leave(self._call, broke_off=True)
            self._count(None)
        elif self.is_grant_without_session:
            assert isinstance(self._command, c.Acquire)
            self._admission.replica.calls.take_back(self._call, self._command.request.key)

    @property
    def is_parked(self) -> bool:
        """Whether it waits for a lock."""
        return self._counter is self._admission._waiting

    @property
    def is_grant_without_session(self) -> bool:
        """Whether it ended with a hold that nobody knows of until the answer arrives."""
        command = self._command
        return isinstance(self._outcome, o.Granted) and isinstance(command, c.Acquire) and not command.session

    def _admitted(self, call: c.Call) -> c.Command:
        command = self._make(call)
        self._admission._admit(command, self._caller)
        if isinstance(command, c.Release) and command.force:
            command = replace(command, credential=self._caller.credential)
        self._command, self._weight = command, weight(command)
        return command

    def _count(self, counter: Counter[str] | None) -> None:
        """There, and nowhere else."""
        before, self._counter = self._counter, counter
        key, in_work = self._caller.key, self._admission._in_work
        if before is not None:
            before[key] -= self._weight if before is in_work else 1
            if not before[key]:
                del before[key]
        if counter is not None:
            counter[key] += self._weight if counter is in_work else 1

    def _hear(self, outcome: o.Outcome | RaftError) -> None:
        if isinstance(outcome, o.Queued):
            self._count(self._admission._waiting)
            self._done(outcome)
        elif outcome is o.Refusal.TOO_OLD and self._has_own_id:
            self._has_own_id = False
            self._count(None)
            self._try_again()
        else:
            self._end(outcome)

    def _try_again(self) -> None:
        try:
            if time.monotonic() - self._begun > OWN_ID_YOUNG_S:  # it may have been done, and its record gone since
                raise Refused(Reason.OUTCOME_UNKNOWN)
            self.send()
        except Refused as refused:
            self._outcome = o.Refusal.TOO_OLD
            self._done(refused)

    def _end(self, outcome: o.Outcome | RaftError) -> None:
        self._outcome = outcome
        self._count(None)
        caller = self._caller
        audit.note(self._command, outcome, caller.peer, caller.identity, caller.credential)
        try:
            if isinstance(outcome, RaftError):
                raise _refused(outcome, is_read=isinstance(self._command, _READS))
            authority = self._admission.authority
            answer: o.Outcome | Refused = authority.shown(caller.credential, self._command, _answer(outcome))
        except Refused as refused:
            answer = refused
        self._done(answer)


def _room(frees: bool) -> int:
    """How many times its bounds a caller may use."""
    return 2 if frees else 1


def check_limit(name: str, used: int, bound: int) -> None:
    """Raises Refused where nothing is left."""
    if used >= bound:
        what = f"{name}: {used} of {bound} are in use; try again later"
        raise Refused(Reason.LIMIT_REACHED, what, limit=name)


def _answer(outcome: o.Outcome) -> o.Outcome:
    """Raises Refused."""
    if isinstance(outcome, o.Refusal):
        raise Refused(REFUSALS[outcome])
    reason = NO_ANSWERS.get(type(outcome))
    if reason is not None:
        raise Refused(reason)
    return outcome


def _refused(error: RaftError, *, is_read: bool) -> Refused:
    match error:
        case NoLeader():
            return Refused(Reason.NO_LEADER, str(error))
        case OutcomeUnknown():
            return Refused(Reason.NO_ANSWER if is_read else Reason.OUTCOME_UNKNOWN, str(error))
        case NodeStopping():
            return Refused(Reason.WAITS_ELSEWHERE)
    raise error
