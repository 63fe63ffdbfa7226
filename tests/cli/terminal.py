"""A program on a terminal of its own."""

import os
import pty
import select
import signal
import time
from collections.abc import Mapping, Sequence

WITHIN_S = 30.0


class Terminal:
    """It has to be left: that ends what runs there."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
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
        os.close(self._fd)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def sees(self, text: str) -> None:
        """Waits until it stands there, after what was seen before."""
        deadline = time.monotonic() + WITHIN_S
        while text not in self.text[self._read_to :]:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is not in {self.text[self._read_to :]!r}"
            if select.select([self._fd], [], [], left)[0]:
                self.text += os.read(self._fd, 4096).decode()
        self._read_to = self.text.index(text, self._read_to) + len(text)

    def ends_with(self) -> int:
        """Its exit code."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            if select.select([self._fd], [], [], 0.05)[0]:  # so that it can write
                try:
                    self.text += os.read(self._fd, 4096).decode()
                except OSError:  # nobody has the other end any more
                    break
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)
