"""Both sides of a comparison: a plain PySyncObj node, and our engine or whole replicas, on the same schedule.

Node ids are numbers on both sides, and messages have PySyncObj's form, so that one schedule serves both.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pysyncobj.pickle
import pysyncobj.syncobj as library
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from lockd.persistence.memory import MemoryStore
from lockd.raft.engine import Engine, Timing
from lockd.raft.guard import Message
from lockd.raft.journal import Journal, LogEntry, OpenBatch

PEERS = (2, 3)


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += seconds


# -- messages, as PySyncObj writes them


def entry(index: int, term: int, data: bytes = b"x") -> LogEntry:
    """A regular entry that the plain library can apply too: a call of its method number 0."""
    return b"\x00" + pysyncobj.pickle.dumps((0, (data,))), index, term


def entries(first: int, last: int, term: int) -> list[LogEntry]:
    return [entry(index, term, b"%d.%d" % (index, term)) for index in range(first, last + 1)]


def append(term: int, prev: int, prev_term: int, new: list[LogEntry], commit: int = 1) -> Message:
    return {
        "type": "append_entries",
        "term": term,
        "commit_index": commit,
        "entries": new,
        "prevLogIdx": prev,
        "prevLogTerm": prev_term,
    }


def snapshot_chunk(term: int, commit: int, chunk: object) -> Message:
    return {"type": "append_entries", "term": term, "commit_index": commit, "serialized": chunk}


def acknowledgement(index: int) -> Message:
    return {"type": "next_node_idx", "next_node_idx": index + 1, "reset": False, "success": True}


def vote(term: int) -> Message:
    return {"type": "response_vote", "term": term}


# -- the plain library


class _PlainTransport(Transport):  # type: ignore[misc]  # pysyncobj has no types
    def __init__(self) -> None:
        super().__init__(None, None, [])
        self.sent: list[tuple[int, Message]] = []

    def send(self, node: Node, message: Message) -> bool:
        self.sent.append((node.id, message))
        return True


running: list["Plain"] = []
"""Those that hold files: conftest.py ends them after each test."""


class Plain(SyncObj):  # type: ignore[misc]  # pysyncobj has no types
    """PySyncObj as it is installed, behind a transport that only remembers."""

    def __init__(self, me: int = 1, others: tuple[int, ...] = PEERS, *, journal: Any = None, **conf: Any) -> None:
        settings = {"autoTick": False, "appendEntriesUseBatch": False, "useFork": False, **conf}
        running.append(self)
        self.mail = _PlainTransport()
        self.applied: list[tuple[int, bytes]] = []
        make = library.createJournal
        if journal is not None:
            library.createJournal = lambda file: journal
        try:
            super().__init__(Node(me), [Node(o) for o in others], SyncObjConf(**settings), nodeClass=Node,
                             transport=self.mail)  # fmt: skip
        finally:
            library.createJournal = make
        self._SyncObj__properies.add("_SyncObj__properies")  # what is not in here goes into its dumps
        for other in others:
            self.mail._onNodeConnected(Node(other))

    @replicated
    def command(self, data: bytes) -> bytes:
        self.applied.append((self.raftLastApplied + 1, data))
        return data

    def private(self, name: str) -> Any:
        return getattr(self, f"_SyncObj__{name}")

    def receives(self, peer: int, message: Message) -> None:
        self.mail._onMessageReceived(Node(peer), message)

    def ticks(self, clock: HandClock, times: int = 1) -> None:
        for _ in range(times):
            clock.go(0.001)
            self.doTick(0.0)

    def wins(self, clock: HandClock, *voters: int) -> None:
        clock.go(5.0)
        self.doTick(0.0)
        for voter in voters:
            self.receives(voter, vote(self.raftCurrentTerm))

    def sends(self) -> list[tuple[int, Message]]:
        sent, self.mail.sent = self.mail.sent, []
        return sent

    @property
    def log(self) -> list[tuple[int, int]]:
        return [(index, term) for _, index, term in self.private("raftLog")[:]]

    @property
    def end(self) -> int:
        return self.log[-1][0]

    def acknowledged(self) -> int:
        """The last index that it told a leader it holds."""
        return _last_acknowledged(message for _, message in self.sends())


# -- ours


class Ours:
    """Our engine over a store in memory. Nothing is written before writes()."""

    def __init__(
        self,
        clock: HandClock,
        me: int = 1,
        others: tuple[int, ...] = PEERS,
        *,
        records: Mapping[bytes, bytes] | None = None,
        joined: bool = True,
        fails_at: int = 0,
        timing: Timing | None = None,
    ) -> None:
        self.store = MemoryStore(records)
        self.batch = OpenBatch()
        self.journal = Journal(self.store, self.batch)
        self.applied: list[tuple[int, int, bytes]] = []
        self._clock, self._fails_at = clock, fails_at
        if joined and not self.journal.joined:
            self.journal.set_joined()
        self.engine = Engine(
            me, others, self.journal, clock=clock, rng=random.Random(1), timing=timing or Timing(), apply=self._apply
        )
        for other in others:
            self.engine.link_up(other)

    def _apply(self, index: int, term: int, data: bytes) -> None:
        if index == self._fails_at:
            raise ZeroDivisionError(f"entry {index}")
        self.applied.append((index, term, data))

    def receives(self, peer: int, message: Message, *, term: int | None = None) -> None:
        """term: the sender's when it sent this; that of the message, or ours."""
        self.engine.deliver(peer, message.get("term", self.engine.term) if term is None else term, message)

    def ticks(self, times: int = 1) -> None:
        for _ in range(times):
            self._clock.go(0.001)
            self.engine.tick()

    def wins(self, *voters: int) -> None:
        self._clock.go(5.0)
        self.engine.tick()
        for voter in voters:
            self.receives(voter, vote(self.engine.term))

    def sends(self) -> list[tuple[int, Message]]:
        sent, self.engine.outbox = self.engine.outbox, []
        return [(peer, message) for peer, _, message in sent]

    def writes(self) -> None:
        asyncio.run(self.store.write(self.batch.take()))

    def records(self) -> dict[bytes, bytes]:
        return dict(self.store.scan(b""))

    @property
    def commit(self) -> int:
        return self.journal.getRaftCommitIndex()

    @property
    def log(self) -> list[tuple[int, int]]:
        return [(index, term) for _, index, term in self.journal]

    @property
    def end(self) -> int:
        return self.journal.last

    def acknowledged(self) -> int:
        return _last_acknowledged(message for _, message in self.sends())


def _last_acknowledged(messages: Iterator[Message]) -> int:
    """0: nothing was."""
    told = [m["next_node_idx"] - 1 for m in messages if m["type"] == "next_node_idx" and m["success"]]
    return told[-1] if told else 0


def refuse_call(name: str) -> Callable[..., Any]:
    """A function that must not be called."""

    def called(*args: object, **kwargs: object) -> Any:
        raise AssertionError(f"{name} was called")

    return called
