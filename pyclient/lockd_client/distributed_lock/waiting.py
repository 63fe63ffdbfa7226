"""How long an acquire() waits."""

import math

from lockd_client.errors import InvalidArgument


def seconds_to_wait(blocking: bool, timeout: float | None) -> float:
    """0: not at all; infinite: as long as it takes. timeout: None or -1: as long as it takes.

    Raises InvalidArgument.
    """
    if timeout is None or timeout == -1:
        return math.inf if blocking else 0.0
    if not blocking:
        raise InvalidArgument("a timeout needs blocking=True")
    if not timeout >= 0:
        raise InvalidArgument(f"timeout is {timeout}; it is a number of seconds, 0 or more, or None")
    return float(timeout)
