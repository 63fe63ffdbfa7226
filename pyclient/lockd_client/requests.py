"""The ids of one client's requests, and which of them have been answered. Pure.

The cluster keeps a record of each request so that a repeated one acts once. What the client says here as answered is
what lets those records go; a sequence that it names so is refused from then on.
"""

from bisect import bisect_left
from collections import deque

from lockd_client.values import RequestId

CLIENT_BYTES = 16
RANGES_MAX = 64
NOT_AFTER_MS = 240_000  # from the last clock_ms seen to the last moment at which a new id is accepted
GIVE_UP_S = 900.0  # an answer that nobody got for so long is not asked for any more


class Requests:
    """Sequences from 1. Not thread-safe."""

    def __init__(self, client: bytes) -> None:
        self.client = client
        self._last = 0
        self._below = 1
        self._firsts: list[int] = []  # ranges above _below, ascending, with a gap before each
        self._lasts: list[int] = []
        self._doubtful: deque[tuple[float, int]] = deque()

    def new(self, clock_ms: int) -> RequestId:
        """clock_ms: the last that the client saw."""
        self._last += 1
        return RequestId(not_after_ms=clock_ms + NOT_AFTER_MS, client=self.client, sequence=self._last)

    def answered(self, sequence: int) -> None:
        """Its answer has arrived, or nobody will ask for it again."""
        if sequence < self._below:
            return
        at = bisect_left(self._firsts, sequence)
        before = at - 1
        if before >= 0 and sequence <= self._lasts[before]:
            return
        if at < len(self._firsts) and self._firsts[at] == sequence:
            return
        joins_before = before >= 0 and self._lasts[before] == sequence - 1
        joins_after = at < len(self._firsts) and self._firsts[at] == sequence + 1
        if joins_before and joins_after:
            self._lasts[before] = self._lasts[at]
            del self._firsts[at], self._lasts[at]
        elif joins_before:
            self._lasts[before] = sequence
        elif joins_after:
            self._firsts[at] = sequence
        else:
            self._firsts.insert(at, sequence)
            self._lasts.insert(at, sequence)
        if self._firsts[0] == self._below:
            self._below = self._lasts[0] + 1
            del self._firsts[0], self._lasts[0]

    def doubtful(self, sequence: int, time: float) -> None:
        """Whoever asked may ask again for GIVE_UP_S; then it counts as answered."""
        self._doubtful.append((time + GIVE_UP_S, sequence))

    def give_up(self, time: float) -> None:
        while self._doubtful and self._doubtful[0][0] <= time:
            self.answered(self._doubtful.popleft()[1])

    def mark(self) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Below which sequence all are answered, and the lowest ranges above, both ends inclusive."""
        return self._below, tuple(zip(self._firsts[:RANGES_MAX], self._lasts[:RANGES_MAX], strict=True))
