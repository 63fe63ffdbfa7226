import pytest
from hypothesis import settings

from tests.machine.driver import Machine

settings.register_profile("machine", deadline=None)  # how long an example takes says something about the computer
settings.load_profile("machine")


@pytest.fixture
def machine() -> Machine:
    """Epoch 1 has begun; the clock is at 0; nothing is held."""
    return Machine()
