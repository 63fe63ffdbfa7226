"""Faults 11, 12, 13, 15 and 16 of docs/engine.md: what becomes of a command. The plain library first, then ours, on
the same schedule."""

from pathlib import Path
from typing import Any

import pytest
from pysyncobj import FAIL_REASON
from pysyncobj.journal import MemoryJournal
from pysyncobj.node import Node
from structlog.testing import capture_logs

from lockd.machine import commands as c
from lockd.machine.apply import apply as plain_apply
from lockd.machine.outcomes import Granted
from lockd.raft import codec, replica
from lockd.raft.engine import REGULAR, Timing
from lockd.raft.envelopes import Content, Envelope, Propose
from lockd.raft.errors import NoLeader, OutcomeUnknown
from tests.engine.cluster import Cluster, Member, Proposal
from tests.engine.rig import HandClock, Ours, Plain, acknowledgement, append, entries, entry
from tests.engine.test_faults_of_disks import send_snapshot, snapshot_hooks

# -- 11: what is raised while an entry is applied


def fail(*args: object, **kwargs: object) -> None:
    raise ZeroDivisionError


def test_11_an_exception_in_apply_wedges_the_plain_library(clock: HandClock):
    plain = Plain(1, ())
    plain.wins(clock)
    plain.ticks(clock)
    plain._idToMethod[0] = fail
    plain.command(b"x")
    plain.command(b"y")
    plain.ticks(clock)
    for _ in range(20):
        with pytest.raises(ZeroDivisionError):  # again and again, and nothing behind it is ever applied
            plain.ticks(clock)
    assert plain.raftLastApplied == 2


def test_11_an_exception_in_apply_stops_ours_before_anything_leaves(monkeypatch: pytest.MonkeyPatch):
    cluster = Cluster()
    follower, leader = cluster.followers[0], cluster.leader
    cluster.do(range(2))
    cluster.settle()
    sent: list[Envelope] = []

    def listen(source: int, target: int, envelope: Envelope) -> Content:
        if source == follower.id and broken:
            sent.append(envelope)
        return envelope.content

    broken: list[int] = []

    def fail_there(state: Any, each: c.Entry, term: int) -> Any:
        if state is follower.replica.state and b"lock7" in repr(each).encode():
            broken.append(follower.disk.journal.applied)
            raise ZeroDivisionError("lock7")
        return plain_apply(state, each, term)

    cluster.taps.append(listen)
    monkeypatch.setattr(replica, "apply", fail_there)
    cluster.do(range(5, 9), through=leader)
    cluster.until(lambda: follower.failure)
    assert isinstance(follower.failure, ZeroDivisionError)
    assert sent == []
    assert broken == [follower.disk.journal.applied]  # tried once, and not counted as applied
    monkeypatch.undo()
    follower.boot()
    cluster.settle()
    assert follower.replica.state.lock("lock7").holders


def test_11_an_exception_in_a_callback_applies_twice_in_the_plain_library(clock: HandClock):
    plain = Plain(1, ())
    plain.wins(clock)
    plain.command(b"once", callback=fail)
    plain.ticks(clock)
    with pytest.raises(ZeroDivisionError):
        plain.ticks(clock)
    plain.ticks(clock)
    assert [data for _, data in plain.applied] == [b"once", b"once"]


def test_11_callbacks_of_entries_in_a_snapshot_never_fire_in_the_plain_library(clock: HandClock, tmp_path: Path):
    fired: list[object] = []
    hooks = snapshot_hooks((b"\x01", 49, 2), (b"\x01", 50, 2))
    plain = Plain(fullDumpFile=str(tmp_path / "dump"), **hooks)
    plain.wins(clock, 2)
    plain.command(b"x", callback=lambda result, error: fired.append(error))
    plain.ticks(clock)
    send_snapshot(plain, 2, plain.raftCurrentTerm + 1)
    plain.ticks(clock, 5)
    assert plain.raftLastApplied == 50
    assert fired == []


def test_11_a_call_whose_entry_came_in_a_snapshot_is_answered_by_ours():
    cluster = Cluster(compact_entries=10)
    leader, follower = cluster.leader, cluster.followers[0]
    cluster.do(range(3))
    cluster.settle()
    cluster.cut.add((leader.id, follower.id))  # it can be heard, and hears nothing
    proposal = cluster.acquire(100, through=follower)
    cluster.until(lambda: leader.replica.state.lock("lock100").holders)
    cluster.isolate(follower)
    cluster.do(range(3, 30), through=cluster.leader)
    with capture_logs() as logs:
        cluster.heal()
        cluster.until(lambda: proposal.outcome is not None)
    assert isinstance(proposal.outcome, Granted)
    assert "snapshot installed" in [line["event"] for line in logs]
    assert all(
        dict(member.replica.engine._raft._SyncObj__commandsWaitingCommit) == {} for member in cluster.members.values()
    )


# -- 12: forwarding


