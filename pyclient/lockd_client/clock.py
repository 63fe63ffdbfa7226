"""The clock on which a client counts its leases down."""

import os
import threading
import time
from typing import Protocol

CLOCK_RATE_BOUND = 0.01  # ρ: by how much two clocks may differ in rate
MARGIN_S = 0.05

_SOURCES = tuple(getattr(time, name) for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC_RAW") if hasattr(time, name))


def _readings() -> tuple[float, ...]:
    if not _SOURCES:
        return (time.monotonic(),)
    return tuple(time.clock_gettime(source) for source in _SOURCES)


class Source(Protocol):
    def read(self) -> float:
        """Seconds, never less than before. Called by any thread."""


class _LeaseClock:
    """Advances by whichever of its sources advanced further since the last reading.

    BOOTTIME counts the time that the machine slept and is slewed by NTP; MONOTONIC_RAW is the other way round. The
    larger of the two readings would not do: where RAW is ahead by what NTP took off BOOTTIME since the machine
    started, a sleep shorter than that would go uncounted.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a handler of a signal may read it inside a reading
        self.last = _readings()
        self.value = self.last[0]

    def read(self) -> float:
        with self.lock:
            readings = tuple(map(max, _readings(), self.last))  # never back, behind a reading inside this one
            self.value += max(0.0, *(new - old for new, old in zip(readings, self.last, strict=True)))
            self.last = readings
            return self.value

    def go_on_from(self, value: float) -> None:
        with self.lock:
            self.last = _readings()
            self.value = max(self.value, value)

    def new_lock(self) -> None:
        self.lock = threading.RLock()


_SYSTEM = _LeaseClock()
_CLOCK: Source = _SYSTEM
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SYSTEM.new_lock)  # another thread may have held it


def now() -> float:
    """Seconds on the clock that deadlines are given on. It never stands still; its zero means nothing.

    The same in all threads of a process. A forked child goes on from its parent's value.
    """
    return _CLOCK.read()


def _follow(source: Source | None) -> None:
    """For lockd.testing alone: from now on now() is what `source` reads, and nothing runs out but by it. None: the
    system's clocks again, which go on from there.
    """
    global _CLOCK
    if source is None:
        _SYSTEM.go_on_from(_CLOCK.read())
    _CLOCK = _SYSTEM if source is None else source


def grpc_timeout(seconds: float | None) -> float | None:
    """What gRPC is told of a call's timeout, since it counts by a clock of its own: nothing while now() follows another
    source; the engine then ends the call.
    """
    return seconds if _CLOCK is _SYSTEM else None


def deadline_of(sent: float, lease_remaining: float, waited: float = 0.0) -> float:
    """When to call a lease lost that had `lease_remaining` seconds left when the request sent at `sent` was answered,
    after it had waited for `waited` seconds of cluster time.

    Cluster time never outruns real time, so the answering entry was closed no earlier than `sent` + `waited`. The
    margin covers a clock here that runs at another rate than the cluster's.
    """
    span = lease_remaining + waited
    return sent + span - (2 * CLOCK_RATE_BOUND * span + MARGIN_S)
