"""lockd.v1: decode, propose, encode; nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from lockd.access import bounds
from lockd.access.admission import Admission
from lockd.machine import commands as c
from lockd.machine import outcomes as o
from lockd_client.proto import lockd_pb2 as pb

from . import translate

NOT_AFTER_MS = 240_000
"""How long a request id may be new, counted from the clock_ms that its caller saw last."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and how long they wait."""

    peer: str
    timeout_s: float
    identity: str = ""


class LockService:
    """Every method raises Refused where the call gets an error instead of an outcome."""

    def __init__(self, admission: Admission, rng: Random) -> None:
        self._admission, self._rng = admission, rng

    async def Lock(self, message: pb.LockRequest, caller: Caller) -> pb.LockResponse:  # noqa: N802 - gRPC's name
        translate.check_lock(message, self._admission.limits)
        outcome = await self._commit(message, caller, lambda call, request: translate.acquire(message, request, call))
        return translate.lock_response(outcome, self._clock_ms)

    async def Unlock(self, message: pb.UnlockRequest, caller: Caller) -> pb.UnlockResponse:  # noqa: N802 - gRPC's name
        translate.check_unlock(message, self._admission.limits)
        outcome = await self._commit(
            message,
            caller,
            lambda call, request: c.Release(call=call, request=request, token=message.token, name=message.name),
        )
        return translate.unlock_response(outcome, self._clock_ms)

    async def IsLocked(self, message: pb.IsLockedRequest, caller: Caller) -> pb.IsLockedResponse:  # noqa: N802 - gRPC's name
        bounds.check_name(message.name, self._admission.limits)
        outcome = await self._admission.commit(lambda call: c.IsLocked(call=call, name=message.name), caller.timeout_s)
        assert isinstance(outcome, o.LockedState)
        found = translate.holders(outcome.holders)
        return pb.IsLockedResponse(is_locked=bool(found), holders=found, clock_ms=self._clock_ms)

    async def List(self, message: pb.ListRequest, caller: Caller) -> pb.ListResponse:  # noqa: N802 - gRPC's name
        translate.check_list(message, self._admission.limits)
        outcome = await self._admission.commit(lambda call: translate.list_holds(message, call), caller.timeout_s)
        assert isinstance(outcome, o.Page)
        found = translate.holders(outcome.holders)
        return pb.ListResponse(holders=found, next=outcome.next, clock_ms=self._clock_ms)

    async def Renew(self, message: pb.RenewRequest, caller: Caller) -> pb.RenewResponse:  # noqa: N802 - gRPC's name
        bounds.check_token(message.token)
        bounds.check_ttl(message.ttl_ms, self._admission.limits, may_be_zero=False)
        outcome = await self._admission.commit(
            lambda call: c.Renew(call=call, token=message.token, ttl_ms=message.ttl_ms), caller.timeout_s
        )
        return translate.renew_response(outcome, self._clock_ms)

    @property
    def _clock_ms(self) -> int:
        return self._admission.replica.state.scalars.clock_ms

    async def _commit(
        self,
        message: pb.LockRequest | pb.UnlockRequest,
        caller: Caller,
        make: Callable[[c.Call, c.Request], c.Command],
    ) -> o.Outcome:
        """Under the caller's id, or one of this node's own."""
        asked = translate.asked(message)
        if not message.HasField("request"):
            new = partial(new_request, self._rng, self._admission, caller, asked)
            return await self._admission.commit_once(make, new, caller.timeout_s)
        bounds.check_request_id(message.request.id, message.request.not_after_ms)
        request = c.Request(caller.identity, message.request.id, asked, message.request.not_after_ms)
        return await self._admission.commit(lambda call: make(call, request), caller.timeout_s)


def new_request(rng: Random, admission: Admission, caller: Caller, asked: bytes) -> c.Request:
    clock_ms = admission.replica.state.scalars.clock_ms
    return c.Request(caller.identity, rng.randbytes(16), asked, clock_ms + NOT_AFTER_MS)
