"""How long one uncontended lock takes on an idle cluster, beside what no implementation here could go below.

Starts three nodes, a node of its own and a bare grpc.aio echo, each a process, on free ports of loopback, and asks
them one after the other, a few calls at a time, in rounds: what else the machine does hits all of them alike, so the
ratios hold where the times do not. Stops what it started.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc  # noqa: E402  # they are found through the lines before
import plyvel  # noqa: E402

from bench.figures import Series, load, machine, milliseconds, table  # noqa: E402
from lockd.persistence.leveldb import WRITE_BUFFER_BYTES, LevelStore  # noqa: E402
from lockd_client import LockdClient, methods  # noqa: E402
from lockd_client.proto import lockd_pb2  # noqa: E402
from tests.integration.cluster import Cluster, running  # noqa: E402

TTL_MS = 30_000
OWNER = "bench@host:12345"
NOT_AFTER_MS = 240_000
WARM_UP = 20
CALL_S = 10.0

BATCH = {b"h/progress": 16, b"l/" + bytes(8): 117, b"s/s": 11, b"s/h" + bytes(8): 83, b"s/l" + bytes(8): 12}
BATCH |= {b"s/r" + bytes(18): 62}
"""Keys, and sizes of values, in a node's write for one lock: the entry, and the state that the one before it left."""

_numbers = itertools.count(1)


class Stub:
    """Lock and Unlock as generated code makes them: nothing of lockd_client's around them."""

    def __init__(self, endpoint: str) -> None:
        self._channel = grpc.insecure_channel(endpoint, options=[("grpc.use_local_subchannel_pool", 1)])
        self._lock = self._call(methods.LOCK)
        self._unlock = self._call(methods.UNLOCK)
        self._clock_ms = self._call(methods.STATUS)(lockd_pb2.StatusRequest(), timeout=CALL_S).clock_ms

    def _call(self, method: methods.Method[Any, Any]) -> Any:
        return self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString,
        )

    def pair(self) -> tuple[float, float]:
        """Seconds of a Lock, and of the Unlock after it."""
        lock = lockd_pb2.LockRequest(name=new_name(), ttl_ms=TTL_MS, owner=OWNER, request=self._request())
        began = time.perf_counter()
        answer = self._lock(lock, timeout=CALL_S)
        locked = time.perf_counter() - began
        assert answer.acquired, answer
        self._clock_ms = answer.clock_ms
        unlock = lockd_pb2.UnlockRequest(token=answer.token, request=self._request())
        began = time.perf_counter()
        released = self._unlock(unlock, timeout=CALL_S).released
        unlocked = time.perf_counter() - began
        assert released
        return locked, unlocked

    def _request(self) -> lockd_pb2.RequestId:
        return lockd_pb2.RequestId(id=os.urandom(16), not_after_ms=self._clock_ms + NOT_AFTER_MS)

    def close(self) -> None:
        self._channel.close()


class Library:
    """The same through lockd_client."""

    def __init__(self, endpoint: str) -> None:
        self._client = LockdClient(endpoints=[endpoint], timeout=CALL_S)

    def pair(self) -> tuple[float, float]:
        """Seconds of a Lock, and of the Unlock after it."""
        name = new_name()
        began = time.perf_counter()
        answer = self._client.try_lock(name, ttl=TTL_MS / 1000, owner=OWNER)
        locked = time.perf_counter() - began
        assert answer.acquired, answer
        began = time.perf_counter()
        released = self._client.unlock(answer.token).released
        unlocked = time.perf_counter() - began
        assert released
        return locked, unlocked

    def close(self) -> None:
        self._client.close()


class Disk:
    """Synced writes of the size of a batch: LevelDB's own, and those of lockd's store."""

    def __init__(self, folder: Path) -> None:
        self._db = plyvel.DB(str(folder / "leveldb"), create_if_missing=True, write_buffer_size=WRITE_BUFFER_BYTES)
        self._store = LevelStore.open(folder / "store", node_id=1)

    def leveldb(self) -> float:
        batch = new_batch()
        began = time.perf_counter()
        written = self._db.write_batch(sync=True)
        for key, value in batch.items():
            written.put(key, value)
        written.write()
        return time.perf_counter() - began

    def store(self, calls: int) -> list[float]:
        async def write_all() -> list[float]:
            return [await self._write() for _ in range(calls)]

        return asyncio.run(write_all())

    async def _write(self) -> float:
        batch = new_batch()
        began = time.perf_counter()
        await self._store.write(batch)
        return time.perf_counter() - began

    def close(self) -> None:
        self._store.close()
        self._db.close()


def new_name() -> str:
    return f"bench/{next(_numbers):012}"


def new_batch() -> dict[bytes, bytes]:
    number = next(_numbers).to_bytes(8, "big")
    return {key[:-8] + number if key.endswith(bytes(8)) else key: os.urandom(size) for key, size in BATCH.items()}


