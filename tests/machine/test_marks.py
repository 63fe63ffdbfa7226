"""Rule 7: what a client says about the answers that it has, and what is kept of it."""

import pytest

from lockd.machine.commands import Answered
from lockd.machine.constants import RECORD_KEEP_MS
from lockd.machine.outcomes import Cancelled, Granted, Queued, Refusal, Released
from tests.machine.driver import (
    again,
    cancel,
    client_key,
    free_key,
    granted,
    lock,
    open_session,
    request,
    unlock,
    withdraw,
)


def asked(sequence, *, below=None, ranges=(), client=1):
    """A request of a client, which says what it has the answers of; below=None: it says nothing."""
    answered = None if below is None else Answered(below, ranges)
    return request(client_key(sequence, client=client), answered=answered)


def on_record(machine, client=1):
    return [key.sequence for key in machine.state.records if key.client == client.to_bytes(16, "big")]


@pytest.fixture
def five(machine):
    """Sequences 0 to 4 have been answered."""
    for sequence in range(5):
        machine.run(lock(f"{sequence}", req=asked(sequence)))
    return machine


def mark(machine, client=1):
    return next(mark.answered for mark in machine.state.marks.values() if mark.client == client.to_bytes(16, "big"))


def test_records_below_a_mark_go(five):
    five.run(lock("jobs", req=asked(9, below=3)))
    assert on_record(five) == [3, 4, 9]


def test_records_in_ranges_above_it_go_too(five):
    five.run(lock("jobs", req=asked(9, below=1, ranges=((2, 3),))))
    assert on_record(five) == [1, 4, 9]


def test_what_was_answered_is_refused_and_its_hold_stays(five):
    five.run(lock("jobs", req=asked(9, below=1, ranges=((3, 3),))))
    for sequence, outcome in ((0, Refusal.ANSWERED), (3, Refusal.ANSWERED), (2, Granted(3, 0))):
        assert five.run(lock(f"{sequence}", req=asked(sequence))) == outcome
    assert five.tokens("0") == [1]


@pytest.mark.parametrize("make", [unlock, lambda token, *, req: open_session(req=req)], ids=["release", "open session"])
def test_it_holds_for_every_request_with_an_id(five, make):
    assert five.run(make(1, req=asked(0, below=1))) is Refusal.ANSWERED
    assert five.tokens("0") == [1]


def test_a_message_may_say_that_it_is_answered_itself(five):
    assert five.run(lock("jobs", req=asked(9, below=10))) is Refusal.ANSWERED
    assert five.tokens("jobs") == []


def test_a_mark_never_falls(five):
    five.run(lock("jobs", req=asked(9, below=3)))
    five.run(lock("mail", req=asked(10, below=1)))
    assert mark(five) == Answered(3)
    assert five.run(lock("2", req=asked(2))) is Refusal.ANSWERED


def test_marks_join(machine):
    said = [(0, ((2, 3),)), (0, ((5, 5),)), (1, ()), (0, ((4, 4), (9, 9))), (2, ((7, 8),))]
    marks = []
    for sequence, (below, ranges) in enumerate(said, start=20):
        machine.run(lock("jobs", req=asked(sequence, below=below, ranges=ranges)))
        marks.append(mark(machine))
    assert marks == [
        Answered(0, ((2, 3),)),
        Answered(0, ((2, 3), (5, 5))),
        Answered(1, ((2, 3), (5, 5))),
        Answered(1, ((2, 5), (9, 9))),
        Answered(6, ((7, 9),)),
    ]


def test_ranges_are_bounded_and_what_is_beyond_is_said_again_later(five, monkeypatch):
    """Only the mark itself rises; those records stay."""
    monkeypatch.setattr("lockd.machine.requests.MARK_RANGES_MAX", 1)
    five.run(lock("jobs", req=asked(9, below=1, ranges=((2, 2), (4, 4)))))
    assert mark(five) == Answered(1)
    assert on_record(five) == [1, 2, 3, 4, 9]
    five.run(lock("mail", req=asked(10, below=4)))
    assert on_record(five) == [4, 9, 10]


def test_a_mark_that_jumps_far_costs_no_more_than_what_is_on_record(five):
    five.run(lock("jobs", req=asked(2**63, below=2**62)))
    assert on_record(five) == [2**63]


def test_a_mark_is_of_one_client_of_one_caller(five):
    five.run(lock("jobs", req=asked(9, below=5, client=2)))
    assert on_record(five) == [0, 1, 2, 3, 4]
    assert five.run(lock("0", req=asked(0))) == Granted(1, 0)


def test_ids_of_free_form_have_no_mark(five):
    free = request(free_key(b"free"))
    ask = lock("jobs", req=free)
    five.run(ask)
    five.run(lock("mail", req=asked(9, below=100)))
    assert granted(five.run(again(ask)))


def test_whoever_waits_keeps_its_record_and_its_place(machine):
    """Such a client is wrong, or lies: its request waits on, and its later attempts are refused."""
    token = machine.hold("jobs")
    ask = lock("jobs", wait_ms=-1, req=asked(1))
    machine.run(ask)
    machine.run(lock("mail", req=asked(2, below=2)))
    assert machine.waits(ask)
    assert machine.run(again(ask)) is Refusal.ANSWERED
    assert machine.run(cancel(ask)) is Refusal.ANSWERED
    machine.run(unlock(token))
    assert granted(machine.last_answer(ask))


def test_cancelling_what_was_answered_is_refused(five):
    five.run(lock("jobs", req=asked(9, below=1)))
    assert five.run(cancel(client_key(0))) is Refusal.ANSWERED
    assert five.run(cancel(client_key(1))) == Cancelled()
    assert five.tokens("0") == [1]


def test_a_withdrawal_of_what_was_answered_changes_nothing(machine):
    ask = lock("jobs", req=asked(0))
    machine.run(ask)
    machine.run(lock("mail", req=asked(1, below=1)))
    machine.run(withdraw(ask))
    assert machine.tokens("jobs") == [1]


def test_a_mark_goes_a_while_after_the_last_message_that_carried_one(machine):
    machine.run(lock("jobs", req=asked(0, below=1)))
    machine.run(lock("jobs", req=asked(5, below=1)), at=1_000)
    machine.entry(at=1_000 + RECORD_KEEP_MS)
    assert len(machine.state.marks) == 1
    machine.entry(at=1_001 + RECORD_KEEP_MS)
    assert machine.state.marks == {}


def test_a_mark_is_heeded_whatever_becomes_of_its_request(five):
    """Here the request is repeated, refused as too old, and waits."""
    five.run(lock("3", req=asked(3, below=1)))
    assert on_record(five) == [1, 2, 3, 4]
    five.entry(at=1_000)
    too_old = request(client_key(9), not_after_ms=999, answered=Answered(2))
    assert five.run(unlock(1, req=too_old)) is Refusal.TOO_OLD
    assert on_record(five) == [2, 3, 4]
    assert five.run(lock("4", wait_ms=-1, req=asked(10, below=3))) == Queued(0)
    assert on_record(five) == [3, 4, 10]


def test_a_hold_whose_record_has_gone_is_released_as_any_other(five):
    five.run(lock("jobs", req=asked(9, below=5)))
    assert five.run(unlock(1)) == Released(1)
