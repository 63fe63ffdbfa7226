"""When a lease is to be renewed and when it is lost, by this client's own reckoning. Pure: time is an argument.

A lease is lost at its deadline, with or without a network, and stays lost: whoever holds it looks at the deadline
before it reads an answer. Answers move the deadline only forward: each that arrived in time is a bound of its own, and
the latest holds. Where a third of the ttl is left, and a renewal has been due for as long, the holder's state becomes
SUSPENDED.
"""

import math
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from lockd_client import calls
from lockd_client.calls import Call
from lockd_client.values import RenewAnswer, State

Listener = Callable[[State], None]
Ends = Callable[[], list[Call[Any]]]

RENEWALS_PER_TTL = 3
PAUSES_PER_TTL = 10  # after a renewal that failed, another this part of a ttl later


class Lease:
    """Of one hold (token), or of a session. `ttl` in seconds, 0: no deadline."""

    def __init__(
        self,
        ttl: float,
        *,
        deadline: float,
        sent: float,
        token: int = 0,
        session_id: int = 0,
        renews: bool = True,
        progress_within: float = math.inf,
    ) -> None:
        """sent: when the request that opened it was sent. renews: False where only its deadline is watched.
        progress_within: seconds after the last progress() from which on it is not renewed.
        """
        self.ttl = ttl
        self.deadline = deadline
        self.token = token
        self.session_id = session_id
        self.renews = renews and ttl > 0
        self.next_renewal = self._renewal_after(sent)
        self.is_renewing = False
        self.is_stalled = False  # a renewal was due, and no progress had been reported
        self.is_lost = False
        self.is_foreign = False  # it is the process's from which this one was forked
        self._forsaken: deque[Ends] = deque()
        self._ending: deque[tuple[float, Ends]] = deque()  # from when on
        self._progress_within = progress_within
        self._progressed = sent
        self._told = State.CONNECTED
        self._listeners: dict[int, Listener] = {}
        self._listener_ids = count()

    def remaining(self, time: float) -> float:
        """Seconds, never below 0; 0 where it is lost."""
        return 0.0 if self.is_lost else max(0.0, self.deadline - time)

    def has_passed(self, time: float) -> bool:
        return self.is_lost or time >= self.deadline

    def state(self, time: float) -> State:
        if self.has_passed(time):
            return State.LOST
        return State.SUSPENDED if time >= self._suspended_at() else State.CONNECTED

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

    def progress(self, time: float) -> None:
        """The work goes on, and with it the renewals."""
        self._progressed = time
        self.is_stalled = False

    def wants_renewal(self, time: float) -> bool:
        if not self.renews or self.is_renewing or time < self.next_renewal:
            return False
        self.is_stalled = time >= self._progressed + self._progress_within
        return not self.is_stalled

    def postpone(self, time: float) -> None:
        self.next_renewal = time + self.ttl / PAUSES_PER_TTL

    def lose(self) -> None:
        """Tells the listeners, once."""
        if not self.is_lost:
            self.is_lost = True
            self._tell(State.LOST)

    def tell(self, time: float) -> None:
        """The listeners, where the state is another one than they were told last. Not of a loss: see lose()."""
        state = self.state(time)
        if state not in (self._told, State.LOST):
            self._tell(state)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """listener: called when the state changes, under whatever guards the lease; it must not block. Returns what
        takes it off again.
        """
        key = next(self._listener_ids)
        self._listeners[key] = listener
        return lambda: self._listeners.pop(key, None) and None

    def forsake(self, ends: Ends) -> None:
        """Of a session's: nobody has what `ends` ends any more, which from now on is as if it had a lease of its own
        that is not renewed. At any moment, in any thread: inside a reading of the clock, too.
        """
        self._forsaken.append(ends)

    def end_forsaken(self, time: float) -> list[Call[Any]]:
        """The calls that bring it about, for what has had its time."""
        found: list[Call[Any]] = []
        while self._ending and self._ending[0][0] <= time:
            found += self._ending.popleft()[1]()
        while self._forsaken:
            self._ending.append((time + self.ttl, self._forsaken.popleft()))
        return found

    def due(self) -> float:
        """When to look at it again."""
        moments = [self.deadline]
        if self.renews and not self.is_renewing and not self.is_stalled:
            moments.append(self.next_renewal)
        if self._told is State.CONNECTED:
            moments.append(self._suspended_at())
        return min(moments)

    def _renewal_after(self, sent: float) -> float:
        return sent + self.ttl / RENEWALS_PER_TTL if self.ttl else math.inf

    def _suspended_at(self) -> float:
        return self.deadline - self.ttl / RENEWALS_PER_TTL if self.renews else math.inf

    def _tell(self, state: State) -> None:
        self._told = state
        for listener in list(self._listeners.values()):
            listener(state)


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
