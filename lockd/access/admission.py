"""The one step between every edge and the log: bounds, limits, audit, and answers that do not guess.

Limits are checked against what this node has applied, which lags by the commands on their way: a burst may go over
one by as much as its caller may have in flight.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from lockd.config import Limits
from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd.raft.calls import Make
from lockd.raft.errors import NodeStopping, NoLeader, OutcomeUnknown, RaftError
from lockd.raft.replica import Replica

from . import bounds
from .refusal import Reason, Refused

audit = structlog.get_logger("lockd.audit")

REFUSALS = {
    o.Refusal.TOO_OLD: Reason.TOO_OLD,
    o.Refusal.ANSWERED: Reason.ANSWERED,
    o.Refusal.ID_REUSED: Reason.ID_REUSED,
    o.Refusal.NO_LEASE: Reason.NO_LEASE,
    o.Refusal.IN_SESSION: Reason.IN_SESSION,
}
"""STALE_EPOCH and STALE_NODE never get here: the replica asks again."""

NO_ANSWERS: dict[type, Reason] = {
    o.SessionEnded: Reason.SESSION_ENDED,
    o.Withdrawn: Reason.WITHDRAWN,
    o.Superseded: Reason.SUPERSEDED,
}
"""Outcomes that callers see as errors."""

_READS = (c.IsLocked, c.Get, c.ListHolds, c.CheckToken, c.ListRegistered)
_FREEING = (c.Release, c.Cancel, c.Renew, c.KeepAlive, c.CloseSession)
_RECORDED = (c.Acquire, c.OpenSession, c.Release, c.Cancel)

_Recorded = c.Acquire | c.OpenSession | c.Release | c.Cancel


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. timeout_s: how long they wait; None: as long as the node's default has it."""

    peer: str
    timeout_s: float | None = None
    identity: str = ""


OWN_ID_YOUNG_S = 200.0
"""Less than it takes an id to become too old."""


class Patience(NamedTuple):
    """How long a call may take, in seconds."""

    work_s: float | None
    parked_s: float | None = 0.0
    """Once it has parked, from then on instead of work_s. 0: work_s goes on. None: no bound."""


class Admission:
    def __init__(self, replica: Replica, limits: Limits) -> None:
        self.replica, self.limits = replica, limits
        self.is_stopping = False
        self._in_flight: Counter[str] = Counter()

    @property
    def clock_ms(self) -> int:
        return self.replica.state.scalars.clock_ms

    async def commit(self, make: Make, caller: Caller, patience: Patience, *, has_own_id: bool = False) -> o.Outcome:
        """The outcome of the command that make returns. Raises Refused. A caller that is cancelled has broken off.

        has_own_id: the caller gave no id, and each command that make returns has a new one. A node that has just
        come back makes its ids from a clock that lies behind; TOO_OLD for so young an id proves that nothing was
        done, and by then the clock is right.
        """
        begun = time.monotonic()
        outcome = await self._commit(make, caller, patience)
        if outcome is o.Refusal.TOO_OLD and has_own_id:
            _check_young(begun)
            outcome = await self._commit(make, caller, patience)
        return _answer(outcome)

    async def _commit(self, make: Make, caller: Caller, patience: Patience) -> o.Outcome:
        is_read = False

        def admitted(call: c.Call) -> c.Command:
            nonlocal is_read
            command = make(call)
            is_read = isinstance(command, _READS)
            self._admit(command, caller)
            return command

        self._in_flight[caller.identity] += 1
        try:
            return await self.replica.calls.propose(admitted, *patience)
        except RaftError as error:
            raise _refused(error, is_read=is_read) from error
        finally:
            self._in_flight[caller.identity] -= 1

    def submit(
        self, make: Make, done: "Done", caller: Caller, patience: Patience, *, has_own_id: bool = False
    ) -> "Pending":
        """The same without a task. Raises Refused where the command is not admitted; what comes later is given to done.

        done: is given Queued once where the call parks, and in the end an outcome or a Refused.
        """
        pending = Pending(self, make, done, caller, patience, has_own_id=has_own_id)
        self._in_flight[caller.identity] += 1
        try:
            pending.send()
        except BaseException:
            self._in_flight[caller.identity] -= 1
            raise
        return pending

    def read_stale(self, make: Make) -> o.Outcome:
        """From what this node has applied. Raises Refused."""

        def admitted(call: c.Call) -> c.Command:
            command = make(call)
            bounds.check(command, self.limits)
            return command

        return self.replica.read_stale(admitted)

    # -- limits

    def _admit(self, command: c.Command, caller: Caller) -> None:
        """What frees a hold or keeps it has room of its own: twice what the others have. Raises Refused."""
        if self.is_stopping:
            raise Refused(Reason.STOPPING)
        bounds.check(command, self.limits)
        room = 2 if isinstance(command, _FREEING) else 1
        check_limit(
            "calls_per_caller_max", self._in_flight[caller.identity] - 1, room * self.limits.calls_per_caller_max
        )
        if isinstance(command, _RECORDED):
            self._check_tables(command, room)
        if isinstance(command, c.Release) and command.force:
            audit.info(
                "unlock by force",
                token=command.token,
                reason=command.reason,
                who=command.owner,
                caller=caller.identity,
                peer=caller.peer,
            )

    def _check_tables(self, command: _Recorded, room: int) -> None:
        """An id on record takes no new place."""
        key = command.key if isinstance(command, c.Cancel) else command.request.key
        try:
            self._check_places(command, key.caller, room)
        except Refused:
            if key not in self.replica.state.records:
                raise

    def _check_places(self, command: _Recorded, caller: str, room: int) -> None:
        state, limits = self.replica.state, self.limits
        on_record = state.records_of(caller) + state.marks_of(caller)
        check_limit("records_per_caller_max", on_record, room * limits.records_per_caller_max)
        if isinstance(command, c.OpenSession):
            check_limit("sessions_per_caller_max", state.sessions_of(caller), limits.sessions_per_caller_max)
        elif isinstance(command, c.Acquire) and command.wait_ms:
            for name, _ in command.wants:
                check_limit("waiters_per_name_max", state.waiters_of(name), limits.waiters_per_name_max)
            if command.session:
                in_session = state.waiters_in(command.session)
                check_limit("waiters_per_session_max", in_session, limits.waiters_per_session_max)

    def _settle(self, caller: Caller) -> None:
        self._in_flight[caller.identity] -= 1


