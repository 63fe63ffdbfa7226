"""A process that uses lockd_client.distributed_lock: `python -m tests.dropins.distributed_lock_user`, driven by JSON
lines. User is the other end of the pipes.
"""

import atexit
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lockd_client.distributed_lock import (
    DistributedLock,
    InterProcessLockNoWritePermission,
    get_lock,
    get_locking_client,
    get_read_lock,
    get_write_lock,
)
from tests.driven import Driven, serve

WITHIN_S = 60.0
GETTERS = {"lock": get_lock, "read": get_read_lock, "write": get_write_lock}


class User(Driven):
    """What it did is the answer, or the name of the error. environment: besides what every process has, such as
    ISF_DISTRIBUTED_LOCK_CONFIG.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.dropins.distributed_lock_user"]
        super().__init__(command, environment={**os.environ, **environment}, within=WITHIN_S)

    def acquire(self, name: str, kind: str = "lock", timeout: float | None = None) -> Any:
        return self.call("acquire", name=name, kind=kind, timeout=timeout)

    def release(self, name: str, kind: str = "lock") -> Any:
        return self.call("release", name=name, kind=kind)


# ---- in the process itself


class Doing:
    def __init__(self) -> None:
        self.locks: dict[tuple[str, str], DistributedLock] = {}

    def lock(self, name: str, kind: str) -> DistributedLock:
        return self.locks.setdefault((name, kind), GETTERS[kind](name))

    def acquire(self, name: str, kind: str, timeout: float | None) -> bool:
        return self.lock(name, kind).acquire(timeout=timeout)

    def acquire_and_forget(self, name: str) -> bool:
        acquired = get_lock(name).acquire()
        gc.collect()
        return acquired

    def acquire_file_and_forget(self, path: str) -> bool:
        acquired = InterProcessLockNoWritePermission(path).acquire()
        gc.collect()
        return acquired

    def acquire_until_interrupted(self, name: str, after_s: float) -> bool:
        """As if its user had pressed Ctrl-C so long after it began to wait."""
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, after_s)
        return get_lock(name).acquire()

    def release(self, name: str, kind: str) -> str:
        self.lock(name, kind).release()
        return "released"

    def count(self, name: str, file: str, rounds: int) -> int:
        """Adds 1 to the number in the file so often, as nobody could who is not alone."""
        for _ in range(rounds):
            with get_lock(name):
                number = int(Path(file).read_text())
                Path(file).write_text(str(number + 1))
        return rounds

    def in_a_fork(self, name: str, kind: str) -> list[Any]:
        """What a child gets that releases what this process holds, and then acquires it itself."""
        return in_a_child(
            lambda: [attempt(lambda: self.release(name, kind)), attempt(lambda: self.acquire(name, kind, 0.3))]
        )

    def in_a_fork_after_release(self, name: str) -> list[Any]:
        """What a child gets that acquires, by another object, what this process held when it was forked, and does not
        hold any more; and what this process gets then.
        """
        return in_a_child(
            lambda: [self.acquire(name, "write", WITHIN_S)],
            meanwhile=lambda: self.release(name, "lock"),
            after=lambda: self.acquire(name, "lock", 0.3),
        )

    def end_in_a_fork(self) -> int:
        """The exit code of a child that ends as programs do."""
        child = os.fork()
        if not child:
            atexit._run_exitfuncs()
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def client_in_a_fork(self) -> list[Any]:
        """Whether a child's client is its own."""
        before = get_locking_client()
        return in_a_child(lambda: [get_locking_client() is not before, get_locking_client().ping()])


def in_a_child(
    call: Callable[[], list[Any]],
    *,
    meanwhile: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
) -> list[Any]:
    """What a forked child answers, and then what `after` does while the child lives."""
    (answering, answer), (ending, end) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(end)
        os.write(answer, json.dumps(call()).encode() + b"\n")
        os.read(ending, 1)  # until the parent closes its end
        os._exit(0)
    if meanwhile is not None:
        meanwhile()
    with open(answering) as pipe:
        os.close(answer)
        said = list(json.loads(pipe.readline()))
    if after is not None:
        said.append(after())
    os.close(end)
    os.close(ending)
    assert os.waitpid(child, 0)[1] == 0
    return said


def attempt(call: Any) -> Any:
    try:
        return call()
    except (Exception, KeyboardInterrupt) as error:  # whatever it is, its name is the answer
        return type(error).__name__


if __name__ == "__main__":
    serve(Doing(), attempt)
