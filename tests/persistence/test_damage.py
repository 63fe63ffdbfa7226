"""Whatever happened to the files, a store opens with everything that was acknowledged, or not at all.

Usually "everything" includes the last batch: the ACKNOWLEDGED file knows of it. Where that file lags, as it may after a
power failure (`forget_mark`), the last batch may be gone: its damage cannot be told from a write that was cut off.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import plyvel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockd.persistence import leveldb
from lockd.persistence.errors import StoreCorrupt
from lockd.persistence.leveldb import LevelStore
from lockd.persistence.mark import FILE_NAME as MARK

BATCHES = 200
BLOCK_SIZE = 32 * 1024
Change = Callable[[bytes], bytes]


def fill(path: Path, count: int, *, value_size: int = 600) -> None:
    store = LevelStore.open(path, node_id=1)

    async def write() -> None:
        for number in range(count):
            batch = {key(number): os.urandom(value_size), b"applied": b"%d" % number}
            await store.write(batch)

    asyncio.run(write())
    store.close()


def key(number: int) -> bytes:
    return b"e%06d" % number


def held(path: Path) -> int:
    """How many batches the store opens with; they are the first ones, without a hole."""
    store = LevelStore.open(path, node_id=1)
    entries = [name for name, _ in store.scan(b"e")]
    applied = dict(store.scan(b"applied"))
    store.close()
    assert entries == [key(number) for number in range(len(entries))]
    assert applied == ({b"applied": b"%d" % (len(entries) - 1)} if entries else {})
    return len(entries)


def held_or_refused(path: Path, *, at_least: int) -> str:
    try:
        count = held(path)
    except StoreCorrupt:
        with pytest.raises(StoreCorrupt):  # and it stays refused: the first attempt repaired nothing by forgetting
            held(path)
        return "refused"
    assert count >= at_least
    return "opened"


def one(path: Path, pattern: str) -> Path:
    (file,) = path.glob(pattern)
    return file


def change(file: Path, how: Change) -> None:
    file.write_bytes(how(file.read_bytes()))


def forget_mark(path: Path) -> None:
    (path / MARK).write_bytes(b"")


def flip(offset: int, mask: int = 1) -> Change:
    def flipped(data: bytes) -> bytes:
        return data[:offset] + bytes([data[offset] ^ mask]) + data[offset + 1 :] if data else data

    return flipped


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All batches in the write-ahead log."""
    path = tmp_path_factory.mktemp("pristine") / "data"
    fill(path, BATCHES)
    return path


@pytest.fixture(scope="module")
def in_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Batches in several table files, the last ones in the log."""
    path = tmp_path_factory.mktemp("tables") / "data"
    for size in (0, 1, 2):  # each open writes the log out to a table
        store = LevelStore.open(path, node_id=1)
        entries = range(size * 40, size * 40 + 40)

        async def write(store: LevelStore, entries: range) -> None:
            for number in entries:
                await store.write({key(number): os.urandom(600), b"applied": b"%d" % number})

        asyncio.run(write(store, entries))
        store.close()
    assert len(list(path.glob("*.ldb"))) == 2
    return path


@pytest.fixture
def data(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "data"))


@pytest.fixture
def tables(in_tables: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(in_tables, tmp_path / "data"))


def plain_count(path: Path) -> int:
    """What LevelDB makes of it without this room's care."""
    db = plyvel.DB(str(path))
    count = sum(1 for _ in db.iterator(prefix=b"e"))
    newest = db.get(b"applied")
    db.close()
    assert newest == leveldb._sealed(b"applied", b"%d" % (BATCHES - 1)), "it even holds the last batch"
    return count


def test_why_all_this_plain_leveldb_opens_with_batches_missing_from_the_middle(data: Path):
    change(one(data, "*.log"), flip(60_000))
    assert plain_count(data) < BATCHES - 1


