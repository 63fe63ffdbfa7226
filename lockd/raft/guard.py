"""What may reach PySyncObj from a peer: pure rules over a message and our log.

PySyncObj 0.3.17 trusts its peers' messages to be in order, of its own term and about its own log. Each rule
here names the fault (docs/engine.md) that it stands against.
"""

from dataclasses import dataclass, field
from typing import Any

from .errors import Diverged
from .journal import Journal

Message = dict[str, Any]
"""A message in PySyncObj's own form."""


@dataclass(slots=True)
class Inbox:
    """At most once, in order, nothing of an old connection after a new one. Faults 3, 4, 10."""

    newest: dict[int, tuple[int, int]] = field(default_factory=dict)

    def is_fresh(self, peer: int, connection: int, sequence: int) -> bool:
        if (connection, sequence) <= self.newest.get(peer, (-1, -1)):
            return False
        self.newest[peer] = connection, sequence
        return True


@dataclass(slots=True)
class Ballot:
    """One vote a peer and term. Fault 10."""

    term: int = 0
    voters: set[int] = field(default_factory=set)

    def admits(self, peer: int, term: int) -> bool:
        if term != self.term:
            self.term, self.voters = term, set()
        if peer in self.voters:
            return False
        self.voters.add(peer)
        return True


@dataclass(frozen=True, slots=True)
class Shaped:
    """An append_entries message that PySyncObj may be given."""

    message: Message
    vouched: int | None
    """The last index that the message vouches for and that we hold once it is handled: what we acknowledge.
    None: PySyncObj will ask for another position instead."""


def shape_append(message: Message, journal: Journal) -> Shaped:
    """Fault 3: PySyncObj cuts everything after prevLogIdx, matching or not, and so forgets what was acknowledged.

    Without a conflict it is given only what lies beyond our log; with one, the entries from there on. A
    position that we compacted away counts as our commit index, which every leader shares (fault 14).
    Raises Diverged for a conflict at or below the commit index.
    """
    commit = journal.getRaftCommitIndex()
    prev, prev_term, entries = message["prevLogIdx"], message["prevLogTerm"], message["entries"]
    end = prev + len(entries)
    if prev > journal.last:
        return Shaped({**message, "entries": [], "commit_index": commit}, None)
    if prev < journal.first:
        end = max(end, commit)
    elif journal.term_of(prev) != prev_term:
        _must_be_uncommitted(prev, commit)
        return Shaped({**message, "entries": [], "commit_index": commit}, None)
    conflict = _first_conflict(entries, journal)
    if conflict is not None:
        _must_be_uncommitted(conflict, commit)
        prev = conflict - 1
    else:
        prev = journal.last
    return Shaped(
        {
            **message,
            "prevLogIdx": prev,
            "prevLogTerm": journal.term_of(prev),
            "entries": [entry for entry in entries if entry[1] > prev],
            "commit_index": min(message["commit_index"], end),
        },
        end,
    )


def _first_conflict(entries: list[tuple[bytes, int, int]], journal: Journal) -> int | None:
    for _, index, term in entries:
        if journal.holds(index) and journal.term_of(index) != term:
            return index
    return None


def _must_be_uncommitted(index: int, commit: int) -> None:
    if index <= commit:
        raise Diverged(
            f"a leader's log differs from ours at index {index}, and ours is committed up to {commit}: "
            "either this node's store or the leader's is not what it acknowledged. Stop, compare the stores, "
            "and let the node that is wrong rejoin with an empty data directory."
        )


def without_position(message: Message, journal: Journal) -> Message:
    """Fault 6: a message without prevLogIdx would commit our tail unvouched. It may move no commit index."""
    return {**message, "commit_index": journal.getRaftCommitIndex()}


def admits_acknowledgement(message: Message, *, term: int, our_term: int, journal: Journal) -> Message | None:
    """Fault 4: PySyncObj counts an acknowledgement of any term. Fault 14: a longer log may ask for what we lack."""
    if term != our_term:
        return None
    if message["success"] and message["next_node_idx"] - 1 > journal.last:
        return None
    return {**message, "next_node_idx": min(message["next_node_idx"], journal.last + 1)}
