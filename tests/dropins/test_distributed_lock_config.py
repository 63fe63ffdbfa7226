"""Which server is used: the file, the environment, the order, and what is wrong with a configuration."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from kazoo.client import KazooClient  # type: ignore[import-untyped]  # kazoo ships no types

from lockd_client import InvalidArgument, LockdClient, Unavailable, distributed_lock
from lockd_client.distributed_lock import (
    DEFAULT_CONFIG,
    BadLockingConfig,
    NoLockingServer,
    get_lock,
    get_locking_client,
    get_locking_server,
    get_locking_server_client,
    get_read_lock,
    get_write_lock,
    update_config,
)
from lockd_client.distributed_lock.by_zookeeper import node_of, with_port
from lockd_client.distributed_lock.choice import CHOICE
from lockd_client.distributed_lock.config import entries_of, read_config
from tests.dropins.distributed_lock_user import User
from tests.dropins.peers import Peer, redis_server, zookeeper_server
from tests.eventually import eventually
from tests.integration.cluster import ROOT, free_port, running

VARIABLE = "ISF_DISTRIBUTED_LOCK_CONFIG"
FILE = {"type": "file"}


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("ISF_DISTRIBUTED_LOCK_BLOCK", raising=False)
    yield
    CHOICE.forget()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "locking.yml"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def redis_at(port: int, **config: Any) -> dict[str, Any]:
    return {"type": "redis", "config": {"host": "127.0.0.1", "port": port, **config}}


# ---- which entry


def test_the_first_that_answers_is_used(file: Path, one_redis: Peer) -> None:
    """Those after it are not even asked."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.setblocking(False)
        used = redis_at(one_redis.port)
        file.write_text(json.dumps([redis_at(free_port()), used, redis_at(silent.getsockname()[1]), FILE]))
        assert get_locking_server() == used
        with pytest.raises(BlockingIOError):
            silent.accept()
    entry, client = get_locking_server_client()
    assert (entry, client) == (used, get_locking_client())
    assert client.ping()


def test_each_type_has_its_own_client(tmp_path: Path, one_redis: Peer) -> None:
    with running(tmp_path, size=1) as cluster, zookeeper_server() as zookeeper:
        node = cluster.nodes[1]
        for entry, kind in [
            ({"type": "lockd", "config": {"host": "127.0.0.1", "port": node.port, "timeout": 5}}, LockdClient),
            ({"type": "lockd", "config": {"endpoints": [f"127.0.0.1:{free_port()}", node.endpoint]}}, LockdClient),
            (redis_at(one_redis.port, socket_timeout=1), redis.Redis),
            ({"type": "zookeeper", "config": {"hosts": f"localhost:{zookeeper.port}"}}, KazooClient),
            ({"type": "zookeeper", "config": {"hosts": "localhost", "port": zookeeper.port}}, KazooClient),
            (FILE, type(None)),
        ]:
            update_config([entry])
            assert isinstance(get_locking_client(), kind)
            with get_lock(tmp_path / "each"):
                pass
        CHOICE.forget()


def test_where_no_file_is_named_the_default_is_tried_in_its_order() -> None:
    order = [
        ("lockd", {"host": "localhost", "port": 2080}),
        ("redis", {"host": "localhost", "port": 6379}),
        ("file", {}),
    ]
    assert [(each["type"], each.get("config", {})) for each in DEFAULT_CONFIG] == order
    assert [entry.given for entry in read_config()] == list(DEFAULT_CONFIG)


@pytest.mark.parametrize("named", ["", "/nowhere/locking.yml"])
def test_where_the_file_does_not_exist_the_default_is_used_and_that_is_logged(
    named: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, named)
    assert [entry.given for entry in read_config()] == list(DEFAULT_CONFIG)
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned == (
        [f"{VARIABLE} names {named}, which does not exist: the default configuration is used"] * bool(named)
    )


def test_the_server_is_looked_for_once_by_however_many_threads(one_redis: Peer) -> None:
    update_config([redis_at(one_redis.port)])
    with ThreadPoolExecutor(8) as threads:
        clients = set(threads.map(lambda _: get_locking_client(), range(32)))
    assert len(clients) == 1


