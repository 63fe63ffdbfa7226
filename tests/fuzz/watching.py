"""What a run looks at while it abuses a node: another client's calls, the node's memory, its log, its end."""

import json
import statistics
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil

from lockd_client.proto import lockd_pb2 as pb
from lockd_client.proto import lockd_pb2_grpc
from tests.integration.cluster import Cluster

DEADLINE_S, ATTEMPT_S = 10.0, 2.5
"""Of each of the other client's calls."""

GROWTH_MAX = 48 * 1024 * 1024
"""Bytes that a node's memory may grow by after the warm-up."""

RECORD_KEEP_S = 310.0
"""Request records are kept for so long: until then a node that serves many requests grows."""

FAULTS = ("Traceback", "INTERNAL", "a call failed", "a stream failed", "an operation failed", "peer task failed")
LINES_OF_STRANGERS_MAX = 200
"""Log lines that are no JSON: other libraries' words. More of them would be a way to fill a disk."""


@dataclass(frozen=True)
class Target:
    """A node to abuse. token and ca: for one that asks for them."""

    endpoint: str
    token: str = ""
    ca: Path | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def credentials(self) -> grpc.ChannelCredentials:
        assert self.ca is not None
        return grpc.ssl_channel_credentials(self.ca.read_bytes())

    def channel(self, *options: tuple[str, Any]) -> grpc.Channel:
        """A connection of its own."""
        own = [("grpc.use_local_subchannel_pool", 1), *options]
        if self.ca:
            return grpc.secure_channel(self.endpoint, self.credentials(), own)
        return grpc.insecure_channel(self.endpoint, own)

    def aio_channel(self, *options: tuple[str, Any]) -> grpc.aio.Channel:
        own = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1), *options]
        if self.ca:
            return grpc.aio.secure_channel(self.endpoint, self.credentials(), own)
        return grpc.aio.insecure_channel(self.endpoint, own)


@dataclass
class Findings:
    """What was found, with the steps that led there."""

    surface: str
    seed: int
    folder: Path
    steps: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=400))
    found: list[str] = field(default_factory=list)

    def note(self, step: dict[str, Any]) -> None:
        self.steps.append(step)

    def add(self, what: str, step: dict[str, Any] | None = None) -> None:
        """step: the one that did it; else it is among the last ones."""
        if len(self.found) >= 50:
            return
        self.found.append(what)
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{self.surface}-{self.seed}-{len(self.found)}.jsonl"
        steps = [step] if step else list(self.steps)
        file.write_text("".join(json.dumps(each) + "\n" for each in steps))
        print(f"FOUND by seed {self.seed}: {what}\n  its steps: {file}", flush=True)


