"""certs: what it makes, what it leaves alone, and that a node, OpenSSL and gRPC take it."""

import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from lockd.cli import exits, main
from lockd.config import Flags, load
from lockd.config.validate import ID_MAX
from lockd.pki.checks import subject_names
from lockd.pki.files import read
from lockd.pki.issuing import Place, make_authority
from lockd.pki.making import CannotIssue
from tests.cli.command import ROOT
from tests.pki import forge

WITHIN_S = 30.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "cluster.tls.example.yml", tmp_path / "cluster.yml")
    return tmp_path


def certs(*arguments: str) -> Result:
    result = CliRunner(env={"HOME": "/nowhere"}).invoke(main, ["certs", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def ok(*arguments: str) -> dict[str, str]:
    """Of each file that it speaks of, what was done."""
    result = certs(*arguments)
    assert result.exit_code == 0, result.output
    found = [
        re.fullmatch(r"(made|renewed|left alone) +(\S+)( \(valid until [\d-]+\))?", line)
        for line in result.stdout.splitlines()
    ]
    return {match[2]: match[1] for match in found if match}


def refused(code: int, *arguments: str) -> str:
    result = certs(*arguments)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    return result.stderr


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def init() -> dict[str, str]:
    return ok("init", "--cluster", "cluster.yml")


MADE = [
    *("pki/ca.crt", "pki/ca.key"),
    *(f"pki/node-{id}.{kind}" for id in (1, 2, 3) for kind in ("crt", "key")),
    *("pki/peer.secret", "pki/admin.token"),
]


# ---- init


def test_the_example_is_ready_after_one_command(folder: Path) -> None:
    assert init() == dict.fromkeys(MADE, "made")
    configs = [load(Flags(cluster=Path("cluster.yml"), id=id), {}) for id in (1, 2, 3)]
    assert {config.peer_secret for config in configs} == {Path("pki/peer.secret").read_bytes().strip()}
    assert [config.warnings for config in configs] == [(), (), ()]
    assert re.fullmatch(r"lockd_[\w-]{43}\n", Path("pki/admin.token").read_text())


def test_only_certificates_can_be_read_by_others(folder: Path) -> None:
    init()
    modes = {str(path): stat.S_IMODE(path.stat().st_mode) for path in Path("pki").iterdir()}
    assert modes == {name: 0o644 if name.endswith(".crt") else 0o600 for name in MADE}
    assert stat.S_IMODE(Path("pki").stat().st_mode) == 0o700


def test_secrets_are_not_printed(folder: Path) -> None:
    output = certs("init", "--cluster", "cluster.yml").output
    for path in (Path("pki/admin.token"), Path("pki/peer.secret"), Path("pki/node-1.key")):
        assert not any(line in output for line in path.read_text().splitlines())


def test_what_is_there_is_left_alone(folder: Path) -> None:
    init()
    before = contents(folder)
    assert init() == dict.fromkeys(MADE, "left alone")
    assert contents(folder) == before
    for missing in (["pki/node-2.crt", "pki/node-2.key"], ["pki/peer.secret"], ["pki/admin.token"]):
        for name in missing:
            Path(name).unlink()
        assert init() == dict.fromkeys(MADE, "left alone") | dict.fromkeys(missing, "made")


def test_files_without_the_authoritys_key(folder: Path) -> None:
    """It may be kept elsewhere, once the nodes have their certificates."""
    init()
    Path("pki/ca.key").unlink()
    assert init() == {name: "left alone" for name in MADE if name != "pki/ca.key"}
    for name in ("pki/node-2.crt", "pki/node-2.key", "pki/peer.secret"):
        Path(name).unlink()
    before = contents(folder)
    said = refused(exits.CONFIG, "init", "--cluster", "cluster.yml")
    assert "tls.ca: pki/ca.crt is there and pki/ca.key is not: certificates of the nodes 2 are issued where" in said
    assert contents(folder) == before, "nothing is made when not all can be"


@pytest.mark.parametrize(
    ("there", "missing"),
    [("pki/node-2.crt", "pki/node-2.key"), ("pki/node-2.key", "pki/node-2.crt"), ("pki/ca.key", "pki/ca.crt")],
)
def test_half_a_pair(folder: Path, there: str, missing: str) -> None:
    Path("pki").mkdir()
    Path(there).write_text("x")
    said = refused(exits.CONFIG, "init", "--cluster", "cluster.yml")
    assert f"{there} is there and {missing} is not; the two are made together. Move it away first" in said
    assert list(contents(folder / "pki")) == [folder / there]


def test_old_files_that_do_not_fit_the_new_ones(folder: Path) -> None:
    init()
    for name in ("pki/ca.crt", "pki/ca.key", "pki/node-1.crt", "pki/node-1.key"):
        Path(name).unlink()
    Path("pki/admin.token").write_text("short")
    result = certs("init", "--cluster", "cluster.yml")
    assert result.exit_code == exits.CONFIG
    assert "made        pki/ca.crt" in result.stdout
    assert "tls.cert: pki/node-2.crt was not issued by an authority in pki/ca.crt" in result.stderr
    assert "auth.tokens[0].file: pki/admin.token: the secret has 5 characters" in result.stderr
    assert "node-1.crt" not in result.stderr


def edited(old: str, new: str) -> None:
    path = Path("cluster.yml")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "node-{id}.crt",
            "node.crt",
            "tls.cert of node 2: pki/node.crt is tls.cert of node 1, too; in tls, {id} stands",
        ),
        (
            "node-{id}.key",
            "../pki/node-{id}.crt",
            "tls.key of node 1: pki/../pki/node-1.crt is tls.cert of node 1, too",
        ),
        ("pki/ca.crt", "pki/ca-{id}.crt", "tls.ca: is another file for every node; they have one authority"),
        (
            "pki/ca.crt",
            "pki/ca.key",
            "pki/ca.key is the certificate of an authority, whose key would have the same name",
        ),
        ("pki/peer.secret", "pki/ca.key", "peer_secret_file: pki/ca.key is the key of tls.ca, too"),
        ("pki/admin.token", "pki/peer.secret", "auth.tokens[0].file: pki/peer.secret is peer_secret_file, too"),
        ("role: admin", "role: root", "auth.tokens[0].role: is 'root'"),
        ("id: 2", "id: 1", "nodes: two have the id 1"),
        ("port: 2090", "prot: 2090", "nodes[1].prot: is not known"),
        ("host: 127.0.0.1", "host: 'a b'", "host: 'a b' is not a host name or an address"),
    ],
)
def test_a_cluster_file_that_will_not_do(folder: Path, old: str, new: str, message: str) -> None:
    edited(old, new)
    assert message in refused(exits.CONFIG, "init", "--cluster", "cluster.yml")
    assert not Path("pki").exists()


