"""Links between real sockets: what a peer gets through, and what nobody else does. Handshakes: test_handshake.py."""

import asyncio
import gc
import random
import socket
import sys
from contextlib import aclosing, suppress
from functools import partial
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lockd.raft.errors import LinkError
from lockd.raft.ports import Link
from lockd.raft.transport import Limits, TcpLink
from lockd.raft.transport.dialling import Dialled, Pause
from lockd.raft.transport.frames import Splitter, framed
from lockd.raft.transport.handshake import Accepting
from tests.eventually import async_eventually
from tests.raft.wire import (
    CHUNK,
    SECRET,
    Events,
    Raw,
    addresses_of,
    body_of,
    exhaust,
    joined,
    links,
    pair,
    raw_listener,
)


def test_a_tcp_link_is_a_link():
    link: Link = TcpLink(1, addresses_of(1), SECRET)
    assert link


def test_three_links_exchange_frames_in_order():
    async def scenario():
        async with links(3) as nodes:
            await joined(nodes)
            for number in range(300):
                for me, (link, _) in nodes.items():
                    for peer in nodes:
                        link.send(peer, f"{me}:{number}".encode())
                if number % 50 == 0:
                    await asyncio.sleep(0)
            for me, (_, events) in nodes.items():
                for peer in nodes.keys() - {me}:
                    await async_eventually(partial(events.has, peer, 300), 5.0)
                    assert events.data(peer) == [f"{peer}:{number}".encode() for number in range(300)]
                assert events.data(me) == []

    asyncio.run(scenario())


def test_large_and_empty_frames_arrive_whole():
    async def scenario():
        frames = [b"", b"a" * (16 * 1024 * 1024), b"b", b""]
        async with pair() as ((one, _), (_, seen)):
            for frame in frames:
                one.send(2, frame)
            await async_eventually(lambda: len(seen.frames) == len(frames), 10.0)
            assert seen.data(1) == frames

    asyncio.run(scenario())


@given(st.lists(st.binary(max_size=40), max_size=8), st.randoms(use_true_random=False))
def test_frames_survive_any_cut_of_the_stream(frames, chance):
    stream = b"".join(map(framed, frames))
    splitter = Splitter(40)
    seen: list[bytes] = []
    while stream:
        size = chance.randint(1, len(stream))
        seen += splitter.frames(stream[:size])
        stream = stream[size:]
    assert seen == frames


def test_a_splitter_takes_its_bound_from_frame_to_frame():
    splitter = Splitter(1)
    seen = []
    for frame in splitter.frames(framed(b"a") + framed(b"bcd")):
        seen.append(frame)
        splitter.bytes_max = 3
    assert seen == [b"a", b"bcd"]
    with pytest.raises(LinkError, match="4 bytes, at most 3"):
        list(splitter.frames(framed(b"efgh")))


