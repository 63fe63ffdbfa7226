"""Acquisitions that are given up at any moment leave no hold and no waiter behind."""

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lockd_client import AsyncLockdClient, LockdClient
from tests.eventually import eventually
from tests.integration.cluster import ROOT, Cluster, running

ACQUISITIONS = 200
NAMES = 4  # so that most of them wait
LATEST_S = 0.05
WITHIN_S = 30.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cancelled")) as cluster:
        yield cluster


def left_behind(client: LockdClient) -> list[object]:
    return [*client.list(), *client.waiters()]


async def cancelled(client: AsyncLockdClient, number: int, chance: random.Random) -> bool:
    """Whether it had the lock before it was cancelled."""
    lock = client.lock(f"name/{number % NAMES}", ttl=30)
    task = asyncio.create_task(lock.acquire())
    await asyncio.wait({task}, timeout=chance.uniform(0, LATEST_S))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
        await lock.release()
        return True
    return False


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("which", ["leader", "followers"])
def test_tasks_that_are_cancelled(cluster: Cluster, which: str, seed: int) -> None:
    leader = cluster.wait_until_whole()
    ids = [leader] if which == "leader" else cluster.others(leader)

    async def use() -> list[bool]:
        chance = random.Random(seed)
        async with AsyncLockdClient(endpoints=cluster.endpoints(*ids)) as client:
            one_by_one = [await cancelled(client, number, chance) for number in range(ACQUISITIONS // 2)]
            at_once = await asyncio.gather(*(cancelled(client, number, chance) for number in range(ACQUISITIONS // 2)))
            return one_by_one + at_once

    acquired = asyncio.run(use())
    assert 0 < sum(acquired) < ACQUISITIONS
    with cluster.client() as client:
        eventually(lambda: not left_behind(client), WITHIN_S)


INTERRUPTED = """
import random, signal, sys
from lockd_client import LockdClient

armed = False

def interrupt(number, frame):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

def run(client, name):
    global armed
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.01))
        with client.lock(name, ttl=30):
            armed = False
        return True
    except KeyboardInterrupt:
        return False
    finally:
        armed = False

signal.signal(signal.SIGALRM, interrupt)
endpoints = sys.argv[1].split(",")
with LockdClient(endpoints=endpoints) as client, LockdClient(endpoints=endpoints) as another:
    with another.lock("held", ttl=30):
        waited = sum(run(client, "held") for _ in range(20))
    acquired = sum(run(client, "free") for _ in range(180))
print(waited, acquired)
"""


def test_ctrl_c_in_the_middle_of_an_acquisition(cluster: Cluster) -> None:
    arguments = [sys.executable, "-c", INTERRUPTED, ",".join(cluster.endpoints())]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    waited, acquired = map(int, done.stdout.split())
    assert waited == 0
    assert acquired < 180
    with cluster.client() as client:
        eventually(lambda: not left_behind(client), WITHIN_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_ends_while_it_waits(cluster: Cluster, number: signal.Signals) -> None:
    waits = "import sys; from lockd_client import LockdClient; LockdClient(endpoints=[sys.argv[1]]).lock('a').acquire()"
    with cluster.client() as client, client.lock("a"):
        process = subprocess.Popen([sys.executable, "-c", waits, cluster.nodes[1].endpoint], cwd=ROOT)
        eventually(lambda: list(client.waiters()), WITHIN_S)
        process.send_signal(number)
        process.wait()
        eventually(lambda: not list(client.waiters()), WITHIN_S)
