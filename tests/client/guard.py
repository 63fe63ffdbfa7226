"""What a fake node asks of its callers, and the tokens that can be made there."""

from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from lockd_client.proto import lockd_pb2, lockd_pb2_grpc


def token_of(metadata: Any) -> str:
    """That a call carries; empty: none."""
    return str(dict(metadata).get("authorization", "")).removeprefix("Bearer ")


def _refuse(_request: Any, context: Any) -> None:
    context.set_trailing_metadata((("lockd-reason", "UNAUTHENTICATED"),))
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is not known here")


class Guard(grpc.ServerInterceptor):
    """tokens: those that are known; None: whoever comes may call. tls: certificate and key, read at each handshake.
    client_ca: whose certificates are asked for. `seen`: the token of each call, in the order of their arrival.
    """

    def __init__(
        self,
        *,
        tokens: set[str] | None = None,
        tls: tuple[Path, Path] | None = None,
        client_ca: Path | None = None,
    ) -> None:
        self.tokens, self.tls, self.client_ca = tokens, tls, client_ca
        self.seen: list[tuple[str, str]] = []
        self.access = FakeAccess()

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        token = token_of(details.invocation_metadata)
        self.seen.append((details.method, token))
        handler = continuation(details)
        if self.tokens is None or token in self.tokens or handler is None:
            return handler
        makers = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        return makers[handler.request_streaming, handler.response_streaming](_refuse)

    def server(self) -> Any:
        return grpc.server(futures.ThreadPoolExecutor(32), interceptors=[self], options=[("grpc.so_reuseport", 0)])

    def bind(self, server: Any, address: str) -> int:
        lockd_pb2_grpc.add_AccessServiceServicer_to_server(self.access, server)
        if self.tls is None:
            return int(server.add_insecure_port(address))
        credentials = grpc.dynamic_ssl_server_credentials(
            self._configuration(), self._configuration, require_client_authentication=self.client_ca is not None
        )
        return int(server.add_secure_port(address, credentials))

    def _configuration(self) -> Any:
        assert self.tls is not None
        cert, key = self.tls
        ca = None if self.client_ca is None else self.client_ca.read_bytes()
        return grpc.ssl_server_certificate_configuration([(key.read_bytes(), cert.read_bytes())], ca)


class FakeAccess(lockd_pb2_grpc.AccessServiceServicer):
    """before: what happens to calls ahead of acting, one each. A repeated CreateToken acts once."""

    def __init__(self) -> None:
        self.created: dict[int, lockd_pb2.CreateTokenRequest] = {}
        self.requests: list[lockd_pb2.CreateTokenRequest] = []
        self.before: list[Callable[[Any], None]] = []
        self.after: list[Callable[[Any], None]] = []
        self.page = 2
        self._ids: dict[tuple[bytes, int], int] = {}

    def CreateToken(self, request: lockd_pb2.CreateTokenRequest, context: Any) -> lockd_pb2.CreateTokenResponse:
        self.requests.append(request)
        if self.before:
            self.before.pop(0)(context)
        key = (request.request.client, request.request.sequence)
        if key not in self._ids:
            self._ids[key] = len(self._ids) + 1
            self.created[self._ids[key]] = request
        if self.after:
            self.after.pop(0)(context)
        return lockd_pb2.CreateTokenResponse(token_id=self._ids[key], clock_ms=1000)

    def ListTokens(self, request: lockd_pb2.ListTokensRequest, context: Any) -> lockd_pb2.ListTokensResponse:
        if self.before:
            self.before.pop(0)(context)
        found = [id for id in self.created if id > request.after]
        return lockd_pb2.ListTokensResponse(
            tokens=[
                lockd_pb2.AccessToken(
                    token_id=id,
                    name=self.created[id].name,
                    role=self.created[id].role,
                    prefixes=self.created[id].prefixes,
                    created_ms=1000,
                    created_by="admin",
                )
                for id in found[: self.page]
            ],
            next=found[self.page - 1] if len(found) > self.page else 0,
            clock_ms=1000,
        )

    def RevokeToken(self, request: lockd_pb2.RevokeTokenRequest, context: Any) -> lockd_pb2.RevokeTokenResponse:
        revoked = self.created.pop(request.token_id, None) is not None
        return lockd_pb2.RevokeTokenResponse(revoked=revoked, clock_ms=1000)
