"""Where monotonic time comes from: an argument everywhere, so that a simulation can own it."""

import time
from typing import Protocol


class Clock(Protocol):
    """A clock that only goes forward. Its zero means nothing."""

    def monotonic(self) -> float:
        """Seconds."""


class SystemClock:
    """CLOCK_MONOTONIC_RAW: never set, never slewed, and it stands still while the machine sleeps.

    Standing still is right here: a reading that is too small ends leases late, never early.
    """

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
