"""`lockd …`, run in this process against a node, or in one of its own where signals, terminals or pipes matter."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

import lockd
import lockd_client
from lockd.cli import main
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


class Process:
    """It has to be left: that ends it."""

    def __init__(self, node: FakeNode, *arguments: str, env: Mapping[str, str] | None = None, **files: Any) -> None:
        folders = os.pathsep.join([str(ROOT), str(Path(lockd_client.__file__).parents[1])])
        code = "from lockd.cli import main; main()"
        files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | files
        self.popen = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={"PYTHONPATH": folders, "LOCKD_ENDPOINTS": node.endpoint, "LC_ALL": "C.UTF-8", **(env or {})},
            text=True,
            **files,
        )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.communicate()

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
