"""A stopped node's data directory, damaged in one place at a time, and what the next start makes of it.

It starts with exactly what it held, or refuses and says what is damaged. Damage is done to files, as a device does it,
and to records behind LevelDB's own checksums, as a fault of memory or of a program does.
"""

import asyncio
import random
import shutil
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import plyvel
from hypothesis import strategies as st

from lockd.clock import SystemClock
from lockd.machine import commands as c
from lockd.machine.outcomes import Granted
from lockd.persistence.errors import StoreError, StoreInUse
from lockd.persistence.leveldb import LevelStore
from lockd.persistence.mark import FILE_NAME as MARK
from lockd.persistence.shelf import DirectoryShelf
from lockd.raft.errors import Fatal
from lockd.raft.replica import Replica, Settings
from lockd_client.proto import lockd_pb2 as pb
from lockd_client.proto import lockd_pb2_grpc
from tests.fuzz.driving import drive, weighted
from tests.fuzz.watching import Findings, Target
from tests.integration.cluster import Cluster, running

BESIDE = ("LOG", "LOG.old", "LOCK")
"""Of LevelDB: nothing is read from them."""

LAST_WRITES = 3
PROGRESS = b"h/progress"

EXITS = (65, 70, 74)
"""Damage, a contradiction, a file that cannot be read."""

STARTS_WITHIN_S = 20.0


# -- a directory worth damaging


def fill(cluster: Cluster) -> None:
    """Something in every table, a log that was compacted, tables and a write-ahead log, a snapshot on the shelf."""
    for life in range(3):
        with Target(cluster.nodes[1].endpoint).channel() as channel:
            locks = lockd_pb2_grpc.LockServiceStub(channel)
            session = locks.OpenSession(pb.OpenSessionRequest(ttl_ms=86_400_000, owner="fuzz")).session_id
            for number in range(200):
                name = f"lock/{life}/{number}"
                id = pb.RequestId(
                    client=b"%016d" % life, sequence=number + 1, not_after_ms=2**60, answered_below=number
                )
                own = {"session_id": session, "agent": "x"} if number % 3 else {"ttl_ms": 86_400_000}
                locks.Lock(pb.LockRequest(name=name, request=id, reason="why", metadata={"k": "v" * 50}, **own))
            delayed = locks.Lock(pb.LockRequest(name=f"delayed/{life}", ttl_ms=60_000, lock_delay_ms=60_000)).token
            locks.Unlock(pb.UnlockRequest(token=delayed, force=True, reason="to see", owner="me"))
            waiting = locks.Lock.future(
                pb.LockRequest(name=f"lock/{life}/0", session_id=session, agent="y", wait_ms=-1), timeout=0.3
            )
            waiting.exception()
        assert cluster.stop(1) == [0]
        if life < 2:
            cluster.start(1)
            cluster.wait_until_whole()
    shelf = cluster.nodes[1].data / "snapshots"
    (shelf / "made-5-1").write_bytes(b"lockd snapshot 1\n" + bytes(1000))


def records(store: LevelStore) -> dict[bytes, bytes]:
    return dict(store.scan(b""))


# -- damage, as values that can be written down and done again

_place = st.floats(0, 1, exclude_max=True)
_how_files = ["flip", "cut", "extend", "zero", "empty", "delete", "copy", "swap", "over", "begin"]
_how_records = ["flip", "cut", "extend", "empty", "swap", "move"]


def _damage(kind: str, hows: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "kind": st.just(kind),
            "how": st.sampled_from(hows),
            "which": _place,
            "other": _place,
            "place": _place,
            "bytes": st.binary(min_size=1, max_size=40).map(lambda data: b64encode(data).decode()),
        }
    )


_damages: st.SearchStrategy[dict[str, Any]] = weighted(
    (1, _damage("torn", ["cut"])),
    (4, _damage("file", _how_files)),
    (5, _damage("record", _how_records)),
    (1, _damage("shelf", _how_files)),
)


