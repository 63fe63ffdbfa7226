"""What entries have to say to this node's callers and watchers, kept back until it is on this node's disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lockd.machine.outcomes import Answer, Applied, Event

from .calls import Calls

Publish = Callable[[Sequence[Event], int], None]


@dataclass(frozen=True, slots=True)
class _Item:
    index: int
    answers: tuple[Answer, ...]
    events: tuple[Event, ...]
    revision: int


def _to_nobody(_events: Sequence[Event], _revision: int) -> None:
    """Events of a node that nobody watches."""


class News:
    """publish: is given events, and the revision reached. A gap in revisions means that a snapshot was installed."""

    def __init__(self, calls: Calls) -> None:
        self.publish: Publish = _to_nobody
        self._calls = calls
        self._kept: list[_Item] = []

    def note(self, index: int, applied: Applied, revision: int) -> None:
        answers = tuple(answer for answer in applied.answers if self._calls.is_ours(answer.call))
        if answers or applied.events:
            self._kept.append(_Item(index, answers, applied.events, revision))

    def note_jump(self, index: int, revision: int) -> None:
        """The state at index came as a whole: what happened on the way is not known here."""
        self._kept.append(_Item(index, (), (), revision))

    def tell(self, synced: int) -> None:
        """synced: the last index that is on disk here, with its effects."""
        if not self._kept:
            return
        ready = [item for item in self._kept if item.index <= synced]
        self._kept = [item for item in self._kept if item.index > synced]
        for item in ready:
            for answer in item.answers:
                self._calls.answer(answer)
            if item.events or not item.answers:
                self.publish(item.events, item.revision)
