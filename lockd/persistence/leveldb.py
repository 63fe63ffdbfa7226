"""The durable store: LevelDB, and what it takes to notice when LevelDB lost something. The only importer of plyvel.

Each write is one LevelDB batch, written synced. What LevelDB guarantees is less than a voter in Raft needs: a damaged
write-ahead log opens with batches missing and without complaint. Three things close that:

- `wal` reads the log files before LevelDB does and refuses damage in their middle.
- Every batch carries a numbered record. At open the numbers must have no hole, which also catches a log or table file
  that vanished as a whole.
- `mark` remembers the last acknowledged number beside LevelDB, so that a cut end is noticed too.

Every record ends in a checksum over its key and value. LevelDB has checksums of blocks, which say nothing of a record
that was damaged before it reached one, or stands under another key than it was written for.

LevelDB runs with paranoid_checks, because without them a compaction reads without verifying checksums and writes the
damage out again under a fresh one. With them LevelDB refuses an honest torn end as well: only where `wal` found one is
the database first opened, and its log thereby rewritten, without.

A write that failed ends all writing. After a short write LevelDB's own notion of where a block ends no longer matches
the file, and what it appended next could not be read back.

Format 2 (the first two bytes of the identity are the format in every format). Each value is followed by its seal, the
CRC-32C of key and value (4):

    00 'i'             -> format (2), node id (8)
    00 'n' number (8)  -> operations in the batch (4), bytes in them (8)
    any other          -> as it was given

In format 1 only the numbered records have seals. A store in it is written in format 2 when it is opened, in one batch.
"""

import struct
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import google_crc32c
import plyvel

from lockd.persistence import wal
from lockd.persistence.errors import (
    StoreClosed,
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreForeign,
    StoreInUse,
    StoreTooNew,
)
from lockd.persistence.mark import FILE_NAME as MARK_NAME
from lockd.persistence.mark import Mark
from lockd.persistence.shelf import sync_directory
from lockd.persistence.store import RESERVED, Store, View, checked, checked_prefix

FORMAT = 2

WRITE_BUFFER_BYTES = 1024 * 1024

WINDOW = 32 * 1024
"""Numbered records kept.

More than the write-ahead logs can hold, so that whatever part of them is lost leaves a hole instead of a lower end.
There are at most two logs: that of the memtable in use and that of the one being written out. LevelDB changes
memtables before the first write that finds more than WRITE_BUFFER_BYTES in use, counting each operation's key, value,
8 bytes of sequence and type, a length byte each for key and value, and at least 16 bytes of skip list. The smallest
batch puts one numbered record (10 + 16 + 8 + 2 + 16 = 52 bytes) and deletes one (10 + 8 + 2 + 16 = 36), a batch of its
own kind has at least one operation of the caller (1 + 8 + 2 + 16 = 27): 115 bytes. 2 * (1 MiB / 115 + 1) = 18,238
batches. Before the window is full nothing is deleted and every number since 1 is there.
"""

_FIRST_KEY = b"\x01"
_IDENTITY = RESERVED + b"i"
_NUMBER = RESERVED + b"n"
_FORMAT_FIELD = struct.Struct(">H")
_IDENTITY_FIELDS = struct.Struct(">HQ")
_SUMMARY = struct.Struct(">IQ")
_SEAL = struct.Struct(">I")

_RECORDS_PER_READ = 64

_REMEDY_FOR_CUT = (
    "Nothing was repaired and nothing is served from it. A member of a cluster: move the directory away and start "
    "this node again, it fetches everything from the others. A single node: restore the directory from a backup, or, "
    f"to go on without what is gone, delete the file {MARK_NAME} in it."
)

Offload = Callable[[Callable[[], object]], Awaitable[object]]
"""Runs a blocking function in a thread."""


