"""A simulated client: locks, renews, believes by its own clock, retries through other nodes, releases."""

import asyncio
from typing import Any

from lockd.access.refusal import Reason, Refused
from lockd_client.proto import lockd_pb2 as pb

from .network import Network
from .referee import RHO, Belief, Referee
from .world import Process, World

NAMES = ("a", "b", "c", "d")
RETRIED = {Reason.NO_LEADER, Reason.NO_ANSWER, Reason.OUTCOME_UNKNOWN, Reason.STOPPING, Reason.LIMIT_REACHED}


class SimClient:
    def __init__(self, world: World, network: Network, referee: Referee, name: str) -> None:
        self._world, self._network, self._referee, self.name = world, network, referee, name
        self._rng = world.rng
        self._rate = 1 + self._rng.choice((-RHO, 0.0, RHO))
        self._clock_ms = 0
        self.process = Process(world, name)
        self.stopping = False
        self.process.start(self._live())

    def clock(self) -> float:
        return self._world.now * self._rate

    def kill(self) -> None:
        self.process.kill()
        self._referee.died(self.name)

    # -- calls

    async def _attempt(self, method: str, message: Any) -> Any:
        """One attempt through one node. None: no answer in time."""
        node = self._rng.choice(list(self._network.nodes.values()))
        answer: asyncio.Future[Any] = self.process.loop.create_future()
        timeout = self._rng.choice((0.3, 1.0, 3.0))

        def come_back(result: object) -> None:
            self._network.carry(node.name, self.name, lambda: self.process.call(settle, result))

        def settle(result: object) -> None:
            if not answer.done():
                answer.set_result(result)

        self._network.carry(self.name, node.name, lambda: node.serve(method, message, timeout, come_back))
        timer = self.process.loop.call_later(timeout, settle, None)
        result = await answer
        timer.cancel()
        if isinstance(result, Refused):
            if result.reason not in RETRIED:
                raise result
            await asyncio.sleep(self._rng.uniform(0.05, 0.3))
            return None
        if result is not None:
            self._clock_ms = max(self._clock_ms, result.clock_ms)
        return result

    def _request(self) -> pb.RequestId:
        return pb.RequestId(id=self._rng.randbytes(16), not_after_ms=self._clock_ms + 240_000)

    # -- life

    async def _live(self) -> None:
        while not self.stopping:
            await asyncio.sleep(self._rng.expovariate(1 / 0.15))
            await self._hold_one()

    async def _hold_one(self) -> None:
        name = self._rng.choice(NAMES)
        ttl_ms = self._rng.choice((0, 2_000, 2_000, 3_000, 6_000))
        ask = pb.LockRequest(name=name, ttl_ms=ttl_ms, owner=self.name, request=self._request())
        answer = None
        while answer is None:
            sent = self._world.now
            answer = await self._attempt("Lock", ask)
        if answer.outcome != pb.GRANTED:
            return
        belief = Belief(self.name, name, answer.token, self.clock, None)
        if ttl_ms:
            belief.deadline = self._deadline(sent, answer.lease_remaining_ms)
        self._referee.granted(belief, sent, answer.lease_remaining_ms / 1000)
        await self._keep(belief, ttl_ms)
        self._referee.given_up(belief)
        await self._release(belief)

    def _deadline(self, sent: float, remaining_ms: int) -> float:
        margin = 2 * RHO * remaining_ms / 1000 + 0.05
        return sent * self._rate + remaining_ms / 1000 - margin

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
        sent = self._world.now
        answer = await self._attempt("Renew", pb.RenewRequest(token=belief.token, ttl_ms=ttl_ms))
        if not belief.stands():
            return  # what was lost stays lost, whatever the answer says
        if answer and answer.outcome == pb.RENEWED:
            assert belief.deadline is not None
            belief.deadline = max(belief.deadline, self._deadline(sent, answer.lease_remaining_ms))
            self._referee.renewed(belief, sent, answer.lease_remaining_ms / 1000)
        await asyncio.sleep(ttl_ms / 3000 * self._rng.random())

    async def _read(self, belief: Belief) -> None:
        answer = await self._attempt("IsLocked", pb.IsLockedRequest(name=belief.name))
        if answer and belief.stands():
            self._referee.read(belief, [holder.token for holder in answer.holders])

    async def _release(self, belief: Belief) -> None:
        ask = pb.UnlockRequest(token=belief.token, name=belief.name, request=self._request())
        answer = None
        while answer is None:
            answer = await self._attempt("Unlock", ask)
        self._referee.released(belief, held=answer.released)


class Operator(SimClient):
    """Breaks what dead clients left behind, as people do: it lists the holds and unlocks them by token."""

    def __init__(self, world: World, network: Network, referee: Referee, dead: set[str]) -> None:
        self._dead = dead
        super().__init__(world, network, referee, "operator")

    async def _live(self) -> None:
        while not self.stopping:
            await asyncio.sleep(3.0)
            page = await self._attempt("List", pb.ListRequest(limit=2))
            for holder in page.holders if page else ():
                if holder.owner in self._dead:
                    self._referee.broken(holder.token)
                    await self._attempt("Unlock", pb.UnlockRequest(token=holder.token, request=self._request()))
