"""TLS between links: who gets through, who is kept out on either side, and what each is told."""

import asyncio
import os
import pickle
import random
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from lockd.proto import peers_pb2
from lockd.raft.errors import LinkError
from lockd.raft.transport import Limits, TcpLink, contexts
from lockd.raft.transport.frames import framed
from lockd.raft.transport.handshake import RAFT, SNAPSHOT, Accepting, Dialling
from lockd.raft.transport.tls import names_in
from tests.certificates import Authority
from tests.eventually import async_eventually
from tests.raft.loops import on_each_loop, run_on
from tests.raft.wire import (
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
def foreign(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="module")
def security(authority):
    """Of a node, under its own certificate."""
    return lambda node: security_of(authority.ca, pair=authority.node(node))


def reasons(lines, peer: int | None) -> set[str]:
    return {line["reason"] for line in lines if line.get("peer") == peer and "reason" in line}


@on_each_loop
def test_links_exchange_frames_and_snapshots(loop, security):
    async def scenario():
        data = random.Random(5).randbytes(5 * 1024 * 1024)
        async with links(3, security=security, body=body_of(data)) as nodes:
            await joined(nodes)
            frames = [f"{number}".encode() for number in range(300)] + [b"", bytes(16 * 1024 * 1024), b"last"]
            for frame in frames:
                nodes[1][0].send(2, frame)
                nodes[3][0].send(2, frame)
            await async_eventually(lambda: len(nodes[2][1].frames) == 2 * len(frames), 10.0)
            assert nodes[2][1].data(1) == nodes[2][1].data(3) == frames
            assert await exhaust(nodes[1][0].fetch(2, b"sha", 7)) == data[7:]

    run_on(loop, scenario())


STRANGERS = {
    "a certificate of a foreign authority": (
        lambda own, foreign: security_of(own.ca, foreign.ca, pair=foreign.node(2)),
        "its certificate is not believed: its authority is unknown here",
        "it does not believe this node's certificate: its authority is unknown there",
    ),
    "another member's certificate": (
        lambda own, foreign: security_of(own.ca, pair=own.node(3)),
        "the certificate does not name node 2",
        "peer refuses: the certificate does not name node 2",
    ),
    "a client's certificate": (
        lambda own, foreign: security_of(own.ca, pair=own.client("backup")),
        "the certificate does not name node 2",
        "peer refuses: the certificate does not name node 2",
    ),
    "an expired certificate": (
        lambda own, foreign: security_of(own.ca, pair=own.node(2, days=-1)),
        "its certificate is not believed: certificate has expired",
        "it does not believe this node's certificate: it has expired",
    ),
    "plaintext": (
        lambda own, foreign: None,
        "it does not speak TLS; is tls configured on every node?",
        "it speaks TLS and this node does not; is tls configured on every node?",
    ),
}


@on_each_loop
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_link_that_is_no_peer_is_kept_out_on_both_sides_and_both_say_why(
    loop, stranger, authority, foreign, security
):
    make, accepted_why, dialled_why = STRANGERS[stranger]

    async def scenario():
        with capture_logs() as lines:
            async with links(1, members=2, security=security, body=body_of(b"secret"), handshake_s=1.0) as nodes:
                honest, told = nodes[1]
                other = TcpLink(2, honest._addresses, SECRET, security=make(authority, foreign))
                async with started(other, seen := Events(body_of(b"forged"))):
                    await async_eventually(lambda: dialled_why in reasons(lines, 1), 20.0)
                    await async_eventually(lambda: accepted_why in reasons(lines, None) | reasons(lines, 2), 20.0)
                    with pytest.raises(LinkError, match="node 1: "):
                        await exhaust(other.fetch(1, b"sha", 0))
                    with pytest.raises(LinkError, match="node 2: "):
                        await exhaust(honest.fetch(2, b"sha", 0))
                    honest.send(2, b"for node 2 only")
                    other.send(1, b"forged")
                    await async_eventually(lambda: ("down", 2) in told.told, 5.0)
        told_of = [what for events in (told, seen) for what, _ in events.told]
        assert set(told_of) <= {"down", "refused"}
        assert told.frames == seen.frames == []
        said = [tuple(line.items()) for line in lines]
        assert len(said) == len(set(said))  # each thing once, however often it happens

    run_on(loop, scenario())


@on_each_loop
@pytest.mark.parametrize("stranger", STRANGERS)
def test_no_failure_of_tls_counts_as_a_dead_process(loop, stranger, security, authority, foreign):
    async def scenario():
        addresses, limits = addresses_of(1, 2), Limits(handshake_s=0.5)
        wrong = STRANGERS[stranger][0](authority, foreign)
        two = TcpLink(2, addresses, SECRET, security=wrong, limits=limits)
        one, told = TcpLink(1, addresses, SECRET, security=security(1), limits=limits), Events()
        async with started(two, Events()), started(one, told):
            await async_eventually(lambda: one._diallers[2]._pause._failures > 3, 20.0)
            assert told.told == [("down", 2)]

    run_on(loop, scenario())


@on_each_loop
def test_a_certificate_without_the_secret_and_the_secret_without_a_certificate(loop, security, authority):
    async def scenario():
        async with links(1, members=2, security=security) as nodes:
            link, events = nodes[1]
            raw = await Raw.dial(link, security(2).client)
            hello = Dialling(me=2, peer=1, secret=b"guess", purpose=RAFT).hello(await raw.frame())
            raw.write(framed(hello) + framed(b"smuggled"))
            assert peers_pb2.Welcome.FromString(await raw.frame()).refused == "no proof of the secret"
            await raw.ended()

            bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            bare.check_hostname = False
            bare.load_verify_locations(authority.ca)
            with capture_logs() as lines:
                with pytest.raises((OSError, asyncio.IncompleteReadError)):
                    await Raw.authenticated(link, 2, tls=bare)
                await async_eventually(lambda: "it has no certificate" in reasons(lines, None), 5.0)
            assert events.frames == []

    run_on(loop, scenario())


def test_no_session_can_be_resumed(security):
    """A resumed one would show no certificate, and outlive the authority that was believed when it began."""

    async def scenario():
        async with links(1, members=2, security=security) as nodes:
            raw = await Raw.authenticated(nodes[1][0], 2, tls=security(2).client)
            assert not raw._writer.get_extra_info("ssl_object").session.has_ticket
            await raw.close()

    asyncio.run(scenario())


def test_tls_below_1_3_is_refused(security, authority):
    async def scenario():
        old = security(2).client
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
        async with links(1, members=2, security=security) as nodes:
            with capture_logs() as lines:
                with pytest.raises(OSError, match=r"(?i)protocol.version"):
                    await Raw.dial(nodes[1][0], old)
                await async_eventually(lambda: "it does not speak TLS 1.3" in reasons(lines, None), 5.0)

    asyncio.run(scenario())


@asynccontextmanager
async def dialled_by_node_1(security, listens):
    async with raw_listener(listens.server) as (address, accepted):
        link, events = TcpLink(1, {**addresses_of(1, 3), 2: address}, SECRET, security=security(1)), Events()
        async with started(link, events):
            yield events, accepted


@on_each_loop
def test_a_dialler_says_nothing_to_one_that_its_certificate_does_not_name(loop, security):
    """Node 3, at node 2's address, hears no Hello: the proof in it is not given away."""

    async def scenario():
        async with dialled_by_node_1(security, security(3)) as (events, accepted):
            with capture_logs() as lines:
                raw = await accepted()
                raw.write(framed(Accepting(me=2, members=frozenset({1, 2}), secret=SECRET).challenge()))
                assert await raw.ended() == b""
                await async_eventually(lambda: "its certificate does not name node 2" in reasons(lines, 2), 5.0)
            assert ("up", 2) not in events.told

    run_on(loop, scenario())


@on_each_loop
@pytest.mark.parametrize("purpose", [RAFT, SNAPSHOT])
def test_the_hello_is_checked_against_the_certificate_for_each_purpose(loop, security, purpose):
    async def scenario():
        async with links(1, members=3, security=security, body=body_of(b"data")) as nodes:
            with pytest.raises(LinkError, match="peer refuses: the certificate does not name node 2"):
                await Raw.authenticated(nodes[1][0], 2, purpose, security(3).client)
            await (await Raw.authenticated(nodes[1][0], 3, purpose, security(3).client)).close()

    run_on(loop, scenario())


class Writes:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@on_each_loop
def test_a_pickle_does_nothing_wherever_it_is_sent(loop, security, tmp_path):
    async def scenario():
        bomb = pickle.dumps(Writes(tmp_path / "written"))
        async with links(1, members=2, security=security) as nodes:
            link, events = nodes[1]
            in_plain = await Raw.dial(link)
            in_plain.write(bomb)
            await in_plain.ended()
            for data in (bomb, framed(bomb)):
                in_tls = await Raw.dial(link, security(2).client)
                await in_tls.frame()
                in_tls.write(data)
                await in_tls.ended()
            assert events.frames == []
            proven = await Raw.authenticated(link, 2, tls=security(2).client)
            proven.write(bomb)  # as a length, beyond any frame's
            await proven.ended()
            assert events.frames == []
        assert list(tmp_path.iterdir()) == []
        pickle.loads(bomb)  # it would have
        assert list(tmp_path.iterdir()) != []

    run_on(loop, scenario())


# --- contexts and names


def test_contexts_say_what_does_not_fit(authority, foreign):
    ca = authority.ca.read_bytes()
    cert, key = (path.read_bytes() for path in authority.node(1))
    _, other_key = (path.read_bytes() for path in authority.node(2))
    for material, complaint in [
        ((b"", cert, key), "authorities"),
        ((b"nonsense", cert, key), "authorities"),
        ((cert, cert, key), "none of the certificates of the authorities"),
        ((ca, b"", key), "not in PEM"),
        ((ca, cert, b""), "not in PEM"),
        ((ca, cert, other_key), "the key is not that of the certificate"),
        ((ca, cert, ENCRYPTED_KEY), "encrypted"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            contexts(*material)
    assert contexts("# Zürich\n".encode() + ca, cert, key)


ENCRYPTED_KEY = b"""-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjMzxgEpATnEQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEECAMZq3xHXGWRMQuTxbW3ZQEgZDr
e0B99VA5+N9UrKCPaAzpgTAj1E6xhdiRKFEyobqGtFGq4eyzVN6H8O2WMS+r5Jpv
NT1W2cA9/FmQbvgqjNnKaPa4hOFRYLjgIElhSF3/SRVe/3Pgf6N3LcAvLzRk8w4M
v7MxnQFDTGsPug/96d62Ffd1DLm07PzWCrxmx3l7KrIQKAwtPrCCnv65OHGcHWQ=
-----END ENCRYPTED PRIVATE KEY-----
"""


def test_contexts_leave_no_key_behind(authority, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cert, key = authority.node(1)
    contexts(authority.ca.read_bytes(), cert.read_bytes(), key.read_bytes())
    with pytest.raises(ValueError, match="not in PEM"):
        contexts(authority.ca.read_bytes(), b"", key.read_bytes())
    assert list(tmp_path.iterdir()) == []


def test_names_are_written_as_ipaddress_writes_them():
    certificate = {
        "subject": ((("commonName", "node-9.example"),),),
        "subjectAltName": (
            ("DNS", "Node-1.Example"),
            ("IP Address", "127.0.0.1"),
            ("IP Address", "FE80:0:0:0:0:0:0:1"),
            ("URI", "urn:lockd:node:1"),
            ("email", "a@example"),
        ),
    }
    assert names_in(certificate) == (
        frozenset({"urn:lockd:node:1"}),
        frozenset({"node-1.example", "127.0.0.1", "fe80::1"}),
    )
    assert names_in({}) == (frozenset(), frozenset())


@on_each_loop
def test_a_certificate_that_names_nobody_is_nobodys(loop, security):
    async def scenario():
        async with links(1, members=2, security=lambda node: replace(security(node), names=lambda *of: False)) as nodes:
            with pytest.raises(LinkError, match="the certificate does not name node 2"):
                await Raw.authenticated(nodes[1][0], 2, tls=security(2).client)

    run_on(loop, scenario())
