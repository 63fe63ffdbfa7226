"""How a node with a blank store comes to vote.

Such a node is new, or it lost its store, and then it may have voted in terms and acknowledged entries that it
knows nothing of. It neither votes nor stands until one of two things holds:

- All other members said that their logs are empty. Then nobody ever acknowledged anything. It gives up its vote
  in every term that they named, since it may have voted in those.
- It applied an entry that a leader of the highest term that they named, or of a later one, closed after they
  answered: a Barrier that it proposed itself. Whatever it once acknowledged lies before that entry
  (docs/adr/0012-rejoining-through-a-barrier.md has the argument).

All of them are asked: the one that is missing may be the one that remembers.
"""

from dataclasses import dataclass, field

from .envelopes import Report

ASK_EVERY_S = 0.2


@dataclass(slots=True)
class Joining:
    others: frozenset[int]
    highest_term: int = 0
    empty_logs: dict[int, bool] = field(default_factory=dict)
    asked_at: float = float("-inf")

    def note(self, peer: int, term: int, report: Report) -> None:
        """A report counts for the rest of this life: logs that were empty after this node began are enough."""
        self.highest_term = max(self.highest_term, term)
        self.empty_logs.setdefault(peer, report.last_index <= 1)

    @property
    def missing(self) -> list[int]:
        return sorted(self.others - self.empty_logs.keys())

    @property
    def may_found(self) -> bool:
        """Whether nothing was ever acknowledged in this cluster."""
        return not self.missing and all(self.empty_logs.values())

    @property
    def must_catch_up(self) -> bool:
        return not self.missing and not all(self.empty_logs.values())

    def is_time_to_ask(self, now: float) -> bool:
        if not self.missing or now - self.asked_at < ASK_EVERY_S:
            return False
        self.asked_at = now
        return True
