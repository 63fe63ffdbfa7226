"""`lockd …`, run in this process against a node, or in one of its own where signals, terminals or pipes matter."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from click.testing import CliRunner, Result

import lockd
import lockd_client
from lockd.cli import main
from tests.cli.stacks import MAIN, Stacks, who_has
from tests.client.fake_node import FakeNode
from tests.eventually import eventually

ROOT = Path(lockd.__file__).parents[1]
NOWHERE = "127.0.0.1:1"
WITHIN_S = 30.0


def run(node: FakeNode | str | None, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
    """env: beside LOCKD_ENDPOINTS, which is the node's; it may be empty there."""
    endpoint = node.endpoint if isinstance(node, FakeNode) else node or NOWHERE
    result = CliRunner(env={"LOCKD_ENDPOINTS": endpoint, **(env or {})}).invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


FOLDERS = os.pathsep.join([str(ROOT), str(Path(lockd_client.__file__).parents[1])])


class Started:
    """A process of any command. It has to be left: that ends it. A test that fails meanwhile shows where it hangs."""

    def __init__(self, node: FakeNode, *command: str, env: Mapping[str, str] | None = None, **files: Any) -> None:
        """env: in the place of this process's, beside what points to the node."""
        self._stacks = Stacks()
        to_node = {"PYTHONPATH": FOLDERS, "LOCKD_ENDPOINTS": node.endpoint, **self._stacks.environment}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | files
        all_of_it = {**os.environ, **to_node} if env is None else {**to_node, **env}
        self.popen = subprocess.Popen(command, env=all_of_it, text=True, **pipes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(self.where())
        self._stacks.close()
        self.popen.kill()
        self.popen.communicate()

    def where(self) -> str:
        """It hangs, or what keeps those waiting who read from it."""
        if self.popen.poll() is None:
            return f"the process has not ended:\n{self._stacks.of(self.popen.pid)}"
        output = self.popen.stdout
        holders = [] if output is None or output.closed else who_has(output.fileno())
        return f"the process has ended with {self.popen.returncode}; its stdout is held by {holders}"

    def line(self) -> str:
        """The next one on stdout."""
        assert self.popen.stdout is not None
        return str(self.popen.stdout.readline())

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.popen.send_signal(signal.SIGINT)

    def interrupt_until_it_ends(self) -> None:
        """For one that reads from a terminal: Python misses a signal that comes just before it blocks there."""

        def ended() -> bool:
            self.interrupt()
            return self.popen.poll() is not None

        eventually(ended, WITHIN_S)

    def end(self) -> tuple[int, str, str]:
        """Its exit code, and what is left of its output."""
        out, err = self.popen.communicate(timeout=WITHIN_S)
        return self.popen.returncode, out or "", err or ""


class Process(Started):
    """Of `lockd` with these arguments."""

    def __init__(self, node: FakeNode, *arguments: str, env: Mapping[str, str] | None = None, **files: Any) -> None:
        command = (sys.executable, "-c", MAIN, *arguments)
        super().__init__(
            node, *command, env={"LC_ALL": "C.UTF-8", **(env or {})}, **({"stdin": subprocess.DEVNULL} | files)
        )
