"""A small budget of what `make simulate` and `make mutants` do at length."""

from collections import Counter

import pytest

from .mutants import MUTANTS
from .run import many

SEEDS = range(1, 31)
SEEDS_OF_FIVE_NODES = range(1, 5)
QUICK = ("3", "5", "8", "9", "lost", "remaining", "triple", "base", "head", "set", "record", "sent")
"""Faults that a few seeds find. The others are left to `make mutants`."""


def test_no_seed_breaks_a_promise() -> None:
    totals: Counter[str] = Counter()
    for result in many(SEEDS, nodes=3, jobs=2):
        assert not result.failure
        totals += result.counts
    # A simulation in which nothing happens finds nothing.
    happened = ("granted", "released", "expired", "epochs", "crash", "lose_disk", "restart", "stall", "depose_leader")
    assert min(totals[what] for what in happened) > 20


def test_nor_with_five_nodes() -> None:
    failures = [result.failure for result in many(SEEDS_OF_FIVE_NODES, nodes=5, jobs=2) if result.failure]
    assert not failures


@pytest.mark.parametrize("number", QUICK)
def test_a_defence_that_is_switched_off_is_missed(number: str) -> None:
    _, nodes = MUTANTS[number]
    assert any(result.failure for result in many(SEEDS, nodes=nodes, jobs=2, mutant=number))
