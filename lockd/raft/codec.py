"""Machine values <-> the bytes of the log and of the stored state. Internal protobuf ends here.

A message's fields have the names of the machine's, so the dataclasses say what is put and read; only what is
not a number, text, bytes or a flag needs a pair of functions, found by the field's type in _PAIRS.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, get_type_hints

from google.protobuf.message import DecodeError, Message

from lockd.machine import commands as c
from lockd.machine import tables as t
from lockd.machine.outcomes import Link
from lockd.machine.soundness import unsound
from lockd.proto import log_pb2 as pb

from .errors import CodecError

T = TypeVar("T")


def _decoding(data: bytes, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(data)
    except KeyError as error:
        raise CodecError(f"{len(data)} bytes do not decode: {error} is no known mode, kind or role") from error
    except (DecodeError, ValueError) as error:
        raise CodecError(f"{len(data)} bytes do not decode: {error}") from error


# -- parts. Submessages are put as dicts: protobuf fills the message from them without an object in between.
# Repeated fields are read from a slice, a list: faster than protobuf's iterator.

_SHARED = c.Mode.SHARED
_MODES = {pb.EXCLUSIVE: c.Mode.EXCLUSIVE, pb.SHARED: c.Mode.SHARED}
_KINDS = {pb.CLIENT: c.Kind.CLIENT, pb.RESOURCE: c.Kind.RESOURCE}
_ROLES = {pb.READ: c.Role.READ, pb.LOCK: c.Role.LOCK, pb.ADMIN: c.Role.ADMIN}
_OUTCOMES = {outcome: place for place, outcome in enumerate(t.RECORDED)}


def _put_mode(mode: c.Mode) -> int:
    return 1 if mode is _SHARED else 0  # a dict would hash the Enum member in Python, each time


def _put_kind(kind: c.Kind) -> int:
    return 1 if kind is c.Kind.RESOURCE else 0


def _put_role(role: c.Role) -> int:
    return role.value


def _put_call(call: c.Call) -> dict[str, Any]:
    return {"node": call[0], "life": call[1], "number": call[2]}


def _read_call(m: pb.Call) -> c.Call:
    return c.Call(m.node, m.life, m.number)


def _put_key(key: c.Key) -> dict[str, Any]:
    return {"caller": key[0], "id": key[1]}


def _read_key(m: pb.Key) -> c.Key:
    return c.Key(m.caller, m.id)


def _put_answered(answered: c.Answered) -> dict[str, Any]:
    return {"below": answered.below, "ranges": [end for ends in answered.ranges for end in ends]}


def _read_answered(m: pb.Answered) -> c.Answered:
    ends = m.ranges[:]
    return c.Answered(m.below, tuple(zip(ends[::2], ends[1::2], strict=True)))


def _put_request(request: c.Request) -> dict[str, Any]:
    key, asked, not_after_ms, answered = request
    put = {"key": _put_key(key), "asked": asked, "not_after_ms": not_after_ms}
    if answered is not None:
        put["answered"] = _put_answered(answered)
    return put


def _read_request(m: pb.Request) -> c.Request:
    answered = _read_answered(m.answered) if m.HasField("answered") else None
    return c.Request(_read_key(m.key), m.asked, m.not_after_ms, answered)


def _put_wants(wants: tuple[c.Want, ...]) -> list[dict[str, Any]]:
    return [{"name": name, "mode": 1 if mode is _SHARED else 0} for name, mode in wants]


def _read_wants(wants: Sequence[pb.Want]) -> tuple[c.Want, ...]:
    return tuple([c.Want(m.name, _MODES[m.mode]) for m in wants[:]])


def _put_labels(metadata: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in metadata]


def _read_labels(labels: Sequence[pb.Label]) -> tuple[tuple[str, str], ...]:
    return tuple([(m.key, m.value) for m in labels[:]]) if labels else ()


def _put_cycle(cycle: tuple[Link, ...]) -> list[dict[str, Any]]:
    return [{"owner": at.owner, "session": at.session, "agent": at.agent, "name": at.name} for at in cycle]


def _read_cycle(links: Sequence[pb.Link]) -> tuple[Link, ...]:
    return tuple([Link(m.owner, m.session, m.agent, m.name) for m in links[:]]) if links else ()


def _read_outcome(place: int) -> str:
    if place >= len(t.RECORDED):
        raise ValueError(f"a record of outcome {place}")
    return t.RECORDED[place]


class _Pair(NamedTuple):
    put: Callable[[Any], Any]
    read: Callable[[Any], Any]
    optional: bool = False
    """None is a message without the field."""


_PLAIN = (int, str, bytes, bool)
_PAIRS: dict[object, _Pair] = {
    c.Mode: _Pair(_put_mode, _MODES.__getitem__),
    c.Mode | None: _Pair(_put_mode, _MODES.__getitem__, optional=True),
    c.Kind: _Pair(_put_kind, _KINDS.__getitem__),
    c.Role: _Pair(_put_role, _ROLES.__getitem__),
    c.Call: _Pair(_put_call, _read_call),
    c.Call | None: _Pair(_put_call, _read_call, optional=True),
    c.Key: _Pair(_put_key, _read_key),
    c.Answered: _Pair(_put_answered, _read_answered),
    c.Request: _Pair(_put_request, _read_request),
    tuple[c.Want, ...]: _Pair(_put_wants, _read_wants),
    tuple[tuple[str, str], ...]: _Pair(_put_labels, _read_labels),
    tuple[str, ...]: _Pair(list, tuple),
    tuple[Link, ...]: _Pair(_put_cycle, _read_cycle),
}


class _Form:
    """How the values of one dataclass stand in the fields of their message."""

    def __init__(self, value_type: type, **pairs: _Pair) -> None:
        """pairs: for fields whose type does not tell."""
        self._type = value_type
        types = get_type_hints(value_type)
        names = [field.name for field in fields(value_type)]
        self._plain = tuple(name for name in names if name not in pairs and types[name] in _PLAIN)
        self._get = _getter(self._plain)
        others = {name: pairs.get(name) or _PAIRS[types[name]] for name in names if name not in self._plain}
        self._puts = [(name, pair.put) for name, pair in others.items()]
        self._reads = [(name, pair.read) for name, pair in others.items() if not pair.optional]
        self._optional_reads = [(name, pair.read) for name, pair in others.items() if pair.optional]

    def put(self, value: object) -> dict[str, Any]:
        """The fields of the message, without those that would not be on the wire: zeros, and what is empty."""
        put = {name: part for name, part in zip(self._plain, self._get(value), strict=True) if part}
        for name, encode in self._puts:
            part = getattr(value, name)
            if part:
                put[name] = encode(part)
        return put

    def read(self, message: Message) -> Any:
        """A value of this form's class."""
        read = dict(zip(self._plain, self._get(message), strict=True))
        for name, decode in self._reads:
            read[name] = decode(getattr(message, name))
        for name, decode in self._optional_reads:
            read[name] = decode(getattr(message, name)) if message.HasField(name) else None
        return self._type(**read)


