"""Scenarios of requests that are made again through another node, while the first one still has their call, or their
answer. Calls are unary and their ids are chosen here, so that every step is this file's.
"""

import contextlib
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from lockd_client.proto import lockd_pb2 as pb
from tests.eventually import eventually
from tests.integration.cluster import Cluster, running
from tests.integration.raw import CALL_S, Raw, Wire, reason_of

TTL_MS = 20_000
HAS_PASSED_MS = 2_000
"""Of a lease, before its request is made again: its remaining time is then less than what was granted."""

WITHDRAWN_BY_MS = 4_000
"""By then a node has withdrawn a call that broke off, which it does after 2 s."""

WITHIN_S = 30.0
TURNS_EACH = 3


@dataclass
class Nodes:
    """Stubs of three nodes: here takes the first attempt, there the second one. A third looks on."""

    here: Raw
    there: Raw
    looking_on: Raw

    @property
    def all(self) -> tuple[Raw, ...]:
        return self.here, self.there, self.looking_on

    def waiters(self, name: str) -> int:
        return int(self.looking_on.get(pb.GetRequest(name=name), timeout=CALL_S).waiters_count)

    def token(self, name: str) -> int:
        """0: nobody holds it."""
        holders = self.looking_on.get(pb.GetRequest(name=name), timeout=CALL_S).holders
        return int(holders[0].token) if holders else 0

    def lease_remaining_ms(self, name: str) -> int:
        (holder,) = self.looking_on.get(pb.GetRequest(name=name), timeout=CALL_S).holders
        return int(holder.lease_remaining_ms)

    def block(self, name: str) -> int:
        """Takes it, so that others have to wait. Returns the token."""
        answer = self.looking_on.lock(
            pb.LockRequest(name=name, ttl_ms=TTL_MS, request=self.looking_on.request()), timeout=CALL_S
        )
        assert answer.acquired
        return int(answer.token)

    def unblock(self, token: int) -> None:
        assert self.looking_on.unlock(pb.UnlockRequest(token=token), timeout=CALL_S).released

    def wait_on_the_clock(self, ms: int) -> None:
        """Until so much of the cluster's time has passed."""
        asked = pb.GetRequest(name="the clock")  # its answer is an entry, which moves the clock
        goal = self.looking_on.get(asked, timeout=CALL_S).clock_ms + ms
        eventually(lambda: self.looking_on.get(asked, timeout=CALL_S).clock_ms >= goal, WITHIN_S)


@contextlib.contextmanager
def stubs(cluster: Cluster) -> Iterator[Nodes]:
    """The third is the leader."""
    leader = cluster.wait_for_leader()
    here, there = cluster.others(leader)
    with contextlib.ExitStack() as stack:
        yield Nodes(*(stack.enter_context(Raw(cluster.nodes[id].endpoint)) for id in (here, there, leader)))


def waiting(name: str, request: pb.RequestId, attempt: int) -> pb.LockRequest:
    return pb.LockRequest(name=name, ttl_ms=TTL_MS, wait_ms=-1, request=request, attempt=attempt)


def reason(call: Any) -> str:
    """Of a call that failed."""
    error = call.exception(timeout=CALL_S)
    assert error is not None, call.result()
    return reason_of(error) or error.code().name


# ---- the scenarios


