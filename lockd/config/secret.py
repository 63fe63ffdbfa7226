"""The secret by which nodes know each other: read from a file, or made once for a user's own nodes on loopback."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from lockd.config.values import ConfigError
from lockd.private_files import NewFile, NotPrivate, read_private, write_new

FIELD = "peer_secret_file"
SECRET_BYTES_MIN = 16
SECRET_BYTES = 32

_NOT_MINE = stat.S_IRWXG | stat.S_IRWXO


def new_secret() -> bytes:
    """The content of a file for one."""
    return secrets.token_hex(SECRET_BYTES).encode() + b"\n"


def checked_secret(text: bytes, field: str, source: str) -> bytes:
    """Without the white space around it. Raises ConfigError."""
    secret = text.strip()
    if len(secret) < SECRET_BYTES_MIN:
        raise ConfigError(field, f"has {len(secret)} bytes; the least is {SECRET_BYTES_MIN}", source)
    return secret


def read_file(path: Path, field: str, source: str) -> tuple[bytes, tuple[str, ...]]:
    """What is in a file that is this user's alone, and warnings. Raises ConfigError, also where all may read it."""
    try:
        content, warnings = read_private(path)
    except NotPrivate as error:
        raise ConfigError(field, str(error), source) from error
    except OSError as error:
        raise ConfigError(field, f"{path}: {error.strerror}", source) from error
    return content, tuple(f"{field}: {warning}" for warning in warnings)


def read_secret(path: Path, source: str) -> tuple[bytes, tuple[str, ...]]:
    """The secret, and warnings. Raises ConfigError, also where everybody on this machine may read the file."""
    text, warnings = read_file(path, FIELD, source)
    return checked_secret(text, FIELD, source), warnings


def users_secret(folder: Path) -> bytes:
    """This user's secret, made on first use. Nodes that start at once agree on one. Raises ConfigError."""
    path = folder / "peer-secret"
    try:
        if not path.exists():
            with suppress(FileExistsError):
                write_new(NewFile(path, new_secret()))
        with path.open("rb") as file:
            text, mode = file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise ConfigError(
            FIELD, f"is not configured, and {path} cannot be used: {error.strerror}; name a file in cluster.yml"
        ) from error
    if mode & _NOT_MINE:
        raise ConfigError(FIELD, f"{path} is open to other users (mode {mode:04o}); say: chmod 600 {path}")
    return checked_secret(text, str(path), "")
