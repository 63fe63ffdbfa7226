"""What a lock object and a session do, without saying how calls are made: flows, which yield calls and are sent what
they answer. Pure but for the clock. sync and async objects (locks.py, aio_locks.py) run the same flows.
"""

import math
import weakref
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol, TypeVar

from lockd_client import calls
from lockd_client.attempts import WITHDRAWN
from lockd_client.calls import Call, Gone, Wants
from lockd_client.clock import now
from lockd_client.engine import Engine
from lockd_client.errors import (
    CallFailed,
    DeadlockError,
    InvalidArgument,
    LockdError,
    LockLost,
    NotOwned,
    OutcomeUnknown,
    SessionLost,
    UpgradeRefused,
)
from lockd_client.leases import Lease
from lockd_client.values import NO_DEADLINE, LockAnswer, Outcome, State

T = TypeVar("T")
Flow = Generator[Call[Any], Any, T]

RENEWALS_MAX = 3  # of a lease that is too short to be reported
TRIES_MAX = 3  # of an acquisition whose time is over and that was lost, or withdrawn, on its way


def checked_progress(within: float | None, *, renews: bool) -> float:
    """renews: whether the lock has a lease of its own that is renewed. Raises InvalidArgument."""
    if within is None:
        return math.inf
    if not within > 0:
        raise InvalidArgument(f"progress_within is {within}; it is a number of seconds, more than 0")
    if not renews:
        raise InvalidArgument("progress_within is for locks that are renewed, and on their own: with a ttl, no session")
    return within


class Driver(Protocol):
    """What flows need of who runs them."""

    def inside(self) -> AbstractContextManager[Engine]:
        """For a moment; nothing is awaited inside."""

    def fire(self, callback: Callable[[], object]) -> None:
        """Inside: has it called, soon and elsewhere."""


class Watched:
    """A lease that tells what becomes of it: where it is lost once `signal`, at once, and then each callback,
    elsewhere.
    """

    def __init__(self, driver: Driver, signal: Callable[[bool], object]) -> None:
        """signal: must not block. Its argument: whether it is another process's lease (forks)."""
        self.driver = driver
        self._signal = signal
        self._callbacks: list[Callable[[], object]] = []
        self._observers: list[Callable[[State], object]] = []
        self._was_lost = False

    def on_lost(self, callback: Callable[[], object]) -> None:
        with self.driver.inside():
            self._callbacks.append(callback)
            if self._was_lost:
                self.driver.fire(callback)

    def on_state(self, callback: Callable[[State], object]) -> None:
        with self.driver.inside():
            self._observers.append(callback)

    def watch(self, lease: Lease) -> Callable[[], None]:
        """Inside. Returns what ends it."""
        self._was_lost = False
        return lease.listen(partial(self.heard, lease))

    def heard(self, lease: Lease, state: State) -> None:
        """Inside."""
        if state is State.LOST:
            self._was_lost = True
            self._signal(lease.is_foreign)
        if lease.is_foreign:
            return
        for observer in self._observers:
            self.driver.fire(partial(observer, state))
        if state is State.LOST:
            for callback in self._callbacks:
                self.driver.fire(callback)


