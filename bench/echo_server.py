"""The least that a grpc.aio server can do: each call is answered with the same bytes, undecoded.

It has the names of lockd's calls, and answers as long as lockd's, so that whatever client asks a node can ask it.
Prints its port and serves until it is killed or its standard input ends.
"""

import asyncio
import sys

import grpc
import uvloop

from lockd_client import methods
from lockd_client.proto import lockd_pb2

CLOCK_MS = 1_000_000

ANSWERS: dict[str, bytes] = {
    methods.LOCK.path: lockd_pb2.LockResponse(
        outcome=lockd_pb2.GRANTED, acquired=True, token=100_000, lease_remaining_ms=30_000, clock_ms=CLOCK_MS
    ).SerializeToString(),
    methods.UNLOCK.path: lockd_pb2.UnlockResponse(
        outcome=lockd_pb2.RELEASED, released=True, clock_ms=CLOCK_MS
    ).SerializeToString(),
    methods.STATUS.path: lockd_pb2.StatusResponse(node_id=1, clock_ms=CLOCK_MS).SerializeToString(),
}


def handlers() -> list[grpc.GenericRpcHandler]:
    """One a service."""
    services: dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]] = {}
    for path, answer in ANSWERS.items():
        _, service, method = path.split("/")
        services.setdefault(service, {})[method] = handler(answer)
    return [grpc.method_handlers_generic_handler(service, methods) for service, methods in services.items()]


def handler(answer: bytes) -> "grpc.RpcMethodHandler[bytes, bytes]":
    async def echo(_request: bytes, _context: object) -> bytes:
        return answer

    return grpc.unary_unary_rpc_method_handler(echo)


async def serve() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(tuple(handlers()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(grace=None)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
