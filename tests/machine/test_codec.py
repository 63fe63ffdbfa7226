"""Values to bytes and back; and bytes from anywhere, which are values or a CodecError."""

from contextlib import suppress
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lockd.machine import commands as c
from lockd.machine.state import Change, Hold, Lease, Record, Scalars, State
from lockd.raft import codec
from lockd.raft.errors import CodecError
from tests.machine.driver import CALL, Machine, lock, renew, restored, unlock

uint32s = st.integers(0, 2**32 - 1)
uint64s = st.integers(0, 2**64 - 1)
texts = st.text(max_size=20)
blobs = st.binary(max_size=40)
labels = st.lists(st.tuples(texts, texts), max_size=3).map(tuple)
calls = st.builds(c.Call, uint32s, uint64s, uint64s)
requests = st.builds(c.Request, texts, blobs, blobs, uint64s)
commands = st.one_of(
    st.builds(
        c.Acquire,
        call=calls,
        request=requests,
        name=texts,
        ttl_ms=uint64s,
        owner=texts,
        reason=texts,
        metadata=labels,
        by_name=st.booleans(),
    ),
    st.builds(c.Release, call=calls, request=requests, token=uint64s, name=texts, by_name=st.booleans()),
    st.builds(c.Renew, call=calls, token=uint64s, ttl_ms=uint64s),
    st.builds(c.IsLocked, call=calls, name=texts),
    st.builds(c.ListHolds, call=calls, prefix=texts, after=texts, limit=uint32s, owner=texts),
    st.builds(c.Barrier, call=calls),
)
scalars = st.builds(Scalars, uint64s, uint64s, uint32s, uint64s, uint64s)
holds = st.builds(Hold, uint64s, texts, uint64s, texts, texts, labels, uint64s, st.booleans(), requests)
leases = st.builds(Lease, uint64s, uint64s, uint64s, uint64s)
outcomes = st.sampled_from(["Granted", "HeldByOther", "Released", "NotHeld"])
records = st.builds(Record, requests, outcomes, uint64s, texts, uint64s)
changes = st.one_of(
    scalars.map(lambda value: Change("scalars", None, value)),
    holds.map(lambda value: Change("holds", value.token, value)),
    leases.map(lambda value: Change("leases", value.id, value)),
    records.map(lambda value: Change("records", (value.request.caller, value.request.id), value)),
)


# -- there and back


@given(commands)
@example(c.ListHolds(call=c.Call(0, 0, 0), limit=0))
@example(c.IsLocked(call=c.Call(0, 0, 0), name=""))
@example(c.Renew(call=c.Call(0, 0, 0), token=0, ttl_ms=0))
@example(c.Release(call=c.Call(0, 0, 0), request=c.Request("", b"", b"", 0)))
@example(c.Barrier(call=c.Call(0, 0, 0)))
def test_a_command(command):
    assert codec.decode_command(codec.encode_command(command)) == command


def test_every_kind_of_command_is_tried():
    kinds = {type(command) for command in (lock("a"), unlock(1), renew(1, 1))} | {c.IsLocked, c.ListHolds, c.Barrier}
    assert kinds == set(c.Command.__args__) == set(codec._ENCODERS)


@given(uint64s, uint64s, st.lists(commands, max_size=5))
def test_a_batch(epoch, stamp_ms, asked):
    data = codec.encode_batch(epoch, stamp_ms, [codec.encode_command(command) for command in asked])
    assert codec.decode_entry(data) == c.Batch(epoch=epoch, stamp_ms=stamp_ms, commands=tuple(asked))


@given(uint64s, uint32s)
def test_a_beginning(epoch, version):
    assert codec.decode_entry(codec.encode_begin(epoch, version)) == c.BeginEpoch(epoch=epoch, version=version)


@given(changes)
def test_a_record_of_the_state(change):
    key, value = codec.encode_change(change)
    assert value is not None
    assert list(codec.decode_records(iter([(key, value)]))) == [change]
    assert codec.encode_change(change._replace(value=None)) == (key, None)


