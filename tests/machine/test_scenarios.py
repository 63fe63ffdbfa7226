"""Scenarios as transcripts. After a change that is meant: REWRITE_SCENARIOS=1, and read the diff."""

import difflib
import os
from pathlib import Path

import pytest

from tests.machine.transcript import played

SCENARIOS = sorted(Path(__file__).with_name("scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path):
    written = path.read_text()
    now = played(written)
    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_text(now)
        return
    diff = difflib.unified_diff(written.splitlines(), now.splitlines(), "as written", "as the machine is", lineterm="")
    assert written == now, "\n".join(["REWRITE_SCENARIOS=1 accepts this:", *diff])


def test_there_are_scenarios():
    assert len(SCENARIOS) >= 12


def test_playing_is_settled():
    """What was rewritten once stays as it is."""
    for path in SCENARIOS:
        assert played(played(path.read_text())) == played(path.read_text())
