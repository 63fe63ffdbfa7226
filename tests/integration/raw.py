"""One node's calls as generated code makes them: no retries, no renewals, and ids that the scenario chooses."""

import os
import select
import socket
import threading
from types import TracebackType
from typing import Any, Self

import grpc

from lockd_client import methods
from lockd_client.proto import lockd_pb2 as pb

CALL_S = 10.0
NOT_AFTER_MS = 240_000
CHUNK = 65_536

OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


class Raw:
    """Stubs of one node. Errors are grpc.RpcError."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.channel = grpc.insecure_channel(endpoint, options=OPTIONS)
        self.lock = self._stub(methods.LOCK)
        self.unlock = self._stub(methods.UNLOCK)
        self.get = self._stub(methods.GET)
        self.renew = self._stub(methods.RENEW)
        self.open_session = self._stub(methods.OPEN_SESSION)
        self.keep_alive = self._stub(methods.KEEP_ALIVE)
        self.status = self._stub(methods.STATUS)
        self.check_token = self._stub(methods.CHECK_TOKEN)

    def _stub(self, method: methods.Method[Any, Any]) -> Any:
        return self.channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString,
        )

    def request(self) -> pb.RequestId:
        """A new id."""
        clock_ms = self.status(pb.StatusRequest(), timeout=CALL_S).clock_ms
        return pb.RequestId(id=os.urandom(16), not_after_ms=clock_ms + NOT_AFTER_MS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.channel.close()


def reason_of(error: Any) -> str:
    """error: a grpc.RpcError of a node's."""
    return next((str(value) for key, value in error.trailing_metadata() or () if key == "lockd-reason"), "")


class Wire:
    """A connection to a node that can fail: it loses the node's answers, and then breaks. For one client."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._node = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._loses = threading.Event()
        self._broken = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def lose_answers(self) -> None:
        """From now on; what the client sends still arrives."""
        self._loses.set()

    def cut(self) -> None:
        """Both ends see the connection end. Returns when it has."""
        self._broken.set()
        self._thread.join()

    def _carry(self) -> None:
        with self._listening:
            client, _ = self._listening.accept()
        with client, socket.create_connection(self._node) as node:
            while not self._broken.is_set():
                readable, _, _ = select.select([client, node], [], [], 0.01)
                for source, goal in ((client, node), (node, client)):
                    if source not in readable:
                        continue
                    data = source.recv(CHUNK)
                    if not data:
                        return
                    if source is client or not self._loses.is_set():
                        goal.sendall(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._broken.set()
        self._listening.close()
