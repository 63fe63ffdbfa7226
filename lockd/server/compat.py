"""lockapi.Locking, the Go lockd's API: by name alone, True or False, never a gRPC error for a conflict.

It has no request ids. The node gives each call one of its own, so that the node's retries act once; a retry of
the client's is another call.
"""

from collections.abc import Callable
from functools import partial
from random import Random

import structlog

from lockd.access import bounds
from lockd.access.admission import Admission
from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd_client.proto import lockapi_pb2 as pb

from .service import Caller, new_request

log = structlog.get_logger(__name__)


class Locking:
    """Every method raises Refused where the call gets an error."""

    def __init__(self, admission: Admission, rng: Random) -> None:
        self._admission, self._rng = admission, rng

    async def IsLocked(self, message: pb.LockName, caller: Caller) -> pb.LockState:  # noqa: N802 - gRPC's name
        bounds.check_name(message.name, self._admission.limits)
        outcome = await self._admission.commit(lambda call: c.IsLocked(call=call, name=message.name), caller.timeout_s)
        assert isinstance(outcome, o.LockedState)
        return pb.LockState(name=message.name, is_locked=bool(outcome.holders))

    async def Lock(self, message: pb.LockName, caller: Caller) -> pb.LockResult:  # noqa: N802 - gRPC's name
        bounds.check_name(message.name, self._admission.limits)
        owner = f"lockapi@{caller.peer}"[: self._admission.limits.owner_bytes]
        outcome = await self._admission.commit_once(
            lambda call, request: c.Acquire(call=call, request=request, name=message.name, owner=owner, by_name=True),
            self._new(b"Lock\n" + message.name.encode(), caller),
            caller.timeout_s,
        )
        return pb.LockResult(success=isinstance(outcome, o.Granted))

    async def Unlock(self, message: pb.LockName, caller: Caller) -> pb.LockResult:  # noqa: N802 - gRPC's name
        bounds.check_name(message.name, self._admission.limits)
        outcome = await self._admission.commit_once(
            lambda call, request: c.Release(call=call, request=request, name=message.name, by_name=True),
            self._new(b"Unlock\n" + message.name.encode(), caller),
            caller.timeout_s,
        )
        if isinstance(outcome, o.NotHeld) and outcome.holders:
            log.info("unlock by name refused", name=message.name, peer=caller.peer, token=outcome.holders[0].token)
        return pb.LockResult(success=isinstance(outcome, o.Released))

    def _new(self, asked: bytes, caller: Caller) -> Callable[[], c.Request]:
        return partial(new_request, self._rng, self._admission, caller, asked)
