"""A test whose process does not end as it should says where that hangs."""

import subprocess

import pytest

from tests.cli.command import WITHIN_S, Process, Started
from tests.client.fake_node import FakeNode
from tests.eventually import eventually


def test_of_a_process_that_does_not_end_its_stacks_are_shown(node: FakeNode) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as failure, Process(node, "watch") as process:
        eventually(lambda: node.seen, WITHIN_S)
        process.popen.wait(0.1)
    (shown,) = failure.value.__notes__
    assert "has not ended" in shown
    assert "in watch_command" in shown


def test_of_one_that_has_ended_who_keeps_its_output_open(node: FakeNode) -> None:
    with Started(node, "sh", "-c", "exec 3<&0; cat <&3 & exit 3") as process:
        eventually(lambda: process.popen.poll() is not None, WITHIN_S)
        eventually(lambda: "['cat']" in process.where(), WITHIN_S)
        assert "ended with 3; its stdout is held by" in process.where()
