"""Snapshot files: too large for the store, named, and whole or absent."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lockd.persistence.errors import StoreFailed

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_PART = ".part"


class DirectoryShelf:
    """Files in one directory. Every method blocks and raises StoreFailed where the system refuses.

    A name has letters, digits, '.', '_' and '-', does not begin with '.' and does not end in '.part'; ValueError
    otherwise. Files that `put` was still writing when the process died are removed here.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _translated(path):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in path.glob(f"*{_PART}"):
                part.unlink(missing_ok=True)

    def put(self, name: str, chunks: Iterable[bytes]) -> None:
        """A whole file, on disk under its name or not at all; whatever had the name before stays until then.

        What chunks raises passes through.
        """
        final = self._file(name)
        part = self._path / (name + _PART)
        try:
            with _opened(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
                for chunk in chunks:
                    _write(part, descriptor, chunk)
                with _translated(part):
                    os.fsync(descriptor)
            with _translated(final):
                part.replace(final)
                sync_directory(self._path)
        except BaseException:
            with suppress(OSError):  # the reason that is under way matters more; the next start tries again
                part.unlink(missing_ok=True)
            raise

    def size(self, name: str) -> int:
        """Bytes, 0 where there is no such file."""
        file = self._file(name)
        with _translated(file):
            return file.stat().st_size if file.exists() else 0

    def read(self, name: str, offset: int, size: int) -> bytes:
        """At most size bytes from offset; empty at the end. StoreFailed where there is no such file."""
        file = self._file(name)
        with _opened(file, os.O_RDONLY) as descriptor, _translated(file):
            return os.pread(descriptor, size, offset)

    def append(self, name: str, offset: int, data: bytes) -> None:
        """Cuts the file to offset bytes and writes data there. Makes the file if offset is 0. Not synced.

        ValueError for an offset beyond the file's end: nobody wants a file with a hole.
        """
        append_checked(name, offset, self.size(name))
        file = self._file(name)
        with _opened(file, os.O_WRONLY | os.O_CREAT) as descriptor:
            with _translated(file):
                os.ftruncate(descriptor, offset)
                os.lseek(descriptor, offset, os.SEEK_SET)
            _write(file, descriptor, data)

    def names(self) -> list[str]:
        """Sorted; without what put is still writing."""
        with _translated(self._path):
            return sorted(file.name for file in self._path.iterdir() if _well_named(file.name) and file.is_file())

    def remove(self, name: str) -> None:
        """Gone afterwards, whether or not it was there."""
        file = self._file(name)
        with _translated(file):
            file.unlink(missing_ok=True)
            sync_directory(self._path)

    def _file(self, name: str) -> Path:
        return self._path / name_checked(name)


def name_checked(name: str) -> str:
    """ValueError for a name that no shelf takes."""
    if not _well_named(name):
        raise ValueError(f"file name {name!r}: letters, digits, '.', '_', '-'; no '.' in front, no '.part' at the end")
    return name


def append_checked(name: str, offset: int, size: int) -> None:
    """ValueError for an offset outside a file of size bytes."""
    if not 0 <= offset <= size:
        raise ValueError(f"append at {offset} to {name_checked(name)}, which has {size} bytes")


def no_such_file(name: str) -> StoreFailed:
    """What reading an absent file raises, wherever the shelf is."""
    return StoreFailed(Path(name), "No such file or directory")


def sync_directory(path: Path) -> None:
    """Puts a directory's names on disk. OSError where that fails."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _well_named(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and not name.endswith(_PART)


def _write(file: Path, descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    with _translated(file):
        while rest:
            rest = rest[os.write(descriptor, rest) :]


@contextmanager
def _opened(file: Path, flags: int) -> Iterator[int]:
    with _translated(file):
        descriptor = os.open(file, flags | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreFailed(file, error.strerror or str(error)) from error
