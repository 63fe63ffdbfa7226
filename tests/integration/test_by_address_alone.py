"""Clients that have nothing of lockd's but an address: reflection, health, errors, and the lines of docs/grpcurl.md."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.eventually import eventually
from tests.integration.cluster import ROOT, running

SERVICES = {"lockd.v1.LockService", "lockd.v1.ClusterService", "lockapi.Locking", "grpc.health.v1.Health"}
DEADLINE_S = 10.0


class Stranger:
    """Knows an address. Everything else it asks."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.database)

    def services(self) -> set[str]:
        return set(self.database.get_services())

    def methods(self) -> dict[str, MethodDescriptor]:
        """By service/method, as grpcurl writes them."""
        services = [self.pool.FindServiceByName(name) for name in self.services()]
        return {f"{service.full_name}/{method.name}": method for service in services for method in service.methods}

    def request(self, path: str, fields: dict[str, Any]) -> Message:
        """Raises json_format.ParseError for a field that the call does not have."""
        return json_format.ParseDict(fields, message_factory.GetMessageClass(self.methods()[path].input_type)())

    def call(self, path: str, fields: dict[str, Any]) -> dict[str, Any]:
        answer_class = message_factory.GetMessageClass(self.methods()[path].output_type)
        answer = self.send(path, self.request(path, fields).SerializeToString())
        found = json_format.MessageToDict(answer_class.FromString(answer), preserving_proto_field_name=True)
        assert isinstance(found, dict)
        return found

    def send(self, path: str, request: bytes) -> bytes:
        call: Any = self.channel.unary_unary(f"/{path}")  # bytes, both ways
        answer = call(request, timeout=DEADLINE_S)
        assert isinstance(answer, bytes)
        return answer


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    """Speaks with a node that does not lead."""
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        follower = cluster.others(cluster.wait_for_leader())[0]
        stranger = Stranger(cluster.nodes[follower].endpoint)
        yield stranger
        stranger.channel.close()


# ---- reflection and health


def test_the_services_are_listed(stranger):
    assert stranger.services() >= SERVICES
    assert any("reflection" in name for name in stranger.services())


def test_a_lock_is_taken_and_listed(stranger):
    clock_ms = int(stranger.call("lockd.v1.ClusterService/Status", {}).get("clock_ms", 0))
    asked = {"name": "by-reflection", "ttl_ms": 60_000, "owner": "a stranger"}
    asked["request"] = {"id": "YW4gaWQ=", "not_after_ms": clock_ms + 240_000}
    answer = stranger.call("lockd.v1.LockService/Lock", asked)
    assert (answer["outcome"], answer["acquired"]) == ("GRANTED", True)
    listed = stranger.call("lockd.v1.LockService/List", {"prefix": "by-"})["holders"]
    assert [(hold["name"], hold["token"], hold["owner"]) for hold in listed] == [
        ("by-reflection", answer["token"], "a stranger")
    ]
    again = stranger.call("lockd.v1.LockService/Lock", asked)
    assert again["token"] == answer["token"], "the same id is the same request"
    released = stranger.call("lockd.v1.LockService/Unlock", {"token": answer["token"]})
    assert released["outcome"] == "RELEASED"


@pytest.mark.parametrize("service", ["", "lockd.v1.LockService", "lockd.v1.ClusterService", "lockapi.Locking"])
def test_health_says_serving(stranger, service):
    """Soon after the node knows a leader: health follows the replica, it is not asked by every call."""
    health: Any = health_pb2_grpc.HealthStub(stranger.channel)
    asked = health_pb2.HealthCheckRequest(service=service)
    serving = health_pb2.HealthCheckResponse.SERVING
    eventually(lambda: health.Check(asked, timeout=DEADLINE_S).status == serving, DEADLINE_S)


# ---- errors


def refusal(stranger: Stranger, path: str, request: bytes) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
    with pytest.raises(grpc.RpcError) as raised:
        stranger.send(path, request)
    error: Any = raised.value
    return error.code(), error.details(), dict(error.trailing_metadata())


@pytest.mark.parametrize("path", ["lockd.v1.LockService/Lock", "lockd.v1.LockService/IsLocked", "lockapi.Locking/Lock"])
def test_a_name_that_is_not_utf8(stranger, path):
    code, message, trailers = refusal(stranger, path, b"\x0a\x02\xff\xfe")  # field 1, two bytes
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "not valid UTF-8" in message
    assert trailers["lockd-reason"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("path", "fields", "code", "reason", "said"),
    [
        ("Lock", {"name": ""}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "name is empty; it takes 1 to 512 bytes"),
        ("Lock", {"name": "x", "ttl_ms": 1}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "ttl_ms is 1; it takes"),
        ("Unlock", {}, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "token is 0; it takes"),
        (
            "Lock",
            {"name": "x", "request": {"id": "YQ==", "not_after_ms": 1}},
            "FAILED_PRECONDITION",
            "TOO_OLD",
            "not_after_ms has passed",
        ),
    ],
)
def test_a_refusal_carries_its_details(stranger, path, fields, code, reason, said):
    lock = stranger.call("lockd.v1.LockService/Lock", {"name": "moves-the-clock", "ttl_ms": 60_000})
    assert int(lock["clock_ms"]) > 1
    path = f"lockd.v1.LockService/{path}"
    found, message, trailers = refusal(stranger, path, stranger.request(path, fields).SerializeToString())
    assert found.name == code
    assert said in message
    assert trailers["lockd-reason"] == reason
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert (status.code, status.message) == (found.value[0], message)
    (detail,) = status.details
    info = error_details_pb2.ErrorInfo()
    assert detail.Unpack(info)
    assert (info.reason, info.domain) == (reason, "lockd")


# ---- docs/grpcurl.md


def grpcurl_lines() -> list[tuple[str, str]]:
    """What each line of the page calls, and the JSON that it sends."""
    lines = re.findall(r"^\$? ?(grpcurl .*)$", (ROOT / "docs" / "grpcurl.md").read_text(), re.MULTILINE)
    calls = []
    for line in lines:
        words = shlex.split(line)
        if "/" in words[-1]:
            assert words[-2] == "127.0.0.1:2080"
            calls.append((words[-1], words[words.index("-d") + 1] if "-d" in words else "{}"))
    return calls


def test_the_page_names_calls_and_fields_that_there_are(stranger):
    for path, sent in grpcurl_lines():
        request = message_factory.GetMessageClass(stranger.methods()[path].input_type)()
        json_format.Parse(sent, request)


def test_the_page_has_a_line_for_every_call(stranger):
    ours = {path for path in stranger.methods() if path.startswith(("lockd.", "lockapi."))}
    assert ours <= {path for path, _ in grpcurl_lines()}


def test_the_page_describes_what_there_is(stranger):
    text = (ROOT / "docs" / "grpcurl.md").read_text()
    for name in re.findall(r"describe (\S+)", text):
        found = stranger.pool.FindFileContainingSymbol(name)
        assert name.rpartition(".")[2] in {*found.services_by_name, *found.message_types_by_name}
