"""The client without its sockets: links, attempts, ids, cancels; every step by hand."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from lockd_client import LockdError, OutcomeUnknown, RequestId, Unavailable, calls
from lockd_client.attempts import ATTEMPT_S, Failure
from lockd_client.calls import Call, Gone, Wants
from lockd_client.credentials import Credentials
from lockd_client.engine import Engine
from lockd_client.leases import Lease
from lockd_client.links import PING_S, Ask, Close, HangUp, Link, Open
from lockd_client.operations import Answer, Operation
from lockd_client.proto import lockd_pb2
from lockd_client.settings import Settings
from lockd_client.values import State

WANTS = Wants(names=(("a", False),), ttl=30)
GRANTED = lockd_pb2.LockResponse(outcome=lockd_pb2.GRANTED, acquired=True, token=7, lease_remaining_ms=30_000)
QUEUED = lockd_pb2.LockResponse(outcome=lockd_pb2.QUEUED)


class Bench:
    """An engine and its clock. Nodes answer when the test says so."""

    def __init__(self, *endpoints: str) -> None:
        settings = Settings(endpoints=endpoints or ("a:1",))
        self.engine = Engine(
            settings.endpoints, Credentials(settings), timeout=10, chance=lambda: 1.0, random_bytes=bytes
        )
        self.time = 100.0
        self.done: list[Operation] = []

    def submit(self, call: Call[Any]) -> Operation:
        return self.engine.submit(call, self.done.append, self.time)

    def lock(self, *, wait: float = 0.0, gone: Gone = Gone.CANCEL, request: RequestId | None = None) -> Operation:
        return self.submit(calls.lock(WANTS, wait=wait, gone=gone, request=request))

    @property
    def link(self) -> Link:
        link = self.engine.links.current
        assert link is not None
        return link

    def out(self, link: Link | None = None) -> list[lockd_pb2.Operation]:
        """What is written to the link now."""
        message = self.engine.take_outbox(link or self.link, self.time)
        return [] if message is None else list(message.operations)

    def say(self, link: Link, *results: lockd_pb2.Result, leader: str = "") -> None:
        self.engine.received(link, lockd_pb2.StreamResponse(results=results, leader_address=leader), self.time)

    def open(self, link: Link | None = None, **status: Any) -> Link:
        """The link's question is answered."""
        link = link or self.link
        (question,) = self.out(link)
        assert question.WhichOneof("what") == "status"
        answer = lockd_pb2.StatusResponse(**{"clock_ms": 1000, "node_id": 1, "leader_id": 1} | status)
        self.say(link, lockd_pb2.Result(id=question.id, status=answer))
        return link

    def refuse(self, link: Link, operation: lockd_pb2.Operation, code: int, reason: str) -> None:
        error = lockd_pb2.Error(code=code, reason=reason)
        self.say(link, lockd_pb2.Result(id=operation.id, error=error))

    def break_off(self, link: Link) -> None:
        self.engine.broken(link, Failure(endpoint=link.endpoint, code="UNAVAILABLE"), self.time)

    def pass_time(self, seconds: float) -> None:
        self.time += seconds
        self.engine.due(self.time)

    def actions(self, kind: type) -> list[Any]:
        return [action for action in self.engine.take_actions() if isinstance(action, kind)]


@pytest.fixture
def bench() -> Bench:
    return Bench("a:1", "b:1", "c:1")


def fields(operations: Sequence[lockd_pb2.Operation]) -> list[str | None]:
    return [operation.WhichOneof("what") for operation in operations]


def test_a_link_opens_with_a_question_and_calls_follow_its_answer(bench: Bench) -> None:
    bench.lock()
    assert [action.link.endpoint for action in bench.actions(Open)] == ["a:1"]
    bench.open()
    (sent,) = bench.out()
    assert (sent.lock.request.sequence, sent.lock.attempt, sent.lock.request.not_after_ms) == (1, 1, 241_000)


def test_what_is_queued_meanwhile_goes_in_one_message(bench: Bench) -> None:
    for _ in range(5):
        bench.lock()
    bench.open()
    assert fields(bench.out()) == ["lock"] * 5


def test_what_keeps_a_session_or_a_lease_leaves_before_what_waits_to_be_sent(bench: Bench) -> None:
    for _ in range(3):
        bench.lock()
    bench.open()
    bench.submit(calls.keep_alive(1))
    bench.submit(calls.renew(7, 30))
    assert sorted(fields(bench.out())[:2], key=str) == ["keep_alive", "renew"]


