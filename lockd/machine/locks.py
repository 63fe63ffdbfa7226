"""Derived from the tables: what stands on a name, and what hangs on a session, a lease or an agent."""

from collections import OrderedDict

from .commands import Key, Mode

_NOBODY: OrderedDict[Key, int] = OrderedDict()
_NO_DELAYS: dict[Mode, int] = {}
"""Shared by all locks without waiters and delays, which are most of them. Never written to."""


class Lock:
    """One name: what stands on it. It exists while it is held, waited for, or under a delay."""

    __slots__ = ("delays", "exclusives", "holders", "queue")

    def __init__(self) -> None:
        self.holders: dict[int, Mode] = {}
        """By token, hence in the order of their grants: one EXCLUSIVE or any number of SHARED."""
        self.queue = _NOBODY
        """Arrival numbers, in their order."""
        self.exclusives = _NOBODY
        """Those of the queue that want it EXCLUSIVE."""
        self.delays = _NO_DELAYS

    @property
    def is_idle(self) -> bool:
        return not (self.holders or self.queue or self.delays)

    @property
    def is_exclusive(self) -> bool:
        """Held, or as if held, EXCLUSIVE."""
        alone = len(self.holders) == 1  # as whoever holds it EXCLUSIVE is
        return Mode.EXCLUSIVE in self.delays or (alone and Mode.EXCLUSIVE in self.holders.values())

    @property
    def delayed_until_ms(self) -> int:
        return max(self.delays.values(), default=0)

    def enqueue(self, key: Key, arrival: int, mode: Mode) -> None:
        if self.queue is _NOBODY:
            self.queue, self.exclusives = OrderedDict(), OrderedDict()
        self.queue[key] = arrival
        if mode is Mode.EXCLUSIVE:
            self.exclusives[key] = arrival

    def delay(self, mode: Mode, until_ms: int) -> None:
        if self.delays is _NO_DELAYS:
            self.delays = {}
        self.delays[mode] = until_ms

    def admits(self, mode: Mode) -> bool:
        """Whether holds and delays leave room for one more in this mode."""
        return not self.is_exclusive if mode is Mode.SHARED else not self.holders and not self.delays


class Use:
    """What hangs on a session, a lease, or an agent."""

    __slots__ = ("holds", "waiters")

    def __init__(self) -> None:
        self.holds: dict[int, None] = {}
        self.waiters: dict[Key, None] = {}

    @property
    def is_empty(self) -> bool:
        return not self.holds and not self.waiters


NO_LOCK, NO_USE = Lock(), Use()
"""Of names and keys on which nothing stands."""
