"""Our journal: PySyncObj's contract, what it refuses to start from, and that a reload is what memory was."""

import asyncio
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pysyncobj.journal import MemoryJournal

from lockd.persistence.memory import MemoryStore
from lockd.raft.errors import JournalCorrupt
from lockd.raft.journal import Journal, OpenBatch

terms = st.integers(0, 3)
data = st.binary(max_size=8)


class Kept:
    """A journal, and the store that its batches are written to."""

    def __init__(self) -> None:
        self.store, self.batch = MemoryStore(), OpenBatch()
        self.journal = Journal(self.store, self.batch)

    def write(self) -> None:
        asyncio.run(self.store.write(self.batch.take()))

    def reloaded(self) -> Journal:
        return Journal(self.store, OpenBatch())


def three() -> Kept:
    """Entries 1 to 3, committed up to 2, applied up to 2, of term 1."""
    kept = Kept()
    kept.journal.setCurrentTerm(1, 7)
    for index, term in ((1, 0), (2, 1), (3, 1)):
        kept.journal.add(b"\x00%d" % index, index, term)
    kept.journal.setRaftCommitIndex(2)
    kept.journal.set_applied(2)
    kept.write()
    return kept


# -- the contract


class Twins:
    """One operation at a time on PySyncObj's journal and on ours."""

    def __init__(self) -> None:
        self.kept = Kept()
        self.plain, self.ours = MemoryJournal(), self.kept.journal

    def do(self, name: str, *arguments: Any) -> None:
        assert getattr(self.plain, name)(*arguments) is getattr(self.ours, name)(*arguments) is None

    def compare(self) -> None:
        plain, ours = self.plain, self.ours
        assert ours[:] == plain[:]
        assert list(ours) == plain[:]
        assert len(ours) == len(plain)
        assert (ours.getCurrentTerm(), ours.getVotedForNodeId()) == (plain.getCurrentTerm(), plain.getVotedForNodeId())
        assert ours.bytes == sum(len(data) for data, _, _ in plain[:])
        for place in (0, -1) if len(plain) else ():
            assert ours[place] == plain[place]
        assert ours[1:3] == plain[1:3]


@st.composite
def operations(draw: st.DrawFn) -> list[tuple[str, Any, Any]]:
    names = st.sampled_from(("add", "add", "add", "add", "from", "to", "clear", "vote", "write"))
    return [(draw(names), draw(st.integers(0, 6)), draw(data)) for _ in range(draw(st.integers(1, 30)))]


@given(operations())
def test_it_does_as_the_librarys_journal_does_and_a_reload_is_what_memory_was(steps: list[tuple[str, Any, Any]]):
    twins, term = Twins(), 0
    twins.do("add", b"\x01", 1, 0)
    for name, number, content in steps:
        match name:
            case "add":
                last = twins.plain[-1][1] if len(twins.plain) else 1
                twins.do("add", content, last + 1, term)
            case "from":
                twins.do("deleteEntriesFrom", max(1, len(twins.plain) - number))
            case "to":
                twins.do("deleteEntriesTo", min(number, len(twins.plain) - 1))
                twins.ours.setRaftCommitIndex(max(twins.ours.getRaftCommitIndex(), twins.ours.first))
                twins.ours.set_applied(twins.ours.getRaftCommitIndex())
            case "clear":
                start = twins.plain[-1][1]
                twins.do("clear")
                twins.do("add", b"\x01", start + number, term)
                twins.ours.setRaftCommitIndex(start + number)
                twins.ours.set_applied(start + number)
            case "vote":
                term += number
                twins.do("setCurrentTerm", term, number or None)
            case "write":
                twins.kept.write()
        committed = min(twins.ours.getRaftCommitIndex(), twins.ours.last)
        twins.ours.setRaftCommitIndex(committed)
        twins.ours.set_applied(max(twins.ours.first, min(twins.ours.applied, committed)))
        twins.compare()
    twins.kept.write()
    again, ours = twins.kept.reloaded(), twins.ours
    assert list(again) == list(ours)
    assert (again.getCurrentTerm(), again.getVotedForNodeId()) == (ours.getCurrentTerm(), ours.getVotedForNodeId())
    assert (again.getRaftCommitIndex(), again.applied) == (ours.getRaftCommitIndex(), ours.applied)
    assert (again.joined, again.bytes) == (ours.joined, ours.bytes)


