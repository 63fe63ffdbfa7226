"""pytest's fixtures, registered with lockd. pytest loads this in every run: what a fixture needs, it imports itself."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lockd.testing.in_process import InProcessLockd
    from lockd_client import AsyncLockdClient, LockdClient


@pytest.fixture
def lockd_server() -> Iterator["InProcessLockd"]:
    """A lockd of this test's own, whose time stands still until advance() moves it."""
    from lockd.testing.in_process import InProcessLockd

    with InProcessLockd() as lockd:
        yield lockd


@pytest.fixture
def lockd_client(lockd_server: "InProcessLockd") -> "LockdClient":
    """A client of lockd_server, closed with it."""
    return lockd_server.client()


@pytest.fixture
def lockd_async_client(lockd_server: "InProcessLockd") -> "AsyncLockdClient":
    """A client of lockd_server for asyncio. It belongs to the event loop of its first call."""
    return lockd_server.async_client()
