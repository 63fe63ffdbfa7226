"""A simulated disk: what was written and synced survives a crash, and nothing else."""

import asyncio
from collections.abc import Iterator, Mapping
from random import Random

from lockd.persistence.memory import MemoryShelf


class Disk:
    """One node's store and shelf. It outlives the node's processes."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.records: dict[bytes, bytes] = {}
        self.shelf = MemoryShelf()
        self.slowness = 1.0

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((key, value) for key, value in self.records.items() if key.startswith(prefix)))

    async def write(self, batch: Mapping[bytes, bytes | None]) -> None:
        """Takes a while. A crash before the middle of it loses the whole batch, one after it nothing."""
        await asyncio.sleep(self._delay())
        self.land(batch)
        await asyncio.sleep(self._delay())

    def land(self, batch: Mapping[bytes, bytes | None]) -> None:
        for key, value in batch.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value

    def view(self) -> "View":
        return View(dict(self.records))

    def crash(self) -> None:
        """The process has died: what was under way is gone."""

    def _delay(self) -> float:
        spike = 30.0 if self._rng.random() < 0.01 else 1.0
        return self._rng.uniform(0.0001, 0.003) * self.slowness * spike


class View:
    def __init__(self, records: dict[bytes, bytes]) -> None:
        self._records = records

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((key, value) for key, value in self._records.items() if key.startswith(prefix)))

    def close(self) -> None:
        pass
