"""Processes that write at once: in the order of what was written no token is lower than one before it."""

import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.pool import NullPool

from tests.fence.resources import METADATA, WRITTEN
from tests.fence.rivals import compete

RIVALS = 3
TOKENS = 40


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", "file"])
def resource(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "file":
        return {"kind": "file", "path": f"{tmp_path}/log"}
    url = request.getfixturevalue(request.param)
    METADATA.create_all(create_engine(url, poolclass=NullPool))
    return {"kind": "sql", "url": url, "name": request.node.name}


def written(resource: dict[str, Any]) -> list[int]:
    if resource["kind"] == "file":
        return [int(line) for line in Path(resource["path"]).read_text().split()]
    rows = select(WRITTEN.c.token).where(WRITTEN.c.name == resource["name"]).order_by(WRITTEN.c.id)
    with create_engine(resource["url"], poolclass=NullPool).connect() as connection:
        return list(connection.scalars(rows))


def a_little_late(token: int) -> float:
    """When a token is used, on the scale of when it was granted."""
    return token + random.Random(token).gauss(0, 8)


def test_among_processes_no_token_is_written_after_a_higher_one(resource):
    tokens = list(range(1, RIVALS * TOKENS + 1))
    hands = [sorted(tokens[rival::RIVALS], key=a_little_late) for rival in range(RIVALS)]
    refused = compete(resource, hands)
    done = written(resource)
    assert done == sorted(done), "in the order of writing"
    assert done[-1] == tokens[-1]
    assert sorted(done + refused) == tokens, "each was written or refused"
    assert refused, "some were late"


def test_the_first_token_ever_is_disputed_by_all(resource):
    refused = compete(resource, [[token] for token in range(1, RIVALS + 1)])
    done = written(resource)
    assert done == sorted(done)
    assert sorted(done + refused) == list(range(1, RIVALS + 1))