class _Cursor(Protocol):
    """plyvel's raw iterator, which it does not export."""

    def seek(self, target: bytes) -> None: ...
    def seek_to_first(self) -> None: ...
    def valid(self) -> bool: ...
    def item(self) -> tuple[bytes, bytes]: ...
    def next(self) -> None: ...


class _Source(Protocol):
    """What plyvel's DB and snapshot have in common."""

    def raw_iterator(self, *, verify_checksums: bool = False, fill_cache: bool = True) -> _Cursor: ...
    def close(self) -> None: ...


class LevelStore(Store):
    """See `open`. One thread writes at a time; scans of views may run in others."""

    def __init__(self, path: Path, db: plyvel.DB, mark: Mark, newest: int, offload: Offload | None) -> None:
        """For `open` only: db and mark are this store's from now on; newest is the last batch's number."""
        self._path = path
        self._db = db
        self._mark = mark
        self._newest = newest
        # The identity is the first batch: a node that died right after it has still written nothing.
        self._was_blank = newest <= 1
        self._offload = offload
        self._failure: StoreError | None = None
        self._writing = threading.Lock()
        self._reader = _Reader(path)

    @classmethod
    def open(cls, path: Path, *, node_id: int, offload: Offload | None = None) -> "LevelStore":
        """The store in the directory, which is made (mode 0700) if it is missing. Reads every record once. Blocks.

        offload is what writes with `inline=False` go through.

        Raises StoreInUse, StoreCorrupt, StoreTooNew, StoreForeign and StoreFailed; in none of these cases is a record
        changed that could still be read.
        """
        _make_directory(path)
        with ExitStack() as undo:
            mark = Mark.hold(path)
            undo.callback(mark.release)
            torn = wal.examine_directory(path)
            acknowledged = mark.read()
            _refuse_without_head(path, acknowledged)
            db = _open_database(path, torn=torn)
            undo.callback(db.close)
            with _translated(path):
                found_format, newest = _examine(path, db, node_id)
            _refuse_if_cut(path, newest, acknowledged)
            store = cls(path, db, mark, newest, offload)
            if found_format < FORMAT:
                with _translated(path):
                    before = {key: value for key, value in _everything(db) if not key.startswith(RESERVED)}
                store._commit({_IDENTITY: _IDENTITY_FIELDS.pack(FORMAT, node_id), **before})
                store._was_blank = not before
            undo.pop_all()
        return store

    @property
    def was_blank(self) -> bool:
        return self._was_blank

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self._reader.scan(lambda: self._db, prefix)

    async def write(self, batch: Mapping[bytes, bytes | None], *, inline: bool = True) -> None:
        operations = checked(batch)
        if not operations:
            self._reader.refuse_if_closed()
        elif inline or self._offload is None:
            self._commit(operations)
        else:
            await self._offload(partial(self._commit, operations))

    def view(self) -> View:
        with self._reader.turn:
            self._reader.refuse_if_closed()
            return _LevelView(self._reader, self._db.snapshot())

    def close(self) -> None:
        with self._writing, self._reader.turn:
            if not self._reader.closed:
                self._reader.closed = True
                self._db.close()
                self._mark.release()

    def _commit(self, operations: Mapping[bytes, bytes | None]) -> None:
        with self._writing:
            self._reader.refuse_if_closed()
            if self._failure is not None:
                raise self._failure
            number = self._newest + 1
            try:
                self._write_synced(number, operations)
                self._mark.write(number)
            except StoreError as error:
                self._failure = error
                raise
            self._newest = number

    def _write_synced(self, number: int, operations: Mapping[bytes, bytes | None]) -> None:
        written = self._db.write_batch(sync=True)
        written.put(_number_key(number), _number_value(number, operations))
        if number > WINDOW:
            written.delete(_number_key(number - WINDOW))
        for key, value in operations.items():
            if value is None:
                written.delete(key)
            else:
                written.put(key, _sealed(key, value))
        with _translated(self._path):
            written.write()


