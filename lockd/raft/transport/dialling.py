"""Raft connections from this node to its peers."""

import asyncio
import contextlib
import errno
import ipaddress
import random
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from lockd.raft.errors import LinkError

from .frames import HEADER_BYTES, Splitter, framed
from .handshake import RAFT, RAFT_NEXT, Dialling
from .node import Limits, Node, describe, report_failure, tune
from .secured import Secured, demand_certified, trust
from .tls import DistrustError, Security


async def dial(node: Node, peer: int) -> socket.socket:
    """A connected socket. Raises ConnectionRefusedError only if each of peer's addresses refused, else OSError."""
    host, port = node.addresses[peer]
    hosts = await _resolve(host, port)
    failed: list[OSError] = []
    for numeric in hosts:
        try:
            async with asyncio.timeout(node.limits.handshake_s / len(hosts)):
                return await _dial_numeric(numeric, port, node.limits.silence_s)
        except OSError as error:
            failed.append(error)
    raise next((error for error in failed if not isinstance(error, ConnectionRefusedError)), failed[0])


async def _resolve(host: str, port: int) -> list[str]:
    """Numeric addresses, at least one. Raises OSError."""
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _dial_numeric(host: str, port: int, silence_s: float) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        if sock.getsockname() == sock.getpeername():
            # Dialling a free port of the ephemeral range can pick it as its own and connect to itself.
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nothing listens there")
        tune(sock, silence_s)
    except BaseException:
        sock.close()
        raise
    return sock


async def connect(node: Node, peer: int, protocol: asyncio.Protocol, security: Security | None) -> asyncio.Transport:
    """What protocol was connected to, in TLS if there is security; TLS may still be shaking hands. Raises OSError."""
    sock = await dial(node, peer)
    below = protocol
    if security is not None:
        host = node.addresses[peer][0]
        below = Secured(protocol, security, server=False, host=host, bytes_max=node.limits.tls_bytes_max)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: below, sock=sock)
    return below if isinstance(below, Secured) else transport


