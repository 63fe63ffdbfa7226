"""The sections tls and auth, the files that they name, and what is refused beyond loopback."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from lockd.config import Config, ConfigError, Flags, load, reread_tokens
from lockd.config.cluster_file import parse
from lockd.config.load import resolve
from lockd.config.security import DECLARED_MAX
from lockd.config.values import Auth, CertificateGrant, DeclaredToken, Tls
from tests.certificates import Authority

HOME = {"HOME": "/home/me"}
FIRST = Flags(id=1)
NODE = "nodes: [{id: 1, host: 127.0.0.1}]\n"
FAR = "nodes: [{id: 1, host: 10.0.0.1}]\n"
THREE = "nodes: [{id: 1, host: 10.0.0.1}, {id: 2, host: 10.0.0.2}, {id: 3, host: 10.0.0.3}]\n"
TLS = "tls: {ca: pki/ca.crt, cert: 'pki/node-{id}.crt', key: '~/node-{id}.key'}\n"
MUTUAL = TLS.replace("}\n", ", client_certificates: required}\n")
HASH = "0123456789abcdefABCDEF" + "0" * 42
AUTH = f"auth: {{tokens: [{{name: a, role: admin, sha256: {HASH}}}]}}\n"
SECRET = "s" * 32


def resolved(text: str, flags: Flags = FIRST) -> Config:
    return resolve(parse(text, "/etc/lockd/cluster.yml"), flags, HOME, lambda host: False)


def refusal(text: str, flags: Flags = FIRST) -> str:
    with pytest.raises(ConfigError) as raised:
        resolved(text, flags)
    assert str(raised.value).startswith("/etc/lockd/cluster.yml: ")
    return str(raised.value).removeprefix("/etc/lockd/cluster.yml: ")


# ---- the sections


def test_without_the_sections() -> None:
    config = resolved(NODE)
    assert (config.tls, config.auth) == (None, None)


def test_the_paths_of_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert resolved(NODE.replace("1,", "7,") + TLS, Flags(id=7)).tls == Tls(
        ca=Path("/etc/lockd/pki/ca.crt"),
        cert=Path("/etc/lockd/pki/node-7.crt"),
        key=Path("/home/me/node-7.key"),
        client_certificates="none",
    )


def test_what_auth_declares() -> None:
    auth = resolved(
        NODE
        + MUTUAL
        + f"""
auth:
  tokens:
    - {{name: admin, role: admin, file: admin.token}}
    - {{name: ci, role: lock, prefixes: [ci/, 東京], sha256: {HASH}}}
  certificates:
    - {{name: "svc@host:1", role: read, prefixes: [db/]}}
