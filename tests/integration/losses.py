"""Scenarios of holders that cannot renew: does any of them call itself the owner once another may have the lock?

`make losses` does many runs: `python -m tests.integration.losses --runs 100`. A run is one holder, whose client is its
own; AT_ONCE of them are in one round.

The network is cut between two network namespaces, which the scenario makes: one in which it runs itself, with the
cluster, and one for the holders. Packets are lost then, and nobody is told.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lockd_client import LockdClient
from tests.eventually import eventually
from tests.integration.checks import spread
from tests.integration.cluster import ROOT, Cluster, running
from tests.integration.holder import Holders, Loss

TTL_S = 3.0
AT_ONCE = 5
RUNS_OF_A_SCENARIO = 5
WITHIN_S = 60.0

HERE, THERE = "10.77.0.1", "10.77.0.2"
LINK_HERE, LINK_THERE = "lockd-here", "lockd-there"
OWN_NETWORK = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--net", "--map-root-user")


class Heirs:
    """Who waits for the locks. granted: when each had its lock, by its name."""

    def __init__(self, client: LockdClient, names: list[str]) -> None:
        self.granted: dict[str, float] = {}
        self._locks = {name: client.lock(name, ttl=30, owner="heir") for name in names}
        self._threads = [threading.Thread(target=self._take, args=(name,), daemon=True) for name in names]
        self._may_leave = threading.Event()
        for thread in self._threads:
            thread.start()
        eventually(lambda: len(list(client.waiters())) == len(names), WITHIN_S)

    def _take(self, name: str) -> None:
        with self._locks[name]:
            self.granted[name] = time.monotonic()
            self._may_leave.wait()

    def inherit(self) -> None:
        """Until all have their locks."""
        eventually(lambda: len(self.granted) == len(self._locks), WITHIN_S)

    def leave(self) -> None:
        self._may_leave.set()
        for thread in self._threads:
            thread.join(WITHIN_S)


def losses(
    cluster: Cluster, holders: Holders, runs: int, apart: Callable[[Heirs], None]
) -> Iterator[tuple[Loss, float]]:
    """Of each run what its holder saw, and when the next had the lock. apart: keeps the holders from renewing until the
    heirs have the locks.
    """
    with cluster.client() as client:
        for first in range(0, runs, AT_ONCE):
            names = [f"run/{number}" for number in range(first, min(first + AT_ONCE, runs))]
            holders.take(cluster.nodes[1].endpoint, names, TTL_S)
            heirs = Heirs(client, names)
            apart(heirs)
            seen = holders.losses()
            heirs.leave()
            for name in names:
                yield seen[name], heirs.granted[name]


# ---- the scenarios


def paused_holders(folder: Path, runs: int) -> str:
    def apart(heirs: Heirs) -> None:
        holders.pause()
        heirs.inherit()
        holders.go_on()

    with running(folder, 1) as cluster, Holders() as holders:
        for loss, granted in losses(cluster, holders, runs, apart):
            assert loss.owned < granted <= loss.not_owned, f"granted to the next at {granted}: {loss}"
    return f"{runs} of {runs} paused past the ttl of {TTL_S:g} s never owned the lock again after they woke"


def cut_off_holders(folder: Path, runs: int) -> str:
    """In a network namespace of this process's own."""
    ahead = []

    def apart(heirs: Heirs) -> None:
        _ip("link", "set", LINK_HERE, "down")
        heirs.inherit()
        _ip("link", "set", LINK_HERE, "up")

    _ip("link", "set", "lo", "up")
    _ip("link", "add", LINK_HERE, "type", "veth", "peer", "name", LINK_THERE)
    _ip("address", "add", f"{HERE}/24", "dev", LINK_HERE)
    with Holders(OWN_NETWORK) as holders:
        holders.run("true")  # it has its namespace
        _ip("link", "set", LINK_THERE, "netns", str(holders.pid))
        holders.run("ip", "address", "add", f"{THERE}/24", "dev", LINK_THERE)
        holders.run("ip", "link", "set", LINK_THERE, "up")
        _ip("link", "set", LINK_HERE, "up")
        with running(folder, 1, host=HERE, settings={"insecure": True}) as cluster:
            for loss, granted in losses(cluster, holders, runs, apart):
                assert loss.owned < granted, f"granted to the next at {granted}: {loss}"
                assert max(loss.told, loss.not_owned) < granted, f"granted to the next at {granted}: {loss}"
                ahead.append(granted - max(loss.told, loss.not_owned))
    return f"{runs} of {runs} without a network knew of their loss before the next had the lock: {spread(ahead)} before"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def holders_that_are_paused_past_their_lease(folder: Path) -> str:
    """A holder that was stopped past its lease never calls itself the owner again."""
    return paused_holders(folder, RUNS_OF_A_SCENARIO)


def holders_without_a_network(folder: Path) -> str:
    """A holder that is cut off knows of its loss before the next has the lock."""
    return _in_a_network_of_its_own(folder, RUNS_OF_A_SCENARIO)


def _in_a_network_of_its_own(folder: Path, runs: int) -> str:
    program = [sys.executable, "-m", "tests.integration.losses", "--runs", str(runs), "--cut-off-in", str(folder)]
    done = subprocess.run([*OWN_NETWORK, *program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--cut-off-in", type=Path, help=argparse.SUPPRESS)  # the folder; run in a namespace already
    arguments = parser.parse_args()
    os.environ["GRPC_VERBOSITY"] = "NONE"
    if arguments.cut_off_in:
        print(cut_off_holders(arguments.cut_off_in, arguments.runs))  # noqa: T201  # a program's figures
        return 0
    with tempfile.TemporaryDirectory(prefix="lockd-losses-") as scratch:
        for figures in (
            paused_holders(Path(scratch) / "paused", arguments.runs),
            _in_a_network_of_its_own(Path(scratch) / "cut-off", arguments.runs),
        ):
            print(figures)  # noqa: T201  # the same
    return 0


if __name__ == "__main__":
    sys.exit(main())
