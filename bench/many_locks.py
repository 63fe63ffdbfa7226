"""What very many held locks cost: memory, start-up, lists, other clients' calls; and what happens when all expire.

Starts two clusters of three nodes, each a process, on free ports of loopback: one that holds the locks, in sessions,
and an empty one, which is asked in turns with it. Then the sessions are no longer kept alive, and another client,
which locks and unlocks all the while, tells how long it had to wait. Stops what it started.
"""

import argparse
import gc
import itertools
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import psutil  # noqa: E402  # they are found through the lines before

from bench.figures import Series, load, machine, table  # noqa: E402
from bench.pipeline import Pipeline  # noqa: E402
from lockd_client import LockdClient, LockdError  # noqa: E402
from lockd_client.proto import lockd_pb2 as pb  # noqa: E402
from tests.eventually import eventually  # noqa: E402
from tests.integration.cluster import Cluster, running  # noqa: E402

PAGE = 1000
NAME = "many/{:03}/{:06}"
CALL_S = 15.0
QUIET_S = 5.0
"""How long the other client's calls are looked at before anything expires."""

WITHIN_S = 120.0
MIB = 1024 * 1024


@dataclass
class Measured:
    """Seconds, bytes, and calls."""

    acquired_s: float = 0.0
    bytes_each: dict[int, float] = field(default_factory=dict)
    rss: dict[int, int] = field(default_factory=dict)
    startup_s: float = 0.0
    startup_empty_s: float = 0.0
    listed_s: float = 0.0
    longest_page_s: float = 0.0
    pairs: list[Series] = field(default_factory=list)
    expiry_s: float = 0.0
    gaps_before: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Sessions:
    """Holds the locks, and keeps its sessions alive in a thread until it is told to stop."""

    def __init__(self, pipeline: Pipeline, sessions: int, ttl_s: float) -> None:
        self._pipeline, self._mutex, self.ttl_s = pipeline, threading.Lock(), ttl_s
        asked = pb.OpenSessionRequest(ttl_ms=int(1000 * ttl_s), owner="bench")
        opened = pipeline.run(pb.Operation(open_session=asked) for _ in range(sessions))
        self.ids = [result.open_session.session_id for result in opened]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)
        self._thread.start()

    def acquire(self, locks: int) -> None:
        """In parts, so that the sessions are kept alive in between."""
        names = ((place, NAME.format(place % 1000, place)) for place in range(locks))
        while part := list(itertools.islice(names, 10 * PAGE)):
            with self._mutex:
                results = self._pipeline.run(
                    pb.Operation(
                        lock=pb.LockRequest(name=name, session_id=self.ids[place % len(self.ids)], owner="bench@host:1")
                    )
                    for place, name in part
                )
            assert all(result.lock.acquired for result in results)

    def _keep_alive(self) -> None:
        while not self._over.wait(self.ttl_s / 4):
            self.renew()

    def renew(self) -> None:
        with self._mutex:
            self._pipeline.run(pb.Operation(keep_alive=pb.KeepAliveRequest(session_id=id)) for id in self.ids)

    def stop(self) -> None:
        """All of them will end at one time."""
        self._over.set()
        self._thread.join()
        self.renew()


class Other:
    """Another client: locks and unlocks in a thread, one call after the other. answers: when each came."""

    def __init__(self, endpoints: list[str]) -> None:
        self._client = LockdClient(endpoints=endpoints, timeout=CALL_S)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._call, daemon=True)
        self.answers: list[float] = []
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        pair(self._client, "other")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()

    def _call(self) -> None:
        while not self._over.is_set():
            try:
                answer = self._client.try_lock("other", ttl=CALL_S)
                self.answers.append(time.monotonic())
                released = self._client.unlock(answer.token).released
                self.answers.append(time.monotonic())
                if not released:
                    self.failures.append(f"token {answer.token} was not held when it was released")
            except LockdError as error:
                self.failures.append(repr(error))

    def gaps(self, since: float, until: float) -> list[float]:
        inside = [at for at in self.answers if since <= at <= until]
        return [after - before for before, after in itertools.pairwise([since, *inside])]


def pair(client: LockdClient, name: str) -> float:
    """Seconds of a Lock and the Unlock after it."""
    began = time.perf_counter()
    assert client.unlock(client.try_lock(name, ttl=CALL_S).token).released
    return time.perf_counter() - began


def resident(cluster: Cluster) -> dict[int, int]:
    """Bytes of memory, by node."""
    return {id: psutil.Process(node.pid).memory_info().rss for id, node in cluster.nodes.items()}


def start_up(cluster: Cluster, keep: int) -> float:
    """Seconds from the start of a follower that was killed until it serves and holds what the others hold. keep: a
    node that is not to be killed.
    """
    leader = cluster.wait_for_leader()
    follower = next(id for id in cluster.others(leader) if id != keep)
    cluster.kill(follower)
    status = cluster.status(leader)
    assert status is not None
    began = time.monotonic()
    cluster.start(follower)

    def holds_all() -> bool:
        own = cluster.status(follower)
        return own is not None and own.applied_index >= status.commit_index

    eventually(holds_all, WITHIN_S)
    took = time.monotonic() - began
    cluster.wait_until_whole()
    return took


def list_all(pipeline: Pipeline, locks: int) -> Iterator[float]:
    """Seconds of each page. Raises AssertionError where a lock is missing."""
    after, found = "", 0
    while True:
        began = time.perf_counter()
        (result,) = pipeline.run([pb.Operation(list=pb.ListRequest(prefix="many/", after=after, limit=PAGE))])
        yield time.perf_counter() - began
        found += len(result.list.holders)
        after = result.list.next
        if not after:
            assert found == locks, found
            return


