"""What a client is told about where to go and who it is: arguments over the environment over client.toml. It reads no
file but that one.

Each field is taken from the highest level that has it. What belongs together stays together: a token or a token_file
hides both of the levels below, a cert or a key both of theirs.
"""

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockd_client.endpoints import choose_endpoints
from lockd_client.errors import InvalidArgument

CONFIG = "LOCKD_CONFIG"  # names another file than ~/.config/lockd/client.toml
TOKEN_CHARACTERS_MIN = 32
TOKEN_CHARACTERS_MAX = 512

_PATHS = ("token_file", "cacert", "cert", "key")
_FIELDS = ("endpoints", "token", *_PATHS)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_YES = frozenset({"1", "true", "yes"})
_NO = frozenset({"", "0", "false", "no"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """names: what messages call the fields that are given, by where they come from. Without cacert: no TLS."""

    endpoints: tuple[str, ...]
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    cacert: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    insecure: bool = False
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What LockdClient was called with; None: not given."""

    host: str | None = None
    port: int | None = None
    endpoints: Sequence[str] | None = None
    token: str | None = field(default=None, repr=False)
    token_file: str | Path | None = None
    cacert: str | Path | None = None
    cert: str | Path | None = None
    key: str | Path | None = None
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class _Level:
    """names: of the fields, as messages call them there."""

    values: Mapping[str, Any] = field(repr=False)
    names: Mapping[str, str]


def checked_token(token: object, name: str) -> str:
    """Raises InvalidArgument, whose message does not show it."""
    if not isinstance(token, str):
        raise InvalidArgument(f"{name} is not text")
    if not all("!" <= character <= "~" for character in token):
        raise InvalidArgument(f"{name} has characters that are not printable ASCII, or blanks")
    if not TOKEN_CHARACTERS_MIN <= len(token) <= TOKEN_CHARACTERS_MAX:
        bounds = f"{TOKEN_CHARACTERS_MIN} to {TOKEN_CHARACTERS_MAX}"
        raise InvalidArgument(f"{name} has {len(token)} characters; a token has {bounds}")
    return token


def resolve(given: Given, environment: Mapping[str, str]) -> Settings:
    """Raises InvalidArgument."""
    levels = (_of_arguments(given), _of_environment(environment), _of_file(environment))
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    for group in (("token", "token_file"), ("cacert",), ("cert", "key")):
        for level in levels:
            if any(level.values.get(each) is not None for each in group):
                values |= {each: level.values.get(each) for each in group}
                names = dict(level.names) | names | {each: level.names[each] for each in group}
                break
    _check(values, names)
    in_file = levels[-1].values.get("endpoints")
    return Settings(
        endpoints=choose_endpoints(given.host, given.port, given.endpoints, environment, in_file),
        insecure=given.insecure or _yes_or_no(environment, "LOCKD_INSECURE"),
        names=names,
        **values,
    )


def _check(values: Mapping[str, Any], names: Mapping[str, str]) -> None:
    if values.get("token") is not None:
        if values.get("token_file") is not None:
            raise InvalidArgument(f"{names['token']} and {names['token_file']} are both given: give one of them")
        checked_token(values["token"], names["token"])
    for one, other in (("cert", "key"), ("key", "cert")):
        if values.get(one) is not None and values.get(other) is None:
            raise InvalidArgument(f"{names[one]} is given without {names[other]}: they belong together")
    if values.get("cert") is not None and values.get("cacert") is None:
        raise InvalidArgument(f"{names['cert']} is given without {names['cacert']}, without which there is no TLS")


def _of_arguments(given: Given) -> _Level:
    values: dict[str, Any] = {"token": given.token}
    for name in _PATHS:
        path = getattr(given, name)
        values[name] = None if path is None else _path(path, name)
    return _Level(values, {name: name for name in _FIELDS})


def _of_environment(environment: Mapping[str, str]) -> _Level:
    names = {name: f"LOCKD_{name.upper()}" for name in _FIELDS}
    values: dict[str, Any] = {name: environment.get(names[name]) or None for name in ("token", *_PATHS)}
    for name in _PATHS:
        if values[name] is not None:
            values[name] = _path(values[name], names[name])
    return _Level(values, names)


def _path(value: object, name: str, folder: Path = Path()) -> Path:
    if not isinstance(value, str | Path):
        raise InvalidArgument(f"{name} is {value!r}; it is a path")
    if not str(value):
        raise InvalidArgument(f"{name} is empty; it is a path")
    try:
        return folder / Path(value).expanduser()
    except RuntimeError as error:  # ~somebody, who is not known
        raise InvalidArgument(f"{name}: {value}: {error}") from error


def _yes_or_no(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "").strip().lower()
    if value not in _YES | _NO:
        raise InvalidArgument(f"{name} is {value!r}; it is 1 or 0")
    return value in _YES


# ---- client.toml


def _of_file(environment: Mapping[str, str]) -> _Level:
    """Its paths are relative to its folder."""
    named = environment.get(CONFIG)
    path = _path(named, CONFIG) if named else _default_file(environment)
    names = {name: f"{path}: {name}" for name in _FIELDS}
    if path is None:
        return _Level({}, names)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = tomllib.loads(file.read().decode())
    except (FileNotFoundError, NotADirectoryError) as error:
        if not named:
            return _Level({}, names)
        raise InvalidArgument(f"{CONFIG}: {path}: {error.strerror}") from error
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # The decoder's message may quote what it stumbled over, which may be a token.
        raise InvalidArgument(f"{path}: is not TOML{_place(error)}") from None
    return _Level(_checked_content(content, path, mode, names), names)


def _default_file(environment: Mapping[str, str]) -> Path | None:
    folder = environment.get("XDG_CONFIG_HOME")
    if folder and Path(folder).is_absolute():  # a relative one is to be ignored, as its specification says
        return Path(folder) / "lockd" / "client.toml"
    home = environment.get("HOME")
    return Path(home) / ".config" / "lockd" / "client.toml" if home else None


def _place(error: Exception) -> str:
    _, found, place = str(error).rpartition("(at ")
    return f" ({place.rstrip(')')})" if found else ""


def _checked_content(content: dict[str, Any], path: Path, mode: int, names: Mapping[str, str]) -> dict[str, Any]:
    for name in content:
        if name not in _FIELDS:
            near = difflib.get_close_matches(name, _FIELDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_FIELDS)}"
            raise InvalidArgument(f"{path}: {name} is not known; {hint}")
    if "token" in content and mode & _OTHERS:
        raise InvalidArgument(
            f"{path}: token stands in a file that other users may open (mode {stat.S_IMODE(mode):04o}); "
            f"say: chmod 600 {path}"
        )
    endpoints = content.get("endpoints")
    if endpoints is not None and not (isinstance(endpoints, list) and all(isinstance(each, str) for each in endpoints)):
        raise InvalidArgument(f'{names["endpoints"]} is a list, as in ["db1:2080", "db2:2080"]')
    return content | {
        name: _path(content[name], names[name], path.parent) for name in _PATHS if content.get(name) is not None
    }
