"""Values to bytes and back; and bytes from anywhere, which are values or a CodecError."""

from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from itertools import count
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lockd.machine import commands as c
from lockd.machine import tables as t
from lockd.machine.state import State
from lockd.proto import log_pb2 as pb
from lockd.raft import codec
from lockd.raft.errors import CodecError

COMMANDS = get_args(c.Command)
VALUES = get_args(t.Value)
TABLE_OF = dict(
    zip(
        (t.Scalars, t.Lease, t.Hold, t.Waiter, t.Delay, t.Record, t.Mark, t.NodeLease, t.Entry, t.Credential),
        t.TABLES,
        strict=True,
    )
)
CALL = c.Call(1, 7, 1)

uint32s = st.integers(0, 2**32 - 1)
uint64s = st.integers(0, 2**64 - 1)
texts = st.text(max_size=20)
blobs = st.binary(max_size=40)


# -- values of every type, made after the types of their fields

NARROWER = {"node": uint32s, "version": uint32s, "limit": uint32s, "wait_ms": st.integers(-(2**63), 2**63 - 1)}
PLAIN: dict[object, st.SearchStrategy[Any]] = {int: uint64s, str: texts, bytes: blobs, bool: st.booleans()}


def has_fields(hint: object) -> bool:
    return is_dataclass(hint) or hasattr(hint, "_fields")


def fields_of(value_type: Any) -> dict[str, Any]:
    """The types of a dataclass's or a named tuple's fields."""
    hints = get_type_hints(value_type)
    names = [field.name for field in fields(value_type)] if is_dataclass(value_type) else value_type._fields
    return {name: hints[name] for name in names}


@cache
def values(hint: Any, name: str = "") -> st.SearchStrategy[Any]:
    """Any value of this type, in a field of this name."""
    if name in NARROWER:
        return NARROWER[name]
    if name == "outcome":
        return st.sampled_from(t.RECORDED)
    if hint in PLAIN:
        return PLAIN[hint]
    if has_fields(hint):
        return st.builds(hint, **{field: values(of, field) for field, of in fields_of(hint).items()})
    if isinstance(hint, UnionType):
        return st.one_of(*[st.none() if part is type(None) else values(part) for part in get_args(hint)])
    if get_origin(hint) is tuple:
        first, *rest = get_args(hint)
        if rest == [...]:
            return st.lists(values(first), max_size=3).map(tuple)
        return st.tuples(values(first), *map(values, rest))
    return st.sampled_from(hint)


commands = st.one_of(*map(values, COMMANDS))


def key_of(value: t.Value) -> object:
    match value:
        case t.Scalars():
            return None
        case t.Lease() | t.Entry() | t.Credential():
            return value.id
        case t.Hold():
            return value.token
        case t.Waiter() | t.Record():
            return value.key
        case t.Delay():
            return t.DelayKey(value.name, value.mode)
        case t.Mark():
            return t.MarkKey(value.caller, value.client)
        case t.NodeLease():
            return t.NodeKey(value.node, value.life)


def change_to(value: t.Value) -> t.Change:
    return t.Change(TABLE_OF[type(value)], key_of(value), value)


changes = st.one_of(*map(values, VALUES)).map(change_to)


def filled(hint: Any, name: str = "", numbers: Any = None) -> Any:
    """A value in which no field has its default, and no two numbers or texts are the same."""
    numbers = numbers or count(1)
    if name == "outcome":
        return t.RECORDED[-1]
    if hint is bool:
        return True
    if hint in PLAIN:
        number = next(numbers)
        return {int: number, str: f"text {number}", bytes: b"blob %d" % number}[hint]
    if has_fields(hint):
        return hint(**{field: filled(of, field, numbers) for field, of in fields_of(hint).items()})
    if isinstance(hint, UnionType):
        return filled(next(part for part in get_args(hint) if part is not type(None)), "", numbers)
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        return tuple(filled(part, "", numbers) for part in (parts[:1] * 2 if parts[-1] is ... else parts))
    assert issubclass(hint, Enum)
    return list(hint)[-1]


# -- there and back


@given(commands)
def test_a_command(command):
    assert codec.decode_command(codec.encode_command(command)) == command


@pytest.mark.parametrize("command_type", COMMANDS)
def test_every_field_of_a_command(command_type):
    command = filled(command_type)
    assert codec.decode_command(codec.encode_command(command)) == command


