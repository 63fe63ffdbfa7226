"""The byte stream of a peer's connection as frames, and frames as messages."""

from collections.abc import Iterator
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from lockd.raft.errors import LinkError

from .tls import ONLY_TLS

HEADER_BYTES: Final = 4

M = TypeVar("M", bound=Message)

_TLS_RECORDS: Final = (0x1503, 0x1603)  # how an alert and a handshake begin; as a length, above any frame's


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(HEADER_BYTES, "big") + body


class Splitter:
    """Cuts a byte stream into frames. `bytes_max`, the longest body it accepts, may be moved between two frames."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._parts: list[bytes] = []
        self._missing = HEADER_BYTES

    def frames(self, data: bytes) -> Iterator[bytes]:
        """The frames that data completes. Raises LinkError at a length above bytes_max."""
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return  # pieces of a large frame are joined once, when the last is here
        data = data if len(self._parts) == 1 else b"".join(self._parts)
        start, end = 0, HEADER_BYTES
        while end <= len(data):
            body = start + HEADER_BYTES
            size = int.from_bytes(data[start:body], "big")
            if size > self.bytes_max:
                if size >> 16 in _TLS_RECORDS:
                    raise LinkError(ONLY_TLS)
                raise LinkError(f"frame of {size} bytes, at most {self.bytes_max} are accepted")
            end = body + size
            if end > len(data):
                break
            yield data[body:end]
            start, end = end, end + HEADER_BYTES
        self._parts = [data[start:]]
        self._missing = end - len(data)


def parse(kind: type[M], frame: bytes) -> M:
    try:
        return kind.FromString(frame)
    except DecodeError as error:
        raise LinkError(f"malformed {kind.__name__}") from error
