"""A small node behind a real gRPC server: enough of lockd to test what a client does when calls fail and locks end."""

import queue
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Self

import grpc

from lockd_client.proto import lockapi_pb2, lockapi_pb2_grpc, lockd_pb2, lockd_pb2_grpc
from tests.client.fake_state import Reply, State, Waiter, key_of
from tests.client.guard import Guard, token_of

Step = Callable[[Any], None]
"""What happens to one call, given its context: raises (through context.abort) or returns."""


class Fail:
    """The call ends with this code, before it acts. On a stream, a failure without a reason ends the stream, as a
    connection that breaks does.
    """

    def __init__(self, code: grpc.StatusCode, reason: str = "", details: str = "as the test asked") -> None:
        self.code, self.reason, self.details = code, reason, details

    def __call__(self, context: Any) -> None:
        if self.reason:
            context.set_trailing_metadata((("lockd-reason", self.reason),))
        context.abort(self.code, self.details)


class _Aborted(Exception):
    def __init__(self, code: grpc.StatusCode, reason: str, details: str) -> None:
        self.code, self.reason, self.details = code, reason, details


class _Operation:
    """The context of one operation of a stream."""

    def __init__(self, timeout_s: float) -> None:
        self._reason = ""
        self._timeout_s = timeout_s

    def time_remaining(self) -> float:
        return self._timeout_s

    def set_trailing_metadata(self, pairs: tuple[tuple[str, str], ...]) -> None:
        self._reason = dict(pairs)["lockd-reason"]

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise _Aborted(code, self._reason, details)


