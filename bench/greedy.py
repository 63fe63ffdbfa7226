"""What a caller that asks for all it can get does to another one.

Three nodes that ask for tokens, on free ports of loopback. One caller takes and releases a lock again and again, on the
leader; the other one, in a process of its own, does its worst on the same node. Rounds with and without it alternate:
what else the machine does hits both alike, so the ratios hold where the times do not. Stops what it started.
"""

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc  # noqa: E402  # they are found through the lines before

from bench.figures import Series, load, machine, milliseconds, table  # noqa: E402
from lockd_client import LockdClient  # noqa: E402
from lockd_client.proto import lockd_pb2 as pb  # noqa: E402
from lockd_client.proto import lockd_pb2_grpc  # noqa: E402
from tests.eventually import eventually  # noqa: E402
from tests.integration.cluster import Cluster  # noqa: E402

MODEST, GREEDY = "modest-" + "m" * 40, "greedy-" + "g" * 40
CALL_S = 30.0
WAITS_S = 120.0
"""Until the greedy one has all the waits that it may have."""
OPERATIONS = 2_000
"""Of one message."""

Request = Any


def settings() -> dict[str, object]:
    tokens = [
        {"name": secret.partition("-")[0], "role": "lock", "sha256": hashlib.sha256(secret.encode()).hexdigest()}
        for secret in (MODEST, GREEDY)
    ]
    return {"auth": {"tokens": tokens}}


# -- the greedy one, in its own process


def streams_of_locks() -> Iterator[pb.StreamRequest]:
    """Messages full of Locks, sent without a look at the answers."""
    for first in itertools.count(1, OPERATIONS):
        yield pb.StreamRequest(
            operations=[
                pb.Operation(id=id, lock=pb.LockRequest(name=f"greedy/{id % 50}", ttl_ms=5_000))
                for id in range(first, first + OPERATIONS)
            ]
        )


def streams_of_waits() -> Iterator[pb.StreamRequest]:
    """The same, and each waits: all for one name."""
    for message in streams_of_locks():
        for operation in message.operations:
            operation.lock.name, operation.lock.wait_ms = "greedy/one", -1
        yield message


def streams_of_lists() -> Iterator[pb.StreamRequest]:
    """The same with Lists of everything."""
    for first in itertools.count(1, OPERATIONS):
        operations = [pb.Operation(id=id, list=pb.ListRequest(limit=1000)) for id in range(first, first + OPERATIONS)]
        yield pb.StreamRequest(operations=operations)


STREAMS = {
    "Lock on streams": streams_of_locks,
    "waits on streams": streams_of_waits,
    "List on streams": streams_of_lists,
}
UNARY = "Lock, unary"
REFUSED = "waits, all refused by now"
"""The same streams of waits, when the greedy one has as many as it may and each further one is refused."""
SIXTEEN = "16 calls at once"
"""No greedy one: what work as such does to the modest one on this machine."""
COMPUTES = "computes, calls nobody"
"""The same, of a process as such."""
KINDS = (*STREAMS, REFUSED, UNARY, SIXTEEN, COMPUTES)


async def be_greedy(kind: str, endpoint: str) -> None:
    """Until it is ended."""
    metadata = (("authorization", f"Bearer {GREEDY}"),)
    async with grpc.aio.insecure_channel(endpoint) as channel:
        stub = lockd_pb2_grpc.LockServiceStub(channel)
        print("begins", flush=True)
        if kind == COMPUTES:
            while True:
                pass
        if kind in (UNARY, SIXTEEN):
            await asyncio.gather(*(_ask_on(stub, metadata, number) for number in range(500 if kind == UNARY else 16)))
        of = "waits on streams" if kind == REFUSED else kind
        await asyncio.gather(*(_stream_on(stub, metadata, STREAMS[of]()) for _ in range(4)))


async def _ask_on(stub: Any, metadata: Any, number: int) -> None:
    for turn in itertools.count():
        with contextlib.suppress(grpc.aio.AioRpcError):
            await stub.Lock(pb.LockRequest(name=f"greedy/{number}/{turn % 9}", ttl_ms=5_000), metadata=metadata)


async def _stream_on(stub: Any, metadata: Any, messages: Iterator[pb.StreamRequest]) -> None:
    async def requests() -> AsyncIterator[pb.StreamRequest]:
        for message in messages:
            yield message

    async for _ in stub.Stream(requests(), metadata=metadata):
        pass


@contextlib.contextmanager
def greedy(kind: str, endpoint: str) -> Iterator[None]:
    command = [sys.executable, __file__, "--greedy", kind, endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.send_signal(signal.SIGKILL)


# -- the modest one


def pairs(client: LockdClient, count: int) -> list[float]:
    """Seconds of a lock and its release, each."""
    seconds = []
    for number in range(count):
        began = time.perf_counter()
        answer = client.try_lock(f"modest/{number}", ttl=30)
        assert answer.acquired, answer
        assert client.unlock(answer.token).released
        seconds.append(time.perf_counter() - began)
    return seconds


def refused_waits(client: LockdClient, endpoint: str) -> int:
    """Of any caller, on that node, so far."""
    refused = client.status(endpoint).refused
    return sum(refused.get(limit, 0) for limit in ("waits_per_caller_max", "waiters_per_name_max"))


def is_refused_waits(client: LockdClient, endpoint: str, before: int) -> bool:
    return refused_waits(client, endpoint) > before


def measure(kinds: list[str], rounds: int, calls: int, folder: Path) -> str:
    with Cluster(folder, 3, settings=settings()) as cluster:
        cluster._asking.close()
        cluster._asking = LockdClient(endpoints=cluster.endpoints(), token=MODEST, timeout=1.0)
        cluster.start()
        endpoint = cluster.nodes[cluster.wait_for_leader()].endpoint
        with LockdClient(endpoints=[endpoint], token=MODEST, timeout=CALL_S) as client:
            pairs(client, calls)
            found = {kind: (Series("alone"), Series(kind)) for kind in kinds}
            for kind, _ in itertools.product(kinds, range(rounds)):
                alone, beside = found[kind]
                alone.rounds.append(pairs(client, calls))
                before = refused_waits(client, endpoint)
                with greedy(kind, endpoint):
                    pairs(client, calls // 4 + 1)
                    if kind == REFUSED:
                        eventually(partial(is_refused_waits, client, endpoint, before), WAITS_S)
                    beside.rounds.append(pairs(client, calls))
            refused = dict(client.status(endpoint).refused)
    rows = []
    for kind, (alone, beside) in found.items():
        both = (alone.median, beside.median, alone.percentile(0.99), beside.percentile(0.99), beside.all[-1])
        rows.append([kind, *map(milliseconds, both), f"{beside.ratio_to(alone):.2f}"])
    head = ["the greedy one's", "alone, median ms", "beside", "alone, p99 ms", "beside", "beside, most", "ratio"]
    return f"{table(head, rows)}\n\nrefused of the greedy one: {refused}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--calls", type=int, default=100, help="pairs of the modest one, in a round")
    parser.add_argument("--kind", choices=KINDS, action="append", help="what the greedy one does; default: each")
    parser.add_argument("--folder", type=Path, help="where the state lies while it runs")
    parser.add_argument("--greedy", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.greedy:
        asyncio.run(be_greedy(*options.greedy))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(machine(Path(folder)))
        print(f"before: {load()}\n")
        print(measure(options.kind or list(KINDS), options.rounds, options.calls, Path(folder)))
    print(f"\nafter: {load()}")


if __name__ == "__main__":
    main()
