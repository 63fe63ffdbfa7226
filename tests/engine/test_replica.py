"""A replica's turns: what time alone asks for, and how a leader stops."""

import pytest

from lockd.machine import commands as c
from lockd.machine.constants import RECORD_KEEP_MS
from lockd.machine.outcomes import HeldByOther, Refusal
from lockd.raft import codec
from lockd.raft.proposals import FIRST, NODES, PRESENT_TAKES, Commands, Proposal, proposal, weight
from tests.engine.cluster import Cluster


def test_a_single_node_that_hands_over_answers_its_calls():
    """There is nobody to hand over to."""
    cluster = Cluster(1)
    cluster.do(range(1))
    cluster.leader.replica.hand_over()
    cluster.do(range(1, 3))


def test_a_leader_that_hands_over_goes_on_until_a_follower_can_follow():
    cluster = Cluster()
    cluster.do(range(2))
    leader = cluster.leader
    slow = cluster.followers
    for member in slow:
        cluster.isolate(member)
    waiting = cluster.acquire(2, through=leader)
    cluster.run(0.1)
    leader.replica.hand_over()
    cluster.heal()
    cluster.until(lambda: waiting.outcome is not None)
    cluster.until(lambda: not leader.replica.engine.is_leader)


def test_request_records_go_when_their_time_is_over_though_nobody_calls():
    """Else a node whose records are full would refuse for ever, since nothing moved the clock."""
    cluster = Cluster(1)
    cluster.do(range(1))
    request = c.Request(c.Key("test", c.FREE_ID + b"second"), b"asked", 240_000)
    wants = (c.Want("lock0", c.Mode.EXCLUSIVE),)
    refused = cluster.leader.propose(lambda call: c.Acquire(call=call, request=request, wants=wants))
    cluster.until(lambda: refused.outcome is not None)
    assert isinstance(refused.outcome, HeldByOther)
    records = cluster.leader.replica.state.records
    assert len(records) == 2
    cluster.run(RECORD_KEEP_MS / 1000 + 5)
    assert [record.token for record in records.values()] == [1]  # the holder's own lasts


def test_a_leader_of_an_older_term_learns_of_a_later_one_and_stands_again():
    """A node that knows of a later term, and cannot stand itself, would otherwise hear no leader for ever."""
    cluster = Cluster()
    cluster.do(range(2))
    cluster.settle()
    ahead = cluster.followers[0]
    later = cluster.leader.replica.engine.term + 5
    ahead.process.call(ahead.replica.engine.hear_of, later)
    ahead.process.call(ahead.replica.engine._postpone_election)
    cluster.until(lambda: cluster.leader.replica.engine.term > later)
    cluster.do(range(2, 4))
    cluster.settle()


def test_a_command_that_is_sent_again_while_it_waits_takes_no_second_place():
    commands = Commands()
    for _ in range(3):
        commands.put(c.Call(1, 1, 1), Proposal(b"one"))
        commands.put(c.Call(1, 1, 2), Proposal(b"two"))
    assert (len(commands), commands.size("")) == (2, 6)
    assert [each.command for each in commands.take(bytes_max=100, weight_max=1000)] == [b"one", b"two"]
    assert (len(commands), commands.size("")) == (0, 0)


def test_a_batch_takes_what_stays_within_its_bytes_and_at_least_one():
    commands = Commands()
    for number in range(4):
        commands.put(c.Call(1, 1, number), Proposal(b"x" * 10))
    assert [
        len(commands.take(bytes_max=25, weight_max=1000)),
        len(commands.take(bytes_max=5, weight_max=1000)),
        len(commands.take(bytes_max=5, weight_max=1000)),
    ] == [
        2,
        1,
        1,
    ]
    assert commands.take(bytes_max=5, weight_max=1000) == []


def waiting_for(commands, lane, count, *, first):
    for number in range(first, first + count):
        commands.put(c.Call(1, 1, number), Proposal(b"%03d" % number, lane=lane))


def test_a_caller_with_many_commands_does_not_stand_before_one_with_few():
    commands = Commands()
    waiting_for(commands, "greedy", 50, first=0)
    waiting_for(commands, "modest", 2, first=100)
    waiting_for(commands, FIRST, 2, first=200)
    taken = [each.command for each in commands.take(bytes_max=8 * 3, weight_max=1000)]
    assert taken == [b"200", b"201", b"000", b"100", b"001", b"101", b"002", b"003"], "what others rest on comes first"
    waiting_for(commands, "late", 1, first=300)
    assert [each.command for each in commands.take(bytes_max=6, weight_max=1000)] == [b"004", b"300"]
    assert (commands.size("modest"), commands.size("greedy"), len(commands)) == (0, 45 * 3, 45)