class Sentinel:
    """Another client: locks, looks and unlocks all the time, and holds one lock from the beginning to the end."""

    def __init__(self, target: Target, findings: Findings, *, others: Sequence[Target] = (), patient: bool = False):
        """patient: calls may be told to come again, as in elections. others: nodes that are asked then."""
        self._findings, self._patient = findings, patient
        self._channels = [each.channel() for each in (target, *others)]
        self._stubs = [lockd_pb2_grpc.LockServiceStub(channel) for channel in self._channels]
        self._metadata = target.metadata
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sentinel")
        self._at = 0
        self.latencies: list[float] = []
        """Seconds, of every call."""
        self.come_again = 0
        self._last_token = 0
        for _ in range(4):  # the lowest tokens and sessions are the fuzzer's to name
            burnt = self._ask("Lock", pb.LockRequest(name="sentinel/first", ttl_ms=60_000))
            self._ask("Unlock", pb.UnlockRequest(token=burnt.token))
        self.held: int = self._ask("Lock", pb.LockRequest(name="sentinel/held", owner="sentinel")).token
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def check_held(self) -> None:
        try:
            state = self._ask("Get", pb.GetRequest(name="sentinel/held"))
        except grpc.RpcError as error:
            self._findings.add(f"in the end another client was answered {error!r}")
            return
        if [holder.token for holder in state.holders] != [self.held]:
            self._findings.add(f"the lock that was held all the time is now {state}")

    def percentiles(self) -> tuple[float, float]:
        """The median and the 99th, in ms."""
        if len(self.latencies) < 2:
            return 0.0, 0.0
        cuts = statistics.quantiles(self.latencies, n=100)
        return 1000 * cuts[49], 1000 * cuts[98]

    def _ask(self, method: str, request: Any) -> Any:
        """As the client library asks: an attempt that is not answered is made again, with the same request id.

        Of many calls that begin at once one may never reach a handler (seen with grpcio 1.85.3, on either event loop):
        it is answered when it is asked again.
        """
        begun = time.monotonic()
        give_up = begun + (6 * DEADLINE_S if self._patient else DEADLINE_S)
        while True:
            stub = self._stubs[self._at % len(self._stubs)]
            try:
                answer = getattr(stub, method)(request, timeout=ATTEMPT_S, metadata=self._metadata)
            except grpc.RpcError as error:
                in_vain = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                if not (self._patient or in_vain) or time.monotonic() > give_up:
                    raise
                self.come_again += 1
                self._at += 1
                self._stop.wait(0.05)
            else:
                self.latencies.append(time.monotonic() - begun)
                return answer

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._turn()
            except grpc.RpcError as error:
                self._findings.add(f"another client was answered {error!r}")
                self._stop.wait(1.0)

    def _turn(self) -> None:
        id = pb.RequestId(id=b"sentinel %d" % time.monotonic_ns(), not_after_ms=2**60)
        lock = self._ask("Lock", pb.LockRequest(name="sentinel/turn", ttl_ms=60_000, request=id, wait_ms=5_000))
        if not (lock.acquired and lock.token > self._last_token):
            self._findings.add(f"another client's Lock was answered {lock}")
            return
        self._last_token = lock.token
        seen = self._ask("IsLocked", pb.IsLockedRequest(name="sentinel/turn"))
        if [holder.token for holder in seen.holders] != [lock.token]:
            self._findings.add(f"another client holds {lock.token}, and IsLocked was answered {seen}")
        again = pb.RequestId(id=b"unlock %d" % time.monotonic_ns(), not_after_ms=2**60)
        unlock = self._ask("Unlock", pb.UnlockRequest(token=lock.token, request=again))
        if not unlock.released:
            self._findings.add(f"another client's Unlock of {lock.token} was answered {unlock}")
        self._stop.wait(0.002)


class Memory:
    """The resident memory of a process, twice a second."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self.samples: list[tuple[float, int]] = []
        self.descriptors_most = 0
        self._thread = threading.Thread(target=self._run, name="memory")
        self._thread.start()

    def _run(self) -> None:
        begun = time.monotonic()
        while not self._stop.is_set():
            try:
                self.samples.append((time.monotonic() - begun, self._process.memory_info().rss))
                self.descriptors_most = max(self.descriptors_most, self._process.num_fds())
            except psutil.NoSuchProcess:
                return
            self._stop.wait(0.5)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def growth(self) -> int:
        """Bytes, from the most within the warm-up to the last: a third of the run, and as long as records are kept."""
        seconds = self.samples[-1][0]
        warm_up = max(seconds / 3, min(RECORD_KEEP_S, 0.6 * seconds))
        return self.samples[-1][1] - max(rss for at, rss in self.samples if at <= warm_up)

    def __str__(self) -> str:
        sizes = [rss >> 20 for _, rss in self.samples]
        return f"RSS {sizes[0]} first, {sizes[-1]} last, {max(sizes)} most MiB; {self.descriptors_most} descriptors"


def check_log(cluster: Cluster, id: int, findings: Findings) -> None:
    strangers, told = 0, set()
    for line in cluster.nodes[id].log_lines():
        text = json.dumps(line)
        is_fault = line.get("level") in ("error", "critical") or any(fault in text for fault in FAULTS)
        if is_fault and line["event"] not in told:
            told.add(line["event"])
            findings.add(f"node {id} logged {text[:2000]}")
        strangers += len(line) == 1
    if strangers > LINES_OF_STRANGERS_MAX:
        findings.add(f"node {id} logged {strangers} lines that are no JSON, such as {_stranger(cluster, id)}")


def _stranger(cluster: Cluster, id: int) -> str:
    return next(str(line["event"]) for line in cluster.nodes[id].log_lines() if len(line) == 1)


def check_end(cluster: Cluster, ids: Sequence[int], findings: Findings) -> None:
    """Those nodes stop as an operator stops them."""
    for id in ids:
        if not cluster.nodes[id].is_running:
            findings.add(f"node {id} ended by itself: {cluster.nodes[id].process.poll()}")  # type: ignore[union-attr]
    codes = cluster.stop(*(id for id in ids if cluster.nodes[id].is_running))
    if any(codes):
        findings.add(f"the nodes stopped with {codes}")
    for id in ids:
        check_log(cluster, id, findings)
