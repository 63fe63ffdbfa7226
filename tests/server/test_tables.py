"""The server's tables are whole: every call, every reason, every outcome, every kind of event."""

from typing import get_args

import grpc
import pytest

from lockd.access.admission import NO_ANSWERS
from lockd.access.refusal import Reason, Refused
from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd.server import translate
from lockd.server.methods import ACCESS_METHODS, BY_FIELD, METHODS, REGISTRY_METHODS
from lockd.server.status import CODES
from lockd_client.proto import lockd_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["LockService"]
STREAMED = {"Watch", "Stream"}


def test_every_reason_has_a_code():
    assert set(CODES) == set(Reason)
    assert grpc.StatusCode.OK not in CODES.values()
    assert grpc.StatusCode.DEADLINE_EXCEEDED not in CODES.values(), "gRPC's own, without an answer of ours"


def test_every_call_is_in_the_table():
    assert set(METHODS) == {method.name for method in SERVICE.methods} - STREAMED
    for name, method in METHODS.items():
        assert SERVICE.methods_by_name[name].output_type is method.response.DESCRIPTOR


@pytest.mark.parametrize(
    ("service_name", "methods"), [("AccessService", ACCESS_METHODS), ("RegistryService", REGISTRY_METHODS)]
)
def test_every_call_that_no_stream_carries_is_in_its_table(service_name, methods):
    service = pb.DESCRIPTOR.services_by_name[service_name]
    assert set(methods) == {method.name for method in service.methods}
    for name, method in methods.items():
        assert service.methods_by_name[name].output_type is method.response.DESCRIPTOR
        assert method.has_request == ("request" in service.methods_by_name[name].input_type.fields_by_name)


def test_every_operation_of_a_stream_is_one_of_the_calls():
    operations = {field.name: field for field in pb.Operation.DESCRIPTOR.oneofs_by_name["what"].fields}
    results = {field.name: field for field in pb.Result.DESCRIPTOR.oneofs_by_name["what"].fields}
    assert set(operations) == set(BY_FIELD) | {"status"}
    assert set(results) == set(operations) | {"error"}
    for name, method in METHODS.items():
        assert operations[method.field].message_type is SERVICE.methods_by_name[name].input_type
        assert results[method.field].message_type is method.response.DESCRIPTOR


@pytest.mark.parametrize("name", METHODS)
def test_what_the_table_says_of_a_message_is_true(name):
    fields = set(SERVICE.methods_by_name[name].input_type.fields_by_name)
    method = METHODS[name]
    assert method.waits == ("wait_ms" in fields)
    assert method.may_be_stale == ("consistency" in fields)
    assert method.has_request == ("request" in fields and name != "Cancel")


def test_every_kind_of_event_is_told():
    assert set(translate.EVENT_KINDS) == set(o.What)
    assert set(translate.EVENT_KINDS.values()) == set(pb.EventKind.values()) - {pb.EVENT_UNSPECIFIED}


ANSWERS = (
    o.Granted(token=7, lease_remaining_ms=5, waited_ms=3, count=2),
    o.Queued(position=4),
    o.HeldByOther(o.Conflict(waiters=1, delayed_until_ms=9)),
    o.TimedOut(o.Conflict()),
    o.Deadlock((o.Link("ann", 5, "t1", "a"),)),
    o.UpgradeRefused(token=7),
    o.Cancelled(),
    o.Lost(token=7),
    o.Released(token=7, count=1),
    o.NotHeld(),
    o.Renewed(5),
    o.Opened(5, 6, 7),
    o.Kept(5),
    o.Closed(),
    o.LockState(holders_count=1),
    o.Page(()),
    o.TokenState(is_current=True),
    o.CredentialCreated(7),
    o.CredentialRevoked(found=True),
    o.Credentials(()),
    o.Registered(c.Kind.CLIENT, ((7, "ann"),)),
    o.Unregistered(found=True),
)
NEVER_TO_CALLERS = (o.Passed, o.Refusal)


def test_every_outcome_is_an_answer_or_an_error():
    answered = {type(answer) for answer in ANSWERS}
    assert answered | set(NO_ANSWERS) | set(NEVER_TO_CALLERS) == set(get_args(o.Outcome))


@pytest.mark.parametrize("outcome", ANSWERS, ids=lambda outcome: type(outcome).__name__)
def test_every_answer_fits_its_message(outcome):
    fitting = 0
    for method in (*METHODS.values(), *ACCESS_METHODS.values(), *REGISTRY_METHODS.values()):
        try:
            fields = method.encode(outcome, 1234)
        except (AssertionError, Refused):
            continue
        assert method.response(**fields).clock_ms == 1234  # type: ignore[attr-defined]
        fitting += 1
    assert fitting > 0


def test_every_outcome_of_the_api_but_none_more_is_used():
    said = {METHODS["Lock"].encode(answer, 0)["outcome"] for answer in ANSWERS[:8]}
    said |= {METHODS["Unlock"].encode(answer, 0)["outcome"] for answer in ANSWERS[8:10]}
    said |= {METHODS["Renew"].encode(ANSWERS[10], 0)["outcome"]}
    assert said == set(pb.Outcome.values()) - {pb.OUTCOME_UNSPECIFIED}
