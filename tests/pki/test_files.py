"""Files that will do, files that will not and what is said of them, and changes that are seen."""

import base64
import os
import random
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from lockd.pki.checks import CertificateError
from lockd.pki.files import Material, Watched, read
from lockd.pki.making import make_ca, make_node
from tests.certificates import Authority
from tests.pki import forge
from tests.pki.forge import CLIENT, SERVER, Forged


@dataclass
class Files:
    """In a folder: the three that a node has."""

    folder: Path

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        return self.folder / "ca.crt", self.folder / "node.crt", self.folder / "node.key"

    def write(self, ca: bytes, cert: bytes, key: bytes) -> "Files":
        for path, content in zip(self.paths, (ca, cert, key), strict=True):
            path.write_bytes(content)
        self.paths[2].chmod(0o600)
        return self

    def of(self, ca: Forged, node: Forged) -> "Files":
        return self.write(ca.cert, node.cert, node.key)

    def read(self, host: str = "127.0.0.1", id: int = 1, now: datetime | None = None) -> Material:
        return read(*self.paths, id, host, now=now)

    def refusal(self, host: str = "127.0.0.1", id: int = 1) -> str:
        with pytest.raises(CertificateError) as raised:
            self.read(host, id)
        assert str(self.folder) in str(raised.value)
        return str(raised.value)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_files_of_ours(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.node(1, days=100)
    found = read(authority.ca, cert, key, 1, "127.0.0.1")
    assert (found.ca, found.cert, found.key) == (authority.ca.read_bytes(), cert.read_bytes(), key.read_bytes())
    assert timedelta(days=99) < found.expires - datetime.now(UTC) <= timedelta(days=100)
    assert (len(bytes.fromhex(found.fingerprint)), found.warnings) == (32, ())
    assert "PRIVATE" not in repr(found)


# ---- what will do


ROOT = forge.authority()


@pytest.mark.parametrize(
    ("names", "uses", "host"),
    [
        (("127.0.0.1",), (SERVER, CLIENT), "127.0.0.1"),
        (("db1.example",), (SERVER, CLIENT), "DB1.example"),
        (("urn:lockd:node:1", "*.example"), None, "db1.example"),
        (("urn:lockd:node:1", "urn:other", "::1"), (SERVER, CLIENT), "0:0:0:0:0:0:0:1"),
        (("fe80::1",), None, "fe80::1%eth0"),
        (("urn:lockd:node:1", "db1"), None, "0.0.0.0"),
    ],
)
def test_other_authorities_certificates(files: Files, names, uses, host: str) -> None:
    assert files.of(ROOT, forge.node(ROOT, names, uses=uses)).read(host)


def test_an_intermediate_stands_in_the_nodes_file(files: Files) -> None:
    between = forge.authority("between", ROOT, days=(-1, 20))
    node = forge.node(between)
    found = files.write(ROOT.cert, node.cert + between.cert, node.key).read()
    assert found.expires == between.certificate.not_valid_after_utc, "the first of the chain to expire"
    assert "node.crt expires on " in found.warnings[0]


def test_a_bundle_of_an_old_and_a_new_authority(files: Files) -> None:
    expired, new = forge.authority("old", days=(-9, -1)), forge.authority("new")
    node = forge.node(new)
    assert files.write(expired.cert + ROOT.cert + new.cert, node.cert, node.key).read()


def test_two_authorities_of_one_name(files: Files) -> None:
    """They are told apart by key identifiers, which ours have; without them OpenSSL takes the first."""
    old, new = make_ca("one"), make_ca("one")
    node = make_node(new, 1, ["127.0.0.1"])
    assert files.write(old.cert + new.cert, node.cert, node.key).read()
    plain = forge.authority("root")
    forged = forge.node(plain)
    said = files.write(ROOT.cert + plain.cert, forged.cert, forged.key).refusal()
    assert said.endswith("would be refused by peers and clients: certificate signature failure")


def test_a_certificate_that_expires_soon_is_warned_of(files: Files) -> None:
    files.of(ROOT, forge.node(ROOT, days=(-1, 40)))
    (warning,) = files.read().warnings  # the authority has 30 days
    assert "node.crt expires on" in warning
    assert "in 29 days" in warning
    lasting = forge.authority(days=(-1, 100))
    files.of(lasting, forge.node(lasting, days=(-1, 40)))
    assert files.read().warnings == ()
    (warning,) = files.read(now=datetime.now(UTC) + timedelta(days=39.5)).warnings
    assert "in 0 days" in warning


def test_a_key_open_to_its_group_is_warned_of(files: Files) -> None:
    lasting = forge.authority(days=(-1, 100))
    files.of(lasting, forge.node(lasting, days=(-1, 40))).paths[2].chmod(0o640)
    (warning,) = files.read().warnings
    assert warning.startswith("tls.key: ")
    assert warning.endswith("node.key is open to its group (mode 0640)")


# ---- what will not


@pytest.mark.parametrize(("place", "field"), [(0, "tls.ca"), (1, "tls.cert"), (2, "tls.key")])
def test_a_file_that_cannot_be_read(files: Files, place: int, field: str) -> None:
    path = files.of(ROOT, forge.node(ROOT)).paths[place]
    path.unlink()
    assert files.refusal() == f"{field}: {path}: No such file or directory"
    path.mkdir(mode=0o700)
    assert files.refusal() == f"{field}: {path}: Is a directory"


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\xff\x00"])
@pytest.mark.parametrize(
    ("place", "message"),
    [
        (0, "tls.ca: {} holds no certificate in PEM"),
        (1, "tls.cert: {} holds no certificate in PEM"),
        (2, "tls.key: {} holds no private key in PEM"),
    ],
)
def test_a_file_of_something_else(files: Files, content: bytes, place: int, message: str) -> None:
    path = files.of(ROOT, forge.node(ROOT)).paths[place]
    path.write_bytes(content)
    assert files.refusal() == message.format(path)


def test_every_truncation_is_refused(files: Files) -> None:
    node = forge.node(ROOT)
    for cut in range(0, len(node.cert) - 2, 7):
        assert "node.crt holds " in files.write(ROOT.cert, node.cert[:cut], node.key).refusal()
    for cut in range(0, len(node.key) - 2, 7):
        assert "node.key holds no private key" in files.write(ROOT.cert, node.cert, node.key[:cut]).refusal()


def test_a_damaged_certificate(files: Files) -> None:
    damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert files.write(ROOT.cert, damaged, forge.node(ROOT).key).refusal().endswith("a certificate that is damaged")


@pytest.mark.parametrize("seed", range(3))
def test_files_with_any_byte_changed_are_refused_or_taken(tmp_path: Path, seed: int) -> None:
    """Parts of a certificate are decoded late, some of them by OpenSSL; no damage may come out as another error."""
    rng = random.Random(seed)
    authority = Authority(tmp_path)
    paths = (authority.ca, *authority.node(1))
    whole = [path.read_bytes() for path in paths]
    refused = 0
    for _ in range(150):
        place = rng.randrange(3)
        begin, body, end = re.fullmatch(rb"(-+BEGIN.*?-+\n)(.*)(-+END.*)", whole[place], re.DOTALL).groups()  # type: ignore[union-attr]
        der = bytearray(base64.b64decode(body))
        for _ in range(rng.randint(1, 4)):
            der[rng.randrange(len(der))] = rng.randrange(256)
        paths[place].write_bytes(begin + base64.encodebytes(der) + end)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # of serial numbers below zero
            try:
                read(*paths, 1, "127.0.0.1")
            except CertificateError:
                refused += 1
        paths[place].write_bytes(whole[place])
    assert refused > 100


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x7c"),  # its version
        (b"\x06\x03\x55\x1d\x25", b"\x06\x03\x55\x1d\x11"),  # the extension for its uses: names again
        (b"\x0c\x04root", b"\x0c\x04\xff\xffot"),  # its issuer
    ],
)
def test_damage_that_is_found_late(files: Files, old: bytes, new: bytes) -> None:
    node = forge.node(ROOT)
    der = node.certificate.public_bytes(Encoding.DER)
    assert old in der
    damaged = (
        b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der.replace(old, new)) + b"-----END CERTIFICATE-----\n"
    )
    assert files.write(ROOT.cert, damaged, node.key).refusal().endswith("node.crt holds a certificate that is damaged")


