"""What a lock may protect, as plain values that another process can be told: {"kind": ..., where it is}. To write is
the whole business of a holder: text, under a name and a token.
"""

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, select
from sqlalchemy.pool import NullPool

from lockd_client.fence import Fence
from lockd_client.fence.asgi import FenceMiddleware, Message, Receive, Scope, Send
from lockd_client.fence.file import FileFence, FileMarks
from lockd_client.fence.sql import SqlFence
from lockd_client.fence.web import header

METADATA = MetaData()
FENCE = SqlFence(METADATA)
WRITTEN = Table(
    "written",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("token", Integer, nullable=False),
    Column("text", String(100), nullable=False),
)

Answer = tuple[int, dict[str, Any]]


class Refused(Exception):
    """An HTTP service did not do it. `status`, `problem`: what it said."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(status, problem)
        self.status, self.problem = status, problem


def write(resource: dict[str, Any], name: str, token: int, text: str) -> None:
    """Raises StaleToken, Refused."""
    match resource["kind"]:
        case "sql":
            _write_row(resource["url"], name, token, text)
        case "file":
            with FileFence(resource["path"]).write(token) as path:
                path.write_text(text)
        case "unguarded":
            Path(resource["path"]).write_text(text)
        case "wsgi":
            _check(put_over_http(resource["url"], header(Fence(name, token)), text))
        case "asgi":
            _check(asyncio.run(put_to_asgi(_service(resource), header(Fence(name, token)), text)))


def read(resource: dict[str, Any], name: str) -> str:
    """What was written last."""
    if resource["kind"] != "sql":
        return Path(resource["path"]).read_text()
    rows = select(WRITTEN.c.text).where(WRITTEN.c.name == name).order_by(WRITTEN.c.id)
    with create_engine(resource["url"], poolclass=NullPool).connect() as connection:
        return str(connection.scalars(rows).all()[-1])


def put_over_http(url: str, headers: dict[str, str], text: str = "") -> Answer:
    request = urllib.request.Request(url, text.encode(), headers, method="PUT")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


async def put_to_asgi(
    app: FenceMiddleware, headers: dict[str, str], text: str = "", *, path: str = "/", method: str = "PUT"
) -> Answer:
    """The one request of a server that has the application in its own process."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": text.encode(), "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await app({"type": "http", "method": method, "path": path, "headers": fields}, receive, send)
    return sent[0]["status"], json.loads(b"".join(message["body"] for message in sent[1:]))


def _write_row(url: str, name: str, token: int, text: str) -> None:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        FENCE.check(connection, name, token)
        connection.execute(WRITTEN.insert().values(name=name, token=token, text=text))


def _service(resource: dict[str, Any]) -> FenceMiddleware:
    """One of the processes of a service, with the marks that all of them share."""

    async def store(scope: Scope, receive: Receive, send: Send) -> None:
        Path(resource["path"]).write_bytes((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    return FenceMiddleware(store, FileMarks(resource["marks"]))


def _check(answer: Answer) -> None:
    if answer[0] != 200:
        raise Refused(*answer)
