"""A real node, and holders that are paused with the lock in their hands: the reason for fences, end to end."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import psutil
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from lockd_client import LockdClient
from lockd_client.fence.marks import MemoryMarks
from lockd_client.fence.web import headers
from lockd_client.fence.wsgi import FenceMiddleware
from tests.eventually import eventually
from tests.fence.resources import METADATA, put_over_http, read, write
from tests.integration.cluster import ROOT, running

WITHIN_S = 60.0
GUARDS = ["sqlite", "postgresql", "mariadb", "file", "asgi", "wsgi"]


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


def http_service(file: Path, stack: ExitStack) -> str:
    """A service of one process that stores what is put to it."""

    def store(environ, start_response):
        file.write_bytes(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"{}"]

    server = stack.enter_context(
        make_server("127.0.0.1", 0, FenceMiddleware(store, MemoryMarks()), handler_class=Quiet)
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    stack.callback(thread.join)
    stack.callback(server.shutdown)
    return f"http://127.0.0.1:{server.server_port}/"


@dataclass
class Paused:
    """A holder that does not know that it is stopped. name: of the lock."""

    name: str
    resource: dict[str, Any]
    process: "subprocess.Popen[str]"
    token: int = 0

    @property
    def out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def wait_until_paused(self) -> None:
        self.token = int(self.out.readline())
        eventually(lambda: psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED, WITHIN_S)

    def go_on(self) -> Any:
        """What became of its write."""
        self.process.send_signal(signal.SIGCONT)
        answer = json.loads(self.out.readline())
        assert self.out.readline() == "lost\n", "only after the write does the client hear of it"
        return answer


def paused_holder(endpoint: str, name: str, resource: dict[str, Any], stack: ExitStack) -> Paused:
    command = [sys.executable, "-m", "tests.fence.paused_writer", endpoint, name, json.dumps(resource)]
    process = stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
    stack.callback(process.kill)
    return Paused(name, resource, process)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("node"), size=1) as cluster:
        yield cluster.nodes[1].endpoint


@pytest.fixture(scope="module")
def holders(
    endpoint: str, postgresql: str, mariadb: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Paused]]:
    """One for each guard, and one without: all are paused, and their leases run out, at the same time."""
    folder = tmp_path_factory.mktemp("protected")
    with ExitStack() as stack:
        resources: dict[str, dict[str, Any]] = {
            "sqlite": {"kind": "sql", "url": f"sqlite:///{folder}/guarded.db"},
            "postgresql": {"kind": "sql", "url": postgresql},
            "mariadb": {"kind": "sql", "url": mariadb},
            "file": {"kind": "file", "path": f"{folder}/file"},
            "asgi": {"kind": "asgi", "path": f"{folder}/asgi", "marks": str(folder)},
            "wsgi": {"kind": "wsgi", "path": f"{folder}/wsgi", "url": http_service(folder / "wsgi", stack)},
            "none": {"kind": "unguarded", "path": f"{folder}/unguarded"},
        }
        for resource in resources.values():
            if resource["kind"] == "sql":
                METADATA.create_all(create_engine(resource["url"], poolclass=NullPool))
        found = {guard: paused_holder(endpoint, guard, what, stack) for guard, what in resources.items()}
        for holder in found.values():
            holder.wait_until_paused()
        yield found


def let_the_next_holder_write(endpoint: str, paused: Paused) -> int:
    """Its token."""
    with LockdClient(endpoints=[endpoint]) as client, client.lock(paused.name, wait=WITHIN_S) as lock:
        write(paused.resource, paused.name, lock.token, "fresh")
        return lock.token


@pytest.mark.parametrize("guard", GUARDS)
def test_what_a_paused_holder_writes_after_the_next_one_is_refused(endpoint, holders, guard):
    paused = holders[guard]
    highest = let_the_next_holder_write(endpoint, paused)
    refused = paused.go_on()
    assert refused["reason"] == "STALE_TOKEN"
    assert refused["token"] == paused.token < refused["highest"] == highest
    assert refused["name"] == (paused.resource["path"] if guard == "file" else guard)
    assert read(paused.resource, guard) == "fresh"


def test_without_a_guard_it_overwrites_what_the_next_holder_wrote(endpoint, holders):
    let_the_next_holder_write(endpoint, holders["none"])
    assert holders["none"].go_on() == {"reason": "written"}
    assert read(holders["none"].resource, "none") == "stale"


def test_a_lock_and_a_set_of_locks_make_the_header_of_a_request(endpoint, holders):
    with LockdClient(endpoints=[endpoint]) as client, client.lock_all(["stock/ä", ("stock/b", True)]) as both:
        assert headers(both) == {"Lockd-Fence": f"stock/%C3%A4 {both.token}, stock/b {both.token} shared"}
        assert put_over_http(holders["wsgi"].resource["url"], headers(both))[0] == 200
