"""Entries of type file, and InterProcessLockNoWritePermission: which file is locked for which path."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fasteners  # type: ignore[import-untyped]  # fasteners ships no types
import pytest

from lockd_client import NotOwned
from lockd_client.distributed_lock import InterProcessLockNoWritePermission
from tests.dropins.distributed_lock_user import User
from tests.eventually import eventually

REFUSED_S = 0.3
LET_IN_S = 30.0
NOBODY = 65534


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """Another process, which uses files."""
    config = tmp_path_factory.mktemp("other") / "locking.yml"
    config.write_text("[{type: file}]")
    with User({"ISF_DISTRIBUTED_LOCK_CONFIG": str(config)}) as user:
        yield user


@pytest.fixture
def folder() -> Iterator[Path]:
    """In which everybody may look."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def files_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def a_file(path: Path) -> None:
    path.write_text("data")


def nothing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize(("make", "beside"), [(a_file, ["data"]), (Path.mkdir, ["data"]), (nothing, [])])
def test_what_is_locked_is_a_file_beside_the_path(
    folder: Path, other: User, make: Callable[[Path], object], beside: list[str]
) -> None:
    path = folder / "data"
    make(path)
    with InterProcessLockNoWritePermission(path):
        assert files_in(folder) == [".data.lock", *beside]
        assert other.acquire(str(path), timeout=REFUSED_S) is False
    assert other.acquire(str(path), timeout=LET_IN_S) is True
    assert files_in(folder) == [".data.lock", *beside]
    assert not path.is_dir() or files_in(path) == []


def test_a_path_that_is_made_replaced_and_removed_while_it_is_locked_stays_locked(folder: Path, other: User) -> None:
    path = folder / "results"
    with InterProcessLockNoWritePermission(path):
        path.write_text("made by its holder")
        assert other.acquire(str(path), timeout=REFUSED_S) is False
        path.unlink()
        path.mkdir()
        assert other.acquire(str(path), timeout=REFUSED_S) is False
        path.rmdir()
        assert other.acquire(str(path), timeout=REFUSED_S) is False


def test_a_holder_may_open_and_close_what_it_has_locked(folder: Path, other: User) -> None:
    path = folder / "data"
    with InterProcessLockNoWritePermission(path):
        for _ in range(2):
            with path.open("a") as file:
                file.write("more")
        assert other.acquire(str(path), timeout=REFUSED_S) is False


def test_the_directories_of_a_path_are_made(folder: Path, other: User) -> None:
    path = folder / "new" / "newer" / "data"
    with InterProcessLockNoWritePermission(path):
        assert files_in(path.parent) == [".data.lock"]
        assert other.acquire(str(path), timeout=REFUSED_S) is False


def test_ways_to_write_one_path(folder: Path, other: User, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "real" / "inner").mkdir(parents=True)
    (folder / "link").symlink_to("real")
    (folder / "deep").symlink_to("real/inner")
    monkeypatch.chdir(folder / "real")
    with InterProcessLockNoWritePermission("data"):
        for way in ("real/data", "real/data/", "link/data", "real/./data", "deep/../data", "real/inner/../data"):
            assert other.acquire(f"{folder}/{way}", timeout=0) is False, way
    with InterProcessLockNoWritePermission("."):
        assert other.acquire(f"{folder}/real", timeout=0) is False
        assert other.acquire(f"{folder}/real/inner/..", timeout=0) is False


def test_a_link_is_not_what_it_points_to(folder: Path, other: User) -> None:
    """What is protected by the name of a link may be the link."""
    (folder / "current").symlink_to("nightly-1")
    with InterProcessLockNoWritePermission(folder / "current"):
        assert other.acquire(str(folder / "current"), timeout=0) is False
        assert other.acquire(str(folder / "nightly-1"), timeout=0) is True


@pytest.mark.parametrize("make", [a_file, Path.mkdir])
def test_what_may_not_be_written_to_is_not_locked(folder: Path, make: Callable[[Path], object]) -> None:
    path = folder / "read-only"
    make(path)
    path.chmod(0o555)
    with without_privileges():
        first, second = InterProcessLockNoWritePermission(path), InterProcessLockNoWritePermission(path)
        assert (first.acquire(), second.acquire()) == (True, True)
        second.release()
        with second:
            first.release()
    assert files_in(folder) == ["read-only"]


