"""LockService.Stream: many operations in flight on one connection, answered as they end.

No operation has a task of its own. A message is decoded once, each of its operations is submitted, and its answer is
encoded when it comes; whatever has come when the connection takes the next message goes into it together. A client
that reads slowly is not read from until it has caught up.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

from lockd.access.admission import Caller, Pending, check_limit
from lockd.access.audit import Refusals
from lockd.access.authority import Authority
from lockd.access.refusal import Reason, Refused
from lockd.config import Limits
from lockd.machine.outcomes import Outcome, Queued
from lockd_client.proto import lockd_pb2 as pb

from .cluster import ClusterService
from .methods import BY_FIELD, METHODS, Method
from .room import Room
from .rpc import Receive, Send
from .service import Service
from .status import CODES, number

log = structlog.get_logger(__name__)

MESSAGE_BYTES_MAX = 1024 * 1024
"""Results share a message up to this size: gRPC's clients take 4 MiB unless they are told otherwise."""

UNSENT_BYTES_MAX = 1024 * 1024
"""Of results that wait for the connection: beyond it nothing more is read from it."""


Pace = Callable[[], Awaitable[None]]
"""Waited for after each that was told to come back, so that not all come at once."""
LIST = METHODS["List"]

ROOM_S = 0.02
"""How often it is looked whether a caller, who has as many calls in work as it may, has room for another."""

REFUSED_A_PAUSE, REFUSED_PAUSE_S = 16, 0.05
"""So many operations that met a limit, and the stream is read on after this time: asking faster serves nobody."""


class Streams:
    """Those that are open on this node."""

    def __init__(
        self,
        service: Service,
        cluster: ClusterService,
        limits: Limits,
        authority: Authority,
        refusals: Refusals,
        room: Room,
    ) -> None:
        self._service, self._cluster, self._limits, self._room = service, cluster, limits, room
        self._authority, self._refusals = authority, refusals
        self._open: set[_Stream] = set()
        self._is_ending = False

    async def Stream(self, receive: Receive, caller: Caller, send: Send) -> None:  # noqa: N802 - gRPC's name
        """Until the client has sent its last operation and has all answers. Raises Refused."""
        if self._is_ending:
            raise Refused(Reason.STOPPING)
        self._authority.check_known(caller.credential)
        check_limit("streams_max", len(self._open), self._limits.streams_max)
        stream = _Stream(self._service, self._cluster, self._limits, self._refusals, self._room, caller, receive, send)
        self._open.add(stream)
        try:
            await stream.run()
        finally:
            self._open.discard(stream)

    def end(self) -> None:
        """The node stops: nothing more is read, and each stream ends when what is in flight is answered."""
        self._is_ending = True
        for stream in self._open:
            stream.end(Refused(Reason.STOPPING))

    def end_unknown(self) -> None:
        """Those whose token was revoked since: at once, as if the connection broke."""
        for stream in self._open:
            if not self._authority.knows(stream.caller.credential):
                stream.break_off(Refused(Reason.UNAUTHENTICATED, "the token was revoked"))

    async def move(self, pace: Pace) -> None:
        """To other connections: each ends when what is in flight is answered, or waits for locks."""
        for stream in list(self._open):
            stream.end(Refused(Reason.RECONNECT))
            await pace()


