"""Every field that a caller fills in has a bound, and a refusal names both."""

from typing import Any

import pytest

from lockd.access import bounds
from lockd.access.refusal import Reason, Refused
from lockd.config import Limits
from lockd.machine import commands as c

LIMITS = Limits()
CALL = c.Call(1, 7, 1)
CLIENT = bytes(16)
CLIENT_KIND, RESOURCE = c.Kind.CLIENT, c.Kind.RESOURCE
FREE = c.Key("", c.FREE_ID + b"id")


def sequence(number: int) -> c.Key:
    return c.Key("", c.CLIENT_ID + CLIENT + number.to_bytes(8, "big"))


def request(key: c.Key = FREE, not_after_ms: int = 240_000, answered: c.Answered | None = None) -> c.Request:
    return c.Request(key, b"asked", not_after_ms, answered)


def acquire(*names: str, **fields: Any) -> c.Acquire:
    wants = tuple(c.Want(name, c.Mode.EXCLUSIVE) for name in names or ("a",))
    return c.Acquire(**{"call": CALL, "request": request(), "wants": wants} | fields)


def release(**fields: Any) -> c.Release:
    return c.Release(**{"call": CALL, "request": request()} | fields)


def answered(below: int, *ranges: tuple[int, int]) -> c.Acquire:
    return acquire(request=request(sequence(9), answered=c.Answered(below, ranges)))


