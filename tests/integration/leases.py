"""Scenarios of time: when a lease ends, as every node tells it."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from lockd_client import EventKind, methods
from lockd_client.proto import lockd_pb2 as pb
from tests.eventually import eventually
from tests.integration.checks import milliseconds
from tests.integration.cluster import running
from tests.integration.raw import CALL_S, Raw

TTL_MS = 3000
TTL_S = TTL_MS / 1000
LATE_S = 0.5
"""A lease ends at most so long after the deadline that its last answer tells of."""

LEASES = 12
"""As many with a ttl of their own as in a session. Each is renewed once more than the one before, up to RENEWALS."""

RENEWALS = 4
KILLS = 3
LEASES_AT_A_KILL = 4
WITHIN_S = 30.0
FINE_S = 0.002


class Ears:
    """Hears from one node when holds expire. heard: by token, when it was told, on time.monotonic()."""

    def __init__(self, endpoint: str) -> None:
        self.heard: dict[int, float] = {}
        self._raw = Raw(endpoint)
        revision = self._raw.status(pb.StatusRequest(), timeout=CALL_S).revision
        self._call: Any = self._raw.channel.unary_stream(
            methods.WATCH.path,
            request_serializer=methods.WATCH.request.SerializeToString,
            response_deserializer=methods.WATCH.answer.FromString,
        )(pb.WatchRequest(from_revision=revision + 1))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for response in self._call:
                now = time.monotonic()
                for event in response.events:
                    if pb.EventKind.Name(event.kind) == f"EVENT_{EventKind.EXPIRED}":
                        self.heard.setdefault(event.token, now)
        except grpc.RpcError:
            pass  # the end of the scenario, or of the node; what is missing then is looked for

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._raw.channel.close()
        self._thread.join()


@dataclass
class Held:
    """A hold. sent and answered: of the last renewal that was answered, or of the grant; on time.monotonic()."""

    token: int
    sent: float
    answered: float
    renew: Callable[[], object]

    def renew_once(self) -> None:
        sent = time.monotonic()
        answer: Any = self.renew()
        self.sent, self.answered = sent, time.monotonic()
        assert answer.lease_remaining_ms == TTL_MS, answer


def take(raw: Raw, name: str, *, in_session: bool) -> Held:
    sent = time.monotonic()
    if not in_session:
        answer = raw.lock(pb.LockRequest(name=name, ttl_ms=TTL_MS, request=raw.request()), timeout=CALL_S)
        assert answer.acquired
        renewal = pb.RenewRequest(token=answer.token, ttl_ms=TTL_MS)
        return Held(answer.token, sent, time.monotonic(), lambda: raw.renew(renewal, timeout=CALL_S))
    session = raw.open_session(pb.OpenSessionRequest(ttl_ms=TTL_MS, request=raw.request()), timeout=CALL_S)
    answered = time.monotonic()
    lock = pb.LockRequest(name=name, session_id=session.session_id, request=raw.request())
    answer = raw.lock(lock, timeout=CALL_S)
    assert answer.acquired
    alive = pb.KeepAliveRequest(session_id=session.session_id)
    return Held(answer.token, sent, answered, lambda: raw.keep_alive(alive, timeout=CALL_S))


def wait_until(moment: float) -> None:
    """moment: on time.monotonic(). Where time itself is what is looked at, it is the condition."""
    eventually(lambda: time.monotonic() >= moment, WITHIN_S, every_s=FINE_S)


def renew_at_a_third(held: Held, times: int) -> Held:
    """As a client does, so many times, and then never again."""
    for _ in range(times):
        wait_until(held.sent + TTL_S / 3)
        held.renew_once()
    return held


def ends_of(held: list[Held], ears: list[Ears], late_s: float) -> tuple[list[float], list[float]]:
    """When the holds ended, for each node that was listened to: seconds after the last renewal was sent, and after
    the deadline that its answer told of. Raises AssertionError where one is out of its bounds.
    """
    eventually(lambda: all(each.token in one.heard for each in held for one in ears), WITHIN_S)
    after_sending = [one.heard[each.token] - each.sent for each in held for one in ears]
    after_deadline = [one.heard[each.token] - each.answered - TTL_S for each in held for one in ears]
    assert min(after_sending) >= TTL_S, f"one ended {min(after_sending)} s after its renewal was sent"
    assert max(after_deadline) <= late_s, f"one ended {max(after_deadline)} s after its deadline, bound {late_s} s"
    return after_sending, after_deadline


# ---- the scenarios


def leases_end_in_time(folder: Path) -> str:
    """Leases of 3 s that are no longer renewed end on every node: never before 3 s from the last renewal's sending."""
    with running(folder) as cluster, contextlib.ExitStack() as stack:
        ears = [stack.enter_context(Ears(cluster.nodes[id].endpoint)) for id in cluster.nodes]
        nodes = [stack.enter_context(Raw(cluster.nodes[id].endpoint)) for id in cluster.nodes]

        def live(place: int) -> Held:
            held = take(nodes[place % len(nodes)], f"lease/{place}", in_session=place % 2 == 1)
            return renew_at_a_third(held, place // 2 % (RENEWALS + 1))

        with ThreadPoolExecutor(LEASES) as pool:
            held = list(pool.map(live, range(LEASES)))
        after_sending, after_deadline = ends_of(held, ears, LATE_S)
        return f"{len(held)} leases of {TTL_S:.0f} s on {len(ears)} nodes: {said(after_sending, after_deadline)}"


def leases_outlive_their_leader(folder: Path) -> str:
    """The same with kill -9 of the leader after the last renewal: the time without a leader may come on top."""
    sendings: list[float] = []
    deadlines: list[float] = []
    elections: list[float] = []
    with running(folder) as cluster:
        for number in range(KILLS):
            leader = cluster.wait_until_whole()
            others = cluster.others(leader)
            with contextlib.ExitStack() as stack:
                ears = [stack.enter_context(Ears(cluster.nodes[id].endpoint)) for id in others]
                raw = stack.enter_context(Raw(cluster.nodes[others[number % 2]].endpoint))
                held = [
                    take(raw, f"kill/{number}/{place}", in_session=place % 2 == 1) for place in range(LEASES_AT_A_KILL)
                ]
                for each in held:
                    each.renew_once()
                kill_at = held[-1].sent + TTL_S * (number + 1) / (KILLS + 1)
                wait_until(kill_at)
                began = time.monotonic()
                cluster.kill(leader)
                cluster.wait_for_leader(*others, every_s=FINE_S)
                elections.append(time.monotonic() - began)
                sent, late = ends_of(held, ears, LATE_S + elections[-1])
            cluster.start(leader)
            sendings += sent
            deadlines += late
        cluster.wait_until_whole()
        with cluster.client() as client:
            assert list(client.list()) == []
        return (
            f"{KILLS} kills, {LEASES_AT_A_KILL} leases each: {said(sendings, deadlines)}; without a leader for at most "
            f"{milliseconds(max(elections))}"
        )


def said(after_sending: list[float], after_deadline: list[float]) -> str:
    return (
        f"ended {min(after_sending):.3f} to {max(after_sending):.3f} s after the last renewal was sent, at most "
        f"{milliseconds(max(after_deadline))} after the deadline in its answer"
    )
