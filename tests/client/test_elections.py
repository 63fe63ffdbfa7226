"""Functions that run with a lock held, and elections."""

import asyncio
from collections.abc import Iterator

import pytest

from lockd_client import AsyncLockdClient, InvalidArgument, Leader, LockdClient, LockLost, LockTimeout
from lockd_client.proto import lockd_pb2
from tests.client.fake_node import FakeNode


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


@pytest.fixture
def client(node: FakeNode) -> Iterator[LockdClient]:
    with LockdClient(port=node.port) as client:
        yield client


def names_asked_for(node: FakeNode) -> list[str]:
    return [request.name for request in node.calls(lockd_pb2.LockRequest)]


# ---- synchronized


def test_each_call_of_a_synchronized_function_holds_the_lock(node: FakeNode, client: LockdClient) -> None:
    @client.synchronized("a", ttl=30, reason="why")
    def work(number: int, *, times: int = 1) -> int:
        """Does it."""
        assert node.holds["a"].reason == "why"
        return number * times

    assert [work(2), work(3, times=2)] == [2, 6]
    assert (node.holds, work.__name__, work.__doc__) == ({}, "work", "Does it.")


def test_the_name_of_the_lock_may_depend_on_the_call(node: FakeNode, client: LockdClient) -> None:
    @client.synchronized(lambda path, force=False: f"file/{path}")
    def write(path: str, force: bool = False) -> None:
        assert f"file/{path}" in node.holds

    write("x")
    write(path="y", force=True)
    assert names_asked_for(node) == ["file/x", "file/y"]


def test_without_the_lock_the_function_does_not_run(client: LockdClient) -> None:
    ran: list[int] = []
    with client.lock("a"), pytest.raises(LockTimeout):
        client.synchronized("a", wait=0)(ran.append)(1)
    assert ran == []


def test_a_loss_is_raised_at_the_end_and_does_not_mask_what_the_function_raised(
    node: FakeNode, client: LockdClient
) -> None:
    @client.synchronized("a")
    def lose(error: Exception | None) -> None:
        node.lose(node.holds["a"].token)
        if error:
            raise error

    with pytest.raises(LockLost):
        lose(None)
    with pytest.raises(KeyError) as caught:
        lose(KeyError("k"))
    assert "LockLost" in caught.value.__notes__[0]


def test_what_would_run_on_without_the_lock_is_refused(client: LockdClient) -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def coroutine() -> None: ...

    with pytest.raises(InvalidArgument, match="is a generator"):
        client.synchronized("a")(generator)
    with pytest.raises(InvalidArgument, match="use AsyncLockdClient"):
        client.synchronized("a")(coroutine)
    with pytest.raises(InvalidArgument, match="use LockdClient"):
        AsyncLockdClient().synchronized("a")(lambda: None)  # type: ignore[arg-type,return-value]  # what is refused


def test_wrong_arguments_are_refused_where_they_stand(client: LockdClient) -> None:
    with pytest.raises(InvalidArgument, match="ttl"):
        client.synchronized("a", ttl=-1)


def test_a_plain_function_that_returns_what_would_run_later_is_refused_when_called(client: LockdClient) -> None:
    async def coroutine() -> None:
        """A caller may await it after the lock is released."""

    def generator() -> Iterator[int]:
        return (number for number in [1])

    for function in (lambda: coroutine(), generator):
        with pytest.raises(InvalidArgument, match="which runs after the lock is released"):
            client.synchronized("a")(function)()


def test_synchronized_coroutines(node: FakeNode) -> None:
    async def use() -> None:
        async with AsyncLockdClient(port=node.port) as client:
            inside, most = 0, 0

            @client.synchronized("a")
            async def work() -> str:
                nonlocal inside, most
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1
                return "done"

            assert await asyncio.gather(*(work() for _ in range(5))) == ["done"] * 5
            assert most == 1

    asyncio.run(use())


# ---- elections


def test_whoever_is_elected_says_where_it_is(node: FakeNode, client: LockdClient) -> None:
    assert client.leader("scheduler") is None
    with client.elect("scheduler", "host1:80", ttl=30) as leadership:
        leader = client.leader("scheduler")
        assert leader is not None
        assert (leader.value, leader.token) == ("host1:80", leadership.token)
    assert client.leader("scheduler") is None


def test_a_lock_that_is_shared_has_no_leader(client: LockdClient) -> None:
    with client.lock("a", shared=True):
        assert client.leader("a") is None


class Happening:
    """What the node tells watchers of elections that the test holds."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node

    def __call__(self, *names: str) -> None:
        events = self.node.state.events
        for name in names:
            want = lockd_pb2.Want(name=name)
            events.append(lockd_pb2.Event(revision=len(events) + 1, kind=lockd_pb2.EVENT_GRANTED, wants=[want]))


def test_leaders_are_observed_as_they_come_and_go(node: FakeNode, client: LockdClient) -> None:
    happens, seen = Happening(node), client.observe("a")
    assert next(seen) is None
    first = client.elect("a", "one")
    first.acquire()
    happens("a")
    leader = next(seen)
    assert leader is not None
    assert leader.value == "one"
    first.release()
    happens("ab", "a")
    assert next(seen) is None
    with client.elect("a", "two") as second:
        happens("a", "a")
        assert next(seen) == Leader(value="two", token=second.token, owner=leader.owner, age=0.0)


def test_the_asyncio_client_elects_too(node: FakeNode) -> None:
    async def use() -> None:
        async with AsyncLockdClient(port=node.port) as client:
            seen = client.observe("a")
            assert await anext(seen) is None
            async with client.elect("a", "one"):
                Happening(node)("a")
                leader = await anext(seen)
                assert leader is not None
                assert leader == await client.leader("a")

    asyncio.run(use())
