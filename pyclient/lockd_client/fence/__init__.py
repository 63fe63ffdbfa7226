"""Guards for what locks protect: each remembers the highest fencing token that it saw and refuses lower ones.

    lockd_client.fence.sql      a table beside the data, checked in the caller's own transaction (lockd-client[fence])
    lockd_client.fence.file     a mark beside a file or a folder
    lockd_client.fence.asgi     middleware that reads the header Lockd-Fence
    lockd_client.fence.wsgi     the same for WSGI
    lockd_client.fence.marks    marks in memory, for these

A holder whose machine is paused cannot know that its lease has ended. What it writes to can: docs/fencing.md.
"""

from lockd_client.fence.errors import (
    BadFence,
    DamagedMark,
    FenceBusy,
    FenceError,
    FenceRequired,
    StaleToken,
    TooManyNames,
)
from lockd_client.fence.values import Fence

__all__ = [
    "BadFence",
    "DamagedMark",
    "Fence",
    "FenceBusy",
    "FenceError",
    "FenceRequired",
    "StaleToken",
    "TooManyNames",
]
