"""The Raft log, term, vote and commit index, over a store: PySyncObj's Journal contract.

Nothing here writes. Changes gather in an OpenBatch, which the replica writes with one sync a tick.
"""

import struct
from binascii import crc32
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import overload

from .errors import JournalCorrupt
from .ports import Store

LOG = b"l/"
_VOTE = b"h/vote"
_PROGRESS = b"h/progress"
_JOINED = b"h/joined"
_ENTRY = struct.Struct(">QI")  # term, checksum of index, term and data
_PAIR = struct.Struct(">Qq")  # term and who got the vote, -1 for nobody
_INDICES = struct.Struct(">QQ")  # commit and applied index

NO_OP = b"\x01"
"""The data of an entry without content, as PySyncObj writes it."""

LogEntry = tuple[bytes, int, int]
"""(data, index, term), in PySyncObj's order."""


@dataclass(slots=True)
class OpenBatch:
    """What the next write puts and deletes.

    urgent: a promise depends on it, so that the tick must end with a sync. The rest (commit index, applied
    state) can be had again from the log and waits for the next urgent change.
    """

    records: dict[bytes, bytes | None] = field(default_factory=dict)
    urgent: bool = False

    def put(self, key: bytes, value: bytes | None, *, urgent: bool = False) -> None:
        self.records[key] = value
        self.urgent |= urgent

    def take(self) -> dict[bytes, bytes | None]:
        taken, self.records, self.urgent = self.records, {}, False
        return taken


