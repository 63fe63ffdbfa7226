"""The event loops that the daemon may run on."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
import uvloop

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def run_on(loop: str, scenario: Coroutine[Any, Any, None]) -> None:
    """Also demands that nothing went wrong behind the scenario's back."""
    unseen: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))
        await scenario

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(watched())
    assert unseen == []


on_each_loop = pytest.mark.parametrize("loop", LOOPS)