def test_an_answer_is_counted_from_the_sending_of_its_own_attempt(bench: Bench) -> None:
    operation = bench.lock()
    bench.open()
    bench.out()
    bench.break_off(bench.link)
    bench.time += 3
    bench.open()
    (sent,) = bench.out()
    bench.time += 1
    bench.say(bench.link, lockd_pb2.Result(id=sent.id, lock=GRANTED))
    assert isinstance(operation.result, Answer)
    assert operation.result.sent == 103.0
    assert (sent.lock.request.sequence, sent.lock.attempt) == (1, 2)


def test_a_broken_stream_gives_its_calls_to_the_next_node(bench: Bench) -> None:
    bench.lock(wait=math.inf)
    bench.open()
    (first,) = bench.out()
    bench.say(bench.link, lockd_pb2.Result(id=first.id, lock=QUEUED))
    old = bench.link
    bench.break_off(old)
    assert bench.link.endpoint == "b:1"
    bench.say(old, lockd_pb2.Result(id=first.id, lock=GRANTED))
    assert not bench.done, "what a broken link still says is not believed"
    bench.open()
    (second,) = bench.out()
    assert (second.lock.request.sequence, second.lock.attempt, second.lock.wait_ms) == (1, 2, -1)


def test_marks_say_what_was_answered(bench: Bench) -> None:
    bench.lock()
    bench.lock()
    bench.open()
    first, second = bench.out()
    bench.say(bench.link, lockd_pb2.Result(id=second.id, lock=GRANTED))
    bench.lock()
    (third,) = bench.out()
    ranges = [(each.first, each.last) for each in third.lock.request.answered]
    assert (third.lock.request.answered_below, ranges) == (1, [(2, 2)])
    bench.say(bench.link, lockd_pb2.Result(id=first.id, lock=GRANTED))
    bench.lock()
    (fourth,) = bench.out()
    assert fourth.lock.request.answered_below == 3


def test_the_leader_is_preferred_and_the_old_link_drains(bench: Bench) -> None:
    waiting = bench.lock(wait=math.inf)
    old = bench.open(leader_id=2, leader_address="l:9")
    (lock,) = bench.out(old)
    bench.say(old, lockd_pb2.Result(id=lock.id, lock=QUEUED))
    better = bench.engine.links.better
    assert better is not None
    assert better.endpoint == "l:9"
    bench.open(better, node_id=2, leader_id=2, leader_address="l:9")
    assert bench.link is better
    bench.lock()
    assert fields(bench.out(better)) == ["lock"]
    bench.say(old, lockd_pb2.Result(id=lock.id, lock=GRANTED))
    assert isinstance(waiting.result, Answer)
    assert [action.link for action in bench.actions(Close)] == [old]


def test_a_node_that_leads_is_not_left_for_another_name_of_it(bench: Bench) -> None:
    bench.lock()
    bench.open(node_id=1, leader_id=1, leader_address="other-name:1")
    bench.say(bench.link, leader="other-name:1")
    assert bench.engine.links.better is None


def test_a_leader_that_does_not_answer_costs_nothing(bench: Bench) -> None:
    bench.lock()
    old = bench.open(leader_id=2, leader_address="l:9")
    better = bench.engine.links.better
    assert better is not None
    bench.break_off(better)
    assert bench.link is old
    bench.time += 5
    bench.say(old, leader="l:9")
    assert bench.engine.links.better is None


def test_a_node_without_a_leader_is_left(bench: Bench) -> None:
    bench.lock()
    bench.open()
    (sent,) = bench.out()
    bench.refuse(bench.link, sent, 14, "NO_LEADER")
    assert bench.link.endpoint == "b:1"
    bench.open()
    (again,) = bench.out()
    assert again.lock.request.sequence == sent.lock.request.sequence


def test_a_hung_node_is_left_after_one_attempts_time(bench: Bench) -> None:
    bench.lock()
    bench.open()
    bench.out()
    bench.pass_time(ATTEMPT_S)
    assert bench.link.endpoint == "b:1"


def test_a_silent_node_with_waiters_is_asked_and_then_left(bench: Bench) -> None:
    bench.lock(wait=math.inf)
    link = bench.open()
    (sent,) = bench.out()
    bench.say(link, lockd_pb2.Result(id=sent.id, lock=QUEUED))
    bench.pass_time(PING_S)
    assert fields(bench.out(link)) == ["status"]
    bench.pass_time(ATTEMPT_S)
    assert bench.link.endpoint == "b:1"
    assert not bench.done


