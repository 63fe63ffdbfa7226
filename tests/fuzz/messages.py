"""Strategies for messages, made from their descriptors, and for bytes that are nearly one."""

from collections.abc import Iterator
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import strategies as st

Descriptor = Any
"""protobuf's stubs have two classes for it."""

OWN = 3
"""In a field that names a token or a session: put one of the fuzzer's own there before it is sent."""

GUARDED = range(OWN + 1, 2**30)
"""Tokens and sessions that others may hold: the fuzzer names none of them, since anybody may free what they name."""

NAMING = ("token", "session_id")

U32 = [0, 1, 2, 100, 1000, 1001, 2**16, 2**31 - 1, 2**31, 2**32 - 1]
U64 = [*U32, 2**53 - 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
S32 = [0, 1, -1, 2**31 - 1, -(2**31)]
S64 = [*S32, 2**53, 2**63 - 1, -(2**63)]

_F = FieldDescriptor
_TEXTS = [
    "",
    "a",
    "a/b",
    "fuzz",
    "x" * 128,
    "x" * 512,
    "x" * 513,
    "ä" * 257,
    "\x00",
    "line\nend",
    "\u202egnol",
    "\U0010ffff",
    "y" * 70_000,
]
_BYTES = [b"", b"1", b"2", b"c" * 16, b"d" * 16, b"e" * 17, bytes(64), bytes(65), b"\xff" * 32]

_PLAIN: dict[str, list[Any]] = {
    "ttl_ms": [0, 1, 2_000, 5_000, 86_400_000, 86_400_001, 2**53, 2**64 - 1],
    "wait_ms": [0, 0, 1, 50, 86_400_001, -1, 2**63 - 1, -(2**63)],
    "not_after_ms": [2**60, 2**60, 2**60, 0, 1, 2**64 - 1],
    "token": [0, 1, OWN, OWN, 2**31, 2**53 - 1, 2**53, 2**64 - 1],
    "session_id": [0, 0, 1, OWN, OWN, 2**53, 2**64 - 1],
    "sequence": [0, 1, 2, 3, 4, 2**63 - 1, 2**63, 2**64 - 1],
    "attempt": [0, 1, 2, 3, 2**32 - 1],
    "name": ["a", "b", "c", "fuzz/1", "fuzz/2", *_TEXTS],
    "timeout_ms": [1, 5, 50, 1000],
}
"""By a field's name: what leads past the first check more often than a number out of the blue."""


def _of_type(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.name in _PLAIN:
        return st.sampled_from(_PLAIN[field.name])
    match field.type:
        case _F.TYPE_MESSAGE:
            assert field.message_type is not None
            return fields(field.message_type, depth - 1)
        case _F.TYPE_ENUM:
            assert field.enum_type is not None
            return st.sampled_from([*(value.number for value in field.enum_type.values), -1, 99, 2**31 - 1])
        case _F.TYPE_BOOL:
            return st.booleans()
        case _F.TYPE_STRING:
            return st.one_of(st.sampled_from(_TEXTS), st.text(max_size=8))
        case _F.TYPE_BYTES:
            return st.one_of(st.sampled_from(_BYTES), st.binary(max_size=8))
        case _F.TYPE_UINT64 | _F.TYPE_FIXED64:
            return st.sampled_from(U64)
        case _F.TYPE_UINT32 | _F.TYPE_FIXED32:
            return st.sampled_from(U32)
        case _F.TYPE_INT32 | _F.TYPE_SINT32:
            return st.sampled_from(S32)
        case _:
            return st.sampled_from(S64)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _of_field(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if _is_map(field):
        assert field.message_type is not None
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return st.dictionaries(_of_type(key, 0), _of_type(value, 0), max_size=3)
    one = _of_type(field, depth)
    if not field.is_repeated:
        return one
    few = st.lists(one, max_size=3)
    many = st.builds(lambda value, count: [value] * count, one, st.sampled_from([64, 65, 1_000]))
    return few if depth < 2 else st.one_of(few, few, few, many)


def fields(kind: Descriptor, depth: int = 4) -> st.SearchStrategy[dict[str, Any]]:
    """What a message's constructor takes: of each oneof at most one field, of the others any."""
    optional = {
        field.name: _of_field(field, depth)
        for field in kind.fields
        if field.containing_oneof is None and (depth or field.message_type is None)
    }
    plain = st.fixed_dictionaries({}, optional=optional)
    for oneof in kind.oneofs:
        of_it = [
            st.fixed_dictionaries({field.name: _of_field(field, depth)})
            for field in oneof.fields
            if depth or field.message_type is None
        ]
        plain = st.builds(lambda one, other: {**one, **other}, plain, st.one_of(st.just({}), *of_it, *of_it))
    return plain


def valid(kind: Descriptor) -> st.SearchStrategy[Message]:
    return fields(kind).map(lambda content: message_factory.GetMessageClass(kind)(**content))


_TAME: dict[str, list[Any]] = {
    "name": ["a", "b", "c", "fuzz/1", "fuzz/2", "ä"],
    "prefix": ["", "fuzz/", "a"],
    "owner": ["", "me"],
    "agent": ["x", "y"],
    "reason": ["because"],
    "session_id": [OWN],
    "token": [OWN],
    "ttl_ms": [2_000, 5_000],
    "wait_ms": [0, 1, 50, -1],
    "lock_delay_ms": [0, 100],
    "not_after_ms": [2**60],
    "id": [b"1", b"2", b"3", b"4"],
    "client": [b"c" * 16, b"d" * 16],
    "sequence": [1, 2, 3, 4, 5],
    "attempt": [0, 1, 2],
    "mode": [0, 1],
    "kind": [1, 2],
    "consistency": [0, 1],
    "limit": [0, 1, 1000],
    "with_waiters": [True],
    "reentrant": [True],
    "force": [True],
    "timeout_ms": [50, 1000],
}


def tame(kind: Descriptor, depth: int = 4) -> st.SearchStrategy[dict[str, Any]]:
    """What a node may well carry out: some of the fields that make sense, an operation's number, parts alike."""
    needed, optional, of_oneofs = {}, {}, []
    for field in kind.fields:
        values: st.SearchStrategy[Any]
        if kind.name == "Operation" and field.name == "id":
            values = st.integers(0, 50)
        elif field.message_type is not None and not _is_map(field) and depth:
            values = tame(field.message_type, depth - 1)
        elif field.name in _TAME and (field.name != "id" or field.type == _F.TYPE_BYTES):
            values = st.sampled_from(_TAME[field.name])
        else:
            continue
        if field.is_repeated:
            values = st.lists(values, max_size=30 if kind.name == "StreamRequest" else 3)
        if field.containing_oneof is not None:
            of_oneofs.append(st.fixed_dictionaries({field.name: values}))
        elif field.name in ("name", "operations", "token", "not_after_ms") or field.name in ("ttl_ms", "id"):
            needed[field.name] = values
        else:
            optional[field.name] = values
    plain = st.fixed_dictionaries(needed, optional=optional)
    if not of_oneofs:
        return plain
    return st.builds(lambda one, other: {**one, **other}, plain, st.one_of(*of_oneofs))


def likely(kind: Descriptor) -> st.SearchStrategy[Message]:
    return tame(kind).map(lambda content: message_factory.GetMessageClass(kind)(**content))


def raw(kind: Descriptor) -> st.SearchStrategy[bytes]:
    """Bytes out of the blue, and bytes that are nearly such a message."""
    nearly = st.builds(_mutated, valid(kind).map(lambda message: message.SerializeToString()), _changes)
    return st.one_of(st.binary(max_size=64), nearly, nearly, st.sampled_from(ODD)).filter(lambda d: is_allowed(kind, d))


ODD = [
    b"\x0b" * 5_000,  # groups in groups
    (b"\x0a\x7f" * 300)[:599],  # messages in messages, with lengths beyond the end
    b"\x0a\xff\xff\xff\xff\x0f",  # a field of four gigabytes
    b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # of 2^64 - 1 bytes
    b"\x08" + b"\xff" * 11,  # a number that does not end
    b"\x0a\x02\xc3\x28",  # no UTF-8
    b"\x0a\x03\xed\xa0\x80",  # half of a surrogate pair
    b"\x12\x01a" * 100_000,  # one field, over and over
    b"\xfa\xff\xff\xff\x0f\x00",  # the highest field number
    b"\x00",
    b"\x07\x07\x07",
]

_changes = st.lists(
    st.tuples(st.sampled_from(["cut", "flip", "put", "twice", "drop"]), st.floats(0, 1, exclude_max=True), st.binary(
        min_size=1, max_size=4
    )),
    min_size=1,
    max_size=4,
)  # fmt: skip


def _mutated(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for how, where, new in changes:
        at = int(where * len(data))
        match how:
            case "cut":
                data = data[:at]
            case "flip" if data:
                data = data[:at] + bytes([data[at] ^ (new[0] or 1)]) + data[at + 1 :]
            case "put":
                data = data[:at] + new + data[at:]
            case "twice":
                data = data[:at] + data[at : at + 40] + data[at:]
            case "drop":
                data = data[:at] + data[at + len(new) :]
    return data


def is_allowed(kind: Descriptor, data: bytes) -> bool:
    """Whether it names nothing that may be another's, where it decodes."""
    try:
        message = message_factory.GetMessageClass(kind).FromString(data)
    except (DecodeError, UnicodeDecodeError):
        return True
    return all(getattr(part, name, 0) not in GUARDED for part in _parts(message) for name in NAMING)


def _parts(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is None or _is_map(field):
            continue
        for part in value if field.is_repeated else [value]:
            yield from _parts(part)


def make_own(message: Message, tokens: list[int], sessions: list[int], turn: int) -> None:
    """Puts the fuzzer's own tokens and sessions in the place of OWN."""
    for part in _parts(message):
        for name, own in (("token", tokens), ("session_id", sessions)):
            if own and getattr(part, name, 0) == OWN:
                setattr(part, name, own[turn % len(own)])
