"""What a node's certificate must be, each with the message of its own that says what to do. Pure."""

import ipaddress
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lockd.pki.names import CLIENT, NODE, names_node, node_uri, plain

CHAIN_MAX = 10
NAMES_MAX = 5

ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)

_TIME = "%Y-%m-%d %H:%M UTC"


class CertificateError(Exception):
    """The message names the field of cluster.yml, the file and what is wrong with it: `tls.key: node.key: …`."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(f"{field}: {what}")
        self.field = field
        self.what = what


def chain(
    own: x509.Certificate,
    others: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    *,
    cert: str,
    ca: str,
) -> list[x509.Certificate]:
    """From the node's own certificate to one of the authorities, through others of its file. Raises CertificateError.

    Of several ways the one by the latest authority: after a rotation the old one stands beside it.
    """
    found = [own]
    while len(found) < CHAIN_MAX:
        by_authority = [each for each in authorities if _has_issued(each, found[-1])]
        if by_authority:
            return [*found, max(by_authority, key=lambda each: each.not_valid_after_utc)]
        between = next((each for each in others if each not in found and _has_issued(each, found[-1])), None)
        if between is None:
            break
        found.append(between)
    last = found[-1]
    what = f"{cert} " if last == own else f"{cert}: the intermediate certificate {_name(last.subject)} "
    if any(each.subject == last.issuer for each in authorities):
        why = (
            "the one of that name has another key, may not issue certificates, or signs in a way that is not supported"
        )
    else:
        more = len(authorities) - NAMES_MAX
        why = f"there are {', '.join(_name(each.subject) for each in authorities[:NAMES_MAX])}"
        why += f" and {more} more" if more > 0 else ""
    raise CertificateError(
        "tls.cert",
        f"{what}was not issued by an authority in {ca}: its issuer is {_name(last.issuer)}, and {why}. Intermediate "
        "certificates stand behind the node's own in its file",
    )


def _has_issued(issuer: x509.Certificate, issued: x509.Certificate) -> bool:
    try:
        issued.verify_directly_issued_by(issuer)
        constraints = _extension(issuer, x509.BasicConstraints)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return constraints is not None and constraints.ca


def check_validity(chain: Sequence[x509.Certificate], now: datetime, *, cert: str, ca: str) -> datetime:
    """When the first of them expires. Raises CertificateError where it has, or where one is not valid yet."""
    for place, each in enumerate(chain):
        field, what = "tls.cert", cert
        if place == len(chain) - 1:
            field, what = "tls.ca", f"{ca}: the authority {_name(each.subject)}"
        elif place:
            what = f"{cert}: the intermediate certificate {_name(each.subject)}"
        if each.not_valid_after_utc <= now:
            renew = "; renew it" if place else "; renew it, with `lockd certs node --renew` where lockd made it"
            raise CertificateError(field, f"{what} expired at {each.not_valid_after_utc.strftime(_TIME)}{renew}")
        if each.not_valid_before_utc > now:
            raise CertificateError(
                field,
                f"{what} is valid only from {each.not_valid_before_utc.strftime(_TIME)}, and here it is "
                f"{now.strftime(_TIME)}; is the clock of this host right?",
            )
    return min(each.not_valid_after_utc for each in chain)


def check_uses(own: x509.Certificate, cert: str) -> None:
    """Raises CertificateError. A certificate that lists no uses is good for all."""
    uses = _extension(own, x509.ExtendedKeyUsage)
    if uses is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in uses:
        return
    for use, name, why in (
        (ExtendedKeyUsageOID.SERVER_AUTH, "serverAuth", "a node serves clients and peers"),
        (ExtendedKeyUsageOID.CLIENT_AUTH, "clientAuth", "a node dials its peers"),
    ):
        if use not in uses:
            raise CertificateError("tls.cert", f"{cert} is not good for {name} (extended key usage), and {why}")


def check_names(own: x509.Certificate, id: int, host: str, cert: str) -> None:
    """Raises CertificateError unless it is the node's, and its host is where clients look for it.

    A host of 0.0.0.0 or :: is no place where they look: then any host will do.
    """
    uris, names, addresses = subject_names(own)
    here = plain(host)
    if here in ("0.0.0.0", "::"):  # noqa: S104  # compared, not bound
        here = min(names | addresses, default=host)
    listed = ", ".join(sorted(uris | names | addresses)) or "none"
    if not names_node(id, here, uris, names | addresses):
        ours = any(uri.startswith((NODE, CLIENT)) for uri in uris)
        needs = node_uri(id) if ours else f"{node_uri(id)} or {host}"
        raise CertificateError(
            "tls.cert", f"{cert} is not that of node {id}: its names are {listed}; it needs {needs} among them"
        )
    wildcard = f"*.{here.partition('.')[2]}"
    if here not in (addresses if _is_address(here) else names) and (_is_address(here) or wildcard not in names):
        kind = "IP address" if _is_address(here) else "DNS name"
        raise CertificateError(
            "tls.cert",
            f"{cert} has not the {kind} {host} among its names, by which clients reach node {id}; they are {listed}",
        )


def subject_names(certificate: x509.Certificate) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Its subject alternative names: URIs, DNS names in lower case, and IP addresses."""
    found = _extension(certificate, x509.SubjectAlternativeName)
    if found is None:
        return frozenset(), frozenset(), frozenset()
    return (
        frozenset(found.get_values_for_type(x509.UniformResourceIdentifier)),
        frozenset(name.lower() for name in found.get_values_for_type(x509.DNSName)),
        frozenset(str(address) for address in found.get_values_for_type(x509.IPAddress)),
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _extension(certificate: x509.Certificate, kind: type[ExtensionT]) -> ExtensionT | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _name(name: x509.Name) -> str:
    common = [str(each.value) for each in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return f'"{common[0] if common else name.rfc4514_string()}"'
