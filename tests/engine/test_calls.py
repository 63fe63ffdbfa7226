"""Calls whose callers go before they are answered, on real replicas in simulated time."""

import asyncio
from typing import Any

import pytest

from lockd.machine import commands as c
from lockd.machine.outcomes import Answer, Granted, Queued
from lockd.raft.calls import COME_BACK_S, Calls
from tests.engine.cluster import Cluster, Member

NAME = "wanted"


def asking(number: int, wait_ms: int = 0) -> Any:
    request = c.Request(c.Key("test", c.FREE_ID + b"%d" % number), b"asked %d" % number, 240_000)
    wants = (c.Want(NAME, c.Mode.EXCLUSIVE),)
    return lambda call: c.Acquire(call=call, request=request, wants=wants, wait_ms=wait_ms)


def start(member: Member, number: int, wait_ms: int = 0) -> "asyncio.Task[Any]":
    """A caller without a deadline."""
    return member.process.start(member.replica.calls.propose(asking(number, wait_ms), None))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(3)


def test_a_cancelled_caller_leaves_the_queue(cluster: Cluster):
    node = cluster.leader
    start(node, 1)
    waiting = start(node, 2, wait_ms=-1)
    cluster.until(lambda: node.replica.state.waiters)
    node.process.call(waiting.cancel)
    cluster.run(COME_BACK_S / 2)
    assert node.replica.state.waiters  # its client may come back through another node
    cluster.until(lambda: not node.replica.state.waiters)
    cluster.until(lambda: not len(node.replica.calls))


def test_a_caller_that_is_cancelled_as_its_grant_arrives_holds_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    """The outcome is there, and the task has not gone on yet."""
    node = cluster.leader
    task: list[asyncio.Task[Any]] = []
    answer = Calls.answer

    def cancelled_at_once(calls: Calls, given: Answer) -> None:
        answer(calls, given)
        if isinstance(given.outcome, Granted) and task:
            task[0].cancel()

    monkeypatch.setattr(Calls, "answer", cancelled_at_once)
    task.append(start(node, 1))
    cluster.until(lambda: node.replica.state.holds)
    cluster.until(lambda: not node.replica.state.holds)
    assert task[0].cancelled()


def test_a_call_that_was_queued_is_sent_until_it_is_known_what_became_of_it(cluster: Cluster):
    """After a snapshot, what the node skipped may have been its answer; and what it sends may be lost."""
    follower = cluster.followers[0]
    start(cluster.leader, 1)
    done: list[Any] = []
    calls = follower.replica.calls
    follower.process.call(lambda: calls.submit(asking(2, wait_ms=-1), done.append, None))
    cluster.until(lambda: done)
    assert isinstance(done[0], Queued)
    leader = (cluster.leader.id, cluster.leader.replica.engine.term)
    calls.send_all_again()
    assert [one.is_queued for one in calls.to_send(leader, 1000.0)] == [True]
    assert [one.is_queued for one in calls.to_send(leader, 1001.0)] == [True]  # the first was lost


def test_one_opening_of_the_nodes_lease_is_on_its_way_at_a_time(cluster: Cluster):
    follower = cluster.followers[0]
    cluster.isolate(follower)
    for number in range(5):
        start(follower, number)
        cluster.run(4.0)
    openings = [parked for parked in follower.replica.calls._parked.values() if parked.opens_node]
    assert len(openings) == 1