def test_a_cluster_file_that_names_no_files(folder: Path) -> None:
    Path("cluster.yml").write_text("nodes: [{id: 1, host: 127.0.0.1}]")
    said = refused(exits.CONFIG, "init", "--cluster", "cluster.yml")
    assert "cluster.yml: tls: is missing, and so are peer_secret_file and auth: there is nothing to make" in said
    assert "tls: is missing" in refused(exits.CONFIG, "node", "--cluster", "cluster.yml", "--id", "1")
    Path("cluster.yml").write_text("peer_secret_file: pki/secret\nnodes: [{id: 1, host: 127.0.0.1}]")
    assert init() == {"pki/secret": "made"}


def test_hosts_beyond_loopback(folder: Path) -> None:
    """Whether a node may listen there is for `serve` to say."""
    Path("cluster.yml").write_text(
        "peer_secret_file: secret\ntls: {ca: ca.pem, cert: '{id}.pem', key: '{id}.key'}\n"
        "nodes: [{id: 1, host: db1.example}, {id: 2, host: '2001:db8::1'}, {id: 3, host: 10.0.0.3}]"
    )
    init()
    assert Path("ca.key").exists()
    assert [hosts(Path(f"{id}.pem")) for id in (1, 2, 3)] == [{"db1.example"}, {"2001:db8::1"}, {"10.0.0.3"}]


def hosts(cert: Path) -> set[str]:
    _, names, addresses = subject_names(x509.load_pem_x509_certificate(cert.read_bytes()))
    return {*names, *addresses}


