"""How long the log is kept, and when a snapshot is made for a node that fell behind it."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from .envelopes import Manifest
from .journal import Journal
from .ports import Store
from .snapshot import Snapshots

HOLD_S = 60.0
"""How long after an offer the log is kept from the offered snapshot on."""

HOLD_FACTOR = 4
"""But never longer than this many times its bound."""


@dataclass(slots=True)
class Compaction:
    """The log is cut to half of its bound when it reaches it, in entries or in bytes."""

    journal: Journal
    snapshots: Snapshots
    entries: int
    bytes: int
    wanted: bool = False
    """A peer waits for a snapshot: the coming write is to be followed by start()."""
    _offered_at: float = float("-inf")

    def cut(self, now: float) -> None:
        """To be called before the write that holds the applied state: both go in one batch."""
        entries, size = len(self.journal), self.journal.bytes
        if entries <= self.entries and size <= self.bytes:
            return
        keep = min(self.entries, entries * self.bytes // max(size, 1)) // 2
        index = self.journal.applied - keep
        newest = self.snapshots.newest
        if newest and now - self._offered_at < HOLD_S and size < HOLD_FACTOR * self.bytes:
            index = min(index, newest.index)
        self.journal.compact(max(index, self.journal.first))

    def offer(self, now: float) -> Manifest:
        """A snapshot from which our log goes on; none yet, and one is wanted."""
        newest = self.snapshots.newest
        self._offered_at = now
        if newest and newest.index >= self.journal.first:
            return newest
        self.wanted = not self.snapshots.is_making
        return Manifest()

    def start(self, store: Store, begin: Callable[[Coroutine[None, None, None]], None]) -> None:
        """Right after a write: what the store holds is the state after the applied index, no more and no less."""
        self.wanted = False
        index = self.journal.applied
        begin(self.snapshots.make(store.view(), index, self.journal.term_of(index)))
