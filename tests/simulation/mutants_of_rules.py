"""Sentences of the contract switched off, one at a time, in the machine, the reign or the client."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from lockd.machine import apply as applying
from lockd.machine import commands as c
from lockd.machine import locking, requests
from lockd.machine.outcomes import Applied, Granted, Lost, Outcome
from lockd.machine.state import State
from lockd.machine.tables import Record, Waiter
from lockd.machine.turn import Turn
from lockd.raft.reign import Reign
from lockd.raft.replica import Replica

from .client import SimClient

Off = Iterator[None]


@contextlib.contextmanager
def a_repeated_grant_tells_the_whole_ttl() -> Off:
    """The deadline is then counted from the retry's sending without regard to what remains."""

    def as_if_new(turn: Turn, record: Record) -> Outcome:
        hold = turn.state.holds.get(record.token)
        if hold is None:
            return Lost(record.token)
        return Granted(hold.token, turn.state.leases[hold.lease].ttl_ms if hold.lease else 0, count=hold.count)

    with patch.object(requests, "_granted_again", as_if_new):
        yield


@contextlib.contextmanager
def a_withdrawal_names_no_call() -> Off:
    """It counts also when another attempt has taken the wait, or the grant, over."""
    withdraw = locking.withdraw

    def whoever_parked_it(turn: Turn, ask: c.Withdraw) -> None:
        state = turn.state
        hold = state.holds.get(state.records[ask.key].token) if ask.key in state.records else None
        present = state.waiters.get(ask.key) or hold
        call = present.call if present else None
        withdraw(turn, replace(ask, ended=call or ask.ended))
        if hold and hold.call is None and hold.token in state.holds:
            state.put_hold(replace(hold, call=ask.ended))
            withdraw(turn, ask)

    with patch.dict(applying._CHANGES, {c.Withdraw: whoever_parked_it}):
        yield


@contextlib.contextmanager
def a_reign_keeps_its_first_base() -> Off:
    """A leader that leads again reads the clock on from its earlier leadership, time without a leader included."""
    begin = Reign.begin
    bases: dict[int, tuple[int, float]] = {}
    note = Replica._note_applied

    def noting(self: Replica, index: int, term: int, entry: c.Entry, applied: Applied) -> None:
        before = self.reign.begun if self.reign else True
        note(self, index, term, entry, applied)
        if self.reign and self.reign.begun and not before:
            clock_ms, now = bases.setdefault(self.calls.life, (self.state.scalars.clock_ms, self._clock.monotonic()))
            begin(self.reign, clock_ms, now)
            self.reign.cap_s = float("inf")

    with patch.object(Replica, "_note_applied", noting):
        yield


@contextlib.contextmanager
def the_stamp_is_read_before_the_commands_arrive() -> Off:
    """As of the turn before: a lease granted by it began before it was asked for."""
    read = Reign.read
    last: dict[int, int] = {}

    def before(self: Reign, now: float) -> int:
        stamp_ms = last.get(self.term, read(self, now))
        last[self.term] = read(self, now)
        return stamp_ms

    with patch.object(Reign, "read", before):
        yield


@contextlib.contextmanager
def a_request_goes_past_the_head() -> Off:
    """A new request is granted where holds leave room, whoever waits."""

    def barging(state: State, ask: c.Acquire) -> bool:
        return all(state.lock(name).admits(mode) for name, mode in ask.wants)

    with patch.object(locking, "_is_free", barging):
        yield


@contextlib.contextmanager
def a_set_has_no_place() -> Off:
    """A waiting set is passed on names that are free."""

    def alone(self: Turn, want: c.Want, waiter: Waiter) -> bool:
        return self.state.lock(want.name).admits(want.mode)

    with patch.object(Turn, "_is_first", alone):
        yield


@contextlib.contextmanager
def records_of_grants_are_dropped() -> Off:
    """A repeated request is a new one."""
    keep = requests.keep

    def forgetting(turn: Turn, request: c.Request, outcome: Outcome, **fields: Any) -> Outcome:
        keep(turn, request, outcome, **fields)
        if isinstance(outcome, Granted):
            turn.state.drop_record(turn.state.records[request.key])
        return outcome

    with patch.object(locking, "keep", forgetting):
        yield


@contextlib.contextmanager
def a_cancel_of_the_unseen_is_forgotten() -> Off:
    """A late Lock under a cancelled id is granted."""
    cancel = locking.cancel

    def forgetting(turn: Turn, ask: c.Cancel) -> None:
        unseen = ask.key not in turn.state.records
        cancel(turn, ask)
        if unseen and ask.key in turn.state.records:
            turn.state.drop_record(turn.state.records[ask.key])

    with patch.dict(applying._CHANGES, {c.Cancel: forgetting}):
        yield


@contextlib.contextmanager
def the_client_counts_from_the_answer() -> Off:
    deadline = SimClient._deadline

    def later(self: SimClient, answer: Any, *told: int) -> float:
        return deadline(self, replace(answer, sent=self._world.now), *told)

    with patch.object(SimClient, "_deadline", later):
        yield


RULES = {
    "remaining": (a_repeated_grant_tells_the_whole_ttl, 3),
    "triple": (a_withdrawal_names_no_call, 3),
    "base": (a_reign_keeps_its_first_base, 3),
    "stamp": (the_stamp_is_read_before_the_commands_arrive, 3),
    "head": (a_request_goes_past_the_head, 3),
    "set": (a_set_has_no_place, 3),
    "record": (records_of_grants_are_dropped, 3),
    "unseen": (a_cancel_of_the_unseen_is_forgotten, 3),
    "sent": (the_client_counts_from_the_answer, 3),
}
"""As MUTANTS, by a word of the sentence."""
