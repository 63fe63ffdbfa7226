"""What a client sees of a leader that is killed with signal 9, and how long the cluster is without one.

Starts three nodes, each a process, on free ports of loopback, kills the leader so many times, and starts it again
each time. All the while one client, which knows all nodes, locks and unlocks.
"""

import argparse
import itertools
import os
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from bench.figures import load, machine, spread, table  # noqa: E402  # they are found through the lines before
from lockd_client import LockdClient  # noqa: E402
from tests.eventually import eventually  # noqa: E402
from tests.integration.cluster import Cluster, running  # noqa: E402

FINE_S = 0.002
"""How often the others are asked who leads."""

SETTLED_GRANTS = 20
CALL_S = 15.0


class Caller:
    """Locks and unlocks in a thread, one call after the other. grants: when each was answered."""

    def __init__(self, endpoints: list[str]) -> None:
        self._endpoints = endpoints
        self._over = threading.Event()
        self._thread = ThreadPoolExecutor(1, "caller")
        self.grants: list[float] = []

    def __enter__(self) -> Self:
        self._calls = self._thread.submit(self._call)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.shutdown()

    def _call(self) -> None:
        with LockdClient(endpoints=self._endpoints, timeout=CALL_S) as client:
            while not self._over.is_set():
                answer = client.try_lock(f"failover/{len(self.grants)}", ttl=30)
                self.grants.append(time.monotonic())
                client.unlock(answer.token)

    def wait_for_grants(self, more: int) -> None:
        """So many from now on. Raises what ended the calls."""
        goal = len(self.grants) + more

        def there() -> bool:
            if self._calls.done():
                self._calls.result()
            return len(self.grants) >= goal

        eventually(there, CALL_S)

    def longest_gap(self, since: float) -> float:
        """Between two grants, the first of which may be the last one before `since`."""
        begin = max((number for number, at in enumerate(self.grants) if at <= since), default=0)
        return max(after - before for before, after in itertools.pairwise(self.grants[begin:]))


@dataclass
class Measured:
    """Seconds after each kill."""

    leader: list[float] = field(default_factory=list)
    grant: list[float] = field(default_factory=list)
    gap: list[float] = field(default_factory=list)


def first_grant(client: LockdClient, number: int, began: float) -> float:
    answer = client.try_lock(f"after-kill/{number}", ttl=30)
    assert answer.acquired
    return time.monotonic() - began


def one_kill(cluster: Cluster, caller: Caller, number: int, seen: Measured) -> None:
    leader = cluster.wait_until_whole()
    others = cluster.others(leader)
    cluster.statuses(others)  # connected, so that the first question costs nothing
    process = cluster.nodes[leader].process
    assert process is not None
    with cluster.client(*others, timeout=CALL_S) as client, ThreadPoolExecutor(1) as pool:
        client.is_locked("connected")
        caller.wait_for_grants(SETTLED_GRANTS)
        began = time.monotonic()
        process.send_signal(signal.SIGKILL)
        granted = pool.submit(first_grant, client, number, began)
        cluster.wait_for_leader(*others, every_s=FINE_S)
        seen.leader.append(time.monotonic() - began)
        seen.grant.append(granted.result())
    caller.wait_for_grants(SETTLED_GRANTS)
    seen.gap.append(caller.longest_gap(began))
    cluster.wait_for_exit(leader)
    cluster.start(leader)


def measured(folder: Path, kills: int) -> Measured:
    seen = Measured()
    with running(folder) as cluster, Caller(cluster.endpoints()) as caller:
        for number in range(kills):
            one_kill(cluster, caller, number, seen)
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=10, help="default: 10")
    parser.add_argument("--folder", type=Path, help="where the state lies; default: a temporary folder's place")
    arguments = parser.parse_args()
    if arguments.kills < 1:
        parser.error("at least 1 kill")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # leaves every `with`, as Ctrl-C does
    before = load()
    with tempfile.TemporaryDirectory(prefix="lockd-bench-", dir=arguments.folder) as scratch:
        folder = Path(scratch)
        print(f"{machine(folder)}\n{arguments.kills} kills of the leader; before: {before}\n", flush=True)
        seen = measured(folder / "three", arguments.kills)
    rows = [
        ("another node says that it leads", spread(seen.leader)),
        ("a lock asked for at the kill is granted", spread(seen.grant)),
        ("the longest gap between two grants of one client", spread(seen.gap)),
    ]
    print(table(["milliseconds after the kill", "median", "least", "most"], rows))
    print(f"\nafter: {load()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
