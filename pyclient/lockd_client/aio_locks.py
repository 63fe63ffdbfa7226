"""The asyncio client's locks and sessions."""

import asyncio
import math
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Self

from lockd_client.aio_transport import AioTransport
from lockd_client.calls import Wants, seconds
from lockd_client.clock import now
from lockd_client.errors import DeadlockError, InvalidArgument, LockdError, LockTimeout, NotOwned
from lockd_client.holding import Flow, Holding, SessionHold
from lockd_client.values import CycleLink, State


def _setting(lost: asyncio.Event) -> Callable[[bool], None]:
    """Without a reference to whose event it is, which is to be collected as garbage when nobody else has one."""
    return lambda _is_foreign: lost.set()


class AsyncLock:
    """A lock, or a set of locks that is taken whole; made by AsyncLockdClient.lock() and lock_all().

        async with client.lock("nightly-report", ttl=30) as lock:
            ...
            lock.check()  # raises LockLost if it is not held any more

    All else as locks.Lock says, with tasks for threads.
    """

    def __init__(
        self,
        transport: AioTransport,
        wants: Wants,
        *,
        agent: Callable[[], str],
        wait: float | None,
        auto_renew: bool,
        session: Callable[[], Flow[SessionHold]] | None,
        progress_within: float = math.inf,
    ) -> None:
        self.lost = asyncio.Event()
        """An asyncio.Event: set when the lock is lost, cleared when it is acquired again."""
        self._wait = seconds(wait, "wait")
        self._transport = transport
        self._agent = agent
        self._reentrant = wants.reentrant
        self._holding = Holding(
            transport,
            wants,
            auto_renew=auto_renew,
            signal=_setting(self.lost),
            session=session,
            progress_within=progress_within,
        )
        weakref.finalize(self, self._holding.forsake).atexit = False
        self._turn = asyncio.Lock()  # held by whoever holds the lock, or is about to
        self._taken_by = ""
        self.in_session: AsyncSession | None = None
        """Kept, so that it is kept alive as long as this object is there."""

    # ---- taking and giving back

    async def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """True where the lock was acquired.

        blocking: False answers at once. timeout: seconds, at most 2.5 longer where no node answers; -1: as long as it
        takes; once no node has been heard of for the client's timeout it fails.

        Raises DeadlockError where the wait would close a ring, LockLost where this task holds it re-entrantly and it
        was lost, SessionLost, and as all calls do. After OutcomeUnknown nothing is held in the end: the request is
        undone in the background, until a node has answered that. So it is after the task is cancelled: no waiter and
        no hold stays behind.
        """
        if not blocking and timeout != -1:
            raise InvalidArgument("a timeout needs blocking=True")
        wait = (math.inf if timeout == -1 else seconds(timeout, "timeout")) if blocking else 0.0
        agent = self._agent()
        end = now() + wait
        if not await self._take_turn(agent, wait):
            return False
        again = self._holding.count > 0
        try:
            if not again:
                self.lost.clear()
            left = wait if math.isinf(wait) else max(0.0, end - now())
            acquired = await self._transport.run(self._holding.acquire(agent, left))
        except BaseException:
            self._end_turn(again)
            raise
        if not acquired:
            self._end_turn(again)
        return acquired

    async def release(self) -> None:
        """Raises NotOwned where this object holds nothing, LockLost where the lock was lost before. Once it is called
        the lock counts as not held, whatever it raises; what could not be told to a node is repeated in the background.
        """
        if not self._holding.is_taken:
            raise NotOwned
        try:
            await self._transport.run(self._holding.release())
        finally:
            self._end_turn(self._holding.count > 0)

    async def __aenter__(self) -> Self:
        """Raises LockTimeout where it was not acquired within `wait`, and what acquire() raises."""
        wait = self._wait
        if not await (self.acquire() if math.isinf(wait) else self.acquire(timeout=wait)):
            raise LockTimeout(f"{self!r} after {wait} s")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.release()
        except LockdError as failure:
            if error is None:
                raise
            error.add_note(f"while the lock was released: {type(failure).__name__}: {failure}")

    # ---- what is known of it

    @property
    def owned(self) -> bool:
        """Whether this object holds the lock, by this client's clock. It asks nobody."""
        return self._holding.is_owned

    @property
    def token(self) -> int:
        """The fencing token, 0 where nothing is held."""
        return self._holding.token

    @property
    def names(self) -> tuple[tuple[str, bool], ...]:
        """Of its locks, each with whether it is shared."""
        return self._holding.wants.names

    def remaining(self) -> float:
        """Seconds until the lock is called lost if no renewal succeeds; infinite with ttl=0; 0 where it is not held."""
        return self._holding.remaining()

    @property
    def state(self) -> State | None:
        """What the holder may believe (State), by this client's clock; None where nothing is held. It asks nobody."""
        return self._holding.state()

    def check(self) -> None:
        """Raises LockLost, or NotOwned where it was not acquired. It asks nobody: call it as often as you like."""
        self._holding.check()

    def progress(self) -> None:
        """Says that the work goes on, to a lock that was made with `progress_within`: once that long has passed without
        this, the lock is not renewed any more, and it is lost at most a ttl later. Raises what check() raises. It asks
        nobody.
        """
        self._holding.progress()

    async def locked(self) -> bool:
        """Whether anybody holds it (of a set: any of it), as of a moment after the call."""
        return await self._transport.run(self._holding.locked())

    def on_lost(self, callback: Callable[[], object]) -> None:
        """Has it called once the lock is lost, each time; at once where it is lost now. It runs on the event loop, in
        the callback that does the renewals: it must not block.
        """
        self._holding.on_lost(callback)

    def on_state(self, callback: Callable[[State], object]) -> None:
        """Has it called with each new state of a hold: SUSPENDED, CONNECTED again, LOST. As on_lost() otherwise; it is
        not called for what was before.
        """
        self._holding.on_state(callback)

    def __repr__(self) -> str:
        names = ", ".join(repr(name) for name, _ in self._holding.wants.names)
        return f"<AsyncLock {names}{' owned' if self.owned else ''}>"

    # ---- turns

    async def _take_turn(self, agent: str, wait: float) -> bool:
        if self._taken_by == agent:
            if self._reentrant:
                return True
            if wait:
                own = CycleLink(owner="", session_id=0, agent=agent, name=self._holding.wants.names[0][0])
                raise DeadlockError("this task holds it already, by the same object", cycle=[own])
        if self._turn.locked() and not wait:
            return False
        try:
            async with asyncio.timeout(None if math.isinf(wait) or not self._turn.locked() else wait):
                await self._turn.acquire()
        except TimeoutError:
            return False
        self._taken_by = agent
        return True

    def _end_turn(self, is_held: bool) -> None:
        if not is_held:
            self._taken_by = ""
            self._turn.release()


