"""The sections `tls` and `auth` of cluster.yml, and the files of declared tokens."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

from lockd.config.fields import Reader
from lockd.config.secret import read_file
from lockd.config.values import (
    Auth,
    CertificateGrant,
    ClientCertificates,
    ConfigError,
    DeclaredToken,
    RoleName,
    Tls,
)

SECRET_CHARACTERS_MIN = 32
SECRET_CHARACTERS_MAX = 512
PREFIXES_MAX = 64
PREFIX_BYTES_MAX = 512
DECLARED_MAX = 1000

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,63}")
NAME_IS = "1 to 64 letters, digits, and . _ @ : -, of which the first is a letter or a digit"

_TLS_FIELDS = ("ca", "cert", "key", "client_certificates")
_AUTH_FIELDS = ("tokens", "certificates")
_GRANT_FIELDS = ("name", "role", "prefixes")
_TOKEN_FIELDS = (*_GRANT_FIELDS, "file", "sha256")
_HASH = re.compile(r"[0-9A-Fa-f]{64}")
_UNREAD = b""
"""The hash of a token whose file has not been read."""


# ---- the sections. Pure


def tls_section(reader: Reader, content: object) -> Tls:
    """Paths as they stand there. Raises ConfigError."""
    section = reader.mapping(content, "tls", _TLS_FIELDS)
    paths = {}
    for name in ("ca", "cert", "key"):
        path = reader.path(section, name, "tls.")
        if path is None:
            raise reader.error(f"tls.{name}", "is missing; tls needs the paths ca, cert and key, of files in PEM")
        paths[name] = Path(path)
    wanted = _choice(reader, section, "client_certificates", get_args(ClientCertificates), "tls.", default="none")
    return Tls(**paths, client_certificates=cast(ClientCertificates, wanted))


def auth_section(reader: Reader, content: object) -> Auth:
    """Paths as they stand there; the tokens of files have no hash yet. Raises ConfigError."""
    section = reader.mapping(content, "auth", _AUTH_FIELDS)
    tokens = _entries(reader, section, "tokens")
    certificates = _entries(reader, section, "certificates")
    auth = Auth(
        tokens=tuple(_token(reader, entry, f"auth.tokens[{place}]") for place, entry in enumerate(tokens)),
        certificates=tuple(
            CertificateGrant(**_grant(reader, entry, f"auth.certificates[{place}]", _GRANT_FIELDS))
            for place, entry in enumerate(certificates)
        ),
    )
    names = [each.name for each in auth.certificates]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise reader.error(f"auth.certificates[{place}].name", f"{name} is that of another entry, too")
    return auth


def _entries(reader: Reader, section: Mapping[str, object], name: str) -> list[object]:
    found = section.get(name, [])
    if not isinstance(found, list):
        raise reader.error(f"auth.{name}", "is a list; each entry has a name and a role")
    if len(found) > DECLARED_MAX:
        raise reader.error(f"auth.{name}", f"has {len(found)} entries; the most is {DECLARED_MAX}")
    return found


def _token(reader: Reader, entry: object, place: str) -> DeclaredToken:
    grant = _grant(reader, entry, place, _TOKEN_FIELDS)
    token = cast(Mapping[str, object], entry)
    file, hash = reader.path(token, "file", f"{place}."), token.get("sha256")
    if (file is None) == (hash is None):
        both = "stands beside sha256; keep one of them" if file else "is missing, and so is sha256; give one of them"
        raise reader.error(f"{place}.file", both)
    if file is not None:
        return DeclaredToken(**grant, sha256=_UNREAD, file=Path(file))
    if not isinstance(hash, str) or not _HASH.fullmatch(hash):  # what stands there may be the secret: it is not said
        raise reader.error(
            f"{place}.sha256", "is not 64 hexadecimal digits in text; make them with: printf %s SECRET | sha256sum"
        )
    return DeclaredToken(**grant, sha256=bytes.fromhex(hash))


def _grant(reader: Reader, entry: object, place: str, known: tuple[str, ...]) -> dict[str, Any]:
    grant = reader.mapping(entry, place, known)
    name = reader.optional(grant, "name", str, NAME_IS, f"{place}.")
    if name is None:
        raise reader.error(f"{place}.name", f"is missing; it is {NAME_IS}")
    if not NAME.fullmatch(name):
        raise reader.error(f"{place}.name", f"is {name!r}; it is {NAME_IS}")
    role = _choice(reader, grant, "role", get_args(RoleName), f"{place}.")
    return {"name": name, "role": role, "prefixes": _prefixes(reader, grant, f"{place}.prefixes")}


def _prefixes(reader: Reader, grant: Mapping[str, object], place: str) -> tuple[str, ...]:
    if "prefixes" not in grant:
        return ()
    found = grant["prefixes"]
    if not isinstance(found, list) or not found:  # empty could be meant as none
        raise reader.error(place, "is a list of prefixes of lock names; without the field it is all names")
    if len(found) > PREFIXES_MAX:
        raise reader.error(place, f"has {len(found)} prefixes; the most is {PREFIXES_MAX}")
    for number, prefix in enumerate(found):
        _check_prefix(reader, prefix, f"{place}[{number}]")
    return tuple(found)


def _check_prefix(reader: Reader, prefix: object, place: str) -> None:
    if not isinstance(prefix, str):
        raise reader.error(place, f"is {prefix!r}; it is text that names of locks begin with")
    try:
        size = len(prefix.encode())
    except UnicodeEncodeError as error:
        raise reader.error(place, f"is {prefix!r}, which is not UTF-8") from error
    if not 1 <= size <= PREFIX_BYTES_MAX:
        raise reader.error(place, f"has {size} bytes; it takes 1 to {PREFIX_BYTES_MAX}")
    if any(unicodedata.category(character) == "Cc" for character in prefix):
        raise reader.error(place, f"is {prefix!r}; names of locks have no control characters")


def _choice(
    reader: Reader,
    content: Mapping[str, object],
    name: str,
    known: tuple[str, ...],
    prefix: str,
    default: str | None = None,
) -> str:
    what = f"{', '.join(known[:-1])} or {known[-1]}"
    if name not in content and default is None:
        raise reader.error(f"{prefix}{name}", f"is missing; it is {what}")
    value = content.get(name, default)
    if value not in known:
        raise reader.error(f"{prefix}{name}", f"is {value!r}; it is {what}")
    return str(value)


# ---- the files of tokens


def reread_tokens(auth: Auth, source: str = "") -> Auth:
    """With the hashes of what stands in the tokens' files. Raises ConfigError, and then nothing is to be taken."""
    return read_tokens(auth, source)[0]


