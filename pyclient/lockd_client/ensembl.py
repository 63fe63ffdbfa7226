"""The resource locks of Ensembl's production services, kept by lockd: its ResourceLocker with the same methods.

    from lockd_client.ensembl import LockException, ResourceLocker

    locker = ResourceLocker("lockd://db1:2080,db2:2080,db3:2080")
    lock = locker.lock("ProteinFeaturePipeline", "mysql://server:3306/mydb", "write")
    locker.unlock(lock)

A lock is a hold without a time limit: it stays until somebody unlocks it by its id, which is its fencing token.
Clients are the owners of holds, resources the names of locks; both have ids in the cluster's registry. What differs
from the library with a database is in docs/resource-locker.md.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, overload
from urllib.parse import parse_qsl

from lockd_client import calls, registry
from lockd_client.calls import Gone, Wants
from lockd_client.client import LockdClient
from lockd_client.clock import now
from lockd_client.errors import InvalidArgument
from lockd_client.holding import Flow
from lockd_client.registry import Entry, Kind, Removal
from lockd_client.values import Holder, LockAnswer, Mode

ENVIRONMENT = "LOCK_URI"
SCHEME = "lockd"
CLIENT_NAME_MAX = 64  # characters
RESOURCE_URI_MAX = 512  # bytes of UTF-8
TOKEN_MAX = 2**53 - 1
CREATED = "resource_lock_created"  # in a hold's metadata: when it was asked for
SHOWN_MAX = 3  # of the locks that are in the way
FEW = 16  # names whose ids are asked for one by one; for more of them the registry is read
OF_ONE_RESOURCE_MAX = 1000  # locks of one resource that are listed

MODES = {"read": Mode.SHARED, "write": Mode.EXCLUSIVE}
_TYPES = {mode: lock_type for lock_type, mode in MODES.items()}
_DOING = {"read": "for reading", "write": "for writing"}
_PATHS = ("token_file", "cacert", "cert", "key")
_DATABASES = frozenset(
    {"cockroachdb", "firebird", "mariadb", "mssql", "mysql", "oracle", "postgres", "postgresql", "sqlite", "sybase"}
)


class LockException(Exception):
    """The resource is locked by somebody else, or what is to be deleted is locked. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Client:
    """What takes locks: an application, a process or a person. client_id 0: the owner of a hold that was taken
    otherwise, and that has no id.
    """

    client_id: int
    name: str

    def __repr__(self) -> str:
        return f"<Client(client_id={self.client_id}, name='{self.name}')>"

    def to_dict(self) -> dict[str, Any]:
        return {"client_id": self.client_id, "name": self.name}


@dataclass(frozen=True, slots=True)
class Resource:
    """What is locked, such as a database or a file. resource_id 0: as of a Client."""

    resource_id: int
    uri: str

    def __repr__(self) -> str:
        return f"<Resource(resource_id={self.resource_id}, uri='{self.uri}')>"

    def to_dict(self) -> dict[str, Any]:
        return {"resource_id": self.resource_id, "uri": self.uri}


@dataclass(frozen=True, slots=True)
class ResourceLock:
    """A lock that a client holds. lock_type: 'read' or 'write'. created: in UTC, without a time zone.

    resource_lock_id is the hold's fencing token: below 2^53, and greater than that of every lock taken before it.
    """

    resource_lock_id: int
    lock_type: str
    created: datetime
    client: Client
    resource: Resource

    @property
    def client_id(self) -> int:
        return self.client.client_id

    @property
    def resource_id(self) -> int:
        return self.resource.resource_id

    def __repr__(self) -> str:
        return (
            f"<ResourceLock(resource_lock_id={self.resource_lock_id}, lock_type='{self.lock_type}', "
            f"client='{self.client.name}', resource='{self.resource.uri}')>"
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "resource_lock_id": self.resource_lock_id,
            "client": self.client.to_dict(),
            "resource": self.resource.to_dict(),
            "lock_type": self.lock_type,
            "created": self.created,
        }