class SessionHold(Watched):
    """A session of this client's. Its lease is looked after until it is closed or lost."""

    def __init__(
        self,
        driver: Driver,
        ttl: float,
        owner: str | None,
        signal: Callable[[bool], object],
        *,
        is_the_clients: bool = False,
    ) -> None:
        """is_the_clients: not a user's. Its locks know nothing of each other; each ends with its own object."""
        super().__init__(driver, signal)
        self.ttl = ttl
        self.is_the_clients = is_the_clients
        self.id = 0
        self.lease: Lease | None = None
        self.is_closed = False
        self._owner = owner

    def open(self) -> Flow[None]:
        opened = yield calls.open_session(self.ttl, self._owner)
        lease = Lease(
            opened.ttl, deadline=opened.renewal.deadline, sent=opened.renewal.sent, session_id=opened.session_id
        )
        if not (yield from _lengthened(lease)):
            raise SessionLost("it ended before it could be used")
        with self.driver.inside() as engine:
            self.id, self.lease = opened.session_id, lease
            self.watch(lease)
            engine.leases.keep(lease)

    def get(self) -> Flow["SessionHold"]:
        """Itself. Raises SessionLost."""
        yield from ()
        self.present()
        return self

    def present(self) -> Lease:
        """Raises SessionLost."""
        lease = self.lease
        if lease is None or self.is_closed or lease.has_passed(now()):
            raise SessionLost("it was closed" if self.is_closed else "")
        return lease

    def remaining(self) -> float:
        return 0.0 if self.lease is None or self.is_closed else self.lease.remaining(now())

    def state(self) -> State | None:
        return None if self.lease is None or self.is_closed else self.lease.state(now())

    def forsake(self) -> None:
        """Nobody has the session any more: it ends with its ttl. At any moment, in any thread."""
        if self.lease is not None:
            self.lease.renews = False

    def close(self) -> Flow[None]:
        if self.lease is None or self.is_closed:
            return
        self.is_closed = True
        with self.driver.inside() as engine:
            engine.leases.forget(self.lease)
            was_lost = self.lease.is_lost
            self.lease.is_lost = True
        if was_lost:
            return
        try:
            yield calls.close_session(self.id)
        except LockdError:
            with self.driver.inside() as engine:
                engine.background(calls.close_session(self.id), now())
            raise