class FakeNode(lockd_pb2_grpc.LockServiceServicer, lockd_pb2_grpc.ClusterServiceServicer):
    """before: steps that calls go through ahead of acting, one each. after: the same once they have acted.

    Status has steps of its own. `seen`: every call, in the order of their arrival. Leases do not end here.
    """

    def __init__(
        self,
        node_id: int = 1,
        *,
        port: int = 0,
        leader_id: int = 1,
        clock_ms: int = 1_000_000,
        streams: bool = True,
        state: State | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.node_id, self.leader_id, self.clock_ms, self.streams = node_id, leader_id, clock_ms, streams
        self.leader_address = ""
        self.state = state or State()
        self.before: deque[Step] = deque()
        self.after: deque[Step] = deque()
        self.before_status: deque[Step] = deque()
        self.seen: list[Any] = []
        self.messages: list[lockd_pb2.StreamRequest] = []
        self.attempt_timeouts: list[float] = []
        self.peers: list[lockd_pb2.Peer] = []
        self.waited_ms = 0
        self.lease_remaining_ms: int | None = None
        self.open_streams: dict[queue.SimpleQueue[Any], str] = {}  # with the token that each carried
        self.peers_of_streams: list[str] = []  # the other end of each one's connection
        self._parked: list[queue.SimpleQueue[Any]] = []
        self._release = threading.Event()
        self.guard = guard or Guard()
        self._server = self.guard.server()
        lockd_pb2_grpc.add_LockServiceServicer_to_server(self, self._server)
        lockd_pb2_grpc.add_ClusterServiceServicer_to_server(self, self._server)
        lockapi_pb2_grpc.add_LockingServicer_to_server(_Locking(self), self._server)
        self.port = self.guard.bind(self._server, f"127.0.0.1:{port}")
        self.endpoint = f"127.0.0.1:{self.port}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._release.set()
        self.break_streams()
        for answers in self._parked:  # a thread that waits would keep the process from ending
            answers.put(None)
        self._server.stop(0).wait()

    def break_streams(
        self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, reason: str = "", token: str | None = None
    ) -> None:
        """As a connection that breaks, or by the node's word; all of them, or those that carried this token."""
        for stream in [stream for stream, carried in self.open_streams.items() if token in (None, carried)]:
            del self.open_streams[stream]
            stream.put(_Aborted(code, reason, "the connection broke"))

    def hang(self, context: Any) -> None:
        """A step: says nothing until the node stops."""
        self._release.wait()

    def resume(self) -> None:
        """What hangs goes on."""
        self._release.set()
        self._release = threading.Event()

    def calls(self, kind: type) -> list[Any]:
        return [message for message in self.seen if isinstance(message, kind)]

    @property
    def holds(self) -> dict[str, lockd_pb2.Holder]:
        return self.state.holds

    # ---- lockd.v1

    def Lock(self, request: lockd_pb2.LockRequest, context: Any) -> lockd_pb2.LockResponse:
        answers: queue.SimpleQueue[lockd_pb2.LockResponse | None] = queue.SimpleQueue()
        self._arrive(request, context)
        self.lock(request, answers.put)
        self._parked.append(answers)
        answer = answers.get()
        while answer is not None and answer.outcome == lockd_pb2.QUEUED:
            answer = answers.get()
        if answer is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the node stopped")
            raise AssertionError("abort raises")
        self._leave(context)
        return answer

    def _single(self, request: Any, context: Any) -> Any:
        self._arrive(request, context)
        answer = self.answer(request, context)
        self._leave(context)
        return answer

    Unlock = Cancel = IsLocked = Get = List = Renew = CheckToken = _single
    OpenSession = KeepAlive = CloseSession = _single

    def Status(self, request: lockd_pb2.StatusRequest, context: Any) -> lockd_pb2.StatusResponse:
        self.seen.append(request)
        if self.before_status:
            self.before_status.popleft()(context)
        return lockd_pb2.StatusResponse(
            node_id=self.node_id,
            version="0.1.0",
            role="leader" if self.leader_id == self.node_id else "follower",
            leader_id=self.leader_id,
            leader_address=self.leader_address,
            term=3,
            clock_ms=self.clock_ms,
            applied_index=17,
            held_locks=len(self.holds),
            peers=self.peers,
        )

    def Watch(self, request: lockd_pb2.WatchRequest, context: Any) -> Iterator[lockd_pb2.WatchResponse]:
        self._arrive(request, context)
        sent = request.from_revision or len(self.state.events) + 1
        yield lockd_pb2.WatchResponse(revision=sent - 1)
        while context.is_active() and not self._release.is_set():
            news = self.state.events[sent - 1 :]
            if news:
                sent += len(news)
                yield lockd_pb2.WatchResponse(events=news, revision=sent - 1)
            if self.after:
                self.after.popleft()(context)
            self._release.wait(0.005)

    def Stream(self, requests: Any, context: Any) -> Iterator[lockd_pb2.StreamResponse]:
        if not self.streams:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no streams here")
        results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.open_streams[results] = token_of(context.invocation_metadata())
        self.peers_of_streams.append(context.peer())
        threading.Thread(target=self._serve, args=(requests, results), daemon=True).start()
        while (result := results.get()) is not None:
            if isinstance(result, _Aborted):
                Fail(result.code, result.reason, result.details)(context)
            yield lockd_pb2.StreamResponse(results=[result], leader_address=self.leader_address)

    def _serve(self, requests: Any, results: "queue.SimpleQueue[Any]") -> None:
        try:
            for request in requests:
                self.messages.append(request)
                for operation in request.operations:
                    self._operate(operation, results)
        except grpc.RpcError:
            pass  # the client left
        results.put(None)

    def _operate(self, operation: lockd_pb2.Operation, results: "queue.SimpleQueue[Any]") -> None:
        what = operation.WhichOneof("what")
        assert what is not None
        message = getattr(operation, what)
        context = _Operation(operation.timeout_ms / 1000)

        def reply(answer: Any) -> None:
            results.put(lockd_pb2.Result(**{"id": operation.id, what: answer}))

        try:
            if what == "status":
                reply(self.Status(message, context))
                return
            self._arrive(message, context)
            if what == "lock":
                held: queue.SimpleQueue[Any] = queue.SimpleQueue()
                self.lock(message, reply if not self.after else held.put)
                self._leave(context)
                while not held.empty():
                    reply(held.get())
            else:
                answer = self.answer(message, context)
                self._leave(context)
                reply(answer)
        except _Aborted as aborted:
            if aborted.code is grpc.StatusCode.UNAVAILABLE and not aborted.reason:
                results.put(aborted)
                return
            error = lockd_pb2.Error(code=aborted.code.value[0], reason=aborted.reason, message=aborted.details)
            results.put(lockd_pb2.Result(id=operation.id, error=error))

    # ---- what a node does

    def answer(self, request: Any, context: Any) -> Any:
        with self.state.lock:
            answer = getattr(self, f"_{type(request).__name__.removesuffix('Request').lower()}")(request)
        if isinstance(answer, Fail):
            answer(context)
        return answer

    def lock(self, request: lockd_pb2.LockRequest, reply: Reply) -> None:
        with self.state.lock:
            key = key_of(request.request)
            mine = self.holds.get(request.name) if request.reentrant else None
            if key in self.state.answers:
                reply(self.state.answers[key])
            elif mine is not None and (mine.session_id, mine.agent) == (request.session_id, request.agent):
                self._grant_again(key, mine, reply)
            elif key in self.state.waiters or self._conflict(request):
                self._wait(key, request, reply)
            else:
                self._grant(key, request, reply)

    def lose(self, token: int) -> None:
        """The hold ends, as by its lease."""
        with self.state.lock:
            self._free(token)
            self._serve_queue()

    def lapse(self, session_id: int) -> None:
        """The session ends."""
        with self.state.lock:
            self.state.sessions.pop(session_id, None)
            for token in {hold.token for hold in self.holds.values() if hold.session_id == session_id}:
                self._free(token)
            self._serve_queue()

    # ---- inside

    def _arrive(self, message: Any, context: Any) -> None:
        self.seen.append(message)
        self.attempt_timeouts.append(context.time_remaining())
        if self.before:
            self.before.popleft()(context)

    def _leave(self, context: Any) -> None:
        if self.after:
            self.after.popleft()(context)

    def _names(self, request: lockd_pb2.LockRequest) -> list[str]:
        return [want.name for want in request.wants] or [request.name]

    def _conflict(self, request: lockd_pb2.LockRequest) -> bool:
        return any(name in self.holds for name in self._names(request))

    def _holders(self, *names: str) -> list[lockd_pb2.Holder]:
        return [self.holds[name] for name in names if name in self.holds]

    def _wait(self, key: bytes, request: lockd_pb2.LockRequest, reply: Reply) -> None:
        if request.wait_ms:
            self.state.waiters[key] = Waiter(request, reply)
            reply(lockd_pb2.LockResponse(outcome=lockd_pb2.QUEUED, clock_ms=self.clock_ms))
            return
        holders = self._holders(*self._names(request))
        answer = lockd_pb2.LockResponse(outcome=lockd_pb2.HELD_BY_OTHER, holders=holders, clock_ms=self.clock_ms)
        self.state.answers[key] = answer
        reply(answer)

    def time_out(self) -> None:
        """All waits end."""
        with self.state.lock:
            for key, waiter in list(self.state.waiters.items()):
                del self.state.waiters[key]
                waiter.reply(lockd_pb2.LockResponse(outcome=lockd_pb2.TIMED_OUT, clock_ms=self.clock_ms))

    def _grant(self, key: bytes, request: lockd_pb2.LockRequest, reply: Reply) -> None:
        self.state.last_token += 1
        token = self.state.last_token
        modes = {want.name: want.mode for want in request.wants} or {request.name: request.mode}
        for name, mode in modes.items():
            self.holds[name] = lockd_pb2.Holder(
                name=name,
                token=token,
                owner=request.owner,
                acquired_ms=self.clock_ms,
                ttl_ms=request.ttl_ms,
                lease_remaining_ms=request.ttl_ms,
                reason=request.reason,
                metadata=request.metadata,
                session_id=request.session_id,
                agent=request.agent,
                mode=mode,
                count=1,
            )
        remaining = request.ttl_ms if self.lease_remaining_ms is None else self.lease_remaining_ms
        answer = lockd_pb2.LockResponse(
            outcome=lockd_pb2.GRANTED,
            acquired=True,
            token=token,
            lease_remaining_ms=remaining,
            waited_ms=self.waited_ms,
            clock_ms=self.clock_ms,
        )
        self.state.keys[token] = key
        self.state.answers[key] = answer
        reply(answer)

    def _grant_again(self, key: bytes, hold: lockd_pb2.Holder, reply: Reply) -> None:
        hold.count += 1
        answer = lockd_pb2.LockResponse(
            outcome=lockd_pb2.GRANTED, acquired=True, token=hold.token, count=hold.count, clock_ms=self.clock_ms
        )
        self.state.keys[hold.token] = key
        self.state.answers[key] = answer
        reply(answer)

    def _serve_queue(self) -> None:
        for key, waiter in list(self.state.waiters.items()):
            if not self._conflict(waiter.request):
                del self.state.waiters[key]
                self._grant(key, waiter.request, waiter.reply)

    def _take_one_off(self, token: int) -> bool:
        for hold in self.holds.values():
            if hold.token == token and hold.count > 1:
                hold.count -= 1
                return True
        return False

    def _free(self, token: int) -> bool:
        held = [name for name, hold in self.holds.items() if hold.token == token]
        for name in held:
            del self.holds[name]
        return bool(held)

    def _unlock(self, request: lockd_pb2.UnlockRequest) -> lockd_pb2.UnlockResponse:
        key = key_of(request.request)
        if key not in self.state.answers:
            released = self._take_one_off(request.token) or self._free(request.token)
            self.state.answers[key] = lockd_pb2.UnlockResponse(
                outcome=lockd_pb2.RELEASED if released else lockd_pb2.NOT_HELD,
                released=released,
                holders=self._holders(request.name),
                clock_ms=self.clock_ms,
            )
            self._serve_queue()
        answer: lockd_pb2.UnlockResponse = self.state.answers[key]
        return answer

    def _cancel(self, request: lockd_pb2.CancelRequest) -> lockd_pb2.CancelResponse:
        key = key_of(request.request)
        self.state.waiters.pop(key, None)
        for token, granted in list(self.state.keys.items()):
            if granted == key and not self._take_one_off(token):
                self._free(token)
        self.state.answers[key] = lockd_pb2.LockResponse(outcome=lockd_pb2.CANCELLED, clock_ms=self.clock_ms)
        self._serve_queue()
        return lockd_pb2.CancelResponse(outcome=lockd_pb2.CANCELLED, clock_ms=self.clock_ms)

    def _islocked(self, request: lockd_pb2.IsLockedRequest) -> lockd_pb2.IsLockedResponse:
        holders = self._holders(request.name)
        return lockd_pb2.IsLockedResponse(is_locked=bool(holders), holders=holders, clock_ms=self.clock_ms)

    def _get(self, request: lockd_pb2.GetRequest) -> lockd_pb2.GetResponse:
        waiting = [each.request for each in self.state.waiters.values() if request.name in self._names(each.request)]
        waiters = [
            lockd_pb2.Waiter(name=request.name, position=place, owner=each.owner, since_ms=self.clock_ms - 1500)
            for place, each in enumerate(waiting)
        ]
        holders = self._holders(request.name)
        return lockd_pb2.GetResponse(
            holders=holders,
            waiters=waiters[: request.limit],
            holders_count=len(holders),
            waiters_count=len(waiters),
            clock_ms=self.clock_ms,
        )

    def _list(self, request: lockd_pb2.ListRequest) -> lockd_pb2.ListResponse:
        names = sorted(name for name in self.holds if name.startswith(request.prefix) and name > request.after)
        found = [self.holds[name] for name in names if request.owner in ("", self.holds[name].owner)]
        page = found[: request.limit]
        following = page[-1].name if len(found) > len(page) else ""
        waiters = [
            lockd_pb2.Waiter(name=each.request.name, owner=each.request.owner, since_ms=self.clock_ms)
            for each in self.state.waiters.values()
            if request.with_waiters and each.request.name.startswith(request.prefix)
        ]
        return lockd_pb2.ListResponse(holders=page, next=following, waiters=waiters, clock_ms=self.clock_ms)

    def _renew(self, request: lockd_pb2.RenewRequest) -> lockd_pb2.RenewResponse:
        held = any(hold.token == request.token for hold in self.holds.values())
        return lockd_pb2.RenewResponse(
            outcome=lockd_pb2.RENEWED if held else lockd_pb2.NOT_HELD,
            lease_remaining_ms=request.ttl_ms if held else 0,
            clock_ms=self.clock_ms,
        )

    def _checktoken(self, request: lockd_pb2.CheckTokenRequest) -> lockd_pb2.CheckTokenResponse:
        holders = self._holders(request.name)
        is_current = any(hold.token == request.token for hold in holders)
        return lockd_pb2.CheckTokenResponse(is_current=is_current, holders=holders, clock_ms=self.clock_ms)

    def _opensession(self, request: lockd_pb2.OpenSessionRequest) -> lockd_pb2.OpenSessionResponse:
        key = key_of(request.request)
        if key not in self.state.answers:
            self.state.last_session += 1
            self.state.sessions[self.state.last_session] = request.ttl_ms
            self.state.answers[key] = lockd_pb2.OpenSessionResponse(
                session_id=self.state.last_session,
                ttl_ms=request.ttl_ms,
                lease_remaining_ms=request.ttl_ms,
                clock_ms=self.clock_ms,
            )
        answer: lockd_pb2.OpenSessionResponse = self.state.answers[key]
        return answer

    def _keepalive(self, request: lockd_pb2.KeepAliveRequest) -> lockd_pb2.KeepAliveResponse | Fail:
        ttl_ms = self.state.sessions.get(request.session_id)
        if ttl_ms is None:
            return Fail(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_ENDED")
        return lockd_pb2.KeepAliveResponse(lease_remaining_ms=ttl_ms, clock_ms=self.clock_ms)

    def _closesession(self, request: lockd_pb2.CloseSessionRequest) -> lockd_pb2.CloseSessionResponse:
        self.lapse(request.session_id)
        return lockd_pb2.CloseSessionResponse(clock_ms=self.clock_ms)


class _Locking(lockapi_pb2_grpc.LockingServicer):
    def __init__(self, node: FakeNode) -> None:
        self.node = node

    def Lock(self, request: lockapi_pb2.LockName, context: Any) -> lockapi_pb2.LockResult:
        self.node._arrive(request, context)
        answers: queue.SimpleQueue[lockd_pb2.LockResponse] = queue.SimpleQueue()
        key = uuid.uuid4().bytes  # such calls carry none
        self.node.lock(lockd_pb2.LockRequest(name=request.name, request=lockd_pb2.RequestId(id=key)), answers.put)
        self.node._leave(context)
        return lockapi_pb2.LockResult(success=answers.get().acquired)

    def Unlock(self, request: lockapi_pb2.LockName, context: Any) -> lockapi_pb2.LockResult:
        self.node._arrive(request, context)
        held = self.node.holds.pop(request.name, None) is not None
        self.node._leave(context)
        return lockapi_pb2.LockResult(success=held)

    def IsLocked(self, request: lockapi_pb2.LockName, context: Any) -> lockapi_pb2.LockState:
        self.node._arrive(request, context)
        return lockapi_pb2.LockState(name=request.name, is_locked=request.name in self.node.holds)
