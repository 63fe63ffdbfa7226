"""A fence around a file or a folder, for processes that share a file system with working flock(2).

    fence = FileFence("/srv/report.csv")
    with client.lock("nightly-report", ttl=30) as lock:
        with fence.write(lock.token) as path:
            path.write_text(...)

Beside `report.csv` it keeps `report.csv.fence`, the highest exclusive token, and `report.csv.fence-lock`, which is
locked with flock(2) from the check to the end of the `with`: no token is checked while another's holder writes. So a
writer that is paused inside of it keeps the others out, on this machine, until it goes on or ends.

The mark is on the disk before the body runs, and is replaced as a whole. One that cannot be read is refused
(DamagedMark): to begin at 0 would let a stale writer in. Delete either file only while nobody writes.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lockd_client.errors import InvalidArgument
from lockd_client.fence.errors import FenceBusy
from lockd_client.fence.mark_file import MarkFile
from lockd_client.fence.values import checked_name, checked_token, refuse_below

POLL_S = 0.01  # between two looks at a flock, which itself knows no bound


class FileFence:
    """Who writes to this file, or reads it, shows a token first. Thread-safe; not re-entrant.

    All who use the file have to come by the same path: of symbolic links, those among its folders are followed, one in
    the last place is not, as it may itself be what is replaced. Hard links are strangers to each other.
    """

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None) -> None:
        """path: need not exist, its folder must. name: what errors call it, the path by default.

        Raises InvalidArgument.
        """
        given = Path(os.path.abspath(path))
        if not given.name:
            raise InvalidArgument(f"path is {os.fspath(path)!r}; a mark needs a folder beside it")
        self.path = given.parent.resolve() / given.name
        self._name = str(self.path) if name is None else name
        self._mark = MarkFile(self.path.with_name(self.path.name + ".fence"))
        self._lock = self.path.with_name(self.path.name + ".fence-lock")

    @contextmanager
    def write(self, token: int, *, wait: float | None = None) -> Iterator[Path]:
        """For the holder of an exclusive lock: it writes inside of the `with`, alone. token: the lock's. wait: seconds
        for those who are inside, None: as long as it takes.

        Raises StaleToken, DamagedMark, FenceBusy, InvalidArgument, OSError.
        """
        checked_token(token)
        with self._locked(fcntl.LOCK_EX, wait):
            highest = self._mark.highest()
            refuse_below(highest, self._name, token)
            if token > highest:
                self._mark.replace(token)
            yield self.path

    @contextmanager
    def read(self, token: int, *, wait: float | None = None) -> Iterator[Path]:
        """For the holder of a shared lock: it reads inside of the `with`, beside other readers. Its token leaves no
        mark. The rest as write().
        """
        checked_token(token)
        with self._locked(fcntl.LOCK_SH, wait):
            refuse_below(self._mark.highest(), self._name, token)
            yield self.path

    def check(self, token: int, *, shared: bool = False, wait: float | None = None) -> None:
        """As write(), or read(), with nothing inside: what is done after it is not covered."""
        with self.read(token, wait=wait) if shared else self.write(token, wait=wait):
            return

    @contextmanager
    def _locked(self, mode: int, wait: float | None) -> Iterator[None]:
        access = os.O_RDWR if mode == fcntl.LOCK_EX else os.O_RDONLY  # NFS wants a descriptor that may write
        descriptor = os.open(self._lock, access | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        process = os.getpid()
        try:
            self._flock(descriptor, mode, wait)
            yield
        finally:
            if os.getpid() == process:  # a child that was forked inside has the descriptor too: it must not unlock,
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # and as long as it lives, closing alone would not
            os.close(descriptor)

    def _flock(self, descriptor: int, mode: int, wait: float | None) -> None:
        if wait is None:
            fcntl.flock(descriptor, mode)
            return
        end = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    raise FenceBusy(f"{self.path} after {wait} s") from error
                time.sleep(POLL_S)
            else:
                return


class FileMarks:
    """Marks for middleware, one file a lock, in a folder that the processes of a service share."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """folder: it must exist."""
        self._folder = Path(folder)

    def check(self, name: str, token: int, *, shared: bool = False) -> None:
        """Raises StaleToken, DamagedMark, InvalidArgument, OSError."""
        file = hashlib.sha256(checked_name(name).encode()).hexdigest()  # a name may be longer than a file's may be
        FileFence(self._folder / file, name=name).check(token, shared=shared)
