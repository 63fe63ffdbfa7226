"""HTTP/2 by hand, and what is no HTTP/2 at all: the bytes of whole connections to the clients' port."""

import struct

from hypothesis import strategies as st

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name: str, value: str) -> bytes:
    """A header without compression and without a place in the table. Both are shorter than 127 bytes."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def request(path: str, *more: tuple[str, str]) -> bytes:
    """The headers of a call."""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "fuzz"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]
    return b"".join(_literal(name, value) for name, value in headers)


def call(stream: int, path: str = "/lockd.v1.LockService/IsLocked", body: bytes = b"\x0a\x01a") -> bytes:
    message = b"\x00" + len(body).to_bytes(4, "big") + body
    return frame(HEADERS, END_HEADERS, stream, request(path)) + frame(DATA, END_STREAM, stream, message)


OPENING = PREFACE + frame(SETTINGS)


def rapid_reset(count: int) -> bytes:
    """Calls that are given up at once (CVE-2023-44487)."""
    return OPENING + b"".join(
        call(stream) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8)) for stream in range(1, 2 * count, 2)
    )


def many_headers(count: int) -> bytes:
    block = request("/lockd.v1.LockService/IsLocked", *((f"h{number}", "x" * 100) for number in range(count)))
    parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
    opening = frame(HEADERS, 0, 1, parts[0])
    return OPENING + opening + b"".join(frame(CONTINUATION, 0, 1, part) for part in parts[1:])


_garbage = st.one_of(
    st.binary(min_size=1, max_size=400),
    st.sampled_from(
        [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /lockd.v1.LockService/Lock HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 1000,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),  # TLS
            b"SSH-2.0-OpenSSH_9.6\r\n",
            PREFACE[:10],
            PREFACE,
            PREFACE + b"\xff" * 100,
            bytes(100_000),
            b"\n" * 100_000,
        ]
    ),
)
_frames = st.builds(
    frame,
    st.integers(0, 12),
    st.sampled_from([0, 1, 4, 5, 8, 0x20, 0xFF]),
    st.sampled_from([0, 1, 1, 2, 3, 5, 2**31 - 1, 2**31]),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [b"", bytes(4), bytes(5), bytes(8), b"\xff" * 4, bytes(20_000), request("/x"), b"\x00\x04\xff\xff\xff\xff"]
        ),
    ),
)  # fmt: skip
_spoken = st.builds(
    lambda calls, parts, cut: (OPENING + calls + b"".join(parts))[: cut or None],
    st.sampled_from(
        [
            b"",
            call(1),
            call(1) + call(3),
            frame(HEADERS, END_HEADERS, 1, request("/lockd.v1.LockService/Stream")),
        ]
    ),
    st.lists(_frames, max_size=12),
    st.sampled_from([0, 0, 0, 30, 60, 100]),
)  # fmt: skip
_floods = st.sampled_from(
    [
        rapid_reset(500),
        many_headers(50),
        many_headers(2_000),
        OPENING + frame(SETTINGS) * 3_000,
        OPENING + frame(PING, 0, 0, bytes(8)) * 3_000,
        OPENING + frame(PRIORITY, 0, 1, bytes(5)) * 3_000,
        OPENING + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)) * 3,
        OPENING + frame(HEADERS, 0, 1, request("/x")) + frame(CONTINUATION, 0, 1) * 3_000,
        OPENING + b"".join(call(stream) for stream in range(1, 400, 2)),
        OPENING + b"".join(frame(HEADERS, END_HEADERS, stream, request("/x")) for stream in range(1, 400, 2)),
    ]
)

connections: st.SearchStrategy[list[bytes]] = st.one_of(
    st.lists(_garbage, min_size=1, max_size=3),
    st.lists(_spoken, min_size=1, max_size=2),
    st.lists(_spoken, min_size=1, max_size=2),
    st.lists(_floods, min_size=1, max_size=1),
)
