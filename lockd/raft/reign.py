"""One leadership: its epoch, and the cluster's time as this leader reads it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Reign:
    """From the moment a node leads in a term until it no longer does.

    It may close entries once its BeginEpoch has been applied here. Its reading is clock_ms at that entry plus
    the monotonic time since; between two turns of the loop it goes on by at most `cap_s`, since a leader that
    was stopped must not end leases whose renewals lie in its sockets.
    """

    term: int
    cap_s: float
    begun: bool = False
    in_flight: int = 0
    """Index of the entry that was closed last and is not applied yet; 0: none."""
    _reading_ms: float = 0.0
    _read_at: float = 0.0

    def begin(self, clock_ms: int, now: float) -> None:
        """BeginEpoch was applied at clock_ms, now."""
        self.begun, self._reading_ms, self._read_at = True, float(clock_ms), now

    def read(self, now: float) -> int:
        """The stamp for an entry closed now, in ms. To be taken once a turn, after the commands in it arrived."""
        self._reading_ms += 1000 * min(max(0.0, now - self._read_at), self.cap_s)
        self._read_at = now
        return int(self._reading_ms)
