"""When a lease is to be renewed and when it is lost, by this client's own reckoning. Pure: time is an argument.

A lease is lost at its deadline, with or without a network, and stays lost: whoever holds it looks at the deadline
before it reads an answer. Answers move the deadline only forward: each that arrived in time is a bound of its own, and
the latest holds.
"""

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

from lockd_client import calls
from lockd_client.calls import Call
from lockd_client.values import RenewAnswer

RENEWALS_PER_TTL = 3
PAUSES_PER_TTL = 10  # after a renewal that failed, another this part of a ttl later


class Lease:
    """Of one hold (token), or of a session. `ttl` in seconds, 0: no deadline."""

    def __init__(
        self, ttl: float, *, deadline: float, sent: float, token: int = 0, session_id: int = 0, renews: bool = True
    ) -> None:
        """sent: when the request that opened it was sent. renews: False where only its deadline is watched."""
        self.ttl = ttl
        self.deadline = deadline
        self.token = token
        self.session_id = session_id
        self.renews = renews and ttl > 0
        self.next_renewal = self._renewal_after(sent)
        self.is_renewing = False
        self.is_lost = False
        self.is_foreign = False  # it is the process's from which this one was forked
        self._listeners: dict[int, Callable[[], None]] = {}
        self._listener_ids = count()

    def remaining(self, time: float) -> float:
        """Seconds, never below 0; 0 where it is lost."""
        return 0.0 if self.is_lost else max(0.0, self.deadline - time)

    def has_passed(self, time: float) -> bool:
        return self.is_lost or time >= self.deadline

    def is_short(self, time: float) -> bool:
        """Whether it is to be renewed before anybody is told of it."""
        return self.remaining(time) < self.ttl / RENEWALS_PER_TTL

    def renewal(self, time: float) -> Call[RenewAnswer]:
        """The call that renews it. After the deadline its answer is of no use."""
        timeout = max(0.0, self.deadline - time)
        if self.session_id:
            return calls.keep_alive(self.session_id, timeout)
        return calls.renew(self.token, self.ttl, timeout)

    def renewed(self, answer: RenewAnswer, time: float) -> bool:
        """False where it is lost: the answer came too late, or says so."""
        if self.has_passed(time) or not answer.renewed:
            return False
        self.report(answer)
        return True

    def report(self, answer: RenewAnswer) -> None:
        """Of a lease that nobody was told of yet, too: its deadline may have passed."""
        self.deadline = max(self.deadline, answer.deadline)
        self.next_renewal = max(self.next_renewal, self._renewal_after(answer.sent))

    def postpone(self, time: float) -> None:
        self.next_renewal = time + self.ttl / PAUSES_PER_TTL

    def lose(self) -> None:
        """Tells the listeners, once."""
        if self.is_lost:
            return
        self.is_lost = True
        for listener in list(self._listeners.values()):
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """listener: called when the lease is lost, under whatever guards it; it must not block. Returns what takes it
        off again.
        """
        key = next(self._listener_ids)
        self._listeners[key] = listener
        return lambda: self._listeners.pop(key, None) and None

    def due(self) -> float:
        """When to look at it again."""
        if self.renews and not self.is_renewing:
            return min(self.deadline, self.next_renewal)
        return self.deadline

    def _renewal_after(self, sent: float) -> float:
        return sent + self.ttl / RENEWALS_PER_TTL if self.ttl else math.inf


class Upkeep:
    """The leases that a client looks after, by when they are due."""

    def __init__(self) -> None:
        self._leases: dict[Lease, float] = {}
        self._heap: list[tuple[float, int, Lease]] = []
        self._order = count()

    def __contains__(self, lease: Lease) -> bool:
        return lease in self._leases

    def __len__(self) -> int:
        return len(self._leases)

    def keep(self, lease: Lease) -> None:
        """Also after what it is due at has changed."""
        due = lease.due()
        if self._leases.get(lease) == due:
            return
        self._leases[lease] = due
        if due < math.inf:
            heappush(self._heap, (due, next(self._order), lease))
        if len(self._heap) > 64 + 4 * len(self._leases):
            self._heap = [entry for entry in self._heap if self._leases.get(entry[2]) == entry[0]]
            heapify(self._heap)

    def forget(self, lease: Lease) -> None:
        self._leases.pop(lease, None)

    def next_due(self) -> float:
        while self._heap and self._leases.get(self._heap[0][2]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def take_due(self, time: float) -> list[Lease]:
        """They are kept no longer; what is to stay is to be kept again."""
        found = []
        while self.next_due() <= time:
            lease = heappop(self._heap)[2]
            del self._leases[lease]
            found.append(lease)
        return found

    def take_all(self) -> list[Lease]:
        leases, self._leases, self._heap = list(self._leases), {}, []
        return leases
