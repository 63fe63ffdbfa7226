"""Rules 1 and 4: who gets a lock, who frees it, and what a refusal leaves as it was."""

from dataclasses import replace

import pytest

from lockd.machine.commands import Barrier, Command, IsLocked, ListHolds
from lockd.machine.outcomes import (
    Ended,
    Granted,
    HeldByOther,
    Holder,
    LockedState,
    NotHeld,
    Outcome,
    Page,
    Passed,
    Refusal,
    Released,
)
from tests.machine.driver import CALL, lock, renew, request, unlock, unlock_by_name, whole


def test_a_free_name_is_granted(machine):
    assert machine.run(lock("jobs")) == Granted(token=1, lease_remaining_ms=0)
    assert machine.run(lock("mail", 5_000)) == Granted(token=2, lease_remaining_ms=5_000)


def test_a_held_name_is_refused_with_its_holder(machine):
    ask = replace(lock("jobs", 5_000, owner="ann@a:1"), reason="nightly", metadata=(("run", "7"), ("run", "8")))
    machine.run(ask, at=100)
    holder = Holder(
        name="jobs",
        token=1,
        owner="ann@a:1",
        acquired_ms=100,
        ttl_ms=5_000,
        lease_remaining_ms=4_000,
        reason="nightly",
        metadata=(("run", "7"), ("run", "8")),
    )
    assert machine.run(lock("jobs"), at=1_100) == HeldByOther((holder,))
    assert machine.run(IsLocked(call=CALL, name="jobs")) == LockedState((holder,))


def test_the_same_owner_conflicts_with_itself(machine):
    machine.run(lock("jobs", owner="ann"))
    assert isinstance(machine.run(lock("jobs", owner="ann")), HeldByOther)


def test_a_hold_without_a_lease_stays_until_it_is_released(machine):
    token = machine.hold("jobs")
    assert isinstance(machine.run(lock("jobs"), at=10**12), HeldByOther)
    assert machine.run(unlock(token)) == Released(token)
    assert isinstance(machine.run(lock("jobs")), Granted)


def test_commands_run_in_order_and_each_sees_what_the_ones_before_did(machine):
    first = machine.hold("jobs")
    done = machine.entry(lock("jobs"), unlock(first), lock("jobs"), IsLocked(call=CALL, name="jobs"))
    refused, released, granted, seen = (answer.outcome for answer in done.answers)
    assert isinstance(refused, HeldByOther)
    assert released == Released(first)
    assert granted == Granted(first + 1, 0)
    assert [holder.token for holder in seen.holders] == [first + 1]
    assert done.ended == (Ended(first, "jobs", expired=False),)


def test_each_answer_goes_to_its_own_call(machine):
    calls = [CALL._replace(number=number) for number in (5, 3, 9)]
    done = machine.entry(*(Barrier(call=call) for call in calls))
    assert [answer.call for answer in done.answers] == calls
    assert {answer.outcome for answer in done.answers} == {Passed()}


def test_tokens_strictly_rise_over_all_names_and_all_time(machine):
    tokens = []
    for turn in range(20):
        outcome = machine.run(lock(f"name {turn % 3}", ttl_ms=10 * (turn % 2)), at=turn)
        if isinstance(outcome, Granted):
            tokens.append(outcome.token)
            if turn % 3 == 0:
                machine.run(unlock(outcome.token))
    machine.begin(2)
    tokens.append(machine.hold("name 9"))
    assert len(tokens) > 8
    assert tokens == sorted(set(tokens))


def test_a_refusal_uses_up_no_token(machine):
    machine.hold("jobs")
    for _ in range(5):
        machine.run(lock("jobs"))
    assert machine.hold("mail") == 2


def test_a_token_with_another_name_frees_nothing(machine):
    token = machine.hold("jobs")
    outcome = machine.run(unlock(token, name="mail"))
    assert outcome == NotHeld()
    assert machine.run(unlock(token, name="jobs")) == Released(token)


def test_releasing_what_is_not_held_names_the_holder(machine):
    machine.run(lock("jobs", owner="ann"))
    outcome = machine.run(unlock(99, name="jobs"))
    assert isinstance(outcome, NotHeld)
    assert [holder.owner for holder in outcome.holders] == ["ann"]
    assert machine.run(unlock(99)) == NotHeld()


