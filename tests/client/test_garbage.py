"""What a client leaves behind is gone without a collection of garbage.

gRPC's finalizers of calls take a lock. At the interpreter's end, when Python collects once more, its threads are not
there any more, and one of them may have had it: the process would never end.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import suppress

import grpc
import pytest

from lockd_client import LockdClient, LockdError
from lockd_client.proto import lockd_pb2
from tests.client.fake_node import Fail, FakeNode
from tests.eventually import eventually

WITHIN_S = 10.0


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def calls() -> set[int]:
    """gRPC's, that are there."""
    return {id(each) for each in gc.get_objects() if isinstance(each, grpc.Call)}


def watches(client: LockdClient) -> None:
    events = client.watch(from_revision=1)
    next(events)
    events.close()  # type: ignore[attr-defined]  # it is a generator


@pytest.mark.parametrize("use", [lambda client: client.is_locked("a"), watches, lambda client: client.status()])
def test_no_call_is_left(uncollected: None, use: Callable[[LockdClient], object]) -> None:
    with FakeNode() as node:
        node.state.events.append(lockd_pb2.Event(revision=1))
        before = calls()
        with LockdClient(port=node.port) as client:
            use(client)
        eventually(lambda: calls() <= before, WITHIN_S)


def test_no_call_that_failed_is_left(uncollected: None) -> None:
    with FakeNode() as node:
        before = calls()
        with LockdClient(port=node.port, timeout=1) as client:
            client.is_locked("a")
            node.before.append(Fail(grpc.StatusCode.UNAVAILABLE))
            with suppress(LockdError):
                client.is_locked("a")
            with suppress(LockdError):
                client.status()
        with LockdClient(port=1, timeout=0.3) as nowhere, suppress(LockdError):
            nowhere.is_locked("a")
        eventually(lambda: calls() <= before, WITHIN_S)