class _LevelView(View):
    def __init__(self, reader: "_Reader", snapshot: _Source) -> None:
        self._reader = reader
        self._snapshot: _Source | None = snapshot

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self._reader.scan(lambda: self._snapshot, prefix)

    def close(self) -> None:
        with self._reader.turn:
            snapshot, self._snapshot = self._snapshot, None
            if snapshot is not None:
                snapshot.close()


class _Reader:
    """Reads in turns of a few records, so that no thread is inside LevelDB when it is closed: plyvel would not wait."""

    def __init__(self, path: Path) -> None:
        self.turn = threading.Lock()
        self.closed = False
        self._path = path

    def scan(self, source: Callable[[], _Source | None], prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """source answers the DB or Snapshot to read, None once it is closed."""
        checked_prefix(prefix)
        with self.turn:
            self.refuse_if_closed()
            opened = source()
            if opened is None:
                raise StoreClosed
            with _translated(self._path):
                cursor = opened.raw_iterator(verify_checksums=True)
                cursor.seek(prefix or _FIRST_KEY)
        return self._follow(cursor, prefix)

    def _follow(self, cursor: _Cursor, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        while True:
            with self.turn:
                self.refuse_if_closed()
                with _translated(self._path):
                    records = _read(cursor, prefix)
            for key, value in records:
                yield key, _unsealed(self._path, key, value)
            if len(records) < _RECORDS_PER_READ:
                return

    def refuse_if_closed(self) -> None:
        """To be asked with the turn taken, by whoever is about to use LevelDB."""
        if self.closed:
            raise StoreClosed


def _make_directory(path: Path) -> None:
    try:
        if not path.exists():
            path.mkdir(mode=0o700, parents=True)
            sync_directory(path.parent)
    except OSError as error:
        raise StoreFailed(path, error.strerror or str(error)) from error


def _refuse_without_head(path: Path, acknowledged: int) -> None:
    """LevelDB makes a new database where CURRENT is missing, and deletes the old one's files."""
    if (path / "CURRENT").exists():
        return
    orphans = sorted(file.name for pattern in ("*.log", "*.ldb", "*.sst") for file in path.glob(pattern))
    if orphans:
        raise StoreCorrupt(path, f"CURRENT is missing, but there is {orphans[0]}")
    if acknowledged:
        raise StoreCorrupt(path, f"LevelDB's files are missing, but {acknowledged} batches were acknowledged")


def _open_database(path: Path, *, torn: bool) -> plyvel.DB:
    def opened(paranoid_checks: bool) -> plyvel.DB:
        with _translated(path):
            return plyvel.DB(
                str(path),
                create_if_missing=True,
                paranoid_checks=paranoid_checks,
                write_buffer_size=WRITE_BUFFER_BYTES,
            )

    if torn:
        opened(paranoid_checks=False).close()
    return opened(paranoid_checks=True)


def _examine(path: Path, db: plyvel.DB, node_id: int) -> tuple[int, int]:
    """Reads everything once; the format, and the newest batch's number, both 0 for a new database."""
    records = _ascending(path, _everything(db))
    first = next(records, None)
    if first is None:
        return 0, 0
    found_format = _check_identity(path, first, node_id)
    oldest = newest = 0
    for key, value in records:
        if key.startswith(_NUMBER):
            number = _check_number(path, key, value)
            if newest and number != newest + 1:
                raise _hole(path, newest + 1, number - 1)
            oldest, newest = oldest or number, number
        elif found_format > 1:
            _unsealed(path, key, value)
    _check_oldest(path, oldest, newest)
    return found_format, newest


def _check_identity(path: Path, record: tuple[bytes, bytes], node_id: int) -> int:
    """The format."""
    key, value = record
    if key != _IDENTITY or len(value) < _FORMAT_FIELD.size:
        raise StoreCorrupt(path, "there are records, but not the one that says which node wrote them")
    (found_format,) = _FORMAT_FIELD.unpack_from(value)
    if found_format > FORMAT:
        raise StoreTooNew(path, found=found_format, known=FORMAT)
    fields = value if found_format == 1 else _unsealed(path, key, value)
    if found_format < 1 or len(fields) != _IDENTITY_FIELDS.size:
        raise StoreCorrupt(path, f"the identity record reads {value.hex()}")
    _, found_id = _IDENTITY_FIELDS.unpack(fields)
    if found_id != node_id:
        raise StoreForeign(path, found=found_id, wanted=node_id)
    return int(found_format)


def _check_number(path: Path, key: bytes, value: bytes) -> int:
    number = int.from_bytes(key[len(_NUMBER) :], "big")
    if len(value) != _SUMMARY.size + _SEAL.size or value != _sealed(key, value[: _SUMMARY.size]):
        raise StoreCorrupt(path, f"the record of batch {number} does not match its checksum")
    return number


def _check_oldest(path: Path, oldest: int, newest: int) -> None:
    expected = max(1, newest - WINDOW + 1)
    if not newest or oldest > expected:
        raise _hole(path, expected, max(oldest - 1, 1))
    if oldest < expected:
        raise StoreCorrupt(path, f"batch {oldest} is still on record although the newest is {newest}")


def _hole(path: Path, first: int, last: int) -> StoreCorrupt:
    which = f"batch {first} is missing" if first == last else f"batches {first} to {last} are missing"
    return StoreCorrupt(path, which)


def _refuse_if_cut(path: Path, newest: int, acknowledged: int) -> None:
    if newest < acknowledged:
        hole = _hole(path, newest + 1, acknowledged)
        raise StoreCorrupt(path, f"{hole.damage} at the end, after they were acknowledged", _REMEDY_FOR_CUT)


def _number_key(number: int) -> bytes:
    return _NUMBER + number.to_bytes(8, "big")


def _number_value(number: int, operations: Mapping[bytes, bytes | None]) -> bytes:
    size = sum(len(key) + len(value or b"") for key, value in operations.items())
    return _sealed(_number_key(number), _SUMMARY.pack(len(operations), size))


def _sealed(key: bytes, value: bytes) -> bytes:
    return value + _SEAL.pack(google_crc32c.value(key + value))


def _unsealed(path: Path, key: bytes, sealed: bytes) -> bytes:
    value = sealed[: -_SEAL.size]
    if sealed != _sealed(key, value):
        raise StoreCorrupt(path, f"the record {key!r} does not match its checksum")
    return value


def _everything(db: _Source) -> Iterator[tuple[bytes, bytes]]:
    cursor = db.raw_iterator(verify_checksums=True, fill_cache=False)
    cursor.seek_to_first()
    while records := _read(cursor, b""):
        yield from records


def _read(cursor: _Cursor, prefix: bytes) -> list[tuple[bytes, bytes]]:
    """The next few records.

    plyvel's ordinary iterator takes a block that cannot be read for the end; the raw one asks LevelDB for its status.
    """
    records: list[tuple[bytes, bytes]] = []
    while len(records) < _RECORDS_PER_READ and cursor.valid():
        key, value = cursor.item()
        if not key.startswith(prefix):
            break
        records.append((key, value))
        cursor.next()
    return records


def _ascending(path: Path, records: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """LevelDB does not notice that two of its table files changed places; their order does."""
    previous = b""
    for record in records:
        if record[0] <= previous:
            raise StoreCorrupt(path, f"key {record[0]!r} comes after {previous!r}")
        previous = record[0]
        yield record


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except plyvel.CorruptionError as error:
        raise StoreCorrupt(path, _text(error)) from error
    except plyvel.Error as error:
        if _text(error).startswith("IO error: lock "):
            raise StoreInUse(path) from error
        raise StoreFailed(path, _text(error)) from error


def _text(error: Exception) -> str:
    """What LevelDB said: plyvel hands its bytes over as they are."""
    said = error.args[0] if error.args else b""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
