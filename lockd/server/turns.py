"""How much of what callers ask is begun in one turn of the event loop, whoever asks and on however many connections.

What is begun takes CPU at once: it is decoded, judged and answered, or put before the log. Between two turns the node's
own work has its: heartbeats above all.
"""

import asyncio
from collections import OrderedDict, deque

STARTS_A_TURN = 64
BYTES_A_START = 4096
"""An answer that is made at once takes as much of a turn as so many more."""


class Turns:
    """Callers take turns: one who asks for much does not stand before another."""

    def __init__(self) -> None:
        self._left = STARTS_A_TURN
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._is_renewing = False

    async def take(self, key: str) -> None:
        """Returns when this caller may begin something."""
        if self._waiting or self._left <= 0:
            begins: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(key, deque()).append(begins)
            self._renew_later()
            await begins
        else:
            self._left -= 1
            self._renew_later()

    def charge(self, answered_bytes: int) -> None:
        """For an answer that was made at once."""
        self._left -= answered_bytes // BYTES_A_START

    def use_up(self) -> None:
        """Nothing more is begun in this turn."""
        self._left = min(self._left, 0)

    def _renew_later(self) -> None:
        if not self._is_renewing:
            self._is_renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        self._is_renewing = False
        self._left = min(STARTS_A_TURN, self._left + STARTS_A_TURN)
        while self._waiting and self._left > 0:
            key, queue = next(iter(self._waiting.items()))
            begins = queue.popleft()
            if queue:
                self._waiting.move_to_end(key)
            else:
                del self._waiting[key]
            if not begins.done():
                begins.set_result(None)
                self._left -= 1
        if self._waiting:
            self._renew_later()
