"""cluster.yml and the Go lockd's JSON: what is read, and what each refusal says."""

from pathlib import Path

import pytest

from lockd.config import ConfigError, Flags, Limits, NodeAddress
from lockd.config.cluster_file import parse
from lockd.config.load import resolve

ROOT = Path(__file__).resolve().parents[2]
NODES = "nodes: [{id: 1, host: 127.0.0.1}]\n"
THREE = """
nodes:
  - {id: 1, host: 127.0.0.1, port: 2080, http_port: 2081, peer_port: 2082}
  - {id: 2, host: 127.0.0.1, port: 2090, http_port: 2091, peer_port: 2092}
  - {id: 3, host: 127.0.0.1, port: 2100, http_port: 2101, peer_port: 2102}
"""


def refusal(text: str) -> str:
    """The message for a file with this content, be it parsing or validation that refuses it."""
    with pytest.raises(ConfigError) as raised:
        resolve(parse(text, "cluster.yml"), Flags(id=1), {"HOME": "/home/me"}, lambda host: False)
    return str(raised.value)


def test_the_defaults() -> None:
    cluster = parse(NODES, "cluster.yml")
    assert cluster.nodes == (NodeAddress(id=1, host="127.0.0.1", port=2080, http_port=0, peer_port=2082),)
    assert cluster.limits == Limits()
    assert (cluster.timing.heartbeat_ms, cluster.compaction.entries, cluster.insecure) == (100, 10_000, False)


def test_everything_given() -> None:
    cluster = parse(
        THREE
        + "data_dir: /var/lib/lockd\npeer_secret_file: secret\ninsecure: true\nelection_timeout_min_ms: 800\n"
        + "election_timeout_max_ms: 2000\nheartbeat_ms: 200\ncompact_entries: 500\ncompact_bytes: 2000000\n"
        + "limits: {owner_bytes: 100, list_page_max: 2000}\n",
        "cluster.yml",
    )
    assert [node.peer_endpoint for node in cluster.nodes] == ["127.0.0.1:2082", "127.0.0.1:2092", "127.0.0.1:2102"]
    assert (cluster.data_dir, cluster.peer_secret_file, cluster.insecure) == ("/var/lib/lockd", "secret", True)
    assert (cluster.timing.election_timeout_min_ms, cluster.timing.heartbeat_ms) == (800, 200)
    assert (cluster.compaction.entries, cluster.compaction.bytes) == (500, 2_000_000)
    assert (cluster.limits.owner_bytes, cluster.limits.list_page_max, cluster.limits.name_bytes) == (100, 2000, 512)
    assert cluster.limits.ttl_min_ms == 4000, "derived from the upper election timeout"


