"""Rules 1, 2 and 4: who gets a lock, and in which order."""

import pytest

from lockd.machine.outcomes import Conflict, Deadlock, Granted, HeldByOther, Holder, LockState, Passed, Queued
from tests.machine.driver import (
    EXCLUSIVE,
    SHARED,
    barrier,
    cancel,
    exclusive,
    granted,
    grants,
    is_locked,
    lock,
    outcomes,
    read_lock,
    shared,
    unlock,
)

X, S = EXCLUSIVE, SHARED


def test_a_free_name_is_granted(machine):
    assert machine.run(lock("jobs")) == Granted(token=1, lease_remaining_ms=0)
    assert machine.run(lock("mail", ttl_ms=5_000)) == Granted(token=2, lease_remaining_ms=5_000)


def test_without_a_wait_a_held_name_is_refused_with_its_holder(machine):
    machine.run(
        lock("jobs", ttl_ms=5_000, owner="ann@a:1", reason="nightly", metadata=(("run", "7"), ("run", "8"))), at=100
    )
    holder = Holder(
        name="jobs",
        mode=X,
        token=1,
        owner="ann@a:1",
        session=0,
        agent="",
        acquired_ms=100,
        ttl_ms=5_000,
        lease_remaining_ms=4_000,
        reason="nightly",
        metadata=(("run", "7"), ("run", "8")),
        count=1,
        names=1,
        identity="ann",
    )
    assert machine.run(lock("jobs"), at=1_100) == HeldByOther(Conflict((holder,)))
    assert machine.run(is_locked("jobs")) == LockState((holder,), holders_count=1)


@pytest.mark.parametrize(
    ("held", "asked", "is_granted"), [(S, S, True), (S, X, False), (X, S, False), (X, X, False)], ids=str
)
def test_many_share_or_one_excludes(machine, held, asked, is_granted):
    machine.hold("jobs", mode=held)
    assert granted(machine.run(lock("jobs", mode=asked))) is is_granted


def test_the_same_owner_conflicts_with_itself(machine):
    machine.hold("jobs", owner="ann")
    assert isinstance(machine.run(lock("jobs", owner="ann")), HeldByOther)


def test_a_hold_without_a_lease_stays_until_it_is_released(machine):
    token = machine.hold("jobs")
    assert isinstance(machine.run(lock("jobs"), at=10**12), HeldByOther)
    machine.run(unlock(token))
    assert granted(machine.run(lock("jobs")))


def test_commands_run_in_order_and_each_sees_what_the_ones_before_did(machine):
    first = machine.hold("jobs")
    applied = machine.entry(lock("jobs"), unlock(first), lock("jobs"), is_locked("jobs"))
    refused, _, second, seen = outcomes(applied)
    assert isinstance(refused, HeldByOther)
    assert second == Granted(first + 1, 0)
    assert [holder.token for holder in seen.holders] == [first + 1]


def test_each_answer_goes_to_its_own_call(machine):
    asked = [barrier() for _ in range(3)]
    applied = machine.entry(*reversed(asked))
    assert [answer.call for answer in applied.answers] == [ask.call for ask in reversed(asked)]
    assert outcomes(applied) == [Passed()] * 3


# -- tokens


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


# -- queues: first come, first served


def test_a_release_grants_to_the_one_who_waits_in_the_same_entry(machine):
    token = machine.hold("jobs")
    waiting = machine.wait("jobs")
    machine.run(unlock(token))
    assert machine.answers[waiting.call] == [Queued(0), Granted(token + 1, 0)]


def test_waiters_are_granted_in_the_order_in_which_they_came(machine):
    token = machine.hold("jobs")
    waiting = [machine.wait("jobs") for _ in range(5)]
    for ask in waiting:
        machine.run(unlock(token))
        token += 1
        assert machine.last_answer(ask) == Granted(token, 0)
    assert machine.tokens("jobs") == [token]


def test_the_queue_tells_each_its_place(machine):
    machine.hold("jobs")
    places = [machine.run(lock("jobs", wait_ms=-1)) for _ in range(3)]
    assert places == [Queued(0), Queued(1), Queued(2)]


def test_whoever_tries_does_not_pass_those_who_wait(machine):
    machine.hold("jobs", mode=S)
    machine.wait("jobs", mode=X)
    assert machine.run(read_lock("jobs")) == HeldByOther(Conflict(machine.holders("jobs"), waiters=1))


def test_a_writer_is_not_starved_by_readers(machine):
    """Readers that come after a waiting writer wait behind it, though they could share with those who read now."""
    reader = machine.hold("jobs", mode=S)
    writer = machine.wait("jobs", mode=X)
    later = machine.wait("jobs", mode=S)
    machine.run(unlock(reader))
    assert granted(machine.last_answer(writer))
    assert machine.waits(later)


def test_readers_in_a_row_are_granted_together_up_to_the_next_writer(machine):
    token = machine.hold("jobs")
    modes = [S, S, X, S]
    waiting = [machine.wait("jobs", mode=mode) for mode in modes]
    applied = machine.entry(unlock(token))
    assert len(grants(applied)) == 2
    assert [machine.waits(ask) for ask in waiting] == [False, False, True, True]
    applied = machine.entry(unlock(token + 1))
    assert grants(applied) == []
    applied = machine.entry(unlock(token + 2))
    assert grants(applied) == [token + 3]


