"""Servers that are not ours, each a process that is ended by its process id."""

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.eventually import eventually

READY_WITHIN_S = 60.0  # a Java machine, beside other tests
EXIT_WITHIN_S = 20.0


@contextlib.contextmanager
def serving(
    command: Sequence[str],
    folder: Path,
    answers: Callable[[], bool],
    *,
    ended_by: signal.Signals = signal.SIGKILL,
    **options: Any,
) -> Iterator["subprocess.Popen[bytes]"]:
    """In this folder, once it answers. ended_by: at once, since nothing is kept. options: Popen's."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,  # a terminal's Ctrl-C reaches the test alone
            **options,
        )

    def is_ready() -> bool:
        assert process.poll() is None, f"{command[0]} ended by itself: {log.read_text(errors='replace')}"
        return answers()

    try:
        eventually(is_ready, READY_WITHIN_S)
        yield process
    finally:
        process.send_signal(ended_by)
        process.wait(EXIT_WITHIN_S)
