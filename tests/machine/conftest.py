"""HYPOTHESIS_PROFILE=deep asks for twenty times as many examples, long runs included: minutes instead of seconds.

HYPOTHESIS_PROFILE=deep make test ARGS='tests/machine/test_model.py -o faulthandler_timeout=0'
"""

import os

import pytest
from hypothesis import settings

from tests.machine.driver import Machine

settings.register_profile("machine", settings.get_profile("untimed"), max_examples=100)
settings.register_profile("deep", settings.get_profile("untimed"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "machine"))


@pytest.fixture
def machine() -> Machine:
    """Epoch 1 has begun; the clock is at 0; nothing is held."""
    return Machine()
