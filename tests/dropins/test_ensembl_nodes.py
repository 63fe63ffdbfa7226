"""ResourceLocker: the nodes that it goes to, races for a lock, and callers that are asked who they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from lockd_client import PermissionDenied
from lockd_client.ensembl import LockException, ResourceLocker, options_of
from lockd_client.proto import lockd_pb2 as pb
from lockd_client.proto import lockd_pb2_grpc
from tests.dropins.racers import race
from tests.integration.cluster import Cluster, running

ANN, BOB = "ann@ebi.example", "ProteinFeaturePipeline"
DB = "mysql://user@server:3306/homo_sapiens_core_100_38"


@pytest.fixture
def endpoint(cluster: Cluster) -> str:
    return cluster.nodes[1].endpoint


# ---- where it goes


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("", {}),
        ("lockd://", {}),
        ("lockd:///", {}),
        ("lockd://db1:2080", {"endpoints": ["db1:2080"]}),
        ("LOCKD://db1/", {"endpoints": ["db1"]}),
        ("db1:2080,db2", {"endpoints": ["db1:2080", "db2"]}),
        ("lockd://[::1]:2080,db2:2090", {"endpoints": ["[::1]:2080", "db2:2090"]}),
        (
            "lockd://db1?token_file=%2Fetc%2Fci.token&cacert=ca.crt&timeout=2.5",
            {"endpoints": ["db1"], "token_file": "/etc/ci.token", "cacert": "ca.crt", "timeout": 2.5},
        ),
        ("lockd://?cert=a.crt&key=a.key", {"cert": "a.crt", "key": "a.key"}),
    ],
)
def test_a_url_names_nodes_and_options(url: str, options: dict[str, Any]) -> None:
    assert options_of(url, "url") == options


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("lockd://ann:secret@db1", "url has the form lockd://HOST:PORT.*a token is given in a file"),
        ("lockd://db1/locks", "url has the form"),
        ("lockd://db1#a", "url has the form"),
        ("lockd://db1?token=secret", "url: token is no option; there are token_file, cacert, cert, key and timeout"),
        ("lockd://db1?timeout=soon", "url: timeout is 'soon'; it is a number of seconds"),
        ("lockd://db1?timeout=-1", "timeout is -1.0; it is a number of seconds, more than 0"),
        ("lockd://db1?timeout=1&timeout=2", "url: timeout is there twice"),
        ("lockd://db1?cacert=", "url: cacert is empty"),
        ("lockd://db1:x", "port 'x' of 'db1:x' is not a number"),
        ("http://db1", "url begins with http:// and is of another kind"),
    ],
)
def test_a_url_that_cannot_be_used_is_a_value_error(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        ResourceLocker(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "sqlite", "postgresql", "mariadb"])
@pytest.mark.parametrize("source", ["url", "LOCK_URI"])
def test_a_database_gets_an_answer_that_says_how_to_move(
    monkeypatch: pytest.MonkeyPatch, scheme: str, source: str
) -> None:
    database = f"{scheme}://user:hidden@myhost:3306/my_hive_db"
    monkeypatch.setenv("LOCK_URI", database)
    with pytest.raises(ValueError, match="resource locks are kept by lockd") as error:
        ResourceLocker(database if source == "url" else "")
    said = str(error.value).replace("+pymysql", "")
    assert said.startswith(f"{source} begins with {scheme.removesuffix('+pymysql')}:// and names a database")
    assert f"set {source} to lockd://HOST:PORT" in said
    assert "hidden" not in said


def test_an_argument_goes_before_the_environment_and_that_before_the_clients_own(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("LOCKD_ENDPOINTS", endpoint)
    for argument, in_environment in (
        (f"lockd://{endpoint}", "mysql://no"),
        (None, f"lockd://{endpoint}"),
        ("", endpoint),
        ("", ""),
        ("lockd://", "mysql://no"),
    ):
        monkeypatch.setenv("LOCK_URI", in_environment)
        with ResourceLocker(argument, timeout=3600) as locker:
            assert locker.get_locks() == []


# ---- many at once, many nodes, and who may


def test_of_eight_processes_that_race_for_a_write_lock_one_wins_each_round(endpoint: str) -> None:
    winners = race(f"lockd://{endpoint}", DB, "write", racers=8, rounds=25)
    assert [len(ids) for ids in winners] == [1] * 25
    assert winners == sorted(winners), "and later ones have higher ids"


def test_of_processes_that_race_for_read_locks_all_win(endpoint: str) -> None:
    winners = race(f"lockd://{endpoint}", DB, "read", racers=3, rounds=3)
    assert [len(set(ids)) for ids in winners] == [3] * 3


def test_any_node_of_a_cluster_does_and_locks_outlive_a_leader(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        leader = cluster.wait_until_whole()
        follower, other = cluster.others(leader)
        with grpc.insecure_channel(cluster.nodes[follower].endpoint) as channel:
            asked = lockd_pb2_grpc.RegistryServiceStub(channel)
            id = asked.Register(pb.RegisterRequest(kind=pb.CLIENT, name=ANN)).id
            listed = asked.ListRegistered(pb.ListRegisteredRequest(kind=pb.CLIENT))
            assert [(entry.id, entry.name) for entry in listed.entries] == [(id, ANN)]
            with ResourceLocker(f"lockd://{cluster.nodes[other].endpoint}") as locker:
                lock = locker.lock(ANN, DB, "write")
            assert lock.client_id == id
            removal = asked.Unregister(pb.UnregisterRequest(kind=pb.CLIENT, id=id))
            assert (removal.removed, removal.in_use) == (False, True)
            locks = lockd_pb2_grpc.LockServiceStub(channel)
            (holder,) = locks.List(pb.ListRequest(token=lock.resource_lock_id)).holders
            assert (holder.name, holder.owner) == (DB, ANN)
        with ResourceLocker(f"lockd://{','.join(cluster.endpoints())}") as locker:
            assert locker.get_locks() == [lock]
            cluster.kill(leader)
            assert locker.get_lock(lock.resource_lock_id) == lock
            locker.unlock(lock)
            locker.delete_client(ANN)
            assert locker.lock(BOB, DB, "write").resource_lock_id > lock.resource_lock_id


def as_caller(cluster: Cluster, token: str) -> ResourceLocker:
    files = cluster.secured.credentials(token)
    options = f"token_file={files['token_file']}&cacert={files['cacert']}"
    return ResourceLocker(f"lockd://{cluster.nodes[1].endpoint}?{options}")


def test_where_the_cluster_asks_who_calls(tmp_path: Path) -> None:
    """A lock is its identity's; who may only read looks; who is bound to prefixes sees what is within them."""
    with (
        running(tmp_path, 1, tls="none") as cluster,
        as_caller(cluster, "admin") as admin,
        as_caller(cluster, "ci") as ci,
        as_caller(cluster, "dashboard") as dashboard,
    ):
        of_ci, of_admin = ci.lock(ANN, "ci/db", "write"), admin.lock(BOB, DB, "write")
        with pytest.raises(LockException, match=f"lock {of_ci.resource_lock_id} was taken by ci, and this caller is "):
            admin.unlock(of_ci)
        assert dashboard.get_locks() == [of_ci, of_admin]
        assert dashboard.get_client(ANN) == of_ci.client
        assert ci.get_lock(of_admin.resource_lock_id) is None
        assert ci.get_locks(resource_uri="ci/db") == [of_ci]
        assert ci.get_resources() == [of_ci.resource]
        assert ci.get_clients() == [of_ci.client, of_admin.client]
        refused: list[Callable[[], object]] = [
            lambda: ci.lock(ANN, DB, "read"),
            lambda: ci.get_locks(),
            lambda: ci.get_resource(DB),
            lambda: dashboard.lock(ANN, "ci/other", "read"),
            lambda: dashboard.get_client("new"),
            lambda: dashboard.unlock(of_ci),
        ]
        for call in refused:
            with pytest.raises(PermissionDenied):
                call()
        with pytest.raises(ValueError, match=f"No resource found for ID {of_admin.resource_id}"):
            ci.delete_resource(of_admin.resource)
        ci.unlock(of_ci)
        ci.delete_resource("ci/db")
        assert admin.get_resources() == [of_admin.resource]
