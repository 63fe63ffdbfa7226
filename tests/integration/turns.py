"""Scenarios of waiting: whose turn it is, and who would wait for ever."""

import asyncio
import statistics
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import Path

from lockd_client import AsyncLockdClient, Event, EventKind, LockdClient, Mode
from tests.eventually import eventually
from tests.integration.checks import check_grants, milliseconds
from tests.integration.cluster import Cluster, running
from tests.integration.contender import Contender, Contenders, Tally, tally_of

PROCESSES = 8
ROUNDS = 25
WITHIN_S = 60.0

READER_PROCESSES = 4
WRITER_PROCESSES = 2
WRITER_ROUNDS = 20
SINGLE_NAMES = ("set/a", "set/b", "set/c", "set/d")
SETS = (("set/a", "set/b"), ("set/b", "set/c"), ("set/c", "set/d", "set/a"), SINGLE_NAMES)
"""A process each. They overlap, so that one that could be granted stands behind another that could not."""

SET_ROUNDS = 20
THREADS_EACH = 2  # of readers, and of those who take single names

RING = 5
ONE_CLIENT = 16  # threads, and as many tasks
ONE_CLIENT_ROUNDS = 5


# ---- what the events tell


def happened(cluster: Cluster, id: int) -> list[Event]:
    """All of it so far, as a node tells that has run since the cluster began."""
    with cluster.client(id) as client:
        status = cluster.status(id)
        assert status is not None
        events = list(islice(client.watch(from_revision=1), status.revision))
    assert [event.revision for event in events] == list(range(1, status.revision + 1))
    return events


class Turn:
    """One request, known by its owner: when it arrived and when it was granted, by the number of the event."""

    def __init__(self, event: Event) -> None:
        self.owner = event.owner
        self.arrived = event.revision
        self.asked_ms = event.clock_ms
        self.names = dict(event.wants)
        self.granted = 0
        self.token = 0
        self.waited_s = 0.0

    def is_compatible_with(self, other: "Turn") -> bool:
        both = self.names.keys() & other.names.keys()
        return all(self.names[name] is Mode.SHARED and other.names[name] is Mode.SHARED for name in both)


def turns_of(events: list[Event]) -> list[Turn]:
    """In the order of arrival. Raises AssertionError where one arrived twice, left, or never had its turn."""
    turns: dict[str, Turn] = {}
    for event in events:
        match event.kind:
            case EventKind.WAITING:
                assert event.owner not in turns, f"{event.owner} lost its place and queued again"
                turns[event.owner] = Turn(event)
            case EventKind.GRANTED:
                turn = turns.setdefault(event.owner, Turn(event))
                assert not turn.granted, f"{event.owner} was granted twice"
                turn.granted, turn.token = event.revision, event.token
                turn.waited_s = (event.clock_ms - turn.asked_ms) / 1000
            case EventKind.LEFT | EventKind.EXPIRED | EventKind.BROKEN:
                raise AssertionError(f"{event.owner}: {event.kind} {event.reason}")
            case _:
                pass
    left_behind = [turn.owner for turn in turns.values() if not turn.granted]
    assert left_behind == [], left_behind
    return list(turns.values())


def check_nobody_is_passed(turns: list[Turn]) -> int:
    """No request was granted before one that had arrived earlier and is incompatible with it. turns: in the order of
    arrival. Returns how many pairs of which the later one arrived while the earlier one waited.
    """
    pairs = 0
    for place, turn in enumerate(turns):
        for later in islice(turns, place + 1, None):
            if later.arrived > turn.granted:
                break
            if not turn.is_compatible_with(later):
                pairs += 1
                assert turn.granted < later.granted, f"{later.owner} passed {turn.owner}"
    return pairs


def waits(turns: list[Turn], label: str) -> str:
    found = [turn.waited_s for turn in turns if turn.owner.startswith(label)]
    return (
        f"{len(found)} {label}: waited median {milliseconds(statistics.median(found))}, "
        f"at most {milliseconds(max(found))}"
    )


