"""Calls that wait for their commands' answers on this node, and what is done about those whose callers have gone."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lockd.clock import Clock
from lockd.machine.commands import Acquire, Call, Command, Key, OpenNode, Withdraw
from lockd.machine.constants import RECORD_KEEP_MS, WAIT_GRACE_MS
from lockd.machine.outcomes import Answer, Granted, Outcome, Queued, Refusal

from . import codec
from .errors import NodeStopping, NoLeader, OutcomeUnknown, RaftError
from .proposals import Proposal, proposal

RESEND_S = 0.7
"""A command without an answer is sent again after this time, and at once when the leader changes."""

COME_BACK_S = 2.0
"""A call that broke off is withdrawn after this time, so that its client can come back through another node."""

NODE_LEASE_S = WAIT_GRACE_MS / 3000
"""A node that parks calls renews its lease this often."""

FORGET_S = RECORD_KEEP_MS / 1000
"""A call that ended is remembered this long: by then a late copy of its command is too old to act."""

Done = Callable[[Outcome | RaftError], None]
Make = Callable[[Call], Command]


@dataclass(slots=True, eq=False)
class Parked:
    """One command on its way. It may be sent any number of times: its request id, or its nature, acts once."""

    call: Call
    proposal: Proposal
    done: Done
    key: Key | None
    """Of an Acquire without a session, which is withdrawn when its caller goes; else None."""
    opens_node: bool = field(default=False, kw_only=True)
    parked_s: float | None = 0.0
    timer: asyncio.TimerHandle | None = None
    is_queued: bool = False
    is_unsure: bool = False
    """Of what became of it while it was queued: it is sent again until that is known."""
    was_skipped: bool = False
    """It was sent, and then the state came as a whole: whether it was done in what was skipped is not known."""
    sent_to: tuple[int, int] | None = None
    """(leader, term) that it was sent to last."""
    sent_at: float = 0.0
    ever_sent: bool = False


@dataclass(slots=True)
class Gone:
    """An Acquire whose caller has gone before it was answered."""

    key: Key
    since: float
    is_withdrawing: bool = True
    """A withdrawal is on its way, or waits for its time."""
    is_waiting: bool = False
    """For its client to come back."""
    was_seen: bool = False
    """Parked or granted, meanwhile: the withdrawal on its way may come before that."""


@dataclass(slots=True)
class Calls:
    """Registered before their command is proposed, so that no answer can come too early."""

    node: int
    life: int
    clock: Clock
    wake: Callable[[], None]
    _number: int = 0
    _parked: dict[int, Parked] = field(default_factory=dict)
    _unsent: dict[int, Parked] = field(default_factory=dict)
    _gone: dict[int, Gone] = field(default_factory=dict)
    _waiting: dict[int, Parked] = field(default_factory=dict)
    """Those that are queued without a session: they need this node's lease."""
    _opened_at: float = float("-inf")
    _opening: Parked | None = None
    _swept_at: float = 0.0
    _swept_for: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self._parked)

    @property
    def in_work(self) -> int:
        """Those that wait for an answer, not for a lock."""
        return sum(not parked.is_queued for parked in self._parked.values())

    # -- callers

    def submit(
        self,
        make: Make,
        done: Done,
        timeout_s: float | None,
        parked_s: float | None = 0.0,
        credential: str = "",
        lane: str = "",
    ) -> Call:
        """Registers a call. What `make` raises is raised, and nothing is registered.

        done: is given Queued once where the call parks, then the outcome, NoLeader if the command never left
        this node, OutcomeUnknown if it did and no answer came in time, or NodeStopping.
        timeout_s: from now. parked_s: once the call has parked, from then on instead; 0: timeout_s goes on. None: no
        bound. credential: whose command it is; empty for the node's own, and where nobody is asked. lane: with whom it
        takes turns (proposals.py).
        """
        return self._submit(make, done, timeout_s, parked_s, credential, lane).call

    async def propose(
        self, make: Make, timeout_s: float | None, parked_s: float | None = 0.0, credential: str = ""
    ) -> Outcome:
        """Commits a command, wherever the leader is, and returns its outcome. Raises what submit's `done` is given.

        A caller that is cancelled has broken off.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome | RaftError) -> None:
            if future.done() or isinstance(outcome, Queued):
                return
            if isinstance(outcome, RaftError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        parked = self._submit(make, done, timeout_s, parked_s, credential)
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled() or not future.done():  # cancelling a task cancels what it waits for
                self.leave(parked.call, broke_off=True)
            elif future.exception() is None and parked.key:  # the answer had come
                self.take_back(parked.call, parked.key)
            raise

    def leave(self, call: Call, *, broke_off: bool) -> None:
        """The caller has gone: `done` is not called any more, and what it asked for without a session is withdrawn."""
        parked = self._drop(call.number)
        if parked and parked.key and parked.ever_sent:
            self._withdraw_later(parked.call, parked.key, COME_BACK_S if broke_off else 0.0)

    def take_back(self, call: Call, key: Key) -> None:
        """An Acquire without a session was answered, and the answer was not handed on: as if its caller broke off."""
        self._withdraw_later(call, key, COME_BACK_S)

    def send_away(self) -> None:
        """Ends the calls that wait for locks with NodeStopping. They are not withdrawn: their clients come back."""
        for parked in [parked for parked in self._parked.values() if parked.is_queued]:
            self._drop(parked.call.number)
            parked.done(NodeStopping("this node is stopping; ask another one with the same request id"))

    def _submit(
        self,
        make: Make,
        done: Done,
        timeout_s: float | None,
        parked_s: float | None = 0.0,
        credential: str = "",
        lane: str = "",
    ) -> Parked:
        self._number += 1
        call = Call(self.node, self.life, self._number)
        command = make(call)
        key = None
        if isinstance(command, Acquire):
            self._open_node()
            key = None if command.session else command.request.key
        parked = Parked(call, proposal(command, codec.encode_command(command), credential, lane), done, key, parked_s)
        if timeout_s is not None:
            parked.timer = asyncio.get_running_loop().call_later(timeout_s, self._expire, parked)
        self._parked[call.number] = self._unsent[call.number] = parked
        self.wake()
        return parked

    def _expire(self, parked: Parked) -> None:
        self.leave(parked.call, broke_off=False)
        if parked.ever_sent:
            parked.done(OutcomeUnknown("no answer came in time"))
        else:
            parked.done(NoLeader("no leader was found in time"))

    def _drop(self, number: int) -> Parked | None:
        parked = self._parked.pop(number, None)
        self._unsent.pop(number, None)
        self._waiting.pop(number, None)
        if parked and parked.timer:
            parked.timer.cancel()
        return parked

    # -- answers

    def is_ours(self, call: Call) -> bool:
        return call.node == self.node and call.life == self.life

    def answer(self, answer: Answer) -> None:
        """What an entry says to one of this node's calls."""
        number, outcome = answer.call.number, answer.outcome
        parked = self._parked.get(number)
        if parked is None:
            if isinstance(outcome, Queued | Granted):
                self._see_again(answer)
        elif outcome is Refusal.STALE_EPOCH:
            self._send_again(parked)
        elif outcome is Refusal.STALE_NODE:
            if not parked.opens_node:
                self._opened_at = float("-inf")
                self._open_node()
            self._send_again(parked)
        elif isinstance(outcome, Queued):
            parked.is_unsure = False
            if not parked.is_queued:
                self._note_queued(parked)
                parked.done(outcome)
        elif outcome is Refusal.DENIED or outcome is Refusal.UNKNOWN_CALLER:
            self._deny(parked, outcome)
        else:
            self._drop(number)
            parked.done(outcome)

    def _deny(self, parked: Parked, refusal: Refusal) -> None:
        """What an earlier copy of it began is undone."""
        self.leave(parked.call, broke_off=False)
        in_doubt = OutcomeUnknown("its caller may not do it any more; whether it was done before is not known")
        waits_on = parked.is_queued and not parked.key  # in its session, from which nothing is withdrawn
        parked.done(in_doubt if parked.was_skipped or waits_on else refusal)

    def _note_queued(self, parked: Parked) -> None:
        parked.is_queued = True
        if parked.key:
            self._waiting[parked.call.number] = parked
        if parked.parked_s != 0.0 and parked.timer:
            parked.timer.cancel()
            parked.timer = None
        if parked.parked_s:
            parked.timer = asyncio.get_running_loop().call_later(parked.parked_s, self._expire, parked)

    # -- whose callers have gone

    def _withdraw_later(self, call: Call, key: Key, delay_s: float) -> None:
        now = self.clock.monotonic()
        while self._gone:
            oldest = next(iter(self._gone))
            if now - self._gone[oldest].since < FORGET_S:
                break
            del self._gone[oldest]
        self._gone[call.number] = Gone(key, now, is_waiting=delay_s > 0)
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._withdraw_waiting, call)
        else:
            self._withdraw(call)

    def _withdraw_waiting(self, call: Call) -> None:
        gone = self._gone.get(call.number)
        if gone and gone.is_waiting:
            self._withdraw(call)

    def _withdraw(self, call: Call) -> None:
        gone = self._gone.get(call.number)
        if gone is None:
            return
        gone.is_withdrawing, gone.is_waiting, gone.was_seen = True, False, False

        def done(_: Outcome | RaftError) -> None:
            gone.is_withdrawing = False
            if gone.was_seen:
                self._withdraw(call)

        self._submit(lambda own: Withdraw(call=own, key=gone.key, ended=call), done, None)

    def _see_again(self, answer: Answer) -> None:
        """A call whose caller has gone was parked or granted: only a withdrawal that is applied later undoes that.

        A call that parks after it was answered was taken over by another attempt, and then by a late copy of itself:
        nobody waits for it, and nobody was told of a grant.
        """
        gone = self._gone.get(answer.call.number)
        if gone is None:
            if isinstance(answer.outcome, Queued) and answer.key:
                self._withdraw_later(answer.call, answer.key, COME_BACK_S)
        elif gone.is_withdrawing:
            gone.was_seen = True
        else:
            self._withdraw(answer.call)

    def flush(self) -> None:
        """Before the node stops: withdrawals that wait for their clients to come back are proposed now."""
        for number, gone in self._gone.items():
            if gone.is_waiting:
                self._withdraw(Call(self.node, self.life, number))

    # -- this node's lease

    def tend(self) -> None:
        """Once a turn: keeps the node's lease while calls wait under it."""
        if self._waiting:
            self._open_node()

    def _open_node(self) -> None:
        """In the same entry as, and before, what is registered after it. One at a time is on its way."""
        now = self.clock.monotonic()
        if self._opening is None and now - self._opened_at >= NODE_LEASE_S:
            self._opened_at = now
            self._opening = self._submit(lambda call: OpenNode(call=call), self._opened, None)
            self._opening.opens_node = True

    def _opened(self, _: Outcome | RaftError) -> None:
        self._opening = None

    # -- on their way

    def send_all_again(self) -> None:
        """What became of the calls here is not known: the state came as a whole."""
        for parked in self._parked.values():
            parked.was_skipped |= parked.ever_sent
            self._send_again(parked)
        for number, gone in list(self._gone.items()):
            if not gone.is_withdrawing:
                self._withdraw(Call(self.node, self.life, number))

    def _send_again(self, parked: Parked) -> None:
        parked.is_unsure = parked.is_queued
        self._unsent[parked.call.number] = parked

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
        is_other = leader[0] != self.node
        for number, parked in self._parked.items():
            if parked.is_queued and not parked.is_unsure:
                continue
            if parked.sent_to != leader or (is_other and now - parked.sent_at >= RESEND_S):
                self._unsent[number] = parked