def test_a_node_is_not_left_before_its_question_could_be_written(bench: Bench) -> None:
    """Whoever drives the engine may call due() before the stream's writer has had its turn."""
    bench.lock(wait=math.inf)
    link = bench.open()
    (sent,) = bench.out()
    bench.say(link, lockd_pb2.Result(id=sent.id, lock=QUEUED))
    bench.pass_time(PING_S)
    assert bench.engine.alarm == bench.time + ATTEMPT_S
    bench.pass_time(0)
    assert bench.link is link
    bench.open(link)


def test_a_node_that_stays_without_a_leader_is_left_by_waiters(bench: Bench) -> None:
    bench.lock(wait=math.inf)
    link = bench.open()
    (sent,) = bench.out()
    bench.say(link, lockd_pb2.Result(id=sent.id, lock=QUEUED))
    for _ in range(2):
        bench.pass_time(PING_S)
        bench.open(link, leader_id=0)
    assert bench.link.endpoint == "b:1"


def test_a_wait_without_end_fails_only_by_silence(bench: Bench) -> None:
    waiting = bench.lock(wait=math.inf)
    link = bench.open()
    (sent,) = bench.out()
    bench.say(link, lockd_pb2.Result(id=sent.id, lock=QUEUED))
    assert waiting.deadline == math.inf
    bench.time += 3600
    bench.break_off(link)
    assert waiting.deadline == bench.time + 10
    for _ in range(40):
        bench.pass_time(0.5)
    assert isinstance(waiting.result, OutcomeUnknown)


def test_a_client_of_which_nobody_asks_anything_any_more_does_not_go_on_connecting() -> None:
    bench = Bench("a:1")
    bench.submit(calls.is_locked("a"))
    while not bench.done:
        bench.pass_time(1)
    bench.engine.take_actions()
    for _ in range(100):
        bench.pass_time(1)
    assert bench.actions(Open) == []


def test_an_unknown_outcome_is_cancelled_until_a_node_answers(bench: Bench) -> None:
    operation = bench.lock(gone=Gone.CANCEL)
    bench.open()
    bench.out()
    bench.engine.abandon(operation, bench.time)
    assert isinstance(operation.result, OutcomeUnknown)
    assert operation.result.request is None
    for _ in range(3):
        (cancel,) = bench.out()
        assert cancel.cancel.request.sequence == 1
        bench.break_off(bench.link)
        bench.pass_time(1000)
        bench.open()
    (cancel,) = bench.out()
    bench.say(bench.link, lockd_pb2.Result(id=cancel.id, cancel=lockd_pb2.CancelResponse(clock_ms=2000)))
    assert not bench.engine.has_background
    bench.lock()
    (later,) = bench.out()
    assert later.lock.request.answered_below == 2


def test_a_lock_that_was_never_sent_needs_no_cancel(bench: Bench) -> None:
    operation = bench.lock()
    bench.engine.abandon(operation, bench.time)
    assert isinstance(operation.result, Unavailable)
    assert not bench.engine.has_background


def test_a_grant_that_nobody_takes_is_released(bench: Bench) -> None:
    operation = bench.lock()
    bench.open()
    (sent,) = bench.out()
    bench.say(bench.link, lockd_pb2.Result(id=sent.id, lock=GRANTED))
    bench.engine.abandon(operation, bench.time)
    (unlock,) = bench.out()
    assert unlock.unlock.token == 7


def test_a_release_that_is_interrupted_goes_on(bench: Bench) -> None:
    operation = bench.submit(calls.unlock(7, gone=Gone.FINISH))
    bench.open()
    bench.out()
    bench.engine.abandon(operation, bench.time)
    bench.break_off(bench.link)
    bench.pass_time(60)
    bench.open()
    assert fields(bench.out()) == ["unlock"]


def test_a_request_that_is_given_is_asked_again_above_its_attempts(bench: Bench) -> None:
    bench.lock(request=RequestId(client=bytes(16), sequence=9, not_after_ms=5, attempts=3), gone=Gone.DROP)
    bench.open()
    (sent,) = bench.out()
    assert (sent.lock.request.sequence, sent.lock.request.not_after_ms, sent.lock.attempt) == (9, 5, 4)


def test_an_unknown_outcome_that_the_caller_may_ask_for_stays_unanswered(bench: Bench) -> None:
    operation = bench.lock(gone=Gone.DROP)
    bench.open()
    bench.out()
    bench.engine.abandon(operation, bench.time)
    assert isinstance(operation.result, OutcomeUnknown)
    assert operation.result.request == RequestId(not_after_ms=241_000, client=bytes(16), sequence=1, attempts=1)
    bench.lock()
    (later,) = bench.out()
    assert later.lock.request.answered_below == 1