class ResourceLocker:
    """Locks on resources: 'read', of which there may be many, or 'write', beside which there is no other.

    They are advisory, do not wait and have no time limit. The same client is in its own way, except that it may have
    many read locks, each with an id of its own. Whoever has the id unlocks; where the cluster asks who calls, it takes
    the identity that locked. Thread-safe; a forked child may go on using it. Close it, or use it with `with`.

    Besides what is named at each method, all of them raise LockdErrors, such as Unavailable, OutcomeUnknown and
    PermissionDenied. InvalidArgument is a ValueError, too.
    """

    def __init__(self, url: str | None = None, timeout: float | None = None) -> None:
        """url: lockd://host:port, or several host:port separated by commas, with options behind a `?`: token_file,
        cacert, cert and key, which are paths, and timeout, the seconds that a call may take. lockd:// may be left out.
        None or empty: LOCK_URI of the environment. Without hosts, and for each option that is not given, it is what
        LockdClient takes (LOCKD_ENDPOINTS, LOCKD_TOKEN_FILE, …, client.toml).

        timeout: not used. It is taken since it was how long to keep connections to a database.

        Raises ValueError.
        """
        self.url = url or os.environ.get(ENVIRONMENT, "")
        self._client = LockdClient(**options_of(self.url, "url" if url else ENVIRONMENT))

    # ---- locks

    def lock(self, client_name: str, resource_uri: str, lock_type: str) -> ResourceLock:
        """Takes a lock, or says at once who is in the way. The client and the resource get ids if they have none.

        client_name: 1 to 64 characters; resource_uri: 1 to 512 bytes of UTF-8; both without control characters.
        lock_type: 'read' or 'write'.

        Raises LockException where others hold the resource, or wait for it, and ValueError.
        """
        if not isinstance(lock_type, str) or lock_type not in MODES:
            raise ValueError(f"Unsupported lock_type: {lock_type!r}; it is 'read' or 'write'")
        _check_text("client_name", client_name, len, CLIENT_NAME_MAX, "characters")
        _check_text("resource_uri", resource_uri, _size, RESOURCE_URI_MAX, "bytes")
        return self._client._transport.run(self._locking(client_name, resource_uri, lock_type))

    def _locking(self, client_name: str, resource_uri: str, lock_type: str) -> Flow[ResourceLock]:
        """Registers once the lock is held: from then on nobody can delete the client or the resource."""
        created = _utc_now()
        metadata = {CREATED: created.isoformat()}
        names = ((resource_uri, MODES[lock_type] is Mode.SHARED),)
        wants = Wants(names=names, ttl=0, owner=client_name, metadata=metadata)
        answer: LockAnswer = yield calls.lock(wants, gone=Gone.CANCEL)
        if not answer.acquired:
            raise LockException(_in_the_way(resource_uri, lock_type, answer))
        try:
            client_id = yield registry.register(Kind.CLIENT, client_name)
            resource_id = yield registry.register(Kind.RESOURCE, resource_uri)
        except BaseException:  # Ctrl-C, too: nobody has its id, to unlock it by
            with self._client._transport.inside() as engine:
                engine.background(calls.unlock(answer.token), now())
            raise
        client, resource = Client(client_id, client_name), Resource(resource_id, resource_uri)
        return ResourceLock(answer.token, lock_type, created, client, resource)

    def unlock(self, lock: ResourceLock | int) -> None:
        """lock: or its id.

        Raises ValueError where there is no such lock (any more), and LockException where the cluster asks who calls and
        another identity took it.
        """
        id = lock.resource_lock_id if isinstance(lock, ResourceLock) else _number("lock", lock)
        if 0 < id <= TOKEN_MAX:
            if self._client.unlock(id):
                return
            for holder in self._ask(registry.hold(id)):
                raise LockException(f"lock {id} was taken by {holder.identity}, and this caller is another")
        raise ValueError(f"No lock found for ID {id}")

    def get_lock(self, lock_id: int) -> ResourceLock | None:
        """None where there is no such lock (any more). Of a hold of several resources: the first."""
        id = _number("lock_id", lock_id)
        found = self._ask(registry.hold(id)) if 0 < id <= TOKEN_MAX else ()
        return next(iter(self._locks(found[:1])), None)

    def get_locks(
        self, *, client_name: str | None = None, resource_uri: str | None = None, lock_type: str | None = None
    ) -> list[ResourceLock]:
        """All that match what is given, in the order of their ids: every hold that would be in a lock's way, also those
        that were taken otherwise; of one resource at most 1000. Read in pages: each is of one moment, not all together.
        """
        mode = MODES.get(lock_type) if isinstance(lock_type, str) else None
        if lock_type is not None and mode is None:
            return []
        try:
            held = self._held(client_name, resource_uri, mode)
        except InvalidArgument:  # nothing has such a name
            return []
        wanted = {"owner": client_name, "name": resource_uri, "mode": mode}
        found = [each for each in held if all(value in (None, getattr(each, key)) for key, value in wanted.items())]
        return self._locks(sorted(found, key=lambda holder: (holder.token, holder.name)))

    def _held(self, client_name: str | None, resource_uri: str | None, mode: Mode | None) -> list[Holder]:
        """At least those that are asked for."""
        if resource_uri is None:
            return list(self._client.list(owner=client_name or "", mode=mode))
        return list(self._client.get(resource_uri, limit=OF_ONE_RESOURCE_MAX).holders)

    # ---- clients

    @overload
    def get_client(self, name: str) -> Client: ...
    @overload
    def get_client(self, name: int) -> Client | None: ...
    def get_client(self, name: str | int) -> Client | None:
        """The client of this name, which is made if there is none; or by its id, None if there is none."""
        if not isinstance(name, str):
            return self.get_client_by_id(name)
        _check_text("name", name, len, CLIENT_NAME_MAX, "characters")
        return Client(self._id_of(Kind.CLIENT, name), name)

    def get_client_by_id(self, client_id: int) -> Client | None:
        entry = self._by_id(Kind.CLIENT, _number("client_id", client_id))
        return Client(entry.id, entry.name) if entry else None

    def get_clients(self) -> list[Client]:
        """In the order of their ids."""
        return [Client(entry.id, entry.name) for entry in registry.entries(self._client, Kind.CLIENT)]

    def delete_client(self, client: Client | int | str) -> None:
        """client: or its id, or its name.

        Raises ValueError where there is no such client, and LockException where it has active locks, or waits for one.
        """
        self._delete(Kind.CLIENT, client.client_id if isinstance(client, Client) else client)

    # ---- resources

    @overload
    def get_resource(self, uri: str) -> Resource: ...
    @overload
    def get_resource(self, uri: int) -> Resource | None: ...
    def get_resource(self, uri: str | int) -> Resource | None:
        """The resource of this URI, which is made if there is none; or by its id, None if there is none."""
        if not isinstance(uri, str):
            return self.get_resource_by_id(uri)
        _check_text("uri", uri, _size, RESOURCE_URI_MAX, "bytes")
        return Resource(self._id_of(Kind.RESOURCE, uri), uri)

    def get_resource_by_id(self, resource_id: int) -> Resource | None:
        entry = self._by_id(Kind.RESOURCE, _number("resource_id", resource_id))
        return Resource(entry.id, entry.name) if entry else None

    def get_resources(self) -> list[Resource]:
        """In the order of their ids."""
        return [Resource(entry.id, entry.name) for entry in registry.entries(self._client, Kind.RESOURCE)]

    def delete_resource(self, resource: Resource | int | str) -> None:
        """resource: or its id, or its URI.

        Raises ValueError where there is no such resource, and LockException where it is locked, or waited for.
        """
        self._delete(Kind.RESOURCE, resource.resource_id if isinstance(resource, Resource) else resource)

    # ---- the end

    def close(self) -> None:
        """Closes the connections; locks stay. May be called twice."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # ---- inside

    def _ask(self, call: calls.Call[calls.T]) -> calls.T:
        return self._client._transport.ask(call)

    def _id_of(self, kind: Kind, name: str) -> int:
        """Looks first: that takes no right to change anything."""
        entry = self._ask(registry.find(kind, name=name))
        return entry.id if entry else self._ask(registry.register(kind, name))

    def _by_id(self, kind: Kind, id: int) -> Entry | None:
        return self._ask(registry.find(kind, id=id)) if 0 < id < 2**64 else None

    def _delete(self, kind: Kind, which: int | str) -> None:
        """Looks first: what is gone when it is to be removed was removed by an attempt whose answer was lost."""
        if isinstance(which, str):
            entry = self._ask(registry.find(kind, name=which)) if which else None
        else:
            entry = self._by_id(kind, _number(kind.lower(), which))
        if entry is None:
            raise ValueError(f"No {kind.lower()} found for {'name' if isinstance(which, str) else 'ID'} {which}")
        if self._ask(registry.unregister(kind, entry.id)) is Removal.IN_USE:
            raise LockException(f"{kind.capitalize()} {entry.name} has active locks")

    def _locks(self, held: Collection[Holder]) -> list[ResourceLock]:
        clients = self._ids(Kind.CLIENT, {holder.owner for holder in held})
        resources = self._ids(Kind.RESOURCE, {holder.name for holder in held})
        return [
            ResourceLock(
                holder.token,
                _TYPES[holder.mode],
                _created(holder),
                Client(clients.get(holder.owner, 0), holder.owner),
                Resource(resources.get(holder.name, 0), holder.name),
            )
            for holder in held
        ]

    def _ids(self, kind: Kind, names: Collection[str]) -> Mapping[str, int]:
        """Of those that have one."""
        if len(names) > FEW:
            return {entry.name: entry.id for entry in registry.entries(self._client, kind)}
        found = [self._ask(registry.find(kind, name=name)) for name in names if name]
        return {entry.name: entry.id for entry in found if entry}


# ---- what is given, and what is said


def options_of(url: str, source: str) -> dict[str, Any]:
    """What LockdClient is made with. source: what messages call the url. Raises ValueError."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = SCHEME, url
    if scheme.lower() != SCHEME:
        raise ValueError(_not_lockd(scheme, source))
    hosts, _, query = rest.partition("?")
    hosts = hosts.removesuffix("/")
    if "/" in hosts or "@" in hosts or "#" in url:
        form = f"{SCHEME}://HOST:PORT[,HOST:PORT…][?OPTION=VALUE[&…]]"
        raise ValueError(f"{source} has the form {form}; a token is given in a file, by token_file")
    options: dict[str, Any] = _options(query, source)
    if hosts:
        options["endpoints"] = hosts.split(",")
    return options


