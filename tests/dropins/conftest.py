"""What the drop-ins run over: a node of lockd, and a Redis."""

import contextlib
from collections.abc import Iterator

import pytest

from lockd_client import LockdClient
from tests.dropins.peers import Peer, redis_server
from tests.dropins.redis_sides import OverLockd, OverRedis
from tests.integration.cluster import Cluster, running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Of one node."""
    with running(tmp_path_factory.mktemp("node"), 1) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[LockdClient]:
    with cluster.client() as client:
        yield client


@pytest.fixture
def url(cluster: Cluster) -> str:
    return f"lockd://{cluster.nodes[1].endpoint}"


@pytest.fixture(scope="module")
def one_redis() -> Iterator[Peer]:
    with redis_server() as peer:
        yield peer


@pytest.fixture
def original(one_redis: Peer) -> Iterator[OverRedis]:
    with contextlib.closing(OverRedis(one_redis)) as side:
        yield side


@pytest.fixture
def ours(cluster: Cluster) -> Iterator[OverLockd]:
    with contextlib.closing(OverLockd(cluster)) as side:
        yield side
