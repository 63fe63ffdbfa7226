"""A simulated disk: what was written and synced survives a crash, and nothing else."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

from lockd.persistence.memory import MemoryShelf

from .world import World


class Disk:
    """One node's store and shelf. It outlives the node's processes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        self.records: dict[bytes, bytes] = {}
        self.shelf = MemoryShelf()
        self.before_loss: dict[bytes, bytes] = {}
        """What a lost disk held, for as long as acknowledgements sent before the loss may rightly arrive."""
        self.slowness = 1.0
        self.deadly = 0.0
        """How likely the process dies just before, or just after, a batch lands."""
        self.on_death: Callable[[], None] = lambda: None

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((key, value) for key, value in self.records.items() if key.startswith(prefix)))

    def lose(self) -> None:
        """The disk is replaced by an empty one."""
        self.before_loss, self.records, self.shelf = self.records, {}, MemoryShelf()

    async def write(self, batch: Mapping[bytes, bytes | None]) -> None:
        """Takes a while. A crash before the middle of it loses the whole batch, one after it nothing."""
        await asyncio.sleep(self._delay())
        await self._may_die()
        self.land(batch)
        await self._may_die()
        await asyncio.sleep(self._delay())

    async def _may_die(self) -> None:
        if self._rng.random() < self.deadly:
            self.on_death()
            await asyncio.get_running_loop().create_future()  # nobody steps a dead process

    def land(self, batch: Mapping[bytes, bytes | None]) -> None:
        for key, value in batch.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value

    def view(self) -> "View":
        return View(dict(self.records))

    def _delay(self) -> float:
        spike = 30.0 if self._rng.random() < 0.01 else 1.0
        return self._rng.uniform(0.0001, 0.003) * self.slowness * spike


class CarelessDisk(Disk):
    """Says that a batch is written when it only remembers it: a crash loses what has not landed yet."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._landed: dict[bytes, bytes] = {}
        self._life = 0

    async def write(self, batch: Mapping[bytes, bytes | None]) -> None:
        self.land(batch)
        self._world.later(0.3, self._sync, self._life, dict(self.records))

    def _sync(self, life: int, records: dict[bytes, bytes]) -> None:
        if life == self._life:
            self._landed = records

    def crash(self) -> None:
        self._life += 1
        self.records = dict(self._landed)


class View:
    def __init__(self, records: dict[bytes, bytes]) -> None:
        self._records = records

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((key, value) for key, value in self._records.items() if key.startswith(prefix)))

    def close(self) -> None:
        pass
