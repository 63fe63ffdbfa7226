"""Simulated clients: threads of control that lock, wait, nest, renew, cancel, retry through other nodes, and believe.

A client keeps the client's side of the contract, by its own clock: it counts a lease from the sending of the attempt
that was answered, looks at its deadline before it reads an answer, and takes what was lost for lost.
"""

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lockd.access.refusal import Reason, Refused
from lockd_client.proto import lockd_pb2 as pb

from .network import Network
from .referee import RHO, Belief, LeaseView, Referee, Violation
from .world import Process, World

NAMES = ("a", "b", "c", "d")
RETRIED = {
    Reason.NO_LEADER,
    Reason.NO_ANSWER,
    Reason.OUTCOME_UNKNOWN,
    Reason.STOPPING,
    Reason.WAITS_ELSEWHERE,
    Reason.LIMIT_REACHED,
    Reason.SUPERSEDED,
}
NOT_ACQUIRED = {Reason.SESSION_ENDED, Reason.WITHDRAWN}
NOT_AFTER_MS = 240_000


@dataclass
class Sequences:
    """A client's request ids, and which of them are answered."""

    client: bytes
    last: int = 0
    open: set[int] = field(default_factory=set)

    def next(self) -> int:
        self.last += 1
        self.open.add(self.last)
        return self.last

    def answered(self, request: pb.RequestId) -> None:
        self.open.discard(request.sequence)

    def tell(self, request: pb.RequestId) -> None:
        """All below the oldest that is open, and the ranges between those that are."""
        below, *others = [*sorted(self.open), self.last + 1]
        request.answered_below = below
        for one, other in itertools.pairwise([below, *others]):
            if one + 1 < other:
                request.answered.add(first=one + 1, last=other - 1)


@dataclass
class Answer:
    """sent: in real time, of the attempt that was answered."""

    message: Any
    sent: float