Done = Callable[[o.Outcome | Refused], None]


class Pending:
    """A command that was submitted, until its end. Its caller may leave at any time, also after it."""

    __slots__ = (
        "_admission",
        "_begun",
        "_call",
        "_caller",
        "_command",
        "_done",
        "_has_own_id",
        "_make",
        "_outcome",
        "_patience",
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
        self._command: c.Command
        self._call: c.Call

    def send(self) -> None:
        """Raises Refused."""
        self._call = self._admission.replica.calls.submit(self._admitted, self._hear, *self._patience)

    def leave(self) -> None:
        """The caller broke off: what was asked for without a session is withdrawn, unless its client comes back."""
        if self._outcome is None:
            self._admission.replica.calls.leave(self._call, broke_off=True)
            self._admission._settle(self._caller)
        elif self.is_grant_without_session:
            assert isinstance(self._command, c.Acquire)
            self._admission.replica.calls.take_back(self._call, self._command.request.key)

    @property
    def is_grant_without_session(self) -> bool:
        """Whether it ended with a hold that nobody knows of until the answer arrives."""
        command = self._command
        return isinstance(self._outcome, o.Granted) and isinstance(command, c.Acquire) and not command.session

    def _admitted(self, call: c.Call) -> c.Command:
        self._command = command = self._make(call)
        self._admission._admit(command, self._caller)
        return command

    def _hear(self, outcome: o.Outcome | RaftError) -> None:
        if isinstance(outcome, o.Queued):
            self._done(outcome)
        elif outcome is o.Refusal.TOO_OLD and self._has_own_id:
            self._has_own_id = False
            self._try_again()
        else:
            self._end(outcome)

    def _try_again(self) -> None:
        try:
            _check_young(self._begun)
            self.send()
        except Refused as refused:
            self._outcome = o.Refusal.TOO_OLD
            self._admission._settle(self._caller)
            self._done(refused)

    def _end(self, outcome: o.Outcome | RaftError) -> None:
        self._outcome = outcome
        self._admission._settle(self._caller)
        try:
            if isinstance(outcome, RaftError):
                raise _refused(outcome, is_read=isinstance(self._command, _READS))
            answer: o.Outcome | Refused = _answer(outcome)
        except Refused as refused:
            answer = refused
        self._done(answer)


def _check_young(begun: float) -> None:
    """An id made at `begun` that is too old by now may have been carried out, and its record gone since."""
    if time.monotonic() - begun > OWN_ID_YOUNG_S:
        raise Refused(Reason.OUTCOME_UNKNOWN)


def check_limit(name: str, used: int, bound: int) -> None:
    """Raises Refused where nothing is left."""
    if used >= bound:
        raise Refused(Reason.LIMIT_REACHED, f"{name}: {used} of {bound} are in use; try again later")


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
