"""Times that were measured, and how they are printed."""

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

BUSY_OVER_S = 1.0

SHOWN = ("grpcio", "protobuf", "uvloop", "plyvel")


@dataclass(eq=False)
class Series:
    """One kind of call. rounds: seconds of each call, by round."""

    title: str
    rounds: list[list[float]] = field(default_factory=list)

    @property
    def all(self) -> list[float]:
        return sorted(seconds for one in self.rounds for seconds in one)

    @property
    def median(self) -> float:
        return statistics.median(self.all)

    def percentile(self, part: float) -> float:
        values = self.all
        return values[min(len(values) - 1, int(part * len(values)))]

    def ratio_to(self, reference: "Series") -> float:
        """The median of the rounds' ratios: what drifts hits both sides of each of them."""
        pairs = zip(self.rounds, reference.rounds, strict=True)
        return statistics.median(statistics.median(mine) / statistics.median(other) for mine, other in pairs)


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3f}"


def spread(seconds: Sequence[float]) -> str:
    """Median, the least and the most, in whole milliseconds."""
    return f"{1000 * statistics.median(seconds):.0f} | {1000 * min(seconds):.0f} | {1000 * max(seconds):.0f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def load() -> str:
    """What the machine does, measured over a second: to be asked while nothing of ours runs."""
    busy = psutil.cpu_percent(BUSY_OVER_S)
    one, five, _ = os.getloadavg()
    return f"cores {busy:.0f} % busy, load average {one:.2f} (5 min: {five:.2f})"


def machine(folder: Path) -> str:
    """What the figures were made with. folder: where the state lies."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in SHOWN)
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, state on {file_system(folder)}, "
        f"Python {platform.python_version()}, {versions}"
    )


def file_system(folder: Path) -> str:
    """Its kind: on tmpfs a synced write costs nothing, and the figures mean little."""
    home = str(folder.resolve())
    inside = [
        part
        for part in psutil.disk_partitions(all=True)
        if home == part.mountpoint or home.startswith(part.mountpoint.rstrip("/") + "/")
    ]
    return max(inside, key=lambda part: len(part.mountpoint)).fstype if inside else "an unknown file system"