def test_why_the_raw_iterator_plyvels_own_takes_an_unreadable_block_for_the_end(tmp_path: Path):
    db = plyvel.DB(str(tmp_path), create_if_missing=True, compression=None)
    for number in range(1000):
        db.put(b"%04d" % number, b"value %04d" % number + bytes(100))
    db.compact_range()
    db.close()
    change(one(tmp_path, "*.ldb"), lambda content: flip(content.index(b"value 0999"))(content))
    db = plyvel.DB(str(tmp_path))
    assert sum(1 for _ in db.iterator(verify_checksums=True)) < 1000
    db.close()


def test_undamaged_it_opens_with_everything(data: Path):
    assert held(data) == BATCHES
    assert held(data) == BATCHES


LOG_CHANGES: dict[str, tuple[Change, str]] = {
    "flip one bit in the middle": (flip(60_000), "refused"),
    "flip one bit in the first header": (flip(4), "refused"),
    "flip one in the last block, before several batches": (lambda d: flip(len(d) - 5_000)(d), "refused"),
    "flip a bit in the last batch": (lambda d: flip(len(d) - 10)(d), "refused"),
    "zero a block": (lambda d: d[:BLOCK_SIZE] + bytes(BLOCK_SIZE) + d[2 * BLOCK_SIZE :], "refused"),
    "take a block out": (lambda d: d[:BLOCK_SIZE] + d[2 * BLOCK_SIZE :], "refused"),
    "cut the tail at two thirds": (lambda d: d[: len(d) * 2 // 3], "refused"),
    "cut the last byte": (lambda d: d[:-1], "refused"),
    "empty the file": (lambda d: b"", "refused"),
    "garble the last 100 bytes": (lambda d: d[:-100] + os.urandom(100), "refused"),
    "extend with zeros": (lambda d: d + bytes(4096), "opened"),
    "extend with blocks of zeros": (lambda d: d + bytes(3 * BLOCK_SIZE), "opened"),
    "extend with noise": (lambda d: d + os.urandom(4096), "opened"),
    "extend with a begun write": (lambda d: d + d[:50], "opened"),
}


@pytest.mark.parametrize("name", LOG_CHANGES)
def test_the_log_damaged(data: Path, name: str):
    how, expected = LOG_CHANGES[name]
    change(one(data, "*.log"), how)
    assert held_or_refused(data, at_least=BATCHES) == expected


@pytest.mark.parametrize("name", ["flip a bit in the last batch", "cut the last byte", "garble the last 100 bytes"])
def test_the_last_batch_damaged_after_a_power_failure_looks_like_a_torn_write(data: Path, name: str):
    how, _ = LOG_CHANGES[name]
    change(one(data, "*.log"), how)
    forget_mark(data)
    assert held(data) == BATCHES - 1
    fill_one_more(data)
    assert held(data) == BATCHES


def fill_one_more(path: Path) -> None:
    store = LevelStore.open(path, node_id=1)
    number = BATCHES - 1
    asyncio.run(store.write({key(number): b"again", b"applied": b"%d" % number}))
    store.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), mask=st.sampled_from([1, 0x80, 0xFF]), marked=st.booleans())
def test_a_flip_anywhere_in_the_log(
    pristine: Path, tmp_path_factory: pytest.TempPathFactory, place: float, mask: int, marked: bool
):
    path = Path(shutil.copytree(pristine, tmp_path_factory.mktemp("flip") / "data"))
    change(one(path, "*.log"), lambda d: flip(int(place * len(d)), mask)(d))
    if not marked:
        forget_mark(path)
    held_or_refused(path, at_least=BATCHES if marked else BATCHES - 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 10), place=st.floats(0, 1, exclude_max=True), mask=st.sampled_from([1, 0x80, 0xFF]))
def test_a_flip_anywhere_in_any_file(
    in_tables: Path, tmp_path_factory: pytest.TempPathFactory, which: int, place: float, mask: int
):
    path = Path(shutil.copytree(in_tables, tmp_path_factory.mktemp("flip") / "data"))
    files = sorted(file for file in path.iterdir() if file.name not in ("LOG", "LOG.old", "LOCK", MARK))
    change(files[which % len(files)], lambda d: flip(int(place * len(d)), mask)(d))
    held_or_refused(path, at_least=120)


