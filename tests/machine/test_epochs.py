"""Whose entries count: epochs, their terms and their stamps."""

import pytest

from lockd.machine.apply import counts
from lockd.machine.commands import Batch
from lockd.machine.outcomes import Answer, Applied, Granted, Passed, Refusal
from tests.machine.driver import Machine, barrier, cancel, ended, lock, outcomes, renew, whole


def test_a_new_machine_takes_no_batch_before_an_epoch_begins():
    machine = Machine(epoch=0)  # BeginEpoch(0) is not greater than the epoch of an empty state
    assert machine.epoch == 0
    assert outcomes(machine.entry(lock("jobs"), at=10, epoch=1)) == [Refusal.STALE_EPOCH]


def test_an_epoch_begins_with_the_term_of_its_leader(machine):
    machine.begin(7, version=3)
    assert (machine.epoch, machine.state.scalars.version) == (7, 3)


def test_beginning_an_epoch_moves_no_clock_and_ends_nothing(machine):
    machine.hold("jobs", ttl_ms=1_000)
    machine.entry(at=900)
    before = whole(machine.state)[1:]
    assert machine.begin(2) == Applied()
    assert machine.clock_ms == 900
    assert whole(machine.state)[1:] == before


@pytest.mark.parametrize(
    ("epoch", "append_term"),
    [(5, 5), (4, 4), (4, 5), (6, 5), (6, 7), (9, 5)],
    ids=["repeated", "older", "older, late", "appended before", "appended after", "far ahead"],
)
def test_a_beginning_that_is_repeated_or_older_or_of_another_term_changes_nothing(epoch, append_term):
    machine = Machine(epoch=5)
    machine.hold("jobs", ttl_ms=1_000)
    machine.entry(at=900)
    before = whole(machine.state)
    assert machine.begin(epoch, version=9, append_term=append_term) == Applied()
    assert whole(machine.state) == before
    assert machine.changed == []


def test_the_version_never_falls(machine):
    seen = []
    for epoch, version in enumerate((1, 3, 2, 3, 4, 1), start=2):
        machine.begin(epoch, version=version)
        seen.append(machine.state.scalars.version)
    assert seen == [1, 3, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("epoch", "append_term"),
    [(4, 4), (4, 5), (5, 6), (6, 6), (6, 5), (5, 4)],
    ids=["old", "old, late", "ours, late", "not begun", "not begun, early", "ours, early"],
)
def test_an_entry_of_another_epoch_or_term_changes_nothing_not_even_the_clock(epoch, append_term):
    machine = Machine(epoch=5)
    token = machine.hold("jobs", ttl_ms=1_000)
    before = whole(machine.state)
    commands = lock("mail"), renew(token, 9_000), cancel(lock("mail")), barrier()
    applied = machine.entry(*commands, at=5_000, epoch=epoch, append_term=append_term)
    assert applied == Applied(tuple(Answer(command.call, Refusal.STALE_EPOCH) for command in commands))
    assert whole(machine.state) == before
    assert not counts(machine.state, Batch(epoch=epoch, stamp_ms=5_000), append_term)


def test_a_stale_command_can_be_sent_again_under_its_id(machine):
    """STALE_EPOCH is not recorded: the node that took the command asks the next leader."""
    machine.begin(2)
    ask = lock("jobs")
    machine.entry(ask, epoch=1)
    assert machine.run(ask) == Granted(1, 0)


def test_the_clock_is_the_highest_stamp_that_counted(machine):
    for stamp_ms, clock_ms in ((100, 100), (99, 100), (100, 100), (101, 101), (0, 101)):
        machine.entry(at=stamp_ms)
        assert machine.clock_ms == clock_ms


def test_an_entry_that_moves_nothing_writes_nothing(machine):
    machine.entry(at=100)
    assert [change.table for change in machine.changed] == ["scalars"]
    assert outcomes(machine.entry(barrier(), at=100)) == [Passed()]
    assert machine.changed == []


def test_a_lease_goes_on_over_a_change_of_leader(machine):
    """Time without a leader is not counted: the new one goes on from the clock that it found."""
    token = machine.hold("jobs", ttl_ms=1_000)
    machine.entry(at=600)
    machine.begin(2)
    machine.entry(at=900)
    machine.begin(3)
    assert ended(machine.entry(at=1_000)) == []
    assert ended(machine.entry(at=1_001)) == [token]


def test_so_do_a_wait_a_delay_and_a_session(machine):
    machine.hold("jobs", ttl_ms=500, lock_delay_ms=1_000)
    waiting = machine.wait("jobs", wait_ms=1_500, session=machine.session(1_500))
    machine.entry(at=501)
    machine.begin(2)
    machine.entry(at=1_500)
    assert machine.waits(waiting)
    machine.entry(at=1_501)
    assert not machine.waits(waiting)
    assert list(machine.names()) == ["jobs"]
    machine.entry(at=1_502)
    assert list(machine.names()) == []


def test_a_beginning_serves_nobody_and_the_next_entry_does(machine):
    """Nothing is due before the new leader's clock goes on."""
    machine.hold("jobs", ttl_ms=500)
    waiting = machine.wait("jobs")
    machine.entry(at=500)
    assert machine.begin(2) == Applied()
    assert machine.waits(waiting)
    machine.entry(at=501)
    assert machine.last_answer(waiting) == Granted(2, 0, waited_ms=501)
