"""Abuses real nodes, one surface at a time, and looks whether anybody else noticed.

    python -m tests.fuzz.run --surface rpc --seconds 600 --seed 7

A finding prints the seed and names a file with the steps that led to it; `--replay FILE` does them again. The seed
alone gives the same examples, but not the same interleaving. Exits with 1 where something was found.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.fuzz import connections, disk, peers, rpc
from tests.fuzz.watching import GROWTH_MAX, Findings, Memory, Sentinel, Target, check_end
from tests.integration.cluster import Cluster, running

LIMITS = {"records_per_caller_max": 10_000_000, "sessions_per_caller_max": 1_000_000}
"""Without tokens all share these: what the fuzzer uses up must not keep the sentinel out."""

CALLERS = {"tokens": [{"name": "admin", "role": "admin"}, {"name": "sentinel", "role": "lock"}]}


def run_rpc(
    findings: Findings,
    seconds: float,
    folder: Path,
    steps: list[dict[str, object]] | None = None,
    *,
    secured: bool = False,
) -> str:
    """secured: over TLS, with the token of an admin."""
    settings = {"limits": LIMITS, "compact_entries": 2_000}
    guard: dict[str, Any] = {"tls": "none", "auth": CALLERS} if secured else {}
    with running(folder, 1, settings=settings, **guard) as cluster:
        target, other = (_target(cluster, name) for name in ("admin", "sentinel"))
        sentinel = Sentinel(other, findings)
        memory = Memory(cluster.nodes[1].pid)
        try:
            said = rpc.replay(target, findings, steps) if steps else rpc.fuzz(target, findings, seconds)
        finally:
            sentinel.stop()
            memory.stop()
        if cluster.nodes[1].is_running:
            sentinel.check_held()
        sentinel.close()
        check_memory(memory, findings)
        check_end(cluster, [1], findings)
        return f"{said}; {told(sentinel)}; {memory}"


def _target(cluster: Cluster, token: str) -> Target:
    endpoint = cluster.nodes[1].endpoint
    if not cluster.settings.get("tls"):
        return Target(endpoint)
    return Target(endpoint, cluster.secured.secret(token), cluster.secured.authority.ca)


def run_disk(findings: Findings, seconds: float, folder: Path, steps: list[dict[str, object]] | None = None) -> str:
    return disk.fuzz(folder, findings, seconds, steps)


def run_peers(findings: Findings, seconds: float, folder: Path, steps: list[dict[str, object]] | None = None) -> str:
    with running(folder, 3, settings={"limits": LIMITS, "peer_secret": peers.SECRET}) as cluster:
        cluster.stop(peers.LIAR)
        cluster.wait_for_leader(1, 2)
        targets = [Target(cluster.nodes[id].endpoint) for id in (1, 2)]
        sentinel = Sentinel(targets[0], findings, others=targets[1:], patient=True)
        memories = [Memory(cluster.nodes[id].pid) for id in (1, 2)]
        try:
            said = peers.fuzz(cluster, findings, seconds, steps)
        finally:
            sentinel.stop()
            for memory in memories:
                memory.stop()
        if all(cluster.nodes[id].is_running for id in (1, 2)):
            cluster.start(peers.LIAR)
            try:
                cluster.wait_until_whole()
                sentinel.check_held()
            except AssertionError as error:
                findings.add(f"the three nodes do not come together again: {error}")
        sentinel.close()
        for memory in memories:
            check_memory(memory, findings)
        check_end(cluster, [1, 2], findings)
        return f"{said}; {told(sentinel)}, {sentinel.come_again} asked again; {memories[0]}"


def run_connections(
    findings: Findings, seconds: float, folder: Path, *, phases: Sequence[str] | None = None, scale: float = 1.0
) -> str:
    """Each phase has a part of the time, and a node of its own. scale: of the numbers of connections."""
    said = []
    chosen = [phase for phase in connections.PHASES if not phases or phase.name in phases]
    for place, phase in enumerate(chosen):
        size = 3 if phase.peers else 1
        files = phase.open_files_max
        under = ["prlimit", f"--nofile={files}:{files}"] if files else []
        with running(folder / str(place), size, settings={"limits": LIMITS}, under=lambda _: under) as cluster:  # noqa: B023
            part = seconds / len(chosen)
            said.append(connections.fuzz_phase(phase, cluster, findings, part, scale))
            check_end(cluster, [*cluster.nodes], findings)
    return "\n  " + "\n  ".join(said)


def check_memory(memory: Memory, findings: Findings) -> None:
    if memory.growth() > GROWTH_MAX:
        findings.add(f"memory grew by {memory.growth() >> 20} MiB after the warm-up; the bound is {GROWTH_MAX >> 20}")


def told(sentinel: Sentinel) -> str:
    p50, p99 = sentinel.percentiles()
    return f"another client: {len(sentinel.latencies)} calls, p50 {p50:.1f} ms, p99 {p99:.1f} ms"


SURFACES: dict[str, Callable[..., str]] = {
    "rpc": run_rpc,
    "peers": run_peers,
    "disk": run_disk,
    "connections": run_connections,
}


def run(surface: str, seconds: float, seed: int, found: Path, **options: Any) -> Findings:
    """Prints one line at the end. found: a folder for the steps of what is found. options: the surface's own."""
    findings = Findings(surface, seed, found)
    memory = Path("/dev/shm")  # thousands of directories are made and damaged: no disk is needed for that
    folder = Path(tempfile.mkdtemp(prefix="lockd-fuzz-", dir=memory if surface == "disk" and memory.is_dir() else None))
    begun = time.monotonic()
    try:
        said = SURFACES[surface](findings, seconds, folder, **options)
    finally:
        if findings.found:
            print(f"the nodes' folders are kept in {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    count = len(findings.found)
    print(f"{surface}, seed {seed}, {time.monotonic() - begun:.0f} s: {count} findings; {said}", flush=True)
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surface", choices=[*SURFACES], action="append", help="may be repeated; default: all")
    parser.add_argument("--phase", action="append", help="of connections; default: all")
    parser.add_argument("--secured", action="store_true", help="of rpc: over TLS, with the token of an admin")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each surface")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--found", type=Path, default=Path(".fuzz"), help="where the steps of what is found are kept")
    parser.add_argument("--replay", type=Path, help="a file of steps; with one --surface")
    options = parser.parse_args()
    steps = [json.loads(line) for line in options.replay.read_text().splitlines()] if options.replay else None
    found = 0
    for surface in options.surface or SURFACES:
        own: dict[str, Any] = {"steps": steps} if steps else {}
        if surface == "connections":
            own = {"phases": options.phase}
        elif surface == "rpc":
            own["secured"] = options.secured
        found += len(run(surface, options.seconds, options.seed, options.found, **own).found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