def test_a_server_that_was_chosen_stays_chosen_and_its_end_is_an_error(tmp_path: Path) -> None:
    """Going over to the next entry would let in those whom the first one keeps out."""
    with redis_server() as peer:
        update_config([redis_at(peer.port), FILE])
        lock = get_lock(tmp_path / "stays")
        peer.kill()
        with pytest.raises(redis.ConnectionError):
            lock.acquire()
        assert get_locking_server()["type"] == "redis"


def test_update_config_takes_effect_at_the_next_acquire_and_leaves_what_is_held(
    tmp_path: Path, one_redis: Peer
) -> None:
    update_config([redis_at(one_redis.port)])
    before, held = get_locking_client(), get_lock(tmp_path / "held")
    with held:
        update_config([FILE])
        assert get_locking_server_client() == (FILE, None)
        assert before.get(held.name) is not None
    assert before.get(held.name) is None
    with held:
        assert before.get(held.name) is None
        assert (tmp_path / ".held.lock").exists()


def test_a_child_looks_for_its_own_server(file: Path, one_redis: Peer) -> None:
    file.write_text(json.dumps([redis_at(one_redis.port)]))
    with User({VARIABLE: str(file)}) as parent:
        assert parent.call("client_in_a_fork") == [True, True]


def test_the_examples_of_the_documentation_are_configurations() -> None:
    """The second one is the default."""
    text = (ROOT / "docs" / "distributed_lock.md").read_text()
    first, second = (yaml.safe_load(part.split("```")[0]) for part in text.split("```yaml\n")[1:])
    assert [entry.given["type"] for entry in entries_of(first, "it")] == ["lockd", "redis", "zookeeper", "file"]
    assert second == list(DEFAULT_CONFIG)


# ---- none


def test_where_nothing_answers_every_entry_is_named_with_what_it_said(tmp_path: Path) -> None:
    ports = [free_port() for _ in range(3)]
    update_config(
        [
            {"type": "lockd", "config": {"port": ports[0]}},
            redis_at(ports[1], password="secret"),
            {"type": "zookeeper", "config": {"hosts": "127.0.0.1", "port": ports[2]}},
        ]
    )
    with pytest.raises(NoLockingServer) as raised:
        get_lock(tmp_path / "x")
    text = str(raised.value)
    assert isinstance(raised.value, Unavailable)
    for number, kind in enumerate(("lockd", "redis", "zookeeper"), 1):
        assert f"entry {number} ({kind}): " in text
    assert f"127.0.0.1:{ports[0]}: UNAVAILABLE" in text
    assert f"{ports[1]}. Connection refused" in text
    assert "no session within 3 s" in text
    assert "secret" not in text


def test_it_is_looked_for_again_after_nothing_answered(tmp_path: Path) -> None:
    with redis_server() as peer:
        port = peer.port
    update_config([redis_at(port)])
    with pytest.raises(NoLockingServer):
        get_lock(tmp_path / "x")
    with redis_server(port):
        assert get_locking_server() == redis_at(port)


QUIET = """
    import os, sys, threading
    from lockd_client.distributed_lock import get_lock, get_locking_server
    with get_lock(sys.argv[1]):
        print(get_locking_server()["type"], [thread.name for thread in threading.enumerate()])
"""


