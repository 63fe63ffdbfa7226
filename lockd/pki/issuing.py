"""Certificates in files: an authority, and what it issues. A file that is there stays, unless it is to be renewed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from lockd.pki.making import CannotIssue, Pair, make_ca, make_client, make_node
from lockd.private_files import NewFile, replace, write_new

_CERT_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Place:
    """Where a certificate and its private key are."""

    cert: Path
    key: Path

    @classmethod
    def named(cls, folder: Path, name: str) -> "Place":
        return cls(folder / f"{name}.crt", folder / f"{name}.key")

    @classmethod
    def of_authority(cls, cert: Path) -> "Place":
        """The key stands beside the certificate. Raises CannotIssue where it would have the certificate's own name."""
        key = cert.with_suffix(".key")
        if key == cert:
            raise CannotIssue(f"{cert} is the certificate of an authority, whose key would have the same name")
        return cls(cert, key)

    def exists(self) -> bool:
        """Raises CannotIssue where one file is there without the other."""
        there = [path for path in (self.cert, self.key) if path.exists()]
        if len(there) == 1:
            missing = self.key if there == [self.cert] else self.cert
            raise CannotIssue(
                f"{there[0]} is there and {missing} is not; the two are made together. Move it away first"
            )
        return bool(there)


@dataclass(frozen=True, slots=True)
class Written:
    """A file, and what was done about it: `made`, `renewed` or `left alone`. note: for people, or empty."""

    path: Path
    done: str
    note: str = ""


def left_alone(place: Place) -> list[Written]:
    return [Written(place.cert, "left alone"), Written(place.key, "left alone")]


def make_authority(place: Place) -> list[Written]:
    """Raises CannotIssue, OSError."""
    if place.exists():
        return left_alone(place)
    return _write(place, make_ca(f"lockd CA {datetime.now(UTC):%Y-%m-%d %H:%M}"), renew=False)


def issue_node(
    authority: Place, place: Place, id: int, hosts: Sequence[str], *, days: float, renew: bool = False
) -> list[Written]:
    """renew: a certificate and key that are there give way. Raises CannotIssue, OSError."""
    return _issue(authority, place, lambda ca: make_node(ca, id, hosts, days=days), renew)


def issue_client(authority: Place, place: Place, name: str, *, days: float, renew: bool = False) -> list[Written]:
    """As issue_node."""
    return _issue(authority, place, lambda ca: make_client(ca, name, days=days), renew)


def _issue(authority: Place, place: Place, make: Callable[[Pair], Pair], renew: bool) -> list[Written]:
    if place.exists() and not renew:
        raise FileExistsError(f"{place.cert} is there already; --renew replaces it and its key")
    if not authority.key.exists():
        raise CannotIssue(f"{authority.key} is not there: certificates are issued where the key of the authority is")
    try:
        pair = make(Pair(authority.cert.read_bytes(), authority.key.read_bytes()))
    except CannotIssue as error:
        raise CannotIssue(f"the authority {authority.cert} cannot issue: {error}") from error
    return _write(place, pair, renew=renew)


def _write(place: Place, pair: Pair, *, renew: bool) -> list[Written]:
    """The key first: a node that looks in between finds that they do not fit, and looks again."""
    files = NewFile(place.key, pair.key), NewFile(place.cert, pair.cert, _CERT_MODE)
    done = "renewed" if renew and place.cert.exists() else "made"
    if renew:
        replace(*files)
    else:
        write_new(*files)
    until = x509.load_pem_x509_certificate(pair.cert).not_valid_after_utc
    return [Written(place.cert, done, f"valid until {until:%Y-%m-%d}"), Written(place.key, done)]