def test_a_folder_gets_an_authority(folder: Path) -> None:
    assert ok("init", "own") == {"own/ca.crt": "made", "own/ca.key": "made"}
    assert ok("init", "own") == {"own/ca.crt": "left alone", "own/ca.key": "left alone"}


@pytest.mark.parametrize("arguments", [(), ("own", "--cluster", "cluster.yml")])
def test_init_takes_a_folder_or_a_cluster(folder: Path, arguments: tuple[str, ...]) -> None:
    assert "Give either --cluster FILE or a folder." in refused(exits.USAGE, "init", *arguments)


def test_a_cluster_file_that_is_not_there(folder: Path) -> None:
    assert "none.yml: --cluster: cannot be read" in refused(exits.CONFIG, "init", "--cluster", "none.yml")


def test_a_folder_that_cannot_be_made(folder: Path) -> None:
    said = refused(exits.IO, "init", "cluster.yml/pki")
    assert "Not a directory: 'cluster.yml/pki'" in said


def test_what_was_made_before_it_failed_is_said(folder: Path) -> None:
    Path("pki").mkdir()
    Path("pki/node-2.key").symlink_to("nowhere")
    result = certs("init", "--cluster", "cluster.yml")
    assert (result.exit_code, result.stderr) == (exits.IO, "lockd: [Errno 17] File exists: 'pki/node-2.key'\n")
    said = [line.split()[1] for line in result.stdout.splitlines()]
    assert said == MADE[:4]
    Path("pki/node-2.key").unlink()
    assert sorted(path.name for path in Path("pki").iterdir()) == sorted(Path(name).name for name in said)


def test_two_at_once_mix_nothing_up(folder: Path) -> None:
    with futures.ThreadPoolExecutor(8) as pool:
        for round in range(5):
            place = Place.named(Path(f"pki{round}"), "ca")
            ends = [pool.submit(make_authority, place) for _ in range(8)]
            errors = [end.exception() for end in ends if end.exception()]
            assert all(isinstance(error, FileExistsError | CannotIssue) for error in errors), errors
            key = load_pem_private_key(place.key.read_bytes(), None)
            assert x509.load_pem_x509_certificate(place.cert.read_bytes()).public_key() == key.public_key()


# ---- node and client


def test_one_more_node_of_a_folder(folder: Path) -> None:
    ok("init", "pki")
    assert ok("node", "--ca", "pki", "--id", "4", "--host", "db4", "--host", "10.0.0.4") == {
        "pki/node-4.crt": "made",
        "pki/node-4.key": "made",
    }
    assert hosts(Path("pki/node-4.crt")) == {"db4", "10.0.0.4"}
    assert ok("node", "--ca", "pki", "--id", "4", "--host", "db4", "--out", "out") == {
        "out/node-4.crt": "made",
        "out/node-4.key": "made",
    }


def test_renewing_a_node(folder: Path) -> None:
    init()
    before = contents(folder)
    node = ("node", "--cluster", "cluster.yml", "--id", "2")
    assert "pki/node-2.crt is there already; --renew replaces it and its key" in refused(exits.IO, *node)
    assert contents(folder) == before
    assert ok(*node, "--renew", "--host", "db2", "--days", "60") == {
        "pki/node-2.crt": "renewed",
        "pki/node-2.key": "renewed",
    }
    changed = {path.name for path, content in contents(folder).items() if before[path] != content}
    assert changed == {"node-2.crt", "node-2.key"}, "and no temporary file is left"
    assert hosts(Path("pki/node-2.crt")) == {"127.0.0.1", "localhost", "db2"}
    assert stat.S_IMODE(Path("pki/node-2.key").stat().st_mode) == 0o600
    assert init() == dict.fromkeys(MADE, "left alone")


def test_renew_makes_what_is_not_there(folder: Path) -> None:
    ok("init", "pki")
    assert ok("client", "ci", "--ca", "pki", "--renew") == {"pki/client-ci.crt": "made", "pki/client-ci.key": "made"}
    assert ok("client", "ci", "--ca", "pki", "--renew") == {
        "pki/client-ci.crt": "renewed",
        "pki/client-ci.key": "renewed",
    }