def test_what_a_promise_depends_on_is_urgent():
    """An entry, a cut and a vote ask for a sync; the commit and applied indices can be had again from the log."""
    kept = three()
    kept.journal.setRaftCommitIndex(3)
    kept.journal.set_applied(3)
    assert not kept.batch.urgent
    for change in (
        lambda: kept.journal.add(b"\x00", 4, 1),
        lambda: kept.journal.deleteEntriesFrom(3),
        lambda: kept.journal.setCurrentTerm(2, None),
        lambda: kept.journal.set_joined(),
    ):
        kept.batch.take()
        change()
        assert kept.batch.urgent


# -- what it does not start from


def test_a_blank_store_is_a_new_node():
    journal = Kept().journal
    assert (len(journal), journal.getCurrentTerm(), journal.getVotedForNodeId()) == (0, 0, None)
    assert (journal.getRaftCommitIndex(), journal.applied, journal.joined) == (1, 1, False)


def test_a_whole_store_is_taken():
    journal = three().reloaded()
    assert (journal.first, journal.last, journal.getRaftCommitIndex(), journal.applied) == (1, 3, 2, 2)
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (1, 7)


def key(index: int) -> bytes:
    return b"l/" + index.to_bytes(8, "big")


def flipped(value: bytes) -> bytes:
    return value[:-1] + bytes([value[-1] ^ 1])


DAMAGE: dict[str, tuple[Any, str]] = {
    "a missing entry": (lambda r: {key(2): None}, "log entry 2 is missing: the next one stored is 3"),
    "a flipped bit": (lambda r: {key(2): flipped(r[key(2)])}, "log entry 2 does not match its checksum"),
    "an entry at another's place": (lambda r: {key(3): r[key(2)]}, "log entry 3 does not match its checksum"),
    "a short entry": (lambda r: {key(2): b"short"}, "log entry 2 is cut short: 5 bytes"),
    "a missing end": (lambda r: {key(3): None, key(2): None}, "the commit index 2 lies beyond the log's end, 1"),
    "applied beyond the commit": (
        lambda r: {b"h/progress": struct.pack(">QQ", 2, 3)},
        "the applied index 3 lies outside of the log, which begins at 1, and its committed part, which ends at 2",
    ),
    "applied before the log": (
        lambda r: {key(1): None, key(2): None, b"h/progress": struct.pack(">QQ", 3, 2)},
        "the applied index 2 lies outside of the log, which begins at 3",
    ),
    "an empty log with a term": (
        lambda r: {key(1): None, key(2): None, key(3): None},
        "the log is empty, yet term 1 and applied index 2 are stored",
    ),
    "a lost term": (lambda r: {b"h/vote": None}, "log entry 3 is of term 1, the stored term is 0"),
    "a damaged vote": (lambda r: {b"h/vote": b"?"}, "the record h/vote is damaged: 1 bytes, not 16"),
    "damaged indices": (lambda r: {b"h/progress": b"?"}, "the record h/progress is damaged: 1 bytes, not 16"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_store_that_contradicts_itself_is_refused_by_name(kind: str):
    damage, message = DAMAGE[kind]
    kept = three()
    asyncio.run(kept.store.write(damage(dict(kept.store.scan(b"")))))
    with pytest.raises(JournalCorrupt) as refused:
        kept.reloaded()
    assert message in str(refused.value)


# -- cuts


def test_compaction_keeps_what_is_named_and_what_follows():
    kept = three()
    kept.journal.compact(2)
    kept.write()
    assert [index for _, index, _ in kept.reloaded()] == [2, 3]
    kept.journal.compact(1)
    assert kept.journal.first == 2


@pytest.mark.parametrize(("index", "term", "left"), [(2, 1, [2, 3]), (3, 2, [3]), (9, 1, [9])])
def test_a_restart_at_a_snapshot_keeps_what_belongs_to_it(index: int, term: int, left: list[int]):
    kept = three()
    kept.journal.setCurrentTerm(2, None)
    kept.journal.restart_at(index, term)
    kept.write()
    again = kept.reloaded()
    assert [each for _, each, _ in again] == left
    assert (again.first, again.term_of(index), again.applied) == (index, term, index)
    assert again.getRaftCommitIndex() == index


def test_a_part_of_the_log_has_at_least_one_entry():
    journal = three().journal
    assert [index for _, index, _ in journal.from_index(2, 1)] == [2]
    assert [index for _, index, _ in journal.from_index(2, 1_000)] == [2, 3]
    assert journal.from_index(4, 1_000) == []


def test_a_log_that_restarts_at_a_snapshot_in_its_middle_can_be_reloaded():
    """The commit index does not move, yet the applied index, and with it what is stored, must."""
    kept = three()
    kept.journal.setRaftCommitIndex(3)
    kept.write()
    kept.journal.restart_at(3, 1)
    kept.write()
    assert kept.reloaded().applied == kept.reloaded().first == 3