def in_turns(full: Cluster, empty: Cluster, rounds: int, calls: int) -> list[Series]:
    series = [Series("beside the held locks"), Series("on an empty cluster")]
    with full.client(timeout=CALL_S) as one, empty.client(timeout=CALL_S) as other:
        for _ in range(rounds):
            for client, found in zip((one, other), series, strict=True):
                pair(client, "pair")
                found.rounds.append([pair(client, f"pair/{number}") for number in range(calls)])
    return series


def expire(cluster: Cluster, sessions: Sessions, seen: Measured) -> None:
    held = len(sessions.ids)

    def alive() -> int:
        status = cluster.status(cluster.wait_for_leader())
        return held if status is None else status.sessions

    gc.collect()
    gc.disable()  # a pause of this process is no pause of the cluster
    with Other(cluster.endpoints()) as other:
        began = time.monotonic()
        eventually(lambda: time.monotonic() >= began + QUIET_S, WITHIN_S)
        sessions.stop()
        stopped = time.monotonic()
        seen.gaps_before = other.gaps(began, stopped)
        eventually(lambda: time.monotonic() >= stopped + 0.9 * sessions.ttl_s, WITHIN_S)
        eventually(lambda: alive() < held, WITHIN_S)
        first = time.monotonic()
        eventually(lambda: alive() == 0, WITHIN_S)
        seen.expiry_s = time.monotonic() - first
        over = time.monotonic() + 1.0
        eventually(lambda: time.monotonic() >= over, WITHIN_S)
    gc.enable()
    seen.gaps = other.gaps(first - 1.0, over)
    seen.failures = other.failures


def measured(folder: Path, locks: int, sessions: int, rounds: int, calls: int, ttl_s: float) -> Measured:
    seen = Measured()
    with running(folder / "full") as full, running(folder / "empty") as empty:
        through = full.wait_for_leader()
        endpoint = full.nodes[through].endpoint
        with Pipeline(endpoint) as pipeline, Pipeline(endpoint) as listing:
            before = resident(full)
            own = Sessions(pipeline, sessions, ttl_s)
            began = time.monotonic()
            own.acquire(locks)
            seen.acquired_s = time.monotonic() - began
            seen.rss = resident(full)
            seen.bytes_each = {id: (seen.rss[id] - before[id]) / locks for id in before}
            pages = list(list_all(listing, locks))
            seen.listed_s, seen.longest_page_s = sum(pages), max(pages)
            seen.pairs = in_turns(full, empty, rounds, calls)
            seen.startup_s, seen.startup_empty_s = start_up(full, through), start_up(empty, through)
            expire(full, own, seen)
    return seen


def rows(seen: Measured, locks: int) -> Iterator[tuple[str, str]]:
    yield "acquired, one client on one stream", f"{seen.acquired_s:.1f} s, {locks / seen.acquired_s:.0f} a second"
    each = ", ".join(f"{size:.0f}" for size in seen.bytes_each.values())
    yield "memory a lock, by node", f"{each} bytes"
    yield "memory of a node with them", ", ".join(f"{size / MIB:.0f} MiB" for size in seen.rss.values())
    yield "start of a node from disk, until it has caught up", f"{seen.startup_s:.2f} s"
    yield "the same without them", f"{seen.startup_empty_s:.2f} s"
    yield f"List of all, {PAGE} a page", f"{seen.listed_s:.2f} s, the longest page {1000 * seen.longest_page_s:.0f} ms"
    for one in seen.pairs:
        yield f"Lock and Unlock {one.title}", f"{1000 * one.median:.2f} ms, {1 / one.median:.0f} pairs a second"
    yield "ratio of these, median of the rounds", f"{seen.pairs[0].ratio_to(seen.pairs[1]):.2f}"
    yield "all expire: from the first to the last", f"{seen.expiry_s:.2f} s"
    yield "another client's calls meanwhile", f"{len(seen.gaps)}, {len(seen.failures)} failed"
    for title, gaps in (("before", seen.gaps_before), ("meanwhile", seen.gaps)):
        yield f"its longest wait for an answer {title}", f"{1000 * max(gaps):.0f} ms"
        yield f"its median wait {title}", f"{1000 * statistics.median(gaps):.1f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--locks", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--sessions", type=int, default=1_000, help="default: 1000")
    parser.add_argument("--rounds", type=int, default=20, help="default: 20")
    parser.add_argument("--calls", type=int, default=50, help="pairs a round, default: 50")
    parser.add_argument("--ttl", type=float, default=30, help="of a session, in seconds; default: 30")
    parser.add_argument("--folder", type=Path, help="where the state lies; default: a temporary folder's place")
    arguments = parser.parse_args()
    counts = (arguments.locks, arguments.sessions, arguments.rounds, arguments.calls)
    if min(counts) < 1:
        parser.error("at least 1 of each")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # leaves every `with`, as Ctrl-C does
    before = load()
    with tempfile.TemporaryDirectory(prefix="lockd-bench-", dir=arguments.folder) as scratch:
        folder = Path(scratch)
        print(f"{machine(folder)}\n{arguments.locks} locks in {arguments.sessions} sessions; before: {before}\n")
        sys.stdout.flush()
        seen = measured(folder, *counts, arguments.ttl)
    print(table(["", "measured"], rows(seen, arguments.locks)))
    for failure in seen.failures:
        print(f"failed: {failure}")
    print(f"\nafter: {load()}")
    return 1 if seen.failures else 0


if __name__ == "__main__":
    sys.exit(main())
