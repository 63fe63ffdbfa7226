"""A leader judges what its followers propose: they may not have applied yet that a caller was shut out."""

import asyncio
from typing import Any

import pytest

from lockd.machine import commands as c
from lockd.machine.outcomes import Granted, Queued, Refusal
from lockd.raft.errors import OutcomeUnknown
from tests.engine.cluster import Cluster, Member


class Court:
    """The judge of every member. It knows callers until they are shut out."""

    def __init__(self, cluster: Cluster) -> None:
        self.shut_out: set[str] = set()
        self.asked: list[tuple[int, str, type | None]] = []
        for member in cluster.members.values():
            member.judge = lambda credential, command, id=member.id: self.judge(id, credential, command)  # type: ignore[misc]

    def judge(self, id: int, credential: str, command: c.Command | None) -> Refusal | None:
        self.asked.append((id, credential, type(command) if command else None))
        return Refusal.UNKNOWN_CALLER if credential in self.shut_out else None


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(3)


@pytest.fixture
def court(cluster: Cluster) -> Court:
    return Court(cluster)


def open_session(member: Member) -> "asyncio.Task[Any]":
    request = c.Request(c.Key("eve", c.FREE_ID + b"session"), b"asked", 240_000)
    make = lambda call: c.OpenSession(call=call, request=request, ttl_ms=60_000)  # noqa: E731 - a Make
    return member.process.start(member.replica.calls.propose(make, None, None, "token:1"))


def make(number: int, wait_ms: int = 0, session: int = 0) -> Any:
    request = c.Request(c.Key("eve", c.FREE_ID + b"%d" % number), b"asked %d" % number, 240_000)
    wants = (c.Want("jobs", c.Mode.EXCLUSIVE),)
    return lambda call: c.Acquire(call=call, request=request, wants=wants, wait_ms=wait_ms, session=session)


def start(member: Member, number: int, wait_ms: int = 0) -> "asyncio.Task[Any]":
    return member.process.start(member.replica.calls.propose(make(number, wait_ms), None, None, "token:1"))


def ended(cluster: Cluster, task: "asyncio.Task[Any]") -> Any:
    cluster.until(task.done)
    return task.result()


def wait_in_line(cluster: Cluster, member: Member) -> list[Any]:
    """Behind a hold. What the call is told."""
    told: list[Any] = []
    assert isinstance(ended(cluster, start(cluster.leader, 1)), Granted)
    member.process.call(lambda: member.replica.calls.submit(make(2, -1), told.append, None, None, "token:1"))
    cluster.until(lambda: told)
    assert isinstance(told[0], Queued)
    return told


def test_what_a_follower_lets_through_the_leader_denies(cluster: Cluster, court: Court):
    follower, leader = cluster.followers[0], cluster.leader
    assert isinstance(ended(cluster, start(follower, 1)), Granted)
    assert (leader.id, "token:1", c.Acquire) in court.asked, "the command itself is judged"
    court.shut_out.add("token:1")
    assert ended(cluster, start(follower, 2)) is Refusal.UNKNOWN_CALLER
    assert ended(cluster, start(leader, 3)) is Refusal.UNKNOWN_CALLER, "and its own callers, once more"
    assert len(leader.replica.state.holds) == 1


def test_the_nodes_own_commands_need_no_credential(cluster: Cluster, court: Court):
    follower = cluster.followers[0]
    assert isinstance(ended(cluster, start(follower, 1)), Granted)
    assert {credential for _, credential, kind in court.asked if kind is c.OpenNode} == {""}


def test_a_wait_that_is_asked_for_again_and_denied_then_leaves_the_queue(cluster: Cluster, court: Court):
    """Its node was told of a denial: nobody would wait for the grant."""
    follower = cluster.followers[0]
    told = wait_in_line(cluster, follower)
    court.shut_out.add("token:1")
    follower.process.call(follower.replica.calls.send_all_again)
    cluster.until(lambda: len(told) == 2)
    assert isinstance(told[1], OutcomeUnknown), "what was skipped may have granted it"
    cluster.until(lambda: not cluster.leader.replica.state.waiters)


def test_a_wait_goes_on_when_its_caller_is_shut_out_meanwhile(cluster: Cluster, court: Court):
    """The edge ends the caller's connection; what was asked for before is withdrawn by that."""
    told = wait_in_line(cluster, cluster.followers[0])
    court.shut_out.add("token:1")
    cluster.run(3.0)
    assert len(told) == 1


def test_a_denial_of_a_wait_in_a_session_does_not_say_that_nothing_was_done(cluster: Cluster, court: Court):
    """Its first copy waits in the queue: what a session waits for is not withdrawn."""
    follower = cluster.followers[0]
    opened = ended(cluster, open_session(follower))
    assert isinstance(ended(cluster, start(cluster.leader, 1)), Granted)
    told: list[Any] = []
    waits = make(2, -1, session=opened.session)
    follower.process.call(lambda: follower.replica.calls.submit(waits, told.append, None, None, "token:1"))
    cluster.until(lambda: told)
    court.shut_out.add("token:1")
    (parked,) = follower.replica.calls._parked.values()
    follower.process.call(lambda: follower.replica.calls._send_again(parked))
    cluster.until(lambda: len(told) == 2)
    assert isinstance(told[1], OutcomeUnknown)
