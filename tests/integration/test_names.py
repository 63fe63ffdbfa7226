"""Names and their bounds, over the wire: lockd.v1 by single calls and on a Stream, and lockapi."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from lockd_client import InvalidArgument, LockdClient, methods
from lockd_client.proto import lockd_pb2 as pb
from tests.integration.cluster import Cluster, running
from tests.integration.raw import OPTIONS, reason_of

DEADLINE_S = 10.0

NAMES = {
    "one byte": "x",
    "512 bytes": "x" * 512,
    "512 bytes in 171 characters": "日" * 170 + "xx",
    "Japanese": "日本語",
    "a URI": "mysql://u@host:3306/db",
    "a URI with a query": "https://host/a/../b?c=d&e=%20#f",
    "a path": "/var/lib/app/lock",
    "slashes alone": "///",
    "spaces": " a b ",
    "beyond the basic plane": "🔒" * 128,
    "composed, and not normalised": "e\u0301 \u00e9",
    "a backslash and quotes": "\\ \" '",
}

NO_NAMES = {
    "": "is empty; it takes 1 to 512 bytes",
    "x" * 513: "has 513 bytes; the bound is 512",
    "日" * 171: "has 513 bytes; the bound is 512",
    "\0": "has the control character U+0000 at place 1",
    "a\nb": "has the control character U+000A at place 2",
    "\x1f": "has the control character U+001F at place 1",
    "a\x7f": "has the control character U+007F at place 2",
    "\x85": "has the control character U+0085 at place 1",
}
"""And what is said of them."""

NOT_UTF8 = [b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe6\x97", b"a\x80", b"\xf5\x80\x80\x80"]
"""No text at all, an overlong slash, a surrogate, a character cut short, a continuation alone, beyond Unicode."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster"), 1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[LockdClient]:
    with cluster.client() as client:
        yield client


@pytest.fixture(scope="module")
def channel(cluster: Cluster) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(cluster.nodes[1].endpoint, options=OPTIONS) as channel:
        yield channel


# ---- what is a name


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_is_locked_read_listed_and_let_go(client, name):
    answer = client.try_lock(name, ttl=30)
    assert answer.acquired
    assert client.is_locked(name)
    assert [holder.name for holder in client.get(name).holders] == [name]
    assert [holder.token for holder in client.list(name) if holder.name == name] == [answer.token]
    assert client.unlock(answer.token, name=name).released
    assert not client.is_locked(name)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_the_same_by_the_go_lockds_calls(client, name):
    assert client.Lock(name)
    assert client.IsLocked(name)
    assert not client.Lock(name)
    assert client.Unlock(name)
    assert not client.IsLocked(name)


def test_all_of_them_are_one_set(client):
    with client.lock_all(NAMES.values(), ttl=30, wait=0):
        assert {holder.name for holder in client.list()} == set(NAMES.values())


def test_names_are_not_normalised(client):
    with client.lock("e\u0301", wait=0), client.lock("\u00e9", wait=0):
        assert [holder.name for holder in client.list("e")] == ["e\u0301"]


# ---- what is none


@pytest.mark.parametrize(("name", "said"), NO_NAMES.items(), ids=map(ascii, NO_NAMES))
@pytest.mark.parametrize(
    "path",
    [
        "lockd.v1.LockService/Lock",
        "lockd.v1.LockService/IsLocked",
        "lockd.v1.LockService/Get",
        "lockapi.Locking/Lock",
        "lockapi.Locking/Unlock",
        "lockapi.Locking/IsLocked",
    ],
)
def test_the_refusal_names_the_bound(channel, path, name, said):
    assert refusal(channel, path, field(1, name.encode())) == f"name {said}"


@pytest.mark.parametrize("name", NOT_UTF8)
@pytest.mark.parametrize(
    "path",
    [
        "lockd.v1.LockService/Lock",
        "lockd.v1.LockService/IsLocked",
        "lockd.v1.LockService/Get",
        "lockd.v1.LockService/List",
        "lockapi.Locking/Lock",
        "lockapi.Locking/Unlock",
        "lockapi.Locking/IsLocked",
    ],
)
def test_a_name_that_is_not_utf8(channel, path, name):
    assert "not valid UTF-8" in refusal(channel, path, field(1, name))


@pytest.mark.parametrize("name", NO_NAMES, ids=map(ascii, NO_NAMES))
def test_the_client_says_the_same(client, name):
    for call in (client.Lock, client.is_locked, client.get):
        with pytest.raises(InvalidArgument):
            call(name)
    with pytest.raises(InvalidArgument):
        client.lock_all(["fine", name], ttl=30).acquire(blocking=False)
    assert not client.is_locked("fine"), "a set is refused whole"


@pytest.mark.parametrize(("name", "said"), NO_NAMES.items(), ids=map(ascii, NO_NAMES))
def test_on_a_stream_the_operation_is_refused_and_the_stream_goes_on(channel, name, said):
    refused = pb.Operation(id=1, lock=pb.LockRequest(name=name))
    sound = pb.Operation(id=2, is_locked=pb.IsLockedRequest(name="fine"))
    results = {result.id: result for result in answers(channel, pb.StreamRequest(operations=[refused, sound]))}
    assert results[1].error.reason == "INVALID_ARGUMENT"
    assert results[1].error.message == f"name {said}"
    assert results[2].WhichOneof("what") == "is_locked"


@pytest.mark.parametrize("name", NOT_UTF8)
def test_a_stream_that_carries_what_is_not_utf8_is_refused(channel, name):
    operation = field(1, b"\x08\x01" + field(3, field(1, name)))  # id 1, and a Lock of this name
    call: Any = channel.stream_stream(f"/{methods.STREAM.path.strip('/')}")
    with pytest.raises(grpc.RpcError) as raised:
        next(call(iter([operation]), timeout=DEADLINE_S))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not valid UTF-8" in str(raised.value.details())


def answers(channel: grpc.Channel, request: pb.StreamRequest) -> list[pb.Result]:
    call: Any = channel.stream_stream(
        methods.STREAM.path,
        request_serializer=pb.StreamRequest.SerializeToString,
        response_deserializer=pb.StreamResponse.FromString,
    )
    return [result for response in call(iter([request]), timeout=DEADLINE_S) for result in response.results]


def refusal(channel: grpc.Channel, path: str, request: bytes) -> str:
    """The message of INVALID_ARGUMENT."""
    call: Any = channel.unary_unary(f"/{path}")  # bytes, both ways
    with pytest.raises(grpc.RpcError) as raised:
        call(request, timeout=DEADLINE_S)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(raised.value) == "INVALID_ARGUMENT"
    return str(raised.value.details())


def field(number: int, data: bytes) -> bytes:
    """As protobuf writes a field of bytes, or of text."""
    size, length = len(data), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data
