"""guard.shape_append against a model: the follower of the Raft paper, on plain lists.

The model's follower is told (prev, entries, commit) by leaders; ours is told the same through the guard, with
PySyncObj behind it.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from lockd.raft.errors import Diverged
from lockd.raft.guard import Message
from lockd.raft.journal import LogEntry
from tests.engine.rig import HandClock, Ours, append

FOLLOWERS_TERMS, LEADERS_TERMS, LEADER = (1, 3, 5), (2, 4, 6), 7


def log_of(terms: list[int]) -> list[LogEntry]:
    """Index 1 is PySyncObj's own."""
    made = [(b"\x00%d.%d" % (index, term), index, term) for index, term in enumerate(terms, 2)]
    return [(b"\x01", 1, 0), *made]


@dataclass
class Model:
    """A follower by the book. It keeps what it compacted, and does not look at it."""

    log: list[LogEntry]
    commit: int
    first: int
    acknowledged: list[int] = field(default_factory=list)

    def receives(self, message: Message) -> None:
        prev, prev_term, new = message["prevLogIdx"], message["prevLogTerm"], message["entries"]
        if prev > len(self.log) or (prev >= self.first and self.log[prev - 1][2] != prev_term):
            return
        for entry in new:
            index, term = entry[1:]
            if index < self.first:
                continue
            if index <= len(self.log) and self.log[index - 1][2] != term:
                del self.log[index - 1 :]
            if index > len(self.log):
                self.log.append(entry)
        end = prev + len(new)
        if prev < self.first:
            end = max(end, self.commit)
        self.commit = max(self.commit, min(message["commit_index"], end))
        self.acknowledged.append(end)

    def contradicts(self, message: Message) -> bool:
        """Whether the message shows that something committed here is not in the leader's log."""
        shown = [(message["prevLogIdx"], message["prevLogTerm"])]
        if shown[0][0] <= len(self.log) and not self.refuses(message):
            shown += [(index, term) for _, index, term in message["entries"]]
        return any(self.first <= i <= self.commit and self.log[i - 1][2] != term for i, term in shown)

    def refuses(self, message: Message) -> bool:
        prev: int = message["prevLogIdx"]
        return prev >= self.first and bool(self.log[prev - 1][2] != message["prevLogTerm"])


@st.composite
def followers_and_leaders(draw: st.DrawFn, *, honest: bool = True) -> tuple[Model, list[LogEntry]]:
    """Two logs that agree up to somewhere and share no term behind it; honest: the committed part agrees."""

    def tail(terms: tuple[int, ...]) -> list[int]:
        return sorted(draw(st.lists(st.sampled_from(terms), max_size=6)))

    common = draw(st.integers(0, 5 if honest else 1))
    ours, theirs = log_of([1] * common + tail(FOLLOWERS_TERMS)), log_of([1] * common + tail(LEADERS_TERMS))
    commit = draw(st.integers(1, common + 1 if honest else len(ours)))
    return Model(ours, commit, first=draw(st.integers(1, commit))), theirs


@st.composite
def messages(draw: st.DrawFn, leader: list[LogEntry]) -> Message:
    prev = draw(st.integers(1, len(leader)))
    end = draw(st.integers(prev, len(leader)))
    commit = draw(st.integers(1, len(leader)))
    return append(LEADER, prev, leader[prev - 1][2], leader[prev:end], commit)


def follower_like(model: Model) -> Ours:
    ours = Ours(HandClock(), 1, (2, 3))
    ours.receives(2, append(5, 1, 0, model.log[1:], model.commit))
    ours.ticks()
    ours.journal.compact(model.first)
    assert (ours.commit, ours.journal.first, ours.end) == (model.commit, model.first, len(model.log))
    ours.sends()
    return ours


@given(followers_and_leaders(), st.data())
def test_a_follower_does_as_the_paper_says(pair: tuple[Model, list[LogEntry]], data: st.DataObject):
    model, leader = pair
    ours = follower_like(model)
    for _ in range(data.draw(st.integers(1, 4))):
        message = data.draw(messages(leader))
        before = list(ours.journal)
        promised = max(model.acknowledged, default=0)
        model.receives(message)
        ours.receives(3, message)
        told = ours.acknowledged()
        assert list(ours.journal) == model.log[model.first - 1 :]
        assert ours.commit == model.commit
        assert told == (model.acknowledged[-1] if model.acknowledged and told else 0)
        assert all(ours.journal.entry(i)[2] == leader[i - 1][2] for i in range(model.first, told + 1))
        assert set(before[: max(0, promised - model.first + 1)]) <= set(ours.journal)
        assert ours.commit <= max(message["commit_index"], before[0][1], model.commit)


@settings(max_examples=300)
@given(followers_and_leaders(honest=False), st.data())
def test_a_node_stops_exactly_when_a_committed_entry_conflicts(pair: tuple[Model, list[LogEntry]], data: st.DataObject):
    model, leader = pair
    ours = follower_like(model)
    message = data.draw(messages(leader))
    before = list(ours.journal)
    event("contradicts" if model.contradicts(message) else "agrees")
    if model.contradicts(message):
        with pytest.raises(Diverged, match="a leader's log differs from ours at index"):
            ours.receives(3, message)
        assert list(ours.journal) == before
    else:
        ours.receives(3, message)
        assert list(ours.journal)[: model.commit - model.first + 1] == before[: model.commit - model.first + 1]