class Journal:
    """The log in memory, mirrored into the open batch. Positions, in PySyncObj's contract, count from the
    first entry that is kept; indices are Raft's."""

    def __init__(self, store: Store, batch: OpenBatch) -> None:
        """Raises JournalCorrupt where what is stored contradicts itself."""
        self._batch = batch
        self._entries: list[LogEntry] = [_decode_entry(key, value) for key, value in store.scan(LOG)]
        self.bytes = sum(len(data) for data, _, _ in self._entries)
        hard = dict(store.scan(b"h/"))
        self._term: int
        self._commit: int
        self.applied: int
        self._term, voted = _unpacked(_PAIR, _VOTE, hard) or (0, -1)
        self._voted: int | None = None if voted < 0 else voted
        self._commit, self.applied = _unpacked(_INDICES, _PROGRESS, hard) or (1, 1)
        self.joined = _JOINED in hard
        self._changed_from: int | None = None
        self._check()

    def _check(self) -> None:
        for place, (_, index, _) in enumerate(self._entries):
            if index != self.first + place:
                raise JournalCorrupt(f"log entry {self.first + place} is missing: the next one stored is {index}")
        if self._entries and self._commit > self.last:
            raise JournalCorrupt(f"the commit index {self._commit} lies beyond the log's end, {self.last}")
        if self._entries and not self.first <= self.applied <= self._commit:
            raise JournalCorrupt(
                f"the applied index {self.applied} lies outside of the log, which begins at {self.first}, "
                f"and its committed part, which ends at {self._commit}"
            )
        if self._entries and self.term_of(self.last) > self._term:
            raise JournalCorrupt(
                f"log entry {self.last} is of term {self.term_of(self.last)}, the stored term is {self._term}: "
                "a vote of this node may be lost"
            )
        if not self._entries and (self._term or self.applied > 1):
            raise JournalCorrupt(f"the log is empty, yet term {self._term} and applied index {self.applied} are stored")

    @property
    def synced(self) -> int:
        """Up to here the log is on disk as it stands."""
        return self.last if self._changed_from is None else self._changed_from - 1

    def note_synced(self) -> None:
        """The batch with everything up to now has been written."""
        self._changed_from = None

    def _changes_from(self, index: int) -> None:
        self._changed_from = index if self._changed_from is None else min(index, self._changed_from)

    # -- by index

    @property
    def first(self) -> int:
        return self._entries[0][1]

    @property
    def last(self) -> int:
        return self._entries[-1][1]

    def holds(self, index: int) -> bool:
        return self.first <= index <= self.last

    def entry(self, index: int) -> LogEntry:
        return self._entries[index - self.first]

    def term_of(self, index: int) -> int:
        return self._entries[index - self.first][2]

    def from_index(self, index: int, bytes_max: int) -> list[LogEntry]:
        """The entries from index on, as many as stay within bytes_max, at least one if there is one."""
        size = 0
        for end in range(index, self.last + 1):
            size += len(self.entry(end)[0])
            if size > bytes_max and end > index:
                return self._entries[index - self.first : end - self.first]
        return self._entries[index - self.first :]

    def compact(self, index: int) -> None:
        """Forgets the entries before index. index must have been applied."""
        assert index <= self.applied
        if index > self.first:
            self.deleteEntriesTo(index - self.first)

    def restart_at(self, index: int, term: int) -> None:
        """The log as a snapshot leaves it: begins at its last entry; what follows it is kept if it belongs."""
        if self.holds(index) and self.term_of(index) == term:
            self.deleteEntriesTo(index - self.first)
        else:
            self.clear()
            self.add(NO_OP, index, term)
        self.applied, self._commit = index, max(self._commit, index)
        self._put_progress()

    def set_applied(self, index: int) -> None:
        self.applied = index
        self._put_progress()

    def set_joined(self) -> None:
        self.joined = True
        self._batch.put(_JOINED, b"1", urgent=True)

    # -- PySyncObj's Journal contract

    def add(self, command: bytes, idx: int, term: int) -> None:
        self._changes_from(idx)
        self._entries.append((command, idx, term))
        self.bytes += len(command)
        self._batch.put(_log_key(idx), _encode_entry(command, idx, term), urgent=True)

    def clear(self) -> None:
        self._drop(self._entries)
        self._entries = []

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803 - PySyncObj's names
        self._changes_from(self.first + entryFrom)
        self._drop(self._entries[entryFrom:])
        del self._entries[entryFrom:]

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803 - PySyncObj's names
        self._drop(self._entries[:entryTo])
        del self._entries[:entryTo]

    def _drop(self, entries: list[LogEntry]) -> None:
        for data, index, _ in entries:
            self.bytes -= len(data)
            self._batch.put(_log_key(index), None, urgent=True)

    @overload
    def __getitem__(self, item: int) -> LogEntry: ...
    @overload
    def __getitem__(self, item: slice) -> list[LogEntry]: ...
    def __getitem__(self, item: int | slice) -> LogEntry | list[LogEntry]:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[LogEntry]:
        return iter(self._entries)

    def getRaftCommitIndex(self) -> int:  # noqa: N802 - PySyncObj's name
        return self._commit

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803 - PySyncObj's names
        if raftCommitIndex != self._commit:
            self._commit = raftCommitIndex
            self._put_progress()

    def getCurrentTerm(self) -> int:  # noqa: N802 - PySyncObj's name
        return self._term

    def getVotedForNodeId(self) -> int | None:  # noqa: N802 - PySyncObj's name
        return self._voted

    def setCurrentTerm(self, term: int, votedForNodeId: int | None) -> None:  # noqa: N802, N803 - PySyncObj's names
        self._term, self._voted = term, votedForNodeId
        self._batch.put(_VOTE, _PAIR.pack(term, -1 if votedForNodeId is None else votedForNodeId), urgent=True)

    def onOneSecondTimer(self) -> None:  # noqa: N802 - PySyncObj's name
        pass

    def _destroy(self) -> None:
        pass

    def _put_progress(self) -> None:
        self._batch.put(_PROGRESS, _INDICES.pack(self._commit, self.applied))


def _unpacked(form: struct.Struct, key: bytes, stored: dict[bytes, bytes]) -> tuple[int, int] | None:
    if key not in stored:
        return None
    if len(stored[key]) != form.size:
        raise JournalCorrupt(f"the record {key.decode()} is damaged: {len(stored[key])} bytes, not {form.size}")
    first, second = form.unpack(stored[key])
    return first, second


def _log_key(index: int) -> bytes:
    return LOG + index.to_bytes(8, "big")


def _checksum(data: bytes, index: int, term: int) -> int:
    return crc32(data, crc32(struct.pack(">QQ", index, term)))


def _encode_entry(data: bytes, index: int, term: int) -> bytes:
    return _ENTRY.pack(term, _checksum(data, index, term)) + data


def _decode_entry(key: bytes, value: bytes) -> LogEntry:
    index = int.from_bytes(key[len(LOG) :], "big")
    if len(value) < _ENTRY.size:
        raise JournalCorrupt(f"log entry {index} is cut short: {len(value)} bytes")
    term, checksum = _ENTRY.unpack_from(value)
    data = value[_ENTRY.size :]
    if checksum != _checksum(data, index, term):
        raise JournalCorrupt(f"log entry {index} does not match its checksum")
    return data, index, term
