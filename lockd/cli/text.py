"""What people read: durations, tables, words for a shell. Pure."""

import shlex
import unicodedata
from collections.abc import Sequence

from lockd.escape import escaped

_TENTHS_BELOW_S = 10.0
_NO_WIDTH = ("Mn", "Me", "Cf")


def duration(seconds: float) -> str:
    """The two largest units: 0.4s, 45s, 1m03s, 2h05m, 3d04h."""
    if 0 < seconds < _TENTHS_BELOW_S:
        return f"{seconds:.1f}s"
    whole = max(0, int(seconds))
    for size, unit, part, part_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02}{part_unit}"
    return f"{whole}s"


def columns(text: str) -> int:
    """How many columns of a terminal it takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(each) in _NO_WIDTH else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """One line a row, each column as wide as its widest cell. Columns with nothing in them are left out."""
    kept = [column for column in range(len(headings)) if any(row[column] for row in rows) or not rows]
    lines = [[row[column] for column in kept] for row in (headings, *rows)]
    widths = [max(columns(line[place]) for line in lines) for place in range(len(kept))]
    return [
        "  ".join(cell + " " * (width - columns(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def shell_word(text: str) -> str:
    """As it can be pasted into bash."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + escaped(text).replace("'", "\\'") + "'"
