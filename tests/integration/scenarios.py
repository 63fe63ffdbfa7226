"""What a cluster of real processes goes through. Each scenario raises AssertionError, or returns its figures in words.

scripts/integration runs them, for people and for CI. A scenario has a folder of its own to work in.
"""

import itertools
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lockd_client import LockdClient
from tests.eventually import eventually
from tests.integration.checks import (
    all_grants,
    calls_of,
    check_grants,
    check_holds,
    held_through,
    milliseconds,
    spread,
    tokens_of,
)
from tests.integration.cluster import Cluster, running
from tests.integration.contender import Contenders, Tally, tally_of
from tests.integration.leases import leases_end_in_time, leases_outlive_their_leader
from tests.integration.losses import holders_that_are_paused_past_their_lease, holders_without_a_network
from tests.integration.repeats import a_lost_answer_is_asked_for_again, a_withdrawn_call_frees_nothing_of_another
from tests.integration.turns import (
    a_ring_is_refused,
    readers_let_writers_through,
    singles_let_sets_through,
    tasks_and_threads_of_one_client,
    waiters_take_turns,
)

Scenario = Callable[[Path], str]

FINE_S = 0.002
"""How often a moment is looked for that is to be measured."""

KILLS = 5
KILLS_UNDER_LOAD = 2
HAND_OVERS = 2
ACKNOWLEDGED = 300
ROUNDS = 25
ROUND_OF_THE_KILL = 12
CONTENDERS = 8
LOAD_PROCESSES = 3
LOAD_THREADS = 2

COMPACT_ENTRIES = 100  # the least that a cluster file may say
PAST_COMPACTION = 3 * COMPACT_ENTRIES


# ---- what several of them do


def take(client: LockdClient, names: Iterable[str], at_once: int = 8) -> dict[str, int]:
    """Locks all of them. Returns what was acknowledged."""

    def one(name: str) -> tuple[str, int]:
        answer = client.try_lock(name, ttl=0)
        assert answer.acquired, f"{name} is held by {answer.holders}"
        return name, answer.token

    with ThreadPoolExecutor(at_once) as pool:
        return dict(pool.map(one, names))


def pass_entries(client: LockdClient, count: int) -> None:
    """At least so many log entries: each call here waits for the one before, so each is an entry of its own."""
    for _ in range(0, count, 2):
        answer = client.try_lock("passing", ttl=0)
        assert answer.acquired
        assert client.unlock(answer.token).released


class Load:
    """Client processes that lock and unlock until they are told to stop."""

    def __init__(self, cluster: Cluster) -> None:
        self._contenders = Contenders(LOAD_PROCESSES, cluster.endpoints())
        self.tallies: list[Tally] = []

    def __enter__(self) -> "Load":
        self._contenders.__enter__()
        for place, process in enumerate(self._contenders.processes):
            own = [f"own/{place}-{thread}" for thread in range(LOAD_THREADS)]
            process.call("load", shared=["shared/1", "shared/2"], own=own)
        self.wait_for_grants(10 * LOAD_PROCESSES)
        return self

    def __exit__(self, *details: object) -> None:
        self._contenders.__exit__(None, None, None)

    def wait_for_grants(self, more: int) -> None:
        """So many from now on."""
        already = self._grants()
        eventually(lambda: self._grants() >= already + more, 30)

    def _grants(self) -> int:
        return sum(process.call("done") for process in self._contenders.processes)

    def stop(self) -> list[Tally]:
        """Raises AssertionError where a call ended badly or its outcome is still unknown."""
        self._contenders.ask_all("stop")
        tallies = [tally_of(answer) for answers in self._contenders.answers() for answer in answers]
        failed = [failure for tally in tallies for failure in tally.failed]
        assert failed == [], failed
        return tallies


# ---- the scenarios


def a_lock_through_each_node(folder: Path) -> str:
    """A lock taken through each node is seen through each other one, refused there, and can be released there."""
    with running(folder) as cluster:
        clients = {id: cluster.client(id) for id in cluster.nodes}
        tokens = []
        for here, client in clients.items():
            name = f"through-{here}"
            grant = client.try_lock(name, ttl=0)
            assert grant.acquired
            tokens.append(grant.token)
            for there, other in clients.items():
                assert other.is_locked(name), f"taken through node {here}, not seen through node {there}"
                refused = other.try_lock(name, ttl=0)
                assert not refused.acquired
                assert [holder.token for holder in refused.holders] == [grant.token]
                assert tokens_of(other.list(name)) == {name: grant.token}
            last = clients[cluster.others(here)[0]]
            assert last.unlock(grant.token, name=name).released
            assert not any(other.is_locked(name) for other in clients.values())
        assert tokens == sorted(tokens)
        for client in clients.values():
            client.close()
        return f"{len(clients)} nodes, each seen through all of them; tokens {tokens}"


