"""The node: the daemon's, in a thread of its own, over a store in memory and by the hand's clock."""

import asyncio
import resource
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from lockd.config import Compaction, Config, Limits, NodeAddress, Timing
from lockd.daemon import Node
from lockd.machine import commands as c
from lockd.persistence.memory import MemoryShelf, MemoryStore

from .hand import Hand
from .loop import HandLoop
from .ways import HOST, Way

T = TypeVar("T")

NUDGE_S = 0.1
"""In real time: how often it is looked for clients that wait for nothing but time to connect."""

FOREVER_MS = 10**12
"""A reading goes on by no more than the upper election timeout at once: here as far as the hand goes."""

CONNECTIONS_MAX = 1000

AGE_S = 1.0
"""Of the cluster when a test begins: a moment ago was not before its time."""


@dataclass(frozen=True, slots=True)
class Rest:
    """A node that does nothing more before time goes on. next: when it will. revision: of the last event."""

    next: float
    revision: int


class NodeThread:
    def __init__(self, hand: Hand, patience: float, nudge: Callable[[], None]) -> None:
        """patience: seconds of real time for one answer. nudge: called now and then on the node's loop."""
        self._hand, self._patience, self._nudge = hand, patience, nudge
        self._loop = HandLoop(hand)
        self._ready: Future[None] = Future()
        self._ways: list[Way] = []
        self._node: Node
        self._clock_ms, self._read_at = 0, hand.now
        """The cluster's clock, and the hand, at the last entry that was closed here."""
        self._thread = threading.Thread(target=self._run, name="lockd-testing", daemon=True)

    def start(self) -> None:
        """Raises what keeps the node from serving."""
        self._thread.start()
        self._ready.result(self._patience)

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        if self.is_running:
            self._loop.call_soon_threadsafe(self._node.stop)
            self._thread.join(self._patience)

    def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """What it returns, or raises; RuntimeError where the node does not run."""
        if not self.is_running:
            work.close()
            raise RuntimeError("the node does not run: it is closed, or it has failed")
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(self._patience)
        except CancelledError as error:
            raise RuntimeError("the node has failed meanwhile") from error

    def do(self, work: Callable[[], None]) -> None:
        """On the node's loop."""

        async def done() -> None:
            work()

        self.ask(done())

    # ---- on the loop

    @property
    def endpoint(self) -> str:
        """That cannot be cut."""
        return f"{HOST}:{self._node.port}"

    @property
    def main_way(self) -> Way:
        return self._ways[0]

    async def new_way(self) -> Way:
        way = Way(self._loop)
        await way.open()
        self._ways.append(way)
        way.lead_to(self._node.port)
        return way

    async def settle(self) -> Rest:
        """Does all that is due by now."""
        while self._next() <= self._hand.now:
            self._loop.run_due()
            await self._notice_vanished()
            await self._close_entry()
        return Rest(self._next(), self._node.replica.state.scalars.revision)

    async def expire(self, name: str) -> None:
        """Lets the leases of its holds have ended a moment ago. Raises LookupError, ValueError."""
        state = self._node.replica.state
        leases = {state.holds[token].lease for token in state.lock(name).holders}
        if not leases:
            raise LookupError(f"nobody holds {name!r}")
        if 0 in leases:
            raise ValueError(f"{name!r} is held without a lease (ttl=0): it ends when it is unlocked")
        for lease in leases:
            state.put_lease(replace(state.leases[lease], deadline_ms=state.scalars.clock_ms - 1))
        await self._close_entry()

    async def _close_entry(self) -> None:
        """It ends what is due, as far as one entry may, and sets the cluster's clock to this moment."""
        replica = self._node.replica
        await replica.calls.propose(lambda call: c.Barrier(call=call), None)
        self._clock_ms, self._read_at = replica.state.scalars.clock_ms, self._hand.now

    def _next(self) -> float:
        return min(self._loop.next_due(), self._next_bound())

    def _next_bound(self) -> float:
        """When something ends. A node's own lease is renewed in time if that is tried when it ends; all else is over a
        moment later.
        """
        state = self._node.replica.state
        bound_ms = state.next_bound_ms()
        if bound_ms is None:
            return float("inf")
        if bound_ms < self._clock_ms:
            return self._read_at
        over_ms = bound_ms + (bound_ms != state.node_ends.next())
        return self._read_at + max(over_ms - self._clock_ms, 1) / 1000

    async def _notice_vanished(self) -> None:
        """gRPC tells the node that a connection broke when it comes to it."""
        for way in self._ways:
            while any(peer in way.vanished for peer in self._peers()):  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0.001)
            way.vanished.clear()

    def _peers(self) -> Iterator[str]:
        """host:port of the clients whose streams are open."""
        return (stream.caller.peer.rpartition("ipv4:")[2] for stream in self._node._streams._open)

    # ---- the thread

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # whatever ended it, start() raises it
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        main = Way(self._loop)
        await main.open()
        self._ways.append(main)
        with ThreadPoolExecutor(1, "lockd-testing-worker") as worker:
            config = _config(main.port)
            with _same_limit_on_files():
                self._node = Node(
                    config, MemoryStore(), MemoryShelf(), worker, lambda: config, clock=self._hand, options=()
                )
            running = self._loop.create_task(self._node.run())
            try:
                await self._lead(running)
                self._hand.move(self._hand.now + AGE_S)
                await self._close_entry()
                main.lead_to(self._node.port)
                self._ready.set_result(None)
                while not running.done():
                    self._nudge()
                    await asyncio.wait([running], timeout=NUDGE_S)
                await running
            finally:
                for way in self._ways:
                    way.close()

    async def _lead(self, running: "asyncio.Task[None]") -> None:
        """It stands for election once some time has passed."""
        while not (self._node.port and self._node.replica.reaches_leader):
            if running.done():
                running.result()
            await asyncio.sleep(0.001)  # the pauses in its work are of real time
            self._hand.move(self._hand.now + 0.001)


def _config(port: int) -> Config:
    """port: that is told to clients."""
    me = NodeAddress(id=1, host=HOST, port=port, http_port=0, peer_port=0)
    return Config(
        me=me,
        nodes=(me,),
        listen_host=HOST,
        listen_port=0,
        data_dir=None,
        persistence="memory",
        insecure=False,
        timing=Timing(election_timeout_max_ms=FOREVER_MS),
        compaction=Compaction(),
        limits=Limits(connections_max=CONNECTIONS_MAX),
    )


@contextmanager
def _same_limit_on_files() -> Iterator[None]:
    """A node raises its process's limit; this process is the test's."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
