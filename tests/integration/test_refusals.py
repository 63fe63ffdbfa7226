"""What stops a node from starting, or from going on: one line that says so, an exit code, and nothing lost.

Exit codes are those of sysexits: 65 the data, 69 the ports, 74 the disk, 78 the configuration.
"""

import json
import re
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import plyvel
import pytest

from lockd.persistence import leveldb
from lockd_client import LockdClient, LockdError
from tests.integration.cluster import Cluster, free_port, running

DATA, UNAVAILABLE, IO, CONFIG = 65, 69, 74, 78

LOCKS = {f"kept/{number}" for number in range(20)}


def take(client: LockdClient, names: set[str]) -> None:
    assert all(client.try_lock(name, ttl=0).acquired for name in sorted(names))


def held(cluster: Cluster, *ids: int) -> set[str]:
    with cluster.client(*ids) as client:
        return {holder.name for holder in client.list()}


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Cluster]:
    """A node that has run, acknowledged LOCKS and was killed."""
    with running(tmp_path, 1) as cluster:
        with cluster.client() as client:
            take(client, LOCKS)
        cluster.kill(1)
        yield cluster


def message(run: subprocess.CompletedProcess[str]) -> str:
    """The last line; JSON says the same as a line for people would."""
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    last = run.stderr.splitlines()[-1]
    return str(json.loads(last)["event"]) if last.startswith("{") else last


def check_that_it_starts_with_everything(cluster: Cluster) -> None:
    cluster.start(1)
    cluster.wait_until_whole()
    assert held(cluster) == LOCKS


# ---- the directory


def test_a_second_daemon_on_one_directory(tmp_path):
    with running(tmp_path, 1) as cluster:
        with cluster.client() as client:
            take(client, LOCKS)
        second = cluster.run_to_its_end(1, "--listen", f"127.0.0.1:{free_port()}")
        assert second.returncode == IO
        assert "is in use by another process. Stop the lockd that runs on it" in message(second)
        assert str(cluster.nodes[1].data) in message(second)
        assert held(cluster) == LOCKS, "the first one goes on"


def identity(cluster: Cluster, value: bytes | None = None) -> bytes:
    """The record that says whose store it is; writes value there, and returns what was there before."""
    store = plyvel.DB(str(cluster.nodes[1].data / "store"))
    before = bytes(store.get(leveldb._IDENTITY))
    if value is not None:
        store.put(leveldb._IDENTITY, value)
    store.close()
    return before


def test_a_directory_of_a_newer_format(stopped):
    newer = leveldb._FORMAT_FIELD.pack(leveldb.FORMAT + 1) + b"whatever it has there"
    before = identity(stopped, newer)
    refused = stopped.run_to_its_end(1)
    assert refused.returncode == IO
    assert f"in format {leveldb.FORMAT + 1}; this lockd reads formats up to {leveldb.FORMAT}" in message(refused)
    assert identity(stopped, before) == newer, "it was not touched"
    check_that_it_starts_with_everything(stopped)


def test_a_directory_of_another_node(stopped):
    another = leveldb._IDENTITY_FIELDS.pack(leveldb.FORMAT, 7)
    before = identity(stopped, leveldb._sealed(leveldb._IDENTITY, another))
    refused = stopped.run_to_its_end(1)
    assert refused.returncode == IO
    assert "belongs to node 7; this is node 1. Check --id and --data-dir" in message(refused)
    identity(stopped, before)
    check_that_it_starts_with_everything(stopped)


def test_a_corrupted_store(stopped):
    (log,) = (stopped.nodes[1].data / "store").glob("*.log")
    sound = log.read_bytes()
    middle = len(sound) // 2
    log.write_bytes(sound[:middle] + bytes(byte ^ 0xFF for byte in sound[middle : middle + 8]) + sound[middle + 8 :])
    refused = stopped.run_to_its_end(1)
    assert refused.returncode == DATA
    assert f"is damaged: {log.name} cannot be read at byte" in message(refused)
    assert "move the directory away and start this node again" in message(refused)
    log.write_bytes(sound)
    check_that_it_starts_with_everything(stopped)


# ---- the disk


def fill_the_disk(cluster: Cluster, id: int, room: int) -> None:
    """From now on the node cannot make a file longer than its store's log is now, and this much more."""
    (log,) = (cluster.nodes[id].data / "store").glob("*.log")
    bound = log.stat().st_size + room
    resource.prlimit(cluster.nodes[id].pid, resource.RLIMIT_FSIZE, (bound, resource.RLIM_INFINITY))


