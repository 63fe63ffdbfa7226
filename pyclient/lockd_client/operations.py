"""One call on its way: its attempts, its deadline, its request id. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lockd_client.attempts import ATTEMPT_MIN_S, ATTEMPT_S, Doubt, Failure, Repeat
from lockd_client.calls import Call
from lockd_client.errors import LockdError
from lockd_client.requests import NOT_AFTER_MS, Requests
from lockd_client.translate import request_message

if TYPE_CHECKING:
    from lockd_client.links import Link

NODE_SHARE = 0.8
REQUESTS_PER_CALL_MAX = 3  # ids that one call uses up where nodes answer that they are too old
RETURNS_MAX = 3  # of one call, to a node that refused it for the connection by which it came


@dataclass(frozen=True, slots=True)
class Answer:
    """sent: on the clock of clock.now(), not later than the attempt that was answered left."""

    message: Any
    endpoint: str
    sent: float


class Operation:
    """A call from when it is made until `result` is there.

    While nothing was heard of it, it fails `timeout` seconds after it was made. A Lock that a node has queued may take
    as long as its wait; once its link broke, the silence counts anew.
    """

    __slots__ = (
        "began",
        "call",
        "deadline",
        "done",
        "doubt",
        "edition",
        "ended",
        "identified",
        "ids",
        "is_background",
        "is_parked",
        "key",
        "last",
        "link",
        "not_before",
        "request",
        "result",
        "returns",
        "sent",
        "timeout",
    )

    def __init__(self, call: Call[Any], done: "Callable[[Operation], None]", time: float, timeout: float) -> None:
        self.call = call
        self.done = done
        self.began = time
        self.timeout = timeout
        self.last = time + (call.wait + ATTEMPT_S if call.wait else timeout)  # whatever is heard of it
        self.deadline = min(time + timeout, self.last)
        self.doubt = Doubt(call.repeat, request=call.request, in_doubt=call.request is not None)
        self.request = call.request
        self.identified = time  # when its id was made
        self.ids = 0  # that were used up
        self.link: Link | None = None  # on which it is, or waits to be written
        self.key = 0  # of this attempt; 0: it has not been written
        self.edition = 0  # of the credentials that this attempt was made with, or an older one
        self.returns = 0
        self.sent = 0.0
        self.is_parked = False
        self.is_background = False  # nobody waits for it
        self.not_before = 0.0
        self.result: Answer | LockdError | None = None
        self.ended = 0.0

    def leave(self, key: int, time: float, edition: int) -> None:
        """An attempt is written."""
        self.key = key
        self.edition = edition
        self.sent = time

    def park(self) -> None:
        """A node has queued it."""
        self.is_parked = True
        self.deadline = self.last

    def come_back(self, time: float) -> None:
        """It is on no link any more."""
        if self.is_parked:
            self.is_parked = False
            self.deadline = min(time + self.timeout, self.last)
        self.link = None
        self.key = 0

    def due(self) -> float:
        """When its attempt, or its time, has run out."""
        if self.key and not self.is_parked and self.link is not None and self.link.is_stream and self.call.method.field:
            return min(self.deadline, self.sent + ATTEMPT_S)
        return self.deadline

    def has_time(self, time: float) -> bool:
        """For one more attempt."""
        return self.doubt.is_untried or self.deadline - time >= ATTEMPT_MIN_S

    def takes_another_id(self, requests: Requests, time: float) -> bool:
        """An id made here is younger than any record's end, so TOO_OLD proves that no attempt under it was carried out
        and none will be: the clock that it was made from lay behind (a node cut off from the others), and another id
        is safe.
        """
        self.ids += 1
        is_young = time - self.identified < NOT_AFTER_MS / 1000
        if self.call.request is not None or not is_young or self.ids >= REQUESTS_PER_CALL_MAX:
            return False
        if self.request is not None:
            requests.answered(self.request.sequence)
        self.request = None
        self.doubt = Doubt(self.call.repeat)
        return True

    def may_return(self) -> bool:
        """To the same node at once, once more."""
        self.returns += 1
        return self.returns <= RETURNS_MAX

    def silence(self, endpoint: str, time: float) -> Failure:
        waited = max(0.0, time - (self.sent if self.key else self.began))
        details = f"no answer within {waited:.1f} s"
        return Failure(endpoint=endpoint, code="DEADLINE_EXCEEDED", details=details, sent=bool(self.key))

    def message(self, requests: Requests) -> Any:
        """As the next attempt sends it."""
        message: Any = self.call.message
        if self.request is None:
            return message
        self.request = replace(self.request, attempts=self.request.attempts + 1)
        if self.doubt.request is not None:
            self.doubt.request = self.request
        below, ranges = requests.mark() if self.request.client == requests.client else (0, ())
        message.request.CopyFrom(request_message(self.request, below, ranges))
        if self.call.method.field == "lock":
            message.attempt = self.request.attempts
        return message

    def node_timeout_ms(self, time: float) -> int:
        """What a node is given for an attempt: less than its time, so that the node says what became of it before it
        is left.
        """
        return max(1, int(1000 * NODE_SHARE * min(ATTEMPT_S, self.deadline - time)))

    def unary_timeout(self, time: float, endpoints: int) -> float | None:
        """Of a unary attempt. One that cannot be repeated after it timed out is given longer, and others still have
        their turn.
        """
        if self.call.wait:
            return None if self.deadline == math.inf else max(0.0, self.deadline - time)
        left = max(0.0, self.deadline - time)
        if self.call.repeat is not Repeat.ONCE:
            return min(left, ATTEMPT_S)
        return left if endpoints == 1 else min(left, max(ATTEMPT_S, left / 2))