few_keys = st.one_of(
    st.tuples(st.sampled_from(["holds", "leases"]), st.integers(0, 3)),
    st.tuples(st.just("records"), st.tuples(st.text("ab", max_size=2), st.text("ab", max_size=2).map(str.encode))),
    st.just(("scalars", None)),
)


@given(few_keys, few_keys)
@settings(max_examples=300)
def test_no_two_records_share_a_key(one, other):
    keys = [codec.encode_change(Change(table, key, None))[0] for table, key in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


@given(st.lists(uint64s, max_size=5))
def test_holds_and_leases_are_stored_in_the_order_of_their_numbers(numbers):
    keys = [codec.encode_change(Change("holds", number, None))[0] for number in sorted(numbers)]
    assert keys == sorted(keys)


def test_text_is_kept_as_it_is():
    """No normalisation: what looks the same is not the same."""
    for name in ("é", "e\u0301", "a\x00b", "\ud7ff", "\U0010ffff", " a ", "mysql://u@host:3306/db"):
        command = lock(name)
        assert codec.decode_command(codec.encode_command(command)) == command


# -- bytes from anywhere


def read(decode, data):
    """Any other exception than CodecError fails the test."""
    with suppress(CodecError):
        decode(data)


def read_record(key: bytes, value: bytes) -> None:
    read(lambda data: list(codec.decode_records(iter([data]))), (key, value))


prefixes = st.sampled_from(sorted(codec._TABLE))
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


@cache
def image() -> dict[bytes, bytes]:
    """Once: the ids in it are fresh ones, and hypothesis wants the same choices each time."""
    machine = Machine()
    machine.entry(lock("jobs", 5_000), lock("mail"), lock("jobs"), unlock(2), at=7)
    return machine.stored


@given(st.data())
@settings(max_examples=200)
def test_a_damaged_store_is_refused_or_sound(data):
    stored = dict(image())
    key = data.draw(st.sampled_from(sorted(stored)))
    stored[key] = data.draw(damaged(stored[key]))
    try:
        state = restored(stored)
    except (CodecError, ValueError):
        return
    assert isinstance(state, State)
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
    "text that is not UTF-8": b"\x1a\x04\x0a\x02\xc3\x28",
    "a surrogate in UTF-8": b"\x1a\x05\x0a\x03\xed\xa0\x80",
    "cut within a length": b"\x1a\x80",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=list(HOSTILE))
def test_what_is_no_message_is_a_codec_error(data):
    with pytest.raises(CodecError):
        codec.decode_command(data)
    with pytest.raises(CodecError):
        codec.decode_entry(codec.encode_batch(1, 1, [data]))


@pytest.mark.parametrize("data", [b"", b"\x0a\x00", b"\xf8\x07\x01"], ids=["empty", "a call", "an unknown field"])
def test_a_command_without_content_is_a_codec_error(data):
    with pytest.raises(CodecError, match="without content"):
        codec.decode_command(data)


def test_one_bad_command_spoils_its_entry():
    good = codec.encode_command(renew(1, 1))
    with pytest.raises(CodecError):
        codec.decode_entry(codec.encode_batch(1, 1, [good, b"", good]))


def test_a_large_entry_is_decoded():
    name, count = "n" * 2**20, 2_000
    data = codec.encode_batch(1, 1, [codec.encode_command(lock(name))] + [codec.encode_command(renew(1, 1))] * count)
    entry = codec.decode_entry(data)
    assert isinstance(entry, c.Batch)
    assert len(entry.commands) == count + 1


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
    value = bytes([0x10, len(codec._RECORDED)])  # Record.outcome
    with pytest.raises(CodecError, match="a record of outcome 4"):
        list(codec.decode_records(iter([(b"s/r", value)])))


def test_calls_are_not_mixed_up():
    call = CALL._replace(life=2**64 - 1)
    assert codec.decode_command(codec.encode_command(c.Barrier(call=call))).call == call