def test_a_long_list_of_authorities_is_cut(files: Files) -> None:
    others = b"".join(forge.authority(f"other {number}").cert for number in range(7))
    node = forge.node(ROOT)
    said = files.write(others, node.cert, node.key).refusal()
    assert '"other 4" and 2 more. Intermediate' in said


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_key_open_to_others(files: Files, mode: int) -> None:
    path = files.of(ROOT, forge.node(ROOT)).paths[2]
    path.chmod(mode)
    assert files.refusal() == f"tls.key: {path} is open to every user (mode {mode:04o}); say: chmod 600 {path}"


def test_a_key_with_a_passphrase(files: Files) -> None:
    node = forge.node(ROOT)
    assert "is encrypted" in files.write(ROOT.cert, node.cert, node.encrypted_key()).refusal()


def test_a_key_of_another_certificate(files: Files) -> None:
    node = forge.node(ROOT)
    assert "does not fit the certificate" in files.write(ROOT.cert, node.cert, forge.node(ROOT).key).refusal()
    said = files.write(ROOT.cert, ROOT.cert + node.cert, node.key).refusal()
    assert "the node's own certificate is the first one there" in said


def test_a_key_that_grpc_does_not_take(files: Files) -> None:
    assert "is neither an EC nor an RSA key" in files.of(ROOT, forge.node(ROOT, private=forge.ed25519_key())).refusal()