def do(damage: dict[str, Any], data: Path) -> str:
    """Damages the directory. Returns what was done, in words."""
    if damage["kind"] == "torn":
        return _tear(damage, data / "store")
    if damage["kind"] == "record":
        return _damage_record(damage, data / "store")
    folder = data / ("store" if damage["kind"] == "file" else "snapshots")
    return _damage_file(damage, sorted(file for file in folder.iterdir() if file.name not in BESIDE))


def _tear(damage: dict[str, Any], store: Path) -> str:
    """The last write broke off, before it was acknowledged: the mark knows nothing of it, nor of those before."""
    (log,) = store.glob("*.log")
    begun = log.stat().st_size * (LAST_WRITES - 1) // LAST_WRITES
    size = begun + int(damage["place"] * (log.stat().st_size - begun))
    log.write_bytes(log.read_bytes()[:size])
    (store / MARK).write_bytes(b"")
    return f"torn at {size} of {log.name}"


def _changed(how: str, before: bytes, place: float, new: bytes) -> bytes:
    at = int(place * len(before))
    match how:
        case "flip" if before:
            return before[:at] + bytes([before[at] ^ (1 << new[0] % 8)]) + before[at + 1 :]
        case "cut":
            return before[:at]
        case "extend":
            return before + new
        case "zero":
            return before[:at] + bytes(len(before[at : at + 4096])) + before[at + 4096 :]
        case "begin":
            return before + before[:100]
        case "empty":
            return b""
    return before


def _damage_file(damage: dict[str, Any], files: list[Path]) -> str:
    file = files[int(damage["which"] * len(files))]
    other = files[int(damage["other"] * len(files))]
    how, before, beside = damage["how"], file.read_bytes(), other.read_bytes()
    match how:
        case "delete":
            file.unlink()
        case "copy":
            stem = file.stem if file.suffix else file.name
            number = int("".join(filter(str.isdigit, stem)) or 0) + 1
            (file.parent / f"{number:06d}{file.suffix or '.log'}").write_bytes(before)
        case "swap":
            file.write_bytes(beside)
            other.write_bytes(before)
        case "over":
            file.write_bytes(beside)
        case _:
            file.write_bytes(_changed(how, before, damage["place"], b64decode(damage["bytes"])))
    return f"{how} {file.name}" + (f" {other.name}" if how in ("swap", "over") else "")


def _damage_record(damage: dict[str, Any], store: Path) -> str:
    db = plyvel.DB(str(store))
    found = list(db.iterator())
    # Most are alike: numbers of batches, and log entries. Every kind is as likely.
    kinds = sorted({key[:3] for key, _ in found})
    kind = kinds[int(damage["which"] * len(kinds))]
    of_kind = [record for record in found if record[0].startswith(kind)]
    key, value = of_kind[int(damage["place"] * len(of_kind))]
    other, beside = found[int(damage["other"] * len(found))]
    new = b64decode(damage["bytes"])
    match damage["how"]:
        case "swap":
            db.put(key, beside)
            db.put(other, value)
        case "move":
            moved = _changed("flip", key, damage["other"], new)
            db.delete(key)
            db.put(moved, value)
        case how:
            db.put(key, _changed(how, value, damage["other"], new))
    db.close()
    return f"{damage['how']} record {key!r}" + (f" and {other!r}" if damage["how"] == "swap" else "")


# -- what a start makes of it


class Refused(Exception):
    pass


def start_inside(data: Path, worker: ThreadPoolExecutor, *, turn: bool) -> dict[bytes, bytes]:
    """What a node finds, started in this process. turn: also takes a lock. Raises Refused."""
    try:
        store = LevelStore.open(data / "store", node_id=1)
    except StoreInUse:
        raise
    except StoreError as error:
        raise Refused(str(error)) from error
    try:
        found = records(store)
        return asyncio.run(_take_a_turn(store, DirectoryShelf(data / "snapshots"), worker, found, turn=turn))
    except (StoreError, Fatal) as error:
        raise Refused(str(error)) from error
    finally:
        store.close()


