"""Connections never take the descriptors that the store needs."""

import resource

import pytest
from structlog.testing import capture_logs

from lockd.descriptors import RESERVE, connections


@pytest.fixture
def limits(monkeypatch):
    """What the system is asked for, and answers."""
    found = {"soft": 1_024, "hard": 20_000, "set": None}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (found["soft"], found["hard"]))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: found.update(set=both))
    return found


def test_the_soft_limit_is_raised_and_leaves_room_for_all(limits):
    with capture_logs() as said:
        assert connections(10_000) == 10_000
    assert limits["set"] == (20_000, 20_000)
    assert said == []


@pytest.mark.parametrize(("hard", "allowed"), [(1_024, 1_024 - RESERVE), (256, 128), (64, 32)])
def test_fewer_descriptors_are_fewer_connections_and_said(limits, hard, allowed):
    limits.update(soft=hard, hard=hard)
    with capture_logs() as said:
        assert connections(10_000) == allowed
    assert limits["set"] is None
    assert said[0]["connections"] == allowed
    assert said[0]["open_files_max"] == hard


def test_without_a_limit_there_are_as_many_as_configured(limits):
    limits.update(soft=resource.RLIM_INFINITY, hard=resource.RLIM_INFINITY)
    assert connections(10_000) == 10_000
