"""Certificates, authorities and tokens replaced while calls are made: no call fails, and no lock is lost.

Figures: --log-cli-level=INFO.
"""

import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lockd.private_files import NewFile, replace
from lockd_client import AsyncLockdClient, LockdClient
from tests.cli.command import run
from tests.eventually import eventually
from tests.integration.cluster import Cluster, new_secret, running
from tests.integration.load import Load

log = logging.getLogger("figures")

TAKEN_WITHIN_S = 30.0

TIMING = {"election_timeout_min_ms": 1500, "election_timeout_max_ms": 3000}
"""The term must stay, on a machine that is busy with other tests too."""

GRANTS: dict[str, Any] = {
    "tokens": [
        {"name": "admin", "role": "admin"},
        {"name": "ci", "role": "lock", "prefixes": ["ci/"]},
        {"name": "ci-next", "role": "lock", "prefixes": ["ci/"]},
    ]
}


class Rotation:
    """A cluster under load, of callers whose token and certificates are in files of their own."""

    def __init__(self, cluster: Cluster, load: Load, clients: Sequence[Any]) -> None:
        self.cluster, self.load, self._clients = cluster, load, clients
        self.secured = cluster.secured

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        self.load.longest()
        began, before = time.monotonic(), self.load.calls
        yield
        self.load.goes_on()
        took = time.monotonic() - began
        calls = self.load.calls - before
        log.info("%s: %d calls in %.1f s; longest: %s", what, calls, took, self.load.longest())

    @contextmanager
    def nodes_say(self, event: str) -> Iterator[None]:
        """All of them, once more than before."""
        before = {id: len(node.said(event)) for id, node in self.cluster.nodes.items()}
        yield
        for id, said in before.items():
            self.cluster.wait_for_log(id, event, after=said)

    @contextmanager
    def clients_take_it(self) -> Iterator[None]:
        def editions() -> list[int]:
            return [client._credentials.edition for client in self._clients]

        before = editions()
        yield
        eventually(lambda: all(map(int.__gt__, editions(), before)), TAKEN_WITHIN_S)

    def renew_nodes(self) -> None:
        for id in self.cluster.nodes:
            done("certs", "node", "--cluster", str(self.cluster.file), "--id", str(id), "--renew")

    def renew_client(self) -> None:
        done("certs", "client", "operator", "--ca", str(self.secured.folder), "--renew")

    def believe(self, *authorities: Path) -> None:
        ca = self.secured.authority.ca
        replace(NewFile(ca, b"".join(path.read_bytes() for path in authorities), 0o644))


def done(*arguments: str) -> None:
    result = run(None, *arguments)
    assert result.exit_code == 0, result.output


@contextmanager
def rotation(folder: Path, client_certificates: str) -> Iterator[Rotation]:
    with running(folder, tls=client_certificates, auth=GRANTS, settings=TIMING) as cluster:
        secured, clients = cluster.secured, list[Any]()
        secured.write("caller.token", secured.secret("ci"))
        credentials = {"endpoints": cluster.endpoints(), **secured.credentials("caller")}

        def made(kind: Callable[..., Any]) -> Callable[[], Any]:
            def make() -> Any:
                clients.append(kind(**credentials))
                return clients[-1]

            return make

        leader = cluster.wait_until_whole()
        before, started = cluster.statuses(), log_of(cluster)
        with Load(made(LockdClient), made(AsyncLockdClient)) as load:
            yield Rotation(cluster, load, clients)
        log.info("%d calls by %d callers", load.calls, len(load.callers))
        assert load.failures == []
        assert cluster.wait_until_whole() == leader
        assert {status.term for status in cluster.statuses().values()} == {before[leader].term}
        said = [line for line in log_of(cluster) if line not in started and line["level"] != "info"]
        assert [line for line in said if line["level"] != "warning"] == []
        log.info("warnings: %s", said)


def log_of(cluster: Cluster) -> list[dict[str, Any]]:
    return [line for node in cluster.nodes.values() for line in node.log_lines()]


@pytest.mark.parametrize("client_certificates", ["none", "required"])
def test_certificates_and_authorities_are_replaced(tmp_path: Path, client_certificates: str) -> None:
    asks = client_certificates == "required"
    with rotation(tmp_path, client_certificates) as turn:
        with turn.step("every node's certificate renewed"), turn.nodes_say("certificates renewed"):
            turn.renew_nodes()
        if asks:
            with turn.step("the clients' certificate renewed"), turn.clients_take_it():
                turn.renew_client()
        folder = turn.secured.folder
        done("certs", "init", str(folder / "next"))
        old = folder / "old.crt"
        old.write_bytes(turn.secured.authority.ca.read_bytes())
        with turn.step("two authorities believed"), turn.clients_take_it(), turn.nodes_say("certificates renewed"):
            turn.believe(old, folder / "next" / "ca.crt")
        (folder / "next" / "ca.key").replace(folder / "ca.key")
        with turn.step("nodes' certificates of the other authority"), turn.nodes_say("certificates renewed"):
            turn.renew_nodes()
        if asks:
            with turn.step("the clients' certificate of the other authority"), turn.clients_take_it():
                turn.renew_client()
        with (
            turn.step("the first authority taken away"),
            turn.clients_take_it(),
            turn.nodes_say("certificates renewed"),
        ):
            turn.believe(folder / "next" / "ca.crt")


def test_tokens_are_replaced(tmp_path: Path) -> None:
    with rotation(tmp_path, "none") as turn, turn.cluster.client() as admin:
        secured, cluster = turn.secured, turn.cluster
        first = admin.create_token("ci", "lock", ["ci/"])
        with turn.step("the token of a file replaced by a created one"), turn.clients_take_it():
            secured.write("caller.token", first.secret)
        second = admin.create_token("ci", "lock", ["ci/"])
        with turn.step("a created token replaced, and revoked once it is out of use"):
            with turn.clients_take_it():
                secured.write("caller.token", second.secret)
            assert admin.revoke_token(first.id)
        third = admin.create_token("ci", "lock", ["ci/"])
        with turn.step("a created token replaced, and revoked at the same moment"), turn.clients_take_it():
            secured.write("caller.token", third.secret)
            assert admin.revoke_token(second.id)
        secret = new_secret()
        with turn.step("the file of a declared token replaced that is not in use"), turn.nodes_say("tokens read again"):
            secured.write("ci-next.token", secret)
        cluster.settings["auth"]["tokens"][2]["name"] = "ci"  # of which there are two, and so they are one caller
        with turn.step("SIGHUP, with another name for a token"), turn.nodes_say("tokens read again"):
            cluster.write_file(cluster.file)
            for node in cluster.nodes.values():
                node.send(signal.SIGHUP)
        with turn.step("a created token replaced by a declared one"):
            with turn.clients_take_it():
                secured.write("caller.token", secret)
            assert admin.revoke_token(third.id)
