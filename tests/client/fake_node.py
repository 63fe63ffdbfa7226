"""A small node behind a real gRPC server: enough of lockd to test what a client does when calls fail."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent import futures
from typing import Self

import grpc

from lockd_client.proto import lockapi_pb2, lockapi_pb2_grpc, lockd_pb2, lockd_pb2_grpc

Step = Callable[[grpc.ServicerContext], None]
"""What happens to one call: raises (through context.abort) or returns."""


class Fail:
    """The call ends with this code, before it acts."""

    def __init__(self, code: grpc.StatusCode, reason: str = "", details: str = "as the test asked") -> None:
        self.code, self.reason, self.details = code, reason, details

    def __call__(self, context: grpc.ServicerContext) -> None:
        if self.reason:
            context.set_trailing_metadata((("lockd-reason", self.reason),))
        context.abort(self.code, self.details)


class FakeNode(lockd_pb2_grpc.LockServiceServicer, lockd_pb2_grpc.ClusterServiceServicer):
    """before: steps that calls go through ahead of acting, one each. after: the same once they have acted.

    Status has steps of its own.
    """

    def __init__(self, node_id: int = 1, *, port: int = 0, leader_id: int = 1, clock_ms: int = 1_000_000) -> None:
        self.node_id, self.leader_id, self.clock_ms = node_id, leader_id, clock_ms
        self.before: deque[Step] = deque()
        self.after: deque[Step] = deque()
        self.before_status: deque[Step] = deque()
        self.seen: list[object] = []
        self.attempt_timeouts: list[float] = []
        self.holds: dict[str, lockd_pb2.Holder] = {}
        self.answers: dict[bytes, lockd_pb2.LockResponse | lockd_pb2.UnlockResponse] = {}
        self.peers: list[lockd_pb2.Peer] = []
        self.last_token = 0
        self._release = threading.Event()
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        lockd_pb2_grpc.add_LockServiceServicer_to_server(self, self._server)
        lockd_pb2_grpc.add_ClusterServiceServicer_to_server(self, self._server)
        lockapi_pb2_grpc.add_LockingServicer_to_server(_Locking(self), self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.endpoint = f"127.0.0.1:{self.port}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._release.set()
        self._server.stop(0).wait()

    def hang(self, context: grpc.ServicerContext) -> None:
        """A step: says nothing until the node stops."""
        self._release.wait()

    def calls(self, kind: type) -> list[object]:
        return [message for message in self.seen if isinstance(message, kind)]

    # ---- lockd.v1

    def Lock(self, request: lockd_pb2.LockRequest, context: grpc.ServicerContext) -> lockd_pb2.LockResponse:
        self._arrive(request, context)
        answer = self.answers.get(request.request.id)
        if not isinstance(answer, lockd_pb2.LockResponse):
            answer = self._lock(request)
            self.answers[request.request.id] = answer
        self._leave(context)
        return answer

    def Unlock(self, request: lockd_pb2.UnlockRequest, context: grpc.ServicerContext) -> lockd_pb2.UnlockResponse:
        self._arrive(request, context)
        answer = self.answers.get(request.request.id)
        if not isinstance(answer, lockd_pb2.UnlockResponse):
            answer = self._unlock(request)
            self.answers[request.request.id] = answer
        self._leave(context)
        return answer

    def Renew(self, request: lockd_pb2.RenewRequest, context: grpc.ServicerContext) -> lockd_pb2.RenewResponse:
        self._arrive(request, context)
        held = any(hold.token == request.token for hold in self.holds.values())
        self._leave(context)
        return lockd_pb2.RenewResponse(
            outcome=lockd_pb2.RENEWED if held else lockd_pb2.NOT_HELD,
            lease_remaining_ms=request.ttl_ms if held else 0,
            clock_ms=self.clock_ms,
        )

    def IsLocked(self, request: lockd_pb2.IsLockedRequest, context: grpc.ServicerContext) -> lockd_pb2.IsLockedResponse:
        self._arrive(request, context)
        holders = self._holders(request.name)
        self._leave(context)
        return lockd_pb2.IsLockedResponse(is_locked=bool(holders), holders=holders, clock_ms=self.clock_ms)

    def List(self, request: lockd_pb2.ListRequest, context: grpc.ServicerContext) -> lockd_pb2.ListResponse:
        self._arrive(request, context)
        names = sorted(name for name in self.holds if name.startswith(request.prefix) and name > request.after)
        found = [self.holds[name] for name in names if request.owner in ("", self.holds[name].owner)]
        self._leave(context)
        page = found[: request.limit]
        following = page[-1].name if len(found) > len(page) else ""
        return lockd_pb2.ListResponse(holders=page, next=following, clock_ms=self.clock_ms)

    def Status(self, request: lockd_pb2.StatusRequest, context: grpc.ServicerContext) -> lockd_pb2.StatusResponse:
        self.seen.append(request)
        if self.before_status:
            self.before_status.popleft()(context)
        return lockd_pb2.StatusResponse(
            node_id=self.node_id,
            version="0.1.0",
            role="leader" if self.leader_id == self.node_id else "follower",
            leader_id=self.leader_id,
            term=3,
            clock_ms=self.clock_ms,
            applied_index=17,
            held_locks=len(self.holds),
            peers=self.peers,
        )

    # ---- inside

    def _arrive(self, message: object, context: grpc.ServicerContext) -> None:
        self.seen.append(message)
        self.attempt_timeouts.append(context.time_remaining())
        if self.before:
            self.before.popleft()(context)

    def _leave(self, context: grpc.ServicerContext) -> None:
        if self.after:
            self.after.popleft()(context)

    def _holders(self, name: str) -> list[lockd_pb2.Holder]:
        return [self.holds[name]] if name in self.holds else []

    def _lock(self, request: lockd_pb2.LockRequest) -> lockd_pb2.LockResponse:
        acquired = request.name not in self.holds
        if acquired:
            self.last_token += 1
            self.holds[request.name] = lockd_pb2.Holder(
                name=request.name,
                token=self.last_token,
                owner=request.owner,
                acquired_ms=self.clock_ms,
                ttl_ms=request.ttl_ms,
                lease_remaining_ms=request.ttl_ms,
                reason=request.reason,
                metadata=request.metadata,
            )
        return lockd_pb2.LockResponse(
            outcome=lockd_pb2.GRANTED if acquired else lockd_pb2.HELD_BY_OTHER,
            acquired=acquired,
            token=self.last_token if acquired else 0,
            lease_remaining_ms=request.ttl_ms if acquired else 0,
            holders=[] if acquired else self._holders(request.name),
            clock_ms=self.clock_ms,
        )

    def _unlock(self, request: lockd_pb2.UnlockRequest) -> lockd_pb2.UnlockResponse:
        held = [name for name, hold in self.holds.items() if hold.token == request.token]
        for name in held:
            del self.holds[name]
        return lockd_pb2.UnlockResponse(
            outcome=lockd_pb2.RELEASED if held else lockd_pb2.NOT_HELD,
            released=bool(held),
            holders=self._holders(request.name),
            clock_ms=self.clock_ms,
        )


class _Locking(lockapi_pb2_grpc.LockingServicer):
    def __init__(self, node: FakeNode) -> None:
        self.node = node

    def Lock(self, request: lockapi_pb2.LockName, context: grpc.ServicerContext) -> lockapi_pb2.LockResult:
        self.node._arrive(request, context)
        answer = self.node._lock(lockd_pb2.LockRequest(name=request.name))
        self.node._leave(context)
        return lockapi_pb2.LockResult(success=answer.acquired)

    def Unlock(self, request: lockapi_pb2.LockName, context: grpc.ServicerContext) -> lockapi_pb2.LockResult:
        self.node._arrive(request, context)
        held = self.node.holds.pop(request.name, None) is not None
        self.node._leave(context)
        return lockapi_pb2.LockResult(success=held)

    def IsLocked(self, request: lockapi_pb2.LockName, context: grpc.ServicerContext) -> lockapi_pb2.LockState:
        self.node._arrive(request, context)
        return lockapi_pb2.LockState(name=request.name, is_locked=request.name in self.node.holds)
