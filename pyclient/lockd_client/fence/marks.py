"""Where middleware keeps the highest tokens: what it needs of such a place, and one in memory."""

import threading
from typing import Protocol

from lockd_client.fence.errors import TooManyNames
from lockd_client.fence.values import checked_name, checked_token, refuse_below

NAMES_MAX = 100_000


class Marks(Protocol):
    """The highest exclusive token of each lock. Called from many threads; may block.

    MemoryMarks, file.FileMarks and sql.SqlMarks are three.
    """

    def check(self, name: str, token: int, *, shared: bool = False) -> None:
        """Refuses a token that is lower than the highest; an exclusive one that is higher becomes the highest, in one
        step. A shared one changes nothing.

        Raises StaleToken.
        """


class MemoryMarks:
    """Marks of one process, which begin anew with it: for a service that is one process. Thread-safe."""

    def __init__(self, names_max: int = NAMES_MAX) -> None:
        """names_max: none is forgotten, since that would let a stale token pass; so that many are remembered."""
        self._names_max = names_max
        self._highest: dict[str, int] = {}
        self._mutex = threading.Lock()

    def check(self, name: str, token: int, *, shared: bool = False) -> None:
        """Raises StaleToken, TooManyNames, InvalidArgument."""
        checked_name(name)
        checked_token(token)
        with self._mutex:
            refuse_below(self._highest.get(name, 0), name, token)
            if shared:
                return
            if name not in self._highest and len(self._highest) >= self._names_max:
                raise TooManyNames(f"names_max is {self._names_max}")
            self._highest[name] = token
