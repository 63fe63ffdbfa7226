"""Tells a torn end of LevelDB's log files from damage in their middle, which LevelDB itself does not.

LevelDB's reader drops the rest of a 32 KiB block after a record that it cannot read, and follows a damaged length to
what it takes for the end of the file. A flipped bit near the end of the write-ahead log thus looks like a write that
was cut off, while acknowledged batches behind it are gone. This module reads the log files before LevelDB does.

The rule: a batch is written only after the one before it was synced. So if the beginning of any record can be read
behind a place that cannot, that place had been on disk and is damaged. If none can, it is the end of the last write,
whose pages may have reached the disk in any order (hence a record's later fragments prove nothing).

The search for such a beginning looks at every byte behind the bad place, because the length that leads to the next
record may itself be what is damaged. A client that stores a value in the shape of a log record could make a torn write
look like damage: that errs on the safe side.

The format, from LevelDB's doc/log_format.md: blocks of 32 KiB; in them records of a 7-byte header (masked CRC-32C of
type and payload, length, type; little-endian) and the payload; fewer than 7 bytes at a block's end are filler. A batch
that crosses a block's end is split into FIRST, MIDDLE and LAST; otherwise it is one FULL.
"""

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from lockd.persistence.errors import StoreCorrupt, StoreFailed

BLOCK_SIZE = 32 * 1024
_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_BEGINNINGS = (_FULL, _FIRST)
_BEGINNING_TYPE = re.compile(rb"[\x01\x02]")

Bytes = bytes | mmap.mmap


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A place that cannot be read although later batches can."""

    offset: int
    readable_again: int


@dataclass(frozen=True, kw_only=True)
class TornEnd:
    """The place where the last write was cut off."""

    offset: int


def examine_directory(path: Path) -> bool:
    """Whether a log file in the directory has a torn end. The caller holds the directory.

    Raises StoreCorrupt for damage in the middle of a log file or a MANIFEST (which has the same format),
    StoreFailed where a file cannot be read.
    """
    torn = False
    for file in sorted([*path.glob("*.log"), *path.glob("MANIFEST-*")]):
        finding = _examine_file(file)
        if isinstance(finding, Damage):
            raise StoreCorrupt(
                path,
                f"{file.name} cannot be read at byte {finding.offset}, and a later batch begins at byte "
                f"{finding.readable_again}, so this is not the end of an interrupted write",
            )
        torn = torn or finding is not None
    return torn


def examine(data: Bytes) -> Damage | TornEnd | None:
    """What is wrong with one log file's content; None for a clean end, zeros behind it included."""
    position = 0
    unfinished: int | None = None
    for fragment in _fragments(data):
        if (fragment.type in _BEGINNINGS) != (unfinished is None):
            # A beginning inside a record, or a continuation of none: what should stand between them is gone.
            start = position if unfinished is None else unfinished
            again = _find_beginning(data, start + 1)
            return Damage(offset=start, readable_again=again) if again is not None else TornEnd(offset=start)
        if unfinished is None:
            unfinished = fragment.start
        if fragment.type in (_FULL, _LAST):
            unfinished = None
        position = fragment.end
    return _examine_end(data, position, unfinished)


@dataclass(frozen=True, slots=True)
class _Fragment:
    start: int
    end: int
    type: int


def _examine_end(data: Bytes, position: int, unfinished: int | None) -> Damage | TornEnd | None:
    again = _find_beginning(data, position)
    if again is not None:
        return Damage(offset=position, readable_again=again)
    if unfinished is not None:
        return TornEnd(offset=unfinished)
    if _only_zeros(data, position):
        return None
    return TornEnd(offset=position)


def _fragments(data: Bytes) -> Iterator[_Fragment]:
    """From the start up to the first that cannot be read."""
    position = 0
    while True:
        if _block_end(position) - position < _HEADER.size:
            position = _block_end(position)
        fragment = _read_fragment(data, position)
        if fragment is None:
            return
        yield fragment
        position = fragment.end


def _read_fragment(data: Bytes, start: int) -> _Fragment | None:
    payload = start + _HEADER.size
    if payload > min(len(data), _block_end(start)):
        return None
    masked, length, kind = _HEADER.unpack(data[start:payload])
    end = payload + length
    if not _FULL <= kind <= _LAST or end > min(len(data), _block_end(start)):
        return None
    if masked != _masked(google_crc32c.value(data[payload - 1 : end])):
        return None
    return _Fragment(start, end, kind)


def _find_beginning(data: Bytes, start: int) -> int | None:
    """The first FULL or FIRST fragment at or behind start, wherever it stands."""
    type_offset = _HEADER.size - 1
    for match in _BEGINNING_TYPE.finditer(data, start + type_offset):
        fragment = _read_fragment(data, match.start() - type_offset)
        if fragment is not None:
            return fragment.start
    return None


def _only_zeros(data: Bytes, start: int) -> bool:
    return re.compile(rb"[^\x00]").search(data, start) is None


def _block_end(position: int) -> int:
    return position - position % BLOCK_SIZE + BLOCK_SIZE


def _masked(crc: int) -> int:
    """LevelDB rotates and shifts a checksum that it stores, so that data with checksums inside checks well."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _examine_file(file: Path) -> Damage | TornEnd | None:
    try:
        with file.open("rb") as opened:
            if file.stat().st_size == 0:
                return None
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return examine(data)
    except OSError as error:
        raise StoreFailed(file, error.strerror or str(error)) from error
