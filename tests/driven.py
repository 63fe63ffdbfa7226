"""Processes that are driven by JSON lines: {"do": ..., arguments} in, and for each an answer out."""

import json
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent


class Driven:
    """The other end of the pipes. Leaving the `with` kills the process."""

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, within: float | None = None
    ) -> None:
        """environment: this process's unless given. within: seconds for each answer, of which one at a time may be
        awaited then; None: as long as it takes.
        """
        self._within = within
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
            start_new_session=True,  # a terminal's Ctrl-C reaches the test alone
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, **arguments: object) -> None:
        """The answer is taken later."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        if self._within is not None:
            readable, _, _ = select.select([self._process.stdout], [], [], self._within)
            assert readable, f"no answer within {self._within} s"
        line = self._process.stdout.readline()
        assert line, f"a process ended with exit code {self._process.wait()}; its stderr says why"
        return json.loads(line)

    def call(self, do: str, **arguments: object) -> Any:
        self.ask(do, **arguments)
        return self.answer()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def done(call: Callable[[], Any]) -> Any:
    return call()


def serve(target: object, attempt: Callable[[Callable[[], Any]], Any] = done) -> None:
    """In the process itself: calls of the target's methods. attempt: makes one, and returns the answer."""
    for line in sys.stdin:
        asked = json.loads(line)
        call = partial(getattr(target, asked.pop("do")), **asked)
        sys.stdout.write(json.dumps(attempt(call)) + "\n")
        sys.stdout.flush()
