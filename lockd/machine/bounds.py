"""What ends when the clock has passed it: leases, waits, delays, records."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")


class Bounds(Generic[KeyT]):
    """Keys by their bound on the clock, the earliest first. A key has one bound or none."""

    def __init__(self, bounds: Iterable[tuple[int, KeyT]] = ()) -> None:
        self._of = {key: bound for bound, key in bounds}
        self._heap = [(bound, key) for key, bound in self._of.items()]
        heapify(self._heap)

    def __len__(self) -> int:
        return len(self._of)

    def put(self, key: KeyT, bound: int) -> None:
        if self._of.get(key) == bound:
            return
        self._of[key] = bound
        heappush(self._heap, (bound, key))
        if len(self._heap) > 2 * len(self._of) + 64:  # what was moved or dropped leaves its old bound behind
            self._heap = [(bound, key) for key, bound in self._of.items()]
            heapify(self._heap)

    def drop(self, key: KeyT) -> None:
        self._of.pop(key, None)

    def first(self) -> tuple[int, KeyT] | None:
        heap = self._heap
        while heap and self._of.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0] if heap else None

    def next(self) -> int | None:
        """The earliest bound."""
        first = self.first()
        return first[0] if first else None

    def due(self, clock: int) -> KeyT | None:
        """The first key whose bound the clock has passed. It stays until it is dropped or moved."""
        first = self.first()
        return first[1] if first and first[0] < clock else None
