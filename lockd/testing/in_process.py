"""What a test holds in its hands: a node, the network to it, its clients, and time."""

import asyncio
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

import structlog

from lockd import logs
from lockd_client import AsyncLockdClient, LockdClient, clock, now
from lockd_client.aio_locks import AsyncLock, AsyncSession
from lockd_client.errors import NotOwned
from lockd_client.locks import Lock, Session
from lockd_client.values import Holder, Waiter

from .clients import Clients, running_loop
from .hand import Hand
from .node import NodeThread, Rest
from .ways import Way

PATIENCE_S = 60.0

OVER_S = 0.002
"""By how much further time is moved than was asked for: leases, waits and delays end once more than their time is over,
and the cluster counts in milliseconds.
"""

ROUNDS_MAX = 1000
"""Of news that clients hear and answer at one moment."""

BUSY_ROUNDS_MAX = 100
"""Of looks at clients that do not cease to ask, for each time that time is moved. From then on they do not keep it from
being moved, in small steps.
"""

TRIES_MAX = 3
"""To find all clients at rest at once, before time is moved by a small step."""

LOOP_TURNS = 10
"""Of an event loop, before time is moved for it."""

UNTIL_POLL_S = 0.002

_one = threading.Lock()


class InProcessLockd:
    """A lockd of one node in this process, whose time stands still until the test moves it.

        with InProcessLockd() as lockd:
            lock = lockd.client().lock("nightly-report", ttl=30)
            lock.acquire()
            lockd.advance(86_400)
            assert lock.owned

    It is the node that `lockd serve` runs, over a store in memory, and real clients reach it through real sockets. All
    clients of the process follow its time while it is open, whoever made them and whatever they are connected to.
    LOCKD_ENDPOINTS is its endpoint meanwhile, and the other settings of clients in the environment are put aside, so
    that LockdClient() finds it. Of these there is one at a time in a process: time has one hand.

    Real time ends nothing here. It bounds how long is waited for something that takes no time, as the answer to a
    call: `patience` seconds, after which TimeoutError says what does not end; infinity for as long as it takes.
    """

    def __init__(self, *, patience: float = PATIENCE_S) -> None:
        """Raises ValueError."""
        if not patience > 0:
            raise ValueError(f"patience is {patience}; it is a number of seconds, more than 0")
        self._patience = min(patience, threading.TIMEOUT_MAX)
        self._moving = threading.Lock()
        self._open: ExitStack | None = None

    # ---- its life

    def start(self) -> Self:
        """As `with` does. Raises RuntimeError where another one is open in this process."""
        if not _one.acquire(blocking=False):
            raise RuntimeError("an InProcessLockd is open in this process: close it first, time has one hand")
        with ExitStack() as stack:
            stack.callback(_one.release)
            self._clients: list[LockdClient] = []
            self._async_clients: list[AsyncLockdClient] = []
            self._ways: dict[str, Way] = {}
            self._told = -1  # the revision up to which clients have heard what the node told them
            self._hand = Hand()
            stack.enter_context(_clients_follow(self._hand))
            stack.enter_context(_logs_go_to_logging())
            self._parties = Clients(self._hand, self._patience, self._reaches)
            self._node = NodeThread(self._hand, self._patience, self._parties.nudge)
            self._node.start()
            self._begun = self._hand.now
            stack.callback(self._node.stop)
            self._ways[self._node.main_way.endpoint] = self._node.main_way
            stack.enter_context(_environment(LOCKD_ENDPOINTS=self.endpoint, LOCKD_CONFIG=os.devnull))
            self._looking = LockdClient(endpoints=[self._node.endpoint])
            stack.callback(self._close_clients)
            self._open = stack.pop_all()
        return self

    def close(self) -> None:
        """Closes the clients that were made here, and stops the node. May be called twice. From here on real time
        passes for the process's clients, on from where the hand stood.

        In an event loop, use `async with`, or close its clients before.
        """
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    # ---- clients

    @property
    def endpoint(self) -> str:
        """host:port, for clients that are not made here. They share it, and a partition of one is one of them all."""
        return self._node.main_way.endpoint

    def client(self, *, timeout: float = 10.0) -> LockdClient:
        """One that can be cut off on its own. timeout: as LockdClient's, in seconds of the hand's time."""
        client = LockdClient(endpoints=[self._new_endpoint()], timeout=timeout)
        self._clients.append(client)
        return client

    def async_client(self, *, timeout: float = 10.0) -> AsyncLockdClient:
        """The same for asyncio. It does what time brings about only while its event loop runs."""
        client = AsyncLockdClient(endpoints=[self._new_endpoint()], timeout=timeout)
        self._async_clients.append(client)
        return client

    # ---- time

    @property
    def elapsed(self) -> float:
        """Seconds that have passed since the start."""
        return self._hand.now - self._begun

    def advance(self, seconds: float) -> None:
        """Lets time pass, and returns when all that it brings about has happened: leases and waits that end, the next
        in line, renewals of clients that reach the node, `lost` and its callbacks where they do not. What is due at
        the end has happened too: time goes 2 ms further. 0: what is on its way now arrives.

        It goes from one moment at which something is due to the next, so that a day costs what happens in it: of a lock
        with a ttl of 30 s, 8,640 renewals of one or two milliseconds.

        Code that uses clients is not waited for once it has its answers: join its threads, or see what they do
        (until_waiting, until_asking). Where it never ceases to ask, time goes on all the same, in small steps.

        Raises ValueError, RuntimeError in an event loop (advance_async) and while another thread moves time, and
        TimeoutError where a client does not come to rest.
        """
        _refuse_in_loop("advance()", "await advance_async()")
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds is {seconds}; it is a number of seconds, 0 or more")
        with self._alone():
            rest = self._settle()
            end = self._hand.now + seconds + (OVER_S if seconds else 0.0)
            while self._hand.now < end:
                self._move(min(end, rest.next))
                rest = self._settle()

    async def advance_async(self, seconds: float) -> None:
        """advance() in a thread, so that the clients of this event loop take part. First the loop makes some turns, in
        which tasks that were just made come to what they wait for.
        """
        for _ in range(LOOP_TURNS):
            await asyncio.sleep(0)
        await asyncio.to_thread(self.advance, seconds)

    # ---- trouble

    def partition(self, client: LockdClient | AsyncLockdClient) -> None:
        """Cuts a client off, as a network does that drops packets: nothing arrives and nothing is refused. What it asks
        for hangs until its timeout is moved over. After 15 s the node breaks its connections, and 2 s later what waits
        for a lock without a session leaves the queue. Raises ValueError for a client of another cluster.
        """
        for way in self._ways_of(client):
            self._node.do(way.cut)

    def heal(self, client: LockdClient | AsyncLockdClient) -> None:
        """Ends the partition. The client is connected again on return; one of this event loop soon after."""
        with self._alone():
            for way in self._ways_of(client):
                self._node.do(way.heal)
            self._parties.hear(everyone=True)
            self._settle()

    def expire(self, name: str) -> None:
        """Ends the leases of those who hold this lock, on the node, as if they had run out; with a session's lease all
        that is held in it. The next in line are granted. The holders' clients learn of it when they renew, or release.

        Raises LookupError where nobody holds it, ValueError for a hold without a lease.
        """
        with self._alone():
            self._node.ask(self._node.expire(name))
            self._settle()

    def lose(self, lock: Lock | AsyncLock | Session | AsyncSession) -> None:
        """Has the client take its lock, or session, for lost, as if its deadline had passed: `lost` is set, and
        callbacks run. With a lock in a session the session is lost. The node keeps the hold until it is released, or
        its lease ends. Raises NotOwned where nothing is held.
        """
        holding = lock.hold if isinstance(lock, Session | AsyncSession) else lock._holding
        lease = holding.lease
        if lease is None:
            raise NotOwned(repr(lock))
        with self._alone():
            self._parties.do(lock._transport, lambda engine: engine.leases.lose(lease, now()))
            self._settle()

    # ---- what the node knows

    def holders(self, name: str) -> tuple[Holder, ...]:
        """Who holds the lock, as LockdClient.get() has it."""
        return self._looking.get(name, limit=1000).holders

    def waiters(self, name: str) -> tuple[Waiter, ...]:
        """Who waits for it, in the order of their turns."""
        return self._looking.get(name, limit=1000).waiters

    def until_waiting(self, name: str, count: int = 1) -> tuple[Waiter, ...]:
        """Waits, in real time, until so many wait for the lock: for threads that are about to. Raises TimeoutError,
        RuntimeError in an event loop, where `await advance_async(0)` lets tasks come so far.
        """
        _refuse_in_loop("until_waiting()", "await advance_async(0)")
        self._until(lambda: len(self.waiters(name)) >= count, f"{count} wait for {name!r}")
        return self.waiters(name)

    def until_asking(self, client: LockdClient, count: int = 1) -> None:
        """Waits, in real time, until so many calls of a client are on their way or wait: for threads that are about to
        make one. Raises as until_waiting().
        """
        _refuse_in_loop("until_asking()", "await advance_async(0)")
        self._until(lambda: self._parties.calls(client._transport) >= count, f"{count} calls are made")

    # ---- inside

    def _until(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._patience
        while not is_so():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not so after {self._patience} s: {what}")
            time.sleep(UNTIL_POLL_S)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._moving.acquire(blocking=False):
            raise RuntimeError("time is being moved: by another thread, or by the one that runs this callback")
        self._busy_rounds = 0
        try:
            yield
        finally:
            self._moving.release()

    def _move(self, moment: float) -> None:
        for _ in range(TRIES_MAX):
            if self._parties.move(moment):
                return
        self._parties.move(moment, is_busy=True)

    def _settle(self) -> Rest:
        """Until neither node nor clients have anything to do, or to hear, before time goes on."""
        for _ in range(ROUNDS_MAX):
            is_quiet = self._parties.come_to_rest()
            self._busy_rounds += not is_quiet
            rest = self._node.ask(self._node.settle())
            has_news = rest.revision != self._told
            if not has_news if is_quiet else self._busy_rounds >= BUSY_ROUNDS_MAX:
                break
            self._told = rest.revision
            self._parties.hear()
        return rest

    def _reaches(self, endpoint: str) -> bool:
        way = self._ways.get(endpoint)
        return not way.is_cut if way is not None else endpoint == self._node.endpoint

    def _new_endpoint(self) -> str:
        way = self._node.ask(self._node.new_way())
        self._ways[way.endpoint] = way
        return way.endpoint

    def _ways_of(self, client: LockdClient | AsyncLockdClient) -> list[Way]:
        found = [self._ways[endpoint] for endpoint in client.endpoints if endpoint in self._ways]
        if not found:
            raise ValueError(f"this client goes to {', '.join(client.endpoints)}, and not to this lockd")
        return found

    def _close_clients(self) -> None:
        if self._node.is_running:
            for way in self._ways.values():
                self._node.do(way.heal)
        for client in (*self._clients, self._looking):
            client.close()
        for async_client in self._async_clients:
            self._end(async_client)

    def _end(self, client: AsyncLockdClient) -> None:
        loop = client._transport.loop
        if loop is None or loop.is_closed():
            return
        if loop is running_loop():
            self._ending = loop.create_task(client.close())  # kept, or it might be collected before its end
        elif loop.is_running():
            asyncio.run_coroutine_threadsafe(client.close(), loop).result(self._patience)
        else:
            loop.run_until_complete(client.close())


def _refuse_in_loop(what: str, instead: str) -> None:
    if running_loop() is not None:
        raise RuntimeError(f"{what} blocks the event loop in which it is called, and its clients: use {instead}")


@contextmanager
def _clients_follow(hand: Hand) -> Iterator[None]:
    clock._follow(hand)
    try:
        yield
    finally:
        clock._follow(None)


@contextmanager
def _environment(**ours: str) -> Iterator[None]:
    """With these, and with none of the other settings of clients."""
    before = {name: value for name, value in os.environ.items() if name.startswith("LOCKD_")}
    for name in before:
        del os.environ[name]
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def _logs_go_to_logging() -> Iterator[None]:
    """structlog prints where it was not configured; pytest and its users look into logging."""
    grpc_log = logging.getLogger(logs._GRPC)
    grpc_log.addFilter(logs._is_no_departure)
    factory = structlog.stdlib.LoggerFactory()
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.processors.format_exc_info,
                structlog.processors.KeyValueRenderer(key_order=["event"]),
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=factory,
            cache_logger_on_first_use=False,
        )
    try:
        yield
    finally:
        grpc_log.removeFilter(logs._is_no_departure)
        if structlog.get_config()["logger_factory"] is factory:
            structlog.reset_defaults()
