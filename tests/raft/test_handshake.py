"""Who is kept out of the peers' port. Each attack is made on a real socket, delivers nothing and harms nobody."""

import asyncio
import os
import pickle
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from lockd.proto import peers_pb2
from lockd.raft.transport import TcpLink
from lockd.raft.transport.frames import framed
from lockd.raft.transport.handshake import RAFT, SNAPSHOT, Accepting, Claim, Dialling, RefusedError
from tests.eventually import async_eventually
from tests.raft.wire import SECRET, Events, Raw, addresses_of, links, raw_listener


def hello(challenge: bytes, *, secret=SECRET, me=2, peer=1, purpose=RAFT) -> bytes:
    return Dialling(me=me, peer=peer, secret=secret, purpose=purpose).hello(challenge)


def altered(frame: bytes, **fields) -> bytes:
    message = peers_pb2.Hello.FromString(frame)
    for field, value in fields.items():
        setattr(message, field, value)
    return message.SerializeToString()


def proven(challenge: bytes, **fields) -> bytes:
    """A Hello whose proof covers whatever it says."""
    message = peers_pb2.Hello(protocol=1, from_node=2, to_node=1, purpose=RAFT, nonce=bytes(32))
    for field, value in fields.items():
        setattr(message, field, value)
    claim = Claim(
        from_node=message.from_node,
        to_node=message.to_node,
        purpose=message.purpose,
        acceptor_nonce=peers_pb2.Challenge.FromString(challenge).nonce,
        dialler_nonce=message.nonce,
        protocol=message.protocol,
    )
    message.proof = claim.proof(SECRET, b"lockd/peers/hello")
    return message.SerializeToString()


class Bomb:
    """Unpickling it ends the process."""

    def __reduce__(self):
        return os._exit, (66,)


def pysyncobj_message(value: object) -> bytes:
    packed = zlib.compress(pickle.dumps(value), 3)
    return struct.pack("i", len(packed)) + packed


REFUSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "wrong secret": (lambda challenge: hello(challenge, secret=b"guess"), "no proof of the secret"),
    "no proof": (lambda challenge: altered(hello(challenge), proof=b""), "no proof of the secret"),
    "purpose changed": (lambda challenge: altered(hello(challenge), purpose=SNAPSHOT), "no proof of the secret"),
    "sender changed": (lambda challenge: altered(hello(challenge), from_node=3), "no proof of the secret"),
    "nonce changed": (lambda challenge: altered(hello(challenge), nonce=bytes(32)), "no proof of the secret"),
    "short nonce": (lambda challenge: proven(challenge, nonce=b"short"), "no proof of the secret"),
    "not a member": (lambda challenge: hello(challenge, me=9), "not a member"),
    "our own id": (lambda challenge: hello(challenge, me=1), "not a member"),
    "for another node": (lambda challenge: hello(challenge, peer=3), "this is another node"),
    "other protocol": (lambda challenge: proven(challenge, protocol=2), "protocol 2, this node speaks 1"),
    "other purpose": (lambda challenge: proven(challenge, purpose="gossip"), "unknown purpose"),
    "empty frame": (lambda challenge: b"", "protocol 0, this node speaks 1"),
}

CLOSED: dict[str, Callable[[bytes], bytes]] = {
    "plaintext": lambda challenge: b"GET / HTTP/1.1\r\nHost: lockd\r\n\r\n",
    "malformed protobuf": lambda challenge: framed(b"\xff" * 40),
    "invalid UTF-8": lambda challenge: framed(b"\x32\x02\xff\xfe"),
    "pickle": lambda challenge: framed(pickle.dumps(Bomb())),
    "PySyncObj's own pickle": lambda challenge: pysyncobj_message(Bomb()),
    "PySyncObj's own status request": lambda challenge: pysyncobj_message(["status", None]),
    "frame above the bound": lambda challenge: framed(bytes(1025)),
    "huge length": lambda challenge: b"\xff\xff\xff\xff",
}


async def unharmed(link: TcpLink, events: Events) -> None:
    """Nothing was delivered so far, and a peer gets through."""
    assert events.frames == []
    raw = await Raw.authenticated(link, 2)
    raw.write(framed(b"honest"))
    await async_eventually(lambda: events.data(2) == [b"honest"], 5.0)
    await raw.close()


