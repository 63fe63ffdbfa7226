"""One clock for both sides: the plain library reads it too."""

import pytest

from lockd.raft import engine
from tests.engine.rig import HandClock, running


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    hand = HandClock()
    monkeypatch.setitem(engine._plain, "monotonicTime", hand.monotonic)
    return hand


@pytest.fixture(autouse=True)
def _end_plain_nodes():
    yield
    while running:
        running.pop().destroy()
