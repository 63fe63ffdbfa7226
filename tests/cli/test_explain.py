"""Why a lock is not free: `lockd explain` and LockdClient.explain(), against a real node."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from lockd_client import AsyncLockdClient, LockdClient, LockdError
from tests.cli.command import run
from tests.eventually import eventually
from tests.integration.cluster import Cluster, running

WITHIN_S = 20.0
AUTH = {"tokens": ({"name": "admin", "role": "admin"}, {"name": "db", "role": "lock", "prefixes": ["db/"]})}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("explain"), size=1, tls="none", auth=AUTH) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[LockdClient]:
    with cluster.client() as client:
        yield client


def explained(cluster: Cluster, *arguments: str, token: str = "admin") -> tuple[int, str, str]:
    credentials = cluster.secured.credentials(token)
    access = ("--cacert", str(credentials["cacert"]), "--token-file", str(credentials["token_file"]))
    result = run(cluster.nodes[1].endpoint, "explain", *access, *arguments)
    return result.exit_code, result.stdout, result.stderr


class Person:
    """A thread that takes one lock, and then waits for another until it is told to leave."""

    def __init__(self, cluster: Cluster, owner: str, holds: str = "", waits: str = "") -> None:
        self.client = cluster.client()
        self._session = self.client.open_session()
        self._locks = [self.client.lock(name, owner=owner, session=self._session) for name in (holds, waits) if name]
        self._thread = threading.Thread(target=self._take)
        self._thread.start()
        if waits:
            eventually(lambda: [each for each in self.client.waiters(waits) if each.owner == owner], WITHIN_S)
        else:
            self._thread.join()

    def _take(self) -> None:
        with contextlib.suppress(LockdError):  # the session is closed while it waits
            for lock in self._locks:
                lock.acquire()

    def leave(self) -> None:
        self._session.close()
        self._thread.join()
        self.client.close()


@contextmanager
def people(cluster: Cluster, *ways: tuple[str, str, str]) -> Iterator[None]:
    """owner, what it holds, what it waits for."""
    with ExitStack() as stack:
        for way in ways:
            stack.callback(Person(cluster, *way).leave)
        yield


def chain(cluster: Cluster) -> AbstractContextManager[None]:
    return people(cluster, ("carl", "c", ""), ("bob", "db/b", "c"), ("ann", "db/a", "db/b"))


def test_a_free_lock(cluster: Cluster) -> None:
    assert explained(cluster, "free") == (0, "", "free is free: nobody holds it, and nobody waits for it\n")


def test_who_holds_it_why_until_when_and_who_is_next(cluster: Cluster, client: LockdClient) -> None:
    held = client.try_lock("db/a", ttl=100, owner="ann", reason="migration")
    with people(cluster, ("bob", "", "db/a")):
        _, stdout, _ = explained(cluster, "db/a")
    client.unlock(held.token)
    assert "db/a is held by ann: for " in stdout
    assert "reason: migration" in stdout
    assert "a ttl of 1m40s, not renewed since the grant" in stdout
    assert "turn 1: bob, exclusive, for " in stdout
    assert f"ann releases it: lockd unlock db/a --token {held.token}" in stdout
    assert "if ann does not renew it" in stdout


def test_a_lease_that_was_renewed_says_when(cluster: Cluster, client: LockdClient) -> None:
    held = client.try_lock("renewed", ttl=100)

    def renewed() -> bool:
        client.renew(held.token, 100)
        return "ttl of 1m40s, renewed " in explained(cluster, "renewed")[1]

    eventually(renewed, WITHIN_S)
    client.unlock(held.token)


def test_the_chain_of_waits_across_names(cluster: Cluster, client: LockdClient) -> None:
    with chain(cluster):
        code, stdout, _ = explained(cluster, "db/a")
        parsed = json.loads(explained(cluster, "db/a", "-o", "json")[1])
        found = client.explain("db/a")
    assert code == 0
    assert "ann, who holds db/a, waits for db/b itself, for " in stdout
    assert "bob, who holds db/b, waits for c itself, for " in stdout
    remedies = stdout.partition("What would free it:")[2]
    assert "db/a: ann goes on once it has db/b" in remedies
    assert "db/b: bob goes on once it has c" in remedies
    assert "c: an admin takes it away: lockd break c --token" in remedies
    assert [(each["holder"]["owner"], each["waits"]["name"]) for each in parsed["chain"]] == [
        ("ann", "db/b"),
        ("bob", "c"),
    ]
    assert [each.lock.holders[0].owner for each in found.chain] == ["bob", "carl"]
    assert (parsed["is_whole"], found.is_whole) == (True, True)


def test_a_caller_who_may_not_see_all_names_is_told_so(cluster: Cluster) -> None:
    with chain(cluster):
        code, stdout, _ = explained(cluster, "db/a", token="db")
    assert code == 0
    assert "db/a is held by ann" in stdout
    assert "Not all waits could be looked at" in stdout
    assert "carl" not in stdout


def test_a_lock_delay(cluster: Cluster, client: LockdClient) -> None:
    client.break_hold(client.try_lock("delayed", ttl=30, lock_delay=30).token, reason="for the test")
    _, stdout, _ = explained(cluster, "delayed")
    assert "delayed has a lock delay" in stdout
    assert "the end of its lock delay" in stdout


def test_the_asyncio_client_explains_too(cluster: Cluster) -> None:
    async def use() -> list[str]:
        endpoints, credentials = cluster.endpoints(), cluster.secured.credentials()
        async with AsyncLockdClient(endpoints=endpoints, **credentials) as another:
            return [each.waits.name for each in (await another.explain("db/a")).chain]

    with chain(cluster):
        assert asyncio.run(use()) == ["db/b", "c"]