def tallies(processes: list[Contender]) -> list[Tally]:
    """Of what answers to stop or finish."""
    found = [tally_of(answer) for process in processes for answer in process.answer()]
    failed = [failure for tally in found for failure in tally.failed]
    assert failed == [], failed
    return found


def granted(contenders: Contenders) -> int:
    contenders.ask_all("done")
    return sum(contenders.answers())


# ---- the scenarios


def waiters_take_turns(folder: Path) -> str:
    """Processes wait for one name, again and again, the leader being killed half way: each is granted in its turn."""
    goal = PROCESSES * ROUNDS
    with running(folder) as cluster, Contenders(PROCESSES, cluster.endpoints()) as contenders:
        for place, process in enumerate(contenders.processes):
            process.call("take_turns", wants=[["one name", False]], label=f"process-{place}", rounds=ROUNDS)
        eventually(lambda: granted(contenders) >= goal // 2, WITHIN_S, every_s=0.002)
        leader = cluster.wait_for_leader()
        before = granted(contenders)
        cluster.kill(leader)
        survivors = cluster.others(leader)
        cluster.wait_for_leader(*survivors)
        cluster.start(leader)
        contenders.ask_all("finish")
        done = tallies(contenders.processes)
        cluster.wait_until_whole()
        turns = turns_of(happened(cluster, survivors[0]))
        assert len(turns) == goal
        in_order = [turn.owner for turn in sorted(turns, key=lambda turn: turn.granted)]
        assert [turn.owner for turn in turns] == in_order, "not granted in the order of arrival"
        assert all(before.token < after.token for before, after in pairwise(turns))
        grants = [grant for tally in done for grant in tally.grants]
        assert sorted(grant.token for grant in grants) == [turn.token for turn in turns], "granted, and not answered"
        check_grants(grants)
        for status in cluster.statuses().values():
            assert (status.waiters, status.held_locks) == (0, 0)
        queued = sum(turn.granted > turn.arrived for turn in turns)
        longest = max(tally.longest_s for tally in done)
        return (
            f"{PROCESSES} processes x {ROUNDS} rounds: {len(turns)} grants in the order of arrival, {queued} after "
            f"waiting, tokens {turns[0].token} to {turns[-1].token} rising; kill -9 of the leader after {before} "
            f"grants; nobody left behind; the longest turn took {milliseconds(longest)}"
        )


def readers_let_writers_through(folder: Path) -> str:
    """Readers without end share a name that writers want: no request passes an incompatible one before it."""
    size = READER_PROCESSES + WRITER_PROCESSES
    with running(folder) as cluster, Contenders(size, cluster.endpoints()) as contenders:
        readers, writers = contenders.processes[:READER_PROCESSES], contenders.processes[READER_PROCESSES:]
        for place, process in enumerate(readers):
            for thread in range(THREADS_EACH):
                process.call("take_turns", wants=[["page", True]], label=f"readers/{place}-{thread}", rounds=0)
        for place, process in enumerate(writers):
            process.call("take_turns", wants=[["page", False]], label=f"writers/{place}", rounds=WRITER_ROUNDS)
        return waits_of(cluster, ("writers", writers), ("readers", readers))


def singles_let_sets_through(folder: Path) -> str:
    """Sets that overlap, among clients that take the names one by one without end: no request passes one before it."""
    size = len(SINGLE_NAMES) + len(SETS)
    with running(folder) as cluster, Contenders(size, cluster.endpoints()) as contenders:
        singles, sets = contenders.processes[: len(SINGLE_NAMES)], contenders.processes[len(SINGLE_NAMES) :]
        for name, process in zip(SINGLE_NAMES, singles, strict=True):
            for thread in range(THREADS_EACH):
                process.call("take_turns", wants=[[name, False]], label=f"singles/{name}-{thread}", rounds=0)
        for names, process in zip(SETS, sets, strict=True):
            wants = [[name, False] for name in names]
            process.call("take_turns", wants=wants, label=f"sets/{'+'.join(names)}", rounds=SET_ROUNDS)
        return waits_of(cluster, ("sets", sets), ("singles", singles))


def waits_of(cluster: Cluster, rare: tuple[str, list[Contender]], endless: tuple[str, list[Contender]]) -> str:
    """When the rare ones have had all their turns. Each: what its turns' owners begin with, and the processes. Raises
    AssertionError where a request was passed.
    """
    for do, (_, processes) in (("finish", rare), ("stop", endless)):
        for process in processes:
            process.ask(do)
        tallies(processes)
    turns = turns_of(happened(cluster, 1))
    pairs = check_nobody_is_passed(turns)
    return f"{waits(turns, rare[0])}; {waits(turns, endless[0])}; {pairs} incompatible pairs, none out of order"


def a_ring_is_refused(folder: Path) -> str:
    """Agents that each hold a lock and want the next one's: the wait that closes the ring is refused, and names it."""
    with running(folder) as cluster, Contenders(RING, cluster.endpoints()) as contenders, cluster.client() as client:
        names = [f"ring/{place}" for place in range(RING)]
        sessions = [process.call("hold", name=name) for process, name in zip(contenders.processes, names, strict=True)]
        *waiting, last = contenders.processes
        for place, process in enumerate(waiting):
            process.ask("want", name=names[place + 1])
            wait_for_a_waiter(client, names[place + 1])
        refused = last.call("want", name=names[0])
        assert refused["token"] == 0, refused
        cycle = refused["cycle"]
        assert [link["name"] for link in cycle] == [names[0], *names[1:]]
        assert [link["session_id"] for link in cycle] == [sessions[-1], *sessions[:-1]]
        assert len({link["agent"] for link in cycle}) == RING
        assert [client.get(name).waiters_count for name in names] == [0, *[1] * (RING - 1)], "the others wait on"
        assert last.call("let_go") == 1
        for process in reversed(waiting):
            assert process.answer()["token"] > 0
            assert process.call("let_go") == 2
        ring = " -> ".join(f"session {link['session_id']} waits for {link['name']}" for link in cycle)
        return f"{RING} processes, {len(cycle)} links in the answer: {ring}; then the others had turns"


def wait_for_a_waiter(client: LockdClient, name: str) -> None:
    eventually(lambda: client.get(name).waiters_count == 1, WITHIN_S)


def tasks_and_threads_of_one_client(folder: Path) -> str:
    """Threads of one client and tasks of another share a session each and want one name: all of them get it in turn."""
    tokens: list[int] = []  # appended to by whoever holds the lock
    with running(folder) as cluster:

        def in_threads() -> None:
            with cluster.client() as client, client.open_session() as session, ThreadPoolExecutor(ONE_CLIENT) as pool:

                def take_turns() -> None:
                    for _ in range(ONE_CLIENT_ROUNDS):
                        with client.lock("one", session=session) as lock:
                            tokens.append(lock.token)

                for each in [pool.submit(take_turns) for _ in range(ONE_CLIENT)]:
                    each.result()

        async def in_tasks() -> None:
            async with AsyncLockdClient(endpoints=cluster.endpoints()) as client:
                session = await client.open_session()

                async def take_turns() -> None:
                    for _ in range(ONE_CLIENT_ROUNDS):
                        async with client.lock("one", session=session) as lock:
                            tokens.append(lock.token)

                await asyncio.gather(*(take_turns() for _ in range(ONE_CLIENT)))
                await session.close()

        with ThreadPoolExecutor(1) as pool:
            blocking = pool.submit(in_threads)
            asyncio.run(in_tasks())
            blocking.result()
        assert len(tokens) == 2 * ONE_CLIENT * ONE_CLIENT_ROUNDS
        assert all(before < after for before, after in pairwise(tokens)), tokens
        return f"{ONE_CLIENT} threads and {ONE_CLIENT} tasks x {ONE_CLIENT_ROUNDS}: {len(tokens)} grants, no DEADLOCK"