def test_nothing_outlives_its_authority(folder: Path) -> None:
    root = forge.authority(days=(-1, 20))
    Path("ca.crt").write_bytes(root.cert)
    Path("ca.key").write_bytes(root.key)
    ok("client", "ci", "--ca", ".", "--days", "365")
    certificate = x509.load_pem_x509_certificate(Path("client-ci.crt").read_bytes())
    assert certificate.not_valid_after_utc == root.certificate.not_valid_after_utc


def test_a_bundle_of_authorities_issues_with_the_one_of_the_key(folder: Path) -> None:
    old, new = forge.authority("old"), forge.authority("new")
    Path("ca.crt").write_bytes(old.cert + new.cert)
    Path("ca.key").write_bytes(new.key)
    ok("client", "ci", "--ca", ".")
    certificate = x509.load_pem_x509_certificate(Path("client-ci.crt").read_bytes())
    certificate.verify_directly_issued_by(new.certificate)


NODE = ("node", "--ca", ".", "--id", "1", "--host", "a")


@pytest.mark.parametrize(
    ("cert", "key", "message"),
    [
        (None, None, "ca.key is not there: certificates are issued where the key of the authority is"),
        (b"x", b"x", "the authority ca.crt cannot issue: it is no certificate and private key in PEM"),
        (forge.authority().cert, forge.authority().key, "its key does not fit its certificate"),
        (forge.authority().cert, forge.authority().encrypted_key(), "its key is encrypted"),
        (forge.authority().cert, forge.node(forge.authority(), private=forge.ed25519_key()).key, "neither an EC nor"),
    ],
)
def test_an_authority_that_cannot_issue(folder: Path, cert: bytes | None, key: bytes | None, message: str) -> None:
    for path, content in ((Path("ca.crt"), cert), (Path("ca.key"), key)):
        if content is not None:
            path.write_bytes(content)
    assert message in refused(exits.CONFIG, *NODE)
    assert not Path("node-1.crt").exists()


def test_an_authority_that_has_expired(folder: Path) -> None:
    root = forge.authority(days=(-9, -1))
    Path("ca.crt").write_bytes(root.cert)
    Path("ca.key").write_bytes(root.key)
    assert "cannot issue: it expired at 2" in refused(exits.CONFIG, *NODE)


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (exits.USAGE, ("node", "--id", "1"), "Give either --cluster FILE or --ca DIR."),
        (exits.USAGE, ("client", "a", "--ca", "x", "--cluster", "y"), "Give either --cluster FILE or --ca DIR."),
        (exits.USAGE, ("node", "--ca", "pki", "--id", "1"), "Give the names and addresses under which the node is"),
        (exits.USAGE, ("node", "--ca", "pki", "--id", "0", "--host", "a"), "Invalid value for '--id'"),
        (exits.USAGE, ("node", "--ca", "pki", "--id", str(ID_MAX + 1), "--host", "a"), "Invalid value for '--id'"),
        (exits.USAGE, ("client", "a", "--ca", "pki", "--days", "0"), "Invalid value for '--days'"),
        (exits.USAGE, ("client", "a", "--ca", "pki", "--days", "4000"), "Invalid value for '--days'"),
        (exits.CONFIG, ("node", "--ca", "pki", "--id", "1", "--host", "a b"), "--host: 'a b' is not a host name"),
        (exits.CONFIG, ("node", "--ca", "pki", "--id", "1", "--host", "é"), "--host: 'é' is not a host name"),
        (exits.CONFIG, ("node", "--cluster", "cluster.yml", "--id", "9"), "--id: 9 is not among the nodes"),
        (exits.DATA, ("client", "../x", "--ca", "pki"), "NAME: '../x' is not 1 to 64 letters"),
        (exits.DATA, ("client", "a" * 65, "--ca", "pki"), "is not 1 to 64 letters"),
    ],
)
def test_a_command_line_that_is_wrong(folder: Path, code: int, arguments: tuple[str, ...], message: str) -> None:
    ok("init", "pki")
    before = contents(folder)
    assert message in refused(code, *arguments)
    assert contents(folder) == before


# ---- others take them