@pytest.mark.parametrize("are_silent", [False, True], ids=["refuse", "say nothing"])
def test_those_that_do_not_answer_cost_some_seconds_and_leave_no_word_and_no_thread(
    file: Path, are_silent: bool
) -> None:
    """None of the loggers is configured, as in most programs: warnings would go to stderr."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [each.getsockname()[1] for each in sockets]
    if not are_silent:
        for each in sockets:
            each.close()
    file.write_text(
        json.dumps(
            [
                {"type": "lockd", "config": {"port": ports[0]}},
                redis_at(ports[1]),
                {"type": "zookeeper", "config": {"hosts": f"127.0.0.1:{ports[2]}"}},
                FILE,
            ]
        )
    )
    program = [sys.executable, "-W", "error", "-c", "\n".join(line[4:] for line in QUIET.splitlines())]
    done = subprocess.run(
        [*program, str(file.parent / "x")], cwd=ROOT, capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert (done.stdout, done.stderr) == ("file ['MainThread']\n", "")
    for each in sockets:
        each.close()


def test_what_is_not_chosen_is_closed(tmp_path: Path, one_redis: Peer) -> None:
    """A Redis that refuses this client is not used, nor stays anything open to it."""
    admin = redis.Redis(port=one_redis.port)
    before = len(admin.client_list())
    update_config([redis_at(one_redis.port, password="wrong", username="nobody"), FILE])
    assert get_locking_server() == FILE
    eventually(lambda: len(admin.client_list()) == before, 10.0)
    admin.close()


def test_no_thread_is_left_of_a_client_that_was_closed(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with zookeeper_server() as zookeeper, running(tmp_path / "lockd", size=1) as cluster:
        started = set(threading.enumerate())
        for entry in (
            {"type": "zookeeper", "config": {"hosts": f"127.0.0.1:{zookeeper.port}"}},
            {"type": "lockd", "config": {"endpoints": cluster.endpoints()}},
        ):
            update_config([entry])
            with get_lock(tmp_path / "x"):
                assert set(threading.enumerate()) - started
        CHOICE.forget()
        eventually(lambda: not set(threading.enumerate()) - started, 10.0)
    eventually(lambda: not set(threading.enumerate()) - before, 10.0)


# ---- ISF_DISTRIBUTED_LOCK_BLOCK


GETTERS: list[Callable[[], object]] = [
    lambda: get_lock("/x"),
    lambda: get_read_lock("/x"),
    lambda: get_write_lock("/x"),
    get_locking_client,
    get_locking_server,
    get_locking_server_client,
]


@pytest.mark.parametrize("value", ["1", "0", ""])
@pytest.mark.parametrize("getter", GETTERS)
def test_where_locking_is_blocked_every_getter_raises(
    getter: Callable[[], object], value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_config([FILE])
    getter()
    monkeypatch.setenv("ISF_DISTRIBUTED_LOCK_BLOCK", value)
    with pytest.raises(RuntimeError, match="ISF_DISTRIBUTED_LOCK_BLOCK is set"):
        getter()


# ---- what is wrong with it


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("type: file", " is not a list of entries, each with a type and a config"),
        ("", " is not a list of entries, each with a type and a config"),
        ("[]", " has no entries"),
        ("[{type: file}, redis]", ", entry 2 is not a mapping with a type and a config"),
        ("[{config: {}}]", ", entry 1: there is no type; it is one of lockd, redis, zookeeper, file"),
        ("[{type: memcached}]", ", entry 1: the type is 'memcached'; it is one of lockd, redis, zookeeper, file"),
        ("[{type: [file]}]", ", entry 1: the type is ['file']; it is one of lockd, redis, zookeeper, file"),
        ("[{type: file, conf: {}}]", ", entry 1: 'conf' is not one of its fields; is it meant to be config?"),
        ("[{type: redis, config: [6379]}]", ", entry 1 (redis): config is not a mapping"),
        (
            "[{type: redis, config: {prot: 1}}]",
            ", entry 1 (redis): 'prot' is not one of its fields; is it meant to be port?",
        ),
        ("[{type: redis, config: {retry: 1}}]", ", entry 1 (redis): 'retry' is not one of its fields"),
        ("[{type: file, config: {port: 1}}]", ", entry 1 (file): 'port' is not one of its fields"),
        ("[{type: zookeeper, config: {handler: x}}]", ", entry 1 (zookeeper): 'handler' is not one of its fields"),
        ("[{type: lockd, config: {1: 2}}]", ", entry 1 (lockd): 1 is not one of its fields"),
        ("[{type: lockd, config: {port: '2080'}}]", ", entry 1 (lockd): port is '2080'; it is a whole number"),
        ("[{type: redis, config: {ttl: 0}}]", ", entry 1 (redis): ttl is 0; it is a number of seconds above 0"),
        ("[{type: redis, config: {ttl: .nan}}]", ", entry 1 (redis): ttl is nan; it is a number of seconds above 0"),
        ("[{type: redis, config: {host: 1}}]", ", entry 1 (redis): host is 1; it is a text"),
        ("[{type: lockd, config: {endpoints: a}}]", ", entry 1 (lockd): endpoints is 'a'; it is a list of texts"),
        (
            "[{type: lockd, config: {timeout: yes}}]",
            ", entry 1 (lockd): timeout is True; it is a number of seconds above 0",
        ),
        ("[{type: file}", " is not YAML: "),
        ("[!!python/object/apply:os.getcwd []]", " is not YAML: "),
        ("\x00", " is not YAML: "),
    ],
)
def test_what_is_wrong_is_named_with_its_file_entry_and_field(file: Path, text: str, what: str) -> None:
    file.write_text(text)
    with pytest.raises(BadLockingConfig) as raised:
        get_lock("/x")
    assert f"{file}{what}" in str(raised.value)
    assert isinstance(raised.value, InvalidArgument)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"host": "a", "endpoints": ["b"]}, "give either host and port, or endpoints"),
        ({"port": 70000}, "port 70000 of 127.0.0.1 is not in 1 to 65535"),
        ({"host": "example.org", "token": "x" * 32}, "example.org:2080"),
        ({"cacert": "/nowhere/ca.crt"}, "/nowhere/ca.crt"),
    ],
)
def test_what_the_client_has_to_say_of_its_arguments_names_the_entry(
    file: Path, config: dict[str, Any], what: str
) -> None:
    """It is not passed over: what was meant may well be there."""
    file.write_text(json.dumps([{"type": "lockd", "config": config}, FILE]))
    with pytest.raises(BadLockingConfig) as raised:
        get_lock("/x")
    assert f"{file}, entry 1 (lockd): " in str(raised.value)
    assert what in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(BadLockingConfig, match=f"{tmp_path}: Is a directory"):
        get_lock("/x")


def test_a_list_that_is_of_no_use_changes_nothing(tmp_path: Path) -> None:
    update_config([FILE])
    with pytest.raises(BadLockingConfig, match="the list given to update_config, entry 1: there is no type"):
        update_config([{}])
    assert get_locking_server() == FILE


def test_a_list_that_is_changed_afterwards_is_not_noticed(one_redis: Peer) -> None:
    given = [redis_at(one_redis.port)]
    update_config(given)
    given[0]["config"]["port"] = 1
    assert get_locking_server() == redis_at(one_redis.port)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("zoo", "zoo:2181"),
        ("zoo1, zoo2:99,zoo3", "zoo1:2181,zoo2:99,zoo3:2181"),
        ("[::1],[::1]:99", "[::1]:2181,[::1]:99"),
        ("zoo1,zoo2/locks/of:us", "zoo1:2181,zoo2:2181/locks/of:us"),
    ],
)
def test_the_port_of_a_zookeeper_entry_is_for_hosts_that_have_none(hosts: str, expected: str) -> None:
    assert with_port(hosts, 2181) == expected


def test_names_that_differ_have_nodes_that_differ_one_level_deep() -> None:
    names = ["/a/b", "a/b", "/a/b/", "/a//b", "/a%2Fb", ".", "..", "/zookeeper", "a b", "a+b", "\udcff"]
    nodes = {node_of(name) for name in names}
    assert len(nodes) == len(names)
    assert {node.count("/") for node in nodes} == {2}


@pytest.mark.parametrize("name", ["fasteners", "kazoo", "redis", "yaml"])
def test_what_is_not_installed_is_told_with_the_extra_that_has_it(name: str) -> None:
    program = f"import sys; sys.modules[{name!r}] = None; import lockd_client; import lockd_client.distributed_lock"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert f"{name} is not installed: pip install 'lockd-client[distributed-lock]'" in done.stderr


def test_all_that_is_offered_is_there() -> None:
    assert [name for name in distributed_lock.__all__ if not hasattr(distributed_lock, name)] == []