def test_a_write_that_was_cut_off_is_forgotten_and_the_next_ones_are_kept(data: Path):
    change(one(data, "*.log"), lambda d: d + d[:300])
    for count in (BATCHES + 1, BATCHES + 2):
        store = LevelStore.open(data, node_id=1)
        asyncio.run(store.write({key(count - 1): b"", b"applied": b"%d" % (count - 1)}))
        store.close()
        assert held(data) == count


@pytest.mark.parametrize("pattern", ["MANIFEST-*", "CURRENT", "*.log"])
def test_a_file_deleted(data: Path, pattern: str):
    one(data, pattern).unlink()
    assert held_or_refused(data, at_least=BATCHES) == "refused"


def test_a_refusal_deletes_nothing(data: Path):
    (data / "CURRENT").unlink()
    before = {file.name: file.stat().st_size for file in data.glob("0*")}
    with pytest.raises(StoreCorrupt, match="CURRENT is missing"):
        held(data)
    assert {file.name: file.stat().st_size for file in data.glob("0*")} == before


def test_everything_deleted_but_the_mark(data: Path):
    for file in data.iterdir():
        if file.name != MARK:
            file.unlink()
    with pytest.raises(StoreCorrupt, match="201 batches were acknowledged"):
        held(data)


@pytest.mark.parametrize("marked", [True, False])
def test_a_log_file_deleted_is_noticed_by_the_mark(tables: Path, marked: bool):
    one(tables, "*.log").unlink()
    if marked:
        with pytest.raises(StoreCorrupt, match="at the end, after they were acknowledged"):
            held(tables)
    else:
        forget_mark(tables)
        assert held(tables) == 80, "nothing is left that could tell: docs name this"


def test_a_table_deleted(tables: Path):
    sorted(tables.glob("*.ldb"))[0].unlink()
    with pytest.raises(StoreCorrupt, match="missing file"):
        held(tables)


def test_two_tables_swapped(tables: Path):
    first, second = sorted(tables.glob("*.ldb"))
    first.rename(tables / "between")
    second.rename(first)
    (tables / "between").rename(second)
    held_or_refused(tables, at_least=120)


def test_an_old_log_put_in_the_place_of_a_new_one(tmp_path: Path):
    path = tmp_path / "data"
    fill(path, 20)
    old = one(path, "*.log").read_bytes()
    fill(path, 40)
    change(one(path, "*.log"), lambda _: old)
    with pytest.raises(StoreCorrupt, match="batches 22 to 61 are missing at the end"):
        held(path)


def test_a_hole_is_named(data: Path):
    """Were a log read over a hole after all, the numbers would tell."""
    db = plyvel.DB(str(data))
    db.delete(leveldb._number_key(50))
    db.delete(leveldb._number_key(51))
    db.close()
    with pytest.raises(StoreCorrupt, match="batches 50 to 51 are missing"):
        held(data)


def test_a_number_missing_at_the_lower_end_is_named(data: Path):
    db = plyvel.DB(str(data))
    db.delete(leveldb._number_key(1))
    db.close()
    with pytest.raises(StoreCorrupt, match="batch 1 is missing"):
        held(data)


def test_a_number_that_should_have_been_deleted_is_named(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leveldb, "WINDOW", 100)
    with pytest.raises(StoreCorrupt, match="batch 1 is still on record"):
        held(data)


def test_a_number_whose_record_was_altered_is_named(data: Path):
    db = plyvel.DB(str(data))
    db.put(leveldb._number_key(50), db.get(leveldb._number_key(51)))
    db.close()
    with pytest.raises(StoreCorrupt, match="batch 50 does not match its checksum"):
        held(data)


