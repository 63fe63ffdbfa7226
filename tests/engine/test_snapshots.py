"""Snapshots arrive whole and verified or not at all, and take nobody back."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable

import pytest

from lockd.machine.state import State
from lockd.persistence.memory import MemoryShelf, MemoryStore
from lockd.raft import codec, envelopes
from lockd.raft import snapshot as snapshot_module
from lockd.raft.envelopes import Envelope, Manifest
from lockd.raft.errors import LinkError
from lockd.raft.ports import LinkEvents
from lockd.raft.snapshot import Body, Snapshots
from tests.engine.cluster import Cluster


class Source:
    """A link whose peer serves what it is told to, one body a fetch."""

    def __init__(self, *bodies: bytes | None) -> None:
        """None: the connection breaks."""
        self._bodies = list(bodies)
        self.asked: list[int] = []

    async def fetch(self, peer: int, sha256: bytes, offset: int) -> AsyncIterator[bytes]:
        self.asked.append(offset)
        body = self._bodies.pop(0)
        if body is None:
            raise LinkError("the connection broke")
        for start in range(offset, len(body), 50):
            yield body[start : start + 50]

    async def start(self, events: LinkEvents) -> None: ...

    async def stop(self) -> None: ...

    def send(self, peer: int, data: bytes) -> None: ...


async def offload(work: Callable[[], object]) -> object:
    return work()


@pytest.fixture(scope="module")
def records() -> dict[bytes, bytes]:
    """What a store holds after ten locks."""
    cluster = Cluster(1)
    cluster.do(range(10))
    return dict(cluster.leader.disk.records)


@pytest.fixture
def made(records) -> tuple[Manifest, bytes]:
    shelf = MemoryShelf()
    snapshots = Snapshots(shelf, offload)
    asyncio.run(snapshots.make(MemoryStore(records).view(), 12, 1))
    assert snapshots.newest
    return snapshots.newest, shelf.read(shelf.names()[0], 0, snapshots.newest.size)


def fetch_each(source: Source, manifest: Manifest, times: int) -> tuple[list[Body | None], MemoryShelf]:
    shelf = MemoryShelf()
    snapshots = Snapshots(shelf, offload)
    return [asyncio.run(snapshots.fetch(source, 2, manifest)) for _ in range(times)], shelf


def stored_state(records: dict[bytes, bytes]) -> State:
    return State.restored(codec.decode_records(MemoryStore(records).scan(codec.STATE)))


def test_a_whole_body_is_the_state_it_was_made_from(records, made: tuple[Manifest, bytes]):
    manifest, body = made
    (fetched,), shelf = fetch_each(Source(body), manifest, 1)
    assert fetched
    assert list(fetched.state.all_records()) == list(stored_state(records).all_records())
    assert fetched.records == dict(MemoryStore(records).scan(codec.STATE))
    assert shelf.names() == []


def garbled(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


@pytest.mark.parametrize("damage", [garbled, lambda body: body + b"more", lambda body: b"\0" * len(body)])
def test_a_garbled_body_is_refused_and_fetched_again_from_its_start(made, damage: Callable[[bytes], bytes]):
    manifest, body = made
    source = Source(damage(body), body)
    (first, second), _ = fetch_each(source, manifest, 2)
    assert first is None
    assert second
    assert source.asked == [0, 0]


def test_a_short_body_is_no_body_and_the_next_fetch_goes_on(made):
    manifest, body = made
    source = Source(body[:130], None, body)
    (first, second, third), _ = fetch_each(source, manifest, 3)
    assert (first, second) == (None, None)
    assert third
    assert source.asked == [0, 130, 130]


def test_a_body_of_another_checksum_is_refused(made):
    manifest, body = made
    lie = Manifest(manifest.index, manifest.term, manifest.size, hashlib.sha256(b"other").digest())
    (fetched,), shelf = fetch_each(Source(body), lie, 1)
    assert fetched is None
    assert shelf.names() == []


@pytest.mark.parametrize(
    "body",
    [
        b"no snapshot",
        snapshot_module._MAGIC + b"\0",
        snapshot_module._MAGIC + b"\0\0\0\x05\0\0\0\x05ab",
        snapshot_module._MAGIC + b"\0\0\0\x01\0\0\0\x01ab",
        snapshot_module._MAGIC + b"\0\0\0\x03\0\0\0\x01s/h\xff",
    ],
    ids=["another format", "half a length", "half a record", "an unknown table", "a record that does not decode"],
)
def test_a_body_that_matches_its_manifest_and_is_no_snapshot_is_refused(body: bytes):
    manifest = Manifest(5, 1, len(body), hashlib.sha256(body).digest())
    (fetched,), _ = fetch_each(Source(body), manifest, 1)
    assert fetched is None


def test_a_node_serves_the_newest_only_and_ends_short_when_it_is_replaced(records):
    async def serve() -> None:
        snapshots = Snapshots(MemoryShelf(), offload)
        await snapshots.make(MemoryStore(records).view(), 12, 1)
        manifest = snapshots.newest
        assert manifest
        body = snapshots.serve(manifest.sha256, 10)
        assert body
        await snapshots.make(MemoryStore({}).view(), 13, 1)
        assert b"".join([chunk async for chunk in body]) == b""
        assert snapshots.serve(manifest.sha256, 0) is None

    asyncio.run(serve())


# -- whole replicas


def lagging() -> Cluster:
    """A cluster whose second follower needs a snapshot once the links are healed."""
    cluster = Cluster(compact_entries=10)
    cluster.do(range(3))
    cluster.isolate(cluster.followers[1])
    cluster.do(range(3, 40))
    return cluster


def test_a_follower_installs_no_garbled_snapshot_and_asks_again(monkeypatch: pytest.MonkeyPatch):
    cluster = lagging()
    leader = cluster.leader
    follower = next(member for member in cluster.members.values() if (member.id, leader.id) in cluster.cut)
    before, fetches = follower.replica.journal.applied, []
    plain = follower.fetch

    async def garbling(peer: int, sha256: bytes, offset: int) -> AsyncIterator[bytes]:
        fetches.append(follower.replica.journal.applied)
        async for chunk in plain(peer, sha256, offset):
            yield garbled(chunk) if len(fetches) < 3 else chunk

    monkeypatch.setattr(follower, "fetch", garbling)
    cluster.heal()
    cluster.settle()
    assert len(fetches) == 3
    assert set(fetches) == {before}
    assert list(follower.replica.state.all_records()) == list(leader.replica.state.all_records())


def test_a_snapshot_that_is_not_ahead_is_not_even_fetched():
    cluster = Cluster()
    cluster.do(range(5))
    cluster.settle()
    leader, follower = cluster.leader, cluster.followers[0]
    term, commit = leader.replica.engine.term, follower.replica.journal.getRaftCommitIndex()
    offer = Envelope(term, 1_000_000, Manifest(commit, term, 10, bytes(32)))
    follower.process.call(follower.replica.frame, leader.id, 0, envelopes.encode(offer))
    cluster.run(0.01)
    assert not follower.replica.snapshots.is_fetching
    assert follower.replica.journal.applied >= commit


def test_a_snapshot_that_was_overtaken_while_it_came_is_not_installed():
    cluster = Cluster()
    cluster.do(range(5))
    cluster.settle()
    follower = cluster.followers[0]
    before, first = list(follower.replica.state.all_records()), follower.replica.journal.first
    applied = follower.replica.journal.applied
    follower.replica._fetched = Body(Manifest(applied - 1, 1, 0, b"?"), State(), {})
    cluster.run(0.1)
    assert follower.replica.journal.applied == applied
    assert follower.replica.journal.first == first
    assert list(follower.replica.state.all_records()) == before


def test_state_log_and_indices_are_installed_in_one_write():
    cluster = lagging()
    follower = next(m for m in cluster.members.values() if (m.id, cluster.leader.id) in cluster.cut)
    before = len(follower.disk.batches)
    cluster.heal()
    cluster.settle()
    installing = [batch for batch in follower.disk.batches[before:] if any(k.startswith(b"s/h") for k in batch)]
    keys = installing[0].keys()
    assert b"h/progress" in keys
    assert any(key.startswith(b"l/") for key in keys)
    assert codec.STATE + b"s" in keys