def test_12_what_a_deposed_plain_leader_queued_goes_to_the_next_one(clock: HandClock):
    plain = Plain()
    plain.wins(clock, 2)
    plain.command(b"stamped in term 1")
    plain.receives(2, append(2, 1, 0, []))
    plain.sends()
    plain.ticks(clock)
    assert [(peer, message["type"]) for peer, message in plain.sends()] == [(2, "apply_command")]


def test_12_what_a_plain_leader_queued_enters_the_log_in_a_later_term(clock: HandClock):
    plain = Plain(leaderFallbackTimeout=1.0)
    plain.wins(clock, 2)
    plain.command(b"stamped in term 1")
    clock.go(5.0)
    plain._SyncObj__raftState = 0  # deposed before the queue was drained; nobody else won
    plain.wins(clock, 2)
    plain.ticks(clock)
    term = plain.raftCurrentTerm
    assert term > 1
    assert [(data[:1], entry_term) for data, _, entry_term in plain.private("raftLog")[-2:]] == [
        (b"\x01", term),
        (b"\x00", term),
    ]


def test_12_apply_command_is_dropped_both_ways_by_ours(clock: HandClock):
    ours = Ours(clock)
    ours.wins(2)
    ours.sends()
    end = ours.end
    ours.receives(2, {"type": "apply_command", "command": b"\x00x"})
    ours.receives(2, {"type": "apply_command", "command": b"\x00x", "request_id": 1})
    ours.receives(2, {"type": "apply_command_response", "request_id": 1, "log_idx": 2, "log_term": 1})
    ours.ticks(2)
    assert ours.end == end
    ours.sends()
    ours.engine._raft._applyCommand(b"\x00queued", None)  # even if something did queue
    ours.receives(3, append(ours.engine.term + 1, 1, 0, []))
    ours.ticks(3)
    assert {message["type"] for _, message in ours.sends()} == {"next_node_idx"}
    assert ours.end == end


def test_12_no_entry_of_ours_is_in_the_log_in_a_later_term_than_its_epoch():
    """Commands keep coming through every node while leaders are cut off and killed; each is done once."""
    cluster = Cluster(seed=3)
    proposals = []
    for turn in range(6):
        leader = cluster.leader
        for number, member in enumerate(cluster.members.values()):
            proposals.append(member.propose(_acquiring(turn * 3 + number), timeout_s=60.0))
        cluster.run(0.002)
        if turn % 2:
            cluster.isolate(leader)
            cluster.until(lambda old=leader: any(m is not old for m in cluster._leaders()))  # type: ignore[misc]
            cluster.heal()
        cluster.run(0.5)
    cluster.until(lambda: all(proposal.outcome is not None for proposal in proposals))
    cluster.settle()
    assert all(isinstance(proposal.outcome, Granted) for proposal in proposals)
    assert len({proposal.outcome.token for proposal in proposals}) == len(proposals)  # type: ignore[union-attr]
    assert cluster.leader.replica.engine.term > 2
    for data, _, term in cluster.leader.replica.journal:
        assert data[:1] != REGULAR or codec.decode_entry(data[1:]).epoch == term


def _acquiring(number: int) -> Any:
    def make(call: c.Call) -> c.Acquire:
        request = c.Request(c.Key("test", c.FREE_ID + b"%016d" % number), b"", 240_000)
        return c.Acquire(call=call, request=request, wants=(c.Want(f"lock{number}", c.Mode.EXCLUSIVE),))

    return make


def test_12_a_command_that_was_lost_on_its_way_is_sent_again():
    cluster = Cluster()
    cluster.settle()
    lost: list[Propose] = []

    def lose_the_first(source: int, target: int, envelope: Envelope) -> Content | None:
        if isinstance(envelope.content, Propose) and not lost:
            lost.append(envelope.content)
            return None
        return envelope.content

    cluster.taps.append(lose_the_first)
    proposal = cluster.acquire(1, through=cluster.followers[0])
    cluster.until(lambda: proposal.outcome is not None)
    assert isinstance(proposal.outcome, Granted)
    assert len(lost) == 1


def test_12_a_command_without_a_leader_waits_for_ever_in_the_plain_library(clock: HandClock):
    ended: list[object] = []
    plain = Plain(commandsWaitLeader=True)
    plain.command(b"x", callback=lambda result, error: ended.append(error))
    for _ in range(100):
        clock.go(1.0)
        plain.doTick(0.0)
    assert ended == []


def test_12_a_command_without_a_leader_is_refused_by_ours_in_time():
    cluster = Cluster()
    cluster.settle()
    member = cluster.followers[0]
    for other in cluster.members.values():
        if other is not member:
            other.kill()
    cluster.run(5.0)
    proposal = cluster.acquire(1, through=member)
    cluster.until(lambda: proposal.outcome is not None, within=6.0)
    assert isinstance(proposal.outcome, NoLeader)


# -- 13: latency is polling


def test_13_a_command_waits_for_the_next_period_in_the_plain_library(clock: HandClock):
    plain = Plain(appendEntriesUseBatch=True)
    plain.wins(clock, 2)
    plain.ticks(clock)
    plain.sends()
    plain.command(b"x")
    plain.ticks(clock, 50)
    assert plain.sends() == []  # the default period is 100 ms
    plain.ticks(clock, 60)
    assert plain.sends() != []


