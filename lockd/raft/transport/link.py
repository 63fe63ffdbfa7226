"""The link itself: started, stopped, and asked to send and fetch."""

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping

from lockd.complaints import Complaints
from lockd.raft.errors import LinkError
from lockd.raft.ports import LinkEvents

from .accepting import Door
from .dialling import Dialler
from .fetching import Fetch
from .node import Address, Limits, Node, describe, log
from .tls import Security


class TcpLink:
    """Link (see ports) over TCP. Started once and stopped once; nothing is told to its events after stop.

    addresses are all members' peer addresses, this node's own, where it listens, among them. Every node knows
    the same secret. link_down is told once for each loss, and once if the first attempt finds nobody.

    security: without it peers speak in plain. All nodes of a cluster have it or none has.
    """

    def __init__(
        self,
        me: int,
        addresses: Mapping[int, Address],
        secret: bytes,
        *,
        limits: Limits | None = None,
        chance: random.Random | None = None,
        security: Security | None = None,
    ) -> None:
        if me not in addresses:
            raise ValueError(f"node {me} has no address among those of nodes {sorted(addresses)}")
        if not all(0 < node < 2**32 for node in addresses):
            raise ValueError(f"node ids are 1 to {2**32 - 1}, not {sorted(addresses)}")
        if not secret:
            raise ValueError("peers need a shared secret; it is empty")
        self._me = me
        self._addresses = dict(addresses)
        self._secret = secret
        self._limits = limits or Limits()
        self._random = chance or random.Random()
        self._security = security
        self._node: Node | None = None
        self._server: asyncio.Server | None = None
        self._door: Door | None = None
        self._diallers: dict[int, Dialler] = {}
        self._fetches: set[Fetch] = set()

    async def start(self, events: LinkEvents) -> None:
        """Listens and begins to dial. Raises OSError, naming host and port, where it cannot listen."""
        self._node = node = Node(
            me=self._me,
            addresses=self._addresses,
            secret=self._secret,
            limits=self._limits,
            random=self._random,
            security=self._security,
            events=events,
            complaints=Complaints(log),
        )
        self._door = Door(node)
        self._server = await self._listen(node, self._door)
        self._diallers = {peer: Dialler(node, peer) for peer in self._addresses if peer != self._me}

    async def stop(self) -> None:
        if self._server is None or self._door is None:
            return
        self._node = None
        # asyncio accepts in one turn of its loop and makes the transport in the next: a server that is closed between
        # the two leaves the socket open (CPython 3.11). A timer fires after the one and wakes us after the other.
        await asyncio.sleep(1e-9)
        self._server.close()
        diallers, self._diallers = self._diallers, {}
        for dialler in diallers.values():
            await dialler.stop()
        for fetch in self._fetches:
            fetch.abort()
        await self._door.shut()
        await self._server.wait_closed()
        self._server = None

    def renew(self, security: Security) -> None:
        """Takes other certificates, for every connection that is made from here on.

        Each dialler makes a second connection while the first carries frames, and moves over to it: no link_down, no
        frame is lost or overtaken. Where that fails, as with a peer that has no renewed certificate yet, the first
        one stays and the dialler tries again. Peers are asked to dial anew as well. After renewal_grace_s what was
        accepted before the renewal is closed, and what leads to a peer whose certificate is not believed any more.

        Raises ValueError for a link that was made without TLS.
        """
        if self._security is None:
            raise ValueError("this node speaks to its peers in plain; it takes to TLS when it starts")
        self._security = security
        if self._node is None or self._door is None:
            return
        self._node.security = security
        self._door.renew()
        for dialler in self._diallers.values():
            dialler.renew()

    def connected(self, peer: int) -> bool:
        """Whether frames to peer can leave now."""
        dialler = self._diallers.get(peer)
        return dialler is not None and dialler.connected

    def send(self, peer: int, data: bytes) -> None:
        """Drops the frame silently where there is no connection.

        Raises ValueError for a frame above Limits.frame_bytes_max: no retry would bring it over.
        """
        if (dialler := self._diallers.get(peer)) is not None:
            dialler.send(data)

    async def fetch(self, peer: int, sha256: bytes, offset: int) -> AsyncGenerator[bytes, None]:
        """The body of peer's snapshot from offset, in chunks, under flow control.

        Raises LinkError where the peer refuses, the connection breaks, or nothing comes for fetch_silence_s.
        """
        if self._node is None:
            raise LinkError("the link is not running")
        fetch = Fetch(self._node, peer)
        self._fetches.add(fetch)
        try:
            await fetch.open(sha256, offset)
            while chunk := await fetch.chunk():
                yield chunk
        except OSError as error:
            raise LinkError(f"snapshot from node {peer}: {describe(error)}") from error
        except LinkError as error:
            raise LinkError(f"snapshot from node {peer}: {error}") from error
        finally:
            self._fetches.discard(fetch)
            fetch.abort()

    async def _listen(self, node: Node, door: Door) -> asyncio.Server:
        host, port = node.addresses[node.me]
        try:
            return await asyncio.get_running_loop().create_server(door.connection, host, port)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen for peers on {host}:{port}: {describe(error)}") from error
