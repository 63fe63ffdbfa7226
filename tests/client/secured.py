"""What the clients of a node have that speaks TLS and asks for a token (conftest.py)."""

import os
from pathlib import Path

import grpc

from tests.client.fake_node import FakeNode

TOKEN = "lockd_" + "t" * 40
OTHER = "lockd_" + "o" * 40
WITHIN_S = 20.0
LONG_S = 60.0  # of a call that must end by itself
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


def replace(path: Path, content: str | bytes) -> None:
    """At once, as whoever replaces a file in use should."""
    beside = path.with_name("beside")
    beside.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(beside, path)


def used(node: FakeNode, token: str, method: str = "Stream") -> bool:
    return any(path.endswith(f"/{method}") and carried == token for path, carried in node.guard.seen)
