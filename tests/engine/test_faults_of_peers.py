"""Faults 1, 3, 4, 6, 10 and 14 of docs/engine.md: what PySyncObj takes from its peers. The plain library first, then
ours, on the same schedule."""

import pickle
import socket
import sys
from typing import Any

import pysyncobj.syncobj as library
import pytest
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.journal import MemoryJournal
from pysyncobj.node import Node
from pysyncobj.tcp_connection import TcpConnection
from pysyncobj.transport import TCPTransport

from lockd.proto import peers_pb2 as pb
from lockd.raft import engine, envelopes
from lockd.raft.errors import CodecError, Fatal
from tests.engine.cluster import Cluster
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
    vote,
)

MEMBERSHIP = b"\x02" + pickle.dumps(["add", 9, Node(9)], 2)
VERSION = b"\x03" + pickle.dumps(1_000, 2)


class Evil:
    """Pickled by an attacker; runs what it likes where it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("import sys; sys.owned_by_a_peer = True",)


@pytest.fixture
def is_owned():
    yield lambda: getattr(sys, "owned_by_a_peer", False)
    sys.__dict__.pop("owned_by_a_peer", None)


class Poller:
    """Hands a connection its events by hand."""

    def subscribe(self, descriptor: int, callback: Any, mask: int) -> None:
        self.wake = lambda: callback(descriptor, 3)

    def unsubscribe(self, descriptor: int) -> None:
        pass


# -- 1: anyone owns the process


def test_01_a_frame_from_anyone_runs_code_in_the_plain_library(clock: HandClock, is_owned):
    here, there = socket.socketpair()
    here.setblocking(False)
    poller = Poller()
    with here, there:
        receiver = TcpConnection(poller, onMessageReceived=lambda message: None, socket=here)
        TcpConnection(Poller(), socket=there).send(Evil())
        poller.wake()
    assert is_owned()
    assert receiver.recvRandKey is None  # nobody was asked who he is


def test_01_a_frame_with_a_pickle_is_dropped_by_ours(clock: HandClock, is_owned):
    cluster = Cluster()
    follower = cluster.followers[0]
    follower.process.call(follower.replica.frame, cluster.leader.id, 99, pickle.dumps(Evil()))
    cluster.do(range(2))
    assert not is_owned()
    assert follower.process.alive


def test_01_strangers_are_served_by_the_plain_library():
    class Unbound(TCPTransport):  # type: ignore[misc]
        ready = True

    class Connection:
        sent: Any = None
        sendRandKey = None  # noqa: N815 - pysyncobj's name

        def setOnMessageReceivedCallback(self, callback: Any) -> None:
            pass

        def send(self, message: Any) -> None:
            self.sent = message

    others = ["127.0.0.1:1", "127.0.0.1:2"]
    node = SyncObj("127.0.0.1:3", others, SyncObjConf(autoTick=False), transportClass=Unbound)
    transport, stranger = node._SyncObj__transport, Connection()
    transport._onIncomingMessageReceived(stranger, ["status"])
    assert stranger.sent["raft_term"] == 0
    transport._onIncomingMessageReceived(stranger, "readonly")
    assert len(node.readonlyNodes) == 1  # it gets the whole log from now on


def test_01_ours_hears_its_members_only():
    cluster = Cluster()
    follower = cluster.followers[0]
    frame = envelopes.encode(envelopes.Envelope(1_000, 1, append(1_000, 1, 0, [])))
    follower.process.call(follower.replica.frame, 9, 99, frame)
    cluster.run(0.1)
    assert follower.replica.engine.term < 1_000


def test_01_a_log_entry_runs_code_in_the_plain_library(clock: HandClock, is_owned):
    plain = Plain()
    forged = b"\x00" + pickle.dumps((0, (Evil(),)), 2)
    plain.receives(2, append(1, 1, 0, [(forged, 2, 1)], commit=2))
    plain.ticks(clock)
    assert is_owned()


def test_01_a_log_entry_is_bytes_to_ours(clock: HandClock, is_owned):
    ours = Ours(clock)
    forged = pickle.dumps((0, (Evil(),)), 2)
    ours.receives(2, append(1, 1, 0, [(b"\x00" + forged, 2, 1)], commit=2))
    ours.ticks()
    assert ours.applied == [(2, 1, forged)]
    assert not is_owned()


def test_01_a_forged_entry_adds_a_member_to_the_plain_library(clock: HandClock):
    plain = Plain(dynamicMembershipChange=False)
    plain.receives(2, append(1, 1, 0, [(MEMBERSHIP, 2, 1)], commit=2))
    plain.ticks(clock)
    assert Node(9) in plain.otherNodes


def test_01_a_forged_version_wedges_the_plain_library(clock: HandClock):
    plain = Plain()
    plain.receives(2, append(1, 1, 0, [(VERSION, 2, 1), entry(3, 1)], commit=3))
    plain.ticks(clock, 5)
    assert [data for _, data in plain.applied] == [b"x", b"x"]  # the entry behind it: twice, while it is retried


@pytest.mark.parametrize("forged", [MEMBERSHIP, VERSION, b"", b"\x01more"])
def test_01_other_kinds_of_entries_do_not_reach_ours(clock: HandClock, forged: bytes):
    frame = pb.Envelope(term=1, sequence=1)
    frame.append_entries.CopyFrom(pb.AppendEntries(prev_index=1, commit_index=2))
    frame.append_entries.entries.add(index=2, term=1, data=forged)
    with pytest.raises(CodecError, match="entry 2 is of a kind that lockd never writes"):
        envelopes.decode(frame.SerializeToString())


def test_01_other_kinds_of_entries_in_the_log_stop_ours(clock: HandClock):
    ours = Ours(clock)
    ours.receives(2, append(1, 1, 0, [(MEMBERSHIP, 2, 1)], commit=2))
    with pytest.raises(Fatal, match="entry 2 is of a kind that lockd never writes"):
        ours.ticks()
    assert ours.engine._raft.otherNodes == {Node(2), Node(3)}


def test_01_ours_never_pickles(monkeypatch: pytest.MonkeyPatch):
    for name in ("loads", "load", "dumps", "dump", "_loads", "_load"):
        monkeypatch.setattr(pickle, name, refuse_call(f"pickle.{name}"))
    cluster = Cluster(compact_entries=20)
    late = cluster.followers[0]
    late.kill()
    cluster.do(range(40))
    late.boot()
    cluster.leader.kill()
    cluster.do(range(40, 42))
    cluster.settle()


def test_01_a_call_of_pickle_with_an_engine_seated_is_fatal(clock: HandClock):
    with engine._Seat(Ours(clock).engine), pytest.raises(Fatal, match="reached for pickle"):
        library.pickle.loads(b"")


# -- 3: acknowledged entries are cut


@pytest.mark.parametrize("message", [append(1, 4, 1, []), append(1, 1, 0, entries(2, 2, 1))])
def test_03_a_heartbeat_or_a_resend_below_the_end_cuts_nothing(clock: HandClock, message):
    plain, ours = Plain(), Ours(clock)
    for node in (plain, ours):
        node.receives(2, append(1, 1, 0, entries(2, 7, 1)))
        assert node.acknowledged() == 7
        node.receives(2, message)
    assert plain.end == (4 if not message["entries"] else 2)
    assert ours.end == 7


def test_03_what_a_later_leader_contradicts_is_cut_from_there(clock: HandClock):
    ours = Ours(clock)
    ours.receives(2, append(1, 1, 0, entries(2, 7, 1), commit=3))
    ours.receives(3, append(2, 3, 1, entries(4, 4, 1) + entries(5, 6, 2), commit=3))
    assert ours.log == [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2)]
    assert ours.acknowledged() == 6


# -- 4: acknowledgements carry no term


def test_04_an_acknowledgement_of_an_earlier_term_commits_nothing(clock: HandClock):
    plain, ours = Plain(), Ours(clock)
    plain.wins(clock, 3)
    ours.wins(3)
    for node in (plain, ours):
        assert node.log[-1] == (2, 1)
    plain.receives(2, acknowledgement(2))  # node 2 held an index 2 in an earlier term, and lost it since
    ours.receives(2, acknowledgement(2), term=0)
    plain.ticks(clock)
    ours.ticks()
    assert plain.raftCommitIndex == 2
    assert ours.commit == 1
    ours.receives(2, acknowledgement(2))
    ours.ticks()
    assert ours.commit == 2


def test_04_an_acknowledgement_beyond_the_end_counts_for_nothing(clock: HandClock):
    plain, ours = Plain(), Ours(clock)
    plain.wins(clock, 3)
    ours.wins(3)
    for node in (plain, ours):
        node.receives(2, acknowledgement(50))
    assert plain.private("raftMatchIndex")[Node(2)] == 50
    assert ours.engine.match_index(2) == 0


# -- 6: a message without a position


def test_06_a_message_without_a_position_commits_no_tail(clock: HandClock):
    plain, ours = Plain(), Ours(clock)
    for node in (plain, ours):
        node.receives(2, append(1, 1, 0, entries(2, 7, 1)))
        node.receives(3, snapshot_chunk(2, 500, None))
    plain.ticks(clock)
    ours.ticks()
    assert (plain.raftCommitIndex, len(plain.applied)) == (7, 6)
    assert (ours.commit, ours.applied) == (1, [])


def test_06_a_leader_that_compacted_does_not_commit_a_followers_stale_tail():
    """End to end: entries of a dead leader, which nobody else holds, against a leader that compacted past them."""
    cluster = Cluster(compact_entries=20)
    cluster.do(range(3))
    stale = cluster.leader
    cluster.isolate(stale)
    lost = cluster.acquire(999, through=stale)
    cluster.until(lambda: not stale.replica.engine.is_leader)
    cluster.do(range(3, 40))
    cluster.leader.replica.journal.compact(cluster.leader.replica.journal.applied)
    cluster.heal()
    cluster.settle()
    assert stale.states[stale.replica.journal.applied] == cluster.leader.states[stale.replica.journal.applied]
    cluster.until(lambda: lost.outcome is not None)


# -- 10: votes are counted, not attributed; two changes of membership at once


def test_10_one_voter_is_one_vote(clock: HandClock):
    plain, ours = Plain(1, (2, 3, 4, 5)), Ours(clock, 1, (2, 3, 4, 5))
    plain.wins(clock, 2, 2)
    ours.wins(2, 2)
    assert plain._isLeader()
    assert not ours.engine.is_leader
    ours.receives(3, vote(ours.engine.term))
    assert ours.engine.is_leader


def test_10_a_vote_of_another_term_is_none(clock: HandClock):
    ours = Ours(clock, 1, (2, 3, 4, 5))
    ours.wins(2)
    ours.receives(3, vote(ours.engine.term - 1))
    ours.receives(4, vote(ours.engine.term - 1))
    assert not ours.engine.is_leader


def test_10_two_members_are_added_at_once_by_the_plain_library_and_none_by_ours(clock: HandClock):
    plain, ours = Plain(dynamicMembershipChange=True), Ours(clock)
    plain.wins(clock, 2)
    plain.receives(2, acknowledgement(plain.end))
    plain.ticks(clock)
    plain.addNodeToCluster(Node(8))
    plain.addNodeToCluster(Node(9))
    plain.ticks(clock)
    assert {Node(8), Node(9)} < plain.otherNodes
    assert plain.raftCommitIndex < plain.end
    with pytest.raises(Exception, match="dynamicMembershipChange is disabled"):
        ours.engine._raft.addNodeToCluster(Node(9))


# -- 14: chunks, resets, backlogs


def chunks_that_raise(clock: HandClock, size: int) -> list[str]:
    leader, follower = Plain(1, (2,)), Plain(2, (1,))
    leader.wins(clock, 2)
    leader._applyCommand(b"\x00" + b"z" * (size - 1), None)
    leader.ticks(clock)
    raised = []
    for _, message in leader.sends():
        try:
            follower.receives(1, message)
        except Exception as error:
            raised.append(type(error).__name__)
    return raised


def test_14_an_entry_of_about_128_kib_raises_on_the_plain_receiver(clock: HandClock):
    assert chunks_that_raise(clock, 131_000) == []
    assert chunks_that_raise(clock, 131_072) != []


@pytest.mark.parametrize("size", [65_535, 65_536, 131_072, engine.ENTRY_BYTES_MAX - 1])
def test_14_an_entry_goes_in_one_message(clock: HandClock, size: int):
    leader, follower = Ours(clock, 1, (2,)), Ours(clock, 2, (1,))
    leader.wins(2)
    leader.sends()
    index = leader.engine.append(b"z" * size)
    messages = leader.sends()
    assert [len(message["entries"]) for _, message in messages] == [1]
    leader.engine.mailbox._onNodeConnected(Node(2))
    follower.receives(1, append(1, 1, 0, [leader.journal.entry(i) for i in range(2, index + 1)]))
    assert follower.log == leader.log


def test_14_a_larger_entry_is_refused_before_it_is_in_the_log(clock: HandClock):
    leader = Ours(clock)
    leader.wins(2)
    with pytest.raises(Fatal, match="the bound is"):
        leader.engine.append(b"z" * engine.ENTRY_BYTES_MAX)
    assert leader.end == 2


def test_14_a_longer_compacted_follower_is_asked_for_ever_by_the_plain_library(clock: HandClock):
    """The follower's log begins above the leader's position and ends above the leader's end."""
    journal = MemoryJournal()
    for index in range(6, 13):
        journal.add(*entry(index, 1))
    leader, follower = Plain(3, (1, 2)), Plain(2, (1, 3), journal=journal)
    follower._SyncObj__raftLastApplied = follower._SyncObj__raftCommitIndex = 7
    leader.receives(1, append(1, 1, 0, entries(2, 7, 1), commit=7))
    leader.wins(clock, 1)
    leader._SyncObj__raftNextIndex[Node(2)] = 4
    leader.sends()
    assert [exchange(leader, follower, clock) for _ in range(8)] == [3, *[None] * 7]
    assert follower.log[-1] == (12, 1)