@pytest.mark.parametrize(
    "command",
    [
        c.Acquire(call=c.Call(0, 0, 0), request=c.Request(c.Key("", b""), b"", 0), wants=()),
        c.Acquire(call=CALL, request=c.Request(c.Key("", b""), b"", 0, c.Answered(0)), wants=(), wait_ms=-1),
        c.Release(call=c.Call(0, 0, 0), request=c.Request(c.Key("", b""), b"", 0)),
        c.Cancel(call=c.Call(0, 0, 0), key=c.Key("", b"")),
        c.IsLocked(call=c.Call(0, 0, 0), name=""),
        c.Get(call=c.Call(0, 0, 0), name="", limit=0),
        c.ListHolds(call=c.Call(0, 0, 0), limit=0),
        c.ListHolds(call=c.Call(0, 0, 0), mode=c.Mode.EXCLUSIVE),
        c.ListRegistered(call=c.Call(0, 0, 0), kind=c.Kind.CLIENT, limit=0),
        c.Barrier(call=c.Call(0, 0, 0)),
    ],
)
def test_zeros_and_what_is_empty(command):
    assert codec.decode_command(codec.encode_command(command)) == command


@given(uint64s, uint64s, st.lists(commands, max_size=5))
def test_a_batch(epoch, stamp_ms, asked):
    data = codec.encode_batch(epoch, stamp_ms, [codec.encode_command(command) for command in asked])
    assert codec.decode_entry(data) == c.Batch(epoch=epoch, stamp_ms=stamp_ms, commands=tuple(asked))


@given(uint64s, uint32s)
def test_a_beginning(epoch, version):
    assert codec.decode_entry(codec.encode_begin(epoch, version)) == c.BeginEpoch(epoch=epoch, version=version)


@given(changes)
@example(change_to(t.Scalars()))
@example(change_to(t.Record(key=c.Key("", b""), asked=b"", outcome="Queued")))
@example(change_to(t.Delay("", c.Mode.EXCLUSIVE, 0)))
def test_a_record_of_the_state(change):
    key, value = codec.encode_change(change)
    assert value is not None
    assert list(codec.decode_records(iter([(key, value)]))) == [change]
    assert codec.encode_change(change._replace(value=None)) == (key, None)


@pytest.mark.parametrize("value_type", VALUES)
def test_every_field_of_a_record(value_type):
    change = change_to(filled(value_type))
    key, value = codec.encode_change(change)
    assert value is not None
    assert list(codec.decode_records(iter([(key, value)]))) == [change]


@pytest.mark.parametrize("outcome", t.RECORDED)
def test_every_outcome_of_a_record(outcome):
    change = change_to(t.Record(key=c.Key("ann", b"1"), asked=b"", outcome=outcome))
    key, value = codec.encode_change(change)
    assert list(codec.decode_records(iter([(key, value or b"")]))) == [change]


@pytest.mark.parametrize("value_type", [*COMMANDS, *VALUES])
def test_a_message_has_the_fields_of_its_class(value_type):
    message = pb.RegistryEntry if value_type is t.Entry else getattr(pb, value_type.__name__)
    assert list(message.DESCRIPTOR.fields_by_name) == list(fields_of(value_type))


def test_every_command_and_every_table_is_known():
    assert set(codec._COMMANDS.values()) == set(COMMANDS)
    assert set(codec._COMMANDS) == set(pb.Command.DESCRIPTOR.fields_by_name)
    assert tuple(codec._TABLES) == t.TABLES
    assert set(TABLE_OF) == set(VALUES)


short_texts, short_blobs = st.text("ab\x00", max_size=2), st.binary(max_size=2)
few_keys = st.one_of(
    st.tuples(st.sampled_from(["holds", "leases", "registry"]), st.integers(0, 3)),
    st.tuples(st.sampled_from(["records", "waiters"]), st.builds(c.Key, short_texts, short_blobs)),
    st.tuples(st.just("marks"), st.builds(t.MarkKey, short_texts, short_blobs)),
    st.tuples(st.just("delays"), st.builds(t.DelayKey, st.text("\x00\x01", max_size=2), st.sampled_from(c.Mode))),
    st.tuples(st.just("nodes"), st.builds(t.NodeKey, st.sampled_from([0, 1, 256]), st.sampled_from([0, 1, 256]))),
    st.just(("scalars", None)),
)