class SimClient:
    """One process. Its threads share a clock, sequences and, where it uses one, a session."""

    def __init__(self, world: World, network: Network, referee: Referee, name: str) -> None:
        self._world, self._network, self._referee, self.name = world, network, referee, name
        self._rng = world.rng
        self._rate = 1 + self._rng.choice((-RHO, 0.0, RHO))
        self._clock_ms = 0
        self._calls = itertools.count(1)
        self._pending: dict[str, Any] = {}
        self._sequences = Sequences(self._rng.randbytes(16)) if self._rng.random() < 0.6 else None
        self._uses_session, self._hedges = self._rng.random() < 0.5, self._rng.random() < 0.3
        self._session: LeaseView | None = None
        self.process = Process(world, name)
        self.stopping = self.is_done = False
        self._start()

    def _start(self) -> None:
        self.threads = self._rng.choice((1, 1, 2, 3))
        for number in range(self.threads):
            self.process.start(self._live(f"{self.name}/{number}"))

    def clock(self) -> float:
        return self._world.now * self._rate

    def kill(self) -> None:
        """Its nodes see the connections break, some later than others."""
        self.process.kill()
        self._referee.died(self.name)
        for call, node in self._pending.items():
            self._world.later(self._rng.uniform(0.0, 3.0), node.hang_up, call)

    # -- calls

    async def _attempt(self, method: str, message: Any, patience: float) -> Answer | Refused | None:
        """One attempt through one node. None: no answer in time."""
        node = self._rng.choice(list(self._network.nodes.values()))
        call = f"{self.name}:{next(self._calls)}"
        answer: asyncio.Future[Any] = self.process.loop.create_future()
        data = message.SerializeToString()
        sent = self._world.now
        self._pending[call] = node

        def come_back(result: object) -> None:
            self._network.carry(node.name, self.name, lambda: self.process.call(settle, result))

        def settle(result: object) -> None:
            if not answer.done():
                answer.set_result(result)

        timeout = patience + self._rng.choice((0.0, 5.0))
        self._network.carry(
            self.name, node.name, lambda: node.serve(call, method, type(message).FromString(data), timeout, come_back)
        )
        timer = self.process.loop.call_later(patience, settle, None)
        result = await answer
        timer.cancel()
        del self._pending[call]
        if result is None and self._rng.random() < 0.7:
            self._network.carry(self.name, node.name, lambda: node.hang_up(call))
        if isinstance(result, Refused) or result is None:
            return result
        self._clock_ms = max(self._clock_ms, result.clock_ms)
        return Answer(result, sent)

    async def _ask(self, method: str, message: Any) -> Answer | Refused:
        """Attempts until one is answered, or refused in a way that another would be too."""
        while True:
            answer = await self._attempt(method, message, self._rng.choice((0.3, 1.0, 3.0)))
            if isinstance(answer, Answer) or (answer and answer.reason not in RETRIED):
                return answer
            await asyncio.sleep(self._rng.uniform(0.02, 0.3))

    async def _ask_once(self, method: str, message: Any) -> Answer | None:
        answer = await self._attempt(method, message, self._rng.choice((0.3, 1.0, 3.0)))
        return answer if isinstance(answer, Answer) else None

    def _request(self) -> pb.RequestId:
        not_after_ms = self._clock_ms + NOT_AFTER_MS
        if self._sequences is None:
            return pb.RequestId(id=self._rng.randbytes(16), not_after_ms=not_after_ms)
        sequences = self._sequences
        return pb.RequestId(client=sequences.client, sequence=sequences.next(), not_after_ms=not_after_ms)

    def _tell(self, request: pb.RequestId) -> None:
        """Each message says what has been answered, as of its sending."""
        if self._sequences is not None:
            request.ClearField("answered")
            self._sequences.tell(request)

    def _is_answered(self, request: pb.RequestId) -> None:
        if self._sequences is not None:
            self._sequences.answered(request)

    # -- sessions

    async def _get_session(self) -> LeaseView | None:
        if not self._uses_session:
            return None
        if self._session is None or not self._session.stands():
            ask = pb.OpenSessionRequest(ttl_ms=self._rng.choice((2_000, 3_000, 6_000)), owner=self.name)
            ask.request.CopyFrom(self._request())
            self._tell(ask.request)
            answer = await self._ask("OpenSession", ask)
            self._is_answered(ask.request)
            if isinstance(answer, Refused):
                return None
            session = LeaseView(self.clock, answer.message.session_id)
            session.extend(self._deadline(answer, answer.message.lease_remaining_ms))
            if not session.stands():
                return None
            self._referee.session_kept(session, answer.sent, answer.message.lease_remaining_ms / 1000)
            self._session = session
            self.process.start(self._keep_session(session, ask.ttl_ms))
        return self._session

    async def _keep_session(self, session: LeaseView, ttl_ms: int) -> None:
        while session.stands() and not self.stopping:
            answer = await self._ask_once("KeepAlive", pb.KeepAliveRequest(session_id=session.session))
            if not session.stands():
                break  # what was lost stays lost, whatever the answer says
            if answer:
                session.extend(self._deadline(answer, answer.message.lease_remaining_ms))
                self._referee.session_kept(session, answer.sent, answer.message.lease_remaining_ms / 1000)
            await asyncio.sleep(ttl_ms / 3000 * self._rng.random())
        if not session.stands():
            await self._close_session(session)

    async def _close_session(self, session: LeaseView) -> None:
        session.give_up()
        self._referee.session_given_up(session.session)
        await self._ask("CloseSession", pb.CloseSessionRequest(session_id=session.session))

    # -- life

    async def _live(self, thread: str) -> None:
        while not self.stopping:
            await asyncio.sleep(self._rng.expovariate(1 / 0.15))
            await self._hold(thread, ())
        self.threads -= 1
        if not self.threads:
            if self._session is not None:
                await self._close_session(self._session)
            self.is_done = True

    async def _hold(self, thread: str, held: tuple[str, ...]) -> None:
        """Takes something, perhaps something more within it, and lets go of it."""
        names = self._rng.sample(NAMES, self._rng.choice((1, 1, 1, 2, 3)))
        ask = await self._new_ask(thread, [name for name in names if name not in held])
        if ask is None:
            return
        belief = await self._acquire(ask)
        if belief is None:
            return
        if self._rng.random() < 0.3 and len(held) < 2:
            await self._hold(thread, (*held, *belief.names))
        elif ask.session_id and len(belief.modes) == 1 and self._rng.random() < 0.3:
            await self._hold_again(ask, belief)
        await self._keep(belief, ask.ttl_ms)
        await self._release(belief, ask)

    async def _new_ask(self, thread: str, names: Iterable[str]) -> pb.LockRequest | None:
        wants = [pb.Want(name=name, mode=self._rng.choice((pb.EXCLUSIVE, pb.EXCLUSIVE, pb.SHARED))) for name in names]
        session = await self._get_session()
        if not wants or (self._uses_session and session is None):
            return None
        return pb.LockRequest(
            wants=wants,
            session_id=session.session if session else 0,
            ttl_ms=0 if session else self._rng.choice((0, 2_000, 2_000, 3_000, 6_000)),
            wait_ms=self._rng.choice((0, 500, 5_000, -1, -1)),
            lock_delay_ms=self._rng.choice((0, 0, 0, 1_000)),
            agent=thread,
            owner=self.name,
            request=self._request(),
        )

    async def _acquire(self, ask: pb.LockRequest) -> Belief | None:
        """Until it is granted or refused, or its thread has had enough and cancels."""
        give_up_at = self.clock() + self._rng.choice((0.5, 6.0, 20.0, 20.0))
        while True:
            answer = await self._attempts(ask)
            if isinstance(answer, Refused) and answer.reason not in RETRIED:
                if answer.reason not in NOT_ACQUIRED:
                    raise Violation(f"{self.name}: a request without an answer yet is refused: {answer.reason.name}")
                self._is_answered(ask.request)
                return None
            if isinstance(answer, Answer):
                self._is_answered(ask.request)
                return self._believe(ask, answer)
            if self.stopping or self.clock() > give_up_at:
                await self._cancel(ask.request)
                return None
            await asyncio.sleep(self._rng.uniform(0.0, 0.3))

    async def _attempts(self, ask: pb.LockRequest) -> Answer | Refused | None:
        """One attempt, or two at once, the second through whichever node."""
        first = self._numbered(ask)
        if not self._hedges or self._rng.random() < 0.5:
            return await self._attempt("Lock", first, self._rng.choice((0.3, 1.0, 3.0)))
        one = self.process.start(self._attempt("Lock", first, 3.0))
        await asyncio.sleep(self._rng.uniform(0.0, 0.5))
        other = self.process.start(self._attempt("Lock", self._numbered(ask), 1.0))
        answers = [await one, await other]
        return next((answer for answer in answers if isinstance(answer, Answer)), answers[1])

    def _numbered(self, ask: pb.LockRequest) -> pb.LockRequest:
        ask.attempt += 1
        self._tell(ask.request)
        numbered = pb.LockRequest()
        numbered.CopyFrom(ask)
        return numbered

    def _believe(self, ask: pb.LockRequest, answer: Answer) -> Belief | None:
        message = answer.message
        if message.outcome == pb.DEADLOCK:
            self._referee.counts["deadlocks"] += 1
            if not message.cycle or message.cycle[0].agent != ask.agent:
                raise Violation(f"{ask.agent} was refused for a deadlock without itself: {message.cycle}")
        if message.outcome != pb.GRANTED:
            self._referee.counts[pb.Outcome.Name(message.outcome).lower()] += 1
            return None
        lease = self._session if ask.session_id else LeaseView(self.clock)
        if lease is None or (ask.session_id and lease.session != ask.session_id):
            return None  # granted in a session that was lost since
        told_s = (message.waited_ms + message.lease_remaining_ms) / 1000
        if ask.ttl_ms:
            lease.extend(self._deadline(answer, message.lease_remaining_ms, message.waited_ms))
        modes = {want.name: want.mode == pb.EXCLUSIVE for want in ask.wants}
        belief = Belief(self.name, modes, message.token, lease)
        self._referee.granted(belief, answer.sent if ask.ttl_ms else None, told_s)
        return belief

    def _deadline(self, answer: Answer, remaining_ms: int, waited_ms: int = 0) -> float:
        told_s = (remaining_ms + waited_ms) / 1000
        return answer.sent * self._rate + told_s - (2 * RHO * told_s + 0.05)

    async def _hold_again(self, outer: pb.LockRequest, belief: Belief) -> None:
        """Re-entrantly: the same token, and a release that leaves the outer one held."""
        ask = pb.LockRequest()
        ask.CopyFrom(outer)
        ask.reentrant, ask.attempt = True, 0
        ask.request.CopyFrom(self._request())
        inner = await self._acquire(ask)
        if inner is None:
            return
        if inner.token != belief.token and belief.lease.stands():
            raise Violation(f"{self.name} holds token {belief.token} and was granted {inner.token} re-entrantly")
        await self._release(inner, ask, keeps=belief)

    async def _keep(self, belief: Belief, ttl_ms: int) -> None:
        """Until it has had enough, or its deadline has passed."""
        until = self.clock() + self._rng.choice((0.05, 0.3, 1.0, 6.0)) * self._rng.random()
        renews = self._rng.random() < 0.7
        while belief.stands() and self.clock() < until and not self.stopping:
            if self._rng.random() < 0.3:
                await self._read(belief)
            elif ttl_ms and renews:
                await self._renew(belief, ttl_ms)
            else:
                await asyncio.sleep(self._rng.uniform(0.05, 0.5))

    async def _renew(self, belief: Belief, ttl_ms: int) -> None:
        answer = await self._ask_once("Renew", pb.RenewRequest(token=belief.token, ttl_ms=ttl_ms))
        if not belief.stands():
            return  # what was lost stays lost, whatever the answer says
        if answer and answer.message.outcome == pb.RENEWED:
            belief.lease.extend(self._deadline(answer, answer.message.lease_remaining_ms))
            self._referee.renewed(belief, answer.sent, answer.message.lease_remaining_ms / 1000)
        await asyncio.sleep(ttl_ms / 3000 * self._rng.random())

    async def _read(self, belief: Belief) -> None:
        name = self._rng.choice(belief.names)
        answer = await self._ask_once("IsLocked", pb.IsLockedRequest(name=name))
        if answer and belief.stands():
            self._referee.read(belief, name, [holder.token for holder in answer.message.holders])

    async def _release(self, belief: Belief, ask: pb.LockRequest, keeps: Belief | None = None) -> None:
        """keeps: the outer belief, where this is a re-entrant one."""
        self._referee.given_up(belief)
        unlock = pb.UnlockRequest(token=belief.token, request=self._request())
        if ask.session_id and self._rng.random() < 0.3:
            unlock.token, unlock.name = 0, belief.names[0]
            unlock.session_id, unlock.agent = ask.session_id, ask.agent
        self._tell(unlock.request)
        answer = await self._ask("Unlock", unlock)
        self._is_answered(unlock.request)
        if isinstance(answer, Answer):
            self._referee.released(belief, answer.message.released)
            if keeps and keeps.stands() and not answer.message.count:
                raise Violation(f"token {belief.token} was released once too often")

    async def _cancel(self, request: pb.RequestId) -> None:
        self._referee.counts["cancels"] += 1
        await self._ask("Cancel", pb.CancelRequest(request=request))
        self._is_answered(request)


class Operator(SimClient):
    """Breaks what dead clients left behind, as people do: it lists the holds and breaks them by token."""

    def __init__(self, world: World, network: Network, referee: Referee, dead: set[str]) -> None:
        self._dead = dead
        super().__init__(world, network, referee, "operator")

    def _start(self) -> None:
        self.threads = 1
        self.process.start(self._live("operator"))

    async def _live(self, thread: str) -> None:
        while not self.stopping:
            await asyncio.sleep(3.0)
            page = await self._ask_once("List", pb.ListRequest(limit=1000))
            for holder in page.message.holders if page else ():
                if holder.owner in self._dead and not holder.session_id:
                    await self._break(holder.token)
        self.is_done = True

    async def _break(self, token: int) -> None:
        self._referee.broken(token)
        unlock = pb.UnlockRequest(token=token, force=True, reason="its client is dead", request=self._request())
        self._tell(unlock.request)
        await self._ask("Unlock", unlock)
        self._is_answered(unlock.request)
