"""redis.lock.Lock over lockd, from the extra `lockd-client[redis]`: the same shape, with a LockdClient in the place of
the Redis client.

    from lockd_client.redis_lock import Lock

    with Lock(LockdClient(), "nightly-report", timeout=60) as lock:
        ...
        lock.extend(60)

Where an application calls `redis.lock(...)` in many places, one line moves them all: `redis.lock = partial(Lock,
LockdClient())`. AsyncLock is redis.asyncio.lock.Lock over an AsyncLockdClient. docs/redis-lock.md says what differs.
"""

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import Any, ClassVar, Final, Generic, Self, TypeVar
from urllib.parse import quote

from lockd_client import AsyncLockdClient, LockdClient, calls
from lockd_client.calls import Gone, Wants
from lockd_client.errors import (
    ClientClosed,
    InvalidArgument,
    LockdError,
    LockLost,
    NotOwned,
    OutcomeUnknown,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from lockd_client.holding import Flow, Holding
from lockd_client.interrupts import put_off
from lockd_client.values import NO_DEADLINE, Holder

try:
    from redis import exceptions
except ImportError as error:
    raise ImportError(f"{error}: pip install 'lockd-client[redis]'", name=error.name) from error

LOG = logging.getLogger(__name__)

TTL_MIN_S = 2.0  # the least that a node takes, unless it is configured otherwise

_TOKEN = "token"  # noqa: S105  # of a hold's metadata: what acquire() was given, percent-encoded

_ERRORS: Final = (
    (Unauthenticated, exceptions.AuthenticationError),
    (Unavailable, exceptions.ConnectionError),
    (ClientClosed, exceptions.ConnectionError),
    (OutcomeUnknown, exceptions.TimeoutError),
    (PermissionDenied, exceptions.NoPermissionError),
    (InvalidArgument, exceptions.DataError),
    (LockdError, exceptions.RedisError),
)

T = TypeVar("T")
ClientT = TypeVar("ClientT", LockdClient, AsyncLockdClient)


@contextmanager
def _translated(name: object) -> Iterator[None]:
    """Raises RedisError for each LockdError, which is its cause."""
    try:
        yield
    except (LockLost, NotOwned) as error:
        raise _named(exceptions.LockNotOwnedError(str(error)), name) from error
    except LockdError as error:
        kind = next(theirs for ours, theirs in _ERRORS if isinstance(error, ours))
        raise kind(str(error)) from error


def _named(error: exceptions.LockError, name: Any) -> exceptions.LockError:
    error.lock_name = name  # not by the constructor: it takes no such argument in redis 5.0
    return error


def _text(name: str | bytes | memoryview) -> str:
    """Raises DataError."""
    try:
        return str(name, "utf-8") if isinstance(name, bytes | memoryview) else name
    except UnicodeDecodeError as error:
        raise exceptions.DataError(f"{name!r} is not UTF-8, as names of locks are") from error


def _bytes(token: bytes | str) -> bytes:
    return token if isinstance(token, bytes) else str(token).encode()


@dataclass(frozen=True, slots=True)
class _Held:
    """What this object acquired under a token: `fencing` is the fencing token."""

    token: bytes
    fencing: int
    holding: Holding


class _Shape(Generic[ClientT]):
    """What both locks have: the arguments, what is remembered, and the flows of calls."""

    _takes: ClassVar[type]

    renewed_ttl: ClassVar[float] = 30.0
    """Seconds that a lock with timeout=None lives without being renewed."""

    def __init__(
        self,
        client: ClientT,
        name: str | bytes | memoryview,
        timeout: float | None = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
        thread_local: bool = True,
        raise_on_release_error: bool = True,
    ) -> None:
        """name: as in LockdClient.lock(); bytes are UTF-8. timeout: seconds until the lock ends by itself, 2 to 86400
        by default; None, or 0: it is renewed in the background until it is released, and ends `renewed_ttl` seconds
        after its process or its client did. blocking, blocking_timeout: of acquire(), where it is not told otherwise;
        None: as long as it takes. thread_local: whether a thread sees only the token that it acquired itself.
        raise_on_release_error: False has the end of the `with` log a lock that was lost. sleep: not used, since nobody
        polls.

        Raises redis.exceptions.DataError; TypeError for another client, as Redis.lock(lock_class=) gives it.
        """
        if not isinstance(client, self._takes):
            raise TypeError(f"{type(self).__name__} takes a {self._takes.__name__}, not a {type(client).__name__}")
        self.client: ClientT = client
        self.name = name
        self.timeout = timeout
        self.sleep = sleep
        self.blocking = blocking
        self.blocking_timeout = blocking_timeout
        self.thread_local = bool(thread_local)
        self.raise_on_release_error = raise_on_release_error
        self.local: Any = threading.local() if self.thread_local else SimpleNamespace()
        """local.token, bytes: what releases the lock, by any process that puts it there; None where nothing is held.
        It is the fencing token in decimal, unless acquire() was given another.
        """
        self.local.token = None
        self._key = _text(name)

    @property
    def fencing_token(self) -> int:
        """Of what this object holds, and this thread if it is thread_local; 0 where that is nothing. It asks nobody."""
        held = self._held(self._token())
        return 0 if held is None else held.fencing

    # ---- what is remembered

    def _token(self) -> bytes | None:
        token = getattr(self.local, "token", None)  # there is none in a thread that did not make the object
        return None if token is None else _bytes(token)

    def _present(self, to: str) -> bytes:
        """Raises LockError."""
        token = self._token()
        if token is None:
            raise _named(exceptions.LockError(f"a lock that is not held cannot be {to}"), self.name)
        return token

    def _timed(self, to: str) -> bytes:
        """Raises LockError."""
        token = self._present(to)
        if not self.timeout:
            raise _named(exceptions.LockError(f"a lock without a timeout cannot be {to}"), self.name)
        return token

    def _held(self, token: bytes | None) -> _Held | None:
        """None where the token is another's, who gave it to this object."""
        held: _Held | None = getattr(self.local, "held", None)
        return held if held is not None and held.token == token else None

    def _drop(self, held: _Held) -> None:
        if getattr(self.local, "held", None) is held:
            self.local.held = None

    def _wait(self, blocking: bool | None, blocking_timeout: float | None) -> float:
        if not (self.blocking if blocking is None else blocking):
            return 0.0
        bound = self.blocking_timeout if blocking_timeout is None else blocking_timeout
        return math.inf if bound is None else max(0.0, bound)

    def _not_acquired(self) -> exceptions.LockError:
        return _named(exceptions.LockError("the lock was not acquired in the time that it was given"), self.name)

    def _not_owned(self) -> exceptions.LockError:
        return _named(exceptions.LockNotOwnedError("the lock is not held any more under this token"), self.name)

    def _at_exit(self, failure: exceptions.RedisError, error: BaseException | None) -> None:
        """A release failed at the end of a `with` whose body raised `error`."""
        if error is not None:
            error.add_note(f"while the lock was released: {type(failure).__name__}: {failure}")
        elif self.raise_on_release_error or not isinstance(failure, exceptions.LockError):
            raise failure
        else:
            LOG.warning("%r: %s", self.name, failure)

    # ---- flows

    def _acquisition(self, wait: float, given: bytes | str | None, taken: list[_Held]) -> Flow[bool]:
        """taken: gets what was acquired."""
        metadata = {} if given is None else {_TOKEN: quote(_bytes(given), safe="")}
        wants = Wants(names=((self._key, False),), ttl=self.timeout or self.renewed_ttl, metadata=metadata)
        driver = self.client._transport
        holding = Holding(driver, wants, auto_renew=not self.timeout, signal=_nothing)
        if not (yield from holding.acquire("", wait)):
            return False
        if self.timeout and holding.lease is not None:
            with driver.inside() as engine:  # the cluster alone says when it ends: others may extend it by its token
                engine.leases.forget(holding.lease)
                holding.lease.deadline = NO_DEADLINE
        token = str(holding.token).encode() if given is None else _bytes(given)
        self.local.held = _Held(token, holding.token, holding)
        self.local.token = token
        taken.append(self.local.held)
        return True

    def _releasing(self, token: bytes) -> Flow[None]:
        held = self._held(token)
        if held is None:
            holder = yield from self._holder(token)
            if holder is None or not (yield calls.unlock(holder.token, gone=Gone.FINISH)):
                raise self._not_owned()
        elif held.holding.lease is None:  # it was given up on before, and goes on in the background
            yield calls.unlock(held.fencing, gone=Gone.FINISH)
            self._drop(held)
        else:
            try:
                yield from held.holding.release()
            except LockLost:
                self._drop(held)
                raise
            self._drop(held)

    def _owning(self) -> Flow[bool]:
        token = self._token()
        if token is None:
            return False
        held = self._held(token)
        if held is not None and not held.holding.is_owned:
            return False
        return (yield from self._holder(token)) is not None

    def _extending(self, token: bytes, seconds: float, *, add: bool) -> Flow[bool]:
        holder = yield from self._holder(token)
        if holder is None:
            raise self._not_owned()
        ttl = seconds + holder.lease_remaining if add else seconds
        if not (yield calls.renew(holder.token, max(ttl, TTL_MIN_S))):
            raise self._not_owned()
        return True

    def _locked(self) -> Flow[bool]:
        locked: bool = yield calls.is_locked(self._key)
        return locked

    def _holder(self, token: bytes) -> Flow[Holder | None]:
        """Who holds it under this token, as of a moment after the call."""
        held = self._held(token)
        holders: tuple[Holder, ...] = yield calls.holders(self._key)
        for holder in holders:
            if _token_of(holder) == quote(token, safe="") and (held is None or held.fencing == holder.token):
                return holder
        return None


def _token_of(holder: Holder) -> str:
    return holder.metadata.get(_TOKEN, str(holder.token))


def _nothing(_is_foreign: bool) -> None:
    """Nobody is told of a loss: the shape has no place for it."""


class Lock(_Shape[LockdClient]):
    """redis.lock.Lock over a LockdClient. It is not re-entrant. Those who wait get it in the order of their arrival.

    Besides LockError and LockNotOwnedError, all calls raise redis.exceptions' ConnectionError where no node answers (no
    lock was acquired then), TimeoutError where one no longer does (and an acquisition is undone), AuthenticationError,
    NoPermissionError, DataError for an argument out of its bounds, and RedisError.
    """

    _takes = LockdClient

    def acquire(
        self,
        sleep: float | None = None,
        blocking: bool | None = None,
        blocking_timeout: float | None = None,
        token: bytes | str | None = None,
    ) -> bool:
        """True where it was acquired. Interrupted, as by Ctrl-C, it leaves no waiter and no hold behind.

        blocking: False answers at once. blocking_timeout: seconds; both as the constructor was told where they are
        None. token: for local.token, instead of the fencing token; at most some 4000 bytes. sleep: not used.
        """
        taken: list[_Held] = []
        try:
            with put_off:
                return self._acquire(taken, blocking, blocking_timeout, token)
        except BaseException:
            self._give_back(taken)
            raise

    def release(self) -> None:
        """Raises LockError where this object, or this thread, holds nothing; LockNotOwnedError where the lock was lost,
        or broken, before.
        """
        with put_off:
            token = self._present("released")
            self.local.token = None
            self._run(self._releasing(token))

    def extend(self, additional_time: float, replace_ttl: bool = False) -> bool:
        """Lets it live so many seconds longer, or with replace_ttl at least so many from now. It never lives shorter
        than it would have. True.

        Raises LockError where nothing is held or there is no timeout; LockNotOwnedError.
        """
        return self._run(self._extending(self._timed("extended"), additional_time, add=not replace_ttl))

    def reacquire(self) -> bool:
        """Lets it live at least `timeout` seconds from now. True. Raises what extend() raises."""
        return self._run(self._extending(self._timed("reacquired"), self.timeout or 0.0, add=False))

    def locked(self) -> bool:
        """Whether anybody holds it, as of a moment after the call."""
        return self._run(self._locked())

    def owned(self) -> bool:
        """Whether it is held under local.token, as of a moment after the call."""
        return self._run(self._owning())

    def __enter__(self) -> Self:
        """Raises LockError where it was not acquired."""
        taken: list[_Held] = []
        try:
            with put_off:
                acquired = self._acquire(taken)
            if acquired:
                return self
        except BaseException:
            self._give_back(taken)
            raise
        raise self._not_acquired()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with put_off:
            try:
                self.release()
            except exceptions.RedisError as failure:
                self._at_exit(failure, error)

    def _acquire(
        self,
        taken: list[_Held],
        blocking: bool | None = None,
        blocking_timeout: float | None = None,
        token: bytes | str | None = None,
    ) -> bool:
        return self._run(self._acquisition(self._wait(blocking, blocking_timeout), token, taken))

    def _give_back(self, taken: list[_Held]) -> None:
        """Where a signal's handler raised before the caller could know."""
        with put_off:
            for held in taken:
                held.holding.give_back(0, held.holding.token)
                if self._held(self._token()) is held:  # else another thread has acquired it since
                    self.local.token = None
                self._drop(held)

    def _run(self, flow: Flow[T]) -> T:
        with _translated(self.name):
            return self.client._transport.run(flow)


class AsyncLock(_Shape[AsyncLockdClient]):
    """redis.asyncio.lock.Lock over an AsyncLockdClient. All else as Lock says.

    As there, tasks that share an object share its token, thread_local or not: let each task make its own.
    """

    _takes = AsyncLockdClient

    async def acquire(
        self,
        blocking: bool | None = None,
        blocking_timeout: float | None = None,
        token: bytes | str | None = None,
    ) -> bool:
        """As Lock.acquire(). A task that is cancelled meanwhile leaves no waiter and no hold behind."""
        return await self._run(self._acquisition(self._wait(blocking, blocking_timeout), token, []))

    async def release(self) -> None:
        """As Lock.release(). Where it fails or is cancelled the token is kept, so that it can be called again; the
        release goes on in the background in any case.
        """
        token = self._present("released")
        try:
            await self._run(self._releasing(token))
        except exceptions.LockNotOwnedError:
            self._forget(token)
            raise
        self._forget(token)

    async def extend(self, additional_time: float, replace_ttl: bool = False) -> bool:
        """As Lock.extend()."""
        return await self._run(self._extending(self._timed("extended"), additional_time, add=not replace_ttl))

    async def reacquire(self) -> bool:
        """As Lock.reacquire()."""
        return await self._run(self._extending(self._timed("reacquired"), self.timeout or 0.0, add=False))

    async def locked(self) -> bool:
        """As Lock.locked()."""
        return await self._run(self._locked())

    async def owned(self) -> bool:
        """As Lock.owned()."""
        return await self._run(self._owning())

    async def __aenter__(self) -> Self:
        """Raises LockError where it was not acquired."""
        if not await self.acquire():
            raise self._not_acquired()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.release()
        except exceptions.RedisError as failure:
            self._at_exit(failure, error)

    def _forget(self, token: bytes) -> None:
        if self._token() == token:  # else another task has acquired it since
            self.local.token = None

    async def _run(self, flow: Flow[T]) -> T:
        with _translated(self.name):
            return await self.client._transport.run(flow)
