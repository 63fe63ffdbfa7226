"""The stores' and shelves' contract in dicts: for tests, the simulator and nodes that may forget."""

from collections.abc import Iterable, Iterator, Mapping

from lockd.persistence.errors import StoreClosed
from lockd.persistence.shelf import append_checked, name_checked, no_such_file
from lockd.persistence.store import Store, View, checked, checked_prefix


class MemoryView(View):
    """A copy: as large as what it shows."""

    def __init__(self, records: Mapping[bytes, bytes]) -> None:
        self._records: dict[bytes, bytes] | None = dict(records)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        checked_prefix(prefix)
        if self._records is None:
            raise StoreClosed
        return iter(sorted(item for item in self._records.items() if item[0].startswith(prefix)))

    def close(self) -> None:
        self._records = None


class MemoryStore(Store):
    """Forgets everything with the process. `records` is what an earlier life had written."""

    def __init__(self, records: Mapping[bytes, bytes] | None = None) -> None:
        self._records = dict(records or {})
        self._was_blank = not self._records
        self._closed = False

    @property
    def was_blank(self) -> bool:
        return self._was_blank

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        checked_prefix(prefix)
        self._refuse_if_closed()
        return iter(sorted(item for item in self._records.items() if item[0].startswith(prefix)))

    async def write(self, batch: Mapping[bytes, bytes | None], *, inline: bool = True) -> None:
        operations = checked(batch)
        self._refuse_if_closed()
        for key, value in operations.items():
            if value is None:
                self._records.pop(key, None)
            else:
                self._records[key] = value

    def view(self) -> MemoryView:
        self._refuse_if_closed()
        return MemoryView(self._records)

    def close(self) -> None:
        self._closed = True

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreClosed


class MemoryShelf:
    """Files in a dict; otherwise like DirectoryShelf."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def put(self, name: str, chunks: Iterable[bytes]) -> None:
        name_checked(name)
        self._files[name] = b"".join(chunks)

    def size(self, name: str) -> int:
        return len(self._files.get(name_checked(name), b""))

    def read(self, name: str, offset: int, size: int) -> bytes:
        if name_checked(name) not in self._files:
            raise no_such_file(name)
        return self._files[name][offset : offset + size]

    def append(self, name: str, offset: int, data: bytes) -> None:
        append_checked(name, offset, self.size(name))
        self._files[name] = self._files.get(name, b"")[:offset] + data

    def names(self) -> list[str]:
        return sorted(self._files)

    def remove(self, name: str) -> None:
        self._files.pop(name_checked(name), None)
