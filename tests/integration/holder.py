"""Holders in a process of their own: `python -m tests.integration.holder`, driven by JSON lines.

Each lock has a client of its own, and a thread that asks it all the time whether it owns the lock. Times are of
CLOCK_MONOTONIC, which all processes of a machine share. Holders is the other end of the pipes.
"""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lockd_client import LockdClient, LockLost
from tests.driven import Driven, serve

ASKED_EVERY_S = 0.002


@dataclass
class Loss:
    """What one holder saw. owned: when it began to ask, for the last time, and was told that it owns the lock.
    not_owned: when it had been told for the first time that it does not. told: when its callback for a loss ran.
    """

    name: str
    owned: float = 0.0
    not_owned: float = 0.0
    told: float = 0.0


class _Holder:
    def __init__(self, endpoint: str, name: str, ttl: float) -> None:
        self.loss = Loss(name)
        self._client = LockdClient(endpoints=[endpoint])
        self._lock = self._client.lock(name, ttl=ttl, owner="holder")
        self._lock.on_lost(self._told)
        self._told_once = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def take(self) -> None:
        self._lock.acquire()
        self._thread.start()

    def report(self) -> Loss:
        """Once it is lost."""
        self._thread.join()
        self._told_once.wait()
        try:
            self._lock.release()
            raise AssertionError("a lost lock was released")
        except LockLost:
            self._client.close()
        return self.loss

    def _told(self) -> None:
        self.loss.told = time.monotonic()
        self._told_once.set()

    def _ask(self) -> None:
        between = threading.Event()
        while True:
            began = time.monotonic()
            if not self._lock.owned:
                self.loss.not_owned = time.monotonic()
                return
            self.loss.owned = began
            between.wait(ASKED_EVERY_S)


class _Process:
    def __init__(self) -> None:
        self._holders: list[_Holder] = []

    def run(self, command: list[str]) -> None:
        subprocess.run(command, check=True)

    def take(self, endpoint: str, names: list[str], ttl: float) -> None:
        self._holders = [_Holder(endpoint, name, ttl) for name in names]
        for holder in self._holders:  # so that their renewals are not all at one moment
            threading.Event().wait(random.uniform(0, ttl / 3 / len(names)))
            holder.take()

    def report(self) -> list[dict[str, Any]]:
        return [asdict(holder.report()) for holder in self._holders]


class Holders(Driven):
    """under: the command that the process is started under; it must become the process."""

    def __init__(self, under: Sequence[str] = ()) -> None:
        super().__init__([*under, sys.executable, "-m", "tests.integration.holder"])

    def run(self, *command: str) -> None:
        """A program, where the holders are."""
        self.call("run", command=command)

    def take(self, endpoint: str, names: Sequence[str], ttl: float) -> None:
        self.call("take", endpoint=endpoint, names=names, ttl=ttl)

    def pause(self) -> None:
        self.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self.send(signal.SIGCONT)

    def losses(self) -> dict[str, Loss]:
        """Once all are lost."""
        return {each["name"]: Loss(**each) for each in self.call("report")}


if __name__ == "__main__":
    serve(_Process())