def the_leader_is_killed_under_load(folder: Path) -> str:
    """kill -9 of the leader while clients lock: every call gets its answer, and the answers were true."""
    with running(folder) as cluster, Load(cluster) as load:
        for _ in range(KILLS_UNDER_LOAD):
            leader = cluster.wait_for_leader()
            cluster.kill(leader)
            cluster.wait_for_leader(*cluster.others(leader))
            load.wait_for_grants(100)
            cluster.start(leader)
            cluster.wait_until_whole()
            load.wait_for_grants(50)
        tallies = load.stop()
        grants = all_grants(tallies)
        check_grants(grants)
        kept = check_holds(cluster, grants)
        unknown, undone = sum(tally.unknown for tally in tallies), sum(tally.unavailable for tally in tallies)
        return (
            f"{KILLS_UNDER_LOAD} kills, {len(tallies)} threads: {calls_of(tallies)}; {len(grants)} grants, {kept} of "
            f"them kept and all there; calls made again: {unknown} unknown, {undone} undone; unknown at the end: 0"
        )


def all_are_killed_at_once(folder: Path) -> str:
    """Acknowledged locks are there, through each node, after kill -9 of all three and a start in another order."""
    with running(folder) as cluster:
        with cluster.client() as client:
            acknowledged = take(client, [f"kept/{number:03}" for number in range(ACKNOWLEDGED)])
        cluster.kill(*cluster.nodes)
        began = time.monotonic()
        cluster.start(*reversed(cluster.nodes))
        leader = cluster.wait_until_whole()
        back_after = time.monotonic() - began
        for id in cluster.nodes:
            assert held_through(cluster, id) == acknowledged, f"through node {id}"
        with cluster.client() as client:
            later = client.try_lock("later", ttl=0)
            assert later.token > max(acknowledged.values())
        return (
            f"{len(acknowledged)} locks, the same through each node after kill -9 of all; "
            f"node {leader} leads {milliseconds(back_after)} after the start in the order 3, 2, 1"
        )


def a_follower_falls_behind_compaction(folder: Path) -> str:
    """A follower that was down past compaction, and one that lost its data directory, come back by snapshot."""
    with running(folder, settings={"compact_entries": COMPACT_ENTRIES}) as cluster:
        first, second = cluster.others(cluster.wait_for_leader())
        with cluster.client() as client:
            kept = take(client, [f"kept/{number:02}" for number in range(20)])
            assert cluster.stop(first) == [0]
            behind = held_index(cluster)
            pass_entries(client, PAST_COMPACTION)
            late, log_line = catches_up_by_snapshot(cluster, first)
            cluster.kill(second)
            cluster.empty_data_directory(second)
            pass_entries(client, PAST_COMPACTION)
            rejoined, _ = catches_up_by_snapshot(cluster, second)
            cluster.wait_for_log(second, "rejoined with an empty store")
            # Both now count: with the third down, nothing is acknowledged without them.
            third = cluster.wait_for_leader()
            if third not in (first, second):
                cluster.kill(third)
                cluster.wait_for_leader(first, second)
            with cluster.client(first, second) as pair:
                kept |= take(pair, ["after"])
        for id in (first, second):
            assert held_through(cluster, id, "kept/") == {name: kept[name] for name in kept if name != "after"}
        return (
            f"node {first}, {log_line['index'] - behind} entries behind, caught up in {milliseconds(late)}; "
            f"node {second} rejoined without its data directory in {milliseconds(rejoined)}; "
            "the two alone acknowledge"
        )


def held_index(cluster: Cluster) -> int:
    return max(status.last_log_index for status in cluster.statuses().values())


def catches_up_by_snapshot(cluster: Cluster, id: int) -> tuple[float, dict[str, int]]:
    """Starts the node. How long it took to hold what the others hold, and the log line about the snapshot."""
    first_kept = min(status.first_log_index for status in cluster.statuses().values())
    goal = held_index(cluster)
    before = len(cluster.nodes[id].said("snapshot installed"))
    began = time.monotonic()
    cluster.start(id)
    cluster.wait_until_applied(id, goal)
    took = time.monotonic() - began
    line = cluster.wait_for_log(id, "snapshot installed", after=before)
    assert line["index"] >= first_kept - 1
    cluster.wait_until_whole()
    return took, line


