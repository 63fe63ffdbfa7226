"""Admission: limits, and answers that do not guess."""

import pytest

from lockd.access.admission import Admission
from lockd.access.refusal import Reason, Refused
from lockd.config import Limits
from lockd.machine import commands as c
from lockd.machine.outcomes import Granted, LockedState, Released
from tests.engine.cluster import Cluster

REQUEST = c.Request("test", b"id", b"asked", 240_000)


def answer(cluster: Cluster, limits: Limits, make):
    """The outcome, or what was raised."""
    leader = cluster.leader
    ended: list[object] = []

    async def commit() -> None:
        try:
            ended.append(await Admission(leader.replica, limits).commit(make, 1.0))
        except Refused as refused:
            ended.append(refused)

    leader.process.call(lambda: leader.process.start(commit()))
    cluster.until(lambda: ended)
    return ended[0]


def test_full_records_refuse_new_locks_and_let_go_of_old_ones():
    cluster = Cluster(1)
    cluster.do(range(2))
    limits = Limits(request_records_max=2)
    refused = answer(cluster, limits, lambda call: c.Acquire(call=call, request=REQUEST, name="more"))
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.LIMIT_REACHED
    assert "request_records_max: 2 of 2" in str(refused)
    assert isinstance(answer(cluster, limits, lambda call: c.IsLocked(call=call, name="lock0")), LockedState)
    assert isinstance(answer(cluster, limits, lambda call: c.Release(call=call, request=REQUEST, token=1)), Released)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda call: c.IsLocked(call=call, name="a"), Reason.NO_ANSWER),
        (lambda call: c.Renew(call=call, token=1, ttl_ms=2_000), Reason.OUTCOME_UNKNOWN),
        (lambda call: c.Acquire(call=call, request=REQUEST, name="a"), Reason.OUTCOME_UNKNOWN),
    ],
)
def test_a_change_that_is_not_answered_is_unknown_and_a_read_is_not(make, reason):
    cluster = Cluster(3)
    leader = cluster.leader
    for member in cluster.followers:
        cluster.isolate(member)
    ended: list[Refused] = []

    async def commit() -> None:
        try:
            await Admission(leader.replica, Limits()).commit(make, 0.3)
        except Refused as refused:
            ended.append(refused)

    leader.process.call(lambda: leader.process.start(commit()))
    cluster.until(lambda: ended)
    assert ended[0].reason is reason


def test_an_id_of_the_nodes_own_survives_a_clock_that_lies_behind():
    """A node that has just come back makes ids from the clock that it had."""
    cluster = Cluster(1)
    cluster.do(range(1))
    cluster.run(400.0)
    cluster.do(range(1))  # the clock moves on, past the first id's time
    made = iter((0, 10**9))

    def new() -> c.Request:
        not_after_ms = next(made)
        return c.Request("", b"%d" % not_after_ms, b"asked", not_after_ms)

    ended: list[object] = []
    leader = cluster.leader

    async def commit() -> None:
        admission = Admission(leader.replica, Limits())
        ended.append(
            await admission.commit_once(lambda call, request: c.Acquire(call=call, request=request, name="b"), new, 1.0)
        )

    leader.process.call(lambda: leader.process.start(commit()))
    cluster.until(lambda: ended)
    assert isinstance(ended[0], Granted)
