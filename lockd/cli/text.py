"""What people read: durations, tables, words for a shell. Pure."""

import shlex
from collections.abc import Sequence

from lockd.escape import escaped

_TENTHS_BELOW_S = 10.0


def duration(seconds: float) -> str:
    """The two largest units: 0.4s, 45s, 1m 03s, 2h 05m, 3d 04h."""
    if 0 < seconds < _TENTHS_BELOW_S:
        return f"{seconds:.1f}s"
    whole = max(0, int(seconds))
    for size, unit, part, part_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // part:02}{part_unit}"
    return f"{whole}s"


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """One line a row, each column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (headings, *rows)
    ]


def shell_word(text: str) -> str:
    """As it can be pasted into bash."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + escaped(text).replace("'", "\\'") + "'"
