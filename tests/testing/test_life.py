"""From its start to its end: what it takes of the process, and gives back."""

import contextlib
import os
import resource
import subprocess
import sys
import time

import pytest
import structlog

from lockd.testing import InProcessLockd
from lockd_client import LockdClient, now
from lockd_client.clock import grpc_timeout
from lockd_client.errors import ClientClosed
from tests.eventually import eventually
from tests.testing.conftest import WITHIN_S


def test_it_starts_within_a_second():
    with InProcessLockd():
        pass  # what it needs is loaded
    began = time.monotonic()
    with InProcessLockd() as lockd:
        lockd.client().lock("a").acquire()
        assert time.monotonic() - began < 1


def test_there_is_one_at_a_time():
    with InProcessLockd(), pytest.raises(RuntimeError, match="time has one hand"):
        InProcessLockd().start()
    with InProcessLockd() as lockd:
        assert lockd.holders("a") == ()


def test_it_may_be_used_again_and_begins_anew():
    lockd = InProcessLockd()
    for _ in range(2):
        with lockd:
            assert lockd.client().try_lock("a", ttl=30)
            lockd.advance(10)
            assert lockd.elapsed < 11
    lockd.close()


def test_its_clients_are_closed_with_it():
    with InProcessLockd() as lockd:
        client = lockd.client()
        client.is_locked("a")
    with pytest.raises(ClientClosed):
        client.is_locked("a")


def test_it_ends_soon_with_a_client_that_is_cut_off_and_has_something_to_tell():
    began = time.monotonic()
    with InProcessLockd() as lockd:
        client = lockd.client()
        session = client.open_session()
        lockd.partition(client)
        lockd.lose(session)
    assert time.monotonic() - began < WITHIN_S


def test_real_time_passes_again_afterwards_and_never_goes_back():
    with InProcessLockd() as lockd:
        lockd.advance(86_400)
        last = now()
    assert now() >= last
    eventually(lambda: now() > last + 0.1, WITHIN_S)


def test_clients_find_it_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("LOCKD_ENDPOINTS", "elsewhere:2080")
    monkeypatch.setenv("LOCKD_CACERT", "/of/another/cluster.crt")
    with InProcessLockd(), LockdClient() as client:
        assert not client.is_locked("a")
        assert "LOCKD_CACERT" not in os.environ
    assert os.environ["LOCKD_ENDPOINTS"] == "elsewhere:2080"
    assert os.environ["LOCKD_CACERT"] == "/of/another/cluster.crt"


LOGGING = """
import logging
import structlog
from lockd.testing import InProcessLockd

class Kept(logging.Handler):
    records = []
    def emit(self, record):
        self.records.append(record)

logging.getLogger().addHandler(Kept())
logging.getLogger().setLevel(logging.INFO)
with InProcessLockd():
    pass
assert any("leading" in record.getMessage() for record in Kept.records if record.name.startswith("lockd"))
assert not structlog.is_configured()
"""


def test_it_prints_nothing_and_logs_through_logging():
    """In a process of its own: another test may have configured structlog."""
    done = subprocess.run([sys.executable, "-c", LOGGING], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_leaves_a_configuration_of_structlog_alone():
    structlog.configure(processors=[structlog.testing.LogCapture()])
    with contextlib.ExitStack() as stack:
        stack.callback(structlog.reset_defaults)
        before = structlog.get_config()
        with InProcessLockd():
            assert structlog.get_config() == before
        assert structlog.get_config() == before


def test_it_leaves_the_limit_on_open_files_alone():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    below = (soft - 1, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, below)
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with InProcessLockd():
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == below


def test_what_is_asked_of_one_that_is_closed_is_refused():
    lockd = InProcessLockd()
    with lockd:
        pass
    with pytest.raises(RuntimeError, match="the node does not run"):
        lockd.client()


def test_the_node_s_failure_is_not_waited_for():
    with InProcessLockd() as lockd:
        lockd._node._loop.call_soon_threadsafe(lockd._node._node.stop)
        eventually(lambda: not lockd._node.is_running, WITHIN_S)
        with pytest.raises(RuntimeError, match="the node does not run"):
            lockd.advance(1)


@pytest.mark.parametrize("patience", [0, -1, float("nan")])
def test_patience_is_more_than_nothing(patience):
    with pytest.raises(ValueError, match="it is a number of seconds, more than 0"):
        InProcessLockd(patience=patience)


def test_patience_may_be_without_end():
    with InProcessLockd(patience=float("inf")) as lockd:
        lockd.advance(1)


def test_grpc_counts_down_no_call_while_time_stands_still():
    """Its deadlines are in real time."""
    assert grpc_timeout(5) == 5
    with InProcessLockd():
        assert grpc_timeout(5) is None
    assert grpc_timeout(5) == 5