class AsyncSession:
    """A lease that many locks share, made by AsyncLockdClient.open_session(); kept alive in the background.

    Locks taken with session= are held as long as the session lives; when it is lost, all of them are.
    """

    def __init__(self, transport: AioTransport, ttl: float, owner: str | None) -> None:
        self.lost = asyncio.Event()
        """An asyncio.Event: set when the session is lost."""
        self._transport = transport
        self.hold = SessionHold(transport, ttl, owner, _setting(self.lost))
        weakref.finalize(self, self.hold.forsake).atexit = False

    @property
    def id(self) -> int:
        return self.hold.id

    def remaining(self) -> float:
        """Seconds until the session is called lost if no keep-alive succeeds; 0 once it is lost or closed."""
        return self.hold.remaining()

    @property
    def state(self) -> State | None:
        """As AsyncLock.state; None once it is closed."""
        return self.hold.state()

    def on_lost(self, callback: Callable[[], object]) -> None:
        """As AsyncLock.on_lost()."""
        self.hold.on_lost(callback)

    def on_state(self, callback: Callable[[State], object]) -> None:
        """As AsyncLock.on_state()."""
        self.hold.on_state(callback)

    async def close(self) -> None:
        """Frees all that is held in it. May be called twice. Cancelled or failed, it goes on in the background, and
        else the session ends with its ttl.
        """
        await self._transport.run(self.hold.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except LockdError as failure:
            if error is None:
                raise
            error.add_note(f"while the session was closed: {type(failure).__name__}: {failure}")

    def __repr__(self) -> str:
        return f"<AsyncSession {self.id}>"
