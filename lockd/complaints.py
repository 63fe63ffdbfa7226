"""What strangers cause to be logged."""

import time
from typing import Final

import structlog


class Complaints:
    """Log lines about who and why, each at most once a minute: strangers must not be able to fill a disk."""

    INTERVAL_S: Final = 60.0
    KINDS_MAX: Final = 256

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        self._log = log
        self._said: dict[tuple[object, ...], float] = {}  # in the order of their times

    def say(self, event: str, *, detail: str = "", **who_and_why: object) -> None:
        """detail: of the first of a kind; another one makes no other kind."""
        now = time.monotonic()
        key = (event, *who_and_why.items())
        if now - self._said.get(key, -self.INTERVAL_S) < self.INTERVAL_S:
            return
        self._said.pop(key, None)
        if len(self._said) >= self.KINDS_MAX:
            oldest = next(iter(self._said))
            if now - self._said[oldest] < self.INTERVAL_S:
                return
            del self._said[oldest]
        self._said[key] = now
        self._log.warning(event, **who_and_why, **({"detail": detail} if detail else {}))
