"""watch: a line for each event, as it comes."""

import json
import os
from pathlib import Path

import grpc
import pytest

from lockd_client.proto import lockd_pb2
from tests.cli.command import WITHIN_S, Process, run
from tests.client.fake_node import Fail, FakeNode
from tests.eventually import eventually

GRANTED = lockd_pb2.Event(
    revision=1,
    kind=lockd_pb2.EVENT_GRANTED,
    wants=[lockd_pb2.Want(name="a"), lockd_pb2.Want(name="b\x1b", mode=lockd_pb2.SHARED)],
    clock_ms=61_500,
    token=7,
    owner="ann",
)
BROKEN = lockd_pb2.Event(
    revision=2,
    kind=lockd_pb2.EVENT_BROKEN,
    wants=[lockd_pb2.Want(name="a")],
    clock_ms=62_000,
    token=7,
    owner="ann",
    by="ops",
    reason="gone\n",
)


def test_lines_as_they_come(node: FakeNode) -> None:
    node.state.events.append(GRANTED)
    with Process(node, "watch", "--from", "1") as process:
        assert process.line() == "1  61.500s  granted      a, b\\x1b (shared)  token 7, ann\n"
        node.state.events.append(BROKEN)
        assert process.line() == "2  62.000s  broken       a  token 7, ann, by ops: gone\\n\n"
        process.interrupt()
        assert process.end() == (130, "", "")


def test_one_object_a_line(node: FakeNode) -> None:
    node.state.events += [GRANTED, BROKEN]
    with Process(node, "watch", "-o", "json", "--from", "1") as process:
        events = [json.loads(process.line()) for _ in range(2)]
    assert [event["kind"] for event in events] == ["GRANTED", "BROKEN"]
    assert events[0]["wants"] == [{"name": "a", "mode": "EXCLUSIVE"}, {"name": "b\x1b", "mode": "SHARED"}]
    assert (events[1]["by"], events[1]["reason"], events[1]["revision"]) == ("ops", "gone\n", 2)


def test_from_now_on_unless_told_otherwise(node: FakeNode) -> None:
    node.state.events.append(GRANTED)
    with Process(node, "watch", "a") as process:
        (request,) = eventually(lambda: node.calls(lockd_pb2.WatchRequest), WITHIN_S)
        process.interrupt()
        assert process.end() == (130, "", "")
    assert (request.prefix, request.from_revision) == ("a", 0)


def test_events_that_are_gone(node: FakeNode) -> None:
    node.before.append(Fail(grpc.StatusCode.OUT_OF_RANGE, "COMPACTED", "revision 5 is not kept any more"))
    gone = run(node, "watch", "--from", "5")
    assert (gone.exit_code, gone.stdout) == (65, "")
    assert "no longer kept; see `lockd list`, then `lockd watch` without --from" in gone.stderr
    assert "revision 5" in gone.stderr


def test_a_reader_that_has_enough(node: FakeNode, tmp_path: Path) -> None:
    node.state.events.append(GRANTED)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe, Process(node, "watch", "--from", "1", stdout=pipe) as process:
        assert process.end() == (74, "", "")


@pytest.mark.parametrize(("revision", "code"), [("0", 64), ("-1", 64), ("now", 64), (str(2**64), 65)])
def test_revisions(node: FakeNode, revision: str, code: int) -> None:
    assert run(node, "watch", "--from", revision).exit_code == code
