"""Certificates replaced under running links: frames go on in order, no loss is told, who is not believed is out."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from lockd.raft.errors import LinkError
from lockd.raft.transport import TcpLink
from lockd.raft.transport.frames import framed
from lockd.raft.transport.handshake import RAFT, RAFT_NEXT, Accepting, Dialling
from tests.certificates import Authority
from tests.eventually import async_eventually
from tests.raft.loops import on_each_loop, run_on
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
    raw_listener,
    security_of,
    started,
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def successor(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("successor"), "the next one")


IMPATIENT: dict[str, Any] = {"renewal_grace_s": 0.6, "redial_s_max": 0.1}

IN_FLIGHT = 100
"""Frames on their way between two nodes."""


class Traffic:
    """Numbered frames from each node to each other one, without end."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.sent = 0

    async def flow(self):
        while True:
            for me, (link, _) in self.nodes.items():
                for peer in self.nodes.keys() - {me}:
                    link.send(peer, str(self.sent).encode() + bytes(100))
            self.sent += 1
            await asyncio.sleep(0)
            while any(self.sent - self.last(me, peer) > IN_FLIGHT for me, peer in self.pairs()):
                await asyncio.sleep(0)

    def pairs(self):
        return [(me, peer) for me in self.nodes for peer in self.nodes if peer != me]

    def seen(self, me, peer):
        return [int(data[:-100]) for data in self.nodes[me][1].data(peer)]

    def connections(self, me, peer):
        return [number for sender, number, _ in self.nodes[me][1].frames if sender == peer]

    def last(self, me, peer):
        data = self.nodes[me][1].data(peer)
        return int(data[-1][:-100]) if data else -1

    def arrives(self):
        return all(self.last(me, peer) >= self.sent - 1 for me, peer in self.pairs())


@asynccontextmanager
async def traffic(nodes):
    await joined(nodes)
    flowing = Traffic(nodes)
    task = asyncio.create_task(flowing.flow())
    yield flowing
    task.cancel()
    await asyncio.wait([task])
    await async_eventually(flowing.arrives, 5.0)


def dialled(nodes):
    return {
        (me, peer): dialler._connection for me, (link, _) in nodes.items() for peer, dialler in link._diallers.items()
    }


async def gone_over(nodes, before):
    """Every node has another connection to every other one, and the old ones have ended."""

    def each():
        now = dialled(nodes)
        return all(
            now[key] is not before[key] and now[key] is not None and now[key].open and before[key].closed.done()
            for key in before
        )

    await async_eventually(each, 10.0)


def grace_is_over(link):
    now = asyncio.get_running_loop().time()
    return all(closing.when() < now for closing in link._door._closings)


def losses(nodes):
    """What was told of a connection that had been up."""
    told = {me: events.told for me, (_, events) in nodes.items()}
    ups = {me: [what for what in each if what[0] == "up"] for me, each in told.items()}
    return {me: told[me] for me, each in ups.items() if len(each) != len(set(each))}


@on_each_loop
def test_frames_flow_through_renewals_without_a_loss(loop, authority):
    """Same authority, all nodes at nearly the same time, three times."""

    async def scenario():
        security = {node: security_of(authority.ca, pair=authority.node(node)) for node in (1, 2, 3)}
        async with links(3, security=security.get) as nodes, traffic(nodes) as flow:
            for _ in range(3):
                before = dialled(nodes)
                for node, (link, _events) in nodes.items():
                    link.renew(security_of(authority.ca, pair=authority.node(node)))
                    await asyncio.sleep(0)
                await gone_over(nodes, before)
            sent = flow.sent
            await async_eventually(lambda: flow.sent > sent + 10, 5.0)
        for me, peer in flow.pairs():
            assert flow.seen(me, peer) == list(range(flow.sent))
            numbers = flow.connections(me, peer)
            assert numbers == sorted(numbers)
            assert len(set(numbers)) > 1
        assert losses(nodes) == {}

    run_on(loop, scenario())


