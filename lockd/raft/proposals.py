"""Commands on their way into the log, in lanes: one caller's many do not stand before another's few."""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from lockd.machine.commands import Call, Command, Deny
from lockd.machine.outcomes import Refusal

from . import codec


class Proposal(NamedTuple):
    command: bytes
    """Encoded."""
    credential: str = ""
    """By which its caller is known; empty where nobody is asked, and for the node's own."""


Judge = Callable[[str, Command | None], Refusal | None]
"""Whether whoever has this credential may give this command: UNKNOWN_CALLER, DENIED, or None where they may.

Without a command: whether the credential is known (still); what it is good for was looked at before.
"""


def allow(_credential: str, _command: Command | None) -> None:
    """Of a cluster that asks nobody who they are."""


class Commands:
    """What waits for an entry. A command that is sent again while it waits takes no second place.

    What has no credential goes first; then each credential has a lane, and the lanes take turns.
    """

    def __init__(self, judge: Judge = allow) -> None:
        """judge: what a leader asks before it takes a command; whom it refuses gets Deny in its place."""
        self._judge = judge
        self._own: deque[tuple[Call, Proposal]] = deque()
        self._lanes: OrderedDict[str, deque[tuple[Call, Proposal]]] = OrderedDict()
        self._calls: set[Call] = set()
        self._bytes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def size(self, credential: str) -> int:
        """Bytes that wait in its lane."""
        return self._bytes.get(credential, 0)

    def put(self, call: Call, proposal: Proposal, command: Command | None = None) -> None:
        """command: where it was judged by another node, which may know less than this one."""
        if call in self._calls:
            return
        refusal = self._judge(proposal.credential, command)
        if refusal is not None:
            deny = Deny(call=call, is_known=refusal is not Refusal.UNKNOWN_CALLER)
            proposal = Proposal(codec.encode_command(deny), proposal.credential)
        credential = proposal.credential
        lane = self._lanes.setdefault(credential, deque()) if credential else self._own
        lane.append((call, proposal))
        self._calls.add(call)
        self._bytes[credential] = self.size(credential) + len(proposal.command)

    def take(self, bytes_max: int) -> list[Proposal]:
        """As many as stay within bytes_max, at least one if there is one."""
        taken: list[Proposal] = []
        size = 0
        while self._calls:
            lane = self._own or next(iter(self._lanes.values()))
            call, proposal = lane[0]
            size += len(proposal.command)
            if taken and size > bytes_max:
                break
            taken.append(proposal)
            lane.popleft()
            self._calls.discard(call)
            self._passed(proposal)
        return taken

    def _passed(self, proposal: Proposal) -> None:
        credential = proposal.credential
        self._bytes[credential] -= len(proposal.command)
        if not credential:
            return
        if self._lanes[credential]:
            self._lanes.move_to_end(credential)
        else:
            del self._lanes[credential], self._bytes[credential]