class Echo:
    """The echo's process."""

    def __enter__(self) -> Self:
        path = os.pathsep.join([str(ROOT), str(ROOT / "pyclient")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.echo_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # a terminal's Ctrl-C reaches this program alone
        )
        assert self._process.stdout is not None
        self.endpoint = f"127.0.0.1:{self._process.stdout.readline().strip()}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Asked:
    """Whom a row's calls go to. base: the row of the echo by the same client."""

    title: str
    client: Stub | Library
    base: str | None


@dataclass
class Rows:
    """What is measured, by title."""

    series: dict[str, Series]
    against: dict[str, str]

    @classmethod
    def new(cls) -> "Rows":
        return cls({}, {})

    def add(self, title: str, seconds: list[float], base: str | None = None) -> None:
        self.series.setdefault(title, Series(title)).rounds.append(seconds)
        if base is not None:
            self.against[title] = base

    def drop_last(self) -> None:
        for series in self.series.values():
            series.rounds.pop()


LEVELDB, STORE = "LevelDB, one synced write", "lockd's store, one write"


def in_one_round(asked: list[Asked], disk: Disk, calls: int, rows: Rows, turn: int) -> None:
    """Each a few calls; who begins changes from round to round."""
    begin = turn % len(asked)
    for each in asked[begin:] + asked[:begin]:
        pairs = [each.client.pair() for _ in range(calls)]
        for verb, place in (("Lock", 0), ("Unlock", 1)):
            base = f"{verb}: {each.base}" if each.base else None
            rows.add(f"{verb}: {each.title}", [pair[place] for pair in pairs], base)
    rows.add(LEVELDB, [disk.leveldb() for _ in range(calls)])
    rows.add(STORE, disk.store(calls))


def measured(folder: Path, rounds: int, calls: int) -> tuple[Rows, int]:
    """The rows, and how many rounds did not count since the leader had changed in them."""
    with (
        running(folder / "three") as cluster,
        running(folder / "one", 1) as single,
        Echo() as echo,
        contextlib.closing(Disk(folder)) as disk,
        contextlib.ExitStack() as stack,
    ):

        def opened(make: Callable[[str], Stub | Library], endpoint: str) -> Stub | Library:
            return stack.enter_context(contextlib.closing(make(endpoint)))

        stubs = {id: opened(Stub, node.endpoint) for id, node in cluster.nodes.items()}
        libraries = {id: opened(Library, node.endpoint) for id, node in cluster.nodes.items()}
        alone, bare, bare_library = (
            opened(Stub, single.nodes[1].endpoint),
            opened(Stub, echo.endpoint),
            opened(Library, echo.endpoint),
        )

        def now_asked(leader: int) -> list[Asked]:
            follower = cluster.others(leader)[0]
            return [
                Asked("grpc.aio echo", bare, None),
                Asked("leader of three", stubs[leader], "grpc.aio echo"),
                Asked("a follower of three", stubs[follower], "grpc.aio echo"),
                Asked("a single node", alone, "grpc.aio echo"),
                Asked("grpc.aio echo, lockd_client", bare_library, None),
                Asked("leader of three, lockd_client", libraries[leader], "grpc.aio echo, lockd_client"),
            ]

        return counted_rounds(cluster, now_asked, disk, rounds, calls)


def counted_rounds(
    cluster: Cluster, now_asked: Callable[[int], list[Asked]], disk: Disk, rounds: int, calls: int
) -> tuple[Rows, int]:
    in_one_round(now_asked(cluster.wait_until_whole()), disk, WARM_UP, Rows.new(), 0)
    rows, dropped = Rows.new(), 0
    while len(rows.series.get(LEVELDB, Series("")).rounds) < rounds:
        leader = cluster.wait_until_whole()
        in_one_round(now_asked(leader), disk, calls, rows, dropped + len(rows.series.get(LEVELDB, Series("")).rounds))
        if cluster.wait_until_whole() != leader:
            rows.drop_last()
            dropped += 1
            assert dropped <= rounds, "the cluster changes its leader all the time"
    return rows, dropped


def place(title: str) -> int:
    """The table's order: all Locks, all Unlocks, the rest."""
    verb, colon, _ = title.partition(":")
    return ("Lock", "Unlock").index(verb) if colon else 2


def lines(rows: Rows) -> Iterator[list[str]]:
    disk = rows.series[LEVELDB]
    for title, series in sorted(rows.series.items(), key=lambda item: place(item[0])):
        base = rows.against.get(title)
        yield [
            title,
            milliseconds(series.median),
            milliseconds(series.percentile(0.90)),
            milliseconds(series.percentile(0.99)),
            f"{series.ratio_to(rows.series[base]):.2f}" if base else "",
            f"{series.ratio_to(disk):.2f}" if series is not disk else "",
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20, help="default: 20")
    parser.add_argument("--calls", type=int, default=50, help="Lock and Unlock so often in each round; default: 50")
    parser.add_argument("--folder", type=Path, help="where the state lies; default: a temporary folder's place")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.calls < 1:
        parser.error("rounds and calls are at least 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # leaves every `with`, as Ctrl-C does
    before = load()
    with tempfile.TemporaryDirectory(prefix="lockd-bench-", dir=arguments.folder) as scratch:
        folder = Path(scratch)
        print(f"{machine(folder)}\n{arguments.rounds} rounds of {arguments.calls}; before: {before}\n", flush=True)
        rows, dropped = measured(folder, arguments.rounds, arguments.calls)
    head = ["milliseconds", "median", "p90", "p99", "× the echo", "× a LevelDB write"]
    print(table(head, lines(rows)))
    print(f"\nafter: {load()}; rounds that did not count, the leader having changed: {dropped}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
