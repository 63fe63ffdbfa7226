"""IsLocked and ListHolds: what is held, in pages."""

import pytest

from lockd.machine.commands import IsLocked, ListHolds
from lockd.machine.outcomes import LockedState, Page
from tests.machine.driver import CALL, lock, unlock

NAMES = ["a", "a/1", "a/2", "a/2/x", "a0", "b", "é", "\uffff", "\U0001f512"]


@pytest.fixture
def full(machine):
    for name in NAMES[::-1]:
        machine.run(lock(name, owner="ann" if "/" in name else "bob"))
    return machine


@pytest.fixture
def listed(full):
    def page(**ask):
        outcome = full.run(ListHolds(call=CALL, **ask))
        assert isinstance(outcome, Page)
        return [holder.name for holder in outcome.holders], outcome.next

    return page


def test_what_is_not_held_is_not_locked(machine):
    assert machine.run(IsLocked(call=CALL, name="jobs")) == LockedState(())
    machine.run(unlock(machine.hold("jobs")))
    assert machine.run(IsLocked(call=CALL, name="jobs")) == LockedState(())


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


def test_a_page_looks_at_so_many_names_and_says_where_to_go_on(listed, monkeypatch):
    """Else a list of an owner who holds nothing would look at every name in one entry, on every node."""
    monkeypatch.setattr("lockd.machine.apply.NAMES_PER_PAGE", 3)
    assert listed(owner="nobody") == ([], NAMES[2])
    assert listed(owner="nobody", after=NAMES[2]) == ([], NAMES[5])