def test_what_may_be_written_to_is_locked_whoever_owns_it(folder: Path) -> None:
    folder.chmod(0o777)
    path = folder / "data"
    a_file(path)
    path.chmod(0o666)
    with without_privileges(), InterProcessLockNoWritePermission(path):
        assert InterProcessLockNoWritePermission(path).acquire(timeout=0) is False


def test_what_is_not_there_and_may_not_be_made_is_an_error_and_not_unlocked(folder: Path) -> None:
    folder.chmod(0o555)
    lock = InterProcessLockNoWritePermission(folder / "new")
    with without_privileges(), pytest.raises(PermissionError, match=r"\.new\.lock"):
        lock.acquire()
    with pytest.raises(NotOwned):
        lock.release()


@pytest.mark.parametrize(
    ("of_folder", "of_path", "of_lock"), [(0o770, None, 0o660), (0o755, None, 0o644), (0o755, 0o664, 0o664)]
)
def test_whoever_may_write_to_a_path_or_its_directory_may_lock_it(
    folder: Path, of_folder: int, of_path: int | None, of_lock: int
) -> None:
    folder.chmod(of_folder)
    if of_path is not None:
        a_file(folder / "data")
        (folder / "data").chmod(of_path)
    with InterProcessLockNoWritePermission(folder / "data"):
        pass
    assert stat.S_IMODE((folder / ".data.lock").stat().st_mode) == of_lock


def test_lock_files_may_be_tidied_up_while_nobody_uses_them(folder: Path, other: User) -> None:
    path = str(folder / "data")
    assert other.acquire(path) is True
    assert other.release(path) == "released"
    (folder / ".data.lock").unlink()
    with InterProcessLockNoWritePermission(path):
        assert other.acquire(path, timeout=REFUSED_S) is False


def test_a_lock_file_that_is_tidied_up_between_its_opening_and_its_locking_is_not_taken(
    folder: Path, other: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever came next would have made another."""
    path = folder / "data"
    removed: list[str] = []

    class Slow(fasteners.InterProcessReaderWriterLock):  # type: ignore[misc]  # fasteners ships no types
        def acquire_write_lock(self, **arguments: Any) -> bool:
            acquired: bool = super().acquire_write_lock(**arguments)
            if not removed:
                removed.append(os.fsdecode(self.path))
                os.unlink(self.path)
            return acquired

    monkeypatch.setattr(fasteners, "InterProcessReaderWriterLock", Slow)
    with InterProcessLockNoWritePermission(path):
        assert removed == [str(folder / ".data.lock")]
        assert other.acquire(str(path), timeout=REFUSED_S) is False


def test_the_content_of_a_file_that_is_there_already_is_left_alone(folder: Path) -> None:
    (folder / ".data.lock").write_text("kept")
    with InterProcessLockNoWritePermission(folder / "data"):
        pass
    assert (folder / ".data.lock").read_text() == "kept"


def test_shared_by_one_process_and_by_many(folder: Path, other: User) -> None:
    path = str(folder / "data")
    reader = InterProcessLockNoWritePermission(path, shared=True)
    with reader, reader, InterProcessLockNoWritePermission(path, shared=True):
        assert other.acquire(path, "read", timeout=0) is True
        assert InterProcessLockNoWritePermission(path).acquire(timeout=0) is False
    assert InterProcessLockNoWritePermission(path).acquire(timeout=0) is False
    assert other.release(path, "read") == "released"
    with InterProcessLockNoWritePermission(path):
        assert other.acquire(path, "read", timeout=0) is False


def test_a_lock_whose_object_is_forgotten_stays_held(folder: Path, other: User) -> None:
    path = str(folder / "data")
    assert other.call("acquire_file_and_forget", path=path) is True
    assert InterProcessLockNoWritePermission(path).acquire(timeout=REFUSED_S) is False


def test_threads_wait_for_each_other_on_one_object(folder: Path) -> None:
    lock = InterProcessLockNoWritePermission(folder / "data")
    lock.acquire()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(lock.acquire, timeout=LET_IN_S)
        eventually(waiting.running, LET_IN_S)
        lock.release()
        assert waiting.result() is True
    lock.release()
    with pytest.raises(NotOwned):
        lock.release()