def a_lost_answer_is_asked_for_again(folder: Path) -> str:
    """A request made again through other nodes after its answer was lost has acted once, and tells what is left."""
    with running(folder) as cluster, stubs(cluster) as nodes:
        with Wire(nodes.here.endpoint) as wire, Raw(wire.endpoint) as client:
            asked = pb.LockRequest(name="once", ttl_ms=TTL_MS, request=client.request(), attempt=1)
            wire.lose_answers()
            call = client.lock.future(asked)
            eventually(lambda: nodes.token("once") > 0, WITHIN_S)
            token = nodes.token("once")
            wire.cut()
            assert reason(call) == grpc.StatusCode.UNAVAILABLE.name, "the client does not know"
        eventually(lambda: nodes.lease_remaining_ms("once") <= TTL_MS - HAS_PASSED_MS, WITHIN_S)
        left = [nodes.lease_remaining_ms("once")]
        for attempt, node in enumerate((nodes.there, nodes.looking_on, nodes.here), start=2):
            asked.attempt = attempt
            answer = node.lock(asked, timeout=CALL_S)
            assert (answer.outcome, answer.token) == (pb.GRANTED, token)
            left.append(answer.lease_remaining_ms)
        assert sorted(left, reverse=True) == left, f"what is left never grows: {left}"
        assert nodes.block("another") == token + 1, "one token was given out for all attempts"
        nodes.wait_on_the_clock(WITHDRAWN_BY_MS)
        assert nodes.token("once") == token, "the node whose answer was lost took nothing back"
        nodes.unblock(token)
        asked.attempt += 1
        assert nodes.there.lock(asked, timeout=CALL_S).outcome == pb.LOST
        return (
            f"4 attempts through 3 nodes, one grant; of {TTL_MS} ms the second attempt was told {left[1]}, the last "
            f"{left[-1]}; LOST once it was unlocked"
        )


def a_withdrawn_call_frees_nothing_of_another(folder: Path) -> str:
    """A wait that breaks off or is cancelled at one node does not free what its request was granted through another."""
    with running(folder) as cluster, stubs(cluster) as nodes, ThreadPoolExecutor(8) as pool:
        kinds = (broke_off_and_came_back, came_back_and_broke_off, granted_unheard_and_came_back)
        turns = [(kind, f"{kind.__name__}/{turn}") for kind in kinds for turn in range(TURNS_EACH)]
        held = dict(pool.map(lambda turn: (turn[1], turn[0](nodes, turn[1])), turns))
        gone = [pool.submit(broke_off_for_good, nodes, f"for-good/{turn}") for turn in range(TURNS_EACH)]
        steps = list(itertools.permutations(("unblock", "cancel", "again")))
        races = [(order, f"{'-'.join(order)}/{turn}") for order in steps for turn in range(TURNS_EACH)]
        raced = dict(pool.map(lambda race: (race[1], cancelled_and_came_back(nodes, race[1], race[0])), races))
        won = {name: token for name, token in raced.items() if token}
        for each in gone:
            each.result()
        nodes.wait_on_the_clock(WITHDRAWN_BY_MS)
        for name, token in {**held, **won}.items():
            for node in nodes.all:
                assert node.check_token(pb.CheckTokenRequest(name=name, token=token), timeout=CALL_S).is_current, name
        for name in raced.keys() - won.keys():
            assert nodes.token(name) == 0, f"{name}: nobody was told of this grant"
        return (
            f"{len(held)} grants through another node after the first call broke off, and {len(won)} of {len(raced)} "
            f"that raced with a cancelled call, {len(raced) - len(won)} being answered WITHDRAWN: all held "
            f"{WITHDRAWN_BY_MS} ms later; {len(gone)} that nobody came back for were withdrawn"
        )


def broke_off_and_came_back(nodes: Nodes, name: str) -> int:
    """Its place is kept. Returns the token."""
    blocking = nodes.block(name)
    with Wire(nodes.here.endpoint) as wire, Raw(wire.endpoint) as client:
        request = client.request()
        first = client.lock.future(waiting(name, request, 1))
        eventually(lambda: nodes.waiters(name) == 1, WITHIN_S)
        rival = nodes.looking_on.lock.future(waiting(name, nodes.looking_on.request(), 1))
        eventually(lambda: nodes.waiters(name) == 2, WITHIN_S)
        wire.cut()
        assert reason(first) == grpc.StatusCode.UNAVAILABLE.name
        again = nodes.there.lock.future(waiting(name, request, 2))
        nodes.there.get(pb.GetRequest(name=name), timeout=CALL_S)  # on the same connection, after it
    nodes.unblock(blocking)
    answer = again.result(timeout=CALL_S)
    assert answer.acquired
    assert not rival.done(), f"{name}: the place was lost"
    rival.cancel()
    eventually(lambda: nodes.waiters(name) == 0, WITHIN_S)
    return int(answer.token)


