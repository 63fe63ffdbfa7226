"""docs/: the example of each drop-in, as it stands but for the names of hosts and folders."""

from pathlib import Path
from typing import Any

import pytest
import redis

from lockd_client import LockdClient
from lockd_client.distributed_lock.choice import CHOICE
from tests.dropins.peers import Peer
from tests.examples import examples
from tests.integration.cluster import Cluster

THREE = "db1:2080,db2:2080,db3:2080"


@pytest.fixture(autouse=True)
def _here(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKD_ENDPOINTS", cluster.nodes[1].endpoint)


@pytest.mark.parametrize("page", ["resource-locker.md", "tooz.md"])
def test_a_url_leads_to_the_cluster(cluster: Cluster, client: LockdClient, page: str) -> None:
    (example,) = examples(page)
    assert THREE in example
    exec(example.replace(THREE, cluster.nodes[1].endpoint), {})
    assert not list(client.list())


def test_calls_of_redis_py_get_locks_of_lockd(client: LockdClient, one_redis: Peer) -> None:
    (example,) = examples("redis-lock.md")
    example = example.replace("redis.Redis()", f"redis.Redis(port={one_redis.port})")
    seen: list[bool] = []
    given: dict[str, Any] = {"look": lambda: seen.append(client.is_locked("nightly-report"))}
    exec(example.replace("    ...\n", "    look()\n"), given)
    assert seen == [True]
    assert isinstance(given["r"], redis.Redis)
    given["r"].close()


def test_locks_on_whichever_server_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locking.yml").write_text("[{type: file}]")
    monkeypatch.setenv("ISF_DISTRIBUTED_LOCK_CONFIG", str(tmp_path / "locking.yml"))
    (example,) = examples("distributed_lock.md")
    exec(example.replace("/data/", f"{tmp_path}/"), {})
    assert (tmp_path / ".results.lock").exists()
    CHOICE.forget()