def test_another_authority(files: Files) -> None:
    said = files.of(forge.authority("other"), forge.node(ROOT)).refusal()
    assert 'its issuer is "root", and there are "other"' in said
    said = files.of(forge.authority("root"), forge.node(ROOT)).refusal()
    assert "the one of that name has another key" in said


def test_an_issuer_that_is_no_authority(files: Files) -> None:
    no_authority = forge.authority(is_ca=False)
    assert "may not issue certificates" in files.of(no_authority, forge.node(no_authority)).refusal()


def test_an_intermediate_that_is_missing(files: Files) -> None:
    between = forge.authority("between", ROOT)
    node = forge.node(between)
    said = files.of(ROOT, node).refusal()
    assert 'its issuer is "between", and there are "root". Intermediate certificates stand behind' in said
    files.write(forge.authority("other").cert, node.cert + between.cert, node.key)
    assert 'the intermediate certificate "between" was not issued by an authority' in files.refusal()


def test_certificates_that_issue_each_other_end(files: Files) -> None:
    one = forge.authority("one", ROOT)
    two = forge.authority("two", one)
    one_again = forge.authority("one", two, private=one.private)
    node = forge.node(one)
    said = files.write(forge.authority("other").cert, node.cert + one_again.cert + two.cert, node.key).refusal()
    assert "was not issued by an authority" in said


def test_what_only_openssl_finds(files: Files) -> None:
    narrow = forge.authority("narrow", path_length=0)
    between = forge.authority("between", narrow)
    node = forge.node(between)
    said = files.write(narrow.cert, node.cert + between.cert, node.key).refusal()
    assert said.endswith("node.crt would be refused by peers and clients: path length constraint exceeded")


def test_certificates_out_of_their_time(files: Files) -> None:
    said = files.of(ROOT, forge.node(ROOT, days=(-9, -1))).refusal()
    assert "node.crt expired at 2" in said
    assert "`lockd certs node --renew`" in said
    assert "is the clock of this host right?" in files.of(ROOT, forge.node(ROOT, days=(1, 9))).refusal()
    old = forge.authority("old", days=(-9, -1))
    assert 'ca.crt: the authority "old" expired at 2' in files.of(old, forge.node(old)).refusal()
    between = forge.authority("between", ROOT, days=(-9, -1))
    node = forge.node(between)
    files.write(ROOT.cert, node.cert + between.cert, node.key)
    assert 'node.crt: the intermediate certificate "between" expired at 2' in files.refusal()


