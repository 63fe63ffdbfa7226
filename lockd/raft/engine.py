"""PySyncObj 0.3.17, driven: the one importer of pysyncobj.

PySyncObj keeps the elections, the replication of the log and the commit rule. Everything it does with the
outside is taken from it: its sockets, clock, dice, pickles, files and snapshots (docs/engine.md lists the
faults that each replacement stands against). It is ticked from outside, and what it sends gathers in an
outbox that the replica lets go only after the sync that covers it.
"""

import logging
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pysyncobj.syncobj as library
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from lockd.clock import Clock

from . import guard
from .errors import Fatal
from .guard import Ballot, Message
from .journal import NO_OP, Journal

REGULAR = b"\x00"
"""First byte of an entry that carries one of ours."""

ENTRY_BYTES_MAX = 2 * 1024 * 1024
"""Fault 14: an entry this large would go out in chunks that PySyncObj's own receiver refuses."""

APPLY_PER_TICK, APPLY_BYTES_PER_TICK = 512, 256 * 1024
"""What is handed over for applying in one tick, so that a backlog does not hold up the heartbeats."""

TERM_JUMP_MAX = 2**32
"""A peer that is further ahead is not believed: terms rise one by one, and one that cannot be counted on from ends the
cluster for good.
"""

TRANSFER_EVERY_S = 0.3
"""How long a follower that was asked to stand is given, before another one is asked."""

_FOLLOWER = 0
"""PySyncObj's number for the state."""

_SENT = {"append_entries", "next_node_idx", "request_vote", "response_vote", "timeout_now"}