def test_a_disk_that_is_full(tmp_path):
    with running(tmp_path, 1) as cluster:
        acknowledged = set()
        with cluster.client(timeout=3.0) as client:
            take(client, LOCKS)
            fill_the_disk(cluster, 1, room=50_000)
            with pytest.raises(LockdError):
                for number in range(100):
                    assert client.try_lock(f"more/{number}", metadata={"large": "x" * 4000}, ttl=0).acquired
                    acknowledged.add(f"more/{number}")
        assert acknowledged
        assert cluster.wait_for_exit(1) == IO
        (line,) = cluster.nodes[1].said(str(cluster.nodes[1].data))
        assert line["level"] == "error"
        assert "File too large. What was acknowledged is on disk. Remove the cause" in line["event"]
        assert not any("Traceback" in str(line) for line in cluster.nodes[1].log_lines())
        cluster.start(1)
        cluster.wait_until_whole()
        assert held(cluster) - {f"more/{len(acknowledged)}"} == LOCKS | acknowledged


def test_a_full_disk_of_the_leader_costs_the_cluster_no_call(tmp_path):
    with running(tmp_path) as cluster:
        leader = cluster.wait_for_leader()
        fill_the_disk(cluster, leader, room=20_000)
        names = [f"name/{number}" for number in range(40)]
        with cluster.client() as client:
            assert all(client.try_lock(name, metadata={"large": "x" * 2000}, ttl=0).acquired for name in names)
        assert cluster.wait_for_exit(leader) == IO
        cluster.start(leader)
        cluster.wait_until_whole()
        assert all(held(cluster, id) == set(names) for id in cluster.nodes)


def test_a_disk_without_room_to_begin(tmp_path):
    with Cluster(tmp_path, 1, under=lambda _: ["prlimit", "--fsize=10"]) as cluster:
        refused = cluster.run_to_its_end(1)
    assert refused.returncode == IO
    assert "File too large" in message(refused)


# ---- the ports


def test_a_port_that_is_taken(tmp_path):
    with running(tmp_path) as cluster:
        with cluster.client() as client:
            take(client, LOCKS)
        cluster.kill(1)
        node = cluster.nodes[1]
        for port, whom in ((node.port, "clients"), (node.peer_port, "peers")):
            with socket.create_server(("127.0.0.1", port)):
                refused = cluster.run_to_its_end(1)
            assert refused.returncode == UNAVAILABLE
            assert message(refused).startswith(f"cannot listen for {whom} on 127.0.0.1:{port}: ")
            assert re.search("port is taken|already in use", message(refused))
        cluster.start(1)
        cluster.wait_until_whole()
        assert held(cluster, 1) == LOCKS


# ---- the configuration


def test_a_cluster_in_memory(tmp_path):
    with Cluster(tmp_path) as cluster:
        refused = cluster.run_to_its_end(1, "--persistence", "memory")
        assert refused.returncode == CONFIG
        assert "--persistence: memory is for one node, and nodes has 3" in message(refused)
        assert not cluster.nodes[1].data.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nodes: [", "the file: is neither YAML nor JSON"),
        ("", "the file: has no fields"),
        ("nodes: []\n", "nodes: is a list of nodes"),
        ("nodes: [{id: 1, host: 127.0.0.1, prot: 2080}]\n", "nodes[0].prot: is not known; did you mean port?"),
        ("nodes: [{id: 2, host: 127.0.0.1}]\n", "--id: 1 is not among the nodes, which are 2 (127.0.0.1)"),
        ("nodes: [{id: 1, host: 127.0.0.1, port: 99999, peer_port: 1}]\n", "nodes: id 1: port: 99999 is not in 1 to"),
        ("nodes: [{id: 1, host: 127.0.0.1}]\nheartbeat_ms: 300\n", "heartbeat_ms: 300 is not below a third of"),
        ("nodes: [{id: 1, host: 10.1.2.3}]\n", "insecure: 10.1.2.3:2080 is beyond loopback"),
        ('{"1": "127.0.0.1"}', "\"1\": '127.0.0.1' is not host:port"),
        ('{"1": "127.0.0.1:2080", "1": "127.0.0.1:2090"}', "1 stands there twice"),
    ],
)
def test_a_wrong_cluster_file(tmp_path, content, said):
    with Cluster(tmp_path, 1) as cluster:
        cluster.file.write_text(content)
        refused = cluster.run_to_its_end(1)
        assert refused.returncode == CONFIG
        assert message(refused).startswith(f"lockd: {cluster.file}: ") or said.startswith("--id")
        assert said in message(refused)
        assert not cluster.nodes[1].data.exists()
