"""Catching up with the cluster, before this node says that it does not know something."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from lockd.machine.commands import Barrier, Call
from lockd.raft.errors import RaftError

BARRIER_S = 1.0
"""How long a barrier is waited for. A node that reaches no leader knows nothing for certain."""

PACE_S = 0.02
"""Between two barriers: strangers with bad tokens must not fill the log."""

Propose = Callable[[Callable[[Call], Barrier], float], Coroutine[Any, Any, object]]


class Freshness:
    """Whoever asks at the same time shares a barrier, but none that was begun before they asked."""

    def __init__(self, propose: Propose) -> None:
        self._propose = propose
        self._asked = self._answered = 0
        self._is_fresh = False
        self._barrier: asyncio.Task[None] | None = None

    async def catch_up(self) -> bool:
        """Whether all is applied here that was committed before this was called."""
        self._asked += 1
        mine = self._asked
        while self._answered < mine:
            if self._barrier is None:
                self._barrier = asyncio.get_running_loop().create_task(self._pass(self._asked))
            await asyncio.wait([self._barrier])
        return self._is_fresh

    async def _pass(self, asked: int) -> None:
        try:
            await self._propose(lambda call: Barrier(call=call), BARRIER_S)
            self._is_fresh = True
        except RaftError:
            self._is_fresh = False
        await asyncio.sleep(PACE_S)
        self._answered, self._barrier = asked, None
