"""Real nodes: processes of `lockd serve` on free ports of loopback, in a folder of their own.

A node is stopped, killed, paused and started again by its number. Whatever happens, leaving the `with` ends every
process, and an error that leaves it carries the end of every node's log.
"""

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lockd.private_files import NewFile, replace
from lockd_client import LockdClient, LockdError, Status
from tests.certificates import Authority
from tests.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]

PORTS = range(12_000, 22_000)
"""Below what Linux gives to outgoing connections, which could otherwise take a node's port while it is down."""

GO_PEER_PORT_OFFSET = 10_000

LEADER_WITHIN_S = 20.0
EXIT_WITHIN_S = 20.0
STATUS_WITHIN_S = 0.5
LOG_LINES = 25
TURNS_TO_LEAD = 20  # one of two is elected: a node that never is, in so many, does not stand


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_given: set[int] = set()


def free_port(*, beside: int = 0) -> int:
    """A port that nobody listens on, and the one `beside` it, so far above; this process gives each out once."""
    while True:
        port = random.choice(PORTS)
        both = {port, port + beside}
        if not both & _given and all(map(is_free, both)):
            _given.update(both)
            return port


@dataclass(eq=False)
class Node:
    """One member. process: the newest, running or not."""

    id: int
    host: str
    port: int
    peer_port: int
    data: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    paused: bool = False
    codes: list[int] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def log_lines(self) -> list[dict[str, Any]]:
        """What the node logged in all its lives; lines that are no JSON are under `event`."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [json.loads(line) if line.startswith("{") and line.endswith("}") else {"event": line} for line in lines]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log lines whose event begins so."""
        return [line for line in self.log_lines() if str(line["event"]).startswith(event)]


class Secured:
    """Certificates and secrets of a cluster, in a folder: those that `lockd certs init` makes, under the same names.

    grants: the sections tokens and certificates of cluster.yml; a token without sha256 has a file here.
    """

    def __init__(self, folder: Path, ids: Sequence[int], client_certificates: str, grants: Mapping[str, Any]) -> None:
        self.folder, self.client_certificates = folder, client_certificates
        self.authority = Authority(folder, "the cluster's")
        for id in ids:
            self.authority.node(id, days=DAYS)
        self.peer_secret = self.write("peer.secret", secrets.token_hex(16))
        declared = [token if "sha256" in token else self._with_file(token) for token in grants.get("tokens", ())]
        self.auth = {**grants, "tokens": declared}

    def _with_file(self, token: Mapping[str, Any]) -> dict[str, Any]:
        self.write(f"{token['name']}.token", new_secret())
        return {**token, "file": f"pki/{token['name']}.token"}

    def write(self, name: str, text: str) -> Path:
        """At once, as all who replace a file that is read should."""
        replace(NewFile(self.folder / name, text.encode() + b"\n"))
        return self.folder / name

    def secret(self, token: str) -> str:
        return (self.folder / f"{token}.token").read_text().strip()

    def sections(self) -> dict[str, Any]:
        """Of cluster.yml, which stands beside the folder."""
        files = {"ca": "pki/ca.crt", "cert": "pki/node-{id}.crt", "key": "pki/node-{id}.key"}
        return {
            "peer_secret_file": "pki/peer.secret",
            "tls": {**files, "client_certificates": self.client_certificates},
            "auth": self.auth,
        }

    def credentials(self, token: str = "admin", certificate: str = "operator") -> dict[str, Any]:
        """Arguments of a LockdClient; the certificate only where one is asked for."""
        given: dict[str, Any] = {"cacert": self.authority.ca, "token_file": self.folder / f"{token}.token"}
        if self.client_certificates == "required":
            cert, key = self.folder / f"client-{certificate}.crt", self.folder / f"client-{certificate}.key"
            if not cert.exists():
                self.authority.client(certificate)
            given.update(cert=cert, key=key)
        return given


def new_secret() -> str:
    return "lockd_" + secrets.token_urlsafe(32)


DAYS = 90.0
"""Of nodes' certificates: so long that no node warns of their end."""

GRANTS: Mapping[str, Any] = {
    "tokens": (
        {"name": "admin", "role": "admin"},
        {"name": "ci", "role": "lock", "prefixes": ["ci/"]},
        {"name": "dashboard", "role": "read"},
    )
}