def test_the_example_is_valid() -> None:
    text = (ROOT / "cluster.example.yml").read_text()
    config = resolve(parse(text, "cluster.example.yml"), Flags(id=2), {"HOME": "/home/me"}, lambda host: False)
    assert [node.port for node in config.nodes] == [2080, 2090, 2100]
    assert config.data_dir == Path("lockd-data/2")
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ('{"1": "127.0.0.1:2080", "2": "127.0.0.1:2081"}', [(1, 2080, 12080), (2, 2081, 12081)]),
        ('{"7": "localhost:55535"}', [(7, 55535, 65535)]),
        ('{"7": "[::1]:55536"}', [(7, 55536, 45536)]),
        ('1: "127.0.0.1:2080"', [(1, 2080, 12080)]),
    ],
)
def test_the_go_lockds_form(text: str, ports: list[tuple[int, int, int]]) -> None:
    nodes = parse(text, "cluster.json").nodes
    assert [(node.id, node.port, node.peer_port) for node in nodes] == ports
    assert {node.http_port for node in nodes} == {0}
    assert not any(node.host.startswith("[") for node in nodes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file: has no fields; it takes nodes, data_dir"),
        ("[1, 2]", "the file: has no fields"),
        ("nodes: [", "the file: is neither YAML nor JSON"),
        ('{"nodes": ]}', "the file: is neither YAML nor JSON"),
        ("\x00", "the file: is neither YAML nor JSON"),
        ("nodes: [{id: 1, host: a}]\nnodes: []", "the file: nodes stands there twice"),
        ('{"1": "a:1", "1": "b:1"}', "the file: 1 stands there twice"),
        ("data_dir: x", "nodes: is a list of nodes"),
        ("nodes: []", "nodes: is a list of nodes"),
        ("nodes: [7]", "nodes[0]: has no fields; it takes id, host"),
        ("nodes: [{host: a}]", "nodes[0].id: is missing"),
        ("nodes: [{id: 1}]", "nodes[0].host: is missing"),
        ("nodes: [{id: one, host: a}]", "nodes[0].id: is 'one'; it is a whole number"),
        ("nodes: [{id: true, host: a}]", "nodes[0].id: is True; it is a whole number"),
        ("nodes: [{id: 1, host: 7}]", "nodes[0].host: is 7; it is a host name or an address"),
        ("nodes: [{id: 1, host: a, prot: 7}]", "nodes[0].prot: is not known; did you mean port?"),
        (NODES + "heartbeat: 7", "heartbeat: is not known; did you mean heartbeat_ms?"),
        (NODES + "zzz: 7", "zzz: is not known; known are nodes, data_dir"),
        (NODES + "limits: {ttl_min: 7}", "limits.ttl_min: is not known; did you mean ttl_min_ms?"),
        (NODES + "limits: 7", "limits: has no fields"),
        (NODES + "heartbeat_ms: '100'", "heartbeat_ms: is '100'; it is a whole number"),
        (NODES + "heartbeat_ms: 1.5", "heartbeat_ms: is 1.5; it is a whole number"),
        (NODES + "insecure: 1", "insecure: is 1; it is true or false"),
        (NODES + "data_dir: 7", "data_dir: is 7; it is a path"),
        (NODES + 'data_dir: "a\\0b"', "data_dir: is 'a\\x00b'; it is a path"),
        (NODES + 'peer_secret_file: "\\ud800"', "peer_secret_file: is '\\ud800'; it is a path"),
        (NODES + "peer_secret_file: ''", "peer_secret_file: is ''; it is a path"),
        ('{"1": 7}', '"1": is 7; the Go lockd\'s form has host:port there'),
        ('{"1": "nohost"}', "\"1\": 'nohost' is not host:port"),
        ('{"1": "::1:2080"}', "\"1\": '::1:2080' is not host:port"),
        ("nodes: [{id: 1, host: 127.0.0.1}, {id: 0, host: 127.0.0.2}]", "nodes: id 0: is not in 1 to 2147483648"),
        ("nodes: [{id: 1, host: 127.0.0.1, port: 0}]", "nodes: id 1: port: 0 is not in 1 to 65535"),
        ("nodes: [{id: 1, host: 127.0.0.1, http_port: 65536}]", "http_port: 65536 is not in 0 to 65535"),
        ("nodes: [{id: 1, host: 127.0.0.1, peer_port: -1}]", "peer_port: -1 is not in 1 to 65535"),
        ("nodes: [{id: 1, host: 'a b'}]", "host: 'a b' is not a host name or an address"),
        ("nodes: [{id: 1, host: 'a:b'}]", "host: 'a:b' is not a host name or an address"),
        (
            "nodes: [{id: 1, host: 127.0.0.1}, {id: 1, host: 127.0.0.2}]",
            "nodes: two have the id 1",
        ),
        (
            "nodes: [{id: 1, host: 127.0.0.1}, {id: 2, host: 127.0.0.1, port: 2082}]",
            "nodes: 127.0.0.1:2082 is both peer_port of node 1 and port of node 2",
        ),
        ('{"1": "localhost:2080", "2": "localhost:12080"}', "is both peer_port of node 1 and port of node 2"),
        (
            "nodes: [" + ", ".join(f"{{id: {n}, host: 127.0.0.{n}}}" for n in range(1, 11)) + "]",
            "nodes: has 10 nodes; the most is 9",
        ),
        (
            "insecure: true\nnodes: [{id: 1, host: 0.0.0.0}, {id: 2, host: 127.0.0.1}]",
            "0.0.0.0 is no address that other nodes could dial",
        ),
        (NODES + "heartbeat_ms: 9", "heartbeat_ms: 9 is below 10"),
        (NODES + "election_timeout_max_ms: 600001", "election_timeout_max_ms: 600001 is above 600000"),
        (NODES + "compact_entries: 1", "compact_entries: 1 is below 100"),
        (NODES + "compact_bytes: 1", "compact_bytes: 1 is below 1048576"),
        (NODES + "limits: {name_bytes: 513}", "limits.name_bytes: 513 is above 512"),
        (NODES + "limits: {connections_max: 9}", "limits.connections_max: 9 is below 10"),
        (NODES + "limits: {tokens_max: 100001}", "limits.tokens_max: 100001 is above 100000"),
        (NODES + "limits: {list_page_max: 10}", "limits.list_page_max: 10 is below 1000"),
        (
            NODES + "election_timeout_min_ms: 1000",
            "election_timeout_min_ms: 1000 is not below election_timeout_max_ms, which is 1000",
        ),
        (
            NODES + "heartbeat_ms: 100\nelection_timeout_min_ms: 300",
            "heartbeat_ms: 100 is not below a third of election_timeout_min_ms, which is 300",
        ),
        (
            NODES + "heartbeat_ms: 134",
            "heartbeat_ms: 134 is not below a third of election_timeout_min_ms, which is 400",
        ),
        (
            NODES + "limits: {ttl_min_ms: 1999}",
            "limits.ttl_min_ms: 1999 is below 2000, twice election_timeout_max_ms, which is 1000",
        ),
        (
            NODES + "limits: {ttl_min_ms: 5000, ttl_max_ms: 4000}",
            "limits.ttl_max_ms: 4000 is below limits.ttl_min_ms, which is 5000",
        ),
        (
            NODES + "limits: {message_bytes: 20000, metadata_bytes: 9000}",
            "limits.message_bytes: 20000 is below 20560, twice the sum of metadata_bytes",
        ),
    ],
)
def test_refusals_name_the_file_the_field_and_the_bound(text: str, message: str) -> None:
    said = refusal(text)
    assert said.startswith("cluster.yml: ")
    assert message in said
    assert "\n" not in said