def one_winner_a_round(folder: Path) -> str:
    """Each round, processes try once for one name, the leader being killed in one of the rounds: one grant a round."""
    with running(folder) as cluster, Contenders(CONTENDERS, cluster.endpoints()) as contenders:
        tokens: list[int] = []
        in_flight = 0
        for number in range(1, ROUNDS + 1):
            leader = cluster.wait_for_leader()
            contenders.ask_all("attempt", name="the-prize")
            if number == ROUND_OF_THE_KILL:
                killed_at = time.monotonic()
                cluster.kill(leader)
            answers = contenders.answers()
            winners = [place for place, answer in enumerate(answers) if answer["token"]]
            assert len(winners) == 1, f"round {number}: {answers}"
            tokens.append(answers[winners[0]]["token"])
            assert contenders.processes[winners[0]].call("release") is True, f"round {number}"
            if number == ROUND_OF_THE_KILL:
                in_flight = sum(answer["answered"] > killed_at for answer in answers)
                cluster.start(leader)
        assert all(before < after for before, after in itertools.pairwise(tokens)), tokens
        cluster.wait_until_whole()
        assert all(held_through(cluster, id) == {} for id in cluster.nodes)
        contenders.ask_all("tally")
        unknown = sum(tally_of(answer).unknown for answer in contenders.answers())
        return (
            f"{ROUNDS} rounds of {CONTENDERS} processes, one grant in each, also in round {ROUND_OF_THE_KILL} with its "
            f"kill -9 of the leader while {in_flight} calls were under way; tokens {tokens[0]} to {tokens[-1]}, "
            f"rising; calls made again because their outcome was unknown: {unknown}; unknown at the end: 0"
        )


def leaders_are_killed(folder: Path) -> str:
    """How long a cluster is without a leader after kill -9, as its other nodes report it. A figure, not a bound."""
    with running(folder) as cluster:
        until_leader, until_lock = [], []
        with cluster.client() as client:
            for number in range(KILLS):
                cluster.wait_until_whole()
                leader = cluster.wait_for_leader()
                others = cluster.others(leader)
                cluster.statuses(others)  # connected, so that the first question costs nothing
                process = cluster.nodes[leader].process
                assert process is not None
                began = time.monotonic()
                process.send_signal(signal.SIGKILL)
                cluster.wait_for_leader(*others, every_s=FINE_S)
                until_leader.append(time.monotonic() - began)
                assert client.try_lock(f"after-kill/{number}", ttl=0).acquired
                until_lock.append(time.monotonic() - began)
                cluster.wait_for_exit(leader)
                cluster.start(leader)
        return (
            f"{KILLS} kills: a new leader after {spread(until_leader)}; a lock acknowledged after {spread(until_lock)}"
        )


def the_leader_is_told_to_stop_under_load(folder: Path) -> str:
    """SIGTERM of the leader: it hands over, no client's call fails, and its exit code is 0."""
    with running(folder) as cluster, Load(cluster) as load:
        stopped = []
        for _ in range(HAND_OVERS):
            leader = cluster.wait_for_leader()
            others = cluster.others(leader)
            process = cluster.nodes[leader].process
            assert process is not None
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            cluster.wait_for_leader(*others, every_s=FINE_S)
            stopped.append(time.monotonic() - began)
            assert cluster.wait_for_exit(leader) == 0
            load.wait_for_grants(50)
            cluster.start(leader)
            cluster.wait_until_whole()
        tallies = load.stop()
        grants = all_grants(tallies)
        unanswered = sum(tally.unknown + tally.unavailable for tally in tallies)
        assert unanswered == 0, f"{unanswered} calls had to be made again"
        check_grants(grants)
        check_holds(cluster, grants)
        return (
            f"{HAND_OVERS} hand-overs, {spread(stopped)} to the next leader; "
            f"{calls_of(tallies)}, none failed; exit code 0"
        )


def the_leader_stands_still(folder: Path) -> str:
    """SIGSTOP of the leader until another one leads: what it believed does not count when it goes on."""
    with running(folder) as cluster:
        leader = cluster.wait_for_leader()
        others = cluster.others(leader)
        with cluster.client(*others) as client, cluster.client(leader) as through_the_old_one:
            before = take(client, ["before"])["before"]
            began = time.monotonic()
            with cluster.paused(leader):
                cluster.wait_for_leader(*others, every_s=FINE_S)
                took_over_after = time.monotonic() - began
                assert client.unlock(before).released
                during = take(client, ["before", "during"])
            refused = through_the_old_one.try_lock("during", ttl=0)
            assert not refused.acquired
            assert tokens_of(through_the_old_one.list()) == during
            assert during["before"] > before
        cluster.wait_until_whole()
        assert cluster.leader() in others
        return f"another leader after {milliseconds(took_over_after)}; the old one, awake again, refused what it lost"


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (
        a_lock_through_each_node,
        one_winner_a_round,
        the_leader_is_killed_under_load,
        all_are_killed_at_once,
        a_follower_falls_behind_compaction,
        leaders_are_killed,
        the_leader_is_told_to_stop_under_load,
        the_leader_stands_still,
        waiters_take_turns,
        readers_let_writers_through,
        singles_let_sets_through,
        a_ring_is_refused,
        tasks_and_threads_of_one_client,
        leases_end_in_time,
        leases_outlive_their_leader,
        holders_that_are_paused_past_their_lease,
        holders_without_a_network,
        a_lost_answer_is_asked_for_again,
        a_withdrawn_call_frees_nothing_of_another,
    )
}