@pytest.mark.parametrize("attack", REFUSED)
def test_a_hello_that_does_not_hold_is_refused_with_its_reason(attack):
    make, reason = REFUSED[attack]

    async def scenario():
        async with links(1, members=3) as nodes:
            raw = await Raw.dial(nodes[1][0])
            with capture_logs() as lines:
                raw.write(framed(make(await raw.frame())) + framed(b"smuggled behind it"))
                answer = await raw.frame()
            assert answer == peers_pb2.Welcome(refused=reason).SerializeToString()
            assert await raw.ended() == b""
            assert [line["reason"] for line in lines if line["event"] == "peer refused"] == [reason]
            assert "secret between" not in str(lines)
            await unharmed(*nodes[1])

    asyncio.run(scenario())


@pytest.mark.parametrize("attack", CLOSED)
def test_garbage_is_closed_without_an_answer(attack):
    async def scenario():
        async with links(1, members=3) as nodes:
            raw = await Raw.dial(nodes[1][0])
            with capture_logs() as lines:
                raw.write(CLOSED[attack](await raw.frame()))
                assert await raw.ended() == b""
            assert len([line for line in lines if line["event"] == "connection closed"]) == 1
            await unharmed(*nodes[1])

    asyncio.run(scenario())


def test_a_refusal_is_logged_once_for_each_peer_and_reason():
    async def scenario():
        async with links(1, members=3) as nodes:
            with capture_logs() as lines:
                for me in (2, 2, 3, 2, 3):
                    raw = await Raw.dial(nodes[1][0])
                    raw.write(framed(hello(await raw.frame(), secret=b"guess", me=me)))
                    await raw.ended()
            assert [line["peer"] for line in lines if line["event"] == "peer refused"] == [2, 3]

    asyncio.run(scenario())


def test_a_replayed_hello_is_refused():
    async def scenario():
        async with links(1, members=3) as nodes:
            raw = await Raw.dial(nodes[1][0])
            recorded = framed(hello(await raw.frame()))
            raw.write(recorded)
            assert peers_pb2.Welcome.FromString(await raw.frame()).refused == ""
            await raw.close()
            again = await Raw.dial(nodes[1][0])
            await again.frame()
            again.write(recorded + framed(b"replayed"))
            assert peers_pb2.Welcome.FromString(await again.frame()).refused == "no proof of the secret"
            await again.ended()
            await unharmed(*nodes[1])

    asyncio.run(scenario())


def test_a_hello_reflected_to_its_sender_is_refused():
    """Who knows no secret dials node 1 as node 2, and lets node 1 prove the secret to itself."""

    async def scenario():
        async with raw_listener() as (address, accepted):
            link, events = TcpLink(1, {**addresses_of(1, 3), 2: address}, SECRET), Events()
            await link.start(events)
            victim = await accepted()
            attacker = await Raw.dial(link)
            victim.write(framed(await attacker.frame()))  # node 1's own challenge
            own_hello = await victim.frame()
            for reflected in (own_hello, altered(own_hello, from_node=2, to_node=1)):
                attacker.write(framed(reflected) + framed(b"reflected"))
                assert peers_pb2.Welcome.FromString(await attacker.frame()).refused
                await attacker.ended()
                attacker = await Raw.dial(link)
                await attacker.frame()
            await attacker.close()
            await unharmed(link, events)
            await link.stop()

    asyncio.run(scenario())


def test_a_slow_stranger_is_closed_in_time():
    async def scenario():
        async with links(1, members=3, handshake_s=0.1) as nodes:
            silent, slow = await Raw.dial(nodes[1][0]), await Raw.dial(nodes[1][0])
            asks_nothing = await Raw.authenticated(nodes[1][0], 3, SNAPSHOT)
            slow.write(b"\0\0")
            for raw in (silent, slow, asks_nothing):
                await raw.ended()
            await unharmed(*nodes[1])

    asyncio.run(scenario())


def test_strangers_are_bounded_and_keep_nobody_out():
    async def scenario():
        async with links(1, members=3, strangers_max=4, handshake_s=60.0) as nodes:
            flood = [await Raw.dial(nodes[1][0]) for _ in range(10)]
            for raw in flood[:6]:
                await raw.ended()
            await unharmed(*nodes[1])
            for raw in flood[6:]:
                await raw.close()

    asyncio.run(scenario())


# --- the dialler does not trust whom it dials either


async def no_proof(raw: Raw, challenge: Accepting) -> None:
    raw.write(framed(challenge.challenge()))
    await raw.frame()
    raw.write(framed(b""))


