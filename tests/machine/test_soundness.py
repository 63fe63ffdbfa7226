"""What other members propose: whatever is sound can be applied and stored, and what is not never enters the log."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockd.machine import commands as c
from lockd.machine.apply import apply
from lockd.machine.soundness import DURATION_MAX_MS, SEQUENCE_MAX, unsound
from lockd.machine.state import State
from lockd.raft import codec
from lockd.raft.errors import CodecError

NODE = 2
CALL = c.Call(NODE, 7, 1)
U64 = 2**64 - 1


def sequence(number: int) -> c.Key:
    return c.Key("ann", c.CLIENT_ID + bytes(16) + number.to_bytes(8, "big"))


def request(key: c.Key | None = None, answered: c.Answered | None = None) -> c.Request:
    return c.Request(key or sequence(9), b"asked", U64, answered)


def acquire(*names: str, **fields: Any) -> c.Acquire:
    wants = tuple(c.Want(name, c.Mode.EXCLUSIVE) for name in names)
    return c.Acquire(**{"call": CALL, "request": request(), "wants": wants} | fields)


UNSOUND = [
    acquire("a", request=request(answered=c.Answered(5, ((5, U64),)))),
    acquire("a", request=request(answered=c.Answered(U64))),
    acquire("a", request=request(answered=c.Answered(0, ((10, 5), (0, 2**40))))),
    acquire("a", request=request(c.Key("ann", c.FREE_ID + b"free"), c.Answered(5))),
    acquire("a", request=request(sequence(U64))),
    acquire("a", request=request(c.Key("ann", b""))),
    acquire("a", request=request(c.Key("ann", c.FREE_ID))),
    acquire("a", request=request(c.Key("ann", b"\x02other"))),
    acquire("a", request=request(c.Key("ann", c.CLIENT_ID + bytes(99)))),
    acquire("a", ttl_ms=U64),
    acquire("a", wait_ms=2**63 - 1),
    acquire("a", lock_delay_ms=U64),
    acquire("a", session=1, ttl_ms=5_000),
    acquire("a", reentrant=True),
    acquire("a", "b", session=1, agent="x", reentrant=True),
    acquire(),
    acquire(""),
    acquire("a", "a"),
    acquire(*map(str, range(65))),
    c.OpenSession(call=CALL, request=request(), ttl_ms=U64),
    c.Renew(call=CALL, caller="", token=1, ttl_ms=U64),
    c.Release(call=CALL, request=request(c.Key("ann", b"")), token=1),
    c.Cancel(call=CALL, key=c.Key("ann", b"")),
    c.Withdraw(call=CALL, key=c.Key("ann", b"\x02"), ended=CALL),
]


@pytest.mark.parametrize("command", UNSOUND)
def test_what_apply_could_not_answer_is_refused_as_a_proposal(command: c.Command):
    with pytest.raises(CodecError, match=f"^{type(command).__name__}: [a-z_]+:"):
        codec.decode_proposal(codec.encode_command(command), NODE)


def test_a_proposal_is_for_a_call_of_the_node_that_proposes_it():
    """Else it could answer another node's callers with what they did not ask."""
    with pytest.raises(CodecError, match="node 2's call"):
        codec.decode_proposal(codec.encode_command(acquire("a")), 3)


def test_a_proposal_fits_into_an_entry():
    large = acquire("a", owner="o" * codec.COMMAND_BYTES_MAX)
    with pytest.raises(CodecError, match="a command of 20962.. bytes; the bound is 2096128"):
        codec.decode_proposal(codec.encode_command(large), NODE)


@pytest.mark.parametrize(
    "command",
    [
        acquire("a", ttl_ms=DURATION_MAX_MS, wait_ms=-(2**63), lock_delay_ms=60_000),
        acquire(*map(str, range(64)), request=request(answered=c.Answered(0, ((3, 4), (6, SEQUENCE_MAX))))),
        acquire("a", session=1, agent="x", reentrant=True),
        c.OpenNode(call=CALL),
        c.Barrier(call=CALL),
        c.Release(call=CALL, request=request(), token=U64),
    ],
)
def test_what_members_propose_by_themselves_is_sound(command: c.Command):
    assert unsound(command) == ""
    assert codec.decode_proposal(codec.encode_command(command), NODE) == command


