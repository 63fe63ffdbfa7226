"""What every shelf does, the one on disk and its twin."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from lockd.persistence.errors import StoreFailed
from lockd.persistence.memory import MemoryShelf
from lockd.persistence.shelf import DirectoryShelf
from lockd.raft.ports import Shelf


@pytest.fixture(params=["directory", "memory"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    return DirectoryShelf(tmp_path / "snapshots") if request.param == "directory" else MemoryShelf()


def whole(shelf: Shelf, name: str) -> bytes:
    return shelf.read(name, 0, shelf.size(name))


def test_a_new_shelf_is_empty(shelf: Shelf):
    assert shelf.names() == []
    assert shelf.size("snapshot-1") == 0


def test_a_file_is_put_in_chunks_and_read_in_pieces(shelf: Shelf):
    shelf.put("snapshot-1", [b"abc", b"", b"def"])
    assert shelf.names() == ["snapshot-1"]
    assert shelf.size("snapshot-1") == 6
    assert shelf.read("snapshot-1", 2, 3) == b"cde"
    assert shelf.read("snapshot-1", 4, 100) == b"ef"
    assert shelf.read("snapshot-1", 6, 100) == b""


def test_put_replaces_and_remove_removes(shelf: Shelf):
    shelf.put("b", [b"old"])
    shelf.put("b", [b"new"])
    shelf.put("a", [])
    assert whole(shelf, "b") == b"new"
    assert shelf.names() == ["a", "b"]
    shelf.remove("b")
    shelf.remove("b")
    assert shelf.names() == ["a"]


def test_a_put_whose_source_fails_leaves_what_was_there(shelf: Shelf):
    def breaking() -> Iterator[bytes]:
        yield b"new"
        raise ConnectionError

    shelf.put("a", [b"old"])
    for name in ("a", "b"):
        with pytest.raises(ConnectionError):
            shelf.put(name, breaking())
    assert shelf.names() == ["a"]
    assert whole(shelf, "a") == b"old"


def test_append_continues_repeats_and_starts_over(shelf: Shelf):
    shelf.append("a", 0, b"abc")
    shelf.append("a", 3, b"def")
    assert whole(shelf, "a") == b"abcdef"
    shelf.append("a", 2, b"X")
    assert whole(shelf, "a") == b"abX"
    shelf.append("a", 0, b"")
    assert whole(shelf, "a") == b""


@pytest.mark.parametrize("offset", [-1, 4])
def test_append_leaves_no_hole(shelf: Shelf, offset: int):
    shelf.append("a", 0, b"abc")
    with pytest.raises(ValueError, match="3 bytes"):
        shelf.append("a", offset, b"x")
    assert whole(shelf, "a") == b"abc"


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "ä", "a.part", "a\n"])
def test_other_names_are_refused(shelf: Shelf, name: str):
    for call in (
        lambda: shelf.put(name, []),
        lambda: shelf.size(name),
        lambda: shelf.read(name, 0, 1),
        lambda: shelf.append(name, 0, b""),
        lambda: shelf.remove(name),
    ):
        with pytest.raises(ValueError, match="name"):
            call()
    assert shelf.names() == []


def test_an_absent_file_is_not_read_as_an_empty_one(shelf: Shelf):
    with pytest.raises(StoreFailed, match="No such file"):
        shelf.read("a", 0, 1)


# The one on disk alone:


def test_files_stay_and_what_was_half_put_goes(tmp_path: Path):
    DirectoryShelf(tmp_path).put("a", [b"abc"])
    (tmp_path / "b.part").write_bytes(b"half")
    again = DirectoryShelf(tmp_path)
    assert again.names() == ["a"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a"]


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path: Path):
    shelf = DirectoryShelf(tmp_path)
    seen: list[list[str]] = []

    def looking() -> Iterator[bytes]:
        yield b"abc"
        seen.append(shelf.names())

    shelf.put("a", looking())
    assert seen == [[]]
    assert shelf.names() == ["a"]


def test_a_refusal_of_the_system_is_translated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    shelf = DirectoryShelf(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFailed, match="No space left on device"):
        shelf.put("a", [b"abc"])
    assert list(tmp_path.iterdir()) == []


def test_a_shelf_in_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreFailed):
        DirectoryShelf(tmp_path / "file")
