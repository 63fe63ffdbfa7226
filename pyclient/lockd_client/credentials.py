"""Who a client is and whom it believes: its token and its certificates, as they are in their files at the moment.

Files may be replaced while a client runs. What stands in them is taken once it can be used as a whole; until then what
was read before stays in use, so that a file that is half written, or a certificate whose key is still to come, harms
nobody.
"""

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from lockd_client.attempts import RECONNECT, Failure
from lockd_client.endpoints import is_loopback
from lockd_client.errors import InvalidArgument
from lockd_client.settings import Settings, checked_token

LOOK_S = 1.0  # between two looks at the files while there is a connection
FILE_BYTES_MAX = 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pem:
    """Of a TLS connection. cert and key: of this client, both or neither."""

    cacert: bytes
    cert: bytes | None = None
    key: bytes | None = field(default=None, repr=False)


class _Part(Generic[T]):
    """What is read from some files, together."""

    def __init__(self, paths: tuple[Path, ...], read: Callable[[], T]) -> None:
        """Raises InvalidArgument."""
        self._paths = paths
        self._read = read
        self._seen = self._stamps()
        self.value = read()

    def renew(self) -> bool:
        """Whether there is another value since."""
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        try:
            value = self._read()
        except InvalidArgument:
            return False
        if stamps != self._stamps():  # they change at this moment
            return False
        self._seen = stamps
        if value == self.value:
            return False
        self.value = value
        return True

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._paths)


class Credentials:
    """edition: counts what was read, rising with each change of the token or the certificates. Not thread-safe."""

    def __init__(self, settings: Settings) -> None:
        """Reads the files. Raises InvalidArgument."""
        self._settings = settings
        self._token: _Part[str | None] = _Part(_given(settings.token_file), self._read_token)
        paths = _given(settings.cacert, settings.cert, settings.key)
        self._pem: _Part[Pem | None] = _Part(paths, self._read_pem)
        self.edition = 0
        self.has_files = bool(_given(settings.token_file) + paths)
        for endpoint in settings.endpoints:
            self.check(endpoint)

    def look(self) -> int:
        """Reads files that changed. The present edition."""
        if self.has_files:
            changed = [self._token.renew(), self._pem.renew()]
            self.edition += any(changed)
        return self.edition

    @property
    def metadata(self) -> tuple[tuple[str, str], ...] | None:
        """That calls carry."""
        token = self._token.value
        return None if token is None else (("authorization", f"Bearer {token}"),)

    @property
    def pem(self) -> Pem | None:
        """None: connections are not encrypted."""
        return self._pem.value

    def suits(self, endpoint: str) -> bool:
        """Whether the token may travel there."""
        return (
            self._pem.value is not None or self._token.value is None or self._settings.insecure or is_loopback(endpoint)
        )

    def check(self, endpoint: str) -> None:
        """Raises InvalidArgument where suits() says no."""
        if not self.suits(endpoint):
            names = self._settings.names
            name = names["token" if self._settings.token is not None else "token_file"]
            raise InvalidArgument(
                f"{name} would travel to {endpoint} in clear: give cacert (LOCKD_CACERT) for TLS, or insecure=True "
                f"(LOCKD_INSECURE=1, --insecure) where nobody can listen"
            )

    def judged(self, failure: Failure, edition: int) -> Failure:
        """edition: what the call, or its connection, was begun with. A node that does not know a caller whose
        credentials are older than the present ones has done nothing, and may know the caller by these.
        """
        if failure.code != "UNAUTHENTICATED" or self.look() <= edition:
            return failure
        return replace(failure, code="UNAVAILABLE", reason=RECONNECT)

    # ---- inside

    def _read_token(self) -> str | None:
        path = self._settings.token_file
        if path is None:
            return self._settings.token
        name = f"{self._settings.names['token_file']}: {path}"
        try:
            text = _content(path, name).decode("ascii").strip()
        except UnicodeDecodeError:
            raise InvalidArgument(f"{name} has characters that are not printable ASCII, or blanks") from None
        return checked_token(text, name)

    def _read_pem(self) -> Pem | None:
        settings = self._settings
        if settings.cacert is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        name = f"{settings.names['cacert']}: {settings.cacert}"
        cacert = _content(settings.cacert, name)
        try:
            context.load_verify_locations(cafile=settings.cacert)
        except (ssl.SSLError, OSError) as error:
            raise InvalidArgument(f"{name} has no certificates in PEM") from error
        if settings.cert is None or settings.key is None:
            return Pem(cacert)
        name = f"{settings.names['cert']}: {settings.cert}"
        key_name = f"{settings.names['key']}: {settings.key}"
        cert, key = _content(settings.cert, name), _content(settings.key, key_name)
        try:
            context.load_cert_chain(settings.cert, settings.key, password="")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise InvalidArgument(f"{key_name} is not the key of the certificate in {name}") from error
            raise InvalidArgument(f"{name}, or {key_name}, is not PEM, or the key has a password") from error
        except OSError as error:
            raise InvalidArgument(f"{name}: {error.strerror}") from error
        return Pem(cacert, cert, key)


def _given(*paths: Path | None) -> tuple[Path, ...]:
    return tuple(path for path in paths if path is not None)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file does."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _content(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidArgument(f"{name}: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise InvalidArgument(f"{name} has more than {FILE_BYTES_MAX} bytes")
    return content