class OwnSessions:
    """A client's own sessions, one for each ttl, opened when they are first needed."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._sessions: dict[float, SessionHold] = {}
        weakref.finalize(self, _forsake_all, self._sessions).atexit = False

    def get(self, ttl: float) -> Flow[SessionHold]:
        with self._driver.inside():
            session = self._living(ttl)
        if session is not None:
            return session
        opened = SessionHold(self._driver, ttl, None, _no_signal, is_the_clients=True)
        yield from opened.open()
        with self._driver.inside() as engine:
            session = self._living(ttl)
            if session is None:
                self._sessions[ttl] = session = opened
            elif opened.lease is not None:  # another thread was quicker
                engine.leases.forget(opened.lease)
                engine.background(calls.close_session(opened.id), now())
        return session

    def close(self) -> None:
        """In the background."""
        with self._driver.inside() as engine:
            for session in self._sessions.values():
                if session.lease is not None and not session.lease.is_lost:
                    engine.leases.forget(session.lease)
                    engine.background(calls.close_session(session.id), now())
            self._sessions.clear()

    def _living(self, ttl: float) -> SessionHold | None:
        session = self._sessions.get(ttl)
        if session is None or session.lease is None or session.lease.has_passed(now()):
            return None
        return session


class Holding(Watched):
    """One hold at a time, of one lock or of a set."""

    def __init__(
        self,
        driver: Driver,
        wants: Wants,
        *,
        auto_renew: bool,
        signal: Callable[[bool], object],
        session: Callable[[], Flow[SessionHold]] | None = None,
        progress_within: float = math.inf,
    ) -> None:
        """session: a flow that answers the session to hold it in; None: a lease of its own."""
        super().__init__(driver, signal)
        self.wants = wants
        self.token = 0
        self.count = 0  # re-entrant acquisitions that were not released yet
        self.lease: Lease | None = None
        self._auto_renew = auto_renew
        self._progress_within = progress_within
        self._session = session
        self._in_the_clients = False
        self._is_gone = False  # the hold ended, its session did not
        self._unwatch: Callable[[], None] = _nothing

    @property
    def is_owned(self) -> bool:
        """Whether it is held, by this client's own clock."""
        return self.lease is not None and not self._was_lost_by(now())

    @property
    def is_taken(self) -> bool:
        """Whether there is something to release, if only to learn that it was lost."""
        return self.lease is not None

    def leave_to_parent(self) -> None:
        """In a child after a fork, before it acquires for itself."""
        self._unwatch = _nothing
        self._clear()

    def remaining(self) -> float:
        return 0.0 if self.lease is None or self._is_gone else self.lease.remaining(now())

    def state(self) -> State | None:
        if self.lease is None:
            return None
        return State.LOST if self._is_gone else self.lease.state(now())

    def check(self) -> None:
        """Raises LockLost, NotOwned."""
        self._present()

    def progress(self) -> None:
        """Raises LockLost, NotOwned."""
        lease = self._present()
        with self.driver.inside() as engine:
            lease.progress(now())
            if lease in engine.leases:
                engine.leases.keep(lease)

    def acquire(self, agent: str, wait: float) -> Flow[bool]:
        """wait: seconds; infinite for as long as it takes. Raises LockLost where it holds it already, and lost it."""
        if self.lease is not None:
            self._present()
        end = now() + wait
        tries = 0
        while True:
            tries += 1
            session = None if self._session is None else (yield from self._session())
            left = max(0.0, end - now())
            try:
                answer = yield calls.lock(
                    self.wants,
                    session_id=0 if session is None else session.id,
                    agent=agent,
                    wait=left,
                    gone=Gone.CANCEL,
                )
            except LockdError as error:
                if error.reason != WITHDRAWN:
                    raise
            else:
                if answer.acquired and (yield from self._take(answer, session)):
                    return True
                if not answer.acquired and not _ended_meanwhile(answer):
                    return False
            if now() >= end and tries >= TRIES_MAX:
                return False

    def release(self) -> Flow[None]:
        """Raises NotOwned, LockLost: as often as it was acquired. What is interrupted, or fails, goes on in the
        background.
        """
        lease, token, name = self.lease, self.token, self._names()
        if lease is None:
            raise NotOwned(name)
        with self.driver.inside() as engine:
            if self.lease is not lease or self.token != token:  # another thread was quicker
                raise NotOwned(name)
            was_lost = self._was_lost_by(now())
            if was_lost and not lease.is_foreign:
                self._lose(engine, lease)
                engine.background(calls.unlock(token), now())
            self.count -= 1
            if not self.count:
                self._forget(engine)
        if was_lost:
            raise LockLost(name)
        try:
            answer = yield calls.unlock(token, gone=Gone.FINISH)
        except LockdError as error:
            # Under the same id where it may have been done: a new one would take a second count off.
            request = error.request if isinstance(error, OutcomeUnknown) else None
            with self.driver.inside() as engine:
                engine.background(calls.unlock(token, request=request), now())
            raise
        if not answer.released:
            with self.driver.inside():
                if self.token == token:
                    self._has_gone(lease)
            raise LockLost(name)

    def forsake(self) -> None:
        """Nobody has the lock object any more: its hold ends with its ttl, or with its session. At any moment, in any
        thread.
        """
        lease = self.lease
        if lease is None:
            return
        if not lease.session_id:
            lease.renews = False
        elif self._in_the_clients:
            lease.forsake(self._let_go)

    def give_back(self, count: int, token: int) -> bool:
        """Releases in the background what was acquired beyond `count`, of which nobody was told. False: nothing; it
        was released, and it may be another's by now.
        """
        if self.token != token or self.count <= count:
            return False
        with self.driver.inside() as engine:
            engine.background(calls.unlock(self.token), now())
            self.count = count
            if not count:
                self._forget(engine)
        return True

    def locked(self) -> Flow[bool]:
        """Whether anybody holds it."""
        for name, _ in self.wants.names:
            if (yield calls.is_locked(name)):
                return True
        return False

    def _take(self, answer: LockAnswer, session: SessionHold | None) -> Flow[bool]:
        """False where the hold ended on the way, or too little of it would be left."""
        try:
            if session is not None:
                lease = session.present()
            else:
                lease = Lease(
                    self.wants.ttl,
                    deadline=answer.deadline if self.wants.ttl else NO_DEADLINE,
                    sent=answer.sent,
                    token=answer.token,
                    renews=self._auto_renew,
                    progress_within=self._progress_within,
                )
                if not (yield from _lengthened(lease)):
                    self._undo(answer.token)
                    return False
            with self.driver.inside() as engine:
                if lease.is_lost:
                    raise SessionLost
                if self.count and self.token != answer.token:  # what was held has ended, and nobody was told
                    self._has_gone(lease)
                    raise LockLost(self._names())
                self.token, self.count = answer.token, self.count + 1
                self._in_the_clients = session is not None and session.is_the_clients
                if self.lease is not lease:
                    self._unwatch()
                    self.lease = lease
                    self._unwatch = self.watch(lease)
                if session is None:
                    lease.progress(now())
                    engine.leases.keep(lease)
        except BaseException:
            self._undo(answer.token)
            raise
        return True

    def _present(self) -> Lease:
        lease = self.lease
        if lease is None:
            raise NotOwned
        if self._was_lost_by(now()):
            raise LockLost(self._names())
        return lease

    def _was_lost_by(self, time: float) -> bool:
        return self._is_gone or self.lease is None or self.lease.has_passed(time)

    def _has_gone(self, lease: Lease) -> None:
        """Inside. It has ended, its session may not have."""
        if not self._is_gone:
            self._is_gone = True
            self.heard(lease, State.LOST)

    def _lose(self, engine: Engine, lease: Lease) -> None:
        """Before the background work comes to it. A session may live on, if it is the hold alone that has gone."""
        if lease.has_passed(now()):
            engine.leases.lose(lease, now())

    def _let_go(self) -> list[Call[Any]]:
        """Inside. The calls that end what was forsaken."""
        lease, unlocks = self.lease, [calls.unlock(self.token) for _ in range(self.count)]
        if lease is None:
            return []
        self._unwatch()
        self._clear()
        self.heard(lease, State.LOST)
        return unlocks

    def _undo(self, token: int) -> None:
        with self.driver.inside() as engine:
            engine.background(calls.unlock(token), now())

    def _forget(self, engine: Engine) -> None:
        self._unwatch()
        self._unwatch = _nothing
        if self.lease is not None and not self.lease.session_id:
            engine.leases.forget(self.lease)
        self._clear()

    def _clear(self) -> None:
        self.lease, self.token, self.count, self._is_gone = None, 0, 0, False

    def _names(self) -> str:
        return ", ".join(name for name, _ in self.wants.names)


