"""The commands in docs/grpcurl.md name calls that exist, with fields that they have, within their bounds."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, message_factory
from grpc_health.v1 import health_pb2

from lockd.access import bounds
from lockd.config import Limits
from lockd.machine.commands import FREE_ID, Call, Key, Request
from lockd.server.methods import ACCESS_METHODS, METHODS, REGISTRY_METHODS
from lockd_client.proto import lockapi_pb2
from lockd_client.proto import lockd_pb2 as pb

DOCS = Path(__file__).resolve().parents[2] / "docs" / "grpcurl.md"
COMMANDS = [line for line in DOCS.read_text().splitlines() if line.startswith("grpcurl ") and "/" in line.split()[-1]]
REQUEST = Request(Key("", FREE_ID + b"id"), b"asked", 240_000)

SERVICES: tuple[Any, ...] = (
    *pb.DESCRIPTOR.services_by_name.values(),
    *lockapi_pb2.DESCRIPTOR.services_by_name.values(),
)
TABLES = {
    "lockd.v1.LockService": METHODS,
    "lockd.v1.AccessService": ACCESS_METHODS,
    "lockd.v1.RegistryService": REGISTRY_METHODS,
}
HEALTH: Any = health_pb2.DESCRIPTOR.services_by_name["Health"]


def parts(command: str) -> tuple[str, dict[str, Any]]:
    """The call, and what is sent."""
    words = shlex.split(command)
    data = words[words.index("-d") + 1] if "-d" in words else "{}"
    return words[-1], json.loads(data)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_fits_its_call(command):
    call, data = parts(command)
    service, _, name = call.rpartition("/")
    (method,) = (each.methods_by_name[name] for each in (*SERVICES, HEALTH) if each.full_name == service)
    message: Any = json_format.ParseDict(data, message_factory.GetMessageClass(method.input_type)())
    methods = TABLES.get(service, {})
    if name in methods:
        asker = REQUEST if methods[name].has_request else ""
        bounds.check(methods[name].make(message, Call(1, 7, 1), asker), Limits())


def test_every_call_has_a_command():
    shown = {parts(command)[0] for command in COMMANDS}
    for service in SERVICES:
        assert {f"{service.full_name}/{method.name}" for method in service.methods} <= shown


def test_every_limit_that_is_named_exists():
    assert set(re.findall(r"limits\.(\w+)", DOCS.read_text())) <= {field.name for field in fields(Limits)}
