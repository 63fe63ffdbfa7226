"""The machine against a plain model of it. conftest.py says how to do that for longer."""

import random

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.machine.comparison import Comparison, small_bounds

LONG_RUNS, STEPS_EACH = settings().max_examples, 100
STEPS = ["entry"] * 10 + ["crowd"] * 6 + ["at_the_next_bound"] * 2 + ["restart", "stale_entry", "begin_epoch"]
"""As often as they come in a long run."""


@pytest.fixture(autouse=True)
def bounds():
    with small_bounds():
        yield


@pytest.mark.parametrize("seed", range(LONG_RUNS))
def test_long_runs(seed):
    """For what takes many steps to come about."""
    chance = random.Random(seed)
    comparison = Comparison(chance.choice)
    comparison.begin()
    for _ in range(STEPS_EACH):
        getattr(comparison, chance.choice(STEPS))()
        comparison.check()


class MachineAndModel(RuleBasedStateMachine):
    """Whatever hypothesis thinks of, made as small as can be where it finds a difference."""

    @initialize(data=st.data())
    def begin(self, data):
        self.comparison = Comparison(lambda values: data.draw(st.sampled_from(values)))
        self.comparison.begin()

    @rule(step=st.sampled_from(STEPS), data=st.data())
    def step(self, step, data):
        self.comparison.pick = lambda values: data.draw(st.sampled_from(values))
        getattr(self.comparison, step)()

    @invariant()
    def the_same(self):
        self.comparison.check()

    def teardown(self):
        for answered in self.comparison.seen:
            event(answered)


MachineAndModel.TestCase.settings = settings(
    stateful_step_count=30,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],  # Phase.explain takes minutes here
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestMachineAndModel = pytest.mark.timeout(3_000)(MachineAndModel.TestCase)  # a failure is shrunk for 300 s at most
