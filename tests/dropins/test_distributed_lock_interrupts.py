"""Handlers of signals that raise, at every line of the module, in the main thread of a process that lives on."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockd_client import distributed_lock
from lockd_client.distributed_lock import InterProcessLockNoWritePermission, get_lock, update_config
from lockd_client.distributed_lock.choice import CHOICE
from tests.dropins.distributed_lock_user import User
from tests.dropins.peers import redis_server
from tests.interrupting import handling, interrupted_at

PACKAGE = str(Path(distributed_lock.__file__).parent)
LINES_MIN = 50  # of the module, for an acquisition and a release
WITHIN_S = 30.0


@pytest.fixture
def handled() -> Iterator[list[int]]:
    with handling() as came:
        yield came


@pytest.fixture(params=["redis", "file"])
def entry(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    if request.param == "file":
        yield {"type": "file"}
        return
    with redis_server() as peer:
        yield {"type": "redis", "config": {"host": peer.host, "port": peer.port, "ttl": WITHIN_S * 2}}


def test_an_interrupt_at_any_line_leaves_nothing_behind_that_keeps_others_out(
    entry: dict[str, Any], handled: list[int], tmp_path: Path
) -> None:
    config = tmp_path / "locking.yml"
    config.write_text(json.dumps([entry]))
    update_config([entry])
    lock = get_lock(tmp_path / "x")
    with User({"ISF_DISTRIBUTED_LOCK_CONFIG": str(config)}) as other:
        for line in itertools.count(1):
            handled.clear()
            tracing = interrupted_at(PACKAGE, line, lock)
            if not handled:
                break
            if "held" in repr(lock):
                assert tracing.was_before_the_release, tracing.where
                lock.release()
            assert other.acquire(lock.name, timeout=WITHIN_S) is True, tracing.where
            assert other.release(lock.name) == "released"
    assert line > LINES_MIN
    CHOICE.forget()


def test_so_it_is_with_the_lock_on_a_file_alone(handled: list[int], tmp_path: Path) -> None:
    lock = InterProcessLockNoWritePermission(tmp_path / "x")
    for line in itertools.count(1):
        handled.clear()
        tracing = interrupted_at(PACKAGE, line, lock)
        if not handled:
            break
        if lock._held:
            assert tracing.was_before_the_release, tracing.where
            lock.release()
        another = InterProcessLockNoWritePermission(tmp_path / "x")
        assert another.acquire(timeout=0) is True, tracing.where
        another.release()
    assert line > LINES_MIN
