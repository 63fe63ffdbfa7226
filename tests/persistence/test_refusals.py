"""Directories that a store does not open, and writes that the system refuses."""

import asyncio
import os
import resource
import subprocess
import sys
from pathlib import Path

import plyvel
import pytest

from lockd.persistence import leveldb
from lockd.persistence.errors import StoreCorrupt, StoreFailed, StoreForeign, StoreInUse, StoreTooNew
from lockd.persistence.leveldb import LevelStore
from lockd.persistence.mark import Mark


def make(path: Path, node_id: int = 1) -> None:
    store = LevelStore.open(path, node_id=node_id)
    asyncio.run(store.write({b"a": b"1"}))
    store.close()


def contents(path: Path) -> dict[bytes, bytes]:
    store = LevelStore.open(path, node_id=1)
    records = dict(store.scan(b""))
    store.close()
    return records


def put_identity(path: Path, identity: bytes) -> None:
    db = plyvel.DB(str(path))
    db.put(leveldb._IDENTITY, identity)
    db.close()


def test_a_directory_has_one_store_at_a_time(tmp_path: Path):
    store = LevelStore.open(tmp_path, node_id=1)
    with pytest.raises(StoreInUse, match=str(tmp_path)):
        LevelStore.open(tmp_path, node_id=1)
    asyncio.run(store.write({b"a": b"1"}))
    store.close()
    assert contents(tmp_path) == {b"a": b"1"}


def test_a_directory_is_not_shared_between_processes(tmp_path: Path):
    store = LevelStore.open(tmp_path, node_id=1)
    program = (
        "import sys; from pathlib import Path; from lockd.persistence.leveldb import LevelStore\n"
        "LevelStore.open(Path(sys.argv[1]), node_id=1)"
    )
    other = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    store.close()
    assert "StoreInUse" in other.stderr


def test_a_program_that_uses_leveldb_directly_is_noticed_too(tmp_path: Path):
    make(tmp_path)
    db = plyvel.DB(str(tmp_path))
    with pytest.raises(StoreInUse):
        contents(tmp_path)
    db.close()
    assert contents(tmp_path) == {b"a": b"1"}


def test_a_directory_of_a_later_lockd_is_refused_by_name(tmp_path: Path):
    make(tmp_path)
    put_identity(tmp_path, (7).to_bytes(2, "big") + b"whatever format 7 has here")
    with pytest.raises(StoreTooNew, match=f"{tmp_path} was written in format 7.*up to 2"):
        contents(tmp_path)


def test_a_directory_of_another_node_is_refused_with_both_ids(tmp_path: Path):
    make(tmp_path, node_id=3)
    with pytest.raises(StoreForeign, match=r"belongs to node 3; this is node 1\."):
        contents(tmp_path)


@pytest.mark.parametrize("identity", [b"", b"\x00\x00", b"\x00\x01", b"\x00\x01" + bytes(9)])
def test_an_identity_that_makes_no_sense_is_damage(tmp_path: Path, identity: bytes):
    make(tmp_path)
    put_identity(tmp_path, identity)
    with pytest.raises(StoreCorrupt):
        contents(tmp_path)


def test_a_leveldb_of_something_else_is_not_taken_over(tmp_path: Path):
    db = plyvel.DB(str(tmp_path), create_if_missing=True)
    db.put(b"theirs", b"1")
    db.close()
    with pytest.raises(StoreCorrupt, match="which node"):
        contents(tmp_path)


def test_a_directory_that_cannot_be_made_is_told_with_the_reason(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(StoreFailed, match="Not a directory"):
            LevelStore.open(path, node_id=1)


def test_a_refused_directory_is_let_go(tmp_path: Path):
    make(tmp_path, node_id=3)
    with pytest.raises(StoreForeign):
        LevelStore.open(tmp_path, node_id=1)
    LevelStore.open(tmp_path, node_id=3).close()


FILLING_THE_DISK = """
import asyncio, resource, sys
from pathlib import Path
from lockd.persistence.errors import StoreFailed
from lockd.persistence.leveldb import LevelStore

async def fill(store):
    for number in range(1000):
        try:
            await store.write({b"%06d" % number: bytes(5000)})
        except StoreFailed as error:
            print(number, flush=True)
            print(error, flush=True)
            return

async def retry(store):
    try:
        await store.write({b"small": b""})
    except StoreFailed:
        print("refused", flush=True)

store = LevelStore.open(Path(sys.argv[1]), node_id=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
asyncio.run(fill(store))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
asyncio.run(retry(store))
store.close()
"""


def test_a_write_that_fails_costs_nothing_that_was_acknowledged(tmp_path: Path):
    """After it nothing more is written, even if there is room again: the log would not be readable behind it."""
    process = subprocess.run(
        [sys.executable, "-c", FILLING_THE_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    failed_at, message, retried = process.stdout.splitlines()
    assert "File too large" in message
    assert retried == "refused"
    assert list(contents(tmp_path)) == [b"%06d" % number for number in range(int(failed_at))]
    assert int(failed_at) > 10


def test_why_writing_ends_plain_leveldb_loses_what_it_acknowledges_after_a_failed_write(tmp_path: Path):
    db = plyvel.DB(str(tmp_path), create_if_missing=True)
    db.put(b"before", bytes(5000), sync=True)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    try:
        with pytest.raises(plyvel.IOError):
            db.put(b"too large", os.urandom(200_000), sync=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    db.put(b"acknowledged", b"1", sync=True)
    db.close()
    db = plyvel.DB(str(tmp_path))
    assert db.get(b"acknowledged") is None
    db.close()


def test_a_mark_that_cannot_be_read_proves_nothing(tmp_path: Path):
    mark = Mark.hold(tmp_path)
    assert mark.read() == 0
    mark.write(7)
    assert mark.read() == 7
    mark.release()
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\xff" + file.read_bytes()[1:])
    again = Mark.hold(tmp_path)
    assert again.read() == 0
    again.release()


def test_a_mark_that_cannot_be_written_ends_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    store = LevelStore.open(tmp_path, node_id=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(StoreFailed, match="Input/output error"):
            asyncio.run(store.write({b"a": b"1"}))
    with pytest.raises(StoreFailed, match="Input/output error"):
        asyncio.run(store.write({b"b": b"2"}))
    store.close()
    assert contents(tmp_path) == {b"a": b"1"}, "it may have happened, and here it did"
