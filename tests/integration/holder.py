"""Holders in a process of their own: `python -m tests.integration.holder`, driven by JSON lines.

Each lock has a client of its own, and a thread that asks it all the time whether it owns the lock. Times are of
CLOCK_MONOTONIC, which all processes of a machine share. Holders is the other end of the pipes.
"""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from lockd_client import LockdClient, LockLost
from tests.integration.cluster import ROOT

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


def _serve() -> None:
    holders: list[_Holder] = []
    for line in sys.stdin:
        asked = json.loads(line)
        answer: Any = None
        match asked["do"]:
            case "run":
                subprocess.run(asked["command"], check=True)
            case "take":
                holders = [_Holder(asked["endpoint"], name, asked["ttl"]) for name in asked["names"]]
                for holder in holders:  # so that their renewals are not all at one moment
                    threading.Event().wait(random.uniform(0, asked["ttl"] / 3 / len(holders)))
                    holder.take()
            case "report":
                answer = [asdict(holder.report()) for holder in holders]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class Holders:
    """under: the command that the process is started under; it must become the process."""

    def __init__(self, under: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*under, sys.executable, "-m", "tests.integration.holder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, *command: str) -> None:
        """A program, where the holders are."""
        self._do("run", command=command)

    def take(self, endpoint: str, names: Sequence[str], ttl: float) -> None:
        self._do("take", endpoint=endpoint, names=names, ttl=ttl)

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def losses(self) -> dict[str, Loss]:
        """Once all are lost."""
        return {each["name"]: Loss(**each) for each in self._do("report")}

    def _do(self, what: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


if __name__ == "__main__":
    _serve()
