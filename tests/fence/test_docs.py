"""docs/fencing.md: its examples, as they stand but for folders, statements, and libraries that are not here."""

import asyncio
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

from lockd_client import LockdClient
from lockd_client.fence import StaleToken
from lockd_client.fence.asgi import Receive, Scope, Send
from tests.examples import examples
from tests.fence.resources import put_to_asgi
from tests.integration.cluster import running

IMPORTS, SQL, FILE, REQUEST, SERVICE, STRICT, ERRORS = examples("fencing.md")


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


class Application:
    """Of the frameworks' kind."""

    guarded: Any = None

    def add_middleware(self, kind: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        self.guarded = kind(answer, *arguments, **options)

    def errorhandler(self, _: type[Exception]) -> Callable[[Any], Any]:
        return lambda handler: handler


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a holder's examples have left behind."""
    sent: list[dict[str, str]] = []
    requests = types.SimpleNamespace(put=lambda _url, _data, headers: sent.append(headers))
    monkeypatch.setitem(sys.modules, "requests", requests)
    engine = create_engine(f"sqlite:///{tmp_path}/guarded.db", poolclass=NullPool)
    names: dict[str, Any] = {"engine": engine, "done": text("SELECT 1"), "url": "", "data": b"", "sent": sent}
    tables, transaction = SQL.replace("execute(...)", "execute(done)").split("\n\n", 2)[1:]
    with running(tmp_path / "node", size=1) as cluster:
        monkeypatch.setenv("LOCKD_ENDPOINTS", cluster.nodes[1].endpoint)
        exec(IMPORTS + SQL.partition("\n\n")[0] + "\n" + tables, names)
        names["metadata"].create_all(engine)
        exec(transaction, names)
        with LockdClient() as client, client.lock("nightly-report") as names["lock"]:
            names["token"] = names["lock"].token
            exec(FILE.replace("/srv", str(tmp_path)), names | {"fence": None})
            exec(REQUEST, names)
    return names


def test_a_holder_writes_and_says_under_which_token(names: dict[str, Any], tmp_path: Path) -> None:
    assert inspect(names["engine"]).get_table_names() == ["lockd_fence"]
    assert (tmp_path / "report.csv").read_text() == "..."
    assert names["sent"] == [{"Lockd-Fence": f"nightly-report {names['token']}"}]


def test_a_service_refuses_who_is_late(names: dict[str, Any]) -> None:
    *imports, wrapped, added = SERVICE.strip().split("\n")
    exec("\n".join(imports), names)
    app = names["app"] = Application()
    exec(added, names)
    exec(wrapped, names | {"app": answer})
    for token, status in ((names["token"] + 1, 200), (names["token"], 409)):
        headers = {"Lockd-Fence": f"nightly-report {token}"}
        assert asyncio.run(put_to_asgi(app.guarded, headers))[0] == status
    exec(STRICT, names)
    assert asyncio.run(put_to_asgi(app.guarded, {}))[0] == 428


def test_a_framework_that_answers_for_every_exception(names: dict[str, Any]) -> None:
    names["app"] = Application()
    exec(ERRORS, names)
    body, status, fields = names["stale"](StaleToken("nightly-report", 1, 2))
    assert (status, fields) == (409, {"Content-Type": "application/problem+json"})
    assert b"STALE_TOKEN" in body