def came_back_and_broke_off(nodes: Nodes, name: str) -> int:
    """The first call is answered that another has taken its place, and then its connection breaks."""
    blocking = nodes.block(name)
    with Wire(nodes.here.endpoint) as wire, Raw(wire.endpoint) as client:
        request = client.request()
        first = client.lock.future(waiting(name, request, 1))
        eventually(lambda: nodes.waiters(name) == 1, WITHIN_S)
        again = nodes.there.lock.future(waiting(name, request, 2))
        assert reason(first) == "SUPERSEDED"
        wire.cut()
    nodes.unblock(blocking)
    answer = again.result(timeout=CALL_S)
    assert answer.acquired
    return int(answer.token)


def granted_unheard_and_came_back(nodes: Nodes, name: str) -> int:
    """The first call is granted while its answers are lost."""
    blocking = nodes.block(name)
    with Wire(nodes.here.endpoint) as wire, Raw(wire.endpoint) as client:
        request = client.request()
        first = client.lock.future(waiting(name, request, 1))
        eventually(lambda: nodes.waiters(name) == 1, WITHIN_S)
        wire.lose_answers()
        nodes.unblock(blocking)
        eventually(lambda: nodes.token(name) > blocking, WITHIN_S)
        granted = nodes.token(name)
        wire.cut()
        assert reason(first) == grpc.StatusCode.UNAVAILABLE.name
    answer = nodes.there.lock(waiting(name, request, 2), timeout=CALL_S)
    assert (answer.acquired, answer.token) == (True, granted)
    return int(answer.token)


def broke_off_for_good(nodes: Nodes, name: str) -> None:
    """Nobody comes back: the waiter leaves, and its request is told so."""
    blocking = nodes.block(name)
    with Wire(nodes.here.endpoint) as wire, Raw(wire.endpoint) as client:
        request = client.request()
        first = client.lock.future(waiting(name, request, 1))
        eventually(lambda: nodes.waiters(name) == 1, WITHIN_S)
        began = time.monotonic()
        wire.cut()
        assert reason(first) == grpc.StatusCode.UNAVAILABLE.name
        eventually(lambda: nodes.waiters(name) == 0, WITHIN_S)
        assert time.monotonic() - began > 1.0, "a client had no time to come back"
    assert reason(nodes.there.lock.future(waiting(name, request, 2))) == "WITHDRAWN"
    nodes.unblock(blocking)


def cancelled_and_came_back(nodes: Nodes, name: str, order: tuple[str, ...]) -> int:
    """The holder lets go, the first call is cancelled and the second is made, without waiting in between. Returns the
    token that the second was granted, 0 where it was told that the request is withdrawn.
    """
    blocking = nodes.block(name)
    request = nodes.here.request()
    first = nodes.here.lock.future(waiting(name, request, 1))
    eventually(lambda: nodes.waiters(name) == 1, WITHIN_S)
    again: Any = None
    for step in order:
        match step:
            case "unblock":
                freed = nodes.looking_on.unlock.future(pb.UnlockRequest(token=blocking))
            case "cancel":
                first.cancel()
            case _:
                again = nodes.there.lock.future(waiting(name, request, 2))
    assert freed.result(timeout=CALL_S).released
    error = again.exception(timeout=CALL_S)
    if error is not None:
        assert reason_of(error) == "WITHDRAWN", error
        return 0
    answer = again.result()
    assert answer.acquired or answer.outcome == pb.LOST, answer
    return int(answer.token) if answer.acquired else 0