@on_each_loop
def test_a_node_renewed_before_the_others_is_gone_over_to_from_both_sides(loop, authority):
    """The others dial it anew although nothing changed for them, so that none of them is closed after the grace."""

    async def scenario():
        security = {node: security_of(authority.ca, pair=authority.node(node)) for node in (1, 2, 3)}
        async with links(3, security=security.get, **IMPATIENT) as nodes, traffic(nodes) as flow:
            before = {key: connection for key, connection in dialled(nodes).items() if 1 in key}
            door = nodes[1][0]._door
            assert door is not None
            accepted = set(door._raft.values())
            with capture_logs() as lines:
                nodes[1][0].renew(security_of(authority.ca, pair=authority.node(1)))
                await gone_over(nodes, before)
                await async_eventually(lambda: all(connection.ended for connection in accepted), 5.0)
                await async_eventually(partial(grace_is_over, nodes[1][0]), 5.0)
            assert lines == []
        for me, peer in flow.pairs():
            assert flow.seen(me, peer) == list(range(flow.sent))
        assert losses(nodes) == {}

    run_on(loop, scenario())


@on_each_loop
def test_an_authority_is_replaced_by_way_of_a_bundle(loop, authority, successor):
    async def scenario():
        def security(node, *ca, by):
            return security_of(*(each.ca for each in ca), pair=by.node(node))

        async with (
            links(2, security=lambda node: security(node, authority, by=authority), **IMPATIENT) as nodes,
            traffic(nodes) as flow,
        ):
            for step in (
                partial(security, by=authority),
                partial(security, by=successor),
            ):
                for node, (link, _) in nodes.items():  # one node after the other
                    before = dialled(nodes)
                    link.renew(step(node, authority, successor))
                    await gone_over(nodes, before)
                    await async_eventually(partial(grace_is_over, link), 5.0)
            for node, (link, _) in nodes.items():
                before = dialled(nodes)
                link.renew(security(node, successor, by=successor))
                await gone_over(nodes, before)
                await async_eventually(partial(grace_is_over, link), 5.0)
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await Raw.authenticated(nodes[1][0], 2, tls=security(2, authority, successor, by=authority).client)
        for me, peer in flow.pairs():
            assert flow.seen(me, peer) == list(range(flow.sent))
        assert losses(nodes) == {}

    run_on(loop, scenario())


@on_each_loop
def test_who_is_not_believed_any_more_is_out_after_the_grace(loop, authority, successor):
    async def scenario():
        security = {node: security_of(authority.ca, pair=authority.node(node)) for node in (1, 2)}
        with capture_logs() as lines:
            async with links(2, security=security.get, renewal_grace_s=0.5) as nodes:
                await joined(nodes)
                (one, told), (two, seen) = nodes[1], nodes[2]
                for events in (told, seen):
                    events.told.clear()
                one.renew(security_of(successor.ca, pair=successor.node(1)))
                one.send(2, b"within the grace")
                await async_eventually(lambda: seen.data(1) == [b"within the grace"], 5.0)
                await async_eventually(lambda: ("down", 2) in told.told and ("down", 1) in seen.told, 10.0)
                assert not one.connected(2)
                one.send(2, b"not for a stranger")
                with pytest.raises(LinkError, match="its certificate is not believed"):
                    await exhaust(one.fetch(2, b"sha", 0))
                two.renew(security_of(successor.ca, pair=successor.node(2)))  # and is back when it has caught up
                await joined(nodes)
                two.send(1, b"back")
                await async_eventually(lambda: told.data(2) == [b"back"], 5.0)
            assert b"not for a stranger" not in seen.data(1)
        said = [line["event"] for line in lines if line.get("peer") == 2]
        assert "peer not reached anew, the old connection stays" in said

    run_on(loop, scenario())


