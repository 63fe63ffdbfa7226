"""The secret by which nodes know each other: read from a file, or made once for a user's own nodes on loopback."""

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from lockd.config.values import ConfigError

FIELD = "peer_secret_file"
SECRET_BYTES_MIN = 16
SECRET_BYTES = 32

_OTHERS = stat.S_IROTH | stat.S_IWOTH
_GROUP = stat.S_IRGRP | stat.S_IWGRP


def checked_secret(text: bytes, field: str, source: str) -> bytes:
    """Without the white space around it. Raises ConfigError."""
    secret = text.strip()
    if len(secret) < SECRET_BYTES_MIN:
        raise ConfigError(field, f"has {len(secret)} bytes; the least is {SECRET_BYTES_MIN}", source)
    return secret


def read_secret(path: Path, source: str) -> tuple[bytes, tuple[str, ...]]:
    """The secret, and warnings. Raises ConfigError, also where everybody on this machine may read the file."""
    try:
        text, mode = _read(path)
    except OSError as error:
        raise ConfigError(FIELD, f"{path}: {error.strerror}", source) from error
    if mode & _OTHERS:
        raise ConfigError(FIELD, f"{path} is open to every user (mode {mode:04o}); say: chmod 600 {path}", source)
    warnings = (f"{FIELD}: {path} is open to its group (mode {mode:04o})",) if mode & _GROUP else ()
    return checked_secret(text, FIELD, source), warnings


def users_secret(folder: Path) -> bytes:
    """This user's secret, made on first use. Nodes that start at once agree on one. Raises ConfigError."""
    path = folder / "peer-secret"
    try:
        if not path.exists():
            _make(path)
        text, mode = _read(path)
    except OSError as error:
        raise ConfigError(
            FIELD, f"is not configured, and {path} cannot be used: {error.strerror}; name a file in cluster.yml"
        ) from error
    if mode & (_OTHERS | _GROUP):
        raise ConfigError(FIELD, f"{path} is open to other users (mode {mode:04o}); say: chmod 600 {path}")
    return checked_secret(text, str(path), "")


def _read(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as file:
        return file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)


def _make(path: Path) -> None:
    """All of the file appears at once, and the first to make it wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(SECRET_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)
