"""Which servers may be used, in the order in which they are tried."""

import copy
import difflib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from lockd_client.distributed_lock import by_file, by_lockd, by_redis, by_zookeeper
from lockd_client.distributed_lock.servers import Opening
from lockd_client.errors import InvalidArgument

CONFIG_VARIABLE = "ISF_DISTRIBUTED_LOCK_CONFIG"

DEFAULT_CONFIG: Sequence[Mapping[str, Any]] = (
    {"type": "lockd", "config": {"host": "localhost", "port": 2080}},
    {"type": "redis", "config": {"host": "localhost", "port": 6379}},
    {"type": "file"},
)

_LOG = logging.getLogger("lockd_client.distributed_lock")


class BadLockingConfig(InvalidArgument):
    """The locking configuration is of no use, and nothing was locked. Mend what the last error names."""


@dataclass(frozen=True)
class Kind:
    fields: frozenset[str]
    open: Opening


KINDS = {
    "lockd": Kind(by_lockd.FIELDS, by_lockd.LockdServer),
    "redis": Kind(by_redis.FIELDS, by_redis.RedisServer),
    "zookeeper": Kind(by_zookeeper.FIELDS, by_zookeeper.ZookeeperServer),
    "file": Kind(by_file.FIELDS, by_file.FileServer),
}

_NUMBER, _SECONDS, _TEXT, _TEXTS = "a whole number", "a number of seconds above 0", "a text", "a list of texts"
_VALUES = {
    "host": _TEXT,
    "hosts": _TEXT,
    "endpoints": _TEXTS,
    "port": _NUMBER,
    "db": _NUMBER,
    "ttl": _SECONDS,
    "timeout": _SECONDS,
    "socket_timeout": _SECONDS,
    "socket_connect_timeout": _SECONDS,
}
"""What must be in these fields, whatever the type of the entry. The servers' own libraries look at the others."""


@dataclass(frozen=True)
class Entry:
    """place: for messages. given: as it was written."""

    place: str
    given: dict[str, Any]
    kind: Kind
    config: Mapping[str, Any]

    def bad(self, what: str) -> BadLockingConfig:
        return BadLockingConfig(f"{self.place}: {what}")


def read_config() -> list[Entry]:
    """Raises BadLockingConfig."""
    file = os.environ.get(CONFIG_VARIABLE)
    if not file:
        return entries_of(DEFAULT_CONFIG, "the default configuration")
    try:
        with open(file, "rb") as stream:
            given = yaml.safe_load(stream)
    except FileNotFoundError:
        _LOG.warning("%s names %s, which does not exist: the default configuration is used", CONFIG_VARIABLE, file)
        return entries_of(DEFAULT_CONFIG, "the default configuration")
    except OSError as error:
        raise BadLockingConfig(f"{file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BadLockingConfig(f"{file} is not YAML: {error}") from error
    return entries_of(given, file)


def entries_of(given: object, source: str) -> list[Entry]:
    """source: a file, or another word for where it comes from. Raises BadLockingConfig."""
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise BadLockingConfig(f"{source} is not a list of entries, each with a type and a config")
    if not given:
        raise BadLockingConfig(f"{source} has no entries")
    return [_entry(each, f"{source}, entry {number}") for number, each in enumerate(given, start=1)]


def _entry(given: object, place: str) -> Entry:
    if not isinstance(given, Mapping):
        raise BadLockingConfig(f"{place} is not a mapping with a type and a config")
    _check_known(given, frozenset({"type", "config"}), place)
    kind = KINDS.get(given["type"]) if isinstance(given.get("type"), str) else None
    if kind is None:
        said = f"the type is {given['type']!r}" if "type" in given else "there is no type"
        raise BadLockingConfig(f"{place}: {said}; it is one of {', '.join(KINDS)}")
    place = f"{place} ({given['type']})"
    config = given.get("config")
    if config is None:
        config = {}
    if not isinstance(config, Mapping):
        raise BadLockingConfig(f"{place}: config is not a mapping")
    _check_known(config, kind.fields, place)
    for field, value in config.items():
        if field in _VALUES and not _is_a(_VALUES[field], value):
            raise BadLockingConfig(f"{place}: {field} is {value!r}; it is {_VALUES[field]}")
    return Entry(place, copy.deepcopy(dict(given)), kind, copy.deepcopy(dict(config)))


def _check_known(given: Mapping[Any, object], fields: frozenset[str], place: str) -> None:
    for field in given:
        if field not in fields:
            near = difflib.get_close_matches(str(field), sorted(fields), n=1)
            hint = f"; is it meant to be {near[0]}?" if near else ""
            raise BadLockingConfig(f"{place}: {field!r} is not one of its fields{hint}")


def _is_a(what: str, value: object) -> bool:
    if what == _TEXT:
        return isinstance(value, str) and value != ""
    if what == _TEXTS:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if isinstance(value, bool):
        return False
    return isinstance(value, int) if what == _NUMBER else isinstance(value, int | float) and value > 0