@pytest.mark.parametrize(("uses", "missing"), [((SERVER,), "clientAuth"), ((CLIENT,), "serverAuth")])
def test_a_use_that_is_missing(files: Files, uses, missing: str) -> None:
    assert f"is not good for {missing}" in files.of(ROOT, forge.node(ROOT, uses=uses)).refusal()


@pytest.mark.parametrize(
    ("names", "host", "message"),
    [
        ((), "db1", "its names are none; it needs urn:lockd:node:1 or db1 among them"),
        (("db2",), "db1", "is not that of node 1: its names are db2; it needs urn:lockd:node:1 or db1"),
        (("urn:lockd:node:2", "db1"), "db1", "it needs urn:lockd:node:1 among them"),
        (("urn:lockd:client:x", "db1"), "db1", "it needs urn:lockd:node:1 among them"),
        (("urn:lockd:node:11", "db1"), "db1", "it needs urn:lockd:node:1 among them"),
        (("urn:lockd:node:1", "db2"), "db1", "has not the DNS name db1 among its names, by which clients reach node 1"),
        (("urn:lockd:node:1", "10.0.0.2"), "10.0.0.1", "has not the IP address 10.0.0.1 among"),
        (("urn:lockd:node:1", "*.example"), "a.b.example", "has not the DNS name a.b.example among"),
        (("urn:lockd:node:1", "*"), "db1", "has not the DNS name db1 among"),
        (("urn:lockd:node:1",), "0.0.0.0", "has not the IP address 0.0.0.0 among"),
        (("urn:lockd:node:2", "db1"), "::", "it needs urn:lockd:node:1 among them"),
    ],
)
def test_another_nodes_certificate(files: Files, names: tuple[str, ...], host: str, message: str) -> None:
    assert message in files.of(ROOT, forge.node(ROOT, names)).refusal(host)


def test_an_address_that_is_written_as_a_dns_name_is_none(files: Files) -> None:
    node = forge.node(ROOT, ("urn:lockd:node:1", "x127.0.0.1"))
    assert "has not the IP address 127.0.0.1" in files.of(ROOT, node).refusal()


# ---- changes


def test_the_first_answer_is_that_they_have_changed(files: Files) -> None:
    watched = Watched(files.of(ROOT, forge.node(ROOT)).paths)
    assert [watched.changed() for _ in range(3)] == [True, False, False]


def put(path: Path, content: bytes) -> None:
    """In another file that takes the path's place, with the same time."""
    other = path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(1, 1))
    os.replace(other, path)


CHANGES: list[tuple[str, Callable[[Path], object]]] = [
    ("written in place", lambda path: path.write_bytes(b"longer than before")),
    ("replaced", lambda path: put(path, b"x")),
    ("replaced by one of the same size and time", lambda path: put(path, b"y")),
    ("another mode", lambda path: path.chmod(0o640)),
    ("removed", lambda path: path.unlink()),
    ("there again", lambda path: path.write_bytes(b"back")),
]


def test_each_change_is_seen_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    watched = Watched([tmp_path / "another", path])
    watched.changed()
    for what, change in CHANGES:
        change(path)
        assert watched.changed(), what
        assert not watched.changed(), what


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes swaps secrets: node.key -> ..data/node.key, and ..data -> a folder of the day."""
    for day in ("monday", "tuesday"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "node.key").write_bytes(b"the same")
        os.utime(tmp_path / day / "node.key", ns=(1, 1))
    (tmp_path / "..data").symlink_to("monday")
    (tmp_path / "node.key").symlink_to("..data/node.key")
    watched = Watched([tmp_path / "node.key"])
    watched.changed()
    (tmp_path / "new").symlink_to("tuesday")
    os.replace(tmp_path / "new", tmp_path / "..data")
    assert watched.changed()
    assert not watched.changed()