RECORD_CHANGES: dict[str, Callable[[dict[bytes, bytes]], None]] = {
    "a flipped value": lambda db: db.update({key(50): flip(3)(db[key(50)])}),
    "a flipped checksum": lambda db: db.update({key(50): flip(-1 % len(db[key(50)]))(db[key(50)])}),
    "a cut value": lambda db: db.update({key(50): db[key(50)][:-1]}),
    "no value": lambda db: db.update({key(50): b""}),
    "an extended value": lambda db: db.update({key(50): db[key(50)] + b"x"}),
    "the value of another": lambda db: db.update({key(50): db[key(51)]}),
    "another key": lambda db: db.update({b"f000050": db.pop(key(50))}),
    "an identity that is cut": lambda db: db.update({leveldb._IDENTITY: db[leveldb._IDENTITY][:-1]}),
    "an identity with another node": lambda db: db.update({leveldb._IDENTITY: flip(9)(db[leveldb._IDENTITY])}),
}


@pytest.mark.parametrize("name", RECORD_CHANGES)
def test_a_record_that_leveldb_itself_takes_for_whole_is_refused_by_its_key(data: Path, name: str):
    db = plyvel.DB(str(data))
    before = dict(db.iterator())
    after = dict(before)
    RECORD_CHANGES[name](after)
    for gone in before.keys() - after.keys():
        db.delete(gone)
    for changed, value in after.items():
        db.put(changed, value)
    db.close()
    with pytest.raises(StoreCorrupt, match="the record b'.*' does not match its checksum"):
        held(data)


def test_a_store_of_format_1_is_read_and_is_of_format_2_from_then_on(data: Path):
    db = plyvel.DB(str(data))
    for name, value in dict(db.iterator(start=b"\x01")).items():
        db.put(name, value[:-4])
    db.put(leveldb._IDENTITY, leveldb._IDENTITY_FIELDS.pack(1, 1))
    db.close()
    assert held(data) == BATCHES
    assert held(data) == BATCHES
    db = plyvel.DB(str(data))
    assert db.get(leveldb._IDENTITY)[:2] == leveldb._FORMAT_FIELD.pack(2)
    db.put(key(50), db.get(key(51)))
    db.close()
    with pytest.raises(StoreCorrupt, match="does not match its checksum"):
        held(data)


def test_the_numbers_are_kept_for_longer_than_the_logs_can_be(tmp_path: Path):
    """The arithmetic at WINDOW, against LevelDB itself: the smallest batches, not synced to save time."""
    db = plyvel.DB(str(tmp_path), create_if_missing=True, write_buffer_size=leveldb.WRITE_BUFFER_BYTES)
    count = 0
    while not list(tmp_path.glob("*.ldb")):
        count += 1
        batch = db.write_batch()
        batch.put(leveldb._number_key(count), leveldb._number_value(count, {b"a": None}))
        batch.delete(leveldb._number_key(0))
        batch.delete(b"a")
        batch.write()
    db.close()
    assert 2 * count < leveldb.WINDOW


WRITING_UNTIL_KILLED = """
import asyncio, os, sys
from pathlib import Path
from lockd.persistence.leveldb import LevelStore

async def write(store):
    for number in range(int(sys.argv[2]), 1_000_000):
        await store.write({b"e%06d" % number: os.urandom(9000), b"applied": b"%d" % number})
        print(number, flush=True)

asyncio.run(write(LevelStore.open(Path(sys.argv[1]), node_id=1)))
"""


def test_a_killed_process_has_lost_nothing_that_it_acknowledged(tmp_path: Path):
    """Long enough for the log to be changed several times; at most the batch under way is there as well."""
    begun = 0
    for count in (1, 90, 250):
        command = [sys.executable, "-c", WRITING_UNTIL_KILLED, str(tmp_path), str(begun)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(count)]
            process.kill()
            lines += process.stdout.readlines()
        acknowledged = int(lines[-1]) + 1
        begun = held(tmp_path)
        assert begun in (acknowledged, acknowledged + 1)
