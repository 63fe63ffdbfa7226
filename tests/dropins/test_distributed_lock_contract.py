"""What every kind of server keeps, between real processes: lockd, Redis, ZooKeeper, files."""

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lockd_client import DeadlockError, InvalidArgument, NotOwned
from lockd_client.distributed_lock import get_lock, get_locking_server, get_read_lock, get_write_lock, update_config
from lockd_client.distributed_lock.choice import CHOICE
from tests.dropins.distributed_lock_user import User
from tests.dropins.peers import redis_server, zookeeper_server
from tests.eventually import eventually
from tests.integration.cluster import running

REFUSED_S = 0.4  # that those wait who are not to get it
LET_IN_S = 30.0  # that those wait at most who are to get it
OUTLASTED_S = 5.0  # longer than the leases and sessions of these tests last without renewal
ENDED_S = 8.0  # kazoo waits 10 s for threads that a child has not
PROCESSES = 4
ROUNDS = 12


@dataclass
class Backend:
    kind: str
    config: dict[str, Any]
    folder: Path

    @property
    def entry(self) -> dict[str, Any]:
        return {"type": self.kind, "config": self.config}

    @property
    def shares_reads(self) -> bool:
        return self.kind != "redis"

    def name(self, word: str) -> str:
        return str(self.folder / word)

    def user(self) -> User:
        """For one test alone."""
        return user_of(self.entry, self.folder)


def user_of(entry: dict[str, Any], folder: Path) -> User:
    file = folder / "locking.yml"
    file.write_text(json.dumps([entry]))
    return User({"ISF_DISTRIBUTED_LOCK_CONFIG": str(file)})


