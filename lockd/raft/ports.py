"""What the raft room needs from outside, as small as its use. The daemon and the simulator supply it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Protocol


class View(Protocol):
    """A frozen picture of a store."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every record whose key starts with prefix, in key order. May be called from another thread."""

    def close(self) -> None: ...


class Store(Protocol):
    """Ordered records under keys that do not begin with a zero byte."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every record whose key starts with prefix, in key order."""

    async def write(self, batch: Mapping[bytes, bytes | None]) -> None:
        """Puts and deletes (None), all or nothing; on disk when this returns."""

    def view(self) -> View:
        """The store as it is now, unmoved by later writes."""


class Shelf(Protocol):
    """Snapshot files by name. Every method blocks: call it off the loop."""

    def put(self, name: str, chunks: Iterable[bytes]) -> None:
        """A whole file, on disk under its name or not at all."""

    def size(self, name: str) -> int:
        """Bytes, 0 where there is no such file."""

    def read(self, name: str, offset: int, size: int) -> bytes:
        """At most size bytes from offset; empty at the end."""

    def append(self, name: str, offset: int, data: bytes) -> None:
        """Cuts the file to offset bytes and writes data there. Makes the file if offset is 0. Not synced."""

    def names(self) -> list[str]: ...

    def remove(self, name: str) -> None:
        """Gone afterwards, whether or not it was there."""


class LinkEvents(Protocol):
    """What a link tells its node. Called on the event loop; must not raise."""

    def link_up(self, peer: int) -> None:
        """Frames to peer can leave."""

    def link_down(self, peer: int) -> None:
        """The connection to peer ended, or never came about."""

    def link_refused(self, peer: int) -> None:
        """Peer's address answers and nothing listens there: its process is dead."""

    def frame(self, peer: int, connection: int, data: bytes) -> None:
        """A frame from peer. A later connection of the same peer has a higher number."""

    def snapshot(self, sha256: bytes, offset: int) -> AsyncIterator[bytes] | None:
        """The body of a snapshot that a peer asked for, from offset; None where there is no such one."""


class Link(Protocol):
    """Frames between authenticated peers: at most once, in order, nothing from an old connection after a new one."""

    async def start(self, events: LinkEvents) -> None: ...

    async def stop(self) -> None: ...

    def send(self, peer: int, data: bytes) -> None:
        """Drops the frame silently where there is no connection."""

    def fetch(self, peer: int, sha256: bytes, offset: int) -> AsyncIterator[bytes]:
        """The body of peer's snapshot from offset, in chunks, under flow control.

        Raises LinkError where the peer refuses or the connection breaks.
        """


Offload = Callable[[Callable[[], object]], Awaitable[object]]
"""Runs a blocking function in the node's one worker thread."""
