"""Where a process that does not end hangs: its Python stacks, written on a signal to a file of its own."""

import contextlib
import faulthandler
import os
import signal
import sys
import tempfile
from pathlib import Path

import psutil

from tests.eventually import eventually

WITHIN_S = 5.0
ASKED = signal.SIGTRAP  # which no program here handles
FILE = "LOCKD_TEST_STACKS"
MAIN = "from tests.cli.stacks import main; main()"
"""What such a process runs in the place of `lockd`."""


def main() -> None:
    if FILE in os.environ:  # the command of `lockd run` does not get it
        faulthandler.register(ASKED, open(os.environ.pop(FILE), "w"))  # noqa: SIM115  # open to its end
    from lockd.cli import main as lockd

    lockd()


class Stacks:
    """environment: for one process. To be closed."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile("r", suffix=".stacks")  # noqa: SIM115  # closed with this object
        self.environment = {FILE: self._file.name}

    def close(self) -> None:
        self._file.close()

    def of(self, process: int) -> str:
        """And what the system knows of it and of its children. If it is not in `main()` yet, this ends it."""
        system = "\n".join([_tasks(process), *map(str, psutil.Process(process).children(recursive=True))])
        os.kill(process, ASKED)
        with contextlib.suppress(AssertionError):  # there are none
            eventually(lambda: self._text() and self._text() == self._text(), WITHIN_S)
        return f"{self._text()}\n{system}"

    def _text(self) -> str:
        return Path(self._file.name).read_text()


def _tasks(process: int) -> str:
    """What each of its threads waits for in the kernel."""
    return "\n".join(
        " ".join([task.name, *(_line(task / each) for each in ("comm", "wchan", "syscall"))])
        for task in sorted(Path(f"/proc/{process}/task").glob("*"))
    )


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return "?"


def who_has(fd: int) -> list[str]:
    """Other processes that have this pipe open, and so keep its reader waiting."""
    found: list[str] = []
    if sys.platform != "linux":
        return found
    pipe = os.readlink(f"/proc/self/fd/{fd}")
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            ends = [os.readlink(each) for each in Path(f"/proc/{process.pid}/fd").glob("*")]
            if pipe in ends and process.pid != os.getpid():
                found.append(f"{process} {process.cmdline()}")
    return found
