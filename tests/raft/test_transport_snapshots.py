"""Snapshots fetched over real sockets: resumed, refused, broken off, and held back by a slow reader."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from lockd.proto import peers_pb2
from lockd.raft.errors import LinkError
from lockd.raft.transport import TcpLink
from lockd.raft.transport.frames import framed
from lockd.raft.transport.handshake import SNAPSHOT
from tests.eventually import async_eventually
from tests.raft.wire import CHUNK, SECRET, Events, Raw, addresses_of, body_of, exhaust, links, pair


@pytest.mark.parametrize("offset", [0, 1, 3 * 1024 * 1024 + 7, 5 * 1024 * 1024])
def test_a_snapshot_is_fetched_from_any_offset(offset):
    async def scenario():
        data = random.Random(5).randbytes(5 * 1024 * 1024)
        async with pair(body=body_of(data)) as ((one, _), _):
            assert await exhaust(one.fetch(2, b"sha", offset)) == data[offset:]

    asyncio.run(scenario())


def test_a_snapshot_that_is_not_there_is_refused():
    async def scenario():
        async with pair(body=body_of(b"")) as ((one, _), _):
            with pytest.raises(LinkError, match="node 2: peer refuses: no such snapshot"):
                await exhaust(one.fetch(2, b"other", 0))

    asyncio.run(scenario())


def test_a_fetch_from_nobody_fails():
    async def scenario():
        link = TcpLink(1, addresses_of(1, 2), SECRET)
        await link.start(Events())
        with pytest.raises(LinkError, match="node 2"):
            await exhaust(link.fetch(2, b"sha", 0))
        await link.stop()

    asyncio.run(scenario())


def test_a_fetch_needs_the_secret_too():
    async def scenario():
        async with links(1, members=2, body=body_of(b"data")) as nodes:
            other = TcpLink(2, nodes[1][0]._addresses, b"guess")
            await other.start(Events())
            with pytest.raises(LinkError, match="node 1: peer refuses: no proof of the secret"):
                await exhaust(other.fetch(1, b"sha", 0))
            await other.stop()

    asyncio.run(scenario())


def test_a_snapshot_that_breaks_off_raises():
    async def scenario():
        async with pair(body=body_of(bytes(20 * CHUNK), fail_at=8 * CHUNK)) as ((one, _), _):
            with pytest.raises(LinkError, match=r"broke off|reset"):
                await exhaust(one.fetch(2, b"sha", 0))

    asyncio.run(scenario())


def test_a_snapshot_that_falls_silent_raises():
    async def silence(offset: int) -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    async def scenario():
        async with pair(body=lambda sha256, offset: silence(offset), fetch_silence_s=0.1) as ((one, _), _):
            fetch = one.fetch(2, b"sha", 0)
            assert await anext(fetch) == b"first"
            with pytest.raises(LinkError, match="timed out"):
                await anext(fetch)

    asyncio.run(scenario())


def test_two_snapshots_are_served_to_a_peer_at_once_and_their_ends_make_room():
    async def scenario():
        async with pair(body=body_of(bytes(200 * CHUNK))) as ((one, _), (two, _)):
            first, second = one.fetch(2, b"sha", 0), one.fetch(2, b"sha", 0)
            await anext(first)
            await anext(second)
            with pytest.raises(LinkError, match="too many snapshots at once"):
                await anext(one.fetch(2, b"sha", 0))
            await first.aclose()
            await second.aclose()
            assert two._door is not None
            await async_eventually(lambda: two._door is not None and two._door.served(1) == 0, 5.0)
            assert len(await exhaust(one.fetch(2, b"sha", 0))) == 200 * CHUNK

    asyncio.run(scenario())


def test_a_slow_fetch_holds_the_server_back():
    async def scenario():
        served = 0

        async def counted(offset: int) -> AsyncIterator[bytes]:
            nonlocal served
            for _ in range(400):
                served += 1
                yield bytes(CHUNK)

        async with pair(body=lambda sha256, offset: counted(offset)) as ((one, _), _):
            taken = ahead = 0
            async for _ in one.fetch(2, b"sha", 0):
                taken += 1
                for _ in range(20):  # the server gets many turns for each of ours
                    await asyncio.sleep(0)
                ahead = max(ahead, served - taken)
            assert taken == 400
            assert ahead * CHUNK <= 24 * 1024 * 1024  # the kernel's buffers, and a chunk or two of ours

    asyncio.run(scenario())


def test_a_second_request_on_a_snapshots_connection_ends_it():
    async def scenario():
        async with links(1, members=2, body=body_of(bytes(200 * CHUNK))) as nodes:
            raw = await Raw.authenticated(nodes[1][0], 2, SNAPSHOT)
            request = framed(peers_pb2.FetchSnapshot(sha256=b"sha").SerializeToString())
            raw.write(request + request)
            await raw.ended()
            assert nodes[1][1].frames == []

    asyncio.run(scenario())