@given(few_keys, few_keys)
@settings(max_examples=500)
def test_no_two_records_share_a_key(one, other):
    keys = [codec.encode_change(t.Change(table, key, None))[0] for table, key in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


@given(st.sampled_from(["holds", "leases", "registry"]), st.lists(uint64s, max_size=5))
def test_what_is_numbered_is_stored_in_the_order_of_its_numbers(table, numbers):
    keys = [codec.encode_change(t.Change(table, number, None))[0] for number in sorted(numbers)]
    assert keys == sorted(keys)


def test_text_is_kept_as_it_is():
    """No normalisation: what looks the same is not the same."""
    for name in ("é", "e\u0301", "a\x00b", "\ud7ff", "\U0010ffff", " a ", "mysql://u@host:3306/db"):
        command = c.IsLocked(call=CALL, name=name)
        assert codec.decode_command(codec.encode_command(command)) == command


def test_calls_are_not_mixed_up():
    call = CALL._replace(life=2**64 - 1)
    assert codec.decode_command(codec.encode_command(c.Barrier(call=call))).call == call


# -- bytes from anywhere


def read(decode, data):
    """Any other exception than CodecError fails the test."""
    with suppress(CodecError):
        decode(data)


def read_record(key: bytes, value: bytes) -> None:
    read(lambda data: list(codec.decode_records(iter([data]))), (key, value))


prefixes = st.sampled_from([table.prefix for table in codec._TABLES.values()])
garbage = st.binary(max_size=200)


@given(garbage)
def test_garbage_is_a_value_or_a_codec_error(data):
    read(codec.decode_entry, data)
    read(codec.decode_command, data)


@given(prefixes | st.binary(max_size=4), garbage, garbage)
def test_a_garbled_record_is_a_value_or_a_codec_error(prefix, key, value):
    read_record(prefix + key, value)


@st.composite
def damaged(draw, data):
    """Cut short, with bytes changed, or with something put in."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["cut", "change", "put"])):
            case "cut":
                del data[at:]
            case "change" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case _:
                data[at:at] = draw(st.binary(max_size=9))
    return bytes(data)


@given(st.data())
def test_damage_is_a_value_or_a_codec_error(data):
    whole = codec.encode_command(data.draw(commands))
    read(codec.decode_command, data.draw(damaged(whole)))
    read(codec.decode_entry, data.draw(damaged(codec.encode_batch(1, 2, [whole, whole]))))
    key, value = codec.encode_change(data.draw(changes))
    assert value is not None
    read_record(key, data.draw(damaged(value)))


FOUND = c.Key("ann", c.CLIENT_ID + b"c" * 16 + b"\x00" * 7 + b"\x05")
WAITS = c.Key("bob", c.FREE_ID + b"1")
WANTS = (c.Want("jobs", c.Mode.EXCLUSIVE),)
SOUND: tuple[t.Value, ...] = (
    t.Scalars(9, 1, 1, last_token=1, last_lease=1, last_arrival=1, last_entry_id=1, revision=3),
    t.Lease(id=1, deadline_ms=50, ttl_ms=20, is_session=True, caller="ann"),
    t.Hold(
        token=1,
        key=FOUND,
        wants=WANTS,
        lease=1,
        session=1,
        agent="worker",
        owner="ann",
        reason="",
        metadata=(),
        acquired_ms=3,
        lock_delay_ms=10,
        call=None,
    ),
    t.Waiter(
        arrival=1,
        key=WAITS,
        wants=WANTS,
        session=0,
        agent="",
        ttl_ms=5,
        until_ms=70,
        lock_delay_ms=0,
        owner="bob",
        reason="",
        metadata=(("pid", "7"),),
        since_ms=4,
        call=CALL,
        attempt=1,
        parked_ms=4,
    ),
    t.Delay("mail", c.Mode.SHARED, 30),
    t.Record(key=FOUND, asked=b"digest", outcome="Granted", token=1),
    t.Record(key=WAITS, asked=b"digest", outcome="Queued"),
    t.Mark("ann", b"c" * 16, c.Answered(3, ((4, 4),)), 40),
    t.NodeLease(CALL.node, CALL.life, 60),
    t.Entry(1, c.Kind.RESOURCE, "jobs"),
)


@cache
def image() -> dict[bytes, bytes]:
    stored = dict(codec.encode_change(change_to(value)) for value in SOUND)
    return {key: value or b"" for key, value in stored.items()}


def restored(stored: dict[bytes, bytes]) -> State:
    return State.restored(codec.decode_records(iter(sorted(stored.items()))))


def test_the_store_that_is_damaged_below_is_sound():
    assert [change.value for change in restored(image()).all_records()] == list(SOUND)


@given(st.data())
@settings(max_examples=300)
def test_a_damaged_store_is_refused_or_sound(data):
    stored = dict(image())
    key = data.draw(st.sampled_from(sorted(stored)))
    stored[key] = data.draw(damaged(stored[key]))
    try:
        state = restored(stored)
    except (CodecError, ValueError):
        return
    assert list(state.invariants()) == []


VARINT_MAX = b"\xff" * 9 + b"\x01"
HOSTILE = {
    "length of 2 GiB": b"\x1a\xff\xff\xff\xff\x07",
    "length of 2^64": b"\x1a" + VARINT_MAX,
    "varint without end": b"\x08" + b"\xff" * 11,
    "groups in groups": b"\x0b" * 100_000,
    "messages in messages": b"\x12" * 100_000,
    "end of no group": b"\x0c",
    "field number 0": b"\x00\x01",
    "wire type 7": b"\x0f",
    "text that is not UTF-8": b"\x52\x04\x12\x02\xc3\x28",  # IsLocked.name
    "a surrogate in UTF-8": b"\x52\x05\x12\x03\xed\xa0\x80",
    "cut within a length": b"\x1a\x80",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=list(HOSTILE))
def test_what_is_no_message_is_a_codec_error(data):
    with pytest.raises(CodecError):
        codec.decode_command(data)
    with pytest.raises(CodecError):
        codec.decode_entry(codec.encode_batch(1, 1, [data]))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (pb.Command(acquire={"wants": [{"name": "a", "mode": 2}]}), "2 is no known mode"),
        (pb.Command(acquire={"wants": [{"name": "a", "mode": -1}]}), "-1 is no known mode"),
        (pb.Command(list_holds={"mode": 2}), "2 is no known mode"),
        (pb.Command(register={"kind": 2}), "2 is no known mode, kind or role"),
        (pb.Command(acquire={"request": {"answered": {"ranges": [1, 3, 5]}}}), "argument 2 is shorter"),
    ],
)
def test_a_message_that_is_no_command_is_a_codec_error(message, words):
    with pytest.raises(CodecError, match=words):
        codec.decode_command(message.SerializeToString())


@pytest.mark.parametrize("data", [b"", b"\xfa\x07\x00"], ids=["empty", "a command of a later version"])
def test_a_command_without_content_is_a_codec_error(data):
    with pytest.raises(CodecError, match="without content"):
        codec.decode_command(data)


def test_a_field_of_a_later_version_is_passed_over():
    """Reads may grow by fields: docs/adr/0022."""
    data = codec.encode_command(c.ListHolds(call=CALL, prefix="a"))
    later = pb.Command.FromString(data)
    later.list_holds.MergeFromString(b"\xf8\x07\x01")
    assert later.SerializeToString() != data
    assert codec.decode_command(later.SerializeToString()) == c.ListHolds(call=CALL, prefix="a")


def test_one_bad_command_spoils_its_entry():
    good = codec.encode_command(c.Renew(call=CALL, caller="ann", token=1, ttl_ms=1))
    with pytest.raises(CodecError):
        codec.decode_entry(codec.encode_batch(1, 1, [good, b"", good]))


def test_a_large_entry_is_decoded():
    name, renews = "n" * 2**20, 2_000
    asked: list[c.Command] = [c.IsLocked(call=CALL, name=name)]
    asked += [c.Renew(call=CALL, caller="ann", token=1, ttl_ms=1)] * renews
    entry = codec.decode_entry(codec.encode_batch(1, 1, list(map(codec.encode_command, asked))))
    assert isinstance(entry, c.Batch)
    assert len(entry.commands) == renews + 1


@pytest.mark.parametrize("key", [b"", b"s", b"s/", b"s/x", b"t/h", b"j/1", b"S/h"])
def test_a_key_of_no_known_table_is_named(key):
    with pytest.raises(CodecError, match="no known table") as error:
        list(codec.decode_records(iter([(key, b"")])))
    assert repr(key) in str(error.value)


def test_a_record_that_does_not_decode_is_named():
    with pytest.raises(CodecError) as error:
        list(codec.decode_records(iter([(b"s/h12345678", b"\xff")])))
    assert "s/h12345678" in str(error.value)


def test_an_outcome_of_a_later_version_is_a_codec_error():
    value = pb.Record(outcome=len(t.RECORDED)).SerializeToString()
    with pytest.raises(CodecError, match=f"a record of outcome {len(t.RECORDED)}"):
        list(codec.decode_records(iter([(b"s/r", value)])))


@pytest.mark.parametrize("value", SOUND, ids=lambda value: type(value).__name__)
def test_a_record_under_another_records_key_is_named(value):
    key, data = codec.encode_change(change_to(value))
    for other in (key + b"x", key[:3] + b"x" + key[4:], key[:-1]):
        with pytest.raises(CodecError) as error:
            list(codec.decode_records(iter([(other, data or b"")])))
        assert repr(other) in str(error.value)
