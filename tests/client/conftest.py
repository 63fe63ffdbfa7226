"""A node that speaks TLS and asks for a token."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.client.fake_node import FakeNode
from tests.client.guard import Guard
from tests.client.secured import TOKEN


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
def node(authority: Authority) -> Iterator[FakeNode]:
    with FakeNode(guard=Guard(tokens={TOKEN}, tls=authority.node(1))) as node:
        yield node