class Dialled(asyncio.Protocol):
    """A raft connection that this node dialled: frames leave on it, and after the Welcome none may come back."""

    _transport: asyncio.Transport

    def __init__(self, node: Node, peer: int, purpose: str = RAFT) -> None:
        self._limits = node.limits
        self._peer = peer
        self._handshake = Dialling(me=node.me, peer=peer, secret=node.secret, purpose=purpose)
        self._splitter = Splitter(node.limits.handshake_bytes_max)
        self._loop = asyncio.get_running_loop()
        self._next: Callable[[bytes], None] = self._challenged
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._why = ""
        self._deadline: asyncio.TimerHandle | None = None
        self.open = False
        self.opened: asyncio.Future[None] = self._loop.create_future()
        """Done at the Welcome, or at the end if there was none: ask `open` which it is."""
        self.closed: asyncio.Future[str] = self._loop.create_future()
        """Why it ended."""
        self.outdated: asyncio.Future[None] = self._loop.create_future()
        """Done when another connection is to take over."""
        self.distrusts = False
        """Whether it ended because the peer's certificate is not believed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._splitter.frames(data):
                self._next(frame)
        except LinkError as error:
            self.distrusts = isinstance(error, DistrustError)
            self.fail(str(error))

    def eof_received(self) -> None:
        self.fail("closed by peer")

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self.distrusts = self.distrusts or isinstance(exc, DistrustError)
        self._pending.clear()
        if self._deadline is not None:
            self._deadline.cancel()
        if not self.opened.done():
            self.opened.set_result(None)
        if not self.closed.done():
            self.closed.set_result(self._why or str(exc or "closed by peer"))

    def fail(self, why: str) -> None:
        """Ends the connection, dropping what has not left yet."""
        self._why = self._why or why
        self.open = False
        self._transport.abort()

    def outdate(self) -> None:
        if not self.outdated.done():
            self.outdated.set_result(None)

    def retire(self) -> None:
        """Ends the connection when all that was sent on it has arrived.

        It is the peer that closes it, within a handshake's time: what it says meanwhile, to a socket that is closed
        already, would make the kernel throw away what has not left yet.
        """
        if self._pending:
            self._flush()
        self.open = False
        if not self._transport.is_closing():
            self._transport.write_eof()
            self._deadline = self._loop.call_later(2 * self._limits.handshake_s, self._transport.abort)

    def send(self, data: bytes) -> None:
        """One write for all frames of a turn of the loop. Raises ValueError for a frame no peer would accept."""
        if len(data) > self._limits.frame_bytes_max:
            raise ValueError(f"frame of {len(data)} bytes, at most {self._limits.frame_bytes_max} may be sent")
        if not self.open:
            return
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending += (len(data).to_bytes(HEADER_BYTES, "big"), data)
        self._pending_bytes += len(data)
        if self._pending_bytes > self._limits.queue_bytes_max:
            self._overflow()

    def _flush(self) -> None:
        if not self.open:
            return
        if self._pending_bytes + self._transport.get_write_buffer_size() > self._limits.queue_bytes_max:
            self._overflow()
            return
        self._transport.write(b"".join(self._pending))
        self._pending.clear()
        self._pending_bytes = 0

    def _overflow(self) -> None:
        self.fail(f"more than {self._limits.queue_bytes_max} bytes wait to be sent")

    def _challenged(self, frame: bytes) -> None:
        demand_certified(self._transport, self._peer)
        self._transport.write(framed(self._handshake.hello(frame)))
        self._next = self._welcomed

    def _welcomed(self, frame: bytes) -> None:
        self._handshake.verify(frame)
        trust(self._transport)
        self._next = self._asked
        self.open = True
        self.opened.set_result(None)

    def _asked(self, frame: bytes) -> None:
        if frame:
            raise LinkError("peer sends on a connection that it did not dial")
        self.outdate()


class Pause:
    """How long to wait before dialling again, in seconds.

    Not at all after a connection was lost: dialling is how a dead process is found out. But a second connection
    in a row that did not live for redial_s_max counts as a failure, or two nodes that were given one id would
    supersede each other as fast as they can dial.
    """

    def __init__(self, limits: Limits, chance: random.Random) -> None:
        self._min = limits.redial_s_min
        self._max = limits.redial_s_max
        self._random = chance
        self._failures = 0
        self._short_lives = 0

    def after_failure(self) -> float:
        self._failures += 1
        return self._seconds(self._failures)

    def after_loss(self, lived_s: float) -> float:
        self._failures = 0
        self._short_lives = 0 if lived_s >= self._max else self._short_lives + 1
        return self._seconds(self._short_lives - 1)

    def _seconds(self, step: int) -> float:
        if step <= 0:
            return 0.0
        doublings = min(step - 1, 30)  # beyond, a float's range would be the bound
        return min(self._min * 2.0**doublings, self._max) * self._random.uniform(0.5, 1.0)


class Dialler:
    """Keeps a raft connection to one peer."""

    def __init__(self, node: Node, peer: int) -> None:
        self._node = node
        self._peer = peer
        self._pause = Pause(node.limits, node.random)
        self._connection: Dialled | None = None
        self._retired: set[Dialled] = set()
        self._told_down = False
        self._task = asyncio.create_task(self._run(), name=f"dial peer {peer}")
        self._task.add_done_callback(report_failure)

    @property
    def connected(self) -> bool:
        return self._connection is not None and self._connection.open

    def send(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.send(data)

    def renew(self) -> None:
        """The node has other certificates."""
        if self._connection is not None:
            self._connection.outdate()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        for connection in [*self._retired, *filter(None, [self._connection])]:
            connection.fail("stopping")
            await connection.closed

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._connection = await self._connect()
            except ConnectionRefusedError:
                pause_s = self._failed("nothing listens there")
                self._node.events.link_refused(self._peer)
            except OSError as error:
                pause_s = self._failed(describe(error))
            except LinkError as error:
                pause_s = self._failed(str(error))
            else:
                began = loop.time()
                await self._hold(self._connection)
                pause_s = self._pause.after_loss(loop.time() - began)
            await asyncio.sleep(pause_s)

    async def _connect(self, purpose: str = RAFT) -> Dialled:
        """Raises OSError, LinkError."""
        node, peer, security = self._node, self._peer, self._node.security
        connection = Dialled(node, peer, purpose)
        async with asyncio.timeout(node.limits.handshake_s):
            transport = await connect(node, peer, connection, security)
            try:
                await asyncio.shield(connection.opened)  # cancelling us must not cancel it
            except asyncio.CancelledError:
                transport.abort()
                raise
        if not connection.open:
            why = await connection.closed
            raise DistrustError(why) if connection.distrusts else LinkError(why)
        if security is not node.security:
            connection.outdate()
        return connection

    async def _hold(self, connection: Dialled) -> None:
        self._tell_up()
        while (successor := await self._successor(connection)) is not None:
            if connection.closed.done():  # the peer may have lost what it was told on that one
                self._lost(connection)
                self._tell_up()
            connection.retire()
            self._retired.add(connection)
            connection.closed.add_done_callback(partial(self._forget, connection))
            self._connection = connection = successor
        self._connection = None
        self._lost(connection)

    async def _successor(self, connection: Dialled) -> Dialled | None:
        """What takes over from connection, made when that one is outdated. None once it is closed before that."""
        now = asyncio.get_running_loop().time
        began = now()
        ends: list[asyncio.Future[Any]] = [connection.closed, connection.outdated]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if (pause_s := self._pause.after_loss(now() - began)) > 0.0:  # one that is asked for again and again
            await asyncio.wait([connection.closed], timeout=pause_s)
        pause = Pause(self._node.limits, self._node.random)
        distrusted_since: float | None = None
        while not connection.closed.done():
            try:
                return await self._connect(RAFT_NEXT)
            except DistrustError as error:
                why = str(error)
                distrusted_since = distrusted_since or now()
                if now() - distrusted_since >= self._node.limits.renewal_grace_s:
                    connection.fail(why)
            except OSError as error:
                why, distrusted_since = describe(error), None
            except LinkError as error:
                why, distrusted_since = str(error), None
            self._node.complaints.say("peer not reached anew, the old connection stays", peer=self._peer, reason=why)
            await asyncio.wait([connection.closed], timeout=pause.after_failure())
        return None

    def _forget(self, connection: Dialled, closed: "asyncio.Future[str]") -> None:
        self._retired.discard(connection)

    def _lost(self, connection: Dialled) -> None:
        self._node.complaints.say("peer link lost", peer=self._peer, reason=connection.closed.result())
        self._tell_down()

    def _tell_up(self) -> None:
        self._told_down = False
        self._node.events.link_up(self._peer)

    def _failed(self, why: str) -> float:
        self._node.complaints.say("peer not reached", peer=self._peer, reason=why)
        self._tell_down()
        return self._pause.after_failure()

    def _tell_down(self) -> None:
        if not self._told_down:
            self._told_down = True
            self._node.events.link_down(self._peer)