@on_each_loop
def test_a_peer_that_does_not_believe_the_renewed_certificate_keeps_its_connection_until_it_does(
    loop, authority, successor
):
    """Node 1 believes both authorities and shows the next one's certificate. Node 2 has not heard of that one yet."""

    async def scenario():
        security = {node: security_of(authority.ca, pair=authority.node(node)) for node in (1, 2)}
        with capture_logs() as lines:
            async with links(2, security=security.get, renewal_grace_s=60.0) as nodes, traffic(nodes) as flow:
                before = dialled(nodes)
                nodes[1][0].renew(security_of(authority.ca, successor.ca, pair=successor.node(1)))
                await async_eventually(
                    lambda: {"peer not reached anew, the old connection stays"} <= {line["event"] for line in lines},
                    5.0,
                )
                assert dialled(nodes) == before
                nodes[2][0].renew(security_of(authority.ca, successor.ca, pair=authority.node(2)))
                await gone_over(nodes, before)
            for me, peer in flow.pairs():
                assert flow.seen(me, peer) == list(range(flow.sent))
            assert losses(nodes) == {}

    run_on(loop, scenario())


@on_each_loop
def test_what_waits_to_be_sent_at_a_renewal_arrives(loop, authority):
    async def scenario():
        security = {node: security_of(authority.ca, pair=authority.node(node)) for node in (1, 2)}
        async with links(2, security=security.get, handshake_s=20.0) as nodes:
            await joined(nodes)
            (one, _), (_, seen) = nodes[1], nodes[2]
            before = one._diallers[2]._connection
            frames = [bytes([number]) * 16 * 1024 * 1024 for number in range(3)]
            one.renew(security_of(authority.ca, pair=authority.node(1)))
            for frame in frames:
                one.send(2, frame)
            await async_eventually(lambda: one._diallers[2]._connection is not before, 20.0)
            one.send(2, b"by the new one")
            await async_eventually(lambda: len(seen.frames) == 4, 20.0)
            assert seen.data(1) == [*frames, b"by the new one"]
            assert len({number for _, number, _ in seen.frames}) == 2

    run_on(loop, scenario())


@on_each_loop
def test_who_does_not_dial_anew_is_closed_after_the_grace(loop, authority):
    async def scenario():
        security = {node: security_of(authority.ca, pair=authority.node(node)) for node in (1, 2, 3)}
        async with links(1, members=3, security=security.get, renewal_grace_s=0.3) as nodes:
            link, events = nodes[1]
            raw = await Raw.authenticated(link, 2, tls=security[2].client)
            link.renew(security_of(authority.ca, pair=authority.node(1)))
            after = await Raw.authenticated(link, 3, tls=security[3].client)
            assert await raw.frame() == b""
            with capture_logs() as lines:
                await raw.ended()
            assert [line["peer"] for line in lines if line["event"] == "connection closed"] == [2]
            after.write(framed(b"stays"))
            await async_eventually(lambda: events.data(3) == [b"stays"], 5.0)
            await after.close()

    run_on(loop, scenario())


@on_each_loop
def test_a_connection_that_was_being_made_at_a_renewal_is_made_anew(loop, authority):
    async def scenario():
        security = {node: security_of(authority.ca, pair=authority.node(node)) for node in (1, 2)}
        async with raw_listener(security[2].server) as (address, accepted):
            link = TcpLink(1, {**addresses_of(1), 2: address}, SECRET, security=security[1])
            async with started(link, Events()):
                for _ in range(2):
                    raw = await accepted()
                    link.renew(security_of(authority.ca, pair=authority.node(1)))
                    await raw.welcome(Accepting(me=2, members=frozenset({1, 2}), secret=SECRET))
                await accepted()

    run_on(loop, scenario())


# --- what the door does with connections that take over


@on_each_loop
def test_one_that_takes_over_is_not_read_before_the_one_before_it_has_ended(loop):
    async def scenario():
        async with links(1, members=2) as nodes:
            link, events = nodes[1]
            old = await Raw.authenticated(link, 2)
            new = await Raw.authenticated(link, 2, RAFT_NEXT)
            new.write(framed(b"second"))
            old.write(framed(b"first"))
            await async_eventually(lambda: events.data(2) == [b"first"], 5.0)
            old.write(framed(b"the last"))
            await old.close()
            await async_eventually(lambda: events.has(2, 2), 5.0)
            new.write(framed(b"third"))
            await async_eventually(lambda: events.has(2, events.data(2).count(b"the last") + 3), 5.0)
            assert [data for data in events.data(2) if data != b"the last"] == [b"first", b"second", b"third"]
            numbers = [number for _, number, _ in events.frames]
            assert numbers == sorted(numbers)
            await new.close()

    run_on(loop, scenario())


