"""What strangers may cost a node whose peers' port speaks TLS: connections, seconds and bytes, all bounded."""

import asyncio
import gc
import ssl
from contextlib import suppress
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lockd.raft.transport import Limits
from lockd.raft.transport.frames import framed
from lockd.raft.transport.secured import Secured
from tests.certificates import Authority
from tests.eventually import async_eventually
from tests.raft.loops import on_each_loop, run_on
from tests.raft.wire import Raw, links, security_of


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def security(authority):
    return cache(lambda node: security_of(authority.ca, pair=authority.node(node)))


class Client:
    """The dialler's half of a TLS handshake, as bytes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    def says(self, heard: bytes = b"") -> bytes:
        self._incoming.write(heard)
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()


async def gets_through(nodes, security):
    link, events = nodes[1]
    raw = await Raw.authenticated(link, 2, tls=security(2).client)
    raw.write(framed(b"honest"))
    await async_eventually(lambda: events.data(2) == [b"honest"], 5.0)
    await raw.close()


HELLOS = {
    "nothing": lambda hello: [],
    "half a record's header": lambda hello: [hello[:3]],
    "a ClientHello byte by byte": lambda hello: [hello[i : i + 1] for i in range(len(hello) - 1)],
    "a ClientHello and nothing after it": lambda hello: [hello],
}


@on_each_loop
@pytest.mark.parametrize("start", HELLOS)
def test_a_handshake_that_goes_no_further_is_closed_in_time(loop, start, security):
    async def scenario():
        async with links(1, members=3, security=security, handshake_s=0.3) as nodes:
            raw = await Raw.dial(nodes[1][0])
            with capture_logs() as lines:
                for piece in HELLOS[start](Client(security(2).client).says()):
                    raw.write(piece)
                    await asyncio.sleep(0)
                await raw.ended()
            why = (
                "it does not speak TLS; is tls configured on every node?"
                if start == "nothing"
                else "no handshake in time"
            )
            assert [line["reason"] for line in lines if line["event"] == "connection closed"] == [why]
            await gets_through(nodes, security)

    run_on(loop, scenario())


@on_each_loop
def test_a_flood_of_handshakes_is_bounded_and_keeps_nobody_out(loop, security):
    async def scenario():
        context = security(2).client
        async with links(1, members=3, security=security, strangers_max=4, handshake_s=60.0) as nodes:
            flood = [await Raw.dial(nodes[1][0]) for _ in range(20)]
            for raw in flood:
                raw.write(Client(context).says())
            for raw in flood[:16]:
                await raw.ended()
            assert nodes[1][0]._door is not None
            assert len(nodes[1][0]._door._strangers) == 4
            await gets_through(nodes, security)
            for raw in flood[16:]:
                await raw.close()

    run_on(loop, scenario())


@on_each_loop
def test_the_memory_of_a_handshake_is_freed_without_the_collector(loop, security):
    """The daemon lets the collector run rarely: a flood must not depend on it."""

    def alive():
        return sum(isinstance(each, ssl.SSLObject) for each in gc.get_objects())

    async def scenario():
        hello = Client(security(2).client).says()
        async with links(1, members=2, security=security, redial_s_min=30.0, redial_s_max=60.0) as nodes:
            door = nodes[1][0]._door
            assert door is not None
            gc.collect()
            gc.disable()
            before = alive()
            try:
                for _ in range(10):
                    for data in (hello, hello[:-1] + b"?", b"GET / HTTP/1.1\r\n\r\n"):
                        raw = await Raw.dial(nodes[1][0])
                        raw.write(data)
                        await raw.close()
                for _ in range(3):
                    await gets_through(nodes, security)
                    nodes[1][1].frames.clear()
                await async_eventually(lambda: not door._strangers and not door._admitted, 5.0)
                held = [each for each in gc.get_objects() if isinstance(each, Secured) and each._tls is not None]
                assert len(held) <= 1  # the one that dials node 2
                assert alive() - before <= 3  # asyncio's own, of the three that got through
            finally:
                gc.enable()

    run_on(loop, scenario())


@on_each_loop
def test_bytes_before_authentication_are_counted(loop, security):
    async def scenario():
        hello = Client(security(2).client).says()
        async with links(1, members=3, security=security, tls_bytes_max=len(hello) - 1) as nodes:
            raw = await Raw.dial(nodes[1][0])
            with capture_logs() as lines:
                raw.write(hello)
                assert await raw.ended() == b""
            assert [line["reason"] for line in lines if line["event"] == "connection closed"] == [
                f"more than {len(hello) - 1} bytes before authentication"
            ]

    run_on(loop, scenario())


RECORDS = {
    "an oversized record": (b"\x16\x03\x01\xff\xff" + bytes(60_000), "packet length too long"),
    "one that says it is application data": (b"\x17\x03\x03\x00\x05hello", "unexpected message"),
    "an alert": (bytes.fromhex("15030300020228"), "unexpected message"),
    "a megabyte": (bytes(1 << 20), "does not speak TLS|more than"),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: lockd\r\n\r\n", "does not speak TLS"),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak TLS"),
    "a frame": (framed(b"hello"), "does not speak TLS"),
}


@on_each_loop
@pytest.mark.parametrize("record", RECORDS)
def test_what_is_no_handshake_is_closed_with_one_line(loop, record, security):
    data, why = RECORDS[record]

    async def scenario():
        async with links(1, members=3, security=security) as nodes:
            raw = await Raw.dial(nodes[1][0])
            with capture_logs() as lines:
                raw.write(data)
                await raw.ended()
                await async_eventually(lambda: [line for line in lines if line["event"] == "connection closed"], 5.0)
            (reason,) = [line["reason"] for line in lines if line["event"] == "connection closed"]
            assert any(part in reason for part in why.split("|")), reason
            await gets_through(nodes, security)

    run_on(loop, scenario())


@on_each_loop
def test_who_has_a_certificate_and_proves_nothing_is_closed_in_time(loop, security):
    """A client's certificate is enough to shake hands."""

    async def scenario():
        async with links(1, members=3, security=security, handshake_s=0.5) as nodes:
            raw = await Raw.dial(nodes[1][0], security(2).client)
            await raw.frame()
            with capture_logs() as lines:
                await raw.ended()
            assert [line["reason"] for line in lines if line["event"] == "connection closed"] == [
                "no handshake in time"
            ]

    run_on(loop, scenario())


