"""What a running node takes from its files again, by itself and at SIGHUP: what it says of it, and what it keeps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lockd.pki.making import make_ca, make_node
from lockd.private_files import NewFile, replace
from lockd_client import LockdClient, Unauthenticated
from tests.certificates import Authority
from tests.eventually import eventually
from tests.integration.cluster import Cluster, new_secret, running

WITHIN_S = 20.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("read again"), 1, tls="none") as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def goes_on(cluster: Cluster) -> Iterator[None]:
    yield
    with cluster.client() as client:
        assert client.unlock(client.try_lock("still here", ttl=60).token).released


@contextmanager
def logs(cluster: Cluster, event: str) -> Iterator[list[dict[str, Any]]]:
    """Something happens, and the node says this of it: the line, afterwards."""
    found: list[dict[str, Any]] = []
    before = len(cluster.nodes[1].said(event))
    yield found
    found.append(cluster.wait_for_log(1, event, after=before))


def hang_up(cluster: Cluster, **changes: Any) -> None:
    """SIGHUP, with a file that is otherwise: changes of its fields, of which None takes one away."""
    settings = cluster.settings
    cluster.settings = {name: value for name, value in {**settings, **changes}.items() if value is not None}
    cluster.write_file(cluster.file)
    cluster.settings = settings
    cluster.nodes[1].send(signal.SIGHUP)


def is_known(cluster: Cluster, secret: str) -> bool:
    credentials: Any = {"cacert": cluster.secured.authority.ca, "endpoints": cluster.endpoints()}
    try:
        with LockdClient(token=secret, **credentials) as client:
            client.status()
    except Unauthenticated:
        return False
    return True


# ---- cluster.yml


def with_another(cluster: Cluster, secret: str) -> dict[str, Any]:
    """The section auth, with one more token."""
    path = cluster.secured.write("another.token", secret)
    tokens = [*cluster.secured.auth["tokens"], {"name": "another", "role": "read", "file": str(path)}]
    return {"tokens": tokens}


def test_tokens_come_and_go(cluster: Cluster) -> None:
    secret = new_secret()
    assert not is_known(cluster, secret)
    with logs(cluster, "tokens read again") as said:
        hang_up(cluster, auth=with_another(cluster, secret))
    assert said[0]["tokens"] == 4
    assert is_known(cluster, secret)
    with logs(cluster, "tokens read again"):
        hang_up(cluster)
    assert not is_known(cluster, secret)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"limits": {"tokens_max": 500}, "heartbeat_ms": 90}, ["timing", "limits"]),
        ({"compact_entries": 500}, ["compaction"]),
    ],
)
def test_what_needs_a_new_start_is_named_and_the_rest_is_taken(
    cluster: Cluster, changes: dict[str, Any], fields: list[str]
) -> None:
    secret = new_secret()
    with logs(cluster, "tokens read again"), logs(cluster, "changes of cluster.yml that need a new start") as said:
        hang_up(cluster, **changes, auth=with_another(cluster, secret))
    assert said[0]["fields"] == fields
    assert said[0]["level"] == "warning"
    assert is_known(cluster, secret)
    with logs(cluster, "tokens read again"):
        hang_up(cluster)


def test_to_ask_clients_for_certificates_needs_a_new_start(cluster: Cluster) -> None:
    tls = {**cluster.settings["tls"], "client_certificates": "required"}
    with logs(cluster, "changes of cluster.yml that need a new start") as said:
        hang_up(cluster, tls=tls)
    assert said[0]["fields"] == ["tls.client_certificates"]
    assert is_known(cluster, cluster.secured.secret("ci")), "and nobody is asked meanwhile"
    with logs(cluster, "tokens read again"):
        hang_up(cluster)


@pytest.mark.parametrize("changes", [{"tls": None}, {"auth": None}, {"tls": None, "auth": None}])
def test_to_end_with_tls_or_auth_needs_a_new_start(cluster: Cluster, changes: dict[str, Any]) -> None:
    with logs(cluster, "to begin or to end with tls or auth takes a new start") as said:
        hang_up(cluster, **changes)
    assert said[0]["level"] == "warning"
    assert is_known(cluster, cluster.secured.secret("ci"))
    assert not is_known(cluster, new_secret())


def test_a_file_that_is_wrong_is_not_taken(cluster: Cluster) -> None:
    with logs(cluster, "cluster.yml is not taken") as said:
        hang_up(cluster, auth={"tokens": [{"name": "admin", "role": "king", "file": "pki/admin.token"}]})
    assert "auth.tokens[0].role: is 'king'" in said[0]["reason"]
    assert said[0]["level"] == "error"
    with logs(cluster, "cluster.yml is not taken") as said:
        cluster.file.unlink()
        cluster.nodes[1].send(signal.SIGHUP)
    assert "No such file" in said[0]["reason"]
    with logs(cluster, "tokens read again"):
        hang_up(cluster)


def test_with_certificates_that_cannot_be_used_nothing_of_the_file_is_taken(cluster: Cluster) -> None:
    secret = new_secret()
    tls = {**cluster.settings["tls"], "cert": "pki/nowhere.crt"}
    with logs(cluster, "cluster.yml is not taken") as said:
        hang_up(cluster, tls=tls, auth=with_another(cluster, secret))
    assert "nowhere.crt: No such file" in said[0]["reason"]
    assert not is_known(cluster, secret)
    with logs(cluster, "tokens read again"):
        hang_up(cluster, auth=with_another(cluster, secret))
    assert is_known(cluster, secret)
    with logs(cluster, "tokens read again"):
        hang_up(cluster)


# ---- files that change by themselves


def test_certificates_that_are_broken_for_a_while(cluster: Cluster) -> None:
    authority, folder = cluster.secured.authority, cluster.secured.folder
    cert, key = folder / "node-1.crt", folder / "node-1.key"
    right = cert.read_bytes()
    foreign = make_node(make_ca("another"), 1, ["127.0.0.1"])
    for broken, files in (
        ("half of it", [NewFile(cert, right[: len(right) // 2], 0o644)]),
        ("of another authority", [NewFile(key, foreign.key), NewFile(cert, foreign.cert, 0o644)]),
        ("expired", expired(authority)),
    ):
        with logs(cluster, "certificates stay as they are") as said:
            replace(*files)
        assert said[0]["reason"], broken
        assert is_known(cluster, cluster.secured.secret("ci")), broken
        with logs(cluster, "certificates renewed"):
            authority.node(1, days=90)


def expired(authority: Authority) -> list[NewFile]:
    made = make_node(authority.pair, 1, ["127.0.0.1"], days=-1)
    return [
        NewFile(authority.folder / "node-1.key", made.key),
        NewFile(authority.folder / "node-1.crt", made.cert, 0o644),
    ]


def test_tokens_that_are_broken_for_a_while(cluster: Cluster) -> None:
    secured = cluster.secured
    path, right = secured.folder / "dashboard.token", secured.secret("dashboard")
    for content, mode in ((b"short", 0o600), (right.encode(), 0o644)):
        with logs(cluster, "declared tokens stay as they are") as said:
            replace(NewFile(path, content, mode))
        assert "auth.tokens[2].file" in said[0]["reason"]
        assert is_known(cluster, right)
        following = new_secret()
        with logs(cluster, "tokens read again"):
            secured.write("dashboard.token", following)
        assert not is_known(cluster, right)
        assert is_known(cluster, following)
        right = following


def test_a_token_whose_file_is_gone_is_good_until_the_file_is_there_again(cluster: Cluster) -> None:
    path, right = cluster.secured.folder / "dashboard.token", cluster.secured.secret("dashboard")
    with logs(cluster, "declared tokens stay as they are"):
        path.unlink()
    assert is_known(cluster, right)
    following = new_secret()
    cluster.secured.write("dashboard.token", following)
    eventually(lambda: is_known(cluster, following), WITHIN_S)
    assert not is_known(cluster, right)
