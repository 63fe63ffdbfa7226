"""Files of keys and secrets: read where others may not, written whole or not at all."""

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_FOLDER_MODE = 0o700
_OTHERS = stat.S_IROTH | stat.S_IWOTH
_GROUP = stat.S_IRGRP | stat.S_IWGRP


class NotPrivate(Exception):
    """`PATH is open to every user (mode 0644); say: chmod 600 PATH`"""


class NewFile(NamedTuple):
    path: Path
    content: bytes
    mode: int = 0o600


def read_private(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Its content, and warnings. Raises NotPrivate where every user may read or write it, and OSError."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & _OTHERS:
            raise NotPrivate(f"{path} is open to every user (mode {mode:04o}); say: chmod 600 {path}")
        warnings = (f"{path} is open to its group (mode {mode:04o})",) if mode & _GROUP else ()
        return file.read(), warnings


def write_new(*files: NewFile) -> None:
    """All of a file appears at once, and all of the files or none. Raises FileExistsError, and other OSError.

    The first to write a file wins. Folders that are missing are made; the last one is open to this user alone.
    """
    made: list[Path] = []
    with _written_aside(files) as aside:
        try:
            for (path, _, _), name in zip(files, aside, strict=True):
                os.link(name, path)
                made.append(path)
        except OSError as error:
            for each in made:
                each.unlink()
            raise OSError(error.errno, error.strerror, str(path)) from error  # without the temporary file's name


def replace(*files: NewFile) -> None:
    """As write_new, but what is there gives way, file by file in their order."""
    with _written_aside(files) as aside:
        for (path, _, _), name in zip(files, aside, strict=True):
            os.replace(name, path)


@contextmanager
def _written_aside(files: Sequence[NewFile]) -> Iterator[list[str]]:
    """Names of temporary files, each in the folder of its file."""
    names: list[str] = []
    try:
        for path, content, mode in files:
            path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
            names.append(name)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(handle, mode)
                os.fsync(handle)
        yield names
    finally:
        for name in names:
            Path(name).unlink(missing_ok=True)
