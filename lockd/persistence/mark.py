"""How far a store had acknowledged, kept beside LevelDB, and the lock on the directory.

A log that was cut off at its end looks to LevelDB, and to the search in `wal`, like one that never got further. So the
number of each acknowledged batch is put into a small file after the batch is on disk. The file is not synced: that
would double the price of a write. After a killed process it is exact; after a power failure it may be some seconds old
or unreadable, and then it proves less, but it never claims a batch that was not on disk before.
"""

import fcntl
import os
import struct
from pathlib import Path

import google_crc32c

from lockd.persistence.errors import StoreFailed, StoreInUse

FILE_NAME = "ACKNOWLEDGED"
_CONTENT = struct.Struct(">QI")


class Mark:
    """Held by one store at a time, also within one process. `hold` raises StoreInUse and StoreFailed."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def hold(cls, path: Path) -> "Mark":
        try:
            descriptor = os.open(path / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreFailed(path / FILE_NAME, error.strerror or str(error)) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StoreInUse(path) from error
        except OSError as error:
            os.close(descriptor)
            raise StoreFailed(path / FILE_NAME, error.strerror or str(error)) from error
        return cls(path, descriptor)

    def read(self) -> int:
        """The last acknowledged batch's number; 0 where that is unknown."""
        try:
            content = os.pread(self._descriptor, _CONTENT.size, 0)
        except OSError as error:
            raise StoreFailed(self._path / FILE_NAME, error.strerror or str(error)) from error
        if len(content) < _CONTENT.size:
            return 0
        number, checksum = _CONTENT.unpack(content)
        return int(number) if checksum == google_crc32c.value(content[:8]) else 0

    def write(self, number: int) -> None:
        """Costs a few microseconds: nothing waits for the disk."""
        encoded = number.to_bytes(8, "big")
        try:
            os.pwrite(self._descriptor, _CONTENT.pack(number, google_crc32c.value(encoded)), 0)
        except OSError as error:
            raise StoreFailed(self._path / FILE_NAME, error.strerror or str(error)) from error

    def release(self) -> None:
        """Ends the lock."""
        os.close(self._descriptor)
