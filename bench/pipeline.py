"""Very many operations through one node, as a client library sends them: in batches on one Stream, many in flight."""

import os
import queue
from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Self

import grpc

from lockd_client import methods
from lockd_client.proto import lockd_pb2 as pb

BATCH = 100
IN_FLIGHT_MAX = 2_000
NOT_AFTER_MS = 240_000
CLIENT_BYTES = 16
ANSWER_BYTES_MAX = 16 * 1024 * 1024


class Pipeline:
    """For one thread."""

    def __init__(self, endpoint: str) -> None:
        options = [("grpc.max_receive_message_length", ANSWER_BYTES_MAX), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(endpoint, options=options)
        self._outgoing: queue.SimpleQueue[pb.StreamRequest | None] = queue.SimpleQueue()
        self._answers: Any = self._channel.stream_stream(
            methods.STREAM.path,
            request_serializer=pb.StreamRequest.SerializeToString,
            response_deserializer=pb.StreamResponse.FromString,
        )(iter(self._outgoing.get, None))
        self._client = os.urandom(CLIENT_BYTES)
        self._last = 0
        self._in_flight: dict[int, None] = {}
        self._clock_ms = 0
        (status,) = self.run([pb.Operation(status=pb.StatusRequest())])
        self._clock_ms = status.status.clock_ms

    def run(self, operations: Iterable[pb.Operation]) -> list[pb.Result]:
        """All of them; their answers in the order of the operations, whose ids are given here, as are those of Locks
        and OpenSessions. Raises AssertionError where one was refused.
        """
        left = iter(operations)
        results: dict[int, pb.Result] = {}
        while True:
            while len(self._in_flight) < IN_FLIGHT_MAX and (batch := list(islice(left, BATCH))):
                self._outgoing.put(pb.StreamRequest(operations=list(self._numbered(batch))))
            if not self._in_flight:
                return [results[id] for id in sorted(results)]
            for result in next(self._answers).results:
                assert result.WhichOneof("what") != "error", result
                results[result.id] = result
                del self._in_flight[result.id]

    def _numbered(self, batch: list[pb.Operation]) -> Iterator[pb.Operation]:
        below = next(iter(self._in_flight), self._last + 1)
        for operation in batch:
            self._last += 1
            operation.id = self._last
            self._in_flight[self._last] = None
            message = getattr(operation, str(operation.WhichOneof("what")))
            if isinstance(message, pb.LockRequest | pb.OpenSessionRequest):
                message.request.client, message.request.sequence = self._client, self._last
                message.request.not_after_ms = self._clock_ms + NOT_AFTER_MS
                message.request.answered_below = below
            yield operation

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._outgoing.put(None)
        self._channel.close()