logging.getLogger("pysyncobj").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. heartbeat * 3 < election_min < election_max."""

    election_min: float = 0.4
    election_max: float = 1.0
    heartbeat: float = 0.1


class Engine:
    """One node's Raft."""

    def __init__(
        self,
        me: int,
        others: Iterable[int],
        journal: Journal,
        *,
        clock: Clock,
        rng: random.Random,
        timing: Timing,
        apply: Callable[[int, int, bytes], None],
    ) -> None:
        """apply(index, term, data) is called for each committed entry of ours, in order, once."""
        self.journal = journal
        self.outbox: list[tuple[int, int, Message]] = []
        """(peer, our term when it was sent, message), in order."""
        self._clock, self._rng, self._apply = clock, rng, apply
        self._ballot = Ballot()
        self.hears_leaders = journal.joined
        """False in a blank node that does not know yet which leaders were deposed."""
        self._vouched: int | None = None
        self._transfer_asked_at, self._transfers = -math.inf, 0
        self.mailbox = _Mailbox(self)
        with _Seat(self):
            self._raft = _Raft(self, Node(me), [Node(other) for other in sorted(others)], timing)

    # -- what it is

    @property
    def term(self) -> int:
        return int(self._raft.raftCurrentTerm)

    @property
    def is_leader(self) -> bool:
        return bool(self._raft._isLeader())

    @property
    def leader(self) -> int | None:
        """The leader that this node last heard of in this term."""
        node = self._raft._getLeader()
        return None if node is None else int(node.id)

    @property
    def role(self) -> str:
        return ("follower", "candidate", "leader")[self._raft._SyncObj__raftState]

    @property
    def has_backlog(self) -> bool:
        """Whether committed entries wait to be applied."""
        return bool(self._raft.raftCommitIndex > self._raft.raftLastApplied)

    def match_index(self, peer: int) -> int:
        """What peer has acknowledged to this leader."""
        return int(self._raft._SyncObj__raftMatchIndex.get(Node(peer), 0)) if self.is_leader else 0

    # -- what happens to it

    def tick(self) -> None:
        """Elects, commits, applies, appends. Raises what apply raises."""
        if not self.journal.joined:
            self._postpone_election()
        with _Seat(self):
            self._raft.doTick(0.0)

    def append(self, data: bytes) -> int:
        """Appends data to the log and sends it. Returns its index. Only for a leader, and after the tick.

        PySyncObj's own way queues, and what a deposed leader queued goes to the next one (fault 12). After the
        tick, since a tick counts the leader's own copy, which is not synced yet (fault 9).
        """
        assert self.is_leader
        if len(data) >= ENTRY_BYTES_MAX:
            raise Fatal(f"a log entry of {len(data)} bytes; the bound is {ENTRY_BYTES_MAX}")
        index = self.journal.last + 1
        self.journal.add(REGULAR + data, index, self.term)
        with _Seat(self):
            self._raft._SyncObj__sendAppendEntries()
        return index

    def deliver(self, peer: int, term: int, message: Message) -> None:
        """A message from peer, which was in `term` when it sent it. Raises Diverged."""
        admitted = self._admit(peer, term, message) if term - self.term <= TERM_JUMP_MAX else None
        if admitted is None:
            return
        with _Seat(self):
            self.mailbox._onMessageReceived(Node(peer), admitted)
            if admitted["type"] == "next_node_idx" and self.is_leader:
                self._raft.send_backlog(Node(peer))
        self._vouched = None

    def _admit(self, peer: int, term: int, message: Message) -> Message | None:
        match message["type"]:
            case "append_entries" if message["term"] < self.term or not self.hears_leaders:
                return None
            case "append_entries" if "prevLogIdx" not in message:
                return guard.without_position(message, self.journal)
            case "append_entries":
                shaped = guard.shape_append(message, self.journal)
                self._vouched = shaped.vouched
                return shaped.message
            case "next_node_idx":
                return guard.admits_acknowledgement(message, term=term, our_term=self.term, journal=self.journal)
            case "request_vote":
                return message if self.journal.joined else None
            case "response_vote":
                return message if message["term"] == self.term and self._ballot.admits(peer, self.term) else None
            case "timeout_now":
                return message
            case _:
                return None

    def link_up(self, peer: int) -> None:
        with _Seat(self):
            self.mailbox._onNodeConnected(Node(peer))

    def link_down(self, peer: int) -> None:
        with _Seat(self):
            self.mailbox._onNodeDisconnected(Node(peer))

    def stand_at(self, delay: float) -> None:
        """The leader's process is known dead: this node stands in `delay` seconds unless it votes before."""
        if not self.is_leader:
            deadline = self._clock.monotonic() + delay
            self._raft._SyncObj__raftElectionDeadline = min(self._raft._SyncObj__raftElectionDeadline, deadline)

    def vote_no_more_below(self, term: int) -> None:
        """Takes part in no election up to and including term: this node may have voted in it before.

        From now on leaders are heard: until a blank node knows the highest term, one that was deposed without
        its knowledge could have it acknowledge what contradicts what it acknowledged in its former life.
        """
        self.hears_leaders = True
        if term >= self.term:
            with _Seat(self):
                self._raft._SyncObj__setCurrentTerm(term, self._raft.selfNode.id)

    def hear_of(self, term: int) -> None:
        """A peer is in this term. PySyncObj ignores a deposed leader, which then never learns that it is one."""
        if 0 < term - self.term <= TERM_JUMP_MAX:
            with _Seat(self):
                self._raft._SyncObj__setCurrentTerm(term, None)
                self._raft._SyncObj__setState(_FOLLOWER)
            self._raft._SyncObj__raftLeader = None

    def join(self) -> None:
        """From now on this node votes and stands."""
        self.journal.set_joined()
        with _Seat(self):
            timeout = self._raft._SyncObj__generateRaftTimeout() if self._raft.otherNodes else 0.0
        self._raft._SyncObj__raftElectionDeadline = self._clock.monotonic() + timeout

    def installed(self) -> None:
        """The journal was restarted at a snapshot."""
        self._raft._SyncObj__raftLastApplied = self.journal.applied
        self._raft._SyncObj__raftCommitIndex = self.journal.getRaftCommitIndex()

    def acknowledge(self, peer: int, next_index: int, *, success: bool) -> None:
        """Tells a leader our position, in answer to what PySyncObj itself would not answer."""
        message = {"type": "next_node_idx", "next_node_idx": next_index, "reset": True, "success": success}
        self.outbox.append((peer, self.term, message))

    def transfer(self) -> bool:
        """Asks a follower that holds our whole log to stand at once, another one each time. False: there is none."""
        now = self._clock.monotonic()
        if now - self._transfer_asked_at < TRANSFER_EVERY_S:
            return True
        able = [peer for peer in sorted(self._connected()) if self.match_index(peer) == self.journal.last]
        if not able:
            return False
        self._transfer_asked_at, self._transfers = now, self._transfers + 1
        with _Seat(self):
            self._raft.transferLeadership(Node(able[self._transfers % len(able)]))
        return True

    def _connected(self) -> list[int]:
        return [int(node.id) for node in self._raft._SyncObj__connectedNodes]

    def _postpone_election(self) -> None:
        self._raft._SyncObj__raftElectionDeadline = math.inf

    # -- what it does

    def _send(self, peer: int, message: Message) -> None:
        if message["type"] == "next_node_idx" and message["success"] and self._vouched is not None:
            message = {**message, "next_node_idx": self._vouched + 1}
        self.outbox.append((peer, self.term, message))

    def _apply_committed(self, applied: int, commit: int) -> int:
        size = 0
        for index in range(applied + 1, min(commit, applied + APPLY_PER_TICK) + 1):
            data, _, term = self.journal.entry(index)
            size += len(data)
            if size > APPLY_BYTES_PER_TICK and size > len(data):
                break
            if data[:1] == REGULAR:
                self._apply(index, term, data[1:])
            elif data != NO_OP:
                raise Fatal(f"log entry {index} is of a kind that lockd never writes: {data[:1]!r}")
            self.journal.set_applied(index)
            applied = index
        return applied