async def reflected_proof(raw: Raw, challenge: Accepting) -> None:
    raw.write(framed(challenge.challenge()))
    proof = peers_pb2.Hello.FromString(await raw.frame()).proof
    raw.write(framed(peers_pb2.Welcome(proof=proof).SerializeToString()))


async def welcome_without_challenge(raw: Raw, challenge: Accepting) -> None:
    raw.write(framed(peers_pb2.Welcome(proof=bytes(32)).SerializeToString()))


async def short_nonce(raw: Raw, challenge: Accepting) -> None:
    raw.write(framed(peers_pb2.Challenge(nonce=b"", protocol=1).SerializeToString()))


async def garbage(raw: Raw, challenge: Accepting) -> None:
    raw.write(b"SSH-2.0-OpenSSH_9.6\r\n")


async def other_protocol(raw: Raw, challenge: Accepting) -> None:
    raw.write(framed(peers_pb2.Challenge(nonce=bytes(32), protocol=2).SerializeToString()))


async def refusal(raw: Raw, challenge: Accepting) -> None:
    raw.write(framed(challenge.challenge()))
    await raw.frame()
    raw.write(framed(peers_pb2.Welcome(refused="not today").SerializeToString()))


@pytest.mark.parametrize(
    "impostor",
    [no_proof, reflected_proof, welcome_without_challenge, short_nonce, garbage, other_protocol, refusal],
)
def test_an_impostor_that_is_dialled_gets_no_frame(impostor: Callable[[Raw, Accepting], Awaitable[None]]):
    async def scenario():
        async with raw_listener() as (address, accepted):
            link, events = TcpLink(1, {**addresses_of(1), 2: address}, SECRET), Events()
            await link.start(events)
            for _ in range(2):  # and it is dialled again
                raw = await accepted()
                await impostor(raw, Accepting(me=2, members=frozenset({1, 2}), secret=b"guess"))
                link.send(2, b"for node 2 only")
                assert b"for node 2" not in await raw.ended()
            assert ("up", 2) not in events.told
            assert ("refused", 2) not in events.told
            await link.stop()

    asyncio.run(scenario())


def test_a_peer_that_answers_on_our_connection_loses_it():
    async def scenario():
        async with raw_listener() as (address, accepted):
            link, events = TcpLink(1, {**addresses_of(1), 2: address}, SECRET), Events()
            await link.start(events)
            raw = await accepted()
            await raw.welcome(Accepting(me=2, members=frozenset({1, 2}), secret=SECRET))
            await async_eventually(lambda: link.connected(2), 5.0)
            raw.write(framed(b"uninvited"))
            await raw.ended()
            await async_eventually(lambda: events.told == [("up", 2), ("down", 2)], 5.0)
            assert events.frames == []
            await link.stop()

    asyncio.run(scenario())


def test_proofs_cover_each_field_unambiguously():
    base = Claim(from_node=1, to_node=2, purpose=RAFT, acceptor_nonce=b"a" * 32, dialler_nonce=b"b" * 32)
    changes: list[dict[str, Any]] = [
        {},
        {"from_node": 2},
        {"to_node": 1},
        {"purpose": "raf"},
        {"acceptor_nonce": b"c" * 32},
        {"dialler_nonce": b"c" * 32},
        {"acceptor_nonce": b"b" * 32, "dialler_nonce": b"a" * 32},
        {"purpose": RAFT + "a", "acceptor_nonce": b"a" * 31},
        {"protocol": 2},
    ]
    claims = [replace(base, **change) for change in changes]
    proofs = {claim.proof(secret, tag) for claim in claims for secret in (b"1", b"2") for tag in (b"x", b"y")}
    assert len(proofs) == len(claims) * 4


def test_both_halves_meet():
    dialler = Dialling(me=1, peer=2, secret=SECRET, purpose=SNAPSHOT)
    acceptor = Accepting(me=2, members=frozenset({1, 2}), secret=SECRET)
    claim = acceptor.judge(dialler.hello(acceptor.challenge()))
    assert (claim.from_node, claim.to_node, claim.purpose) == (1, 2, SNAPSHOT)
    dialler.verify(acceptor.welcome(claim))
    with pytest.raises(RefusedError):
        Accepting(me=2, members=frozenset({2, 3}), secret=SECRET).judge(dialler.hello(acceptor.challenge()))
