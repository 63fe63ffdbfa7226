"""Threads for calls that wait: time stands still for whoever would move it."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

WITHIN_S = 10.0
"""Of real time, for what takes no time of the hand's."""

Call = Callable[..., "Future[Any]"]


@pytest.fixture
def in_thread(lockd_server) -> Iterator[Call]:
    """Makes a call in a thread of its own."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit
        lockd_server.close()  # whoever still waits is told so
