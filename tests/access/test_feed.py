"""The feed: what watchers are given, and when they are told that they cannot be given it."""

import asyncio

import pytest

from lockd.access.feed import Feed, Watcher
from lockd.access.refusal import Reason, Refused
from lockd.machine.commands import Mode, Want
from lockd.machine.outcomes import Event, What


def event(revision: int, *names: str) -> Event:
    wants = tuple(Want(name, Mode.EXCLUSIVE) for name in names)
    return Event(revision=revision, what=What.GRANTED, wants=wants, clock_ms=0)


def fed(*names: str, kept_max: int = 100, watchers_max: int = 10) -> Feed:
    """A feed in which each of the names was granted once."""
    feed = Feed(0, kept_max, watchers_max)
    for name in names:
        publish(feed, name)
    return feed


def publish(feed: Feed, *names: str) -> None:
    feed.publish((event(feed.revision + 1, *names),), feed.revision + 1)


def revisions(watcher: Watcher) -> list[int]:
    events, _ = watcher.take()
    return [event.revision for event in events]


def test_a_watcher_is_given_what_happens_to_names_of_its_prefix():
    feed = fed()
    all, jobs, disks = feed.watch("", 0), feed.watch("jobs/", 0), feed.watch("disks", 0)
    publish(feed, "jobs/a")
    publish(feed, "jobs")
    publish(feed, "disks/1", "jobs/a")
    publish(feed, "jobs/a", "jobs/b")
    assert revisions(all) == [1, 2, 3, 4]
    assert revisions(jobs) == [1, 3, 4], "a set of names once, by any of them"
    assert revisions(disks) == [3]


def test_a_watcher_may_begin_in_the_past_or_in_the_future():
    feed = fed("a", "b", "a")
    past, now, future = feed.watch("a", 1), feed.watch("a", 0), feed.watch("a", 5)
    for _ in range(3):
        publish(feed, "a")
    assert revisions(past) == [1, 3, 4, 5, 6]
    assert revisions(now) == [4, 5, 6]
    assert revisions(future) == [5, 6]


def test_what_is_not_kept_any_more_is_compacted():
    feed = fed(*"abcdef", kept_max=3)
    assert revisions(feed.watch("", 4)) == [4, 5, 6]
    with pytest.raises(Refused, match="revision 3 is not kept any more: this node has 4 and later ones") as raised:
        feed.watch("", 3)
    assert raised.value.reason is Reason.COMPACTED


def test_a_node_that_has_restarted_keeps_nothing_of_before():
    feed = Feed(7, 100, 10)
    assert feed.first == 8
    with pytest.raises(Refused):
        feed.watch("", 7)
    assert feed.watch("", 8).take() == ([], 7)


def test_a_watcher_that_falls_behind_is_told_so_and_given_nothing_more():
    feed = fed(kept_max=3)
    slow = feed.watch("", 0)
    for name in "abcd":
        publish(feed, name)
    with pytest.raises(Refused, match="fell more than 3 events behind") as raised:
        asyncio.run(slow.next())
    assert raised.value.reason is Reason.COMPACTED


@pytest.mark.parametrize("events", [(), (event(9, "a"),)])
def test_a_gap_in_revisions_ends_every_watcher(events):
    """A snapshot was installed: what happened on the way is not known here."""
    feed = fed("a", "b")
    watcher = feed.watch("", 0)
    feed.publish(events, 9)
    with pytest.raises(Refused, match=f"does not know what happened up to revision {9 - len(events)}"):
        asyncio.run(watcher.next())
    assert (feed.revision, feed.first) == (9, 10 - len(events))
    assert revisions(feed.watch("", feed.first)) == [event.revision for event in events]


def test_a_watcher_of_quiet_names_is_told_the_revision_before_it_is_compacted():
    async def scenario():
        feed = fed(kept_max=100)
        quiet = feed.watch("quiet", 0)
        waiting = asyncio.ensure_future(quiet.next())
        await asyncio.sleep(0)
        told = 0
        while not waiting.done():
            publish(feed, "busy")
            await asyncio.sleep(0)
        events, told = await waiting
        assert events == []
        assert feed.first <= told + 1, "it can come back from there"
        assert told > 50, "but not for every event"

    asyncio.run(scenario())


def test_watchers_are_bounded_and_leave_room_when_they_go():
    feed = fed(watchers_max=2)
    first, _ = feed.watch("a", 0), feed.watch("a", 0)
    with pytest.raises(Refused, match="watchers_max: 2 of 2 are in use") as raised:
        feed.watch("b", 0)
    assert raised.value.reason is Reason.LIMIT_REACHED
    first.close()
    first.close()
    feed.watch("b", 0)
    publish(feed, "a")
    assert revisions(first) == [], "who has left is given nothing"


def test_a_node_that_stops_ends_its_watchers_and_takes_no_more():
    feed = fed()
    watcher = feed.watch("", 0)
    feed.end()
    with pytest.raises(Refused) as raised:
        asyncio.run(watcher.next())
    assert raised.value.reason is Reason.STOPPING
    with pytest.raises(Refused):
        feed.watch("", 0)
