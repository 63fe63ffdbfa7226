"""What a node proves itself with in TLS, and what a failure of TLS means. Nothing here reads or writes a socket."""

import ipaddress
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lockd.raft.errors import LinkError

NO_TLS: Final = "it does not speak TLS; is tls configured on every node?"
ONLY_TLS: Final = "it speaks TLS and this node does not; is tls configured on every node?"

Names = Callable[[int, frozenset[str], frozenset[str]], bool]


@dataclass(frozen=True, kw_only=True)
class Security:
    """A node's certificate and what it believes of others'. See contexts.

    names(node, uris, hosts): whether a certificate with these subject alternative names is that of a member. hosts are
    DNS names and IP addresses, in lower case and in the form in which ipaddress writes them.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext
    names: Names


class DistrustError(LinkError):
    """A peer's certificate is not believed."""


def contexts(ca: bytes, cert: bytes, key: bytes) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the side that is dialled, and for the side that dials: TLS 1.3, with certificates on both ends.

    All are PEM; ca may hold several authorities, and cert has the chain after it. Raises ValueError that says which of
    them does not fit.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.num_tickets = 0  # who resumes a session shows no certificate, and an authority may be gone meanwhile
    client.check_hostname = False  # Security.names is the rule, the same one on both ends
    with tempfile.NamedTemporaryFile(prefix="lockd-") as chain:  # only its owner may read it
        chain.write(cert + b"\n" + key)
        chain.flush()
        for context in (server, client):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.verify_mode = ssl.CERT_REQUIRED
            _load(context, ca, chain.name)
    return server, client


def _load(context: ssl.SSLContext, ca: bytes, chain: str) -> None:
    try:
        context.load_verify_locations(cadata=ca.decode("ascii", "ignore"))  # comments may be anything
    except (ssl.SSLError, ValueError) as error:
        raise ValueError("the authorities (ca) are no certificates in PEM") from error
    if not context.cert_store_stats()["x509_ca"]:
        raise ValueError("none of the certificates of the authorities (ca) is an authority's")
    try:
        context.load_cert_chain(chain, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError("the key is not that of the certificate") from error
        raise ValueError("the certificate or its key is not in PEM") from error


def _no_password() -> str:
    raise ValueError("the key is encrypted; a node needs one without a password")


def names_in(certificate: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """URIs and hosts of what SSLObject.getpeercert returned."""
    alternatives = certificate.get("subjectAltName", ())
    uris = frozenset(value for kind, value in alternatives if kind == "URI")
    domains = {value.lower() for kind, value in alternatives if kind == "DNS"}
    addresses = {str(ipaddress.ip_address(value.strip())) for kind, value in alternatives if kind == "IP Address"}
    return uris, frozenset(domains | addresses)


_NOT_BELIEVED: Final = "it does not believe this node's certificate"

_WORDS: Final = {
    "HTTPS_PROXY_REQUEST": NO_TLS,
    "HTTP_REQUEST": NO_TLS,
    "WRONG_VERSION_NUMBER": NO_TLS,
    "NO_PROTOCOLS_AVAILABLE": "it does not speak TLS 1.3",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not speak TLS 1.3",
    "UNSUPPORTED_PROTOCOL": "it does not speak TLS 1.3",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it has no certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": _NOT_BELIEVED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_NOT_BELIEVED}: it has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _NOT_BELIEVED,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": f"{_NOT_BELIEVED}: it is not made for this use",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for a certificate and this node has none",
    "TLSV1_ALERT_UNKNOWN_CA": f"{_NOT_BELIEVED}: its authority is unknown there",
}

_UNKNOWN_AUTHORITY: Final = (2, 18, 19, 20, 21)  # OpenSSL's codes: no issuer, self-signed, none of the chain known


def explained(error: ssl.SSLError) -> LinkError:
    """In plain words, what one end found when the other's TLS failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        unknown = error.verify_code in _UNKNOWN_AUTHORITY
        why = "its authority is unknown here" if unknown else error.verify_message
        return DistrustError(f"its certificate is not believed: {why}")
    reason = error.reason or "unknown"
    return LinkError(_WORDS.get(reason) or f"TLS failed: {reason.replace('_', ' ').lower()}")
