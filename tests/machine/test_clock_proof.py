"""No lease ends early: the claim in apply's docstring, on random schedules, and what breaks it."""

from collections import Counter

import pytest

from lockd.machine.apply import apply
from lockd.machine.bounds import Bounds
from lockd.machine.commands import Batch, BeginEpoch, Entry
from lockd.machine.outcomes import Applied
from lockd.machine.state import State
from lockd.raft.reign import Reign
from tests.machine.driver import Machine, ended, lock
from tests.machine.schedules import Schedule

SCHEDULES = 1_500


def test_no_lease_ends_early():
    seen: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        tally = Schedule(seed).run()
        assert tally.early == 0, f"Schedule({seed})"
        assert tally.outran_ms < 1, f"Schedule({seed})"  # c(k) - c(j) <= w(k) - w(j), but for the floor
        seen.update(expired=tally.expired, renewed=tally.renewed, epochs=tally.epochs, stale=tally.stale)
    assert min(seen[what] for what in ("expired", "renewed", "epochs", "stale")) > 3 * SCHEDULES


def test_a_lease_ends_past_its_deadline_because_readings_are_floored():
    """Granted at 0.9 ms, read as 0; at 10.0 ms the clock is at the deadline, and 9.1 of 10 ms have passed."""
    machine, reign = Machine(), Reign(term=1, cap_s=1)
    reign.begin(clock_ms=0, now=0.0)
    machine.entry(lock("jobs", ttl_ms=10), at=reign.read(0.0009))
    assert ended(machine.entry(at=reign.read(0.01))) == []
    assert machine.clock_ms == 10


# -- mutants: each was a way to build it


def a_stale_entry_moves_the_clock(state: State, entry: Entry, append_term: int) -> Applied:
    if isinstance(entry, Batch) and entry.stamp_ms > state.scalars.clock_ms:
        state.set_scalars(clock_ms=entry.stamp_ms)
    return apply(state, entry, append_term)


def without_terms(state: State, entry: Entry, append_term: int) -> Applied:
    """Batches are judged by their epoch alone. By itself harmless to leases: the next two need it."""
    return apply(state, entry, entry.epoch)


def without_terms_any_beginning_is_taken(state: State, entry: Entry, append_term: int) -> Applied:
    if isinstance(entry, BeginEpoch):
        state.set_scalars(epoch=entry.epoch)
        return Applied()
    return without_terms(state, entry, append_term)


class DueAtTheBound(Bounds[int]):
    def due(self, clock: int) -> int | None:
        return super().due(clock + 1)


class EndsAtTheDeadline(State):
    def __init__(self) -> None:
        super().__init__()
        self.lease_ends = DueAtTheBound()


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param({"machine": a_stale_entry_moves_the_clock}, id="a stale entry moves the clock"),
        pytest.param({"machine": without_terms_any_beginning_is_taken}, id="any beginning is taken"),
        pytest.param({"machine": without_terms, "base_at_proposal": True}, id="base at proposal"),
        pytest.param({"state": EndsAtTheDeadline}, id="ends at the deadline"),
    ],
)
def test_schedules_find_what_is_wrong_with(mutant):
    assert any(Schedule(seed, **mutant).run().early for seed in range(SCHEDULES))
