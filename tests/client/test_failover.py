"""What the client does when calls fail: which are sent again, under which id, and what is raised in the end."""

import gc
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest

from lockd_client import (
    CallFailed,
    InvalidArgument,
    LimitReached,
    LockdClient,
    LockdError,
    OutcomeUnknown,
    PermissionDenied,
    RequestTooOld,
    Unauthenticated,
    Unavailable,
)
from lockd_client.proto import lockapi_pb2, lockd_pb2
from tests.client.fake_node import Fail, FakeNode
from tests.client.fake_state import State
from tests.eventually import eventually

WITHIN_S = 20.0
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
NO_LEADER = Fail(UNAVAILABLE, "NO_LEADER")
BROKE_OFF = Fail(UNAVAILABLE)  # as a connection that breaks does, no reason comes with it
LOST = Fail(grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN")


@pytest.fixture
def nodes() -> Iterator[list[FakeNode]]:
    state = State()
    with FakeNode(1, state=state) as one, FakeNode(2, state=state) as two:
        yield [one, two]


@pytest.fixture
def client(nodes: list[FakeNode]) -> Iterator[LockdClient]:
    with LockdClient(endpoints=[node.endpoint for node in nodes]) as client:
        yield client


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Nothing listens there, and nothing else can take it meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def lock_requests(*nodes: FakeNode) -> list[lockd_pb2.LockRequest]:
    return [call for node in nodes for call in node.seen if isinstance(call, lockd_pb2.LockRequest)]


def assert_same_request(first: lockd_pb2.LockRequest, second: lockd_pb2.LockRequest) -> None:
    """The second is a further attempt at the first."""
    assert (first.attempt, second.attempt) == (1, 2)
    second.attempt = 1
    assert first == second


def test_a_node_that_is_down_is_passed_over(nodes: list[FakeNode], closed_port: int) -> None:
    with LockdClient(endpoints=[f"127.0.0.1:{closed_port}", nodes[0].endpoint]) as client:
        assert client.try_lock("a", ttl=0)
        assert client.Lock("b")
        assert client.status().node_id == 1


def test_a_node_that_goes_down_is_passed_over_by_calls_without_an_id(
    nodes: list[FakeNode], client: LockdClient
) -> None:
    assert client.Lock("a")
    nodes[0].stop()
    assert client.Lock("b")
    assert client.Unlock("b")
    assert nodes[1].calls(lockapi_pb2.LockName)


def test_a_node_that_comes_back_on_its_port_is_found_again() -> None:
    with FakeNode() as first, LockdClient(port=first.port) as client:
        assert client.Lock("a")
        first.stop()
        with FakeNode(port=first.port):
            assert client.Lock("a")


@pytest.mark.parametrize(
    "step", [NO_LEADER, BROKE_OFF, LOST, Fail(grpc.StatusCode.ABORTED, "STALE_EPOCH")], ids=lambda step: step.reason
)
def test_the_next_node_is_asked_under_the_same_id(nodes: list[FakeNode], client: LockdClient, step: Fail) -> None:
    client.status()
    nodes[0].before.append(step)
    answer = client.try_lock("a", ttl=30)
    assert answer
    assert_same_request(*lock_requests(*nodes))


def test_an_answer_that_was_lost_is_asked_for_again_and_acts_once(nodes: list[FakeNode], client: LockdClient) -> None:
    client.status()
    nodes[0].after.append(BROKE_OFF)
    answer = client.try_lock("a", ttl=30)
    assert answer.acquired
    assert answer.token == 1
    assert nodes[0].state.last_token == 1


def test_the_node_that_answered_last_is_asked_first(nodes: list[FakeNode], client: LockdClient) -> None:
    nodes[0].before.append(NO_LEADER)
    client.is_locked("a")
    client.is_locked("a")
    client.is_locked("a")
    assert len(nodes[0].calls(lockd_pb2.IsLockedRequest)) == 1
    assert len(nodes[1].calls(lockd_pb2.IsLockedRequest)) == 3


def test_a_node_that_hangs_costs_one_attempt(
    nodes: list[FakeNode], client: LockdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockd_client.attempts.ATTEMPT_S", 0.3)
    client.is_locked("a")  # connected, and the clock is known
    nodes[0].before.append(nodes[0].hang)
    started = time.monotonic()
    assert client.try_lock("a", ttl=0)
    assert 0.3 <= time.monotonic() - started < 5
    assert_same_request(*lock_requests(*nodes))


def test_a_clock_from_a_node_that_lags_is_read_again(nodes: list[FakeNode], client: LockdClient) -> None:
    client.is_locked("a")
    nodes[0].before.append(Fail(grpc.StatusCode.FAILED_PRECONDITION, "TOO_OLD"))
    nodes[0].clock_ms = 9_000_000
    assert client.try_lock("a", ttl=0)
    first, second = lock_requests(nodes[0])
    assert (first.request.sequence, second.request.sequence) == (1, 2)
    assert second.request.not_after_ms == 9_240_000


def test_a_host_that_says_nothing_leaves_no_doubt_behind(nodes: list[FakeNode], client: LockdClient) -> None:
    """Its kernel accepts connections and it never speaks: as a stopped process does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoints = [f"127.0.0.1:{silent.getsockname()[1]}"]
        with (
            LockdClient(endpoints=endpoints, timeout=0.4) as client,
            pytest.raises(Unavailable, match="no answer within 0.4 s"),
        ):
            client.Lock("a")
        with LockdClient(endpoints=[*endpoints, nodes[0].endpoint]) as client:
            assert client.Lock("a")


def test_a_cluster_that_calls_every_id_too_old_is_not_asked_forever(nodes: list[FakeNode], client: LockdClient) -> None:
    too_old = Fail(grpc.StatusCode.ABORTED, "TOO_OLD")
    nodes[0].before.extend([too_old] * 3)
    with pytest.raises(RequestTooOld):
        client.try_lock("a", ttl=0)


def test_no_node_at_all(closed_port: int) -> None:
    with (
        LockdClient(port=closed_port, timeout=0.3) as client,
        pytest.raises(Unavailable, match=f"Tried 127.0.0.1:{closed_port}. Last error: .*refused") as raised,
    ):
        client.try_lock("a", ttl=0)
    assert raised.value.endpoints == (f"127.0.0.1:{closed_port}",)
    for call in (lambda: client.Lock("a"), lambda: client.renew(1, 5)):
        with pytest.raises(LockdError):
            call()


def unavailable(call: Callable[[], object]) -> Unavailable:
    """What it raises, unless a busy node had no time to answer the last attempt."""
    while True:
        try:
            with pytest.raises(Unavailable) as raised:
                call()
        except OutcomeUnknown:
            continue
        return raised.value


def test_without_a_leader_nothing_was_changed(nodes: list[FakeNode]) -> None:
    with LockdClient(endpoints=[node.endpoint for node in nodes], timeout=0.5) as client:
        client.is_locked("a")
        for node in nodes:
            node.before.extend([NO_LEADER] * 100)
        for call in (lambda: client.try_lock("a", ttl=0), lambda: client.Lock("a"), lambda: client.renew(1, 5)):
            raised = unavailable(call)
            assert raised.reason == "NO_LEADER"
            assert set(raised.endpoints) == {node.endpoint for node in nodes}
    assert len(lock_requests(*nodes)) > 2


@pytest.mark.parametrize("step", [BROKE_OFF, LOST, Fail(grpc.StatusCode.INTERNAL)], ids=lambda step: step.code.name)
def test_an_unknown_outcome_carries_the_request(nodes: list[FakeNode], step: Fail) -> None:
    with LockdClient(endpoints=[nodes[0].endpoint], timeout=0.4) as client:
        client.is_locked("a")
        nodes[0].after.extend([step] * 100)
        with pytest.raises(OutcomeUnknown) as raised:
            client.try_lock("a", ttl=30)
        nodes[0].after.clear()
        request = raised.value.request
        assert request is not None
        assert raised.value.reason == "OUTCOME_UNKNOWN"
        answer = client.try_lock("a", ttl=30, request=request)
    assert answer
    sent = lock_requests(nodes[0])
    assert {call.request.sequence for call in sent} == {1}
    assert [call.attempt for call in sent] == list(range(1, len(sent) + 1))
    assert nodes[0].state.last_token == 1


def test_a_refusal_after_an_unknown_attempt_does_not_hide_it(nodes: list[FakeNode], client: LockdClient) -> None:
    client.is_locked("a")
    nodes[0].after.append(BROKE_OFF)
    nodes[1].before.append(Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_RECORDS"))
    with pytest.raises(OutcomeUnknown, match="REQUEST_RECORDS"):
        client.try_lock("a", ttl=0)


@pytest.mark.parametrize("step", [BROKE_OFF, LOST], ids=lambda step: step.reason)
@pytest.mark.parametrize("verb", ["Lock", "Unlock"])
def test_a_call_without_an_id_is_not_sent_again_once_it_may_have_acted(
    nodes: list[FakeNode], client: LockdClient, step: Fail, verb: str
) -> None:
    client.is_locked("a")
    nodes[0].after.append(step)
    with pytest.raises(OutcomeUnknown) as raised:
        getattr(client, verb)("a")
    assert raised.value.request is None
    assert not nodes[1].seen


def test_a_call_without_an_id_is_sent_again_where_a_node_refused_it(nodes: list[FakeNode], client: LockdClient) -> None:
    nodes[0].before.append(NO_LEADER)
    assert client.Lock("a")
    assert len(nodes[1].calls(lockapi_pb2.LockName)) == 1


@pytest.mark.parametrize("step", [BROKE_OFF, Fail(UNAVAILABLE, "NO_ANSWER")], ids=lambda step: step.reason)
def test_a_renewal_whose_outcome_is_unknown_carries_no_request(nodes: list[FakeNode], step: Fail) -> None:
    with LockdClient(port=nodes[0].port, timeout=0.3) as client:
        client.is_locked("a")
        nodes[0].after.extend([step] * 100)
        with pytest.raises(OutcomeUnknown) as raised:
            client.renew(1, 5)
    assert raised.value.request is None


def test_a_read_is_never_of_unknown_outcome(nodes: list[FakeNode]) -> None:
    with LockdClient(port=nodes[0].port, timeout=0.3) as client:
        nodes[0].before.extend([BROKE_OFF] * 100)
        with pytest.raises(Unavailable):
            client.is_locked("a")
        nodes[0].before.clear()
        nodes[0].before.append(Fail(grpc.StatusCode.INTERNAL))
        with pytest.raises(CallFailed):
            client.is_locked("a")


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "TTL_TOO_SHORT", InvalidArgument),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "CALLS_IN_FLIGHT", LimitReached),
        (grpc.StatusCode.PERMISSION_DENIED, "", PermissionDenied),
        (grpc.StatusCode.UNAUTHENTICATED, "", Unauthenticated),
        (grpc.StatusCode.UNIMPLEMENTED, "", CallFailed),
    ],
)
def test_refusals(
    nodes: list[FakeNode], client: LockdClient, code: grpc.StatusCode, reason: str, kind: type[LockdError]
) -> None:
    client.is_locked("a")
    nodes[0].before.append(Fail(code, reason, "ttl_ms is 5; the least is 2000"))
    with pytest.raises(kind, match="ttl_ms is 5; the least is 2000") as raised:
        client.try_lock("a", ttl=0)
    assert raised.value.reason == (reason or code.name)
    assert isinstance(raised.value, ValueError) is (kind is InvalidArgument)
    assert not nodes[1].seen


def test_status_of_one_node_asks_that_node_once(nodes: list[FakeNode], client: LockdClient, closed_port: int) -> None:
    assert client.status(nodes[1].endpoint).node_id == 2
    started = time.monotonic()
    with pytest.raises(Unavailable):
        client.status(f"127.0.0.1:{closed_port}")
    assert time.monotonic() - started < 5
    assert client.status().node_id == 1


def test_the_whole_call_ends_by_its_timeout(nodes: list[FakeNode]) -> None:
    with LockdClient(endpoints=[node.endpoint for node in nodes], timeout=0.5) as client:
        client.is_locked("a")
        for node in nodes:
            node.before.extend([node.hang] * 10)
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            client.try_lock("a", ttl=0)
        assert time.monotonic() - started < 2
    assert all(left <= 0.6 for node in nodes for left in node.attempt_timeouts[1:])


def test_errors_survive_pickling() -> None:
    error = OutcomeUnknown("127.0.0.1:2080: gone", endpoints=["127.0.0.1:2080"])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.endpoints, again.reason) == (str(error), error.endpoints, error.reason)


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "unary"])
def test_a_client_goes_on_after_there_were_no_more_threads(monkeypatch: pytest.MonkeyPatch, streams: bool) -> None:
    """As in a container that is at its limit while the connection is made anew. gRPC needs threads for it, too."""
    start, failed = threading.Thread.start, list[str]()

    def limited(thread: threading.Thread) -> None:
        is_the_clients = thread.name == "lockd-stream" or "(_run)" in thread.name  # gRPC's that reads from a channel
        if is_the_clients and len(failed) < 3:
            failed.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    with FakeNode(streams=streams) as node, LockdClient(port=node.port) as client:
        lock = client.lock("a", ttl=3)
        lock.acquire()
        monkeypatch.setattr(threading.Thread, "start", limited)
        for stream in list(client._transport._streams.values()):
            stream.call.cancel()
        eventually(lambda: len(failed) == 3, WITHIN_S)
        before = len(node.calls(lockd_pb2.RenewRequest))
        eventually(lambda: len(node.calls(lockd_pb2.RenewRequest)) > before + 1, WITHIN_S)
        assert client.is_locked("a")
        lock.release()  # it was not lost
    del client, lock
    gc.collect()  # what gRPC could not begin must not be waited for