def test_14_a_longer_compacted_follower_agrees_with_its_leader(clock: HandClock):
    leader, follower = Ours(clock, 3, (1, 2)), Ours(clock, 2, (1, 3))
    follower.receives(1, append(1, 1, 0, entries(2, 12, 1), commit=7))
    follower.ticks()
    follower.journal.compact(6)
    leader.receives(1, append(1, 1, 0, entries(2, 7, 1), commit=7))
    leader.wins(1)
    leader.engine._raft._SyncObj__raftNextIndex[Node(2)] = 4
    leader.sends()
    follower.sends()
    for _ in range(3):
        exchange(leader, follower, clock)
    assert follower.log[-1] == leader.log[-1] == (8, 2)
    assert leader.engine.match_index(2) == leader.end


def test_14_a_leader_goes_to_no_position_beyond_its_end(clock: HandClock):
    ours = Ours(clock)
    ours.wins(2)
    ours.sends()
    ours.receives(2, {"type": "next_node_idx", "next_node_idx": 13, "reset": True, "success": False})
    clock.go(0.2)
    ours.ticks()
    assert [message["prevLogIdx"] for peer, message in ours.sends() if peer == 2] == [ours.end]


def exchange(leader: Plain | Ours, follower: Plain | Ours, clock: HandClock) -> int | None:
    """One heartbeat and its answer. Returns the position that the leader was at."""
    clock.go(0.2)
    (leader.doTick if isinstance(leader, Plain) else leader.engine.tick)()
    positions = [None]
    for peer, message in leader.sends():
        if peer == 2:
            positions.append(message.get("prevLogIdx"))
            follower.receives(3, message)
    for peer, message in follower.sends():
        if peer == 3:
            leader.receives(2, message)
    return positions[-1]


def test_14_a_backlog_is_applied_in_parts(clock: HandClock):
    plain, ours = Plain(), Ours(clock)
    backlog = 1 + 3 * engine.APPLY_PER_TICK
    for node in (plain, ours):
        node.receives(2, append(1, 1, 0, entries(2, backlog, 1), commit=backlog))
    plain.ticks(clock)
    ours.ticks()
    assert len(plain.applied) == backlog - 1
    assert len(ours.applied) == engine.APPLY_PER_TICK
    assert ours.engine.has_backlog
    ours.ticks(2)
    assert len(ours.applied) == backlog - 1
