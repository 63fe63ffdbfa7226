"""IsLocked, Get, List and CheckToken: what there is, in pages and with counts."""

import pytest

from lockd.machine.apply import read
from lockd.machine.commands import CheckToken, ListHolds
from lockd.machine.outcomes import LockState, Page, TokenState, Waiting
from tests.machine.driver import (
    EXCLUSIVE,
    SHARED,
    barrier,
    call,
    get,
    is_locked,
    lock,
    shared,
    unlock,
    whole,
)

NAMES = ["a", "a/1", "a/2", "a/2/x", "a0", "b", "é", "\uffff", "\U0001f512"]


# -- one lock


def test_what_nobody_holds_is_not_locked(machine):
    assert machine.run(is_locked("jobs")) == LockState()
    machine.run(unlock(machine.hold("jobs")))
    assert machine.run(is_locked("jobs")) == LockState()


def test_is_locked_counts_who_waits_and_get_lists_them(machine):
    machine.hold("jobs")
    machine.wait("jobs")
    seen = machine.run(is_locked("jobs"))
    assert (seen.holders_count, seen.waiters_count, seen.waiters) == (1, 1, ())
    assert len(machine.run(get("jobs")).waiters) == 1


def test_get_lists_holders_and_waiters_in_order(machine):
    for owner in ("ann", "bob"):
        machine.hold("jobs", mode=SHARED, owner=owner)
    machine.entry(at=100)
    session = machine.session()
    machine.wait("jobs", owner="eve", session=session, agent="t1", wait_ms=500, reason="why", metadata=(("k", "v"),))
    machine.wait(shared("jobs"), "mail", owner="dan")
    state = machine.lock_state("jobs")
    assert [(holder.owner, holder.mode) for holder in state.holders] == [("ann", SHARED), ("bob", SHARED)]
    assert state.waiters[0] == Waiting(
        name="jobs",
        mode=EXCLUSIVE,
        position=0,
        owner="eve",
        session=session,
        agent="t1",
        since_ms=100,
        until_ms=600,
        reason="why",
        metadata=(("k", "v"),),
        identity="ann",
    )
    assert [(waiting.owner, waiting.mode, waiting.position) for waiting in state.waiters[1:]] == [("dan", SHARED, 1)]
    assert (state.holders_count, state.waiters_count) == (2, 2)


def test_get_shows_a_bounded_number_of_each_and_counts_the_rest(machine):
    machine.entry(*(lock("jobs", mode=SHARED) for _ in range(5)))
    machine.entry(*(lock("jobs", wait_ms=-1) for _ in range(4)))
    state = machine.run(get("jobs", limit=2))
    assert [holder.token for holder in state.holders] == [1, 2]
    assert [waiting.position for waiting in state.waiters] == [0, 1]
    assert (state.holders_count, state.waiters_count) == (5, 4)


def test_answers_to_conflicts_show_a_bounded_number_of_holders(machine, monkeypatch):
    monkeypatch.setattr("lockd.machine.turn.HOLDERS_SHOWN", 3)
    machine.entry(*(lock("jobs", mode=SHARED) for _ in range(5)))
    machine.hold("mail")
    assert [holder.token for holder in machine.run(lock("mail", "jobs")).conflict.holders] == [6, 1, 2]


# -- tokens


def check(name, token):
    return CheckToken(call=call(), name=name, token=token)


def test_a_token_is_current_while_it_is_that_of_a_hold_of_this_name(machine):
    token = machine.hold("jobs", "mail")
    other = machine.hold("post")
    assert machine.run(check("mail", token)) == TokenState(True, machine.holders("mail"))
    assert machine.run(check("mail", other)) == TokenState(False, machine.holders("mail"))
    machine.run(unlock(token))
    assert machine.run(check("mail", token)) == TokenState(False)


def test_all_who_share_have_current_tokens(machine):
    tokens = [machine.hold("jobs", mode=SHARED) for _ in range(3)]
    assert [machine.run(check("jobs", token)).is_current for token in tokens] == [True] * 3


# -- lists


@pytest.fixture
def full(machine):
    for name in NAMES[::-1]:
        machine.hold(name, owner="ann" if "/" in name else "bob")
    return machine


@pytest.fixture
def listed(full):
    def page(**ask):
        outcome = full.run(ListHolds(call=call(), **ask))
        assert isinstance(outcome, Page)
        return [holder.name for holder in outcome.holders], outcome.next

    return page


def test_names_come_in_the_order_of_their_code_points(listed):
    """Which is that of their bytes in UTF-8."""
    assert listed() == (NAMES, "")
    assert sorted(NAMES, key=str.encode) == NAMES


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("a", ["a", "a/1", "a/2", "a/2/x", "a0"]),
        ("a/", ["a/1", "a/2", "a/2/x"]),
        ("a/2/x", ["a/2/x"]),
        ("a/3", []),
        ("zzz", []),
        ("\U0001f512", ["\U0001f512"]),
        ("\U0010ffff", []),
    ],
)
def test_a_prefix_is_plain_text(listed, prefix, found):
    assert listed(prefix=prefix) == (found, "")


@pytest.mark.parametrize(
    ("prefix", "after", "found"),
    [
        ("a/", "", ["a/1", "a/2", "a/2/x"]),
        ("a/", "a/1", ["a/2", "a/2/x"]),
        ("a/", "a/15", ["a/2", "a/2/x"]),
        ("a/", "a", ["a/1", "a/2", "a/2/x"]),
        ("a/", "a/2/x", []),
        ("a/", "b", []),
        ("b", "a", ["b"]),
        ("", "b", ["é", "\uffff", "\U0001f512"]),
    ],
)
def test_a_page_begins_after_a_name_that_need_not_be_held(listed, prefix, after, found):
    assert listed(prefix=prefix, after=after) == (found, "")


