"""A program on a terminal of its own."""

import os
import pty
import select
import signal
import time
from collections.abc import Mapping, Sequence

from tests.eventually import eventually

WITHIN_S = 30.0


class Terminal:
    """It has to be left: that ends what runs there."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._fd: int | None  # None: hung up
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], list(command), dict(env))
        self.text = ""
        self._read_to = 0

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self._fd is not None:
            os.close(self._fd)

    def type(self, text: str) -> None:
        os.write(self._end(), text.encode())

    def sees(self, text: str) -> None:
        """Waits until it stands there, after what was seen before."""
        deadline = time.monotonic() + WITHIN_S
        while text not in self.text[self._read_to :]:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is not in {self.text[self._read_to :]!r}"
            if select.select([self._end()], [], [], left)[0]:
                self.text += os.read(self._end(), 4096).decode()
        self._read_to = self.text.index(text, self._read_to) + len(text)

    def hang_up(self) -> None:
        """As a connection that breaks, or a window that is closed: once it returns, the terminal has gone."""
        os.close(self._end())
        self._fd = None

    def ends_with(self) -> int:
        """Its exit code."""
        deadline = time.monotonic() + WITHIN_S
        while self._fd is not None and time.monotonic() < deadline:
            if select.select([self._fd], [], [], 0.05)[0]:  # so that it can write
                try:
                    self.text += os.read(self._fd, 4096).decode()
                except OSError:  # nobody has the other end any more
                    break
        eventually(lambda: os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), WITHIN_S)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def group(self) -> int:
        """That has the terminal: at first that of the program, which is `pid`."""
        return os.tcgetpgrp(self._end())

    def _end(self) -> int:
        assert self._fd is not None, "it was hung up"
        return self._fd
