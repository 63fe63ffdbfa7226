"""lockapi.Locking, the Go lockd's API: by name alone, True or False, never a gRPC error for a conflict.

It has no request ids. The node gives each call one of its own, so that the node's retries act once; a retry of
the client's is another call.
"""

from collections.abc import Callable
from random import Random

import structlog

from lockd.access.admission import Admission, Caller, Patience
from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd_client.proto import lockapi_pb2 as pb

from .service import own_request

log = structlog.get_logger(__name__)


class Locking:
    """Every method raises Refused where the call gets an error."""

    def __init__(self, admission: Admission, rng: Random) -> None:
        self._admission, self._rng = admission, rng

    async def IsLocked(self, message: pb.LockName, caller: Caller) -> pb.LockState:  # noqa: N802 - gRPC's name
        outcome = await self._commit(lambda call: c.IsLocked(call=call, name=message.name), caller)
        assert isinstance(outcome, o.LockState)
        return pb.LockState(name=message.name, is_locked=outcome.holders_count > 0)

    async def Lock(self, message: pb.LockName, caller: Caller) -> pb.LockResult:  # noqa: N802 - gRPC's name
        owner = f"lockapi@{caller.peer}"[: self._admission.limits.owner_bytes]
        outcome = await self._commit(
            lambda call: c.Acquire(
                call=call,
                request=self._request(caller),
                wants=(c.Want(message.name, c.Mode.EXCLUSIVE),),
                owner=owner,
                by_name=True,
            ),
            caller,
        )
        return pb.LockResult(success=isinstance(outcome, o.Granted))

    async def Unlock(self, message: pb.LockName, caller: Caller) -> pb.LockResult:  # noqa: N802 - gRPC's name
        outcome = await self._commit(
            lambda call: c.Release(call=call, request=self._request(caller), name=message.name, by_name=True), caller
        )
        if isinstance(outcome, o.NotHeld) and outcome.holders:
            log.info("unlock by name refused", name=message.name, peer=caller.peer, token=outcome.holders[0].token)
        return pb.LockResult(success=isinstance(outcome, o.Released))

    async def _commit(self, make: Callable[[c.Call], c.Command], caller: Caller) -> o.Outcome:
        timeout_s = caller.timeout_s
        if timeout_s is None:
            timeout_s = self._admission.limits.default_deadline_ms / 1000
        return await self._admission.commit(make, caller, Patience(timeout_s), has_own_id=True)

    def _request(self, caller: Caller) -> c.Request:
        return own_request(self._rng, self._admission, caller.identity)