class Recorder:
    """What Dialled needs of an asyncio transport."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.backlog = 0
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def get_write_buffer_size(self) -> int:
        return self.backlog

    def abort(self) -> None:
        self.aborted = True


async def dialled_on(recorder: Recorder, limits: Limits) -> Dialled:
    link = TcpLink(1, addresses_of(1), SECRET, limits=limits)
    await link.start(Events())
    assert link._node is not None
    connection = Dialled(link._node, 2)
    await link.stop()
    connection.connection_made(cast(asyncio.Transport, recorder))
    connection.open = True
    return connection


def test_frames_of_one_turn_leave_in_one_write():
    async def scenario():
        recorder = Recorder()
        connection = await dialled_on(recorder, Limits())
        connection.send(b"a")
        connection.send(b"b")
        assert recorder.writes == []
        await asyncio.sleep(0)
        connection.send(b"c")
        await asyncio.sleep(0)
        assert recorder.writes == [framed(b"a") + framed(b"b"), framed(b"c")]

    asyncio.run(scenario())


@pytest.mark.parametrize(("backlog", "frames"), [(0, 11), (95, 1)])
def test_a_queue_above_its_bound_drops_the_connection(backlog, frames):
    async def scenario():
        recorder = Recorder()
        recorder.backlog = backlog
        connection = await dialled_on(recorder, Limits(frame_bytes_max=10, queue_bytes_max=100))
        for _ in range(frames):
            connection.send(b"0123456789")
        await asyncio.sleep(0)
        assert recorder.aborted
        assert recorder.writes == []
        connection.connection_lost(None)
        assert await connection.closed == "more than 100 bytes wait to be sent"

    asyncio.run(scenario())


def test_a_peer_that_does_not_read_loses_its_connection():
    async def scenario():
        limits = Limits(queue_bytes_max=1024 * 1024, redial_s_min=5, redial_s_max=5)
        async with raw_listener() as (address, accepted):
            addresses = {**addresses_of(1), 2: address}
            link, events = TcpLink(1, addresses, SECRET, limits=limits), Events()
            await link.start(events)
            await (await accepted()).welcome(Accepting(me=2, members=frozenset({1, 2}), secret=SECRET))
            await async_eventually(lambda: link.connected(2), 5.0)
            for _ in range(1000):
                link.send(2, bytes(64 * 1024))
                await asyncio.sleep(0)
                if not link.connected(2):
                    break
            await async_eventually(lambda: ("down", 2) in events.told, 5.0)
            await link.stop()

    asyncio.run(scenario())


def test_a_frame_no_peer_would_accept_is_not_sent():
    async def scenario():
        async with pair(frame_bytes_max=100) as ((one, _), (_, seen)):
            with pytest.raises(ValueError, match="101 bytes, at most 100"):
                one.send(2, bytes(101))
            one.send(2, bytes(100))
            await async_eventually(lambda: seen.data(1) == [bytes(100)], 5.0)

    asyncio.run(scenario())


def test_an_oversized_frame_closes_its_connection_with_one_line():
    async def scenario():
        async with links(1, members=2) as nodes:
            raw = await Raw.authenticated(nodes[1][0], 2)
            with capture_logs() as lines:
                raw.write(framed(b"before") + (16 * 1024 * 1024 + 1).to_bytes(4, "big") + b"x" * 100)
                await raw.ended()
            assert nodes[1][1].data(2) == [b"before"]
            mine = [line for line in lines if line.get("peer") == 2 and line["event"] == "connection closed"]
            assert [line["reason"] for line in mine] == ["frame of 16777217 bytes, at most 16777216 are accepted"]

    asyncio.run(scenario())


def test_a_newer_connection_supersedes_the_older():
    async def scenario():
        async with links(1, members=3) as nodes:
            link, events = nodes[1]
            old = await Raw.authenticated(link, 2)
            other = await Raw.authenticated(link, 3)
            old.write(framed(b"old"))
            await async_eventually(lambda: events.data(2) == [b"old"], 5.0)
            new = await Raw.authenticated(link, 2)
            old.write(framed(b"too late"))
            await old.ended()
            new.write(framed(b"new"))
            other.write(framed(b"undisturbed"))
            await async_eventually(lambda: len(events.frames) == 3, 5.0)
            assert events.data(2) == [b"old", b"new"]
            first, second = (connection for peer, connection, _ in events.frames if peer == 2)
            assert second > first
            await new.close()
            await other.close()

    asyncio.run(scenario())


def test_what_came_in_one_read_with_a_frame_that_ended_the_connection_is_dropped():
    class Ender(Events):
        def frame(self, peer: int, connection: int, data: bytes) -> None:
            super().frame(peer, connection, data)
            assert link._door is not None
            link._door._raft[peer].end()

    link = TcpLink(1, addresses_of(1, 2), SECRET)

    async def scenario():
        events = Ender()
        await link.start(events)
        raw = await Raw.authenticated(link, 2)
        raw.write(framed(b"the last") + framed(b"too late"))
        await raw.ended()
        assert events.data(2) == [b"the last"]
        await link.stop()

    asyncio.run(scenario())


def test_a_peer_that_comes_back_is_joined_again():
    async def scenario():
        async with pair() as ((one, told), (two, seen)):
            one.send(2, b"first")
            await async_eventually(lambda: seen.data(1) == [b"first"], 5.0)
            told.told.clear()
            await two.stop()
            await async_eventually(lambda: ("refused", 2) in told.told, 5.0)
            assert not one.connected(2)
            one.send(2, b"into the void")
            again = Events()
            reborn = TcpLink(2, two._addresses, SECRET)
            await reborn.start(again)
            await async_eventually(lambda: one.connected(2), 5.0)
            one.send(2, b"second")
            await async_eventually(lambda: again.data(1) == [b"second"], 5.0)
            await reborn.stop()
            await async_eventually(
                lambda: [what for what, _ in told.told if what != "refused"] == ["down", "up", "down"], 5.0
            )

    asyncio.run(scenario())


PEER_PROCESS = """
import asyncio, sys
from lockd.raft.transport import TcpLink
from tests.raft.wire import SECRET, Events
async def main():
    await TcpLink(2, eval(sys.argv[1]), SECRET).start(Events())
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_the_death_of_a_peers_process_is_told_as_down_and_then_refused(pytestconfig):
    async def scenario():
        addresses = addresses_of(1, 2)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PEER_PROCESS, repr(addresses), cwd=pytestconfig.rootpath
        )
        link, events = TcpLink(1, addresses, SECRET), Events()
        await link.start(events)
        try:
            await async_eventually(lambda: link.connected(2), 20.0)
            events.told.clear()
            process.kill()
            await async_eventually(lambda: len(events.told) >= 2, 5.0)
            assert events.told[:2] == [("down", 2), ("refused", 2)]
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await link.stop()

    asyncio.run(scenario())


