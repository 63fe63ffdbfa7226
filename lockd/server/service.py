"""lockd.v1, call by call: decode, propose, encode; nothing else."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from google.protobuf.message import Message

from lockd.access.admission import Admission, Caller, Done, Patience, Pending
from lockd.machine import commands as c
from lockd.machine.outcomes import Outcome
from lockd.raft.calls import Make

from . import translate
from .methods import METHODS, Method
from .translate import Fields

__all__ = ["Caller", "Service", "own_request"]

NOT_AFTER_MS = 240_000
"""How long a request id may be new, counted from the clock_ms that its caller saw last."""

OWN_ID_BYTES = 16


class Service:
    """A service by its table (methods.py): every method there is a method of this, given a message and its Caller.

    It returns the response, and raises Refused where the call gets an error instead of an outcome.
    """

    def __init__(self, admission: Admission, rng: Random, methods: Mapping[str, Method] = METHODS) -> None:
        self._admission, self._rng, self._methods = admission, rng, methods
        self._default_s = admission.limits.default_deadline_ms / 1000

    def __getattr__(self, name: str) -> Callable[[Any, Caller], Awaitable[Any]]:
        try:
            return partial(self.answer, self._methods[name])
        except KeyError:
            raise AttributeError(name) from None

    async def answer(self, method: Method, message: Any, caller: Caller) -> Message:
        """Raises Refused. Where the task is cancelled, the caller has broken off."""
        if method.may_be_stale and translate.is_stale(message):
            return method.response(**self._stale(method, message, caller))
        no_deadline = caller.timeout_s is None
        patience = self._patience(method, message, 0) if no_deadline else Patience(caller.timeout_s)
        make, has_own_id = self._make(method, message, caller)
        outcome = await self._admission.commit(make, caller, patience, has_own_id=has_own_id)
        return method.response(**self.encode(method, outcome))

    def submit(self, method: Method, message: Any, caller: Caller, work_ms: int, done: Done) -> Pending:
        """The same without a task, for reads that are not stale and for changes. done: as Admission.submit's."""
        make, has_own_id = self._make(method, message, caller)
        patience = self._patience(method, message, work_ms)
        return self._admission.submit(make, done, caller, patience, has_own_id=has_own_id)

    def stale(self, method: Method, message: Any, caller: Caller) -> Fields | None:
        """The answer of the node itself, where that was asked for. Raises Refused."""
        if method.may_be_stale and translate.is_stale(message):
            return self._stale(method, message, caller)
        return None

    def has_room(self, caller: Caller, *, frees: bool) -> bool:
        """Whether another call of this caller would be taken in now. frees: as Method's."""
        return self._admission.has_room(caller, frees=frees)

    def encode(self, method: Method, outcome: Outcome) -> Fields:
        """Raises Refused."""
        return method.encode(outcome, self._admission.clock_ms)

    def _patience(self, method: Method, message: Any, work_ms: int) -> Patience:
        """work_ms (0: the node's default) bounds the work, not the wait that was asked for."""
        work_s = work_ms / 1000 or self._default_s
        wait_ms: int = message.wait_ms if method.waits else 0
        return Patience(work_s, None if wait_ms < 0 else work_s + wait_ms / 1000)

    def _make(self, method: Method, message: Any, caller: Caller) -> tuple[Make, bool]:
        """And whether each command gets an id of the node's own. Raises Refused."""
        identity = caller.identity
        if not method.has_request:
            return lambda call: method.make(message, call, identity), False
        if not message.HasField("request"):
            return lambda call: method.make(message, call, own_request(self._rng, self._admission, identity)), True
        request = translate.request(message, identity)
        return lambda call: method.make(message, call, request), False

    def _stale(self, method: Method, message: Any, caller: Caller) -> Fields:
        replica = self._admission.replica
        outcome = self._admission.read_stale(self._make(method, message, caller)[0], caller)
        fields = self.encode(method, outcome)
        fields["staleness"] = {"applied_index": replica.journal.applied, "news_age_ms": replica.news_age_ms}
        return fields


def own_request(rng: Random, admission: Admission, identity: str) -> c.Request:
    """For a call that has no id: what the node sends again acts once."""
    key = c.Key(identity, c.FREE_ID + rng.randbytes(OWN_ID_BYTES))
    return c.Request(key, translate.OWN_ASKED, admission.clock_ms + NOT_AFTER_MS)
