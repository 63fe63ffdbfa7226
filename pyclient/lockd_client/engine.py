"""The client without its sockets: calls go in, answers come out, and what is to be done on the network is a list of
actions. Pure: time and chance are arguments, nothing waits and nothing is sent here. Not thread-safe.

A link that broke gives its calls back; they go out again on the next one, under the same id, as further attempts.
What became of a call that was given up is asked, or undone, in the background.

Who drives this does the actions in order; tells what happened (received, returned, broken); calls due() by the time
that `alarm` says; and reads take_outbox() where a stream can be written to.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from lockd_client import calls, methods
from lockd_client.attempts import ATTEMPT_S, RECONNECT, REFUSED_PAUSE_S, Failure, Repeat, Route
from lockd_client.calls import Call, Gone
from lockd_client.credentials import Credentials
from lockd_client.errors import ClientClosed, LockdError, OutcomeUnknown, RequestTooOld
from lockd_client.links import CONNECT_S, PING_S, Action, Ask, HangUp, Link, Links, Write
from lockd_client.operations import Answer, Operation
from lockd_client.proto import lockd_pb2
from lockd_client.renewals import Renewals
from lockd_client.requests import CLIENT_BYTES, Requests
from lockd_client.values import RequestId

CLOCK_FRESH_S = 60.0  # a clock_ms seen longer ago is read again: not_after_ms would leave too little
BACKGROUND_S = 300.0  # how long a call goes on for which nobody waits
OPERATIONS_MAX = 128  # in one message to a stream
MESSAGE_BYTES = 256 * 1024  # above which no operation is added to it

Done = Callable[[Operation], None]


class Engine:
    """endpoints: at least one. credentials: the one thing here that reads files. timeout: seconds, of a call that names
    none. chance: 0 to 1. random_bytes: for this client's part of its request ids.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        credentials: Credentials,
        *,
        timeout: float,
        chance: Callable[[], float],
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.timeout = timeout
        self.links = Links(Route(endpoints, chance), credentials)
        self.leases = Renewals(self.submit)
        self._alarm = math.inf
        self.is_closed = False
        self.is_paused = False
        self.is_ending = False  # it is about to be closed
        self._random_bytes = random_bytes
        self._requests = Requests(random_bytes(CLIENT_BYTES))
        self._clock: tuple[int, float] | None = None  # the last clock_ms, and when it was seen
        self._operations: dict[Operation, None] = {}  # without a result, in the order of their making
        self._queue: deque[Operation] = deque()  # until there is a link, or a clock, or their pause is over
        self._asked: dict[int, Operation] = {}  # by key, those in flight as unary calls

    @property
    def alarm(self) -> float:
        """When due() has to be called; infinite where something has to happen first."""
        return min(self._alarm, self.leases.next_due())

    # ---- calls

    def submit(self, call: Call[Any], done: Done, time: float) -> Operation:
        """done: called once, when operation.result is there, under whatever guards this."""
        timeout = self.timeout if call.timeout is None else call.timeout
        operation = Operation(call, done, time, timeout)
        if not self._operations and self.links.current is None:
            self.links.route.rested()
        self._operations[operation] = None
        self._wake_at(operation.deadline)
        if self.is_closed:
            self._finish(operation, ClientClosed(), time)
        elif call.endpoint:
            self._ask_only(operation, time)
        elif self.is_paused or self._queue or not self._send(operation, time):
            self._queue.append(operation)
            self._pump(time)
        return operation

    def background(self, call: Call[Any], time: float) -> Operation:
        """A call for which nobody waits. Where it names no timeout, it is tried for BACKGROUND_S."""
        if call.timeout is None:
            call.timeout = BACKGROUND_S
        operation = self.submit(call, _nobody, time)
        operation.is_background = True
        return operation

    def abandon(self, operation: Operation, time: float) -> None:
        """Whoever made the call does not wait for it any more, or does not take its answer."""
        gone, result = operation.call.gone, operation.result
        if result is not None:
            if gone is Gone.CANCEL and isinstance(result, Answer) and result.message.acquired:
                self.background(calls.unlock(result.message.token), time)
            return
        operation.done = _nobody
        operation.is_background = True
        if gone is Gone.FINISH:
            operation.last = max(operation.last, time + BACKGROUND_S)
            operation.deadline = max(operation.deadline, operation.last)
            return
        operation.doubt.in_doubt |= operation.key != 0 and operation.call.repeat is not Repeat.READ
        self._finish(operation, operation.doubt.exhausted(), time)

    @property
    def unfinished(self) -> Collection[Operation]:
        """What has no result yet, in the order of its making."""
        return self._operations

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is in flight but what waits in a node's queue."""
        return all(operation.is_parked or not operation.key for operation in self._operations)

    @property
    def has_background(self) -> bool:
        """Whether there is a call for which nobody waits."""
        return any(operation.is_background for operation in self._operations)

    # ---- what happened

    def take_actions(self) -> list[Action]:
        actions = self.links.actions
        if actions:
            self.links.actions = []
        return actions

    def take_outbox(self, link: Link, time: float) -> lockd_pb2.StreamRequest | None:
        """What is to be written to a stream now; None: nothing. time: not later than it leaves."""
        request = lockd_pb2.StreamRequest()
        if link.wants_ping:
            link.wants_ping = False
            link.ping_key = next(self.links.keys)
            request.operations.add(id=link.ping_key, status=lockd_pb2.StatusRequest())
        size = 0
        while link.outbox and not self.is_paused and size < MESSAGE_BYTES and len(request.operations) < OPERATIONS_MAX:
            operation = link.outbox.popleft()
            key = next(self.links.keys)
            link.flying[key] = operation
            operation.leave(key, time, link.edition)
            message = operation.message(self._requests)
            wire = request.operations.add(id=key, timeout_ms=operation.node_timeout_ms(time))
            getattr(wire, operation.call.method.field).CopyFrom(message)
            size += message.ByteSize()
        if not request.operations:
            return None
        self._wake_at(time + min(ATTEMPT_S, CONNECT_S))
        return request

    def received(self, link: Link, response: lockd_pb2.StreamResponse, time: float) -> None:
        if link not in self.links.all:
            return
        link.heard = time
        for result in response.results:
            self._result(link, result, time)
        if response.leader_address:
            self.links.prefer(link, response.leader_address, time)
        self.links.tidy(link)

    def returned(self, key: int, result: Any, time: float) -> None:
        """How a unary call ended: with its message, or a Failure."""
        operation = self._asked.pop(key, None)
        if operation is None:
            link = self.links.asked(key)
            if link is not None:
                self._status_came(link, result, time)
        elif isinstance(result, Failure):
            self._failed(operation, result, time)
        else:
            self._answered(operation, result, time)

    def broken(self, link: Link, failure: Failure, time: float) -> None:
        """A stream ended."""
        if link in self.links.all:
            self._give_up(link, failure, time)

    def due(self, time: float) -> None:
        """Does what is due: links and calls that ran out of time, renewals, losses."""
        self._requests.give_up(time)
        self.links.refresh(time, may_open=not self.is_paused)
        for link in [link for link in self.links.all if link.due() <= time]:
            if link.ping_key or link.wants_ping:
                self._give_up(link, link.silence(time), time)
            else:
                self.links.ask_status(link, time)
        for operation in [operation for operation in self._operations if operation.due() <= time]:
            self._overdue(operation, time)
        self._pump(time)
        self.leases.tend(time)
        self._alarm = self._next_due(time)

    def _next_due(self, time: float) -> float:
        found = min(*self.links.due(), math.inf, math.inf)
        for operation in self._operations:
            found = min(found, operation.due())
        if self._queue and not self.is_paused:
            pauses = [operation.not_before for operation in self._queue]
            if self.links.current is None:
                pauses.append(self.links.route.not_before)
            found = min(found, min((pause for pause in pauses if pause > time), default=math.inf))
        return found

    # ---- the whole

    def pause(self) -> None:
        """Calls wait until it is resumed."""
        self.is_paused = True

    def resume(self, time: float) -> None:
        self.is_paused = False
        for link in self.links.all:
            if link.outbox:
                self.links.actions.append(Write(link))
        self._pump(time)

    def disconnect(self, time: float) -> None:
        """All links break; calls go out again on others."""
        for link in list(self.links.all):
            broke = Failure(endpoint=link.endpoint, code="CANCELLED", details="the connection was closed here")
            self._take_back(self.links.drop(link), broke, time)
        self._pump(time)

    def close(self, time: float) -> None:
        """All calls end with ClientClosed; no lease is looked after any more."""
        self.is_closed = True
        self.leases.take_all()
        for operation in list(self._operations):
            self._finish(operation, ClientClosed(), time)
        self._queue.clear()
        self.disconnect(time)

    def start_over(self) -> None:
        """In a child after a fork: the parent's leases are lost here, its calls and its links are not the child's."""
        for lease in self.leases.take_all():
            lease.is_foreign = True
            lease.lose()
        self.links = Links(Route(self.links.route.endpoints, self.links.route.chance), self.links.credentials)
        self._requests = Requests(self._random_bytes(CLIENT_BYTES))
        self._operations.clear()
        self._queue.clear()
        self._asked.clear()
        self.is_paused = False
        self._alarm = math.inf

    # ---- sending

    def _pump(self, time: float) -> None:
        """Sends what can be sent, and opens a link where one is needed."""
        while self._queue and self._queue[0].result is not None:
            self._queue.popleft()  # nobody needs a link for it any more
        if self.is_paused or self.is_closed or not self._queue:
            return
        self.links.want(time)
        if self.links.ready is None:
            self._wake_at(self.links.route.not_before if self.links.current is None else time + CONNECT_S)
            return
        for _ in range(len(self._queue)):
            operation = self._queue.popleft()
            if operation.result is None and not self._send(operation, time):
                self._queue.append(operation)

    def _send(self, operation: Operation, time: float) -> bool:
        """False where it has to wait."""
        link = self.links.ready
        if link is None or operation.not_before > time:
            return False
        if operation.call.identified and operation.request is None and not self._identify(operation, link, time):
            return False
        operation.link = link
        if link.is_stream and operation.call.method.field:
            if operation.call.method in methods.KEEPING:
                link.outbox.appendleft(operation)
            else:
                link.outbox.append(operation)
            self.links.actions.append(Write(link))
        else:
            self._ask(operation, link, time)
        return True

    def _identify(self, operation: Operation, link: Link, time: float) -> bool:
        """Gives it a request id; False where the cluster's clock has to be read first."""
        if self._clock is None or time - self._clock[1] > CLOCK_FRESH_S:
            self.links.ask_status(link, time)
            return False
        operation.request = self._requests.new(self._clock[0])
        operation.identified = time
        if operation.call.gone is not Gone.CANCEL:
            operation.doubt.request = operation.request
        return True

    def _ask(self, operation: Operation, link: Link, time: float) -> None:
        """By a unary call."""
        key = next(self.links.keys)
        self._asked[key] = operation
        operation.leave(key, time, self.links.credentials.edition)
        if operation.call.wait:
            operation.park()  # no word will tell that a node has queued it
        timeout = operation.unary_timeout(time, len(self.links.route.endpoints))
        message = operation.message(self._requests)
        self.links.actions.append(Ask(key, link.endpoint, operation.call.method, message, timeout))

    def _ask_only(self, operation: Operation, time: float) -> None:
        call = operation.call
        key = next(self.links.keys)
        self._asked[key] = operation
        operation.leave(key, time, self.links.credentials.look())
        self.links.actions.append(Ask(key, call.endpoint, call.method, call.message, operation.timeout))

    # ---- answers

    def _result(self, link: Link, result: lockd_pb2.Result, time: float) -> None:
        what = result.WhichOneof("what")
        failure = link.failure(result.error) if what == "error" else None
        if result.id == link.ping_key:
            self._status_came(link, failure or result.status, time)
            return
        operation = link.flying.get(result.id)
        if operation is None or what is None:
            return  # whoever made the call has gone
        if what == "lock" and result.lock.outcome == lockd_pb2.QUEUED:
            self._saw_clock(result.lock.clock_ms, time)
            operation.park()
            self._wake_at(time + PING_S)
            return
        del link.flying[result.id]
        if failure is not None:
            self._failed(operation, failure, time)
        else:
            self._answered(operation, getattr(result, what), time)

    def _status_came(self, link: Link, result: lockd_pb2.StatusResponse | Failure, time: float) -> None:
        link.heard = time
        if isinstance(result, Failure):
            if result.code != "UNIMPLEMENTED":
                self._give_up(link, result, time)
                return
            is_fit = self.links.status_came(link, None, time)
        else:
            self._saw_clock(result.clock_ms, time)
            is_fit = self.links.status_came(link, result, time)
        if is_fit:
            self._pump(time)
        else:
            details = "the node has been without a leader for a while"
            no_leader = Failure(endpoint=link.endpoint, code="UNAVAILABLE", reason="NO_LEADER", details=details)
            self._give_up(link, no_leader, time)

    def _answered(self, operation: Operation, message: Any, time: float) -> None:
        link = operation.link
        if operation.call.method.field:
            self._saw_clock(message.clock_ms, time)
        if link is not None and link is self.links.current:
            self.links.route.succeeded(link.endpoint)
        endpoint = operation.call.endpoint if link is None else link.endpoint
        self._finish(operation, Answer(message, endpoint, operation.sent), time)

    def _failed(self, operation: Operation, failure: Failure, time: float) -> None:
        """One attempt failed: by the node's word or, of a unary call, by the connection's end."""
        link = operation.link
        operation.come_back(time)
        failure = self.links.credentials.judged(failure, operation.edition)
        error = operation.doubt.failed(failure)
        if isinstance(error, RequestTooOld) and operation.takes_another_id(self._requests, time):
            self._clock = None
            self._queue.append(operation)
        elif failure.reason == RECONNECT and operation.may_return():
            self._return(operation, link, failure, time)
        elif error is not None and operation.is_background and failure.is_of_the_caller:
            self._again(operation, time, time + REFUSED_PAUSE_S)
        elif error is not None or operation.call.endpoint:
            self._finish(operation, error or operation.doubt.exhausted(), time)
        else:
            if link is not None and link is self.links.current:
                self._take_back(self.links.turn_away(link, time), failure, time)
            self._again(operation, time, self.links.route.not_before)
        self._pump(time)

    def _return(self, operation: Operation, link: Link | None, failure: Failure, time: float) -> None:
        """To the node that refused a call for the connection by which it came, by another."""
        if operation.call.endpoint:
            self._ask_only(operation, time)
            return
        if link is not None and link.is_stream and operation.call.method.field:
            self.links.come_back(link, time)
            self._take_back(self.links.drop(link), failure, time)
        self._again(operation, time, self.links.route.not_before)

    def _give_up(self, link: Link, failure: Failure, time: float) -> None:
        """A link is of no use any more."""
        was_current = link is self.links.current
        failure = self.links.credentials.judged(failure, link.edition)
        self._take_back(self.links.broke(link, failure, time), failure, time)
        if was_current and failure.code != "UNIMPLEMENTED":
            self._tell_queue(failure, time)
        self._pump(time)

    def _take_back(self, operations: Sequence[Operation], failure: Failure, time: float) -> None:
        """From a link that broke. What was not written to it was certainly not carried out."""
        for operation in operations:
            was_sent = operation.key != 0
            operation.come_back(time)
            error = operation.doubt.failed(failure.on_the_way()) if was_sent else None
            if error is not None:
                self._finish(operation, error, time)
            else:
                self._again(operation, time, 0.0)

    def _tell_queue(self, failure: Failure, time: float) -> None:
        """What waits for a link learns why there is none, or that a node refuses this client, or that none of them
        can be reached at all.
        """
        unsent = replace(failure, sent=failure.is_refusal)
        is_shut = self.links.route.is_shut(time)
        for operation in list(self._queue):
            if operation.result is None and not operation.key:
                error = operation.doubt.failed(unsent)
                if is_shut and not operation.is_background and not operation.doubt.in_doubt:
                    error = error or operation.doubt.exhausted()
                if error is not None and not (operation.is_background and failure.is_of_the_caller):
                    self._finish(operation, error, time)

    def _again(self, operation: Operation, time: float, not_before: float) -> None:
        operation.not_before = not_before
        self._wake_at(min(operation.deadline, max(not_before, self.links.route.not_before)))
        if operation.has_time(max(time, not_before)):
            self._queue.append(operation)
        else:
            self._finish(operation, operation.doubt.exhausted(), time)

    def _finish(self, operation: Operation, result: Answer | LockdError, time: float) -> None:
        self._operations.pop(operation, None)
        link, key = operation.link, operation.key
        if self._asked.pop(key, None) is not None:
            self.links.actions.append(HangUp(key))
        elif link is not None:
            if key:
                link.flying.pop(key, None)
            else:
                link.outbox.remove(operation)
            self.links.tidy(link)
        operation.result = result
        operation.ended = time
        self._settle(operation, result, time)
        operation.done(operation)

    def _settle(self, operation: Operation, result: Answer | LockdError, time: float) -> None:
        """What is known from now on of the operation's request id."""
        request = operation.request
        if request is None or self.is_closed:
            return
        if isinstance(result, OutcomeUnknown):
            if operation.call.gone is Gone.CANCEL:
                self._undo(request, time)
            elif request.client == self._requests.client:
                self._requests.doubtful(request.sequence, time)
        elif request.client == self._requests.client:
            self._requests.answered(request.sequence)

    def _undo(self, request: RequestId, time: float) -> None:
        """Until a node has answered."""

        def done(cancel: Operation) -> None:
            if request.client == self._requests.client and not isinstance(cancel.result, ClientClosed):
                self._requests.answered(request.sequence)

        self.submit(calls.cancel(request, math.inf), done, time).is_background = True

    def _wake_at(self, moment: float) -> None:
        self._alarm = min(self._alarm, moment)

    def _saw_clock(self, clock_ms: int, time: float) -> None:
        self._clock = (clock_ms, time)

    # ---- time

    def _overdue(self, operation: Operation, time: float) -> None:
        if operation.result is not None:
            return
        link = operation.link or self.links.current
        endpoint = operation.call.endpoint or (link.endpoint if link else "")
        if time < operation.deadline:  # the attempt's time has run out, not the call's
            if operation.link is not None:
                self._give_up(operation.link, operation.silence(endpoint, time), time)
            return
        error = operation.doubt.failed(operation.silence(endpoint, time)) if endpoint else None
        self._finish(operation, error or operation.doubt.exhausted(), time)


def _nobody(_operation: Operation) -> None:
    """Waits for it."""
