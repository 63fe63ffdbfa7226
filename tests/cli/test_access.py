"""The commands against nodes that speak TLS and ask who calls; and `lockd token`."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from lockd_client.proto import lockd_pb2
from tests.certificates import Authority
from tests.cli.command import Process, run
from tests.client.fake_node import Fail, FakeNode
from tests.client.guard import Guard

TOKEN = "lockd_" + "t" * 40
OTHER = "lockd_" + "o" * 40


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def token_file(authority: Authority) -> Path:
    path = authority.folder / "admin.token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def guarded(authority: Authority) -> Iterator[FakeNode]:
    with FakeNode(guard=Guard(tokens={TOKEN}, tls=authority.node(1))) as node:
        yield node


# ---- the options


@pytest.mark.parametrize(
    "arguments",
    [
        ("lock", "a"),
        ("unlock", "a", "--token", "1"),
        ("wait", "a", "--timeout", "0"),
        ("list",),
        ("info", "a"),
        ("break", "a", "--token", "1", "--reason", "x", "--yes"),
        ("status",),
        ("token", "list"),
        ("token", "create", "ci", "--role", "lock"),
        ("token", "revoke", "1", "--yes"),
    ],
)
def test_every_command_takes_them(
    guarded: FakeNode, authority: Authority, token_file: Path, arguments: tuple[str, ...]
) -> None:
    options = ("--cacert", str(authority.ca), "--token-file", str(token_file))
    by_options = run(guarded, *arguments, *options)
    by_environment = run(
        guarded, *arguments, env={"LOCKD_CACERT": str(authority.ca), "LOCKD_TOKEN_FILE": str(token_file)}
    )
    for result in (by_options, by_environment):
        assert result.exit_code in (0, 1), result.stderr
    without = run(guarded, *arguments, "--cacert", str(authority.ca))
    assert (without.exit_code, without.stdout) == (77, "")
    assert "does not know this caller; give a token (LOCKD_TOKEN, --token-file)" in without.stderr
    wrong = run(guarded, *arguments, "--cacert", str(authority.ca), env={"LOCKD_TOKEN": OTHER})
    assert (wrong.exit_code, wrong.stdout) == (77, "")
    assert OTHER not in wrong.stderr


def test_watch_takes_them(guarded: FakeNode, authority: Authority, token_file: Path) -> None:
    guarded.state.events.append(
        lockd_pb2.Event(
            revision=1,
            kind=lockd_pb2.EVENT_BROKEN,
            wants=[lockd_pb2.Want(name="a")],
            clock_ms=1000,
            token=7,
            owner="ann",
            by="ops",
            by_identity="admin",
            by_credential="token 3",
            reason="gone",
        )
    )
    options = ("--cacert", str(authority.ca), "--token-file", str(token_file))
    with Process(guarded, "watch", "--from", "1", *options) as process:
        assert process.line() == "1  1.000s  broken       a  token 7, ann, by ops (admin, token 3): gone\n"
    with Process(guarded, "watch", "--from", "1", "--cacert", str(authority.ca)) as process:
        code, out, err = process.end()
    assert (code, out) == (77, "")
    assert "does not know this caller" in err


def test_a_certificate(authority: Authority) -> None:
    cert, key = authority.client("ann")
    with FakeNode(guard=Guard(tls=authority.node(1), client_ca=authority.ca)) as node:
        options = ("--cacert", str(authority.ca), "--cert", str(cert), "--key", str(key))
        assert run(node, "lock", "a", *options).exit_code == 0
        half = run(node, "lock", "a", *options[:4])
        assert (half.exit_code, half.stdout) == (65, "")
        assert "cert is given without key" in half.stderr


def test_what_does_not_fit_is_said(guarded: FakeNode, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    wrong = run(guarded, "lock", "a", "--cacert", str(other.ca))
    assert (wrong.exit_code, wrong.stdout) == (69, "")
    assert "TLS handshake failed: its certificate was not issued by an authority in cacert" in wrong.stderr
    wrong = run(guarded, "status", "--cacert", str(other.ca))
    assert wrong.exit_code == 69
    assert "TLS handshake failed" in wrong.stderr
    missing = run(guarded, "lock", "a", "--cacert", str(tmp_path / "nothing"))
    assert missing.exit_code == 65
    assert f"cacert: {tmp_path}/nothing: No such file" in missing.stderr


def test_a_token_in_clear() -> None:
    refused = run("db1:2080", "list", env={"LOCKD_TOKEN": TOKEN})
    assert (refused.exit_code, refused.stdout) == (65, "")
    assert "LOCKD_TOKEN would travel to db1:2080 in clear" in refused.stderr
    assert "--insecure" in refused.stderr
    assert TOKEN not in refused.stderr
    assert run("db1.invalid", "list", "--insecure", "--timeout", "1", env={"LOCKD_TOKEN": TOKEN}).exit_code == 69


def test_client_toml(guarded: FakeNode, authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "client.toml"
    file.write_text(f'endpoints = ["{guarded.endpoint}"]\ncacert = "pki/ca.crt"\ntoken = "{TOKEN}"\n')
    file.chmod(0o600)
    env = {"LOCKD_CONFIG": str(file), "LOCKD_ENDPOINTS": ""}
    assert run(guarded, "lock", "a", env=env).exit_code == 0
    file.chmod(0o644)
    refused = run(guarded, "lock", "a", env=env)
    assert refused.exit_code == 65
    assert f"chmod 600 {file}" in refused.stderr


# ---- --cluster


def cluster_file(folder: Path, *ports: int, auth: bool = True) -> Path:
    nodes = "\n".join(f"  - {{id: {n}, host: 127.0.0.1, port: {port}}}" for n, port in enumerate(ports, 1))
    tokens = """
