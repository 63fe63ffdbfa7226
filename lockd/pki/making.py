"""Making a certificate authority and its certificates: for development, tests and small clusters."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lockd.pki.names import client_uri, node_uri

CLOCKS_DIFFER = timedelta(minutes=5)
"""Certificates are valid from this long before they are made: another host's clock may be behind."""

CA_DAYS, NODE_DAYS, CLIENT_DAYS = 3650, 825, 365
"""How long certificates are valid unless they are made for longer or shorter."""

_NEVER = datetime.max.replace(tzinfo=UTC)
_NODE_USES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)  # nodes dial each other
_CLIENT_USES = (ExtendedKeyUsageOID.CLIENT_AUTH,)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, in PEM."""

    cert: bytes
    key: bytes = field(repr=False)


def make_ca(name: str = "lockd CA", *, days: float = CA_DAYS) -> Pair:
    """An authority that may issue certificates, but no further authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    builder = (
        _builder(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def make_node(ca: Pair, id: int, hosts: Sequence[str], *, days: float = NODE_DAYS) -> Pair:
    """For a node that is reached under these host names and addresses: it serves clients and peers, and dials peers.

    It does not outlive its authority. Raises CannotIssue.
    """
    names = [_host(host) for host in hosts]
    return _issue(ca, f"lockd node {id}", [*names, x509.UniformResourceIdentifier(node_uri(id))], _NODE_USES, days)


def make_client(ca: Pair, name: str, *, days: float = CLIENT_DAYS) -> Pair:
    """For a caller of this name. It does not outlive its authority. Raises CannotIssue."""
    return _issue(ca, name, [x509.UniformResourceIdentifier(client_uri(name))], _CLIENT_USES, days)


class CannotIssue(Exception):
    """The message says why the authority's files will not do, or why the certificate cannot be made."""


def _issue(
    ca: Pair, name: str, alternatives: Sequence[x509.GeneralName], uses: Sequence[x509.ObjectIdentifier], days: float
) -> Pair:
    issuer, issuer_key = _authority(ca)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_subject(name), issuer.subject, key.public_key(), days, no_later_than=issuer.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(_key_identifier(issuer), critical=False)
    )
    return _pair(builder.sign(issuer_key, hashes.SHA256()), key)


def _authority(ca: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]:
    """Of several certificates that of the key. Raises CannotIssue."""
    try:
        found = x509.load_pem_x509_certificates(ca.cert)
        key = load_pem_private_key(ca.key, None)
    except TypeError as error:
        raise CannotIssue("its key is encrypted") from error
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CannotIssue("it is no certificate and private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise CannotIssue("its key is neither an EC nor an RSA key")
    issuer = next((each for each in found if each.public_key() == key.public_key()), None)
    if issuer is None:
        raise CannotIssue("its key does not fit its certificate")
    if issuer.not_valid_after_utc <= datetime.now(UTC):
        raise CannotIssue(f"it expired at {issuer.not_valid_after_utc:%Y-%m-%d %H:%M UTC}")
    return issuer, key


def _key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """As the authority writes it itself: OpenSSL takes one that differs for another key's."""
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        key = issuer.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: float,
    *,
    no_later_than: datetime = _NEVER,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + timedelta(days=days)) - CLOCKS_DIFFER)  # days below 0: one that has expired
        .not_valid_after(min(now + timedelta(days=days), no_later_than))
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.partition("%")[0]))  # a zone is the dialling host's own matter
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
