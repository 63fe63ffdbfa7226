"""Processes that want the same lock at the same moment, again and again."""

import multiprocessing
from typing import Any

from lockd_client.ensembl import LockException, ResourceLocker

WITHIN_S = 90.0


def race(url: str, resource_uri: str, lock_type: str, *, racers: int, rounds: int) -> list[list[int]]:
    """The ids that were given out in each round. Whoever has one unlocks it when all have tried."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(racers, timeout=WITHIN_S), context.SimpleQueue()
    processes = [
        context.Process(target=_run, args=(url, f"racer {number}", resource_uri, lock_type, rounds, barrier, results))
        for number in range(racers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(WITHIN_S)
    assert [process.exitcode for process in processes] == [0] * racers
    won = [results.get() for _ in processes]
    return [[ids[number] for ids in won if ids[number]] for number in range(rounds)]


def _run(url: str, name: str, resource_uri: str, lock_type: str, rounds: int, barrier: Any, results: Any) -> None:
    ids = []
    with ResourceLocker(url) as locker:
        locker.get_clients()  # it is connected before the first round
        for _ in range(rounds):
            barrier.wait()
            id = _tried(locker, name, resource_uri, lock_type)
            barrier.wait()
            if id:
                locker.unlock(id)
            ids.append(id)
    results.put(ids)


def _tried(locker: ResourceLocker, name: str, resource_uri: str, lock_type: str) -> int:
    """0: somebody else has it."""
    try:
        return locker.lock(name, resource_uri, lock_type).resource_lock_id
    except LockException:
        return 0