"""
    ).auth
    assert auth == Auth(
        tokens=(
            DeclaredToken(name="admin", role="admin", sha256=b"", file=Path("/etc/lockd/admin.token")),
            DeclaredToken(name="ci", role="lock", prefixes=("ci/", "東京"), sha256=bytes.fromhex(HASH)),
        ),
        certificates=(CertificateGrant(name="svc@host:1", role="read", prefixes=("db/",)),),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tls:", "tls: has no fields; it takes ca, cert, key, client_certificates"),
        ("tls: {}", "tls.ca: is missing; tls needs the paths ca, cert and key"),
        ("tls: {ca: a, cert: b}", "tls.key: is missing"),
        ("tls: {ca: a, cert: b, key: }", "tls.key: is missing"),
        ("tls: {ca: a, cert: b, key: 7}", "tls.key: is 7; it is a path"),
        ('tls: {ca: "a\\0b", cert: b, key: c}', "tls.ca: is 'a\\x00b'; it is a path"),
        ("tls: {ca: a, cert: b, keys: c}", "tls.keys: is not known; did you mean key?"),
        ("tls: {ca: a, cert: b, key: c, client_certificates: yes}", "is True; it is none or required"),
        ("tls: {ca: a, cert: b, key: c, client_certificates: }", "tls.client_certificates: is None; it is none or"),
        ("tls: {ca: a, cert: b, key: c, client_certificates: [x]}", "is ['x']; it is none or required"),
        ("auth:", "auth: has no fields; it takes tokens, certificates"),
        ("auth: {token: []}", "auth.token: is not known; did you mean tokens?"),
        ("auth: {tokens: }", "auth.tokens: is a list"),
        ("auth: {tokens: {name: a}}", "auth.tokens: is a list"),
        ("auth: {tokens: [7]}", "auth.tokens[0]: has no fields; it takes name, role, prefixes, file, sha256"),
    ],
)
def test_sections_that_are_refused(text: str, message: str) -> None:
    assert message in refusal(NODE + text)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{role: lock, file: f}", "name: is missing; it is 1 to 64 letters, digits"),
        ("{name: 7, role: lock, file: f}", "name: is 7; it is 1 to 64 letters"),
        ("{name: '', role: lock, file: f}", "name: is ''; it is 1 to 64 letters"),
        ("{name: -a, role: lock, file: f}", "name: is '-a'; it is 1 to 64 letters"),
        ("{name: a b, role: lock, file: f}", "name: is 'a b'; it is"),
        ('{name: "a\\n", role: lock, file: f}', "name: is 'a\\n'; it is"),
        (f"{{name: {'a' * 65}, role: lock, file: f}}", "aaa'; it is 1 to 64 letters"),
        ("{name: é, role: lock, file: f}", "name: is 'é'; it is"),
        ("{name: a, file: f}", "role: is missing; it is read, lock or admin"),
        ("{name: a, role: root, file: f}", "role: is 'root'; it is read, lock or admin"),
        ("{name: a, role: [lock], file: f}", "role: is ['lock']; it is read, lock or admin"),
        ("{name: a, role: lock, secret: abc}", "secret: is not known; known are name, role, prefixes, file, sha256"),
        ("{name: a, role: lock}", "file: is missing, and so is sha256; give one of them"),
        (f"{{name: a, role: lock, file: f, sha256: {HASH}}}", "file: stands beside sha256; keep one of them"),
        ("{name: a, role: lock, file: 7}", "file: is 7; it is a path"),
        (f"{{name: a, role: lock, sha256: {HASH}0}}", "sha256: is not 64 hexadecimal digits in text"),
        (f"{{name: a, role: lock, sha256: '{HASH[:-1]} '}}", "sha256: is not 64 hexadecimal digits in text"),
        (f"{{name: a, role: lock, sha256: {'1' * 64}}}", "sha256: is not 64 hexadecimal digits in text"),
        ("{name: a, role: lock, file: f, prefixes: }", "prefixes: is a list of prefixes of lock names; without"),
        ("{name: a, role: lock, file: f, prefixes: []}", "prefixes: is a list of prefixes of lock names; without"),
        ("{name: a, role: lock, file: f, prefixes: ci/}", "prefixes: is a list of prefixes of lock names; without"),
        ("{name: a, role: lock, file: f, prefixes: [7]}", "prefixes[0]: is 7; it is text"),
        ("{name: a, role: lock, file: f, prefixes: [a, '']}", "prefixes[1]: has 0 bytes; it takes 1 to 512"),
        (f"{{name: a, role: lock, file: f, prefixes: [{'東' * 171}]}}", "prefixes[0]: has 513 bytes; it takes"),
        ('{name: a, role: lock, file: f, prefixes: ["a\\x85"]}', "prefixes[0]: is 'a\\x85'; names of locks have no"),
        ('{name: a, role: lock, file: f, prefixes: ["\\ud800"]}', "prefixes[0]: is '\\ud800', which is not UTF-8"),
        (f"{{name: a, role: lock, file: f, prefixes: {['a'] * 65}}}", "prefixes: has 65 prefixes; the most is 64"),
    ],
)
def test_tokens_that_are_refused(entry: str, message: str) -> None:
    said = refusal(NODE + f"auth: {{tokens: [{entry}]}}")
    assert said.startswith("auth.tokens[0].")
    assert message in said


def test_what_stands_where_the_hash_should_is_not_repeated() -> None:
    """It may be the secret."""
    said = refusal(NODE + f"auth: {{tokens: [{{name: a, role: lock, sha256: {SECRET}}}]}}")
    assert SECRET not in said


def test_too_many_tokens() -> None:
    entries = [{"name": f"n{number}", "role": "read", "file": "f"} for number in range(DECLARED_MAX + 1)]
    assert f"has {DECLARED_MAX + 1} entries; the most is {DECLARED_MAX}" in refusal(
        f"{NODE}auth: {{tokens: {entries}}}"
    )
    resolved(f"{NODE}auth: {{tokens: {entries[1:]}}}")


CERTIFICATE = "auth: {certificates: [{name: a, role: lock}, {name: b, role: admin}]}\n"


def test_certificates_need_to_be_asked_for() -> None:
    assert resolved(NODE + MUTUAL + CERTIFICATE).auth
    for without in (NODE, NODE + TLS):
        said = refusal(without + CERTIFICATE)
        assert said == (
            "auth.certificates: has 2 entries, and tls.client_certificates, which must be required for them, is none"
        )


def test_a_certificate_has_one_grant() -> None:
    said = refusal(NODE + MUTUAL + CERTIFICATE.replace("name: b", "name: a"))
    assert said == "auth.certificates[1].name: a is that of another entry, too"


def test_a_cluster_without_an_admin_is_warned_of() -> None:
    warning = "auth: nothing there has the role admin: only a token that the cluster keeps can make more"
    assert resolved(NODE + "auth: {}").warnings == (warning,)
    assert resolved(NODE + AUTH.replace("admin", "lock")).warnings == (warning,)
    assert resolved(NODE + AUTH).warnings == ()
    assert resolved(NODE + MUTUAL + CERTIFICATE).warnings == ()


# ---- beyond loopback


SECRET_FILE = "peer_secret_file: x\n"


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        (FAR, Flags(id=1), "insecure: 10.0.0.1:2080 is beyond loopback, and there is no TLS: anybody who reaches it"),
        (FAR + AUTH, Flags(id=1), "insecure: 10.0.0.1:2080 is beyond loopback, and there is no TLS: tokens would"),
        (FAR + TLS, Flags(id=1), "auth: 10.0.0.1:2080 is beyond loopback, and there is neither auth nor"),
        (NODE + TLS, Flags(id=1, listen="0.0.0.0:2080"), "auth: 0.0.0.0:2080 is beyond loopback, and there is neither"),
        (NODE + AUTH, Flags(id=1, listen="0.0.0.0:2080"), "insecure: 0.0.0.0:2080 is beyond loopback, and there is no"),
        (THREE + AUTH + SECRET_FILE, Flags(id=1), "10.0.0.1:2082, 10.0.0.2:2082, 10.0.0.3:2082 is beyond loopback"),
        (THREE + TLS + AUTH, Flags(id=1), "peer_secret_file: is missing"),
    ],
)
def test_what_is_too_open(text: str, flags: Flags, message: str) -> None:
    assert message in refusal(text, flags)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (FAR + TLS + AUTH, Flags(id=1)),
        (FAR + MUTUAL, Flags(id=1)),
        (FAR + MUTUAL + CERTIFICATE, Flags(id=1)),
        (NODE + TLS + AUTH, Flags(id=1, listen="0.0.0.0:2080")),
        (NODE + AUTH, Flags(id=1)),
        (NODE + TLS, Flags(id=1)),
        (THREE + TLS + AUTH + SECRET_FILE, Flags(id=1)),
        (THREE + TLS + SECRET_FILE, Flags(id=1, listen="127.0.0.1:2080")),
    ],
)
def test_what_is_not_too_open(text: str, flags: Flags) -> None:
    assert resolved(text, flags).warnings == ()


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (FAR, "insecure: no TLS on 10.0.0.1:2080: anybody who reaches it can take and release locks"),
        (FAR + AUTH, "insecure: no TLS on 10.0.0.1:2080: tokens travel in the clear, and whoever sees one can use it"),
        (FAR + TLS, "insecure: no tokens and no certificates on 10.0.0.1:2080: anybody who reaches it can take and"),
    ],
)
def test_insecure_is_said_at_every_start(text: str, warning: str) -> None:
    (said,) = resolved(text, Flags(id=1, insecure=True)).warnings
    assert said.startswith(warning)


# ---- files


def loaded(folder: Path, text: str) -> Config:
    (folder / "cluster.yml").write_text(NODE + text)
    return load(Flags(cluster=folder / "cluster.yml"), HOME)


def write(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def test_certificates_are_checked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    text = "tls: {ca: ca.crt, cert: 'node-{id}.crt', key: 'node-{id}.key'}\n"
    with pytest.raises(ConfigError, match=r"cluster.yml: tls.cert: .*node-1.crt: No such file or directory") as raised:
        loaded(tmp_path, text)
    assert raised.value.field == "tls.cert"
    authority.node(1, days=29)
    (warning,) = loaded(tmp_path, text).warnings
    assert "node-1.crt expires on" in warning
    authority.node(1, days=40)
    assert loaded(tmp_path, text).warnings == ()
    authority.node(1, "10.0.0.1")
    with pytest.raises(ConfigError, match="tls.cert: .* has not the IP address 127.0.0.1 among its names"):
        loaded(tmp_path, text)


TOKEN = "auth: {tokens: [{name: a, role: admin, file: token}]}"


def test_a_token_in_a_file(tmp_path: Path) -> None:
    write(tmp_path / "token", f"  {SECRET}\n")
    config = loaded(tmp_path, TOKEN)
    assert config.auth
    assert config.auth.tokens[0].sha256 == hashlib.sha256(SECRET.encode()).digest()
    assert config.warnings == ()
    assert SECRET not in repr(config)
    (tmp_path / "token").chmod(0o640)
    (warning,) = loaded(tmp_path, TOKEN).warnings
    assert warning.startswith("auth.tokens[0].file: ")
    assert warning.endswith("token is open to its group (mode 0640)")


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (SECRET, 0o644, r"token is open to every user \(mode 0644\); say: chmod 600"),
        (SECRET[1:] + "\n", 0o600, "the secret has 31 characters; it takes 32 to 512. Make one with: openssl"),
        ("", 0o600, "the secret has 0 characters"),
        ("s" * 513, 0o600, "the secret has 513 characters"),
        (SECRET + " " + SECRET, 0o600, "is one word of printable ASCII, without blanks"),
        (SECRET + "\n" + SECRET, 0o600, "is one word of printable ASCII"),
        (SECRET + "é", 0o600, "is one word of printable ASCII"),
        (SECRET.encode() + b"\x00" + SECRET.encode(), 0o600, "is one word of printable ASCII"),
    ],
)
def test_a_token_file_that_will_not_do(tmp_path: Path, content: str | bytes, mode: int, message: str) -> None:
    write(tmp_path / "token", content, mode)
    with pytest.raises(ConfigError, match=f"cluster.yml: auth.tokens\\[0\\].file: .*{message}") as raised:
        loaded(tmp_path, TOKEN)
    assert "sss" not in str(raised.value)


def test_a_token_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"auth.tokens\[0\].file: .*token: No such file or directory"):
        loaded(tmp_path, TOKEN)


def test_a_secret_belongs_to_one_token(tmp_path: Path) -> None:
    write(tmp_path / "token", SECRET)
    hash = hashlib.sha256(SECRET.encode()).hexdigest().upper()
    entry = f"{{name: b, role: read, sha256: {hash}}}"
    for other in (entry, "{name: b, role: read, file: token}"):
        text = TOKEN.replace("]}", f", {other}]}}")
        with pytest.raises(ConfigError, match=r"auth.tokens\[1\]: b has the secret of auth.tokens\[0\], a; each has"):
            loaded(tmp_path, text)
    write(tmp_path / "token", "t" * 32)
    same_name = TOKEN.replace("]}", f", {entry.replace('name: b', 'name: a')}]}}")
    auth = loaded(tmp_path, same_name).auth
    assert auth
    assert [token.name for token in auth.tokens] == ["a", "a"]


def test_tokens_are_read_again(tmp_path: Path) -> None:
    write(tmp_path / "token", SECRET)
    first = loaded(tmp_path, TOKEN + "\n").auth
    assert first
    assert reread_tokens(first) == first
    write(tmp_path / "token", "t" * 32)
    second = reread_tokens(first)
    assert second.tokens[0].sha256 == hashlib.sha256(b"t" * 32).digest()
    assert replace(second, tokens=()) == replace(first, tokens=())
    write(tmp_path / "token", "t")
    with pytest.raises(ConfigError, match=r"^auth.tokens\[0\].file: .*token: the secret has 1 characters"):
        reread_tokens(second)
