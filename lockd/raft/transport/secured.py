"""TLS between a peer's TCP connection and the protocol that speaks over it.

asyncio has such a layer, and uvloop another one. Both drop what a server finds wrong in a handshake, and neither
tells the other end: the alert is never sent. Here one layer serves both loops, an end that refuses says why, and
what somebody unauthenticated may send is counted.
"""

import asyncio
import ssl
from typing import Any, Final, cast

from lockd.raft.errors import LinkError

from .tls import DistrustError, Security, explained, names_in

READ_BYTES: Final = 16 * 1024  # what a record holds at most

# As TLS says "handshake failure". A dialler without TLS, which waits for its challenge, learns from it whom it reached.
_ALERT: Final = bytes.fromhex("15 03 03 00 02 02 28")


class Secured(asyncio.Protocol, asyncio.Transport):
    """Protocol to the transport below it, transport to the protocol above it.

    Whoever is above hears of the connection before the handshake, and what it writes until then waits here. It hears
    of a failure as connection_lost with a LinkError. A FIN ends a connection, with no notice of TLS's before it:
    frames have their lengths, and the last chunk of a snapshot says that it is the last.
    """

    _below: asyncio.Transport

    def __init__(self, above: asyncio.Protocol, security: Security, *, server: bool, host: str, bytes_max: int) -> None:
        super().__init__()
        self.bytes_max: int | None = bytes_max
        """How much may arrive, handshake included; None for no bound."""
        self.received = 0
        """Bytes that arrived."""
        self._above = above
        self._names = security.names
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = security.server if server else security.client
        name = host if context.check_hostname else None
        self._tls: ssl.SSLObject | None = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server, server_hostname=name
        )
        self._shaken = False
        self._waiting: list[bytes] = []
        self._failure: LinkError | None = None
        self._closing = False

    def names(self, node: int) -> bool:
        """Whether the other end's certificate is that of node. False before the handshake."""
        try:
            certificate = self._tls.getpeercert() if self._tls and self._shaken else None
            return bool(certificate) and self._names(node, *names_in(cast(dict[str, Any], certificate)))
        except ValueError:  # bytes that are no text
            return False

    # --- what the transport below calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast(asyncio.Transport, transport)
        self._above.connection_made(self)
        self._advance()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self._closing:
            return
        if self.bytes_max is not None and self.received > self.bytes_max:
            self._fail(LinkError(f"more than {self.bytes_max} bytes before authentication"))
            return
        self._incoming.write(data)
        self._advance()

    def eof_received(self) -> None:
        if not self._closing:
            self._above.eof_received()
        self._below.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._tls = None  # above and this one refer to each other, and its memory must not wait for the collector
        self._waiting.clear()
        self._above.connection_lost(self._failure or exc)

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    # --- what the protocol above calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self._tls is None:
            return
        if not self._shaken:
            self._waiting.append(bytes(data))
            return
        self._tls.write(data)
        self._flush()

    def write_eof(self) -> None:
        self._below.write_eof()

    def close(self) -> None:
        self._closing = True
        self._below.close()

    def abort(self) -> None:
        self._closing = True
        self._below.abort()

    def is_closing(self) -> bool:
        return self._closing or self._below.is_closing()

    def refuse_plaintext(self) -> None:
        """Tells an end that has sent nothing that TLS is spoken here."""
        self._below.write(_ALERT)
        self.close()

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    # ---

    def _advance(self) -> None:
        """Takes all that has arrived."""
        try:
            if not self._shaken:
                self._shake()
            while self._tls is not None and not self._closing:
                data = self._tls.read(READ_BYTES)
                if not data:  # TLS's own notice of the end
                    self.eof_received()
                    return
                self._above.data_received(data)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._fail(explained(error))

    def _shake(self) -> None:
        if self._tls is None:
            return
        self._tls.do_handshake()
        self._shaken = True
        for data in self._waiting:
            self._tls.write(data)
        self._waiting.clear()
        self._flush()

    def _flush(self) -> None:
        if not self._closing and self._outgoing.pending:
            self._below.write(self._outgoing.read())

    def _fail(self, failure: LinkError) -> None:
        self._failure = self._failure or failure
        self._flush()  # why, for the other end
        if self.bytes_max is None:
            self.abort()  # what still waits to be sent may wait for long
        else:
            self.close()  # whoever has proved nothing has a deadline


def trust(transport: asyncio.BaseTransport) -> None:
    """The other end has proved who it is."""
    if isinstance(transport, Secured):
        transport.bytes_max = None


def certified(transport: asyncio.BaseTransport, node: int) -> bool:
    """Whether the other end of transport may be node by its certificate. Without TLS it may be anybody."""
    return not isinstance(transport, Secured) or transport.names(node)


def demand_certified(transport: asyncio.BaseTransport, node: int) -> None:
    """Raises DistrustError."""
    if not certified(transport, node):
        raise DistrustError(f"its certificate does not name node {node}")