def read_tokens(auth: Auth, source: str) -> tuple[Auth, tuple[str, ...]]:
    """As reread_tokens, and warnings."""
    tokens: list[DeclaredToken] = []
    warnings: tuple[str, ...] = ()
    place_of: dict[bytes, int] = {}
    for place, token in enumerate(auth.tokens):
        if token.file is not None:
            field = f"auth.tokens[{place}].file"
            content, said = read_file(token.file, field, source)
            token = replace(token, sha256=_hash_of(content, token.file, field, source))
            warnings += said
        first = place_of.setdefault(token.sha256, place)
        if first != place:
            raise ConfigError(
                f"auth.tokens[{place}]",
                f"{token.name} has the secret of auth.tokens[{first}], {tokens[first].name}; each has one of its own",
                source,
            )
        tokens.append(token)
    return replace(auth, tokens=tuple(tokens)), warnings


def _hash_of(content: bytes, path: Path, field: str, source: str) -> bytes:
    secret = content.strip()
    if not SECRET_CHARACTERS_MIN <= len(secret) <= SECRET_CHARACTERS_MAX:
        raise ConfigError(
            field,
            f"{path}: the secret has {len(secret)} characters; it takes {SECRET_CHARACTERS_MIN} to "
            f"{SECRET_CHARACTERS_MAX}. Make one with: openssl rand -hex 32",
            source,
        )
    if not all(0x21 <= byte <= 0x7E for byte in secret):
        raise ConfigError(field, f"{path}: the secret is one word of printable ASCII, without blanks", source)
    return hashlib.sha256(secret).digest()
