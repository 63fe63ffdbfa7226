"""The client without its sockets: what newer credentials, and nodes that want another connection, do to its links."""

from pathlib import Path

import pytest

from lockd_client import Unauthenticated, Unavailable, calls, channels
from lockd_client.attempts import RECONNECT, Failure
from lockd_client.credentials import Credentials
from lockd_client.engine import Engine
from lockd_client.links import REFRESH_PAUSE_S, LinkState, Open
from lockd_client.operations import Answer
from lockd_client.proto import lockd_pb2
from lockd_client.settings import Given, resolve
from tests.client.test_engine import Bench

UNAUTHENTICATED = 16


class Renewing(Bench):
    """A bench whose token is in a file."""

    def __init__(self, folder: Path, *endpoints: str) -> None:
        super().__init__(*endpoints)
        self.file = folder / "token"
        self.turn("1")
        settings = resolve(Given(endpoints=endpoints, token_file=self.file), {})
        self.engine = Engine(
            settings.endpoints, Credentials(settings), timeout=10, chance=lambda: 1.0, random_bytes=bytes
        )

    def turn(self, token: str) -> None:
        """Another token is in the file."""
        self.file.write_text(f"{token:t>40}")

    def refusal(self, endpoint: str = "localhost:1") -> Failure:
        return Failure(endpoint=endpoint, code="UNAUTHENTICATED", reason="UNAUTHENTICATED")


@pytest.fixture
def bench(tmp_path: Path) -> Renewing:
    return Renewing(tmp_path, "localhost:1", "localhost:2")


def opened(bench: Bench) -> list[str]:
    return [action.link.endpoint for action in bench.actions(Open)]


def test_a_link_with_the_newer_token_takes_over_beside_the_old_one(bench: Renewing) -> None:
    first = bench.submit(calls.is_locked("a"))
    old = bench.open()
    (sent,) = bench.out(old)
    assert opened(bench) == ["localhost:1"]
    bench.turn("2")
    bench.pass_time(1)
    assert opened(bench) == ["localhost:1"]
    new = bench.engine.links.better
    assert new is not None
    assert (bench.link, bench.out(old)) == (old, [])
    bench.open(new)
    assert (bench.link, old.state) == (new, LinkState.DRAINING)
    bench.say(old, lockd_pb2.Result(id=sent.id, is_locked=lockd_pb2.IsLockedResponse()))
    assert isinstance(first.result, Answer)
    bench.pass_time(5)
    assert opened(bench) == []


def test_a_newer_token_that_is_refused_leaves_the_old_link_alone(bench: Renewing) -> None:
    bench.submit(calls.is_locked("a"))
    old = bench.open()
    (sent,) = bench.out(old)
    bench.say(old, lockd_pb2.Result(id=sent.id, is_locked=lockd_pb2.IsLockedResponse()))
    bench.turn("2")
    bench.pass_time(1)
    new = bench.engine.links.better
    assert new is not None
    bench.engine.broken(new, bench.refusal(), bench.time)
    assert opened(bench) == ["localhost:1", "localhost:1"]
    assert bench.link is old
    bench.pass_time(REFRESH_PAUSE_S - 1)
    assert opened(bench) == []
    bench.pass_time(1)
    assert opened(bench) == ["localhost:1"]
    assert bench.link is old


def test_an_old_link_that_ends_is_followed_by_the_one_that_is_being_opened(bench: Renewing) -> None:
    operation = bench.submit(calls.is_locked("a"))
    old = bench.open()
    bench.turn("2")
    bench.pass_time(1)
    new = bench.engine.links.better
    assert opened(bench) == ["localhost:1", "localhost:1"]
    bench.engine.broken(old, bench.refusal(), bench.time)
    assert (bench.link, bench.engine.links.better) == (new, None)
    assert opened(bench) == []
    bench.open()
    (again,) = bench.out()
    bench.say(bench.link, lockd_pb2.Result(id=again.id, is_locked=lockd_pb2.IsLockedResponse()))
    assert isinstance(operation.result, Answer)


def test_a_refusal_of_an_old_token_is_asked_again_with_the_new_one(bench: Renewing) -> None:
    """Also of a call that may be sent once: the node has done nothing."""
    operation = bench.lock()
    link = bench.open()
    (sent,) = bench.out(link)
    bench.turn("2")
    bench.refuse(link, sent, UNAUTHENTICATED, "UNAUTHENTICATED")
    assert operation.result is None
    assert opened(bench) == ["localhost:1", "localhost:1"]
    bench.open()
    (again,) = bench.out()
    assert again.lock.request.sequence == sent.lock.request.sequence
    bench.refuse(bench.link, again, UNAUTHENTICATED, "UNAUTHENTICATED")
    assert isinstance(operation.result, Unauthenticated)


def test_another_connection_is_not_another_nodes_turn(bench: Renewing) -> None:
    bench.submit(calls.is_locked("a"))
    link = bench.open()
    bench.out(link)
    wants = Failure(endpoint=link.endpoint, code="UNAVAILABLE", reason=RECONNECT)
    bench.engine.broken(link, wants, bench.time)
    assert opened(bench) == ["localhost:1", "localhost:1"]
    bench.engine.broken(bench.link, wants, bench.time)
    assert opened(bench) == []  # the second time after a pause
    bench.pass_time(1)
    assert opened(bench) == ["localhost:1"]
    bench.break_off(bench.link)
    assert opened(bench) == ["localhost:2"]


def test_calls_fail_once_no_node_can_be_reached_by_tls(bench: Renewing) -> None:
    operation = bench.submit(calls.is_locked("a"))
    for endpoint in ("localhost:1", "localhost:2"):
        assert operation.result is None
        broken = Failure(endpoint=endpoint, code="UNAVAILABLE", details="TLS handshake failed", sent=False, patience=0)
        bench.engine.broken(bench.link, broken, bench.time)
    assert isinstance(operation.result, Unavailable)
    assert "TLS handshake failed" in str(operation.result)


def test_calls_go_on_where_one_node_is_only_down(bench: Renewing) -> None:
    operation = bench.submit(calls.is_locked("a"))
    broken = Failure(endpoint="localhost:1", code="UNAVAILABLE", details="TLS", sent=False, patience=0)
    for _ in range(5):
        bench.engine.broken(bench.link, broken, bench.time)
        bench.break_off(bench.link)
        bench.pass_time(0.6)
    assert operation.result is None


def test_a_word_that_grpc_lost_is_asked_for_again_by_another_connection() -> None:
    lost = Failure(endpoint="a:1", code="INTERNAL", details="Internal error from Core")
    assert channels.unmasked(lost).reason == RECONNECT
    for other in (
        Failure(endpoint="a:1", code="INTERNAL", reason="X", details="Internal error from Core"),
        Failure(endpoint="a:1", code="INTERNAL", details="of the node's own"),
    ):
        assert channels.unmasked(other) is other
