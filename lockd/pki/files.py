"""The files of a node's certificates: read and checked as one, and watched for changes.

What goes wrong often has a check of its own here, whose message says what to do. What is left is found by OpenSSL, in
a handshake of the node with itself: a certificate that the node's peers would refuse is refused before it is used.
"""

import os
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from lockd.pki import checks
from lockd.pki.checks import CertificateError
from lockd.private_files import NotPrivate, read_private

CA, CERT, KEY = "tls.ca", "tls.cert", "tls.key"

EXPIRES_SOON = timedelta(days=30)

_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_TURNS = 4
"""Of each end; a handshake needs two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Files that fit together, in PEM. fingerprint: SHA-256 of the node's certificate, in hexadecimal digits.

    expires: when the first certificate of the chain does. warnings: to be said whenever it is taken into use.
    """

    ca: bytes
    cert: bytes
    key: bytes = field(repr=False)
    expires: datetime
    fingerprint: str
    warnings: tuple[str, ...] = ()


def read(ca: Path, cert: Path, key: Path, id: int, host: str, *, now: datetime | None = None) -> Material:
    """For node `id`, which the cluster's file has at `host`. now: by default the system's time.

    Raises CertificateError where a file cannot be read, or they are not what a node needs, or change meanwhile.
    """
    now = datetime.now(UTC) if now is None else now
    pem_ca, pem_cert, (pem_key, warnings) = _content(ca, CA), _content(cert, CERT), _private_content(key)
    authorities, certificates = _certificates(pem_ca, ca, CA), _certificates(pem_cert, cert, CERT)
    own = certificates[0]
    _check_fit(own, cert, pem_key, key)
    chain = checks.chain(own, certificates[1:], authorities, cert=str(cert), ca=str(ca))
    expires = checks.check_validity(chain, now, cert=str(cert), ca=str(ca))
    checks.check_uses(own, str(cert))
    checks.check_names(own, id, host, str(cert))
    _shake_hands_alone(ca, cert, key)
    if (_content(ca, CA), _content(cert, CERT), _private_content(key)[0]) != (pem_ca, pem_cert, pem_key):
        raise CertificateError(
            CERT, f"{cert}, its key or its authorities changed while they were read; read them again"
        )
    if expires - now < EXPIRES_SOON:
        warnings += (f"{CERT}: {cert} expires on {expires:%Y-%m-%d}, in {max((expires - now).days, 0)} days",)
    return Material(
        ca=pem_ca,
        cert=pem_cert,
        key=pem_key,
        expires=expires,
        fingerprint=own.fingerprint(hashes.SHA256()).hex(),
        warnings=warnings,
    )


class Watched:
    """Whether files have changed since they were last asked about. It costs a stat of each.

    A file is followed through symbolic links, so that it has changed when a link on its way leads elsewhere.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._seen: tuple[object, ...] | None = None

    def changed(self) -> bool:
        """True the first time. Read the files after asking: what changes while they are read is seen next time."""
        found = tuple(map(_state, self._paths))
        changed, self._seen = found != self._seen, found
        return changed


def _state(path: Path) -> object:
    """Another one after each change of the content or of who may read it, also while it cannot be read."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


# ---- one file


def _content(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(field, f"{path}: {error.strerror}") from error


def _private_content(path: Path) -> tuple[bytes, tuple[str, ...]]:
    try:
        content, warnings = read_private(path)
    except NotPrivate as error:
        raise CertificateError(KEY, str(error)) from error
    except OSError as error:
        raise CertificateError(KEY, f"{path}: {error.strerror}") from error
    return content, tuple(f"{KEY}: {warning}" for warning in warnings)


def _certificates(pem: bytes, path: Path, field: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
        _ = (
            [(each.subject, each.issuer, each.extensions) for each in found],
            found[0].public_key(),
        )  # decoded when asked
    except _UNREADABLE as error:
        what = "a certificate that is damaged" if b"-----BEGIN CERTIFICATE-----" in pem else "no certificate in PEM"
        raise CertificateError(field, f"{path} holds {what}") from error
    return found


def _check_fit(own: x509.Certificate, cert: Path, pem_key: bytes, key: Path) -> None:
    try:
        found = load_pem_private_key(pem_key, None)
    except TypeError as error:
        raise CertificateError(
            KEY, f"{key} is encrypted; a node needs it without a passphrase: openssl pkey -in {key} -out FILE"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(KEY, f"{key} holds no private key in PEM") from error
    if not isinstance(found, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise CertificateError(KEY, f"{key} is neither an EC nor an RSA key, and gRPC takes no other")
    if own.public_key() != found.public_key():
        raise CertificateError(
            KEY, f"{key} does not fit the certificate in {cert}; the node's own certificate is the first one there"
        )


# ---- OpenSSL's own view


def _shake_hands_alone(ca: Path, cert: Path, key: Path) -> None:
    """TLS between the node and itself, in memory. Each end asks for the other's certificate."""
    try:
        ends = [_end(ssl.PROTOCOL_TLS_SERVER, ca, cert, key), _end(ssl.PROTOCOL_TLS_CLIENT, ca, cert, key)]
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = ends[0].wrap_bio(to_server, to_client, server_side=True)
        client = ends[1].wrap_bio(to_client, to_server)
        for end in (client, server) * _TURNS:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(CERT, f"{cert} would be refused by peers and clients: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise CertificateError(CERT, f"{cert} cannot be used: {error.reason or error}") from error
    except OSError as error:
        raise CertificateError(CERT, f"{cert}: {error.strerror or error}") from error


def _end(protocol: int, ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False  # the names are checked with messages of their own
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(os.fspath(ca))
    context.load_cert_chain(os.fspath(cert), os.fspath(key), password="")  # never asks for one on a terminal
    return context
