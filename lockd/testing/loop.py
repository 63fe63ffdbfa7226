"""The node's event loop, on which what a node counts down follows the hand."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from heapq import heappop, heappush
from itertools import count
from typing import TypeVarTuple, Unpack

from lockd.raft.calls import Calls

from .hand import Hand

_Args = TypeVarTuple("_Args")


class HandLoop(asyncio.SelectorEventLoop):
    """The timers of Calls decide what becomes of a call or a wait: they are due when the hand has been moved so far.
    All others are pauses, which pace a node's work and end nothing. They pass in real time, or work would stop with it.
    """

    def __init__(self, hand: Hand) -> None:
        super().__init__()
        self._hand = hand
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = count()

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Args]], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if isinstance(getattr(callback, "__self__", None), Calls):
            return self.by_hand(delay, callback, *args)
        return super().call_later(delay, callback, *args, context=context)

    def by_hand(self, delay: float, callback: Callable[[Unpack[_Args]], object], *args: *_Args) -> asyncio.TimerHandle:
        when = self._hand.now + delay
        handle = asyncio.TimerHandle(when, callback, args, self)
        heappush(self._timers, (when, next(self._order), handle))
        return handle

    def run_due(self) -> None:
        while self.next_due() <= self._hand.now:
            heappop(self._timers)[2]._run()

    def next_due(self) -> float:
        while self._timers and self._timers[0][2].cancelled():
            heappop(self._timers)
        return self._timers[0][0] if self._timers else float("inf")
