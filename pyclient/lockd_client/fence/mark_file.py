"""A token in a file: replaced as a whole, on the disk before that returns, and never read wrong."""

import os
import re
import zlib
from pathlib import Path

from lockd_client.fence.errors import DamagedMark

_MARK = re.compile(rb"lockd-fence 1 ([0-9]{1,16}) ([0-9a-f]{8})\n")


class MarkFile:
    """The highest token that was seen. Whoever uses it keeps others from replacing it at the same time."""

    def __init__(self, path: Path) -> None:
        """path: what is replaced is first written beside it, under this name and `-new`."""
        self._path, self._new = path, path.with_name(path.name + "-new")

    def highest(self) -> int:
        """0: none was seen. Raises DamagedMark, OSError."""
        try:
            found = _MARK.fullmatch(self._path.read_bytes())
        except FileNotFoundError:
            return 0
        if found is None or found[0] != _line(int(found[1])):
            raise DamagedMark(self._path)
        return int(found[1])

    def replace(self, token: int) -> None:
        """Raises OSError; the mark is then the former one or the new one."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(self._new, flags, 0o666), "wb") as file:
            file.write(_line(token))
            file.flush()
            os.fsync(file.fileno())
        os.replace(self._new, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # the name, too, is on the disk
        finally:
            os.close(folder)


def _line(token: int) -> bytes:
    return b"lockd-fence 1 %d %08x\n" % (token, zlib.crc32(b"%d" % token))
