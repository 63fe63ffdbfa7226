"""The leases that a client looks after: renewals, and what is lost. Pure."""

from collections.abc import Callable
from typing import Any

from lockd_client import calls
from lockd_client.calls import Call
from lockd_client.errors import SessionLost
from lockd_client.leases import Lease, Upkeep
from lockd_client.operations import Answer, Operation

Submit = Callable[[Call[Any], Callable[[Operation], None], float], Operation]

TELL_S = 300.0  # how long it is tried to tell a node that a lost session, or a forsaken hold, is to end


class Renewals:
    """submit: makes a call; its second argument is told of the end."""

    def __init__(self, submit: Submit) -> None:
        self._submit = submit
        self._upkeep = Upkeep()

    def __len__(self) -> int:
        return len(self._upkeep)

    def __contains__(self, lease: Lease) -> bool:
        return lease in self._upkeep

    def keep(self, lease: Lease) -> None:
        """Renews it and watches its deadline until it is forgotten, or lost."""
        self._upkeep.keep(lease)

    def forget(self, lease: Lease) -> None:
        self._upkeep.forget(lease)

    def lose(self, lease: Lease, time: float) -> None:
        """A session that is lost is closed, so that nothing of it lives on."""
        self._upkeep.forget(lease)
        if not lease.is_lost:
            lease.lose()
            if lease.session_id:
                self._in_background(calls.close_session(lease.session_id), time)

    def tend(self, time: float) -> None:
        """Does what is due."""
        for lease in self._upkeep.take_due(time):
            if lease.has_passed(time):
                self.lose(lease, time)
                continue
            lease.tell(time)
            for call in lease.end_forsaken(time):
                self._in_background(call, time)
            if lease.wants_renewal(time):
                self._renew(lease, time)
            else:
                self._upkeep.keep(lease)

    def next_due(self) -> float:
        return self._upkeep.next_due()

    def take_all(self) -> list[Lease]:
        """They are not looked after any more."""
        return self._upkeep.take_all()

    def _in_background(self, call: Call[Any], time: float) -> None:
        call.timeout = TELL_S
        self._submit(call, _nobody, time).is_background = True

    def _renew(self, lease: Lease, time: float) -> None:
        def done(operation: Operation) -> None:
            lease.is_renewing = False
            if lease in self._upkeep:
                self._ended(lease, operation)

        lease.is_renewing = True
        self._upkeep.keep(lease)
        self._submit(lease.renewal(time), done, time)

    def _ended(self, lease: Lease, operation: Operation) -> None:
        """The deadline is looked at before the answer is read."""
        time, result = operation.ended, operation.result
        if lease.has_passed(time) or isinstance(result, SessionLost):
            self.lose(lease, time)
            return
        if isinstance(result, Answer):
            if not lease.renewed(operation.call.decode(result.message, result.sent), time):
                self.lose(lease, time)
                return
        else:
            lease.postpone(time)
        lease.tell(time)
        self._upkeep.keep(lease)


def _nobody(_operation: Operation) -> None:
    """Waits for it."""