def test_what_keeps_a_session_or_a_lease_goes_before_its_callers_other_commands():
    """Else locks that are asked for by the thousand end those that are held."""
    asked: list[c.Command] = [
        c.IsLocked(call=c.Call(1, 1, 1), name="a"),
        c.KeepAlive(call=c.Call(1, 1, 2), caller="ann", session=1),
        c.IsLocked(call=c.Call(1, 1, 3), name="a"),
        c.Renew(call=c.Call(1, 1, 4), caller="ann", token=1, ttl_ms=5_000),
    ]
    commands = Commands()
    for command in asked:
        commands.put(command.call, proposal(command, codec.encode_command(command), "", "ann"))
    taken = [codec.decode_command(each.command).call.number for each in commands.take(10**6, weight_max=1000)]
    assert sorted(taken[:2]) == [2, 4]
    assert taken[2:] == [1, 3]


def test_a_caller_fills_an_entry_only_while_it_is_the_only_one():
    commands = Commands()
    waiting_for(commands, "greedy", 1200, first=0)
    assert len(commands.take(bytes_max=10**6, weight_max=160)) == 160
    waiting_for(commands, "modest", 1, first=2000)
    assert [each.lane for each in commands.take(10**6, weight_max=160)] == ["greedy", "modest", *["greedy"] * 9]
    sizes = [len(commands.take(bytes_max=10**6, weight_max=160)) for _ in range(PRESENT_TAKES)]
    assert sizes == [10] * (PRESENT_TAKES - 1) + [160], "until the other one has been away for a while"


@pytest.mark.parametrize(("refusal", "is_known"), [(Refusal.DENIED, True), (Refusal.UNKNOWN_CALLER, False)])
def test_in_place_of_what_its_caller_may_not_give_the_log_takes_a_denial(refusal, is_known):
    asked = c.IsLocked(call=c.Call(1, 1, 1), name="jobs")
    commands = Commands(lambda credential, command: refusal if (credential, command) == ("eve", asked) else None)
    commands.put(asked.call, Proposal(codec.encode_command(asked), "eve"), asked)
    commands.put(c.Call(1, 1, 2), Proposal(b"of the node itself"))
    denied, own = commands.take(bytes_max=1000, weight_max=1000)
    assert own.command == b"of the node itself"
    assert codec.decode_command(denied.command) == c.Deny(call=asked.call, is_known=is_known)


def test_who_is_shut_out_while_a_command_waits_for_its_entry_is_denied():
    """Its revocation may be in an entry before, and answered by then."""
    shut_out: set[str] = set()
    commands = Commands(lambda credential, _command: Refusal.UNKNOWN_CALLER if credential in shut_out else None)
    waiting = [c.IsLocked(call=c.Call(1, 1, number), name="jobs") for number in (1, 2)]
    for each in waiting:
        commands.put(each.call, Proposal(codec.encode_command(each), "eve"), each)
    assert [codec.decode_command(each.command) for each in commands.take(10**6, weight_max=1)] == waiting[:1]
    shut_out.add("eve")
    (denied,) = commands.take(10**6, weight_max=1)
    assert codec.decode_command(denied.command) == c.Deny(call=waiting[1].call, is_known=False)
    assert (len(commands), commands.size("")) == (0, 0)


def test_a_batch_takes_what_stays_within_its_weight():
    commands = Commands()
    for number, heavy in enumerate((100, 100, 100, 1, 500, 1)):
        commands.put(c.Call(1, 1, number), Proposal(b"x", weight=heavy))
    taken = [len(commands.take(bytes_max=100, weight_max=250)) for _ in range(4)]
    assert taken == [2, 2, 1, 1], "one that is too heavy for any goes alone"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (c.IsLocked(call=c.Call(1, 1, 1), name="a"), 1),
        (c.Get(call=c.Call(1, 1, 1), name="a", limit=100), 11),
        (c.ListHolds(call=c.Call(1, 1, 1), limit=1000), 101),
        (c.ListHolds(call=c.Call(1, 1, 1), limit=1, owner="ann"), 501),
        (c.ListHolds(call=c.Call(1, 1, 1), limit=1, mode=c.Mode.SHARED), 501),
        (c.ListHolds(call=c.Call(1, 1, 1), limit=1000, owner="ann", token=1), 7),
        (c.ListRegistered(call=c.Call(1, 1, 1), kind=c.Kind.CLIENT, limit=1000), 101),
        (c.ListRegistered(call=c.Call(1, 1, 1), kind=c.Kind.CLIENT, limit=1000, name="ann"), 1),
        (c.ListRegistered(call=c.Call(1, 1, 1), kind=c.Kind.CLIENT, limit=1000, id=1), 1),
    ],
)
def test_what_reads_much_weighs_much(command, expected):
    assert weight(command) == expected


@pytest.mark.parametrize(
    ("command", "lane"),
    [
        (c.OpenNode(call=c.Call(1, 1, 1)), FIRST),
        (c.Withdraw(call=c.Call(1, 1, 1), key=c.Key("", b"k"), ended=c.Call(1, 1, 0)), NODES),
        (c.Barrier(call=c.Call(1, 1, 1)), NODES),
        (c.IsLocked(call=c.Call(1, 1, 1), name="a"), "token:1"),
    ],
)
def test_what_a_node_does_for_those_who_left_takes_turns_with_callers(command, lane):
    assert proposal(command, b"encoded", "token:1", "token:1").lane == lane