class _Mailbox(Transport):  # type: ignore[misc]  # pysyncobj has no types
    """PySyncObj's transport: an outbox of ours."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(None, None, None)
        self._engine = engine

    def send(self, node: Node, message: Message) -> bool:
        if message["type"] in _SENT:
            self._engine._send(node.id, message)
        return True


class _Raft(SyncObj):  # type: ignore[misc]  # pysyncobj has no types
    """PySyncObj with four private methods of the pinned version replaced."""

    def __init__(self, engine: Engine, me: Node, others: list[Node], timing: Timing) -> None:
        self._engine = engine
        conf = SyncObjConf(
            autoTick=False,
            appendEntriesUseBatch=False,
            commandsWaitLeader=False,
            dynamicMembershipChange=False,
            raftMinTimeout=timing.election_min,
            raftMaxTimeout=timing.election_max,
            appendEntriesPeriod=timing.heartbeat,
            leaderFallbackTimeout=timing.election_max,
            connectionTimeout=timing.election_max,  # of its own transport; it must not be below the one above
        )
        super().__init__(me, others, conf, nodeClass=Node, transport=engine.mailbox)
        self._SyncObj__raftLastApplied = engine.journal.applied

    def _SyncObj__sendAppendEntries(self) -> None:  # noqa: N802 - PySyncObj's name
        """Faults 5 and 14: one message a node and call, never chunks; no loop until a time is over."""
        self._SyncObj__newAppendEntriesTime = self._engine._clock.monotonic() + self.conf.appendEntriesPeriod
        for node in sorted(self._SyncObj__connectedNodes, key=lambda node: int(node.id)):
            self._send_entries(node)

    def send_backlog(self, node: Node) -> None:
        """The node answered: what it lacks goes on at once instead of with the next heartbeat."""
        first, last = self._engine.journal.first, self._engine.journal.last
        if node in self._SyncObj__connectedNodes and first < self._SyncObj__raftNextIndex[node] <= last:
            self._send_entries(node)

    def _send_entries(self, node: Node) -> None:
        journal = self._engine.journal
        message = {"type": "append_entries", "term": self.raftCurrentTerm, "commit_index": self.raftCommitIndex}
        next_index = self._SyncObj__raftNextIndex[node]
        if next_index > journal.first:
            entries = journal.from_index(next_index, ENTRY_BYTES_MAX)
            prev = next_index - 1
            message |= {"prevLogIdx": prev, "prevLogTerm": journal.term_of(prev), "entries": entries}
            self._SyncObj__raftNextIndex[node] = next_index + len(entries)
        self._engine.mailbox.send(node, message)

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802 - PySyncObj's name
        """Faults 1 and 11: entries are bytes, never pickles, and what fails stops the node."""
        applied, commit = self.raftLastApplied, self.raftCommitIndex
        self._SyncObj__raftLastApplied = self._engine._apply_committed(applied, commit)
        return bool(commit > applied)  # the commit index goes to the followers at once

    def _SyncObj__tryLogCompaction(self) -> None:  # noqa: N802 - PySyncObj's name
        """Faults 7 and 8: the replica cuts the log in the batch that holds the applied state."""

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:  # noqa: N802, N803 - PySyncObj's names
        """Fault 5: snapshots are installed by the replica, whole and verified."""


# -- the library's module globals
#
# PySyncObj takes its clock, dice, journal and poller from names in its module. They are replaced by stand-ins
# that ask whose turn it is, so that many engines with clocks of their own can live in one process; with no
# engine seated the library is as it was.

_seated: list[Engine] = []
_PATCHED = ("monotonicTime", "random", "createJournal", "createPoller", "PipeNotifier", "pickle")
_plain: dict[str, Any] = {name: getattr(library, name) for name in _PATCHED}


class _Seat:
    """Whose turn it is."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> None:
        _seated.append(self._engine)

    def __exit__(self, *_: object) -> None:
        _seated.pop()


class _Dice:
    def __getattr__(self, name: str) -> Any:
        return getattr(_seated[-1]._rng if _seated else _plain["random"], name)


class _NoPickle:
    """Fault 1: nothing of ours is ever pickled, so a call is a fault."""

    def __getattr__(self, name: str) -> Any:
        if _seated:
            raise Fatal(f"PySyncObj reached for pickle.{name}")
        return getattr(_plain["pickle"], name)


class _Silent:
    """Stands in for the poller and its notifier: the replica knows what happens, nothing is polled."""

    def poll(self, timeout: float) -> None:
        pass

    def notify(self) -> None:
        pass


def _monotonic() -> float:
    return _seated[-1]._clock.monotonic() if _seated else _plain["monotonicTime"]()


def _journal(file: str | None) -> Any:
    return _seated[-1].journal if _seated else _plain["createJournal"](file)


def _poller(kind: str) -> Any:
    return _Silent() if _seated else _plain["createPoller"](kind)


def _notifier(poller: Any) -> Any:
    return _Silent() if _seated else _plain["PipeNotifier"](poller)


library.monotonicTime = _monotonic
library.random = _Dice()
library.createJournal = _journal
library.createPoller = _poller
library.PipeNotifier = _notifier
library.pickle = _NoPickle()
