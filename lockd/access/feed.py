"""What happens to locks, for those who watch. Each node feeds its own watchers from what it has applied.

The last events are kept, so that a watcher can begin in the past. An event is put to the watchers of its names when it
is published, so a watcher costs nothing while other names are busy.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator, Sequence

from lockd.machine.outcomes import Event

from .admission import check_limit
from .refusal import Reason, Refused


class Watcher:
    """One subscription. Events of its prefix, in order; or COMPACTED, once."""

    def __init__(self, feed: "Feed", prefix: str, from_revision: int) -> None:
        self.prefix = prefix
        self._feed, self._from = feed, from_revision
        self._waiting: list[Event] = []
        self._failure: Refused | None = None
        self._alarm: asyncio.Future[None] | None = None
        self._told = feed.revision
        """The revision that the watcher knows of."""

    async def next(self) -> tuple[list[Event], int]:
        """What has happened since the last call, and the revision reached. Without events where only that is to tell.

        Raises Refused: COMPACTED where the watcher fell behind or the node does not know what happened meanwhile,
        STOPPING where the node stops.
        """
        while not self._waiting and not self._failure and not self.is_behind:
            self._alarm = asyncio.get_running_loop().create_future()
            await self._alarm
        if self._failure:
            raise self._failure
        return self.take()

    def take(self) -> tuple[list[Event], int]:
        """The same at once, perhaps without events."""
        events, self._waiting = self._waiting, []
        self._told = self._feed.revision
        return events, self._told

    @property
    def is_behind(self) -> bool:
        """Whether a watcher of quiet names, coming back from what it was told last, would soon be too late."""
        return self._feed.revision - self._told > self._feed.kept_max // 2

    def put(self, event: Event) -> None:
        if event.revision < self._from or self._failure:
            return
        if len(self._waiting) >= self._feed.kept_max:
            self.fail(Refused(Reason.COMPACTED, f"the watcher fell more than {self._feed.kept_max} events behind"))
            return
        self._waiting.append(event)
        self.wake()

    def fail(self, failure: Refused) -> None:
        self._failure, self._waiting = failure, []
        self.wake()

    def wake(self) -> None:
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    def close(self) -> None:
        self._feed.forget(self)


class Feed:
    def __init__(self, revision: int, kept_max: int, watchers_max: int) -> None:
        """revision: of the last event that this node has applied."""
        self.revision, self.kept_max = revision, kept_max
        self._watchers_max = watchers_max
        self._kept: deque[Event] = deque(maxlen=kept_max)
        self._watchers: dict[str, dict[Watcher, None]] = {}
        """By prefix."""
        self._lengths: Counter[int] = Counter()
        """Of the prefixes, with the number of watchers."""
        self._count = 0
        self._failure: Refused | None = None
        self._checked_at = revision

    @property
    def first(self) -> int:
        """The revision from which on everything is kept."""
        return self._kept[0].revision if self._kept else self.revision + 1

    def publish(self, events: Sequence[Event], revision: int) -> None:
        """What an entry did, and the revision reached. Where events are missing before it, watchers are told so."""
        reached = events[0].revision - 1 if events else revision
        if reached != self.revision:
            self._begin_again(reached)
        self.revision = revision
        self._kept.extend(events)
        if self._count:
            for event in events:
                for watcher in self._watchers_of(event):
                    watcher.put(event)
            self._wake_those_behind()

    def watch(self, prefix: str, from_revision: int) -> Watcher:
        """From this revision on; 0: from now on. One that is still to come is waited for. To be closed.

        Raises Refused: COMPACTED, LIMIT_REACHED, STOPPING.
        """
        if self._failure:
            raise self._failure
        check_limit("watchers_max", self._count, self._watchers_max)
        if 0 < from_revision < self.first:
            raise Refused(
                Reason.COMPACTED,
                f"revision {from_revision} is not kept any more: this node has {self.first} and later ones",
            )
        watcher = Watcher(self, prefix, from_revision)
        if from_revision:
            for event in self._kept:
                if _concerns(event, prefix):
                    watcher.put(event)
        self._watchers.setdefault(prefix, {})[watcher] = None
        self._lengths[len(prefix)] += 1
        self._count += 1
        return watcher

    def forget(self, watcher: Watcher) -> None:
        of_prefix = self._watchers.get(watcher.prefix, {})
        if watcher in of_prefix:
            del of_prefix[watcher]
            self._count -= 1
            self._lengths[len(watcher.prefix)] -= 1
            if not self._lengths[len(watcher.prefix)]:
                del self._lengths[len(watcher.prefix)]
            if not of_prefix:
                del self._watchers[watcher.prefix]

    def end(self) -> None:
        """The node stops: so do the watchers."""
        self._failure = Refused(Reason.STOPPING)
        for watcher in self._all():
            watcher.fail(self._failure)

    def _begin_again(self, revision: int) -> None:
        """A snapshot brought the state to this revision: what happened on the way is not known here."""
        self._kept.clear()
        for watcher in self._all():
            watcher.fail(Refused(Reason.COMPACTED, f"this node does not know what happened up to revision {revision}"))
        self.revision = self._checked_at = revision

    def _watchers_of(self, event: Event) -> Iterator[Watcher]:
        """Each once. There are few lengths of prefixes, and as many look-ups for a name."""
        prefixes = {name[:length] for name, _ in event.wants for length in self._lengths if length <= len(name)}
        return (watcher for prefix in prefixes for watcher in self._watchers.get(prefix, ()))

    def _wake_those_behind(self) -> None:
        """Looks at all watchers only once in so many revisions."""
        if self.revision - self._checked_at > self.kept_max // 4:
            self._checked_at = self.revision
            for watcher in self._all():
                watcher.wake()

    def _all(self) -> list[Watcher]:
        return [watcher for those in self._watchers.values() for watcher in those]


def _concerns(event: Event, prefix: str) -> bool:
    return any(name.startswith(prefix) for name, _ in event.wants)