def _getter(names: tuple[str, ...]) -> Callable[[object], tuple[Any, ...]]:
    """attrgetter, which returns a tuple only from two names on."""
    match names:
        case ():
            return lambda _: ()
        case (name,):
            return lambda value: (getattr(value, name),)
        case _:
            return attrgetter(*names)


# -- entries


def encode_begin(epoch: int, version: int) -> bytes:
    return pb.Entry(epoch=epoch, begin=True, machine_version=version).SerializeToString()


def encode_batch(epoch: int, stamp_ms: int, commands: list[bytes]) -> bytes:
    """commands: each as encode_command made it. They are not decoded on the way into the log."""
    return pb.Entry(epoch=epoch, stamp_ms=stamp_ms, commands=commands).SerializeToString()


def decode_entry(data: bytes) -> c.Entry:
    """Raises CodecError."""
    return _decoding(data, _entry)


def _entry(data: bytes) -> c.Entry:
    entry = pb.Entry.FromString(data)
    if entry.begin:
        return c.BeginEpoch(epoch=entry.epoch, version=entry.machine_version)
    commands = tuple([_command(command) for command in entry.commands])
    return c.Batch(epoch=entry.epoch, stamp_ms=entry.stamp_ms, commands=commands)


# -- commands

_COMMANDS: dict[str, type[c.Command]] = {
    "acquire": c.Acquire,
    "release": c.Release,
    "cancel": c.Cancel,
    "withdraw": c.Withdraw,
    "renew": c.Renew,
    "open_session": c.OpenSession,
    "keep_alive": c.KeepAlive,
    "close_session": c.CloseSession,
    "open_node": c.OpenNode,
    "is_locked": c.IsLocked,
    "get": c.Get,
    "list_holds": c.ListHolds,
    "check_token": c.CheckToken,
    "register": c.Register,
    "unregister": c.Unregister,
    "list_registered": c.ListRegistered,
    "create_credential": c.CreateCredential,
    "revoke_credential": c.RevokeCredential,
    "list_credentials": c.ListCredentials,
    "deny": c.Deny,
    "barrier": c.Barrier,
}
_FORMS = {what: _Form(command_type) for what, command_type in _COMMANDS.items()}
_PUTS = {command_type: (what, _FORMS[what].put) for what, command_type in _COMMANDS.items()}
_READS = {what: form.read for what, form in _FORMS.items()}


def encode_command(command: c.Command) -> bytes:
    what, put = _PUTS[type(command)]
    content: dict[str, Any] = {what: put(command)}
    return pb.Command(**content).SerializeToString()


