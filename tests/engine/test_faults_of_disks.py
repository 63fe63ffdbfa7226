"""Faults 2, 5, 7, 8 and 9 of docs/engine.md: what PySyncObj promises before, or without, a disk having it. The plain
library first, then ours, on the same schedule."""

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pysyncobj.config import SERIALIZER_STATE
from pysyncobj.journal import FileJournal, MemoryJournal, ResizableFile

from lockd.machine.apply import apply
from lockd.machine.outcomes import Granted
from lockd.machine.state import State
from lockd.persistence.memory import MemoryStore
from lockd.raft import codec
from lockd.raft.engine import REGULAR
from lockd.raft.envelopes import Content, Envelope, Manifest
from lockd.raft.errors import JournalCorrupt
from lockd.raft.journal import Journal, OpenBatch
from lockd.raft.snapshot import _records
from tests.engine.cluster import Cluster, Member, land
from tests.engine.rig import (
    HandClock,
    Ours,
    Plain,
    acknowledgement,
    append,
    entries,
    entry,
    refuse_call,
    snapshot_chunk,
)

# PySyncObj does not close the file that it reads its term and vote from.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

# -- 2: nothing is ever synced, checked or refused


def test_02_the_plain_library_syncs_nothing(clock: HandClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, refuse_call(f"os.{name}"))
    for kind in (FileJournal, ResizableFile):
        monkeypatch.setattr(kind, "flush", refuse_call("flush"))
    plain = Plain(1, (), journalFile=str(tmp_path / "journal"))
    plain.wins(clock)
    for number in range(20):
        plain.command(b"%d" % number)
        plain.ticks(clock, 2)
    assert len(plain.applied) == 20


def test_02_ours_promises_what_its_disk_has():
    """Every acknowledgement and vote that leaves a node, through elections, crashes and rejoining.

    A leader's entries may leave while it writes them, and never differ from what it has.
    """
    cluster = Cluster(seed=2)
    seen: set[str] = set()

    def check(source: int, target: int, envelope: Envelope) -> Content:
        message = envelope.content
        if not isinstance(message, dict):
            return message
        disk = cluster.members[source].disk.journal
        match message["type"]:
            case "append_entries":
                for data, index, term in message["entries"]:
                    assert not disk.holds(index) or disk.entry(index) == (data, index, term)
                assert message["commit_index"] <= disk.last
            case "next_node_idx" if message["success"]:
                assert message["next_node_idx"] - 1 <= disk.last
            case "response_vote":
                assert (disk.getCurrentTerm(), disk.getVotedForNodeId()) == (envelope.term, target)
            case "request_vote":
                assert (disk.getCurrentTerm(), disk.getVotedForNodeId()) == (envelope.term, source)
        assert envelope.term <= disk.getCurrentTerm()
        seen.add(message["type"])
        return message

    cluster.taps.append(check)
    cluster.do(range(10))
    killed = cluster.leader
    killed.kill()
    cluster.do(range(10, 20))
    killed.boot()
    cluster.do(range(20, 30))
    assert seen == {"append_entries", "next_node_idx", "request_vote", "response_vote"}


def test_02_a_damaged_vote_is_forgotten_by_the_plain_library(clock: HandClock, tmp_path: Path):
    file = str(tmp_path / "journal")
    plain = Plain(journalFile=file)
    plain.receives(2, {"type": "request_vote", "term": 7, "last_log_index": 9, "last_log_term": 0})
    assert (plain.raftCurrentTerm, plain.private("votedForNodeId")) == (7, 2)
    Path(file + ".meta").write_bytes(b"damaged")
    again = Plain(journalFile=file)
    assert (again.raftCurrentTerm, again.private("votedForNodeId")) == (0, None)


def test_02_a_damaged_vote_is_refused_by_ours(clock: HandClock):
    ours = Ours(clock)
    ours.receives(2, {"type": "request_vote", "term": 7, "last_log_index": 9, "last_log_term": 0})
    ours.writes()
    with pytest.raises(JournalCorrupt, match="vote"):
        Ours(clock, records={**ours.records(), b"h/vote": b"damaged"})


def test_02_a_damaged_entry_is_read_by_the_plain_library_and_refused_by_ours(clock: HandClock, tmp_path: Path):
    file = tmp_path / "journal"
    plain, ours = Plain(journalFile=str(file)), Ours(clock)
    for node in (plain, ours):
        node.receives(2, append(1, 1, 0, [(b"\x00grant", 2, 1)]))
    file.write_bytes(file.read_bytes().replace(b"grant", b"great"))
    assert Plain(journalFile=str(file)).private("raftLog")[-1][0] == b"\x00great"
    ours.writes()
    records = {key: value.replace(b"grant", b"great") for key, value in ours.records().items()}
    with pytest.raises(JournalCorrupt, match="entry 2 does not match its checksum"):
        Ours(clock, records=records)