@pytest.mark.parametrize(
    "command",
    [
        acquire("a" * 512),
        acquire("mysql://u@host:3306/db"),
        acquire("ä" * 256),
        acquire("no-break\u00a0space and \u200d joiner"),
        acquire(*(f"name{number}" for number in range(64))),
        acquire(ttl_ms=2_000, wait_ms=24 * 3600 * 1000, lock_delay_ms=60_000),
        acquire(wait_ms=-(2**62)),
        acquire(session=5, agent="x" * 128, reentrant=True),
        acquire(agent="no session"),
        acquire(metadata=(("k" * 96, "v" * 4000),)),
        acquire(owner="o" * 256, reason="r" * 512),
        answered(3, (4, 4), (6, 8)),
        answered(0, *((2 * number, 2 * number) for number in range(1, 65))),
        release(token=2**53 - 1),
        release(token=1, name="a", force=True, reason="stuck", owner="me"),
        release(session=5, name="a", agent="t1"),
        release(name="a", by_name=True),
        c.Cancel(call=CALL, key=sequence(1)),
        c.ListHolds(call=CALL, limit=1000),
        c.ListHolds(call=CALL, token=2**53 - 1),
        c.Register(call=CALL, kind=CLIENT_KIND, name="ä" * 128),
        c.Register(call=CALL, kind=RESOURCE, name="ä" * 256),
        c.Unregister(call=CALL, kind=RESOURCE, id=2**64 - 1),
        c.ListRegistered(call=CALL, kind=RESOURCE, limit=1000),
        c.OpenNode(call=CALL),
    ],
)
def test_what_is_within_its_bounds_passes(command):
    bounds.check(command, LIMITS)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (acquire(""), "name is empty; it takes 1 to 512 bytes"),
        (acquire("a" * 513), "name has 513 bytes; the bound is 512"),
        (acquire("ä" * 257), "name has 514 bytes; the bound is 512"),
        (acquire("a\nb"), "name has the control character U+000A at place 2"),
        (acquire("a\x85"), "name has the control character U+0085 at place 2"),
        (acquire("a", "b", "a"), "wants[2].name is there twice; a set names each lock once"),
        (acquire("a", ""), "wants[1].name is empty; it takes 1 to 512 bytes"),
        (acquire(*(str(number) for number in range(65))), "wants has 65 names; it takes 1 to 64"),
        (acquire(wants=()), "wants has 0 names; it takes 1 to 64"),
        (acquire(session=5, ttl_ms=5_000), "ttl_ms is 5000 beside a session_id; in a session the session's ttl counts"),
        (acquire(ttl_ms=1_999), "ttl_ms is 1999; it takes 0 (until it is unlocked) or 2000 to 86400000"),
        (acquire(ttl_ms=86_400_001), "ttl_ms is 86400001; it takes 0 (until it is unlocked) or 2000 to 86400000"),
        (acquire(wait_ms=86_400_001), "wait_ms is 86400001; it takes up to 86400000, or less than 0 for no bound"),
        (acquire(lock_delay_ms=60_001), "lock_delay_ms is 60001; the bound is 60000"),
        (acquire(reentrant=True, agent="t1"), "reentrant takes a session_id, an agent and exactly one name"),
        (acquire(reentrant=True, session=5), "reentrant takes a session_id, an agent and exactly one name"),
        (
            acquire("a", "b", reentrant=True, session=5, agent="t1"),
            "reentrant takes a session_id, an agent and exactly one name",
        ),
        (acquire(agent="x" * 129), "agent has 129 bytes; the bound is 128"),
        (acquire(owner="o" * 257), "owner has 257 bytes; the bound is 256"),
        (acquire(reason="r" * 513), "reason has 513 bytes; the bound is 512"),
        (acquire(metadata=(("k" * 97, "v" * 4000),)), "metadata has 4097 bytes; the bound is 4096"),
        (release(), "token is 0; it takes 1 to 9007199254740991"),
        (release(token=2**53), "token is 9007199254740992; it takes 1 to 9007199254740991"),
        (release(token=1, name="\x00"), "name has the control character U+0000 at place 1"),
        (release(session=5, name="a"), "agent is missing; by session it is the session, the agent and the name"),
        (release(session=5, agent="t1"), "name is empty; it takes 1 to 512 bytes"),
        (release(session=5, token=1), "token stands beside a session_id; a hold is named by one of them"),
        (release(session=5, name="a", agent="t1", force=True), "token is missing; force takes the token of the hold"),
        (c.Renew(call=CALL, caller="", token=1, ttl_ms=0), "ttl_ms is 0; it takes 2000 to 86400000"),
        (c.OpenSession(call=CALL, request=request(), ttl_ms=0), "ttl_ms is 0; it takes 2000 to 86400000"),
        (c.KeepAlive(call=CALL, caller="", session=0), "session_id is missing; it is what OpenSession answered"),
        (c.CloseSession(call=CALL, caller="", session=0), "session_id is missing; it is what OpenSession answered"),
        (c.IsLocked(call=CALL, name=""), "name is empty; it takes 1 to 512 bytes"),
        (c.Get(call=CALL, name="a", limit=1001), "limit is 1001; the bound is 1000"),
        (c.ListHolds(call=CALL, limit=1001), "limit is 1001; the bound is 1000"),
        (c.ListHolds(call=CALL, prefix="p" * 513), "prefix has 513 bytes; the bound is 512"),
        (c.ListHolds(call=CALL, token=2**53), "token is 9007199254740992; it takes 1 to 9007199254740991"),
        (c.Register(call=CALL, kind=CLIENT_KIND, name=""), "name is empty; it takes 1 to 256 bytes"),
        (c.Register(call=CALL, kind=CLIENT_KIND, name="n" * 257), "name has 257 bytes; the bound is 256"),
        (c.Register(call=CALL, kind=CLIENT_KIND, name="a\n"), "name has the control character U+000A at place 2"),
        (c.Register(call=CALL, kind=RESOURCE, name=""), "name is empty; it takes 1 to 512 bytes"),
        (c.Register(call=CALL, kind=RESOURCE, name="n" * 513), "name has 513 bytes; the bound is 512"),
        (c.Unregister(call=CALL, kind=RESOURCE, id=0), "id is missing; it is what Register answered"),
        (c.ListRegistered(call=CALL, kind=RESOURCE, limit=1001), "limit is 1001; the bound is 1000"),
        (c.ListRegistered(call=CALL, kind=RESOURCE, name="n" * 513), "name has 513 bytes; the bound is 512"),
        (
            c.ListRegistered(call=CALL, kind=RESOURCE, name="a", id=1),
            "id stands beside a name; an entry is found by one of them",
        ),
        (c.CheckToken(call=CALL, name="a", token=0), "token is 0; it takes 1 to 9007199254740991"),
        (c.Cancel(call=CALL, key=c.Key("", c.FREE_ID)), "request.id has 0 bytes; it takes 1 to 64"),
        (acquire(request=request(c.Key("", c.FREE_ID + bytes(65)))), "request.id has 65 bytes; it takes 1 to 64"),
        (acquire(request=request(not_after_ms=0)), "request.not_after_ms is missing; it is the last clock_ms that was"),
        (answered(0, *((2 * number, 2 * number) for number in range(1, 66))), "request.answered has 65 ranges"),
        (
            answered(5, (5, 2**64 - 1)),
            "request.answered[0].last is 18446744073709551615; the bound is ",
        ),
        (answered(2**63), "request.answered_below is 9223372036854775808; the bound is 9223372036854775807"),
        (answered(5, (4, 6)), "request.answered[0] is 4 to 6; ranges ascend, apart from each other"),
        (answered(5, (8, 7)), "request.answered[0] is 8 to 7; ranges ascend"),
        (answered(5, (6, 8), (8, 9)), "request.answered[1] is 8 to 9; ranges ascend"),
    ],
)
def test_what_is_not_is_refused_by_field_and_bound(command, message):
    with pytest.raises(Refused) as raised:
        bounds.check(command, LIMITS)
    assert raised.value.reason is Reason.INVALID_ARGUMENT
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("id", "client", "sequence", "message"),
    [
        (b"id", b"", 0, ""),
        (b"", CLIENT, 1, ""),
        (b"id", CLIENT, 1, "request.id stands beside a client and sequence; a request has one of them"),
        (b"", bytes(15), 1, "request.client has 15 bytes; it takes 16"),
        (b"", b"", 1, "request.client has 0 bytes; it takes 16"),
        (b"", CLIENT, 0, "request.sequence is 0; it takes 1 to 9223372036854775807"),
        (b"", CLIENT, 2**63, "request.sequence is 9223372036854775808; it takes 1 to 9223372036854775807"),
    ],
)
def test_a_request_id_has_one_of_two_forms(id, client, sequence, message):
    if not message:
        bounds.check_id(id, client, sequence)
        return
    with pytest.raises(Refused) as raised:
        bounds.check_id(id, client, sequence)
    assert str(raised.value) == message