class _Stream:
    def __init__(
        self,
        service: Service,
        cluster: ClusterService,
        limits: Limits,
        refusals: Refusals,
        room: Room,
        caller: Caller,
        receive: Receive,
        send: Send,
    ) -> None:
        self._service, self._cluster, self.caller = service, cluster, caller
        self._refusals, self._shared = refusals, room
        self._receive, self._send = receive, send
        self._operations_max = limits.stream_operations_max
        self._in_flight: dict[int, Pending] = {}
        """By the operation's id."""
        self._results: list[tuple[bytes, Pending | None]] = []
        """Each a StreamResponse of its own: joined, they are one with all their results. Beside it the operation, where
        it is to be taken back if the result is never sent."""
        self._unsent = 0
        """Bytes."""
        self._alarm: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        self._is_read_to_end = False
        self._refused = 0
        """Operations that met a limit since the last pause."""
        self._leader = ("", b"")

    async def run(self) -> None:
        """Raises Refused, and what the connection raises."""
        reader = asyncio.get_running_loop().create_task(self._read_all())
        try:
            await self._write_all()
        finally:
            reader.cancel()
            self._leave_all()

    def end(self, why: Refused) -> None:
        """Nothing more is read."""
        self._fail(why)

    def break_off(self, why: Refused) -> None:
        """Nothing more is read or answered. A client that does not read what was sent before may delay the end."""
        self._fail(why)
        self._leave_all()

    def _leave_all(self) -> None:
        """What is in flight, and what was answered and is not sent."""
        left = [*self._in_flight.values(), *(pending for _, pending in self._results if pending)]
        self._in_flight.clear()
        self._results.clear()
        self._shared.unsent.drop(self.caller.key, self._unsent)
        self._unsent = 0
        for pending in left:
            pending.leave()

    def _fail(self, failure: BaseException) -> None:
        self._failure = self._failure or failure
        self._is_read_to_end = True
        _ring(self._alarm)

    # -- what the client sends

    async def _read_all(self) -> None:
        try:
            while not self._is_read_to_end:
                message = await self._receive()
                if message is None:
                    break
                for operation in message.operations:
                    await self._find_room(operation)
                    await self._shared.turns.take(self.caller.key)
                    self._begin(operation)
        except Exception as error:  # noqa: BLE001  # run() raises it
            self._fail(error)
        self._is_read_to_end = True
        _ring(self._alarm)

    async def _find_room(self, operation: pb.Operation) -> None:
        """Before it begins: for its answer, and among the caller's calls in work, where what frees has more room."""
        while self._unsent > UNSENT_BYTES_MAX:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        if self._refused >= REFUSED_A_PAUSE:
            self._refused = 0
            await asyncio.sleep(REFUSED_PAUSE_S)
        method = BY_FIELD.get(operation.WhichOneof("what") or "")
        frees = method is not None and method.frees
        while not self._is_read_to_end and self._caller_is_full(frees=frees):  # noqa: ASYNC110  # any call's end may
            await asyncio.sleep(ROOM_S)  # make room, and an event for each would cost more than looking

    def _caller_is_full(self, *, frees: bool) -> bool:
        service, caller = self._service, self.caller
        return not (service.has_room(caller, frees=frees) and self._shared.unsent.has_room(caller.key))

    def _begin(self, operation: pb.Operation) -> None:
        id = operation.id
        field = operation.WhichOneof("what")
        try:
            if id in self._in_flight:
                raise Refused(Reason.INVALID_ARGUMENT, f"operations.id: {id} is in flight already")
            method = BY_FIELD.get(field or "")
            if method is not None:
                self._submit(id, method, getattr(operation, method.field), operation.timeout_ms)
            elif field == "status":
                self._put_at_once({"id": id, "status": self._cluster.status(self.caller)})
            else:
                raise Refused(Reason.INVALID_ARGUMENT, f"operations: {id} asks for nothing that this node knows")
        except Refused as refused:
            self._refused += refused.reason is Reason.LIMIT_REACHED
            self._refuse(id, refused)
        except Exception as error:  # the edge: the others in flight go on
            log.exception("an operation failed", operation=field)
            self._put(_fault(id, error))

    def _submit(self, id: int, method: Method, message: Any, timeout_ms: int) -> None:
        """Raises Refused."""
        stale = self._service.stale(method, message, self.caller)
        if stale is not None:
            self._put_at_once({"id": id, method.field: stale})
            if method is LIST:
                self._shared.turns.use_up()  # it may have looked at thousands of names
            return
        check_limit("stream_operations_max", len(self._in_flight), self._operations_max * (2 if method.frees else 1))
        done = partial(self._hear, id, method)
        self._in_flight[id] = self._service.submit(method, message, self.caller, timeout_ms, done)

    # -- what it is answered

    def _hear(self, id: int, method: Method, outcome: Outcome | Refused) -> None:
        pending = None if isinstance(outcome, Queued) else self._in_flight.pop(id)
        try:
            if isinstance(outcome, Refused):
                raise outcome
            undone_unsent = pending if pending is not None and pending.is_grant_without_session else None
            self._put({"id": id, method.field: self._service.encode(method, outcome)}, undone_unsent)
        except Refused as refused:
            self._refuse(id, refused)
        except Exception as error:  # the same; and it must not reach the replica's loop
            log.exception("an operation failed", operation=method.field)
            self._put(_fault(id, error))

    def _refuse(self, id: int, refused: Refused) -> None:
        self._refusals.note(refused, self.caller.peer, self.caller.identity)
        self._put(_error(id, refused))

    def _put_at_once(self, result: dict[str, Any]) -> None:
        """An answer that took no way through the log."""
        before = self._unsent
        self._put(result)
        self._shared.turns.charge(self._unsent - before)

    def _put(self, result: dict[str, Any], undone_unsent: Pending | None = None) -> None:
        data = pb.StreamResponse(results=[result]).SerializeToString()
        self._results.append((data, undone_unsent))
        self._unsent += len(data)
        self._shared.unsent.add(self.caller.key, len(data))
        _ring(self._alarm)

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._results:
                message = self._take()
                _ring(self._room)
                await self._send(message)
            elif self._is_read_to_end and (not self._in_flight or self._is_broken):
                if self._failure:
                    raise self._failure
                return
            else:
                self._alarm = loop.create_future()
                await self._alarm

    @property
    def _is_broken(self) -> bool:
        """Whether the stream ends without waiting for what is in flight."""
        if isinstance(self._failure, Refused) and self._failure.reason is Reason.STOPPING:
            return False
        if isinstance(self._failure, Refused) and self._failure.reason is Reason.RECONNECT:
            return all(pending.is_parked for pending in self._in_flight.values())
        return self._failure is not None

    def _take(self) -> bytes:
        """The next message. What is in it counts as delivered from now on."""
        taken = size = 0
        for data, _ in self._results:
            if taken and size + len(data) > MESSAGE_BYTES_MAX:
                break
            taken, size = taken + 1, size + len(data)
        message = b"".join([data for data, _ in self._results[:taken]]) + self._leader_part()
        del self._results[:taken]
        self._unsent -= size
        self._shared.unsent.drop(self.caller.key, size)
        return message

    def _leader_part(self) -> bytes:
        address = self._cluster.leader_address
        if address != self._leader[0]:
            self._leader = (address, pb.StreamResponse(leader_address=address).SerializeToString())
        return self._leader[1]


def _ring(alarm: "asyncio.Future[None] | None") -> None:
    if alarm is not None and not alarm.done():
        alarm.set_result(None)


def _error(id: int, refused: Refused) -> dict[str, Any]:
    code = number(CODES[refused.reason])
    return {"id": id, "error": {"code": code, "reason": refused.reason.name, "message": str(refused)}}


def _fault(id: int, error: Exception) -> dict[str, Any]:
    return _error(id, Refused(Reason.INTERNAL, f"{Reason.INTERNAL.value}: {type(error).__name__}"))
