"""The one step between every edge and the log: limits, and an answer that does not guess."""

from collections.abc import Callable

from lockd.config import Limits
from lockd.machine.commands import Acquire, Call, Command, Release, Renew, Request
from lockd.machine.outcomes import Outcome, Refusal
from lockd.raft.errors import NoLeader, OutcomeUnknown
from lockd.raft.replica import Replica

from .refusal import Reason, Refused

_REASONS = {
    Refusal.TOO_OLD: Reason.TOO_OLD,
    Refusal.ID_REUSED: Reason.ID_REUSED,
    Refusal.NO_LEASE: Reason.NO_LEASE,
}


class Admission:
    def __init__(self, replica: Replica, limits: Limits) -> None:
        self.replica, self.limits = replica, limits
        self.is_stopping = False

    async def commit(self, make: Callable[[Call], Command], timeout_s: float) -> Outcome:
        """The outcome of the command. Raises Refused."""
        changing = True

        def checked(call: Call) -> Command:
            nonlocal changing
            command = make(call)
            changing = isinstance(command, Acquire | Release | Renew)
            self._check_limits(command)
            return command

        try:
            outcome = await self.replica.propose(checked, timeout_s)
        except NoLeader as error:
            raise Refused(Reason.NO_LEADER, str(error)) from error
        except OutcomeUnknown as error:
            raise Refused(Reason.OUTCOME_UNKNOWN if changing else Reason.NO_ANSWER, str(error)) from error
        if isinstance(outcome, Refusal):
            raise Refused(_REASONS[outcome], outcome.value)
        return outcome

    async def commit_once(
        self, make: Callable[[Call, Request], Command], new: Callable[[], Request], timeout_s: float
    ) -> Outcome:
        """The outcome of a command whose caller gave no id: the node's own makes the node's retries act once.

        A node that has just come back makes its id from a clock that lies behind; TOO_OLD for so young an id
        proves that nothing was done, and by then the clock is right.
        """
        request = new()
        try:
            return await self.commit(lambda call: make(call, request), timeout_s)
        except Refused as refused:
            if refused.reason is not Reason.TOO_OLD:
                raise
        fresh = new()
        return await self.commit(lambda call: make(call, fresh), timeout_s)

    def _check_limits(self, command: Command) -> None:
        """What takes a lock leaves room in the table of records for what frees one; reads and renewals need none."""
        if self.is_stopping:
            raise Refused(Reason.STOPPING, Reason.STOPPING.value)
        in_flight, records = len(self.replica.calls), len(self.replica.state.records)
        records_max = self.limits.request_records_max * (2 if isinstance(command, Release) else 1)
        if in_flight >= self.limits.calls_in_flight_max:
            raise _limit("calls_in_flight_max", in_flight, self.limits.calls_in_flight_max)
        if isinstance(command, Acquire | Release) and records >= records_max:
            raise _limit("request_records_max", records, records_max)


def _limit(name: str, now: int, bound: int) -> Refused:
    return Refused(Reason.LIMIT_REACHED, f"{name}: {now} of {bound} are in use; try again later")