@pytest.fixture(scope="module", params=["lockd", "redis", "zookeeper", "file"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """Leases and sessions are short."""
    with ExitStack() as stack:
        match request.param:
            case "lockd":
                cluster = stack.enter_context(running(tmp_path_factory.mktemp("lockd"), size=1))
                yield "lockd", {"endpoints": cluster.endpoints(), "ttl": 2}
            case "redis":
                redis = stack.enter_context(redis_server())
                yield "redis", {"host": redis.host, "port": redis.port, "ttl": 2}
            case "zookeeper":
                zookeeper = stack.enter_context(zookeeper_server())
                yield "zookeeper", {"hosts": zookeeper.host, "port": zookeeper.port, "timeout": 2}
            case _:
                yield "file", {}


@pytest.fixture(scope="module")
def first(server: tuple[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """Another process, which goes from test to test; each has names of its own."""
    with user_of({"type": server[0], "config": server[1]}, tmp_path_factory.mktemp("first")) as user:
        yield user


@pytest.fixture(scope="module")
def second(server: tuple[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with user_of({"type": server[0], "config": server[1]}, tmp_path_factory.mktemp("second")) as user:
        yield user


@pytest.fixture
def backend(server: tuple[str, Any], tmp_path: Path) -> Iterator[Backend]:
    """Which this process uses, too."""
    backend = Backend(*server, tmp_path)
    update_config([backend.entry])
    yield backend
    CHOICE.forget()


def test_the_processes_of_a_name_are_alone_in_turn(backend: Backend) -> None:
    counter = backend.folder / "counter"
    counter.write_text("0")
    with ExitStack() as stack:
        users = [stack.enter_context(backend.user()) for _ in range(PROCESSES)]
        for user in users:
            user.ask("count", name=backend.name("counted"), file=str(counter), rounds=ROUNDS)
        assert [user.answer() for user in users] == [ROUNDS] * PROCESSES
    assert counter.read_text() == str(PROCESSES * ROUNDS)


def test_the_threads_of_a_process_are_alone_in_turn(backend: Backend) -> None:
    counter = backend.folder / "counter"
    counter.write_text("0")

    def work(_: int) -> None:
        with get_lock(backend.name("threads")):
            number = int(counter.read_text())
            counter.write_text(str(number + 1))

    with ThreadPoolExecutor(PROCESSES) as threads:
        list(threads.map(work, range(PROCESSES * ROUNDS)))
    assert counter.read_text() == str(PROCESSES * ROUNDS)


def test_threads_that_share_an_object_take_turns_in_the_order_of_their_coming(backend: Backend) -> None:
    lock, order = get_lock(backend.name("shared object")), list[int]()

    def work(number: int) -> None:
        with lock:
            order.append(number)

    with ThreadPoolExecutor(3) as threads, lock:
        for number in range(3):
            threads.submit(work, number)
            eventually(lambda: len(lock._turns._queue) == number + 2, LET_IN_S)  # noqa: B023  # it is called here
    assert order == [0, 1, 2]


def test_a_held_lock_is_refused_to_others_and_its_release_lets_the_next_one_in(
    backend: Backend, first: User, second: User
) -> None:
    name = backend.name("turns")
    assert first.acquire(name) is True
    assert second.acquire(name, timeout=REFUSED_S) is False
    assert second.acquire(name, timeout=0) is False
    assert second.acquire(backend.name("another"), timeout=0) is True
    second.ask("acquire", name=name, kind="lock", timeout=None)
    assert first.release(name) == "released"
    assert second.answer() is True
    assert first.acquire(name, timeout=REFUSED_S) is False


def test_readers_are_together_where_the_server_can(backend: Backend, first: User, second: User) -> None:
    name = backend.name("shared")
    with get_read_lock(name):
        assert first.acquire(name, "read", timeout=REFUSED_S) is backend.shares_reads
        assert second.acquire(name, "read", timeout=REFUSED_S) is backend.shares_reads


@pytest.mark.parametrize("kind", ["write", "lock"])
def test_a_reader_keeps_writers_out_until_it_goes(backend: Backend, first: User, second: User, kind: str) -> None:
    name = backend.name("read")
    assert first.acquire(name, "read") is True
    assert second.acquire(name, kind, timeout=REFUSED_S) is False
    assert first.release(name, "read") == "released"
    assert second.acquire(name, kind, timeout=LET_IN_S) is True


@pytest.mark.parametrize("kind", ["write", "lock"])
def test_a_writer_keeps_readers_out_until_it_goes(backend: Backend, first: User, second: User, kind: str) -> None:
    name = backend.name("written")
    assert first.acquire(name, kind) is True
    assert second.acquire(name, "read", timeout=REFUSED_S) is False
    assert first.release(name, kind) == "released"
    assert second.acquire(name, "read", timeout=LET_IN_S) is True


def test_the_readers_of_one_process_leave_one_by_one(backend: Backend, first: User) -> None:
    name = backend.name("readers")
    stays = get_read_lock(name)
    with get_read_lock(name):
        assert stays.acquire(timeout=REFUSED_S) is backend.shares_reads
    assert first.acquire(name, "write", timeout=REFUSED_S) is not backend.shares_reads
    if backend.shares_reads:
        stays.release()
        assert first.acquire(name, "write", timeout=LET_IN_S) is True


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_holder_that_is_killed_lets_others_in(backend: Backend, first: User, kind: str) -> None:
    name = backend.name("killed")
    with backend.user() as holder:
        assert holder.acquire(name, kind) is True
        holder.kill()
        assert first.acquire(name, timeout=LET_IN_S) is True


def test_one_that_is_killed_while_it_waits_keeps_nobody_out(backend: Backend, first: User, second: User) -> None:
    name = backend.name("killed waiting")
    with backend.user() as waiting:
        assert first.acquire(name) is True
        waiting.ask("acquire", name=name, kind="lock", timeout=None)
        waiting.kill()
        second.ask("acquire", name=name, kind="lock", timeout=LET_IN_S)
        assert first.release(name) == "released"
        assert second.answer() is True


def test_one_that_is_interrupted_while_it_waits_keeps_nobody_out(backend: Backend, first: User, second: User) -> None:
    name = backend.name("interrupted")
    with backend.user() as waiting:
        assert first.acquire(name) is True
        assert waiting.call("acquire_until_interrupted", name=name, after_s=REFUSED_S) == "KeyboardInterrupt"
        assert first.release(name) == "released"
        assert second.acquire(name, timeout=LET_IN_S) is True


def test_a_holder_that_stood_still_for_too_long_is_told_so(backend: Backend, first: User) -> None:
    """But for files: those stay locked."""
    name = backend.name("stood still")
    with backend.user() as holder:
        assert holder.acquire(name) is True
        holder.send(signal.SIGSTOP)
        is_let_in = first.acquire(name, timeout=REFUSED_S if backend.kind == "file" else LET_IN_S)
        holder.send(signal.SIGCONT)
        assert (is_let_in, holder.release(name)) == (
            (False, "released") if backend.kind == "file" else (True, "LockLost")
        )
        assert first.acquire(name, timeout=REFUSED_S if is_let_in else LET_IN_S) is not is_let_in


def test_one_that_gave_up_waiting_keeps_nobody_out(backend: Backend, first: User, second: User) -> None:
    name = backend.name("gave up")
    assert first.acquire(name, "read") is True
    assert second.acquire(name, "write", timeout=REFUSED_S) is False
    assert first.release(name, "read") == "released"
    assert first.acquire(name, "write", timeout=LET_IN_S) is True


def test_the_body_of_a_with_has_the_lock_and_an_exception_in_it_gives_it_back(backend: Backend, first: User) -> None:
    name = backend.name("body")
    with pytest.raises(ZeroDivisionError), get_write_lock(name) as lock:
        assert lock.name == name
        assert first.acquire(name, timeout=REFUSED_S) is False
        _ = 1 / 0
    assert first.acquire(name, timeout=LET_IN_S) is True


def test_a_child_does_not_hold_what_its_parent_holds_and_cannot_give_it_back(backend: Backend, first: User) -> None:
    name = backend.name("forked")
    with backend.user() as parent:
        assert parent.acquire(name) is True
        assert parent.call("in_a_fork", name=name, kind="lock") == ["LockLost", False]
        assert first.acquire(name, timeout=REFUSED_S) is False
        assert parent.release(name) == "released"
        assert first.acquire(name, timeout=LET_IN_S) is True


def test_a_child_acquires_like_anybody_else_once_its_parent_has_released(backend: Backend) -> None:
    """And keeps its parent out, for as long as it holds the lock, or lives."""
    name = backend.name("after the fork")
    with backend.user() as parent:
        assert parent.acquire(name) is True
        assert parent.call("in_a_fork_after_release", name=name) == [True, False]
        assert parent.acquire(name, timeout=LET_IN_S) is True


def test_a_child_that_ends_takes_nothing_from_its_parent_and_waits_for_nothing(backend: Backend, first: User) -> None:
    name = backend.name("ended child")
    with backend.user() as parent:
        assert parent.acquire(name) is True
        began = time.monotonic()
        assert parent.call("end_in_a_fork") == 0
        assert time.monotonic() - began < ENDED_S
        assert first.acquire(name, timeout=REFUSED_S) is False
        assert parent.release(name) == "released"


def test_an_object_holds_once(backend: Backend) -> None:
    lock = get_lock(backend.name("once"))
    with pytest.raises(NotOwned):
        lock.release()
    with lock:
        assert lock.acquire(blocking=False) is False
        with pytest.raises(DeadlockError):
            lock.acquire()
    with pytest.raises(NotOwned):
        lock.release()
    with lock:
        pass


def test_two_objects_of_one_name_exclude_each_other(backend: Backend) -> None:
    name = backend.name("objects")
    with ThreadPoolExecutor(1) as thread, get_lock(name):
        assert get_write_lock(name).acquire(blocking=False) is False
        assert get_read_lock(name).acquire(timeout=0) is False
        assert thread.submit(lambda: get_lock(name).acquire(timeout=REFUSED_S)).result() is False
        other = get_lock(name)
        waiting = thread.submit(lambda: other.acquire(timeout=LET_IN_S))
    assert waiting.result() is True
    other.release()


def test_a_lock_stays_held_as_long_as_its_process_lives_even_if_its_object_is_forgotten(
    backend: Backend, first: User
) -> None:
    name = backend.name("forgotten")
    with backend.user() as holder:
        assert holder.call("acquire_and_forget", name=name) is True
        assert first.acquire(name, timeout=OUTLASTED_S) is False
    assert first.acquire(name, timeout=LET_IN_S) is True


def test_a_thread_that_would_wait_for_itself_by_another_object(backend: Backend) -> None:
    """lockd says so; the others know nothing of threads."""
    name = backend.name("itself")
    with get_lock(name):
        if backend.kind == "lockd":
            with pytest.raises(DeadlockError):
                get_lock(name).acquire()
        else:
            assert get_lock(name).acquire(timeout=REFUSED_S) is False


@pytest.mark.parametrize(
    "word", ["with a space, a 'quote' and a \\", "日本語", "a%2Fb", "-dash", "e\u0301 is not é", "..x", ".", "x" * 100]
)
def test_paths_that_are_names_everywhere(backend: Backend, first: User, word: str) -> None:
    name = backend.name(word)
    with get_lock(name):
        assert first.acquire(name, timeout=0) is False
        assert first.acquire(f"{name}/below", timeout=LET_IN_S) is True
        assert first.acquire(f"{name}2", timeout=LET_IN_S) is True


def test_a_path_object_is_a_name(backend: Backend) -> None:
    with get_lock(backend.folder / "path") as lock:
        assert lock.name == backend.name("path")
        assert repr(lock) == f"<DistributedLock {lock.name!r} held>"


@pytest.mark.parametrize("name", ["", b"/bytes"])
def test_what_is_no_name(backend: Backend, name: Any) -> None:
    with pytest.raises(InvalidArgument, match="a lock's name is a path, and not"):
        get_lock(name)


@pytest.mark.parametrize("timeout", [-0.5, -2, float("nan")])
def test_timeouts_that_are_none(backend: Backend, timeout: float) -> None:
    with pytest.raises(InvalidArgument, match="timeout is "):
        get_lock(backend.name("timeout")).acquire(timeout=timeout)


def test_the_entry_in_use_can_be_asked_for(backend: Backend) -> None:
    assert get_locking_server() == backend.entry


def test_fencing_tokens_rise_where_the_server_has_them(backend: Backend) -> None:
    tokens = []
    for _ in range(3):
        with get_lock(backend.name("fenced")) as lock:
            tokens.append(lock.token)
    assert lock.token == 0
    assert (sorted(set(tokens)) == tokens and tokens[0] > 0) if backend.kind == "lockd" else tokens == [0, 0, 0]