def test_a_released_token_is_no_longer_held(machine):
    token = machine.hold("jobs")
    machine.run(unlock(token))
    assert machine.run(unlock(token)) == NotHeld()
    assert machine.run(renew(token, 5_000)) == NotHeld()


# -- by name alone


def test_a_name_alone_frees_a_hold_that_came_in_by_name_without_a_lease(machine):
    token = machine.hold("jobs", by_name=True)
    assert machine.run(unlock_by_name("jobs")) == Released(token)
    assert list(machine.names()) == []


@pytest.mark.parametrize(("ttl_ms", "by_name"), [(0, False), (5_000, True), (5_000, False)])
def test_a_name_alone_frees_no_other_hold(machine, ttl_ms, by_name):
    token = machine.hold("jobs", ttl_ms, by_name=by_name)
    outcome = machine.run(unlock_by_name("jobs"))
    assert isinstance(outcome, NotHeld)
    assert [holder.token for holder in outcome.holders] == [token]
    assert machine.run(unlock(token)) == Released(token)


def test_a_token_beside_a_name_alone_counts_for_nothing(machine):
    token = machine.hold("jobs")
    assert isinstance(machine.run(replace(unlock_by_name("jobs"), token=token)), NotHeld)


def test_a_hold_that_came_in_by_name_can_be_freed_by_token(machine):
    token = machine.hold("jobs", by_name=True)
    assert machine.run(unlock(token)) == Released(token)


# -- what is refused changes nothing

LEASED, UNTIL_RELEASED = 1, 2  # the tokens that the test hands out first

REFUSED: list[tuple[Command, type[Outcome] | Refusal]] = [
    (lock("leased", 9_000), HeldByOther),
    (lock("until released", 9_000), HeldByOther),
    (unlock(99), NotHeld),
    (unlock(LEASED, name="until released"), NotHeld),
    (unlock_by_name("leased"), NotHeld),
    (unlock_by_name("until released"), NotHeld),
    (unlock_by_name("free"), NotHeld),
    (renew(99, 9_000), NotHeld),
    (renew(UNTIL_RELEASED, 9_000), Refusal.NO_LEASE),
    (lock("free", req=request(b"used", asked=b"something else")), Refusal.ID_REUSED),
    (unlock(LEASED, req=request(b"used", asked=b"something else")), Refusal.ID_REUSED),
    (lock("free", req=request(not_after_ms=99)), Refusal.TOO_OLD),
    (unlock(LEASED, req=request(not_after_ms=99)), Refusal.TOO_OLD),
    (IsLocked(call=CALL, name="leased"), LockedState),
    (ListHolds(call=CALL), Page),
    (Barrier(call=CALL), Passed),
]


@pytest.mark.parametrize(("command", "outcome"), REFUSED)
def test_what_is_refused_or_read_changes_nothing(machine, command, outcome):
    """Nothing but the record of its own request, which the refusals that a retry must see again leave."""
    machine.run(lock("leased", 5_000, req=request(b"used", asked=b"leased")))
    machine.hold("until released")
    machine.entry(at=100)
    before = whole(machine.state)
    done = machine.entry(command)
    answered = done.answers[0].outcome
    assert answered is outcome or isinstance(answered, outcome)
    assert done.ended == ()
    after = whole(machine.state)
    if recorded := isinstance(answered, HeldByOther | NotHeld) and hasattr(command, "request"):
        own = command.request.caller, command.request.id
        assert [change for change in after if change.key == own]
        after = [change for change in after if change.key != own]
    assert after == before
    assert len(machine.changed) == recorded


@pytest.mark.parametrize("command", [command for command, _ in REFUSED])
def test_a_stale_entry_does_none_of_it_either(machine, command):
    machine.begin(2)
    before = whole(machine.state)
    done = machine.entry(command, at=500, epoch=1)
    assert [answer.outcome for answer in done.answers] == [Refusal.STALE_EPOCH]
    assert whole(machine.state) == before
