"""Calls that wait for their command's answer on this node."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from lockd.machine.commands import Call
from lockd.machine.outcomes import Outcome

RESEND_S = 0.7
"""A command without an answer is sent again after this time, and at once when the leader changes."""


@dataclass(slots=True, eq=False)
class Parked:
    """One command on its way. It may be sent any number of times: its request id, or its nature, acts once."""

    call: Call
    command: bytes
    future: asyncio.Future[Outcome]
    sent_to: tuple[int, int] | None = None
    """(leader, term) that it was sent to last."""
    sent_at: float = 0.0
    ever_sent: bool = False


class Calls:
    """Registered before their command is proposed, so that no answer can come too early."""

    def __init__(self, node: int, life: int) -> None:
        self._node, self._life, self._number = node, life, 0
        self._parked: dict[int, Parked] = {}
        self._unsent: dict[int, Parked] = {}
        self._swept_at = 0.0
        self._swept_for: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self._parked)

    def next_call(self) -> Call:
        self._number += 1
        return Call(self._node, self._life, self._number)

    def park(self, call: Call, command: bytes, future: asyncio.Future[Outcome]) -> Parked:
        parked = Parked(call, command, future)
        self._parked[call.number] = self._unsent[call.number] = parked
        return parked

    def leave(self, call: Call) -> None:
        """The caller has gone: its answer, if one comes, is dropped."""
        self._parked.pop(call.number, None)
        self._unsent.pop(call.number, None)

    def is_ours(self, call: Call) -> bool:
        return call.node == self._node and call.life == self._life and call.number in self._parked

    def answer(self, call: Call, outcome: Outcome) -> None:
        parked = self._parked.get(call.number)
        if parked:
            self.leave(call)
            if not parked.future.done():
                parked.future.set_result(outcome)

    def send_again(self, call: Call) -> None:
        if call.number in self._parked:
            self._unsent[call.number] = self._parked[call.number]

    def send_all_again(self) -> None:
        self._unsent = dict(self._parked)

    def to_send(self, leader: tuple[int, int], now: float) -> Iterator[Parked]:
        """Those that this leader has not been sent, or not answered in time; each counts as sent from now on.

        Nothing is lost on the way to this node itself, so what it leads with is sent once.
        """
        self._sweep(leader, now)
        unsent, self._unsent = self._unsent, {}
        for parked in unsent.values():
            parked.sent_to, parked.sent_at, parked.ever_sent = leader, now, True
            yield parked

    def _sweep(self, leader: tuple[int, int], now: float) -> None:
        if leader == self._swept_for and now - self._swept_at < RESEND_S / 4:
            return
        self._swept_for, self._swept_at = leader, now
        is_other = leader[0] != self._node
        for number, parked in self._parked.items():
            if parked.sent_to != leader or (is_other and now - parked.sent_at >= RESEND_S):
                self._unsent[number] = parked
