"""The turns of threads that share a lock object."""

import threading
from collections import deque
from functools import partial

from lockd_client.clock import now
from lockd_client.interrupts import LOOK_UP_S, put_off


class _Place:
    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.looks_up = threading.Event()  # wakes its thread; whose turn it is says the queue
        self.is_taken = False


class Turns:
    """One at a time, in the order of their coming. The main thread's waits are taken by signals' handlers, which may
    use the same object: they come before the wait that they interrupted.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._queue: deque[_Place] = deque()  # the first has the turn

    def take(self, wait: float) -> bool:
        """wait: seconds. False where it was not had by then."""
        end = now() + wait
        place = _Place()
        with self._mutex:
            if self._queue and not wait:
                return False
            self._insert(place)
        try:
            while not self._has(place):
                left = end - now()
                if left <= 0:
                    break
                put_off.wait(partial(place.looks_up.wait, min(left, LOOK_UP_S)))
            place.is_taken = self._has(place)
        finally:
            if not place.is_taken:
                self._leave(place)
        return place.is_taken

    def end(self) -> None:
        """Of the present turn, if there is one."""
        with self._mutex:
            if self._queue:
                self._queue.popleft()
                self._wake_first()

    def _insert(self, place: _Place) -> None:
        waiting = (at for at, each in enumerate(self._queue) if each.thread == place.thread and not each.is_taken)
        self._queue.insert(next(waiting, len(self._queue)), place)

    def _has(self, place: _Place) -> bool:
        return self._queue[0] is place

    def _leave(self, place: _Place) -> None:
        with self._mutex:
            self._queue.remove(place)
            self._wake_first()

    def _wake_first(self) -> None:
        if self._queue:
            self._queue[0].looks_up.set()