@on_each_loop
def test_one_that_does_not_end_is_ended_when_a_handshakes_time_is_over(loop):
    async def scenario():
        async with links(1, members=2, handshake_s=0.3) as nodes:
            link, events = nodes[1]
            old = await Raw.authenticated(link, 2)
            new = await Raw.authenticated(link, 2, RAFT_NEXT)
            newest = await Raw.authenticated(link, 2, RAFT_NEXT)
            newest.write(framed(b"newest"))
            new.write(framed(b"new"))
            await old.ended()
            await new.ended()
            await async_eventually(lambda: b"newest" in events.data(2), 5.0)
            assert events.data(2) in ([b"newest"], [b"new", b"newest"])
            await newest.close()

    run_on(loop, scenario())


@on_each_loop
def test_one_that_supersedes_ends_all_before_it(loop):
    async def scenario():
        async with links(1, members=2, handshake_s=60.0) as nodes:
            link, events = nodes[1]
            old = await Raw.authenticated(link, 2)
            waiting_one = await Raw.authenticated(link, 2, RAFT_NEXT)
            reborn = await Raw.authenticated(link, 2, RAFT)
            old.write(framed(b"too late"))
            waiting_one.write(framed(b"too late"))
            await old.ended()
            await waiting_one.ended()
            reborn.write(framed(b"reborn"))
            await async_eventually(lambda: events.data(2) == [b"reborn"], 5.0)
            await reborn.close()

    run_on(loop, scenario())


@on_each_loop
def test_one_that_takes_over_sends_nothing_before_its_welcome(loop):
    async def scenario():
        async with links(1, members=2) as nodes:
            link, events = nodes[1]
            old = await Raw.authenticated(link, 2)
            new = await Raw.dial(link)
            hello = Dialling(me=2, peer=1, secret=SECRET, purpose=RAFT_NEXT).hello(await new.frame())
            new.write(framed(hello) + framed(b"overtakes"))
            await new.ended()
            await old.ended()
            assert events.frames == []

    run_on(loop, scenario())


@on_each_loop
def test_one_that_was_shaking_hands_at_a_renewal_is_asked_to_dial_anew(loop, authority):
    async def scenario():
        security = {node: security_of(authority.ca, pair=authority.node(node)) for node in (1, 2)}
        async with links(1, members=2, security=security.get) as nodes:
            link, _ = nodes[1]
            raw = await Raw.dial(link, security[2].client)
            challenge = await raw.frame()
            link.renew(security_of(authority.ca, pair=authority.node(1)))
            handshake = Dialling(me=2, peer=1, secret=SECRET, purpose=RAFT)
            raw.write(framed(handshake.hello(challenge)))
            handshake.verify(await raw.frame())
            assert await raw.frame() == b""
            await raw.close()

    run_on(loop, scenario())


def test_a_link_without_tls_cannot_be_renewed(authority):
    link = TcpLink(1, addresses_of(1), SECRET)
    with pytest.raises(ValueError, match="takes to TLS when it starts"):
        link.renew(security_of(authority.ca, pair=authority.node(1)))


@on_each_loop
def test_a_link_that_is_stopped_amid_a_renewal_leaves_nothing_behind(loop, authority):
    async def scenario():
        security = {node: security_of(authority.ca, pair=authority.node(node)) for node in (1, 2, 3)}
        async with links(3, security=security.get, body=body_of(bytes(64 * CHUNK))) as nodes:
            await joined(nodes)
            for node, (link, _) in nodes.items():
                link.renew(security_of(authority.ca, pair=authority.node(node)))
            await asyncio.sleep(0)
            told = list(nodes[1][1].told)
            await nodes[1][0].stop()
            await nodes[2][0].stop()
            await nodes[3][0].stop()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert nodes[1][1].told == told

    run_on(loop, scenario())
