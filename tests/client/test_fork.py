"""Processes that fork after they used a client."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import lockd_client
from lockd_client.proto import lockd_pb2
from tests.client.fake_node import FakeNode

PATH = {"PYTHONPATH": str(Path(lockd_client.__file__).parents[1]), "LOCKD_ENDPOINTS": ""}


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


def run(script: str, node: FakeNode) -> str:
    env = PATH | {"LOCKD_ENDPOINTS": node.endpoint}
    program = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)]
    done = subprocess.run(program, env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_parent_and_child_go_on_with_one_client(node: FakeNode) -> None:
    out = run(
        """
        import os
        from lockd_client import LockdClient
        client = LockdClient()
        print(client.try_lock("before", ttl=0).acquired, flush=True)
        child = os.fork()
        if child == 0:
            print(client.try_lock("child", ttl=0).acquired, client.try_lock("before", ttl=0).acquired, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(client.try_lock("parent", ttl=0).acquired)
        """,
        node,
    )
    assert out.split() == ["True", "True", "False", "True"]
    owners = {call.owner for call in node.calls(lockd_pb2.LockRequest) if isinstance(call, lockd_pb2.LockRequest)}
    assert len(owners) == 2


IN_THE_MIDDLE = """
    import os, threading
    from lockd_client import LockdClient, LockdError, forks
    forks.FORK_S = {patience}
    client = LockdClient(timeout=20)
    client.status()

    said = []

    def call():
        try:
            said.append(client.{verb}("a"))
        except LockdError as error:
            said.append(error.reason)

    thread = threading.Thread(target=call)
    thread.start()
    while client._transport._engine.is_quiet:
        pass
    child = os.fork()
    if child == 0:
        print("child", client.is_locked("b"), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
    print("thread", *said)
    print("parent", client.is_locked("b"), flush=True)
    """


@pytest.mark.parametrize(
    ("verb", "patience", "thread"),
    [
        ("is_locked", 30, "thread False"),  # the attempt that hangs ends by itself, and the next is held back
        ("is_locked", 0.3, "thread False"),  # its connection is broken, and it is sent again
        ("Lock", 0.3, "thread OUTCOME_UNKNOWN"),  # this one is never sent again
    ],
)
def test_a_fork_in_the_middle_of_a_call(node: FakeNode, verb: str, patience: float, thread: str) -> None:
    node.before.append(node.hang)
    out = run(IN_THE_MIDDLE.format(patience=patience, verb=verb), node).splitlines()
    assert sorted(out) == ["child False", "parent False", thread]


def test_what_the_parent_holds_is_lost_in_the_child_and_not_touched(node: FakeNode) -> None:
    out = run(
        """
        import os
        from lockd_client import LockdClient, LockLost, SessionLost
        client = LockdClient()
        session = client.open_session(ttl=30)
        lock = client.lock("a", ttl=30)
        shared = client.lock("b", session=session)
        re_entrant = client.lock("c", reentrant=True)
        for each in (lock, shared, re_entrant):
            each.acquire()
        event = lock.lost
        lock.on_lost(lambda: print("callback"))
        child = os.fork()
        if child == 0:
            print(event.is_set(), session.lost.is_set(), lock.owned, shared.owned, re_entrant.owned, flush=True)
            for each in (lock, shared, re_entrant):
                try:
                    each.release()
                except LockLost:
                    print("lost", flush=True)
            try:
                client.lock("d", session=session).acquire()
            except SessionLost:
                print("session lost", flush=True)
            with client.lock("d", reentrant=True), client.lock("e"):
                print("child goes on", flush=True)
            client.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(lock.owned, shared.owned, re_entrant.owned)
        for each in (lock, shared, re_entrant):
            each.release()
        print("released")
        """,
        node,
    )
    assert out.splitlines() == [
        "True True False False False",
        *["lost"] * 3,
        "session lost",
        "child goes on",
        "True True True",
        "released",
    ]


def test_a_child_counts_re_entrant_acquisitions_on_its_own(node: FakeNode) -> None:
    out = run(
        """
        import os
        from lockd_client import LockdClient
        client = LockdClient()
        lock = client.lock("a", reentrant=True)
        lock.acquire()
        lock.acquire()
        waits, go = os.pipe()
        asks, asked = os.pipe()
        child = os.fork()
        if child == 0:
            print(lock.acquire(blocking=False), flush=True)
            os.close(go)
            os.write(asked, b".")
            os.read(waits, 1)
            print(lock.acquire(), lock.owned, flush=True)
            lock.release()
            print(lock.owned, client.is_locked("a"), flush=True)
            os._exit(0)
        os.read(asks, 1)
        lock.release()
        lock.release()
        os.close(go)
        assert os.waitpid(child, 0)[1] == 0
        """,
        node,
    )
    assert out.splitlines() == ["False", "True True", "False False"]


def test_a_thread_that_waits_for_a_lock_goes_on_waiting_after_a_fork(node: FakeNode) -> None:
    out = run(
        """
        import os, threading
        from lockd_client import LockdClient
        client = LockdClient()
        token = client.try_lock("a", ttl=0).token
        lock = client.lock("a")
        thread = threading.Thread(target=lock.acquire)
        thread.start()
        while not client.get("a").waiters_count:
            pass
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        client.unlock(token)
        thread.join()
        print(lock.owned)
        """,
        node,
    )
    assert out.split() == ["True"]
    clients = {call.request.client for call in node.calls(lockd_pb2.LockRequest)}
    assert len(clients) == 1


def test_a_handler_of_a_signal_that_comes_during_a_fork_runs_after_it(node: FakeNode) -> None:
    """What a hook of the fork raises, Python drops; and the client would be left half way."""
    out = run(
        """
        import os, signal
        from lockd_client import LockdClient, forks

        class Interrupted(BaseException):
            pass

        def handler(number, frame):
            raise Interrupted

        signal.signal(signal.SIGUSR1, handler)
        client = LockdClient()
        client.Lock("a")
        come_to_rest = client._transport.come_to_rest

        def interrupted(patience):
            signal.raise_signal(signal.SIGUSR1)
            come_to_rest(patience)

        client._transport.come_to_rest = interrupted
        for _ in range(2):
            try:
                child = os.fork()
                if child == 0:
                    os._exit(0)
                os.waitpid(child, 0)
                signal.pause()
            except Interrupted:
                print("interrupted", client.is_locked("a"), flush=True)
        """,
        node,
    )
    assert out.splitlines() == ["interrupted True"] * 2
