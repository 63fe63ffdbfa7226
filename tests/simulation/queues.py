"""A second opinion on the queues, by linear scans: nobody is passed, and nobody who could be granted waits."""

from lockd.machine.commands import Key, Mode, Want
from lockd.machine.outcomes import Applied, What
from lockd.machine.state import State
from lockd.machine.tables import Waiter

Taken = list[tuple[str, Mode]]


class Queues:
    """Looks at the state after every entry, and remembers who waited before it."""

    def __init__(self) -> None:
        self._before: dict[Key, Waiter] = {}

    def problem(self, applied: Applied, state: State) -> str:
        """What is wrong, in words; empty: nothing."""
        before, self._before = self._before, dict(state.waiters)
        return self._passed(before, applied, state) or self._kept_waiting(state)

    def _passed(self, before: dict[Key, Waiter], applied: Applied, state: State) -> str:
        """A grant over the head of an incompatible waiter that came first, and waits before and after."""
        for event in applied.events:
            hold = state.holds.get(event.token)
            if event.what is not What.GRANTED or hold is None:
                continue
            place = before[hold.key].arrival if hold.key in before else None
            for waiter in before.values():
                came_first = place is None or waiter.arrival < place
                if came_first and waiter.key in state.waiters and not compatible(hold.wants, _places(waiter)):
                    return f"token {hold.token} was granted past waiter {waiter.arrival}"
        return ""

    def _kept_waiting(self, state: State) -> str:
        taken: Taken = [(name, mode) for hold in state.holds.values() for name, mode in hold.wants]
        taken += [(delay.name, delay.mode) for delay in state.delays.values()]
        for waiter in sorted(state.waiters.values(), key=lambda waiter: waiter.arrival):
            is_alive = not waiter.session or not state.leases[waiter.session].ending
            if is_alive and compatible(waiter.wants, taken):
                return f"waiter {waiter.arrival} could be granted and waits"
            taken += _places(waiter)
        return ""


def compatible(wants: tuple[Want, ...], taken: Taken) -> bool:
    return not any(want.name == name and Mode.EXCLUSIVE in (want.mode, mode) for want in wants for name, mode in taken)


def _places(waiter: Waiter) -> Taken:
    return [(name, mode) for name, mode in waiter.wants]
