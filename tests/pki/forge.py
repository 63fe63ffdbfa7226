"""Certificates that lockd would not make: of other authorities, for other uses, with parts missing."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
NODE_1 = ("urn:lockd:node:1", "127.0.0.1")


@dataclass
class Forged:
    certificate: x509.Certificate
    private: Any

    @property
    def cert(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key(self) -> bytes:
        return bytes(self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def encrypted_key(self) -> bytes:
        return bytes(self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


def authority(
    name: str = "root",
    issuer: Forged | None = None,
    *,
    days: tuple[float, float] = (-1, 30),
    is_ca: bool = True,
    path_length: int | None = None,
    private: Any = None,
) -> Forged:
    constraints = x509.BasicConstraints(ca=is_ca, path_length=path_length)
    return _signed(name, issuer, [(constraints, True)], days, private)


def node(
    issuer: Forged,
    names: Sequence[str] = NODE_1,
    *,
    uses: Sequence[x509.ObjectIdentifier] | None = (SERVER, CLIENT),
    days: tuple[float, float] = (-1, 30),
    private: Any = None,
) -> Forged:
    """names: URIs begin with urn:. uses: None leaves the extension out; so do no names."""
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if names:
        extensions.append((x509.SubjectAlternativeName([_name(name) for name in names]), False))
    if uses is not None:
        extensions.append((x509.ExtendedKeyUsage(uses), False))
    return _signed("a node", issuer, extensions, days, private)


def ed25519_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def _name(name: str) -> x509.GeneralName:
    if name.startswith("urn:"):
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _signed(
    name: str,
    issuer: Forged | None,
    extensions: list[tuple[x509.ExtensionType, bool]],
    days: tuple[float, float],
    private: Any,
) -> Forged:
    private = private or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Forged(builder.sign((issuer.private if issuer else private), hashes.SHA256()), private)