# -- 5: snapshots are installed unsafely


def snapshot_hooks(prev: Any, last: Any) -> dict[str, Any]:
    def load(file: str) -> Any:
        if last is None:
            raise SystemExit("damaged")
        return last, prev, set()

    return {
        "serializer": lambda file, data: None,
        "deserializer": load,
        "serializeChecker": lambda: SERIALIZER_STATE.NOT_SERIALIZING,
    }


def send_snapshot(plain: Plain, peer: int, term: int, *, chunks: tuple[bytes, ...] = (b"",)) -> None:
    for place, chunk in enumerate((*chunks, b"")):
        plain.receives(peer, snapshot_chunk(term, 1, (chunk, place == 0, place == len(chunks))))


def test_05_a_damaged_snapshot_makes_an_empty_leader_of_the_plain_library(clock: HandClock, tmp_path: Path):
    (tmp_path / "dump").write_bytes(b"damaged")
    plain = Plain(1, (), fullDumpFile=str(tmp_path / "dump"), **snapshot_hooks(None, None))
    plain.wins(clock)  # not even SystemExit gets out of the hook
    plain.ticks(clock, 2)
    assert plain._isLeader()
    assert plain.isReady()
    assert plain.applied == []


def test_05_a_damaged_state_is_refused_by_ours():
    cluster = Cluster(1)
    cluster.do(range(3))
    member = cluster.leader
    member.kill()
    key = next(key for key in member.disk.records if key.startswith(codec.STATE + b"h"))
    member.disk.records[key] = b"\xff damaged"
    with pytest.raises(JournalCorrupt, match="the stored state is damaged"):
        member.boot()


def test_05_a_failed_load_is_acknowledged_with_the_own_end_by_the_plain_library(clock: HandClock, tmp_path: Path):
    plain = Plain(fullDumpFile=str(tmp_path / "dump"), **snapshot_hooks(None, None))
    plain.receives(2, append(1, 1, 0, entries(2, 7, 1)))
    plain.sends()
    send_snapshot(plain, 3, 2)
    assert plain.acknowledged() == 7  # entries of term 1, that the leader of term 2 never had


def test_05_an_offer_is_acknowledged_by_ours_with_what_is_committed():
    cluster = Cluster()
    cluster.do(range(5))
    cluster.settle()
    follower, leader = cluster.followers[0], cluster.leader
    commit = follower.replica.journal.getRaftCommitIndex()
    told: list[int] = []

    def hide_commits(source: int, target: int, envelope: Envelope) -> Content:
        message = envelope.content
        if target == follower.id and isinstance(message, dict) and message["type"] == "append_entries":
            return {**message, "commit_index": min(commit, message["commit_index"])}
        return message

    cluster.taps.append(hide_commits)
    cluster.do(range(5, 8), through=leader)
    cluster.run(0.05)
    assert follower.replica.journal.last > follower.replica.journal.getRaftCommitIndex() == commit

    def listen(source: int, target: int, envelope: Envelope) -> Content:
        message = envelope.content
        if source == follower.id and isinstance(message, dict) and message["type"] == "next_node_idx":
            told.append(message["next_node_idx"] - 1)
        return message

    def offer(source: int, target: int, envelope: Envelope) -> Content | None:
        return Manifest(1_000, 1, 10, bytes(32)) if target == follower.id else envelope.content

    cluster.taps[:] = [listen, offer]
    cluster.run(0.5)
    assert told
    assert max(told) <= commit
    assert leader.replica.engine.is_leader


def test_05_an_older_snapshot_takes_the_plain_library_back(clock: HandClock, tmp_path: Path):
    hooks = snapshot_hooks(entry(4, 1), entry(5, 1))
    plain = Plain(fullDumpFile=str(tmp_path / "dump"), **hooks)
    plain.receives(2, append(1, 1, 0, entries(2, 11, 1), commit=9))
    plain.ticks(clock)
    assert (plain.acknowledged(), plain.raftLastApplied) == (11, 9)
    send_snapshot(plain, 2, 1)
    assert (plain.end, plain.raftLastApplied) == (5, 5)


