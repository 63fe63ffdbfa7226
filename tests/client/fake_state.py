"""What the fake nodes of one cluster share."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lockd_client.proto import lockd_pb2

Reply = Callable[[Any], None]


@dataclass
class Waiter:
    request: lockd_pb2.LockRequest
    reply: Reply


@dataclass
class State:
    """What the nodes of one cluster share."""

    holds: dict[str, lockd_pb2.Holder] = field(default_factory=dict)
    keys: dict[int, bytes] = field(default_factory=dict)
    answers: dict[bytes, Any] = field(default_factory=dict)
    waiters: dict[bytes, Waiter] = field(default_factory=dict)
    sessions: dict[int, int] = field(default_factory=dict)
    events: list[lockd_pb2.Event] = field(default_factory=list)
    last_token: int = 0
    last_session: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)


def key_of(request: lockd_pb2.RequestId) -> bytes:
    return request.id or request.client + request.sequence.to_bytes(8, "big")
