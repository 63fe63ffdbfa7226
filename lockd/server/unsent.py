"""Answers that their callers have not read yet: they wait in this node's memory, so each caller has a bound."""

from collections import Counter

from lockd.access.refusal import Reason, Refused


class Unsent:
    """By the caller's key, in bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes: Counter[str] = Counter()

    def add(self, key: str, size: int) -> None:
        self._bytes[key] += size

    def drop(self, key: str, size: int) -> None:
        self._bytes[key] -= size
        if not self._bytes[key]:
            del self._bytes[key]

    def has_room(self, key: str) -> bool:
        return self._bytes[key] <= self._bytes_max

    def check(self, key: str) -> None:
        """Raises Refused."""
        if not self.has_room(key):
            what = (
                f"unsent_bytes_max: {self._bytes[key]} bytes of answers wait to be read; the bound is {self._bytes_max}"
            )
            raise Refused(Reason.LIMIT_REACHED, what, limit="unsent_bytes_max")