def decode_command(data: bytes) -> c.Command:
    """Raises CodecError."""
    return _decoding(data, _command)


COMMAND_BYTES_MAX = 2 * 1024 * 1024 - 1024
"""Of a proposal. It must fit into an entry of its own (engine.ENTRY_BYTES_MAX); by default admission lets a twentieth
of it through.
"""


def decode_proposal(data: bytes, peer: int) -> c.Command:
    """A command that peer proposes. Raises CodecError for one that must not enter the log."""
    if len(data) > COMMAND_BYTES_MAX:
        raise CodecError(f"a command of {len(data)} bytes; the bound is {COMMAND_BYTES_MAX}")
    command = decode_command(data)
    if command.call.node != peer:
        raise CodecError(f"a command of node {command.call.node}'s call")
    if what := unsound(command):
        raise CodecError(f"{type(command).__name__}: {what}")
    return command


def _command(data: bytes) -> c.Command:
    message = pb.Command.FromString(data)
    what = message.WhichOneof("what")
    if what is None:
        raise ValueError("a command without content")
    command: c.Command = _READS[what](getattr(message, what))
    return command


# -- stored state: a key and a value a record

STATE = b"s/"


def _nothing(_: object) -> bytes:
    return b""


def _number(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _of_caller(key: tuple[str, bytes]) -> bytes:
    """Of a Key or a MarkKey. The caller's length keeps ("a", b"bc") and ("ab", b"c") apart."""
    caller = key[0].encode()
    return len(caller).to_bytes(4, "big") + caller + key[1]


def _of_delay(key: t.DelayKey) -> bytes:
    return key.name.encode() + _put_mode(key.mode).to_bytes(1, "big")


def _of_node(key: t.NodeKey) -> bytes:
    return key.node.to_bytes(4, "big") + key.life.to_bytes(8, "big")


@dataclass(frozen=True, slots=True)
class _Table:
    prefix: bytes
    message: type[Message]
    form: _Form
    key: Callable[[Any], bytes]
    """The rest of a record's key."""
    key_of: Callable[[Any], object]
    """The machine's key of a value."""

    def read(self, data: bytes) -> Any:
        return self.form.read(self.message.FromString(data))


_TABLES = {
    "scalars": _Table(STATE + b"s", pb.Scalars, _Form(t.Scalars), _nothing, lambda _: None),
    "leases": _Table(STATE + b"l", pb.Lease, _Form(t.Lease), _number, attrgetter("id")),
    "holds": _Table(STATE + b"h", pb.Hold, _Form(t.Hold), _number, attrgetter("token")),
    "waiters": _Table(STATE + b"w", pb.Waiter, _Form(t.Waiter), _of_caller, attrgetter("key")),
    "delays": _Table(STATE + b"d", pb.Delay, _Form(t.Delay), _of_delay, lambda v: t.DelayKey(v.name, v.mode)),
    "records": _Table(
        STATE + b"r",
        pb.Record,
        _Form(t.Record, outcome=_Pair(_OUTCOMES.__getitem__, _read_outcome)),
        _of_caller,
        attrgetter("key"),
    ),
    "marks": _Table(STATE + b"m", pb.Mark, _Form(t.Mark), _of_caller, lambda v: t.MarkKey(v.caller, v.client)),
    "nodes": _Table(STATE + b"n", pb.NodeLease, _Form(t.NodeLease), _of_node, lambda v: t.NodeKey(v.node, v.life)),
    "registry": _Table(STATE + b"e", pb.RegistryEntry, _Form(t.Entry), _number, attrgetter("id")),
    "credentials": _Table(STATE + b"c", pb.Credential, _Form(t.Credential), _number, attrgetter("id")),
}
_NAMES = {table.prefix: name for name, table in _TABLES.items()}


def encode_change(change: t.Change) -> tuple[bytes, bytes | None]:
    """The key of a record of the state, and its value or None where it is gone."""
    name, its_key, value = change
    table = _TABLES[name]
    key = table.prefix + table.key(its_key)
    return key, None if value is None else table.message(**table.form.put(value)).SerializeToString()


def decode_records(records: Iterator[tuple[bytes, bytes]]) -> Iterator[t.Change]:
    """The state's records as the store or a snapshot holds them. Raises CodecError naming the key."""
    for key, data in records:
        name = _NAMES.get(key[: len(STATE) + 1])
        if name is None:
            raise CodecError(f"state record {key!r} is of no known table")
        table = _TABLES[name]
        try:
            value = _decoding(data, table.read)
        except CodecError as error:
            raise CodecError(f"state record {key!r}: {error}") from error
        its_key = table.key_of(value)
        own = table.prefix + table.key(its_key)
        if own != key:
            raise CodecError(f"state record {key!r} has the value of record {own!r}")
        yield t.Change(name, its_key, value)
