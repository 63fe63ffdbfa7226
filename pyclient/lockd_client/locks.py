"""The blocking client's locks and sessions."""

import math
import os
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Self

from lockd_client.calls import Wants, seconds
from lockd_client.clock import now
from lockd_client.errors import DeadlockError, InvalidArgument, LockdError, LockTimeout, NotOwned
from lockd_client.holding import Flow, Holding, SessionHold
from lockd_client.interrupts import put_off
from lockd_client.transport import Transport
from lockd_client.turns import Turns
from lockd_client.values import CycleLink, State


class _LostEvent(threading.Event):
    def tell(self, in_child: bool) -> None:
        """in_child: after a fork, where a thread that is not there may have held the event's own lock."""
        if in_child:
            self._at_fork_reinit()  # type: ignore[attr-defined]  # what threading itself does with its events
        self.set()


class Lock:
    """A lock, or a set of locks that is taken whole; made by LockdClient.lock() and lock_all().

        with client.lock("nightly-report", ttl=30) as lock:
            ...
            lock.check()  # raises LockLost if it is not held any more

    Re-usable: one hold at a time. Threads that share the object take turns; others, and other processes, queue at the
    cluster in the order of their arrival. A `ttl` is how long the hold lives without renewal; it is renewed in the
    background at a third of it, as long as this object is there: keep it. By its own clock the client calls the lock
    lost when a renewal could not be had in time, even without a network: `lost` is set, callbacks run, check() and the
    end of the `with` raise LockLost. A machine that is paused as a whole cannot know: let what the lock protects refuse
    tokens below the highest it saw.

    After a fork the child's lock is lost; the parent's hold is not touched.
    """

    def __init__(
        self,
        transport: Transport,
        wants: Wants,
        *,
        agent: Callable[[], str],
        wait: float | None,
        auto_renew: bool,
        session: Callable[[], Flow[SessionHold]] | None,
        progress_within: float = math.inf,
    ) -> None:
        self.lost = _LostEvent()
        """A threading.Event: set when the lock is lost, cleared when it is acquired again."""
        self._wait = seconds(wait, "wait")
        self._transport = transport
        self._agent = agent
        self._reentrant = wants.reentrant
        self._holding = Holding(
            transport,
            wants,
            auto_renew=auto_renew,
            signal=self.lost.tell,
            session=session,
            progress_within=progress_within,
        )
        weakref.finalize(self, self._holding.forsake).atexit = False
        self._turns = Turns()  # it is the turn of who holds the lock, or is about to
        self._process = os.getpid()
        self.in_session: Session | None = None
        """Kept, so that it is kept alive as long as this object is there."""

    # ---- taking and giving back

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """True where the lock was acquired, as threading.Lock.acquire().

        blocking: False answers at once. timeout: seconds, at most 2.5 longer where no node answers; -1: as long as it
        takes; once no node has been heard of for the client's timeout it fails.

        Raises DeadlockError where the wait would close a ring, LockLost where this thread holds it re-entrantly and it
        was lost, SessionLost, and as all calls do. After OutcomeUnknown nothing is held in the end: the request is
        undone in the background, until a node has answered that. So it is after KeyboardInterrupt.
        """
        if not blocking and timeout != -1:
            raise InvalidArgument("a timeout needs blocking=True")
        wait = (math.inf if timeout == -1 else seconds(timeout, "timeout")) if blocking else 0.0
        before: list[tuple[int, int]] = []
        try:
            with put_off:
                return self._acquire(wait, before)
        except BaseException:
            self._give_back(before)
            raise

    def release(self) -> None:
        """Raises NotOwned where this object holds nothing, LockLost where the lock was lost before. Once it is called
        the lock counts as not held, whatever it raises; what could not be told to a node is repeated in the background.
        """
        with put_off:
            self._turns.refuse_inside()
            if not self._holding.is_taken:
                raise NotOwned
            try:
                self._transport.run(self._holding.release())
            except NotOwned:  # another thread was quicker
                raise
            except BaseException:
                self._turns.end()
                raise
            self._turns.end()

    def __enter__(self) -> Self:
        """Raises LockTimeout where it was not acquired within `wait`, and what acquire() raises."""
        before: list[tuple[int, int]] = []
        try:
            with put_off:
                if self._acquire(self._wait, before):
                    return self
                raise LockTimeout(f"{self!r} after {self._wait} s")
        except BaseException:
            self._give_back(before)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with put_off:
            self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        try:
            self.release()
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

    def locked(self) -> bool:
        """Whether anybody holds it (of a set: any of it), as of a moment after the call."""
        return self._transport.run(self._holding.locked())

    def on_lost(self, callback: Callable[[], object]) -> None:
        """Has it called once the lock is lost, each time; at once where it is lost now. It runs in the client's
        background thread, which does the renewals: it must not take long, or call the client.
        """
        self._holding.on_lost(callback)

    def on_state(self, callback: Callable[[State], object]) -> None:
        """Has it called with each new state of a hold: SUSPENDED, CONNECTED again, LOST. As on_lost() otherwise; it is
        not called for what was before.
        """
        self._holding.on_state(callback)

    def __repr__(self) -> str:
        names = ", ".join(repr(name) for name, _ in self._holding.wants.names)
        return f"<Lock {names}{' owned' if self.owned else ''}>"

    # ---- inside

    def _acquire(self, wait: float, before: list[tuple[int, int]]) -> bool:
        """before: gets the count before it and the token, once it has acquired."""
        agent = self._agent()
        end = now() + wait
        if not self._take_turn(agent, wait):
            return False
        try:
            if self._process != os.getpid():
                self._process = os.getpid()
                self._holding.leave_to_parent()
            count = self._holding.count
            if not count:
                self.lost.clear()
            left = wait if math.isinf(wait) else max(0.0, end - now())
            acquired = self._transport.run(self._holding.acquire(agent, left))
        except BaseException:
            self._turns.end()
            raise
        if acquired:
            before.append((count, self._holding.token))
        else:
            self._turns.end()
        return acquired

    def _give_back(self, before: list[tuple[int, int]]) -> None:
        """What was acquired, where a signal's handler raised before the caller could know."""
        with put_off:
            for count, token in before:
                if self._holding.give_back(count, token):
                    self._turns.end()

    def _take_turn(self, agent: str, wait: float) -> bool:
        if self._turns.agent == agent:
            if self._reentrant:
                self._turns.take_again()
                return True
            if wait:
                name = self._holding.wants.names[0][0]
                own = CycleLink(owner="", session_id=0, agent=agent, name=name)
                raise DeadlockError("this thread holds it already, by the same object", cycle=[own])
        return self._turns.take(agent, wait)


