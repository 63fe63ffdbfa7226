"""Which of a client's sequences are answered for good: unions of what its messages said. Pure."""

from collections.abc import Iterator

from .commands import Answered

NOTHING = Answered(0, ())


def covers(answered: Answered, sequence: int) -> bool:
    return sequence < answered.below or any(first <= sequence <= last for first, last in answered.ranges)


def union(one: Answered, other: Answered, ranges_max: int) -> Answered:
    """What either says. Where that takes more than ranges_max ranges, other's are left out: it will repeat them."""
    if other == one:
        return one
    below = max(one.below, other.below)
    merged = _merged(below, sorted((*one.ranges, *other.ranges)))
    if len(merged.ranges) > ranges_max:
        merged = _merged(below, list(one.ranges))
    return merged


def newly(old: Answered, new: Answered, present: dict[int, None]) -> list[int]:
    """Of the present sequences those that new covers and old does not."""
    known = set(old.ranges)
    spans = [(old.below, new.below - 1), *(span for span in new.ranges if span not in known)]
    if sum(last - first + 1 for first, last in spans) > len(present):
        return [sequence for sequence in present if covers(new, sequence) and not covers(old, sequence)]
    return [sequence for sequence in _each(spans) if sequence in present and not covers(old, sequence)]


def _each(spans: list[tuple[int, int]]) -> Iterator[int]:
    for first, last in spans:
        yield from range(first, last + 1)


def _merged(below: int, ranges: list[tuple[int, int]]) -> Answered:
    kept: list[tuple[int, int]] = []
    for first, last in ranges:
        if first <= below:
            below = max(below, last + 1)
        elif kept and first <= kept[-1][1] + 1:
            kept[-1] = (kept[-1][0], max(kept[-1][1], last))
        else:
            kept.append((first, last))
    return Answered(below, tuple(kept))
