"""Telling a torn end from damage in the middle, on log files made here by LevelDB's published format."""

import os
import struct
from pathlib import Path

import google_crc32c
import plyvel
from hypothesis import example, given
from hypothesis import strategies as st

from lockd.persistence.wal import BLOCK_SIZE, Damage, TornEnd, examine

FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def fragment(kind: int, payload: bytes) -> bytes:
    crc = google_crc32c.value(bytes([kind]) + payload)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    return struct.pack("<IHB", masked, len(payload), kind) + payload


def log_of(*records: bytes) -> tuple[bytes, list[int]]:
    """The file, and the offset at which each record's bytes end."""
    log, ends = bytearray(), []
    for record in records:
        rest, kind_first, kind_whole = record, FIRST, FULL
        while True:
            left = BLOCK_SIZE - len(log) % BLOCK_SIZE
            if left < 7:
                log += bytes(left)
                continue
            piece, rest = rest[: left - 7], rest[left - 7 :]
            log += fragment(kind_first if rest else kind_whole, piece)
            if not rest:
                break
            kind_first, kind_whole = MIDDLE, LAST
        ends.append(len(log))
    return bytes(log), ends


def flipped(data: bytes, offset: int, mask: int = 1) -> bytes:
    return data[:offset] + bytes([data[offset] ^ mask]) + data[offset + 1 :]


RECORDS = st.lists(st.integers(1, 700) | st.integers(30_000, 70_000), min_size=1, max_size=8).map(
    lambda sizes: [os.urandom(size) for size in sizes]
)


def test_this_is_the_format_that_leveldb_writes(tmp_path: Path):
    db = plyvel.DB(str(tmp_path), create_if_missing=True)
    for number in range(50):
        db.put(b"%d" % number, os.urandom(3000), sync=True)
    (log,) = tmp_path.glob("*.log")
    data = log.read_bytes()
    db.close()
    assert len(data) > 4 * BLOCK_SIZE
    assert examine(data) is None
    assert isinstance(examine(data[:-1]), TornEnd)
    assert isinstance(examine(flipped(data, 70_000)), Damage)


@given(records=RECORDS, zeros=st.integers(0, 3 * BLOCK_SIZE))
def test_a_whole_file_is_clean_and_so_are_preallocated_zeros(records: list[bytes], zeros: int):
    log, _ = log_of(*records)
    assert examine(log) is None
    assert examine(log + bytes(zeros)) is None


def test_an_empty_file_is_clean():
    assert examine(b"") is None


@given(records=RECORDS, data=st.data())
def test_a_file_that_ends_anywhere_is_never_damaged(records: list[bytes], data: st.DataObject):
    log, ends = log_of(*records)
    cut = data.draw(st.integers(0, len(log) - 1))
    finding = examine(log[:cut])
    assert not isinstance(finding, Damage)
    if any(log[max([0, *(end for end in ends if end <= cut)]) : cut]):
        assert isinstance(finding, TornEnd)


@given(records=RECORDS, data=st.data())
def test_whatever_the_last_record_became_is_a_torn_end(records: list[bytes], data: st.DataObject):
    """Its pages reach the disk in any order: some are there, some are zero, some are noise."""
    log, ends = log_of(*records)
    start = ends[-2] if len(ends) > 1 else 0
    pages = range(start, len(log), 4096)
    torn = bytearray(log)
    for page in data.draw(st.sets(st.sampled_from(pages), min_size=1)):
        size = min(4096, len(log) - page)
        torn[page : page + size] = data.draw(st.sampled_from([bytes(size), os.urandom(size)]))
    assert not isinstance(examine(bytes(torn)), Damage)


@given(records=RECORDS.filter(lambda records: len(records) > 1), data=st.data())
@example(records=[b"a" * 100, b"b" * 100, b"c" * 100], data=None)
def test_any_flipped_byte_before_the_last_record_is_damage(records: list[bytes], data: st.DataObject | None):
    """Also where it is a length that breaks, and the rest of the block cannot be found by following it."""
    log, ends = log_of(*records)
    offsets = [4, 5, 6, 106] if data is None else [data.draw(st.integers(0, ends[-2] - 1))]
    for offset in offsets:
        finding = examine(flipped(log, offset, 0x80))
        if not is_filler(log, offset):
            assert isinstance(finding, Damage)
            assert finding.offset <= offset < finding.readable_again


def is_filler(log: bytes, offset: int) -> bool:
    return BLOCK_SIZE - offset % BLOCK_SIZE < 7 and not any(log[offset : offset - offset % BLOCK_SIZE + BLOCK_SIZE])


def test_records_that_are_sound_but_do_not_follow_each_other_are_damage():
    begun = fragment(FIRST, b"a")
    assert examine(begun + fragment(FULL, b"b")) == Damage(offset=0, readable_again=len(begun))
    continued = fragment(LAST, b"a")
    assert examine(continued + fragment(FULL, b"b")) == Damage(offset=0, readable_again=len(continued))


def test_a_block_of_zeros_between_records_is_damage():
    """LevelDB takes it for preallocated space and goes on behind it."""
    log, _ = log_of(*(os.urandom(1000) for _ in range(100)))
    holed = log[:BLOCK_SIZE] + bytes(BLOCK_SIZE) + log[2 * BLOCK_SIZE :]
    assert isinstance(examine(holed), Damage)