class Cluster:
    """size nodes, numbered from 1. form: "yaml", or "go" for the Go lockd's JSON. settings: fields of cluster.yml.

    under: by its number, the command that a node is started under; it must become the node, as env and strace -D do.
    tls: its client_certificates, "none" or "required"; such a cluster has TLS, and auth, which is GRANTS unless told
    otherwise. options: of `lockd serve`.
    """

    def __init__(
        self,
        folder: Path,
        size: int = 3,
        *,
        host: str = "127.0.0.1",
        form: str = "yaml",
        settings: Mapping[str, object] | None = None,
        under: Callable[[int], list[str]] = lambda _: [],
        tls: str | None = None,
        auth: Mapping[str, Any] = GRANTS,
        options: Sequence[str] = (),
    ) -> None:
        self.folder, self._under, self._options = folder, under, options
        folder.mkdir(parents=True, exist_ok=True)
        self._secured = Secured(folder / "pki", range(1, size + 1), tls, auth) if tls else None
        self.nodes: dict[int, Node] = {}
        for id in range(1, size + 1):
            port = free_port(beside=GO_PEER_PORT_OFFSET)
            peer_port = port + GO_PEER_PORT_OFFSET if form == "go" else free_port()
            self.nodes[id] = Node(id, host, port, peer_port, folder / f"data{id}", folder / f"node{id}.log")
        self.file = folder / ("cluster.json" if form == "go" else "cluster.yml")
        self.settings = {**(self._secured.sections() if self._secured else {}), **(settings or {})}
        self.write_file(self.file, form)
        self._asking = self.client(timeout=STATUS_WITHIN_S)

    @property
    def secured(self) -> Secured:
        """Of a cluster with TLS."""
        assert self._secured is not None
        return self._secured

    def write_file(self, file: Path, form: str = "yaml") -> None:
        """The cluster's file, with the present settings."""
        file.write_text(self._go_form() if form == "go" else self._yaml_form(self.settings))

    def _go_form(self) -> str:
        return json.dumps({str(node.id): node.endpoint for node in self.nodes.values()})

    def _yaml_form(self, settings: Mapping[str, object]) -> str:
        nodes = [
            {"id": node.id, "host": node.host, "port": node.port, "peer_port": node.peer_port}
            for node in self.nodes.values()
        ]
        return json.dumps({"nodes": nodes, **settings}, indent=2)  # YAML takes JSON

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(self.logs())
        self._asking.close()
        for node in self.nodes.values():
            self._end(node)

    # ---- processes

    def command(self, id: int) -> list[str]:
        node = self.nodes[id]
        serve = ["serve", "--cluster", str(self.file), "--id", str(id), "--data-dir", str(node.data)]
        return [sys.executable, "-m", "lockd", *serve, *self._options]

    def environment(self) -> dict[str, str]:
        """Nothing of this user's: the secret that nodes on loopback share is made in the folder."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCKD_")}
        return {**kept, "XDG_STATE_HOME": str(self.folder / "home"), "XDG_DATA_HOME": str(self.folder / "home")}

    def start(self, *ids: int) -> None:
        """All of them unless told otherwise. Returns at once."""
        for id in ids or self.nodes:
            node = self.nodes[id]
            assert not node.is_running, f"node {id} runs already"
            with node.log.open("ab") as log:
                node.process = subprocess.Popen(
                    [*self._under(id), *self.command(id)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    env=self.environment(),
                    start_new_session=True,  # a terminal's Ctrl-C reaches the test alone
                )

    def run_to_its_end(self, id: int, *options: str) -> subprocess.CompletedProcess[str]:
        """For a node that is not going to serve. Its output is not in its log."""
        return subprocess.run(
            [*self._under(id), *self.command(id), *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=self.environment(),
            timeout=EXIT_WITHIN_S,
        )

    def kill(self, *ids: int, with_signal: int = signal.SIGKILL) -> list[int]:
        """Sends the signal to all of them, then waits for their ends. Returns the exit codes."""
        for id in ids:
            self.nodes[id].process.send_signal(with_signal)  # type: ignore[union-attr]  # it was started
        return [self.wait_for_exit(id) for id in ids]

    def stop(self, *ids: int) -> list[int]:
        """As an operator does."""
        return self.kill(*ids, with_signal=signal.SIGTERM)

    def wait_for_exit(self, id: int) -> int:
        node = self.nodes[id]
        assert node.process is not None
        code = node.process.wait(EXIT_WITHIN_S)
        node.codes.append(code)
        return code

    @contextlib.contextmanager
    def paused(self, id: int) -> Iterator[None]:
        """The node stands still, as in a long pause of its machine."""
        node = self.nodes[id]
        os.kill(node.pid, signal.SIGSTOP)
        node.paused = True
        try:
            yield
        finally:
            os.kill(node.pid, signal.SIGCONT)
            node.paused = False

    def empty_data_directory(self, id: int) -> None:
        assert not self.nodes[id].is_running
        shutil.rmtree(self.nodes[id].data)

    def _end(self, node: Node) -> None:
        if node.is_running:
            os.kill(node.pid, signal.SIGCONT)
            os.kill(node.pid, signal.SIGKILL)
        if node.process is not None:
            node.process.wait()

    # ---- what they say

    def endpoints(self, *ids: int) -> list[str]:
        """In the order that was asked for; all of them unless told otherwise."""
        return [self.nodes[id].endpoint for id in ids or self.nodes]

    def client(self, *ids: int, timeout: float = 10.0, token: str = "admin") -> LockdClient:
        """token: the name of a declared one, where the cluster asks for tokens."""
        credentials = self._secured.credentials(token) if self._secured else {}
        return LockdClient(endpoints=self.endpoints(*ids), timeout=timeout, **credentials)

    def status(self, id: int) -> Status | None:
        """None where the node does not answer."""
        node = self.nodes[id]
        if not node.is_running or node.paused:
            return None
        try:
            return self._asking.status(node.endpoint)
        except LockdError:
            return None

    def statuses(self, ids: Sequence[int] = ()) -> dict[int, Status]:
        found = {id: self.status(id) for id in ids or self.nodes}
        return {id: status for id, status in found.items() if status is not None}

    def leader(self, ids: Sequence[int] = ()) -> int | None:
        """Who says of itself that it leads and has begun, in the highest term."""
        leading = [
            (status.term, id)
            for id, status in self.statuses(ids).items()
            if status.role == "leader" and status.leader_id == id
        ]
        return max(leading)[1] if leading else None

    def wait_for_leader(self, *ids: int, every_s: float = 0.02) -> int:
        """Among these, or all; others are not asked. Returns who leads."""
        leader = eventually(lambda: self.leader(ids), LEADER_WITHIN_S, every_s=every_s)
        assert leader is not None
        return leader

    def wait_until_whole(self) -> int:
        """Every node runs, is a full member, and knows the same leader. Returns who leads."""

        def leaders() -> int | None:
            ended = [id for id, node in self.nodes.items() if not node.is_running]
            assert not ended, f"nodes {ended} ended by themselves"
            known = self.statuses()
            one = {status.leader_id for status in known.values() if status.role != "joining"}
            return one.pop() if len(known) == len(self.nodes) and len(one) == 1 else None

        leader = eventually(leaders, LEADER_WITHIN_S)
        assert leader is not None
        return leader

    def let_lead(self, id: int) -> None:
        """Whoever else leads stands still until another does."""
        for _ in range(TURNS_TO_LEAD):
            leader = self.wait_until_whole()
            if leader == id:
                return
            with self.paused(leader):
                self.wait_for_leader(*self.others(leader))
        raise AssertionError(f"node {id} was never elected")

    def wait_until_applied(self, id: int, index: int) -> None:
        def applied() -> bool:
            status = self.status(id)
            return status is not None and status.applied_index >= index

        eventually(applied, LEADER_WITHIN_S)

    def wait_for_log(self, id: int, event: str, *, after: int = 0) -> dict[str, Any]:
        """The first line beyond the first `after` ones whose event begins so."""

        def line() -> dict[str, Any] | None:
            return next((each for each in self.nodes[id].said(event)[after:]), None)

        found = eventually(line, LEADER_WITHIN_S)
        assert found is not None
        return found

    def others(self, id: int) -> list[int]:
        return [other for other in self.nodes if other != id]

    def logs(self) -> str:
        """The end of every node's log."""
        parts = []
        for node in self.nodes.values():
            lines = node.log.read_text(errors="replace").splitlines() if node.log.exists() else ["(never started)"]
            parts += [f"---- node {node.id}, exit codes {node.codes}, the end of its log:", *lines[-LOG_LINES:]]
        return "\n".join(parts)


@contextlib.contextmanager
def running(folder: Path, size: int = 3, **options: Any) -> Iterator[Cluster]:
    """A cluster that has a leader known to every node."""
    with Cluster(folder, size, **options) as cluster:
        cluster.start()
        cluster.wait_until_whole()
        yield cluster