def _not_lockd(scheme: str, source: str) -> str:
    """Nothing else of the URL, which may have a password in it."""
    database = scheme.partition("+")[0].lower()
    what = "names a database" if database in _DATABASES else "is of another kind"
    return (
        f"{source} begins with {scheme}:// and {what}: resource locks are kept by lockd. Start a node (`lockd serve`), "
        f"set {source} to {SCHEME}://HOST:PORT, and take the locks that are still held anew: docs/resource-locker.md"
    )


def _options(query: str, source: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in (*_PATHS, "timeout"):
            raise ValueError(f"{source}: {name} is no option; there are {', '.join(_PATHS)} and timeout")
        if name in found or not value:
            raise ValueError(f"{source}: {name} is {'there twice' if name in found else 'empty'}")
        found[name] = _seconds(value, source) if name == "timeout" else value
    return found


def _seconds(value: str, source: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{source}: timeout is {value!r}; it is a number of seconds") from None


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _check_text(what: str, text: object, size_of: Any, most: int, unit: str) -> None:
    """Control characters are a node's to refuse."""
    if not isinstance(text, str):
        raise ValueError(f"{what} is {text!r}; it is text of 1 to {most} {unit}")
    if not 1 <= size_of(text) <= most:
        raise ValueError(f"{what} has {size_of(text)} {unit}; it takes 1 to {most}")


def _number(what: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{what} is {value!r}; it is an id, a whole number")
    return value


def _utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _created(holder: Holder) -> datetime:
    """Of a hold that was taken otherwise, as far as its age tells."""
    try:
        created = datetime.fromisoformat(holder.metadata.get(CREATED, ""))
    except ValueError:
        created = None
    return created if created and created.tzinfo is None else _utc_now() - timedelta(seconds=holder.age)


def _in_the_way(resource_uri: str, lock_type: str, answer: LockAnswer) -> str:
    held = [f"{_TYPES[each.mode]} lock {each.token} of {each.owner}" for each in answer.holders]
    more = [f"{len(held) - SHOWN_MAX} more"] if len(held) > SHOWN_MAX else []
    waiting = [f"{answer.waiters} that wait for it"] if answer.waiters else []
    resting = ["a lock delay"] if answer.delayed_until_ms else []
    reasons = ", ".join([*held[:SHOWN_MAX], *more, *waiting, *resting])
    return f"cannot lock {resource_uri} {_DOING[lock_type]}; in the way: {reasons}"
