"""Hypothesis as a source of examples for as long as a run lasts."""

import time
import warnings
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

T = TypeVar("T")

EXAMPLES_A_ROUND = 200


def weighted(*choices: tuple[int, st.SearchStrategy[T]]) -> st.SearchStrategy[T]:
    """One of them, each so many times as likely. one_of would look through to the parts of its parts."""
    places = [place for place, (weight, _) in enumerate(choices) for _ in range(weight)]
    return st.sampled_from(places).flatmap(lambda place: choices[place][1])


def drive(strategy: st.SearchStrategy[T], body: Callable[[T], None], *, seed: int, until: float) -> int:
    """Gives body an example after another until time.monotonic() is until. Returns how many. body does not raise."""
    count = 0

    def run(example: T) -> None:
        nonlocal count
        if time.monotonic() < until:
            count += 1
            body(example)

    rounds = 0
    while time.monotonic() < until:
        quiet = settings(
            max_examples=EXAMPLES_A_ROUND,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        with warnings.catch_warnings():
            # Of a strategy over a whole protocol the text is long, and is made where nobody reads it.
            warnings.filterwarnings("ignore", "Generating overly large repr", HypothesisWarning)
            seeded(seed * 1_000_000 + rounds)(quiet(given(strategy)(run)))()
        rounds += 1
    return count
