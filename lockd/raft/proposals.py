"""Commands on their way into the log, in lanes: one caller's many do not stand before another's few."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from lockd.machine.commands import (
    Acquire,
    Barrier,
    Call,
    Command,
    Deny,
    Get,
    KeepAlive,
    ListCredentials,
    ListHolds,
    ListRegistered,
    OpenNode,
    Renew,
    Withdraw,
)
from lockd.machine.constants import NAMES_PER_PAGE, SET_MAX
from lockd.machine.outcomes import Refusal

from . import codec

FIRST, NODES = "\0first", "\0nodes"
"""Lanes of what nodes ask for themselves: what others rest on, and the rest."""

ROWS_A_WEIGHT = 10
"""Rows that are read and sent."""


class Proposal(NamedTuple):
    command: bytes
    """Encoded."""
    credential: str = ""
    """By which its caller is known; empty where nobody is asked, and for the node's own."""
    weight: int = 1
    lane: str = ""
    """With whom it takes turns: a caller's commands with those of other callers."""
    keeps: bool = False
    """It keeps what its caller has, and goes before what else that one asks for."""


def proposal(command: Command, encoded: bytes, credential: str, lane: str) -> Proposal:
    """lane: of a caller's command."""
    match command:
        case OpenNode():
            lane = FIRST
        case Withdraw() | Barrier():
            lane = NODES
    return Proposal(encoded, credential, weight(command), lane, keeps=isinstance(command, KeepAlive | Renew))


def weight(command: Command) -> int:
    """About how many times the work of a lock of one name it is, to apply it and to answer it."""
    match command:
        case ListHolds(token=token) if token:
            return 1 + SET_MAX // ROWS_A_WEIGHT
        case ListRegistered(name=name, id=id) if name or id:
            return 1
        case ListHolds(limit=limit):
            is_filtered = bool(command.owner) or command.mode is not None
            return 1 + max(limit, NAMES_PER_PAGE if is_filtered else 0) // ROWS_A_WEIGHT
        case Get(limit=limit) | ListRegistered(limit=limit) | ListCredentials(limit=limit):
            return 1 + limit // ROWS_A_WEIGHT
        case Acquire(wants=wants):
            return len(wants)
    return 1


Judge = Callable[[str, Command | None], Refusal | None]
"""Whether whoever has this credential may give this command: UNKNOWN_CALLER, DENIED, or None where they may.

Without a command: whether the credential is known (still); what it is good for was looked at before.
"""


def allow(_credential: str, _command: Command | None) -> None:
    """Of a cluster that asks nobody who they are."""


SHARE, PRESENT_TAKES = 16, 64
"""While there was another lane so many entries ago, or less, each gets a sixteenth of an entry."""


class Commands:
    """What waits for an entry. A command that is sent again while it waits takes no second place.

    Lanes take turns. While there is more than one, none fills an entry: the others wait for its end.
    """

    def __init__(self, judge: Judge = allow) -> None:
        """judge: what a leader asks before it takes a command; whom it refuses gets Deny in its place."""
        self._judge = judge
        self._lanes: OrderedDict[str, deque[tuple[Call, Proposal]]] = OrderedDict()
        self._bytes: Counter[str] = Counter()
        self._calls: set[Call] = set()
        self._present: OrderedDict[str, int] = OrderedDict()
        """When each lane had something last, in takes; those of the last PRESENT_TAKES."""
        self._takes = 0

    def __len__(self) -> int:
        return len(self._calls)

    def size(self, lane: str) -> int:
        """Bytes that wait there."""
        return self._bytes[lane]

    def put(self, call: Call, proposal: Proposal, command: Command | None = None) -> None:
        """command: where it was judged by another node, which may know less than this one."""
        if call in self._calls:
            return
        if command is not None:
            proposal = self._judged(call, proposal, command)
        lane = self._lanes.setdefault(proposal.lane, deque())
        if proposal.keeps:
            lane.appendleft((call, proposal))
        else:
            lane.append((call, proposal))
        self._calls.add(call)
        self._bytes[proposal.lane] += len(proposal.command)

    def take(self, bytes_max: int, weight_max: int) -> list[Proposal]:
        """As many as stay within both, at least one if there is one. Whose caller is unknown by now is denied."""
        taken: list[Proposal] = []
        size = heavy = 0
        shares = self._shares(weight_max)
        while (lane := self._next(shares)) is not None:
            call, proposal = self._lanes[lane][0]
            size, heavy = size + len(proposal.command), heavy + proposal.weight
            if taken and (size > bytes_max or heavy > weight_max):
                break
            taken.append(self._judged(call, proposal))
            self._calls.discard(call)
            self._drop_first(lane)
            shares[lane] -= proposal.weight
        return taken

    def _judged(self, call: Call, proposal: Proposal, command: Command | None = None) -> Proposal:
        """The proposal, or a denial in its place."""
        refusal = self._judge(proposal.credential, command)
        if refusal is None:
            return proposal
        deny = Deny(call=call, is_known=refusal is not Refusal.UNKNOWN_CALLER)
        return proposal._replace(command=codec.encode_command(deny))

    def _shares(self, weight_max: int) -> dict[str, int]:
        """How much each lane may give to this entry."""
        self._takes += 1
        for lane in self._lanes:
            if lane != FIRST:
                self._present[lane] = self._takes
                self._present.move_to_end(lane)
        while self._present and next(iter(self._present.values())) <= self._takes - PRESENT_TAKES:
            self._present.popitem(last=False)
        share = weight_max // SHARE if len(self._present) > 1 else weight_max
        return {lane: weight_max if lane == FIRST else share for lane in self._lanes}

    def _next(self, shares: dict[str, int]) -> str | None:
        """The lane whose turn it is."""
        if FIRST in self._lanes:
            return FIRST
        return next((lane for lane in self._lanes if shares[lane] > 0), None)

    def _drop_first(self, lane: str) -> None:
        _, proposal = self._lanes[lane].popleft()
        self._bytes[lane] -= len(proposal.command)
        if self._lanes[lane]:
            self._lanes.move_to_end(lane)
        else:
            del self._lanes[lane], self._bytes[lane]