def test_05_a_lost_chunk_leaves_a_hole_in_the_plain_librarys_dump(clock: HandClock, tmp_path: Path):
    plain = Plain(fullDumpFile=str(tmp_path / "dump"), **snapshot_hooks(None, None))
    for chunk in ((b"begin", True, False), (b"end", False, False), (b"", False, True)):  # "middle" was lost
        plain.receives(2, snapshot_chunk(1, 1, chunk))
    assert (tmp_path / "dump").read_bytes() == b"beginend"


# Ours, on garbled, short and outdated snapshots: test_snapshots.py.


# -- 7: a crash between the dump and the cut


def test_07_a_crash_between_dump_and_cut_wipes_the_plain_librarys_tail(clock: HandClock, tmp_path: Path):
    files: Any = {"journalFile": str(tmp_path / "journal"), "fullDumpFile": str(tmp_path / "dump")}
    plain = Plain(**files)
    plain.receives(2, append(1, 1, 0, entries(2, 11, 1), commit=6))
    plain.ticks(clock)
    assert plain.acknowledged() == 11
    plain.forceLogCompaction()
    plain.ticks(clock)  # writes the dump; the next tick would cut the journal
    again = Plain(**files)
    assert again.end == 11
    again.ticks(clock)
    assert again.end == 6


def test_07_a_compacted_journal_without_its_dump_leads_and_never_applies_in_the_plain_library(clock: HandClock):
    journal = MemoryJournal()
    for index in range(50, 60):
        journal.add(*entry(index, 1))
    plain = Plain(1, (), journal=journal)
    plain.wins(clock)
    plain.command(b"new")
    plain.ticks(clock, 5)
    assert plain._isLeader()
    assert plain.raftCommitIndex > 59
    assert plain.applied == []


def test_07_a_compacted_log_without_its_applied_index_is_refused_by_ours(clock: HandClock):
    ours = Ours(clock)
    ours.receives(2, append(1, 1, 0, entries(2, 59, 1), commit=50))
    ours.ticks()
    ours.journal.compact(50)
    ours.writes()
    records = {key: value for key, value in ours.records().items() if key != b"h/progress"}
    with pytest.raises(JournalCorrupt, match="the applied index 1 lies outside of the log, which begins at 50"):
        Ours(clock, records=records)


def test_07_ours_loses_nothing_to_a_crash_between_any_two_writes():
    """A single node compacts all the time; it is restarted from the disk as it was after each write."""
    cluster = Cluster(1, compact_entries=10)
    member = cluster.leader
    granted: list[tuple[int, int]] = []
    for number in range(60):
        proposal = cluster.acquire(number)
        cluster.until(lambda done=proposal: done.outcome is not None)  # type: ignore[misc]
        assert isinstance(proposal.outcome, Granted)
        granted.append((len(member.disk.batches), proposal.outcome.token))
    assert member.disk.journal.first > 1
    records: dict[bytes, bytes] = {}
    for place, batch in enumerate(member.disk.batches, 1):
        land(records, batch)
        check_stored(records, member)
        held = replayed(records)
        assert {token for written, token in granted if written <= place} <= held.holds.keys()


def check_stored(records: Mapping[bytes, bytes], member: Member) -> None:
    """What is stored loads, and its state is the one that belongs to its applied index."""
    store = MemoryStore(records)
    journal = Journal(store, OpenBatch())
    state = State.restored(codec.decode_records(store.scan(codec.STATE)))
    known = [index for index in member.states if index <= journal.applied]
    assert not known or list(state.all_records()) == member.states[max(known)]


def replayed(records: Mapping[bytes, bytes]) -> State:
    """What a node that starts from records holds once it has applied its log."""
    store = MemoryStore(records)
    journal = Journal(store, OpenBatch())
    state = State.restored(codec.decode_records(store.scan(codec.STATE)))
    for data, index, term in journal:
        if data[:1] == REGULAR and index > journal.applied:
            apply(state, codec.decode_entry(data[1:]), term)
    return state


# -- 8: the dump hook


def test_08_the_plain_library_renames_half_a_dump_over_the_last_good_one(clock: HandClock, tmp_path: Path):
    dump = tmp_path / "dump"
    hooks = snapshot_hooks(None, None) | {"serializer": lambda file, data: Path(file).write_text("half")}
    plain = Plain(1, (), fullDumpFile=str(dump), **hooks)  # a thread would go on writing
    plain.wins(clock)
    plain.command(b"x")
    plain.ticks(clock, 2)
    dump.write_text("the last good one")
    plain.forceLogCompaction()
    plain.ticks(clock)
    assert dump.read_text() == "half"