def test_13_a_command_goes_out_at_once(clock: HandClock):
    ours = Ours(clock)
    ours.wins(2)
    ours.ticks()
    ours.sends()
    index = ours.engine.append(b"x")
    sent = [(peer, message["entries"][-1][1]) for peer, message in ours.sends()]
    assert sent == [(2, index), (3, index)]


def test_13_commands_that_come_together_share_an_entry():
    cluster = Cluster()
    leader = cluster.leader
    cluster.settle()
    before = leader.replica.journal.last
    proposals = [cluster.acquire(number, through=leader) for number in range(100)]
    cluster.until(lambda: all(proposal.outcome is not None for proposal in proposals))
    assert leader.replica.journal.last - before <= 3


# -- 15: a leader that is cut off


def test_15_a_cut_off_leader_lays_down_in_time(clock: HandClock):
    plain, ours = Plain(), Ours(clock)
    plain.wins(clock, 2)
    ours.wins(2)
    for _ in range(11):
        clock.go(Timing().election_max / 10)
        plain.doTick(0.0)
        ours.engine.tick()
    assert plain._isLeader()
    assert not ours.engine.is_leader
    assert ours.engine.leader is None
    for _ in range(15):
        clock.go(1.0)
        plain.doTick(0.0)
    assert plain._isLeader()


def test_15_a_cut_off_leader_answers_no_read():
    cluster = Cluster()
    cluster.do(range(2))
    old = cluster.leader
    cluster.isolate(old)
    read = old.propose(lambda call: c.IsLocked(call=call, name="lock0"), timeout_s=3.0)
    cluster.until(lambda: read.outcome is not None)
    assert isinstance(read.outcome, OutcomeUnknown)


def test_15_a_restarted_plain_node_applies_again(clock: HandClock, tmp_path: Path):
    journal = MemoryJournal()
    journal.getRaftCommitIndex = lambda: 3
    for each in [(b"\x01", 1, 0), *entries(2, 3, 1)]:
        journal.add(*each)
    plain = Plain(journal=journal)
    plain.ticks(clock)
    again = Plain(journal=journal)
    again.ticks(clock)
    assert len(plain.applied) == len(again.applied) == 2


def test_15_ours_applies_an_entry_once_in_all_its_lives(clock: HandClock):
    ours = Ours(clock)
    ours.receives(2, append(1, 1, 0, entries(2, 4, 1), commit=3))
    ours.ticks()
    ours.writes()
    again = Ours(clock, records=ours.records())
    again.receives(2, append(1, 4, 1, [entry(5, 1)], commit=5))
    again.ticks()
    assert [index for index, _, _ in ours.applied] == [2, 3]
    assert [index for index, _, _ in again.applied] == [4, 5]


def test_15_nothing_of_ours_is_numbered_by_its_name(clock: HandClock):
    """A method added in an upgrade would renumber the plain library's commands."""
    assert Plain()._methodToID
    assert Ours(clock).engine._raft._methodToID == {}


# -- 16: handing over the lead


def test_16_a_transfer_is_refused_while_an_entry_is_in_flight(clock: HandClock):
    plain, told = Plain(), []
    plain.wins(clock, 2)
    plain.receives(2, acknowledgement(plain.end))
    plain.command(b"x")
    plain.ticks(clock)
    plain.transferLeadership(None, lambda result, error: told.append(error))
    assert told == [FAIL_REASON.REQUEST_DENIED]


def test_16_a_leader_under_load_hands_over():
    cluster = Cluster()
    leader = cluster.leader
    proposals: list[Proposal] = []

    def keep_busy(count: int) -> None:
        for member in cluster.members.values():
            proposals.append(_busy(member, len(proposals)))
        if count:
            cluster.world.later(0.001, keep_busy, count - 1)

    keep_busy(100)
    cluster.run(0.02)
    term = leader.replica.engine.term
    leader.process.call(leader.replica.hand_over)
    cluster.until(lambda: not leader.replica.engine.is_leader, within=1.0)
    cluster.until(lambda: any(m is not leader for m in cluster._leaders()), within=1.0)
    assert cluster.leader.replica.engine.term == term + 1
    cluster.until(lambda: len(proposals) == 303 and all(proposal.outcome is not None for proposal in proposals))
    assert all(isinstance(proposal.outcome, Granted) for proposal in proposals)


def _busy(member: Member, number: int) -> Proposal:
    return member.propose(_acquiring(number), timeout_s=30.0)


def test_16_a_transfer_goes_to_the_node_that_holds_everything(clock: HandClock):
    ours = Ours(clock)
    ours.wins(2)
    assert not ours.engine.transfer()
    ours.receives(3, acknowledgement(ours.end))
    ours.sends()
    assert ours.engine.transfer()
    assert ours.sends() == [(3, {"type": "timeout_now", "term": 1})]
    assert Node(3) in ours.engine._raft.otherNodes
