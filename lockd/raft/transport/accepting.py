"""Connections that others dialled: strangers, peers' raft connections, snapshots being served."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import cast

from google.protobuf.message import Message

from lockd.proto import peers_pb2
from lockd.raft.errors import LinkError

from .frames import Splitter, framed, parse
from .handshake import RAFT_NEXT, SNAPSHOT, Accepting, Claim, RefusedError
from .node import Node, describe, report_failure, tune
from .secured import Secured, certified, trust
from .tls import NO_TLS


class Accepted(asyncio.Protocol):
    """A connection that somebody dialled."""

    _transport: asyncio.Transport

    def __init__(self, door: "Door") -> None:
        node = door.node
        self._door = door
        self._node = node
        self._handshake = Accepting(me=node.me, members=frozenset(node.addresses), secret=node.secret)
        self._splitter = Splitter(node.limits.handshake_bytes_max)
        self._loop = asyncio.get_running_loop()
        self._next: Callable[[bytes], None] = self._greeted
        self._deadline: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._serving: asyncio.Task[None] | None = None
        self._over = False
        self._host = "?"
        self.claim: Claim | None = None
        """Who it is, once that is proven."""
        self.security = node.security
        """What this node proved itself with."""
        self.number = 0
        self.previous: Accepted | None = None
        """The connection of the same peer that is read to its end before this one."""
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._host = str((transport.get_extra_info("peername") or "?")[0])
        if not self._door.enter(self):
            self.end()
            return
        self._tune(self._node.limits.silence_s)
        self._deadline = self._loop.call_later(self._node.limits.handshake_s / 2, self._half_time)
        self._transport.write(framed(self._handshake.challenge()))

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._splitter.frames(data):
                if self._over:
                    return
                self._next(frame)
        except RefusedError as refusal:
            self._refuse(refusal)
        except LinkError as error:
            self.fail(str(error))

    def eof_received(self) -> None:
        self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, LinkError) and not self._over:
            self._complain(str(exc))
        self._over = True
        self._stop_deadline()
        if self.previous is not None:
            self.previous.end()
        if self._serving is not None:
            self._serving.cancel()
        self._door.leave(self)
        self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    @property
    def ended(self) -> bool:
        return self._over

    def end(self) -> None:
        """Nothing of it is delivered from here on, whatever has already arrived."""
        self._over = True
        self._transport.abort()
        if self.previous is not None:
            self.previous.end()

    def fail(self, why: str) -> None:
        if not self._over:
            self._complain(why)
        self.end()

    def begin(self) -> None:
        """Its frames are delivered from here on."""
        self.previous = None
        self._stop_deadline()
        self._next = self._delivered
        self._splitter.bytes_max = self._node.limits.frame_bytes_max
        self._transport.resume_reading()

    def wait_for(self, previous: "Accepted") -> None:
        """Reads nothing before the previous connection has ended, for which it has as long as a handshake."""
        self.previous = previous
        self._transport.pause_reading()
        self._stop_deadline()
        self._deadline = self._loop.call_later(self._node.limits.handshake_s, previous.end)

    def ask_to_dial_anew(self) -> None:
        if not self._over:
            self._transport.write(framed(b""))

    def _half_time(self) -> None:
        if isinstance(self._transport, Secured) and not self._transport.received:
            self._complain(NO_TLS)  # whoever dials in TLS speaks first
            self._over = True
            self._transport.refuse_plaintext()
            return
        self._deadline = self._loop.call_later(self._node.limits.handshake_s / 2, self.fail, "no handshake in time")

    def _complain(self, why: str) -> None:
        peer = self.claim.from_node if self.claim else None
        self._node.complaints.say("connection closed", peer=peer, host=self._host, reason=why)

    def _refuse(self, refusal: RefusedError) -> None:
        self._node.complaints.say("peer refused", peer=refusal.node, host=self._host, reason=str(refusal))
        self._over = True
        self._write(peers_pb2.Welcome(refused=str(refusal)))
        self._transport.close()  # the handshake's deadline ends one who does not read it

    def _write(self, message: Message) -> None:
        self._transport.write(framed(message.SerializeToString()))

    def _tune(self, silence_s: float) -> None:
        tune(self._transport.get_extra_info("socket"), silence_s)

    def _greeted(self, frame: bytes) -> None:
        claim = self._handshake.judge(frame)
        if not certified(self._transport, claim.from_node):
            raise RefusedError(f"the certificate does not name node {claim.from_node}", claim.from_node)
        snapshot = claim.purpose == SNAPSHOT
        if snapshot and self._door.served(claim.from_node) >= self._node.limits.snapshots_per_peer_max:
            raise RefusedError("too many snapshots at once", claim.from_node)
        self.claim = claim
        self._transport.write(framed(self._handshake.welcome(claim)))
        trust(self._transport)
        self._next = self._asked if snapshot else self._too_early
        self._door.admit(self, claim)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _delivered(self, frame: bytes) -> None:
        assert self.claim is not None
        self._node.events.frame(self.claim.from_node, self.number, frame)

    def _too_early(self, frame: bytes) -> None:
        raise LinkError("a frame from before the Welcome")

    def _asked(self, frame: bytes) -> None:
        asked = parse(peers_pb2.FetchSnapshot, frame)
        self._next = self._uninvited
        self._stop_deadline()
        self._tune(self._node.limits.serve_stall_s)  # one who fetches may stop to write to its disk
        body = self._node.events.snapshot(asked.sha256, asked.offset)
        if body is None:
            self._write(peers_pb2.SnapshotChunk(refused="no such snapshot"))
            self._close_within(self._node.limits.handshake_s)
            return
        self._serving = self._loop.create_task(self._serve(body), name="serve snapshot")
        self._serving.add_done_callback(report_failure)
        self._door.serving.add(self._serving)
        self._serving.add_done_callback(self._door.serving.discard)

    def _uninvited(self, frame: bytes) -> None:
        raise LinkError("more than one frame on a snapshot's connection")

    async def _serve(self, body: AsyncIterator[bytes]) -> None:
        stall_s = self._node.limits.serve_stall_s
        try:
            async for chunk in body:
                if not chunk:
                    continue  # an empty one would say that this is the end
                self._write(peers_pb2.SnapshotChunk(data=chunk))
                async with asyncio.timeout(stall_s):
                    await self._writable.wait()
                await asyncio.sleep(0)  # frames of others go before the next chunk
            self._write(peers_pb2.SnapshotChunk())
            self._close_within(stall_s)
        except OSError as error:
            self.fail(f"snapshot not served: {describe(error)}")
        except BaseException:
            self.end()
            raise
        finally:
            if (close := getattr(body, "aclose", None)) is not None:
                await close()

    def _close_within(self, seconds: float) -> None:
        """Closes when what was written has left, or then."""
        self._over = True
        self._deadline = self._loop.call_later(seconds, self._transport.abort)
        self._transport.close()


class Door:
    """All accepted connections of one link."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.serving: set[asyncio.Task[None]] = set()
        self._strangers: dict[Accepted, None] = {}  # the oldest first
        self._admitted: set[Accepted] = set()
        self._raft: dict[int, Accepted] = {}
        self._numbers = itertools.count(1)
        self._shut = False
        self._closings: list[asyncio.TimerHandle] = []

    def connection(self) -> asyncio.Protocol:
        accepted, security = Accepted(self), self.node.security
        if security is None:
            return accepted
        return Secured(accepted, security, server=True, host="", bytes_max=self.node.limits.tls_bytes_max)

    def enter(self, stranger: Accepted) -> bool:
        """False when the link is stopping."""
        self._strangers[stranger] = None
        if len(self._strangers) > self.node.limits.strangers_max:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.fail("too many connections before authentication")
        return not self._shut

    def admit(self, connection: Accepted, claim: Claim) -> None:
        self._strangers.pop(connection, None)
        self._admitted.add(connection)
        if claim.purpose == SNAPSHOT:
            return
        connection.number = next(self._numbers)
        previous = self._raft.get(claim.from_node)
        self._raft[claim.from_node] = connection
        if previous is not None and claim.purpose == RAFT_NEXT:
            connection.wait_for(previous)
        else:
            if previous is not None:
                previous.end()
            connection.begin()
        if connection.security is not self.node.security:  # it was a stranger at the renewal
            connection.ask_to_dial_anew()

    def leave(self, connection: Accepted) -> None:
        self._strangers.pop(connection, None)
        self._admitted.discard(connection)
        for other in self._admitted:
            if other.previous is connection and not other.ended:
                other.begin()
        if connection.claim and self._raft.get(connection.claim.from_node) is connection:
            del self._raft[connection.claim.from_node]

    def served(self, peer: int) -> int:
        claims = (connection.claim for connection in self._admitted)
        return sum(claim is not None and claim.from_node == peer and claim.purpose == SNAPSHOT for claim in claims)

    def renew(self) -> None:
        """The node has other certificates: whoever dialled before is asked to dial anew, and is closed in the end."""
        outdated = [*self._strangers, *self._admitted]
        for connection in self._raft.values():
            connection.ask_to_dial_anew()
        loop = asyncio.get_running_loop()
        self._closings = [closing for closing in self._closings if closing.when() > loop.time()]
        self._closings.append(loop.call_later(self.node.limits.renewal_grace_s, self._close, outdated))

    def _close(self, outdated: list[Accepted]) -> None:
        for connection in outdated:
            connection.fail("it was made before this node's certificates changed, and not anew since")

    async def shut(self) -> None:
        self._shut = True
        for closing in self._closings:
            closing.cancel()
        connections = [*self._strangers, *self._admitted]
        for connection in connections:
            connection.end()
        for connection in connections:
            await connection.closed
        if self.serving:
            await asyncio.wait(self.serving)