def test_a_writer_who_gives_up_lets_the_readers_behind_it_in(machine):
    machine.hold("jobs", mode=S)
    writer, reader = machine.wait("jobs", mode=X), machine.wait("jobs", mode=S)
    machine.run(cancel(writer))
    assert granted(machine.last_answer(reader))


def test_each_command_serves_the_queues_before_the_next_one_runs(machine):
    """Else whoever tries in the same entry would take what one who waits has a right to."""
    token = machine.hold("jobs")
    waiting = machine.wait("jobs")
    refused = machine.run(unlock(token), lock("jobs"))
    assert isinstance(refused, HeldByOther)
    assert granted(machine.last_answer(waiting))


def test_what_time_ends_is_served_in_arrival_order_before_the_commands_run(machine):
    """Two leases end in one entry, the later one on the name for which the first waiter waits."""
    machine.hold("jobs", ttl_ms=2_000)
    machine.hold("mail", ttl_ms=1_000)
    first, second = machine.wait("jobs"), machine.wait("mail")
    refused = machine.run(lock("jobs"), at=5_000)
    assert isinstance(refused, HeldByOther)
    assert [machine.last_answer(ask).token for ask in (first, second)] == [3, 4]


# -- sets: one request for several names


def test_a_set_is_granted_whole_with_one_token(machine):
    token = machine.hold("jobs", shared("mail"), "post")
    assert [(holder.token, holder.mode, holder.names) for holder in machine.holders("mail")] == [(token, S, 3)]
    assert machine.tokens("jobs") == machine.tokens("post") == [token]
    assert machine.hold("others") == token + 1


def test_a_set_is_freed_whole(machine):
    token = machine.hold("jobs", "mail")
    machine.run(unlock(token))
    assert list(machine.names()) == []


def test_a_set_of_which_one_name_is_held_takes_none(machine):
    token = machine.hold("mail")
    refused = machine.run(lock("jobs", "mail"))
    assert [holder.token for holder in refused.conflict.holders] == [token]
    assert granted(machine.run(lock("jobs")))


def test_a_set_that_waits_holds_nothing_and_has_its_place_on_every_name(machine):
    machine.hold("mail")
    machine.wait("jobs", "mail")
    state = machine.lock_state("jobs")
    assert state.holders == ()
    assert [waiting.position for waiting in state.waiters] == [0]


def test_a_set_is_not_starved_by_those_who_want_one_of_its_names(machine):
    """Its place stops whoever comes later, even on the name that is free."""
    token = machine.hold("mail")
    both = machine.wait("jobs", "mail")
    single = machine.wait("jobs")
    assert isinstance(machine.run(lock("jobs")), HeldByOther)
    machine.run(unlock(token))
    assert granted(machine.last_answer(both))
    assert machine.waits(single)


def test_a_set_stops_only_what_it_is_incompatible_with(machine):
    machine.hold("mail")
    machine.wait(shared("jobs"), "mail")
    assert granted(machine.run(read_lock("jobs")))


def test_a_set_waits_until_the_last_of_its_names_is_free(machine):
    first, second = machine.hold("jobs"), machine.hold("mail")
    both = machine.wait("mail", "jobs")
    machine.run(unlock(second))
    assert machine.waits(both)
    machine.run(unlock(first))
    assert granted(machine.last_answer(both))


def test_a_set_does_not_pass_whoever_is_ahead_of_it_on_another_of_its_names(machine):
    """Not even one that only reads there, and that is held up elsewhere."""
    machine.hold("jobs")
    machine.hold("post")
    ahead = machine.wait(shared("mail"), "post")
    both = machine.wait("jobs", "mail")
    machine.run(unlock(1))
    assert machine.waits(ahead)
    assert machine.waits(both)
    machine.run(unlock(2))
    assert granted(machine.last_answer(ahead))
    assert machine.waits(both)


def test_a_set_that_leaves_lets_all_of_its_queues_go_on(machine):
    machine.hold("post")
    both = machine.wait("jobs", "mail", "post")
    behind = [machine.wait("jobs"), machine.wait("mail"), machine.wait("post")]
    machine.run(cancel(both))
    assert [granted(machine.last_answer(ask)) for ask in behind] == [True, True, False]


def test_sets_in_any_order_of_names_neither_block_each_other_nor_deadlock(machine):
    sets = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "b", "a")]
    waiting = [lock(*names, wait_ms=-1) for names in sets]
    assert not any(isinstance(outcome, Deadlock) for outcome in outcomes(machine.entry(*waiting)))
    order: list[int] = []
    while len(order) < len(sets):
        (token,) = {token for name in "abc" for token in machine.tokens(name)}
        order.append(token)
        machine.run(unlock(token))
    assert order == [1, 2, 3, 4]


def test_the_place_of_a_set_counts_over_all_its_queues(machine):
    machine.hold("jobs", "mail")
    machine.wait("jobs")
    machine.wait("jobs", exclusive("mail"))
    assert machine.run(lock("jobs", "mail", "post", wait_ms=-1)) == Queued(3)
