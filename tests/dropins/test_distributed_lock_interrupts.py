"""Handlers of signals that raise, at every line of the module, in the main thread of a process that lives on."""

import contextlib
import itertools
import json
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lockd_client import distributed_lock
from lockd_client.distributed_lock import DistributedLock, InterProcessLockNoWritePermission, get_lock, update_config
from lockd_client.distributed_lock.choice import CHOICE
from tests.dropins.distributed_lock_user import User
from tests.dropins.peers import redis_server

PACKAGE = str(Path(distributed_lock.__file__).parent)
LINES_MIN = 50  # of the module, for an acquisition and a release
WITHIN_S = 30.0


class Interrupted(BaseException):
    """As KeyboardInterrupt."""


@pytest.fixture
def handled() -> Iterator[list[int]]:
    came: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, handler)
    yield came
    signal.signal(signal.SIGUSR1, before)


class Tracing:
    """Interrupts this thread at the n-th line of the module that it comes to. where: that was in these functions, the
    innermost first.
    """

    def __init__(self, line: int) -> None:
        self._left = line
        self.where: list[str] = []

    def __enter__(self) -> "Tracing":
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self._left -= 1
            if self._left == 0:
                self.where = [each.f_code.co_name for each, _ in traceback.walk_stack(frame)]
                signal.raise_signal(signal.SIGUSR1)
        return self._trace


def interrupted_at(line: int, lock: DistributedLock | InterProcessLockNoWritePermission) -> Tracing:
    tracing = Tracing(line)
    with contextlib.suppress(Interrupted), tracing, lock:
        pass
    return tracing


def is_before_the_release(tracing: Tracing) -> bool:
    """Python may run a handler before the first line of what ends a `with`: the body's end was not reached then."""
    return "__exit__" in tracing.where[:2]


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
            tracing = interrupted_at(line, lock)
            if not handled:
                break
            if "held" in repr(lock):
                assert is_before_the_release(tracing), tracing.where
                lock.release()
            assert other.acquire(lock.name, timeout=WITHIN_S) is True, tracing.where
            assert other.release(lock.name) == "released"
    assert line > LINES_MIN
    CHOICE.forget()


def test_so_it_is_with_the_lock_on_a_file_alone(handled: list[int], tmp_path: Path) -> None:
    lock = InterProcessLockNoWritePermission(tmp_path / "x")
    for line in itertools.count(1):
        handled.clear()
        tracing = interrupted_at(line, lock)
        if not handled:
            break
        if lock._held:
            assert is_before_the_release(tracing), tracing.where
            lock.release()
        another = InterProcessLockNoWritePermission(tmp_path / "x")
        assert another.acquire(timeout=0) is True, tracing.where
        another.release()
    assert line > LINES_MIN