numbers = st.sampled_from([0, 1, 2, 5_000, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, U64])
names = st.sampled_from(["", "a", "b", "c"])
keys = st.builds(
    c.Key,
    st.sampled_from(["", "ann"]),
    st.one_of(
        st.binary(max_size=3),
        st.builds(lambda number: c.CLIENT_ID + bytes(16) + number.to_bytes(8, "big"), numbers),
    ),
)
ranges = st.lists(st.tuples(numbers, numbers), max_size=3).map(tuple)
requests = st.builds(
    c.Request, keys, st.just(b"asked"), st.just(U64), st.one_of(st.none(), st.builds(c.Answered, numbers, ranges))
)
wants = st.lists(st.builds(c.Want, names, st.sampled_from(c.Mode)), max_size=3).map(tuple)
calls = st.builds(c.Call, st.just(NODE), st.sampled_from([1, 7]), numbers)
commands = st.one_of(
    st.builds(
        c.Acquire,
        call=calls,
        request=requests,
        wants=wants,
        attempt=numbers,
        session=st.integers(0, 3),
        agent=names,
        ttl_ms=numbers,
        wait_ms=st.sampled_from([0, -1, 1, 5_000, 2**53, 2**63 - 1, -(2**63)]),
        lock_delay_ms=st.sampled_from([0, 1, 60_000, U64]),
        reentrant=st.booleans(),
        by_name=st.booleans(),
    ),
    st.builds(
        c.Release,
        call=calls,
        request=requests,
        token=st.integers(0, 4),
        name=names,
        session=st.integers(0, 3),
        agent=names,
        by_name=st.booleans(),
        force=st.booleans(),
    ),
    st.builds(c.Cancel, call=calls, key=keys),
    st.builds(c.Withdraw, call=calls, key=keys, ended=calls),
    st.builds(c.Renew, call=calls, token=st.integers(0, 4), ttl_ms=numbers),
    st.builds(c.OpenSession, call=calls, request=requests, ttl_ms=numbers),
    st.builds(c.KeepAlive, call=calls, caller=st.sampled_from(["", "ann"]), session=st.integers(0, 3)),
    st.builds(c.CloseSession, call=calls, caller=st.sampled_from(["", "ann"]), session=st.integers(0, 3)),
    st.builds(c.OpenNode, call=calls),
    st.builds(c.Get, call=calls, name=names, limit=st.sampled_from([0, 1, 2**32 - 1])),
    st.builds(c.ListHolds, call=calls, prefix=names, limit=st.sampled_from([0, 1, 2**32 - 1])),
    st.builds(c.Register, call=calls, kind=st.sampled_from(c.Kind), name=names),
    st.builds(c.ListRegistered, call=calls, kind=st.sampled_from(c.Kind), after=numbers, limit=st.integers(0, 2)),
    st.builds(c.IsLocked, call=calls, name=names),
    st.builds(c.CheckToken, call=calls, name=names, token=numbers),
    st.builds(c.Barrier, call=calls),
    st.builds(c.Unregister, call=calls, kind=st.sampled_from(c.Kind), id=st.integers(0, 3)),
)


@settings(deadline=None)
@given(entries=st.lists(st.tuples(numbers, st.lists(commands, max_size=6)), max_size=6))
def test_whatever_is_sound_is_applied_and_stored(entries: list[tuple[int, list[c.Command]]]):
    """The stamps are a leader's, which counts from the clock: they stay far below what would overflow."""
    state = State()
    apply(state, c.BeginEpoch(epoch=1, version=1), 1)
    apply(state, c.Batch(epoch=1, stamp_ms=0, commands=(c.OpenNode(call=CALL),)), 1)
    for stamp_ms, proposed in entries:
        sound = tuple(command for command in proposed if not unsound(command))
        apply(state, c.Batch(epoch=1, stamp_ms=min(stamp_ms, 2**53), commands=sound), 1)
        image = dict(map(codec.encode_change, state.all_records()))
        assert list(state.invariants()) == []
        stored = ((key, value or b"") for key, value in image.items())
        assert list(State.restored(codec.decode_records(stored)).all_records()) == list(state.all_records())