def test_08_the_plain_library_labels_a_dump_ahead_of_what_is_written(clock: HandClock, tmp_path: Path):
    labels = []
    hooks = snapshot_hooks(None, None) | {"serializer": lambda file, data: labels.append(data[0][1])}
    plain = Plain(1, (), fullDumpFile=str(tmp_path / "dump"), **hooks)
    plain.wins(clock)
    plain.ticks(clock)
    plain.command(b"x")
    plain.ticks(clock)
    written = plain.raftLastApplied  # a barrier after the tick has written as much
    plain.forceLogCompaction()
    plain.ticks(clock)
    assert labels == [written + 1]


def test_08_the_plain_library_forks(clock: HandClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    forks: list[int] = []

    def fork() -> int:
        forks.append(1)
        return 1

    monkeypatch.setattr(os, "fork", fork)
    plain = Plain(1, (), fullDumpFile=str(tmp_path / "dump"), useFork=True)
    plain.wins(clock)
    plain.command(b"x")
    plain.ticks(clock, 2)
    plain.forceLogCompaction()
    plain.ticks(clock)
    assert len(forks) == 1


def test_08_a_snapshot_of_ours_holds_the_state_of_its_label(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "fork", refuse_call("os.fork"))
    cluster = Cluster(compact_entries=10)
    leader, follower = cluster.leader, cluster.followers[0]
    cluster.isolate(follower)
    cluster.do(range(20), through=leader)
    cluster.heal()
    proposals = [cluster.acquire(number, leader) for number in range(20, 60)]
    cluster.until(lambda: leader.replica.snapshots.newest)
    made = leader.replica.snapshots.newest
    assert made is not None
    name = f"made-{made.index}-{made.term}"
    body = dict(_records(leader.disk.shelf.read(name, 0, made.size)))
    state = State.restored(codec.decode_records(iter(body.items())))
    assert list(state.all_records()) == leader.states[made.index]
    cluster.settle()
    assert all(isinstance(proposal.outcome, Granted) for proposal in proposals)
    assert leader.replica.engine._raft.conf.fullDumpFile is None


# -- 9: the leader counts itself before its own sync


def test_09_a_single_plain_node_commits_in_the_next_tick(clock: HandClock):
    plain = Plain(1, ())
    plain.wins(clock)
    plain.command(b"x")
    plain.ticks(clock)
    assert plain.applied == []
    plain.ticks(clock)  # nobody was asked whether it is written
    assert plain.applied == [(3, b"x")]


def test_09_a_plain_leader_counts_its_own_unwritten_copy(clock: HandClock):
    plain = Plain()
    plain.wins(clock, 2)
    plain.command(b"x")
    plain.ticks(clock)
    plain.receives(2, acknowledgement(plain.end))
    plain.ticks(clock)
    assert plain.applied == [(3, b"x")]


@pytest.mark.parametrize("size", [1, 3])
def test_09_ours_counts_its_own_copy_after_its_own_write(size: int):
    """Its followers may have the entry before: they and it are a majority only when it is on its own disk too."""
    cluster = Cluster(size)
    leader = cluster.leader
    cluster.settle()
    before, others = leader.disk.journal.last, [m for m in cluster.members.values() if m is not leader]
    for other in others[1:]:
        cluster.isolate(other)
    leader.disk.held = True
    proposal = cluster.acquire(1)
    cluster.run(0.2)
    assert leader.replica.journal.last > before
    assert all(other.disk.journal.last > before for other in others[:1])
    assert proposal.outcome is None
    assert leader.replica.journal.getRaftCommitIndex() == before
    leader.disk.held = False
    cluster.until(lambda: proposal.outcome is not None)


def test_09_a_commit_index_beyond_the_end_makes_a_lone_committer_of_the_plain_library(clock: HandClock):
    journal = MemoryJournal()
    journal.getRaftCommitIndex = lambda: 50
    plain = Plain(journal=journal)
    plain.wins(clock, 2)
    plain.command(b"x")
    plain.ticks(clock, 2)
    assert plain.applied == [(3, b"x")]
    assert set(plain.private("raftMatchIndex").values()) == {0}


def test_09_a_commit_index_beyond_the_end_is_refused_by_ours(clock: HandClock):
    ours = Ours(clock)
    ours.writes()
    with pytest.raises(JournalCorrupt, match="the commit index 50 lies beyond the log's end, 1"):
        Ours(clock, records={**ours.records(), b"h/progress": struct.pack(">QQ", 50, 1)})