class Session:
    """A lease that many locks share, made by LockdClient.open_session(); kept alive in the background.

    Locks taken with session= are held as long as the session lives; when it is lost, all of them are. After a fork the
    child's session is lost; the parent's is not touched.
    """

    def __init__(self, transport: Transport, ttl: float, owner: str | None) -> None:
        self.lost = _LostEvent()
        """A threading.Event: set when the session is lost."""
        self._transport = transport
        self.hold = SessionHold(transport, ttl, owner, self.lost.tell)
        weakref.finalize(self, self.hold.forsake).atexit = False
        transport.run(self.hold.open())

    @property
    def id(self) -> int:
        return self.hold.id

    def remaining(self) -> float:
        """Seconds until the session is called lost if no keep-alive succeeds; 0 once it is lost or closed."""
        return self.hold.remaining()

    @property
    def state(self) -> State | None:
        """As Lock.state; None once it is closed."""
        return self.hold.state()

    def on_lost(self, callback: Callable[[], object]) -> None:
        """As Lock.on_lost()."""
        self.hold.on_lost(callback)

    def on_state(self, callback: Callable[[State], object]) -> None:
        """As Lock.on_state()."""
        self.hold.on_state(callback)

    def close(self) -> None:
        """Frees all that is held in it. May be called twice. Interrupted or failed, it goes on in the background, and
        else the session ends with its ttl.
        """
        self._transport.run(self.hold.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except LockdError as failure:
            if error is None:
                raise
            error.add_note(f"while the session was closed: {type(failure).__name__}: {failure}")

    def __repr__(self) -> str:
        return f"<Session {self.id}>"
