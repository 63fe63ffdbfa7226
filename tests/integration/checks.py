"""What scenarios hold answers against, and how they say what they measured."""

import itertools
import statistics
from collections.abc import Iterable

from lockd_client import Holder
from tests.integration.cluster import Cluster
from tests.integration.contender import Grant, Tally


def held_through(cluster: Cluster, id: int, prefix: str = "") -> dict[str, int]:
    """Name and token of every hold, asked of one node. A List goes through the log: it is the cluster's answer."""
    with cluster.client(id) as client:
        return tokens_of(client.list(prefix))


def tokens_of(holders: Iterable[Holder]) -> dict[str, int]:
    return {holder.name: holder.token for holder in holders}


def check_grants(grants: list[Grant]) -> None:
    """No token twice, no two believing at one time that they hold a name, tokens in the order of the grants."""
    tokens = [grant.token for grant in grants]
    assert len(set(tokens)) == len(tokens), "a token was given out twice"
    by_name: dict[str, list[Grant]] = {}
    for grant in sorted(grants, key=lambda grant: grant.answered):
        by_name.setdefault(grant.name, []).append(grant)
    for one_name in by_name.values():
        for before, after in itertools.pairwise(one_name):
            assert before.let_go is not None, f"{after} although {before} was never let go"
            assert before.let_go <= after.answered, f"two held {after.name} at once: {before}, {after}"
            assert before.token < after.token, f"{after.name}: token {after.token} came after {before.token}"


def check_holds(cluster: Cluster, grants: list[Grant]) -> int:
    """What was acknowledged and not let go is held, and nothing else is, asked of every node. Returns how many."""
    kept = {grant.name: grant.token for grant in grants if grant.let_go is None}
    for id in cluster.nodes:
        held = held_through(cluster, id)
        assert held == kept, f"through node {id}: lost {kept.items() - held.items()}, new {held.items() - kept.items()}"
    return len(kept)


def all_grants(tallies: list[Tally]) -> list[Grant]:
    return [grant for tally in tallies for grant in tally.grants]


def calls_of(tallies: list[Tally]) -> str:
    longest_s = max(tally.longest_s for tally in tallies)
    return f"{sum(tally.calls for tally in tallies)} calls, the longest took {milliseconds(longest_s)}"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def spread(seconds: list[float]) -> str:
    return (
        f"median {milliseconds(statistics.median(seconds))}, "
        f"{milliseconds(min(seconds))} to {milliseconds(max(seconds))}"
    )