auth:
  tokens:
    - {name: ci, role: lock, file: pki/ci.token}
    - {name: root, role: admin, sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
    - {name: gone, role: admin, file: pki/gone.token}
    - {name: admin, role: admin, file: pki/admin.token}
"""
    path = folder / "cluster.yml"
    path.write_text(
        f"nodes:\n{nodes}\ntls: {{ca: pki/ca.crt, cert: 'pki/node-{{id}}.crt', key: 'pki/node-{{id}}.key'}}\n"
        + (tokens if auth else "")
    )
    return path


def test_all_that_a_cluster_file_says(guarded: FakeNode, token_file: Path, tmp_path: Path) -> None:
    path = cluster_file(tmp_path, guarded.port, 1)
    shown = run(None, "status", "--cluster", str(path), "-o", "json")
    assert shown.exit_code == 0
    assert [each["endpoint"] for each in json.loads(shown.stdout)] == [guarded.endpoint, "127.0.0.1:1"]
    assert run(None, "lock", "a", "--cluster", str(path)).exit_code == 0
    assert run(None, "lock", "b", "--cluster", str(path), env={"LOCKD_TOKEN": OTHER}).exit_code == 0


def test_options_win_over_a_cluster_file(guarded: FakeNode, token_file: Path, tmp_path: Path) -> None:
    path = cluster_file(tmp_path, 1)
    assert run(None, "lock", "a", "--cluster", str(path), "--endpoint", guarded.endpoint).exit_code == 0
    other = tmp_path / "other.token"
    other.write_text(OTHER)
    options = ("--cluster", str(path), "--endpoint", guarded.endpoint, "--token-file", str(other))
    assert run(None, "lock", "b", *options).exit_code == 77


def test_a_cluster_file_without_a_token_leaves_it_to_the_environment(
    guarded: FakeNode, authority: Authority, tmp_path: Path
) -> None:
    path = cluster_file(tmp_path, guarded.port, auth=False)
    assert run(None, "lock", "a", "--cluster", str(path)).exit_code == 77
    assert run(None, "lock", "a", "--cluster", str(path), env={"LOCKD_TOKEN": TOKEN}).exit_code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cluster.yml: No such file"),
        ("a: [", "cluster.yml: the file: is neither YAML nor JSON"),
        ("nodes: []", "cluster.yml: nodes: is a list of nodes"),
        ("nodes: [{id: 1, host: h}]\ntsl: {}", "cluster.yml: tsl: is not known; did you mean tls?"),
    ],
)
def test_a_cluster_file_that_is_wrong(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "cluster.yml"
    if text is not None:
        path.write_text(text)
    refused = run(None, "list", "--cluster", str(path))
    assert (refused.exit_code, refused.stdout) == (78, "")
    assert message in refused.stderr


# ---- who


def test_identities_are_shown_where_there_are_any(node: FakeNode) -> None:
    run(node, "lock", "a", "--owner", "ann")
    assert "IDENTITY" not in run(node, "list").stdout + run(node, "info", "a").stdout
    node.holds["a"].identity = "ci"
    assert run(node, "list").stdout.splitlines() == [
        "NAME  TOKEN  OWNER  IDENTITY  AGE  REMAINING",
        "a     1      ann    ci        0s   no ttl",
    ]
    assert "  TOKEN  OWNER  IDENTITY  AGE  REMAINING\n" in run(node, "info", "a").stdout
    assert json.loads(run(node, "info", "a", "-o", "json").stdout)["holders"][0]["identity"] == "ci"
    assert "identity ci" in run(node, "lock", "a").stderr


def test_refusals_are_counted_in_the_status(node: FakeNode) -> None:
    (status,) = json.loads(run(node, "status", "-o", "json").stdout)
    assert status["refused"] == {}


# ---- lockd token


def test_a_secret_is_all_that_is_printed(node: FakeNode) -> None:
    made = run(node, "token", "create", "ci", "--role", "lock", "--prefix", "ci/", "--prefix", "db/")
    secret = made.stdout.removesuffix("\n")
    assert (made.exit_code, len(secret.split())) == (0, 1)
    assert made.stderr == (
        "token 1 lets ci in (role lock, ci/, db/). Whoever has it sets LOCKD_TOKEN to it. It is not shown again.\n"
    )
    (request,) = node.guard.access.requests
    assert request.secret_sha256 == hashlib.sha256(secret.encode()).digest()
    assert list(request.prefixes) == ["ci/", "db/"]


def test_a_secret_in_a_file(node: FakeNode, tmp_path: Path) -> None:
    out = tmp_path / "a token"
    made = run(node, "token", "create", "ci", "--role", "read", "--out", str(out))
    assert (made.exit_code, made.stdout) == (0, "")
    assert made.stderr == (f"token 1 lets ci in (role read, all names). To use it:\nexport LOCKD_TOKEN_FILE='{out}'\n")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    (request,) = node.guard.access.requests
    assert request.secret_sha256 == hashlib.sha256(out.read_text().strip().encode()).digest()


def test_a_file_that_is_there_stays_as_it_is(node: FakeNode, tmp_path: Path) -> None:
    out = tmp_path / "token"
    out.write_text("before")
    for path in (out, tmp_path / "no" / "folder"):
        refused = run(node, "token", "create", "ci", "--role", "read", "--out", str(path))
        assert (refused.exit_code, refused.stdout) == (74, "")
        assert "nothing was changed" in refused.stderr
    assert out.read_text() == "before"
    assert node.guard.access.requests == []


def test_no_file_is_left_where_no_token_was_made(node: FakeNode, tmp_path: Path) -> None:
    node.guard.access.before.append(Fail(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", "needs admin"))
    out = tmp_path / "token"
    refused = run(node, "token", "create", "ci", "--role", "read", "--out", str(out))
    assert (refused.exit_code, refused.stdout) == (77, "")
    assert "not allowed; use the token of one that may (LOCKD_TOKEN, --token-file)" in refused.stderr
    assert not out.exists()


def test_a_secret_that_cannot_be_printed(node: FakeNode) -> None:
    with (
        open("/dev/full", "w") as full,
        Process(node, "token", "create", "ci", "--role", "read", stdout=full) as process,
    ):
        code, _, err = process.end()
    assert code == 74
    assert "token 1 was made, and its secret could not be written. To revoke it:\nlockd token revoke 1\n" in err


def test_a_token_that_may_have_been_made(node: FakeNode) -> None:
    node.guard.access.after += [Fail(grpc.StatusCode.UNAVAILABLE)] * 1000
    lost = run(node, "token", "create", "ci", "--role", "read", "--timeout", "0.5")
    assert (lost.exit_code, lost.stdout) == (75, "")
    assert "a token may have been made whose secret nobody has; see `lockd token list`" in lost.stderr


def test_tokens_are_listed(node: FakeNode) -> None:
    assert (run(node, "token", "list").stdout, run(node, "token", "list").stderr) == ("", "no tokens were made\n")
    assert run(node, "token", "list", "-o", "json").stdout == '{"tokens": []}\n'
    run(node, "token", "create", "ci", "--role", "lock", "--prefix", "ci/", "--prefix", "db/")
    run(node, "token", "create", "ops", "--role", "admin")
    run(node, "token", "create", "ann", "--role", "read")
    assert run(node, "token", "list").stdout.splitlines() == [
        "ID  NAME  ROLE   PREFIXES     CREATED BY",
        "1   ci    lock   ci/, db/     admin",
        "2   ops   admin  (all names)  admin",
        "3   ann   read   (all names)  admin",
    ]
    first = json.loads(run(node, "token", "list", "-o", "json").stdout)["tokens"][0]
    assert first == {
        "id": 1,
        "name": "ci",
        "role": "lock",
        "prefixes": ["ci/", "db/"],
        "created_ms": 1000,
        "created_by": "admin",
    }


def test_revoking_asks_first(node: FakeNode) -> None:
    run(node, "token", "create", "ci", "--role", "lock")
    refused = run(node, "token", "revoke", "1")
    assert (refused.exit_code, refused.stdout) == (64, "")
    assert "ci    lock  (all names)  admin" in refused.stderr
    assert "with --yes it does not ask" in refused.stderr
    for answer, code, left in (("n\n", 1, 1), ("y\n", 0, 0)):
        mine, theirs = os.openpty()
        with open(theirs) as terminal, Process(node, "token", "revoke", "1", stdin=terminal) as process:
            os.write(mine, answer.encode())
            ended, out, err = process.end()
        os.close(mine)
        assert (ended, out) == (code, "")
        assert "Revoke the token of ci? [y/N]: " in err
        assert len(node.guard.access.created) == left
    for arguments in (("1",), ("1", "--yes")):
        gone = run(node, "token", "revoke", *arguments)
        assert (gone.exit_code, gone.stderr) == (1, "lockd: there is no token 1; see `lockd token list`\n")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("token",), 64),
        (("token", "create", "ci"), 64),
        (("token", "create", "ci", "--role", "owner"), 64),
        (("token", "create", "--role", "read", "\udcff"), 65),
        (("token", "create", "ci", "--role", "read", "--prefix", "\udcff"), 65),
        (("token", "revoke", "0"), 64),
        (("token", "revoke", "one"), 64),
    ],
)
def test_wrong_command_lines(node: FakeNode, arguments: tuple[str, ...], code: int) -> None:
    assert run(node, *arguments).exit_code == code
    assert node.guard.access.requests == []


def test_a_name_given_for_an_id_is_told_where_ids_are_found(node: FakeNode) -> None:
    refused = run(node, "token", "revoke", "ci", "--yes")

    assert refused.exit_code == 64
    assert "'ci' is not a number; `lockd token list` shows the ids" in refused.stderr
    assert node.guard.access.requests == []