async def _take_a_turn(
    store: LevelStore, shelf: DirectoryShelf, worker: ThreadPoolExecutor, found: dict[bytes, bytes], *, turn: bool
) -> dict[bytes, bytes]:
    def offload(work: Callable[[], object]) -> "asyncio.Future[object]":
        return asyncio.get_running_loop().run_in_executor(worker, work)

    replica = Replica(
        1,
        frozenset({1}),
        store=store,
        shelf=shelf,
        link=None,  # type: ignore[arg-type]  # there is nobody to reach
        clock=SystemClock(),
        rng=random.Random(1),
        offload=offload,
        settings=Settings(),
    )
    if not turn:
        return found
    running = asyncio.create_task(replica.run())
    request = c.Request(c.Key("disk", c.FREE_ID + b"1"), b"", 2**60)
    wants = (c.Want("taken after the damage", c.Mode.EXCLUSIVE),)
    outcome = await replica.calls.propose(lambda call: c.Acquire(call=call, request=request, wants=wants), 10.0)
    assert isinstance(outcome, Granted)
    replica.stop()
    await running
    return found


def start_outside(cluster: Cluster) -> str:
    """The same as a process: `serving`, or its last words. Raises AssertionError where it does neither properly."""
    node = cluster.nodes[1]
    node.log.unlink(missing_ok=True)
    cluster.start(1)
    deadline = time.monotonic() + STARTS_WITHIN_S
    while node.is_running and cluster.leader() is None and time.monotonic() < deadline:
        pass  # each question waits for its answer
    if node.is_running:
        assert cluster.leader(), "it neither leads nor ends"
        assert cluster.stop(1) == [0]
        return "serving"
    log = node.log.read_text(errors="replace")
    assert node.process is not None
    assert node.process.returncode in EXITS, f"exit {node.process.returncode}: {log}"
    assert "Traceback" not in log, log
    return str(node.log_lines()[-1]["event"])


class Round:
    def __init__(self, cluster: Cluster, findings: Findings) -> None:
        self._cluster, self._findings = cluster, findings
        self._pristine = cluster.folder / "pristine"
        shutil.copytree(cluster.nodes[1].data, self._pristine)
        self._data = cluster.nodes[1].data
        self._worker = ThreadPoolExecutor(1)
        store = LevelStore.open(self._pristine / "store", node_id=1)
        self._expected = records(store)
        for _ in range(LAST_WRITES):  # a write-ahead log of its own, whose writes change nothing
            asyncio.run(store.write({PROGRESS: self._expected[PROGRESS]}))
        store.close()
        self._count = 0
        self.results: Counter[str] = Counter()

    def close(self) -> None:
        self._worker.shutdown()

    def run(self, damage: dict[str, Any]) -> None:
        self._count += 1
        shutil.rmtree(self._data)
        shutil.copytree(self._pristine, self._data)
        what = do(damage, self._data)
        try:
            result = self._outside() if self._count % 100 == 0 else self._inside(turn=self._count % 10 == 0)
            self.results[f"{damage['kind']}: {result}"] += 1
        except Exception as error:
            self._findings.add(f"{what}: {type(error).__name__}: {error}", damage)

    def _inside(self, *, turn: bool) -> str:
        try:
            found = start_inside(self._data, self._worker, turn=turn)
        except Refused as refused:
            said = str(refused)
            try:
                start_inside(self._data, self._worker, turn=False)
            except Refused:
                return "refused"
            raise AssertionError(f"refused, and then opened: {said}") from None
        differing = {key for key in found.keys() | self._expected.keys() if found.get(key) != self._expected.get(key)}
        assert not differing, f"opened with {len(differing)} records changed, such as {sorted(differing)[:3]}"
        return "opened"

    def _outside(self) -> str:
        return "served" if start_outside(self._cluster) == "serving" else "refused as a process"


def fuzz(folder: Path, findings: Findings, seconds: float, steps: list[dict[str, Any]] | None = None) -> str:
    """Returns what was done, in words."""
    with running(folder, 1, settings={"compact_entries": 100}) as cluster:
        fill(cluster)
        damaging = Round(cluster, findings)
        if steps:
            for step in steps:
                damaging.run(step)
            count = len(steps)
        else:
            until = time.monotonic() + seconds
            count = drive(_damages, damaging.run, seed=findings.seed, until=until)
        damaging.close()
        return f"{count} damaged directories: {dict(damaging.results)}"
