"""Flags, environment and this machine: which node, which addresses, which directory, which secret."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lockd.config import Config, ConfigError, Flags, load
from lockd.config.cluster_file import parse
from lockd.config.load import is_of_this_machine, resolve
from lockd.config.secret import users_secret

HOME = {"HOME": "/home/me"}
THREE = "nodes: [{id: 1, host: 10.0.0.1}, {id: 2, host: 10.0.0.2}, {id: 3, host: 10.0.0.3}]\n"
LOCAL = """
nodes:
  - {id: 1, host: 127.0.0.1, port: 2080}
  - {id: 2, host: localhost, port: 2090}
  - {id: 3, host: "::1", port: 2100}
"""
OPEN = THREE + "insecure: true\npeer_secret: sixteen bytes or more\n"


def resolved(text: str, flags: Flags, environ: dict[str, str] | None = None, here: tuple[str, ...] = ()) -> Config:
    return resolve(parse(text, "/etc/lockd/cluster.yml"), flags, HOME | (environ or {}), lambda host: host in here)


def test_no_arguments_is_one_durable_node_on_loopback() -> None:
    config = load(Flags(), HOME)
    assert (config.me.id, config.me.endpoint, config.nodes) == (1, "127.0.0.1:2080", (config.me,))
    assert (config.listen_host, config.listen_port) == ("127.0.0.1", 2080)
    assert config.data_dir == Path("/home/me/.local/share/lockd/single")
    assert (config.persistence, config.peer_secret, config.warnings) == ("leveldb", b"", ())


@pytest.mark.parametrize(
    ("listen", "ports"), [("127.0.0.1:9000", (9000, 9001, 9002)), ("[::1]:65535", (65535, 65534, 65533))]
)
def test_one_node_listens_where_it_is_told(listen: str, ports: tuple[int, int, int]) -> None:
    me = load(Flags(listen=listen), HOME).me
    assert (me.port, me.http_port, me.peer_port) == ports


@pytest.mark.parametrize("listen", ["x", "127.0.0.1", ":2080", "::1:2080", "127.0.0.1:0", "a b:1", "h:99999"])
def test_a_listen_address_that_is_none(listen: str) -> None:
    with pytest.raises(ConfigError, match="--listen"):
        load(Flags(listen=listen, insecure=True), HOME)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "db1", "localhost.example.com"])
def test_beyond_loopback_needs_insecure_and_is_said(host: str) -> None:
    listen = f"[{host}]:2080" if ":" in host else f"{host}:2080"
    with pytest.raises(ConfigError, match="is beyond loopback") as raised:
        load(Flags(listen=listen), HOME)
    assert listen in str(raised.value)
    (warning,) = load(Flags(listen=listen, insecure=True), HOME).warnings
    assert warning.startswith(f"insecure: no TLS on {listen}")


def test_peers_beyond_loopback_need_insecure_and_a_secret() -> None:
    with pytest.raises(ConfigError, match="10.0.0.1:2082, 10.0.0.2:2082, 10.0.0.3:2082 is beyond loopback"):
        resolved(THREE, Flags(id=1))
    with pytest.raises(ConfigError, match="peer_secret_file: is missing; .*node 1 is at 10.0.0.1"):
        resolved(THREE, Flags(id=1, insecure=True))
    warnings = resolved(OPEN, Flags(id=1)).warnings
    assert [warning.split(":")[0] for warning in warnings] == ["insecure", "peer_secret"]


def test_listening_elsewhere_than_the_file_says() -> None:
    config = resolved(LOCAL, Flags(id=1, listen="0.0.0.0:2085", insecure=True))
    assert (config.listen_host, config.listen_port, config.me.endpoint) == ("0.0.0.0", 2085, "127.0.0.1:2080")
    assert "0.0.0.0:2085" in config.warnings[0]
    with pytest.raises(ConfigError, match="--listen: 2082 is the peer_port of node 1 already"):
        resolved(LOCAL, Flags(id=1, listen="127.0.0.1:2082"))


@pytest.mark.parametrize(
    ("flags", "environ", "here", "id"),
    [
        (Flags(id=3), {"LOCKD_ID": "1"}, ("10.0.0.2",), 3),
        (Flags(), {"LOCKD_ID": "1"}, ("10.0.0.2",), 1),
        (Flags(), {"LOCKD_ID": " "}, ("10.0.0.2",), 2),
        (Flags(), {}, ("10.0.0.2",), 2),
    ],
)
def test_which_node_this_is(flags: Flags, environ: dict[str, str], here: tuple[str, ...], id: int) -> None:
    assert resolved(OPEN, flags, environ, here).me.id == id


@pytest.mark.parametrize(
    ("flags", "environ", "here", "message"),
    [
        (Flags(id=4), {}, (), r"--id: 4 is not among the nodes, which are 1 \(10.0.0.1\), 2"),
        (Flags(), {"LOCKD_ID": "4"}, (), "LOCKD_ID: 4 is not among"),
        (Flags(), {"LOCKD_ID": "two"}, (), r"LOCKD_ID: 'two' is not a number; the nodes are 1 \(10.0.0.1\)"),
        (Flags(), {}, (), r"none has an address of this machine: 1 \(10.0.0.1\), 2 \(10.0.0.2\), 3"),
        (Flags(), {}, ("10.0.0.1", "10.0.0.3"), r"several .*: 1 \(10.0.0.1\), 3 \(10.0.0.3\); say"),
    ],
)
def test_not_knowing_which_node_this_is(
    flags: Flags, environ: dict[str, str], here: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolved(OPEN, flags, environ, here)


def test_an_id_without_a_cluster() -> None:
    with pytest.raises(ConfigError, match="--id: chooses a node of --cluster"):
        load(Flags(id=1), HOME)


@pytest.mark.parametrize(
    ("text", "flags", "environ", "folder"),
    [
        ("data_dir: ./data\n", Flags(id=2), {}, "/etc/lockd/data/2"),
        ("data_dir: /srv\n", Flags(id=2), {}, "/srv/2"),
        ("data_dir: /srv\n", Flags(id=2, data_dir=Path("mine")), {}, "mine"),
        ("", Flags(id=2), {}, "/home/me/.local/share/lockd/cluster/2"),
        ("", Flags(id=2), {"XDG_DATA_HOME": "/xdg"}, "/xdg/lockd/cluster/2"),
        ("", Flags(id=2), {"XDG_DATA_HOME": "relative"}, "/home/me/.local/share/lockd/cluster/2"),
    ],
)
def test_the_data_directory(text: str, flags: Flags, environ: dict[str, str], folder: str) -> None:
    assert resolved(OPEN + text, flags, environ).data_dir == Path(folder)


def test_without_a_home() -> None:
    with pytest.raises(ConfigError, match="--data-dir: is not given, and neither XDG_DATA_HOME nor HOME is set"):
        load(Flags(), {})


def test_memory_is_for_one_node() -> None:
    config = load(Flags(persistence="memory", data_dir=Path("x")), HOME)
    assert config.data_dir is None
    assert [warning.split()[0] for warning in config.warnings] == ["--persistence", "--data-dir:"]
    with pytest.raises(ConfigError, match="--persistence: memory is for one node, and nodes has 3"):
        resolved(OPEN, Flags(id=1, persistence="memory"))


def test_an_even_number_of_nodes_is_warned_of() -> None:
    (warning,) = resolved("nodes: [{id: 1, host: 127.0.0.1}, {id: 2, host: 127.0.0.2}]", Flags(id=1)).warnings
    assert warning.startswith("nodes: 2 survive the loss of no more nodes than 1 would")


def test_two_secrets() -> None:
    with pytest.raises(ConfigError, match="peer_secret: stands beside peer_secret_file"):
        resolved(OPEN + "peer_secret_file: x\n", Flags(id=1))


def test_the_secret_is_not_in_the_repr(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yml"
    file.write_text(OPEN)
    config = load(Flags(cluster=file, id=1), HOME)
    assert config.peer_secret == b"sixteen bytes or more"
    assert "sixteen" not in repr(config) + repr(parse(OPEN, "x"))


def with_secret(folder: Path, text: str, mode: int) -> Flags:
    secret = folder / "secret"
    secret.write_text(text)
    secret.chmod(mode)
    cluster = folder / "cluster.yml"
    cluster.write_text(LOCAL + "peer_secret_file: secret\n")
    return Flags(cluster=cluster, id=1)


def test_a_secret_file_beside_the_cluster_file(tmp_path: Path) -> None:
    config = load(with_secret(tmp_path, "  0123456789abcdef\n", 0o600), HOME)
    assert (config.peer_secret, config.warnings) == (b"0123456789abcdef", ())


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("0123456789abcdef", 0o644, r"is open to every user \(mode 0644\); say: chmod 600"),
        ("0123456789abcde\n", 0o600, "has 15 bytes; the least is 16"),
    ],
)
def test_a_secret_file_that_will_not_do(tmp_path: Path, text: str, mode: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(with_secret(tmp_path, text, mode), HOME)


def test_a_secret_file_open_to_its_group_is_warned_of(tmp_path: Path) -> None:
    (warning,) = load(with_secret(tmp_path, "0123456789abcdef", 0o640), HOME).warnings
    assert "is open to its group (mode 0640)" in warning


def test_a_secret_file_that_is_not_there(tmp_path: Path) -> None:
    flags = with_secret(tmp_path, "", 0o600)
    (tmp_path / "secret").unlink()
    with pytest.raises(ConfigError, match="peer_secret_file: .*secret: No such file"):
        load(flags, HOME)


def test_nodes_on_loopback_share_a_secret_of_the_user(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yml"
    cluster.write_text(LOCAL)
    first, second = (load(Flags(cluster=cluster, id=id), {"HOME": str(tmp_path)}) for id in (1, 2))
    assert first.peer_secret == second.peer_secret
    assert len(first.peer_secret) == 64
    path = tmp_path / ".local/state/lockd/peer-secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_nodes_that_start_at_once_agree_on_the_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        for round in range(20):
            assert len(set(pool.map(users_secret, [tmp_path / str(round)] * 16))) == 1


def test_a_users_secret_open_to_others(tmp_path: Path) -> None:
    users_secret(tmp_path)
    (tmp_path / "peer-secret").chmod(0o640)
    with pytest.raises(ConfigError, match="is open to other users"):
        users_secret(tmp_path)


def test_a_state_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="name a file in cluster.yml"):
        users_secret(tmp_path / "file" / "lockd")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read: No such file"), (b"nodes: \xff", "is not UTF-8 at byte 7")]
)
def test_a_cluster_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "cluster.yml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"cluster.yml: --cluster: {message}"):
        load(Flags(cluster=file), HOME)


def test_addresses_of_this_machine() -> None:
    assert is_of_this_machine("127.0.0.1")
    assert is_of_this_machine("localhost")
    assert not is_of_this_machine("192.0.2.77")
    assert not is_of_this_machine("nothing.invalid")
    assert not is_of_this_machine("a" * 70 + ".example")
