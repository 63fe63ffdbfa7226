"""What the client makes of calls that succeed."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import lockd_client
from lockd_client import InvalidArgument, LockdClient, Outcome, methods, now
from lockd_client.proto import lockapi_pb2, lockd_pb2
from tests.client.fake_node import FakeNode
from tests.eventually import eventually


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


@pytest.fixture
def client(node: FakeNode) -> Iterator[LockdClient]:
    with LockdClient(endpoints=[node.endpoint]) as client:
        yield client


def test_the_sample_session_of_the_go_lockd(node: FakeNode) -> None:
    lockd_client = LockdClient(port=node.port)
    assert lockd_client.Lock("foo") is True
    assert lockd_client.IsLocked("foo") is True
    assert lockd_client.Unlock("foo") is True
    assert lockd_client.IsLocked("foo") is False
    assert lockd_client.Unlock("foo") is False
    lockd_client.close()


def test_a_second_lock_by_name_is_false(client: LockdClient) -> None:
    assert client.Lock("foo")
    assert client.Lock("foo") is False


def test_lock_renew_unlock(client: LockdClient) -> None:
    answer = client.try_lock("a", ttl=30, owner="me", reason="why", metadata={"k": "v"})
    assert answer
    assert (answer.outcome, answer.token, answer.lease_remaining) == (Outcome.GRANTED, 1, 30.0)
    (holder,) = client.holders("a")
    assert (holder.owner, holder.reason, holder.metadata, holder.ttl, holder.age) == ("me", "why", {"k": "v"}, 30, 0)
    assert client.is_locked("a")
    assert client.renew(answer.token, 60).lease_remaining == 60
    released = client.unlock(answer.token, name="a")
    assert released
    assert released.outcome is Outcome.RELEASED
    assert not client.is_locked("a")


def test_what_is_not_held_is_false(client: LockdClient) -> None:
    token = client.try_lock("a", owner="first", ttl=0).token
    second = client.try_lock("a", ttl=0)
    assert not second
    assert (second.outcome, second.token, second.remaining()) == (Outcome.HELD_BY_OTHER, 0, 0.0)
    assert [holder.owner for holder in second.holders] == ["first"]
    wrong = client.unlock(token + 1, name="a")
    assert not wrong
    assert (wrong.outcome, [holder.token for holder in wrong.holders]) == (Outcome.NOT_HELD, [token])
    renewal = client.renew(token + 1, 30)
    assert not renewal
    assert renewal.remaining() == 0.0


def test_the_deadline_counts_from_the_sending_less_a_margin(client: LockdClient) -> None:
    before = now()
    answer = client.try_lock("a", ttl=30)
    after = now()
    margin = 2 * 0.01 * 30 + 0.05
    assert before + 30 - margin <= answer.deadline <= after + 30 - margin
    assert 0 < answer.remaining() <= 30 - margin
    assert client.renew(answer.token, 40).deadline <= now() + 40 - (2 * 0.01 * 40 + 0.05)


def test_a_hold_without_a_ttl_has_no_deadline(client: LockdClient) -> None:
    assert client.try_lock("a", ttl=0).remaining() == float("inf")


@pytest.mark.parametrize(("ttl", "sent_ms"), [(2, 2000), (2.0005, 2001), (0.0001, 1), (30.1, 30100), (0, 0)])
def test_a_ttl_is_rounded_up(node: FakeNode, client: LockdClient, ttl: float, sent_ms: int) -> None:
    client.try_lock("a", ttl=ttl)
    (request,) = node.calls(lockd_pb2.LockRequest)
    assert isinstance(request, lockd_pb2.LockRequest)
    assert request.ttl_ms == sent_ms


def test_the_default_owner_is_this_process(client: LockdClient) -> None:
    client.try_lock("a", ttl=0)
    (holder,) = client.holders("a")
    assert holder.owner.endswith(f":{os.getpid()}")
    assert "@" in holder.owner


def test_list_reads_every_page(client: LockdClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockd_client.calls.PAGE", 3)
    for number in range(8):
        client.try_lock(f"n/{number}", owner="even" if number % 2 == 0 else "odd", ttl=0)
    client.try_lock("other", ttl=0)
    assert [holder.name for holder in client.list("n/")] == [f"n/{number}" for number in range(8)]
    assert [holder.name for holder in client.list("n/", owner="odd")] == ["n/1", "n/3", "n/5", "n/7"]
    assert list(client.list("nothing")) == []


def test_status(node: FakeNode, client: LockdClient) -> None:
    node.peers = [lockd_pb2.Peer(node_id=2, address="127.0.0.1:2090", connected=True, match_index=9)]
    status = client.status()
    assert (status.node_id, status.role, status.leader_id, status.term) == (1, "leader", 1, 3)
    assert [(peer.node_id, peer.connected, peer.match_index) for peer in status.peers] == [(2, True, 9)]


def test_every_changing_call_has_an_id_of_its_own_that_the_clock_bounds(node: FakeNode, client: LockdClient) -> None:
    token = client.try_lock("a", ttl=0).token
    node.clock_ms += 5000
    client.is_locked("a")
    client.unlock(token)
    lock, unlock = node.calls(lockd_pb2.LockRequest) + node.calls(lockd_pb2.UnlockRequest)
    assert isinstance(lock, lockd_pb2.LockRequest)
    assert isinstance(unlock, lockd_pb2.UnlockRequest)
    assert len(lock.request.client) == 16
    assert lock.request.client == unlock.request.client
    assert (lock.request.sequence, unlock.request.sequence) == (1, 2)
    assert (lock.request.answered_below, unlock.request.answered_below) == (1, 2)
    assert lock.request.not_after_ms == 1_000_000 + 240_000
    assert unlock.request.not_after_ms == 1_005_000 + 240_000
    assert len(node.calls(lockd_pb2.StatusRequest)) == 1


def test_a_clock_seen_long_ago_is_read_again(
    node: FakeNode, client: LockdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.try_lock("a", ttl=0)
    node.clock_ms += 600_000
    monkeypatch.setattr("lockd_client.engine.CLOCK_FRESH_S", 0.0)
    client.try_lock("b", ttl=0)
    last = node.calls(lockd_pb2.LockRequest)[-1]
    assert isinstance(last, lockd_pb2.LockRequest)
    assert last.request.not_after_ms == 1_600_000 + 240_000


@pytest.mark.parametrize("ttl", [-1, float("nan"), float("inf"), 1e300])
def test_a_ttl_out_of_range_is_refused_before_sending(node: FakeNode, client: LockdClient, ttl: float) -> None:
    with pytest.raises(InvalidArgument):
        client.try_lock("a", ttl=ttl)
    assert not node.calls(lockd_pb2.LockRequest)


def test_text_that_is_not_utf8_is_refused_before_sending(node: FakeNode, client: LockdClient) -> None:
    for call in (client.Lock, partial(client.try_lock, ttl=0), client.is_locked, client.holders):
        with pytest.raises(InvalidArgument):
            call("\udcff")
    assert not node.calls(lockd_pb2.LockRequest)


def test_threads_share_a_client(client: LockdClient) -> None:
    won: list[bool] = []
    threads = [threading.Thread(target=lambda: won.append(client.try_lock("a", ttl=0).acquired)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 15 + [True]


def test_a_closed_client_says_so(client: LockdClient) -> None:
    client.try_lock("a", ttl=0)
    client.close()
    client.close()
    with pytest.raises(lockd_client.ClientClosed, match="Make a new LockdClient"):
        client.try_lock("b", ttl=0)


def test_closing_ends_calls_in_flight(node: FakeNode, client: LockdClient) -> None:
    client.status()
    node.before.append(node.hang)
    failed: list[Exception] = []

    def call() -> None:
        try:
            client.is_locked("a")
        except lockd_client.LockdError as error:
            failed.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    eventually(lambda: node.calls(lockd_pb2.IsLockedRequest), 10)
    client.close()
    thread.join(10)
    assert [type(error) for error in failed] == [lockd_client.ClientClosed]


def test_the_methods_are_those_of_the_proto_files() -> None:
    services = [
        file.services_by_name[name]
        for file, names in (
            (lockd_pb2.DESCRIPTOR, ("LockService", "ClusterService", "AccessService", "RegistryService")),
            (lockapi_pb2.DESCRIPTOR, ("Locking",)),
        )
        for name in names
    ]
    declared = {
        (f"/{service.full_name}/{method.name}", method.input_type, method.output_type)
        for service in services
        for method in service.methods
    }
    used = {
        (method.path, method.request.DESCRIPTOR, method.answer.DESCRIPTOR)
        for method in vars(methods).values()
        if isinstance(method, methods.Method)
    }
    assert used == declared


def test_every_name_that_is_offered_can_be_had() -> None:
    for name in lockd_client.__all__:
        assert getattr(lockd_client, name).__name__ == name
    assert set(lockd_client.__all__) <= set(dir(lockd_client))
    with pytest.raises(AttributeError):
        lockd_client.nothing  # noqa: B018  # the lookup is the test


def test_importing_the_messages_does_not_load_grpc() -> None:
    script = "import sys, lockd_client.proto.lockd_pb2; sys.exit('grpc' in sys.modules)"
    folder = Path(lockd_client.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(folder)}).returncode == 0