def test_without_stream_calls_are_unary(bench: Bench) -> None:
    bench.lock()
    bench.engine.broken(bench.link, Failure(endpoint="a:1", code="UNIMPLEMENTED"), bench.time)
    assert not bench.link.is_stream
    assert bench.link.endpoint == "a:1"
    (question,) = bench.actions(Ask)
    bench.engine.returned(question.key, lockd_pb2.StatusResponse(clock_ms=5, leader_id=1), bench.time)
    (ask,) = bench.actions(Ask)
    assert (ask.method.field, ask.message.attempt, ask.timeout) == ("lock", 1, ATTEMPT_S)
    bench.engine.returned(ask.key, GRANTED, bench.time)
    assert isinstance(bench.done[0].result, Answer)


def test_a_unary_wait_that_is_given_up_is_hung_up(bench: Bench) -> None:
    operation = bench.lock(wait=math.inf)
    bench.engine.broken(bench.link, Failure(endpoint="a:1", code="UNIMPLEMENTED"), bench.time)
    (question,) = bench.actions(Ask)
    bench.engine.returned(question.key, lockd_pb2.StatusResponse(clock_ms=5, leader_id=1), bench.time)
    (ask,) = bench.actions(Ask)
    assert ask.timeout is None
    bench.engine.abandon(operation, bench.time)
    kinds = [(type(action), getattr(action, "key", 0)) for action in bench.engine.take_actions()]
    assert (HangUp, ask.key) in kinds


def test_a_lease_is_renewed_and_lost_without_a_network() -> None:
    bench = Bench()
    told: list[tuple[State, float]] = []
    lease = Lease(30, deadline=129.0, sent=100.0, token=7)
    lease.listen(lambda state: told.append((state, bench.time)))
    bench.engine.leases.keep(lease)
    bench.time = 110.0
    bench.engine.due(bench.time)
    bench.open()
    (renewal,) = bench.out()
    assert (renewal.renew.token, renewal.renew.ttl_ms) == (7, 30_000)
    answer = lockd_pb2.RenewResponse(outcome=lockd_pb2.RENEWED, lease_remaining_ms=30_000)
    bench.say(bench.link, lockd_pb2.Result(id=renewal.id, renew=answer))
    assert lease.deadline == pytest.approx(110 + 30 - 0.65)
    while not lease.is_lost and bench.time < 300:
        bench.time = max(bench.time, bench.engine.alarm)
        bench.engine.due(bench.time)
    assert told == [(State.SUSPENDED, lease.deadline - 10), (State.LOST, lease.deadline)]


def test_a_lease_whose_work_stalls_is_not_renewed_until_it_goes_on() -> None:
    bench = Bench()
    lease = Lease(30, deadline=129.0, sent=100.0, token=7, progress_within=5)
    bench.engine.leases.keep(lease)
    bench.pass_time(10)
    assert bench.actions(Open) == []
    with_progress = bench.time = 112.0
    lease.progress(with_progress)
    bench.engine.leases.keep(lease)
    assert bench.engine.alarm < bench.time
    bench.engine.due(bench.time)
    bench.open()
    assert fields(bench.out()) == ["renew"]


def test_a_renewal_that_is_answered_too_late_is_not_read() -> None:
    bench = Bench()
    lease = Lease(30, deadline=129.0, sent=100.0, token=7)
    bench.engine.leases.keep(lease)
    bench.pass_time(10)
    bench.open()
    (renewal,) = bench.out()
    bench.time = 129.0
    answer = lockd_pb2.RenewResponse(outcome=lockd_pb2.RENEWED, lease_remaining_ms=30_000)
    bench.say(bench.link, lockd_pb2.Result(id=renewal.id, renew=answer))
    assert lease.is_lost
    assert lease.deadline == 129.0


def test_a_session_that_is_lost_is_closed_and_not_revived() -> None:
    bench = Bench()
    lease = Lease(30, deadline=129.0, sent=100.0, session_id=3)
    bench.engine.leases.keep(lease)
    bench.lock(gone=Gone.DROP)
    bench.open()
    bench.out()
    bench.pass_time(30)
    assert lease.is_lost
    assert fields(bench.out()) == ["close_session"]


def test_a_closed_engine_ends_everything(bench: Bench) -> None:
    bench.lock()
    bench.engine.close(bench.time)
    operation = bench.lock()
    assert all(isinstance(each.result, LockdError) for each in [*bench.done, operation])


def test_the_alarm_is_never_later_than_what_is_due(bench: Bench) -> None:
    bench.lock()
    assert bench.engine.alarm <= bench.time + 2
    bench.open()
    bench.out()
    assert bench.engine.alarm <= bench.time + ATTEMPT_S
