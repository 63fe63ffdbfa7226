"""The turns of threads that share a lock object."""

import os
import threading
import weakref
from collections import deque

from lockd_client.clock import now
from lockd_client.interrupts import LOOK_UP_S, put_off, refuse_inside


class _Place:
    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.is_taken = False
        self._sleeps = (
            threading.Lock()
        )  # taken while it has nothing to wake for; a handler may run while it is waited for
        self._sleeps.acquire()

    def sleep(self, seconds: float) -> None:
        put_off.acquire(self._sleeps, seconds)

    def wake(self) -> None:
        """By one thread at a time."""
        if self._sleeps.locked():
            self._sleeps.release()


class Turns:
    """One at a time, in the order of their coming. Who has the turn may take it again, and ends it as often.

    The main thread's waits are taken by handlers of signals, which may use the same object: they come before the wait
    that they interrupted.
    """

    def __init__(self) -> None:
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        self.agent = ""
        """Whose turn it is."""
        self._uses = 0
        self._mutex = threading.RLock()
        self._queue: deque[_Place] = deque()  # the first has the turn, or is about to take it

    def refuse_inside(self) -> None:
        """Raises RuntimeError: see interrupts.refuse_inside()."""
        refuse_inside(self._mutex)

    def take(self, agent: str, wait: float) -> bool:
        """wait: seconds. False where it was not had by then."""
        self.refuse_inside()
        end = now() + wait
        place = _Place()
        with self._mutex:
            if self._queue and not wait:
                return False
        try:
            while not self._come_first(place):
                left = end - now()
                if left <= 0:
                    break
                place.sleep(min(left, LOOK_UP_S))
            with self._mutex:
                if self._queue[0] is place:
                    place.is_taken, self.agent, self._uses = True, agent, 1
        finally:
            if not place.is_taken:
                self._leave(place)
        return place.is_taken

    def take_again(self) -> None:
        """By who has it."""
        self.refuse_inside()
        with self._mutex:
            self._uses += 1

    def end(self) -> None:
        """Nothing, where nobody has it: in a child whose parent had."""
        with self._mutex:
            if self._uses:
                self._uses -= 1
                if not self._uses:
                    self.agent = ""
                    self._queue.popleft()
                    self._wake_first()

    def start_over(self) -> None:
        """In a child after a fork: whoever had it may not be in this process."""
        self._begin()

    def _insert(self, place: _Place) -> None:
        waiting = (at for at, each in enumerate(self._queue) if each.thread == place.thread and not each.is_taken)
        self._queue.insert(next(waiting, len(self._queue)), place)

    def _come_first(self, place: _Place) -> bool:
        with self._mutex:
            if place not in self._queue:  # in a child that was forked by a handler of a signal, while this waited
                self._insert(place)
            return self._queue[0] is place

    def _leave(self, place: _Place) -> None:
        with self._mutex:
            if place in self._queue:
                self._queue.remove(place)
            self._wake_first()

    def _wake_first(self) -> None:
        if self._queue:
            self._queue[0].wake()


_ALL: weakref.WeakSet[Turns] = weakref.WeakSet()


def _start_over() -> None:
    for turns in list(_ALL):
        turns.start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)
