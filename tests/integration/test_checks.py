"""What the scenarios hold answers against finds what it looks for."""

import pytest

from lockd_client import Event, EventKind, Mode
from tests.integration.checks import check_grants, spread
from tests.integration.contender import Grant
from tests.integration.turns import check_nobody_is_passed, turns_of


def test_grants_that_follow_each_other_pass():
    check_grants([Grant("a", 1, 1.0, 2.0), Grant("b", 2, 1.5, None), Grant("a", 3, 2.1, None)])


@pytest.mark.parametrize(
    ("grants", "said"),
    [
        ([Grant("a", 1, 1.0, 2.0), Grant("b", 1, 3.0, 4.0)], "a token was given out twice"),
        ([Grant("a", 1, 1.0, 2.0), Grant("a", 2, 1.9, 3.0)], "two held a at once"),
        ([Grant("a", 1, 1.0, None), Grant("a", 2, 2.0, 3.0)], "was never let go"),
        ([Grant("a", 2, 1.0, 2.0), Grant("a", 1, 3.0, 4.0)], "token 1 came after 2"),
    ],
)
def test_grants_that_contradict_each_other_do_not(grants, said):
    with pytest.raises(AssertionError, match=said):
        check_grants(grants)


def test_a_spread_is_said_in_milliseconds():
    assert spread([0.002, 0.5, 0.025]) == "median 25 ms, 2 ms to 500 ms"


# ---- turns, as events tell them


def event(revision: int, kind: EventKind, owner: str, *names: str, mode: Mode = Mode.EXCLUSIVE) -> Event:
    return Event(
        revision=revision,
        kind=kind,
        wants=tuple((name, mode) for name in names),
        clock_ms=10 * revision,
        token=revision,
        owner=owner,
        session_id=0,
        reason="",
        by="",
    )


def waiting(revision: int, owner: str, *names: str, mode: Mode = Mode.EXCLUSIVE) -> Event:
    return event(revision, EventKind.WAITING, owner, *names, mode=mode)


def granted(revision: int, owner: str, *names: str, mode: Mode = Mode.EXCLUSIVE) -> Event:
    return event(revision, EventKind.GRANTED, owner, *names, mode=mode)


def test_turns_are_in_the_order_of_arrival():
    turns = turns_of([granted(1, "at once", "a"), waiting(2, "waits", "a"), granted(5, "waits", "a")])
    assert [(turn.owner, turn.arrived, turn.granted, turn.waited_s) for turn in turns] == [
        ("at once", 1, 1, 0.0),
        ("waits", 2, 5, 0.03),
    ]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([waiting(1, "one", "a")], "one"),
        ([waiting(1, "one", "a"), waiting(2, "one", "a")], "lost its place"),
        ([granted(1, "one", "a"), granted(2, "one", "a")], "granted twice"),
        ([waiting(1, "one", "a"), event(2, EventKind.LEFT, "one", "a")], "LEFT"),
    ],
)
def test_who_has_no_turn_or_two_is_found(events, said):
    with pytest.raises(AssertionError, match=said):
        turns_of(events)


@pytest.mark.parametrize(
    ("passing", "is_passed"),
    [
        (granted(2, "late", "a"), True),
        (granted(2, "late", "a", mode=Mode.SHARED), True),
        (granted(2, "late", "b", "c"), False),
        (granted(4, "late", "a"), False),
    ],
)
def test_a_request_that_passes_a_waiting_set_is_found(passing, is_passed):
    events = sorted([waiting(1, "set", "a", "d"), granted(3, "set", "a", "d"), passing], key=lambda one: one.revision)
    turns = turns_of(events)
    if is_passed:
        with pytest.raises(AssertionError, match="late passed set"):
            check_nobody_is_passed(turns)
    else:
        assert check_nobody_is_passed(turns) == 0


def test_readers_pass_a_reader():
    turns = turns_of(
        [
            waiting(1, "one", "a", mode=Mode.SHARED),
            granted(2, "two", "a", mode=Mode.SHARED),
            granted(3, "one", "a", mode=Mode.SHARED),
        ]
    )
    assert check_nobody_is_passed(turns) == 0