def test_a_peer_that_never_was_there_is_told_as_down_once():
    async def scenario():
        link, events = TcpLink(1, addresses_of(1, 2), SECRET), Events()
        await link.start(events)
        await async_eventually(lambda: events.told.count(("refused", 2)) >= 3, 5.0)
        await link.stop()
        assert events.told.count(("down", 2)) == 1
        assert ("up", 2) not in events.told

    asyncio.run(scenario())


def test_a_lost_connection_is_redialled_at_once_and_failures_back_off():
    pause = Pause(Limits(redial_s_min=0.02, redial_s_max=0.5), random.Random(1))
    assert pause.after_loss(lived_s=60.0) == 0.0
    pauses = [pause.after_failure() for _ in range(2000)]
    for step, seconds in enumerate(pauses):
        whole = min(0.02 * 2.0 ** min(step, 10), 0.5)
        assert whole / 2 <= seconds <= whole
    assert pause.after_loss(lived_s=0.1) == 0.0
    assert pause.after_loss(lived_s=0.1) > 0.0  # two nodes with one id supersede each other
    assert pause.after_loss(lived_s=0.1) > 0.02
    assert pause.after_loss(lived_s=1.0) == 0.0


def test_sockets_notice_a_peer_that_vanished():
    async def scenario():
        async with pair() as ((one, _), (two, _)):
            dialled = one._diallers[2]._connection
            assert dialled is not None
            assert two._door is not None
            for transport in (dialled._transport, *(accepted._transport for accepted in two._door._admitted)):
                sock = transport.get_extra_info("socket")
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                if hasattr(socket, "TCP_USER_TIMEOUT"):
                    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000

    asyncio.run(scenario())


def test_a_taken_port_is_named():
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            link = TcpLink(1, {1: ("127.0.0.1", port)}, SECRET)
            with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port}.*in use"):
                await link.start(Events())
            await link.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("me", "addresses", "secret", "complaint"),
    [
        (3, {1: ("h", 1)}, SECRET, "node 3 has no address"),
        (0, {0: ("h", 1)}, SECRET, "node ids are 1 to"),
        (1, {1: ("h", 1)}, b"", "secret; it is empty"),
    ],
)
def test_nonsense_is_refused_before_it_starts(me, addresses, secret, complaint):
    with pytest.raises(ValueError, match=complaint):
        TcpLink(me, addresses, secret)


def test_stop_leaves_nothing_behind():
    async def scenario():
        async with links(3, body=body_of(bytes(64 * CHUNK))) as nodes:
            await joined(nodes)
            async with aclosing(nodes[1][0].fetch(2, b"sha", 0)) as fetch:
                await anext(fetch)
                stranger = await Raw.dial(nodes[1][0])
                told = [list(events.told) for _, events in nodes.values()]
                for link, _ in nodes.values():
                    await link.stop()
                with pytest.raises(LinkError):
                    await exhaust(fetch)
            await stranger.ended()
            with pytest.raises(LinkError, match="not running"):
                await anext(nodes[1][0].fetch(2, b"sha", 0))
            assert asyncio.all_tasks() == {asyncio.current_task()}
            nodes[1][0].send(2, b"nobody hears")
            assert told[0] == nodes[1][1].told  # the first to stop: it was told of no other's end

    asyncio.run(scenario())


def test_a_connection_that_arrives_as_the_link_stops_is_closed():
    async def scenario():
        for _ in range(5):
            link = TcpLink(1, addresses_of(1), SECRET)
            await link.start(Events())
            dialled = [socket.create_connection(link._addresses[1]) for _ in range(3)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # asyncio has accepted them and not yet made their transports
            await link.stop()
            for sock in dialled:
                sock.close()
        gc.collect()  # a socket left open would be complained of here

    asyncio.run(scenario())