def test_pages_join_into_the_whole(listed):
    for limit in range(1, len(NAMES) + 2):
        found: list[str] = []
        after, more = "", "more"
        while more:
            names, more = listed(after=after, limit=limit)
            assert len(names) == limit or not more
            found, after = found + names, more
        assert found == NAMES


def test_a_full_last_page_says_that_nothing_follows(listed):
    assert listed(limit=len(NAMES)) == (NAMES, "")
    assert listed(limit=len(NAMES) - 1) == (NAMES[:-1], NAMES[-2])


def test_an_owner_filters_before_the_limit_counts(listed):
    assert listed(owner="ann", limit=3) == (["a/1", "a/2", "a/2/x"], "a/2/x")
    assert listed(owner="ann", limit=3, after="a/2/x") == ([], "")
    assert listed(owner="ann", limit=2) == (["a/1", "a/2"], "a/2")
    assert listed(owner="nobody") == ([], "")


def test_what_is_released_is_listed_no_more(full, listed):
    full.run(unlock(1), unlock(2))  # the last two names were taken first
    assert listed() == (NAMES[:-2], "")


def test_a_mode_filters_too(full, listed):
    full.hold("a/0", mode=SHARED)
    assert listed(mode=SHARED) == (["a/0"], "")
    assert listed(mode=EXCLUSIVE, prefix="a/") == (["a/1", "a/2", "a/2/x"], "")


def test_a_page_looks_at_so_many_names_and_says_where_to_go_on(listed, monkeypatch):
    """Else a list of an owner who holds nothing would look at every name in one entry, on every node."""
    monkeypatch.setattr("lockd.machine.reading.NAMES_PER_PAGE", 3)
    assert listed(owner="nobody") == ([], NAMES[2])
    assert listed(owner="nobody", after=NAMES[2]) == ([], NAMES[5])


def test_a_set_is_listed_under_each_of_its_names(machine):
    token = machine.hold("jobs", shared("mail"))
    (jobs, mail) = machine.run(ListHolds(call=call())).holders
    assert [(row.name, row.mode, row.token, row.names) for row in (jobs, mail)] == [
        ("jobs", EXCLUSIVE, token, 2),
        ("mail", SHARED, token, 2),
    ]


def test_waiters_are_listed_if_they_are_asked_for_and_count(machine):
    machine.hold("jobs", owner="ann")
    for owner in ("bob", "ann"):
        machine.wait("jobs", owner=owner)
    machine.hold("mail", owner="ann")
    assert machine.run(ListHolds(call=call())).waiters == ()
    page = machine.run(ListHolds(call=call(), with_waiters=True, limit=3))
    assert [(row.owner, row.position) for row in page.waiters] == [("bob", 0), ("ann", 1)]
    assert ([row.name for row in page.holders], page.next) == (["jobs"], "jobs")
    page = machine.run(ListHolds(call=call(), with_waiters=True, owner="ann"))
    assert [(row.owner, row.position) for row in page.waiters] == [("ann", 1)]


def test_of_one_name_at_most_limit_of_each_are_listed_that_were_asked_for(machine):
    machine.entry(*(lock("jobs", mode=SHARED, owner=owner) for owner in ("ann", "bob", "bob", "bob")))
    machine.entry(*(lock("jobs", wait_ms=-1, owner=owner) for owner in ("ann", "bob", "bob", "bob")))
    page = machine.run(ListHolds(call=call(), with_waiters=True, owner="bob", limit=2))
    assert [row.token for row in page.holders] == [2, 3]
    assert [row.position for row in page.waiters] == [1, 2]


def rows_of(machine, token, **ask):
    page = machine.run(ListHolds(call=call(), token=token, **ask))
    assert (page.waiters, page.next) == ((), "")
    return [(row.name, row.token) for row in page.holders]


def test_a_hold_is_found_by_its_token_alone(machine):
    machine.hold("jobs", mode=SHARED)
    token = machine.hold("jobs", mode=SHARED, owner="ann")
    machine.hold("mail")
    assert rows_of(machine, token) == [("jobs", token)]
    (row,) = machine.run(ListHolds(call=call(), token=token)).holders
    assert row == machine.holders("jobs")[1]
    assert rows_of(machine, token, owner="ann", mode=SHARED, prefix="jo", with_waiters=True) == [("jobs", token)]
    for other in ({"owner": "bob"}, {"mode": EXCLUSIVE}, {"prefix": "ma"}, {"after": "jobs"}):
        assert rows_of(machine, token, **other) == []
    machine.run(unlock(token))
    assert rows_of(machine, token) == rows_of(machine, 99) == []


def test_a_hold_of_a_set_is_found_under_all_of_its_names_whatever_the_limit(machine):
    names = [f"{number:02}" for number in range(64)]
    token = machine.hold(*names[::-1])
    machine.wait("00")
    assert rows_of(machine, token, limit=1, with_waiters=True) == [(name, token) for name in names]


def test_a_name_that_only_rests_is_passed_over(machine):
    machine.hold("jobs", ttl_ms=10, lock_delay_ms=1_000)
    machine.entry(at=11)
    assert list(machine.names()) == ["jobs"]
    assert machine.run(ListHolds(call=call())) == Page(())


# -- without the log


of_token = ListHolds(call=call(), token=1)


@pytest.mark.parametrize(
    "ask", [is_locked("jobs"), get("jobs"), check("jobs", 1), ListHolds(call=call()), barrier(), of_token]
)
def test_a_read_is_answered_alike_from_the_state_alone(machine, ask):
    machine.hold("jobs", owner="ann")
    machine.wait("jobs")
    before = whole(machine.state)
    assert read(machine.state, ask) == machine.run(ask)
    assert whole(machine.state) == before