def openssl(*arguments: str) -> str:
    run = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=WITHIN_S)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_verifies_them(folder: Path) -> None:
    init()
    ok("client", "ci", "--ca", "pki")
    verify = ("verify", "-x509_strict", "-CAfile", "pki/ca.crt", "-purpose")
    for id in (1, 2, 3):
        openssl(*verify, "sslserver", "-verify_ip", "127.0.0.1", f"pki/node-{id}.crt")
        openssl(*verify, "sslclient", f"pki/node-{id}.crt")
    openssl(*verify, "sslclient", "pki/client-ci.crt")
    assert "URI:urn:lockd:client:ci" in openssl("x509", "-in", "pki/client-ci.crt", "-noout", "-text")


@contextmanager
def served(cert: Path, key: Path, ca: Path) -> Iterator[int]:
    """A gRPC server that asks for certificates; its port."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())], ca.read_bytes(), True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait(WITHIN_S)


def ask(port: int, host: str, ca: Path, cert: Path, key: Path) -> int:
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key.read_bytes(), cert.read_bytes())
    with grpc.secure_channel(f"{host}:{port}", credentials) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=WITHIN_S).status)


def test_grpc_takes_them(folder: Path) -> None:
    init()
    ok("client", "ci", "--ca", "pki")
    pki = Path("pki")
    with served(pki / "node-1.crt", pki / "node-1.key", pki / "ca.crt") as port:
        for host in ("127.0.0.1", "localhost"):
            for caller in ("client-ci", "node-2"):
                found = ask(port, host, pki / "ca.crt", pki / f"{caller}.crt", pki / f"{caller}.key")
                assert found == health_pb2.HealthCheckResponse.SERVING
        ok("init", "other")
        ok("client", "ci", "--ca", "other")
        for ca, caller in (("pki", "other"), ("other", "pki")):
            files = Path(ca, "ca.crt"), Path(caller, "client-ci.crt"), Path(caller, "client-ci.key")
            with pytest.raises(grpc.RpcError) as raised:
                ask(port, "127.0.0.1", *files)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_authorities_take_turns(folder: Path) -> None:
    """As docs/security.md has it: both in the bundle, new certificates, the old one out."""
    init()
    pki = Path("pki")
    files = pki / "node-1.crt", pki / "node-1.key", pki / "ca.crt"
    old = [path.read_bytes() for path in files]
    ok("init", "next")
    bundle = old[2] + Path("next/ca.crt").read_bytes()
    files[2].write_bytes(bundle)
    Path("next/ca.key").replace(pki / "ca.key")
    ok("node", "--cluster", "cluster.yml", "--id", "2", "--renew")
    assert init() == dict.fromkeys(MADE, "left alone"), "old and new certificates stand side by side"
    with served(*files) as port:
        ask(port, "127.0.0.1", files[2], pki / "node-2.crt", pki / "node-2.key")
    with served(pki / "node-2.crt", pki / "node-2.key", files[2]) as port:
        ask(port, "127.0.0.1", files[2], *files[:2])
    for id in ("1", "3"):
        ok("node", "--cluster", "cluster.yml", "--id", id, "--renew")
    files[2].write_bytes(Path("next/ca.crt").read_bytes())
    assert init() == dict.fromkeys(MADE, "left alone")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_the_documented_openssl_certificates_are_taken(folder: Path) -> None:
    (script,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "security.md").read_text(), re.DOTALL)
    run = subprocess.run(["sh", "-eu"], input=script, capture_output=True, text=True, timeout=WITHIN_S)
    assert run.returncode == 0, run.stderr
    files = Path("ca.crt"), Path("node-1.crt"), Path("node-1.key")
    for host in ("db1.example.com", "10.0.0.1"):
        assert read(*files, 1, host).warnings == ()
    with served(files[1], files[2], files[0]) as port:
        credentials = grpc.ssl_channel_credentials(
            files[0].read_bytes(), Path("client-backup.key").read_bytes(), Path("client-backup.crt").read_bytes()
        )
        options = [("grpc.ssl_target_name_override", "db1.example.com")]
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            stub.Check(health_pb2.HealthCheckRequest(), timeout=WITHIN_S)