def _lengthened(lease: Lease) -> Flow[bool]:
    """Renews a lease that is too short to be reported, as after a long wait: the margin grows with the wait. Nobody
    was told of it yet, so that a deadline that has passed is no loss. False where the hold has ended.
    """
    for _ in range(RENEWALS_MAX):
        if not lease.is_short(now()):
            return True
        call = calls.keep_alive(lease.session_id) if lease.session_id else calls.renew(lease.token, lease.ttl)
        answer = yield call
        if not answer.renewed:
            return False
        lease.report(answer)
    return not lease.has_passed(now())


def _ended_meanwhile(answer: LockAnswer) -> bool:
    """Whether another request may be granted. Raises what a refusal means; otherwise somebody else holds the lock."""
    match answer.outcome:
        case Outcome.LOST:
            return True
        case Outcome.HELD_BY_OTHER | Outcome.TIMED_OUT | Outcome.CANCELLED:
            return False
        case Outcome.DEADLOCK:
            ring = " -> ".join(f"{link.owner} ({link.agent}) waits for {link.name}" for link in answer.cycle)
            raise DeadlockError(ring, cycle=answer.cycle)
        case Outcome.UPGRADE_REFUSED:
            raise UpgradeRefused
        case _:
            raise CallFailed(f"an outcome that this version does not know: {answer.outcome}")


def _forsake_all(sessions: dict[float, SessionHold]) -> None:
    """The client and all that it made are gone."""
    for session in list(sessions.values()):
        session.forsake()


def _no_signal(_is_foreign: bool) -> None:
    """Nobody listens to a client's own sessions but the locks in them."""


def _nothing() -> None:
    """Ends no watching."""
