"""A node's records: ordered, written in whole batches, on disk when a write returns.

`LevelStore` is the durable one, `MemoryStore` its twin for tests and for nodes that may forget. One suite,
tests/persistence/test_contract.py, holds both to what is written here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

RESERVED = b"\x00"
"""Keys that begin with this byte are the store's own bookkeeping: never taken, never shown."""


class View(ABC):
    """A frozen picture of a store."""

    @abstractmethod
    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every record whose key starts with prefix, in key order; all records where it is empty.

        May be called, and the answer be consumed, in another thread while the store is written to or closed.
        Raises StoreClosed once the view or its store is closed, StoreCorrupt where a record cannot be read back as it
        was written: at any step, never a silently shorter answer.
        """

    @abstractmethod
    def close(self) -> None:
        """Lets the store forget the picture. Harmless when repeated, and after the store's own close."""


class Store(ABC):
    """Ordered records under keys that are not empty and do not begin with a zero byte."""

    @property
    @abstractmethod
    def was_blank(self) -> bool:
        """Whether nothing had ever been written before this open: a new node, or one that lost its store."""

    @abstractmethod
    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Like View.scan, of the store as it is at this call: later writes do not show up in a scan under way."""

    @abstractmethod
    async def write(self, batch: Mapping[bytes, bytes | None], *, inline: bool = True) -> None:
        """Puts and deletes (None), all or nothing; on disk when this returns. An empty batch writes nothing.

        The caller awaits one write before it starts the next: of two at once, either may come first.
        `inline=False` runs what blocks through the store's `offload`, where it was given one. Cancelling such a write
        does not stop it.

        Raises ValueError for a key that is empty or begins with a zero byte, and StoreClosed: nothing was written.
        Raises StoreFailed or StoreCorrupt: the batch may or may not be there after the next open, and every later
        write of this store is refused.
        """

    @abstractmethod
    def view(self) -> View:
        """The store as it is now, unmoved by later writes. Costs disk space until it is closed."""

    @abstractmethod
    def close(self) -> None:
        """Waits for the write and the read that are under way. Harmless when repeated."""


def checked(batch: Mapping[bytes, bytes | None]) -> dict[bytes, bytes | None]:
    """The batch as it is at this moment. ValueError for a key that no store takes."""
    for key in batch:
        if not key or key.startswith(RESERVED):
            raise ValueError(f"key {key!r}: must not be empty or begin with a zero byte")
    return dict(batch)


def checked_prefix(prefix: bytes) -> bytes:
    """ValueError for a prefix that only bookkeeping has."""
    if prefix.startswith(RESERVED):
        raise ValueError(f"prefix {prefix!r}: must not begin with a zero byte")
    return prefix