# --- the layer alone, without a socket


class Below(asyncio.Transport):
    """A transport that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.over = False

    def write(self, data) -> None:
        self.written += data

    def close(self) -> None:
        self.over = True

    def abort(self) -> None:
        self.over = True

    def get_write_buffer_size(self) -> int:
        return 0


class Above(asyncio.Protocol):
    def __init__(self) -> None:
        self.heard = b""
        self.lost: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


def layer(security, node, *, server):
    below, above = Below(), Above()
    secured = Secured(above, security(node), server=server, host="127.0.0.1", bytes_max=Limits().tls_bytes_max)
    secured.connection_made(below)
    return below, secured, above


def exchange(one, other, cut=1 << 20):
    """Until neither has anything to say. In pieces of at most cut bytes."""
    while one[0].written or other[0].written:
        for (below, _, _), (_, secured, _) in ((one, other), (other, one)):
            data, below.written = below.written, b""
            for start in range(0, len(data), cut):
                secured.data_received(data[start : start + cut])


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(1, 3000), sizes=st.lists(st.integers(0, 2000), max_size=4))
def test_what_is_written_arrives_however_the_stream_is_cut(security, cut, sizes):
    dialler, acceptor = layer(security, 1, server=False), layer(security, 2, server=True)
    sent = b""
    for number, size in enumerate(sizes):
        data = bytes([number]) * size
        acceptor[1].write(data)  # before the handshake, too
        sent += data
        if number % 2:
            exchange(dialler, acceptor, cut)
    dialler[1].write(b"back")
    acceptor[1].bytes_max = dialler[1].bytes_max = None
    exchange(dialler, acceptor, cut)
    assert (dialler[2].heard, acceptor[2].heard) == (sent, b"back")
    assert dialler[1].names(2)
    assert acceptor[1].names(1)
    assert not dialler[1].names(1)
    assert not dialler[0].over
    assert not acceptor[0].over


@settings(max_examples=150, deadline=None)
@given(second=st.booleans(), place=st.integers(0, 5000), flip=st.integers(1, 255))
def test_a_handshake_that_was_tampered_with_authenticates_nobody(security, second, place, flip):
    """A byte of the first flights is changed. Either side fails with a plain reason, or waits for its deadline."""
    dialler, acceptor = layer(security, 1, server=False), layer(security, 2, server=True)
    if second:
        acceptor[1].data_received(dialler[0].written)
        flight, victim, other = acceptor[0].written, dialler, acceptor
    else:
        flight, victim, other = dialler[0].written, acceptor, dialler
    place %= len(flight)
    dialler[0].written = acceptor[0].written = b""
    victim[1].data_received(flight[:place] + bytes([flight[place] ^ flip]) + flight[place + 1 :])
    victim_says, victim[0].written = victim[0].written, b""
    other[1].data_received(victim_says)
    exchange(dialler, acceptor)
    assert not (dialler[1].names(2) and acceptor[1].names(1)) or place in HARMLESS
    for below, secured, above in (dialler, acceptor):
        if below.over:
            secured.connection_lost(None)
            assert str(above.lost[0]) != "None"


HARMLESS = {1, 2}
"""Bytes of the first record's version, which TLS 1.3 ignores."""


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_nothing_that_a_stranger_sends_reaches_what_is_above(security, data):
    below, secured, above = layer(security, 1, server=True)
    secured.data_received(data)
    assert above.heard == b""
    assert not secured.names(2)
    secured.connection_lost(None)
    assert (above.lost[0] is not None) == below.over
