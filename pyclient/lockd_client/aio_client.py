"""The asyncio client."""

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, Unpack

from lockd_client import aio_feeds, aio_locks, calls, explaining, methods, tokens
from lockd_client.agents import TaskAgents
from lockd_client.aio_transport import AioTransport
from lockd_client.attempts import Route
from lockd_client.calls import Wants
from lockd_client.client import LINGER_S, checked_timeout
from lockd_client.clock import now
from lockd_client.credentials import Credentials
from lockd_client.elections import VALUE, leader_in
from lockd_client.endpoints import parse_endpoint
from lockd_client.holding import OwnSessions, checked_progress
from lockd_client.options import ElectionOptions, LockOptions, check_decorated, name_of
from lockd_client.settings import Given, resolve
from lockd_client.values import (
    AccessToken,
    Event,
    Explanation,
    Holder,
    Leader,
    LockAnswer,
    LockInfo,
    Mode,
    NewToken,
    RenewAnswer,
    RequestId,
    Role,
    Status,
    TokenCheck,
    UnlockAnswer,
    Waiter,
)
from lockd_client.watching import Watching

P = ParamSpec("P")
T = TypeVar("T")


class AsyncLockdClient:
    """Calls to a lockd cluster from asyncio. It belongs to the event loop of its first call.

    All calls are named as LockdClient's, where their arguments, answers and errors are described; those that ask the
    cluster are awaited. Endpoints, credentials and timeout are as there. A call whose task is cancelled is given up: a
    Lock that waits is undone in the background. grpc.aio does not survive forks: a child makes a client of its own, and
    what its parent holds is lost in it.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        endpoints: Sequence[str] | None = None,
        timeout: float = 10.0,
        token: str | None = None,
        token_file: str | Path | None = None,
        cacert: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        insecure: bool = False,
    ) -> None:
        """As LockdClient. Raises InvalidArgument."""
        self._timeout = checked_timeout(timeout)
        given = Given(
            host=host,
            port=port,
            endpoints=endpoints,
            token=token,
            token_file=token_file,
            cacert=cacert,
            cert=cert,
            key=key,
            insecure=insecure,
        )
        settings = resolve(given, os.environ)
        self._endpoints = settings.endpoints
        self._credentials = Credentials(settings)
        self._transport = AioTransport(self._endpoints, self._credentials, timeout)
        self._agents = TaskAgents()
        self._sessions = OwnSessions(self._transport)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """host:port of each node that this client knows."""
        return self._endpoints

    # ---- lockapi.Locking: the Go lockd's three calls

    async def Lock(self, name: str) -> bool:
        """Takes the lock, or answers False if it is held. It is held until somebody calls Unlock with its name.

        The call carries no id: it is sent again only where it certainly was not carried out, and OutcomeUnknown is
        raised where nobody knows. Prefer lock().
        """
        return await self._transport.ask(calls.by_name(methods.LOCK_BY_NAME, name))

    async def Unlock(self, name: str) -> bool:
        """Releases a lock that Lock took; False if there was none, or if it is held in another way.

        As Lock, it carries no id.
        """
        return await self._transport.ask(calls.by_name(methods.UNLOCK_BY_NAME, name))

    async def IsLocked(self, name: str) -> bool:
        """Whether anybody holds the lock."""
        return await self._transport.ask(calls.is_locked_by_name(name))

    # ---- locks that are looked after

    def lock(
        self,
        name: str,
        ttl: float = 30,
        *,
        shared: bool = False,
        wait: float | None = None,
        auto_renew: bool = True,
        owner: str | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        lock_delay: float = 0,
        reentrant: bool = False,
        progress_within: float | None = None,
        session: aio_locks.AsyncSession | None = None,
    ) -> aio_locks.AsyncLock:
        """A lock to be used with `with`, or acquire() and release(). Nothing is sent yet.

        name: 1 to 512 bytes of UTF-8 without control characters. ttl: seconds that the hold lives without renewal, at
        least 2 and at most 86400 by default; 0: until it is released, whatever becomes of this process. shared: many
        may hold it shared, or one exclusively. wait: seconds that `with` waits, None: as long as it takes. auto_renew:
        False where the lock is to end by itself after `ttl`. owner (at most 256 bytes, default user@host:pid), reason
        (512 bytes) and metadata (4096 bytes, keys and values together) are for people. lock_delay: seconds, at most 60,
        for which nobody else gets the lock after its lease ended or it was broken. reentrant: the task that holds it
        may acquire it again, by any such object of this client with the same ttl; it is then held in the client's own
        session. progress_within: seconds; it is renewed only while the work calls the lock's progress() at least so
        often. session: held as long as that session, and `ttl` is not used.

        Raises InvalidArgument.
        """
        wants = Wants(
            names=((name, shared),),
            ttl=ttl,
            owner=owner,
            reason=reason,
            metadata=metadata,
            lock_delay=lock_delay,
            reentrant=reentrant,
        )
        return self._lock(wants, wait, auto_renew, progress_within, session)

    def lock_all(
        self,
        names: Iterable[str | tuple[str, bool]],
        ttl: float = 30,
        *,
        wait: float | None = None,
        auto_renew: bool = True,
        owner: str | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        lock_delay: float = 0,
        progress_within: float | None = None,
        session: aio_locks.AsyncSession | None = None,
    ) -> aio_locks.AsyncLock:
        """A set of 1 to 64 locks, granted whole or not at all, with one token; it cannot be in a deadlock with itself
        in another order. names: each a name, or a pair of a name and whether it is to be shared. The rest as in lock().

        Raises InvalidArgument.
        """
        wants = Wants(
            names=calls.names_of(names),
            ttl=ttl,
            owner=owner,
            reason=reason,
            metadata=metadata,
            lock_delay=lock_delay,
        )
        return self._lock(wants, wait, auto_renew, progress_within, session)

    def synchronized(
        self, name: str | Callable[..., str], ttl: float = 30, **options: Unpack[LockOptions]
    ) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[None, None, T]]]:
        """A decorator: each call of the coroutine function runs with the lock held.

        name: of the lock, or a function of the call's arguments that answers it. ttl and options as in lock(). Each
        call raises what a `with` raises: LockTimeout where it was not acquired within `wait`, and then the function
        does not run; LockLost where the lock was lost before the function ended.

        Raises InvalidArgument, for functions that would run on without the lock, as generators do, too.
        """
        if isinstance(name, str):
            self.lock(name, ttl, **options)

        def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[None, None, T]]:
            check_decorated(function, is_async=True)

            @wraps(function)
            async def locked(*arguments: P.args, **keywords: P.kwargs) -> T:
                async with self.lock(name_of(name, arguments, keywords), ttl, **options):
                    return await function(*arguments, **keywords)

            return locked

        return decorate

    # ---- elections

    def elect(
        self, name: str, value: str = "", ttl: float = 30, **options: Unpack[ElectionOptions]
    ) -> aio_locks.AsyncLock:
        """A candidacy: who holds this lock leads until it is released or lost, and `value` is what leader() tells the
        others of it, such as an address. Candidates wait in line. ttl and options as in lock(); value: at most
        4091 bytes.

        A leader that was paused may act late: let what it writes to refuse tokens below the highest it saw.
        """
        return self.lock(name, ttl, metadata={VALUE: value}, **options)

    async def leader(self, name: str) -> Leader | None:
        """Who leads, as of a moment after the call was made; None: nobody."""
        return leader_in(await self._transport.ask(calls.get(name, 1)))

    def observe(self, name: str) -> AsyncIterator[Leader | None]:
        """Who leads now, and then each other leader, None while there is none, for ever. One that led for a moment may
        be left out.
        """
        return aio_feeds.observe(self, name)

    async def open_session(self, ttl: float = 30, owner: str | None = None) -> aio_locks.AsyncSession:
        """A lease that many locks can share, kept alive in the background until it is closed or lost.

        ttl: seconds that it lives without being kept alive, bounds as in lock(). owner: default user@host:pid.
        """
        session = aio_locks.AsyncSession(self._transport, ttl, owner)
        await self._transport.run(session.hold.open())
        return session

    # ---- single calls

    async def try_lock(
        self,
        name: str,
        *,
        ttl: float,
        shared: bool = False,
        owner: str | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        lock_delay: float = 0,
        request: RequestId | None = None,
    ) -> LockAnswer:
        """Takes the lock, or says at once who holds it. Test `answer.acquired`. Nothing renews it: see renew().

        name, ttl, shared, owner, reason, metadata and lock_delay as in lock(). request: that of an OutcomeUnknown, to
        learn what became of that call; all else must be as it was then.

        Raises RequestTooOld where `request` is no longer answered.
        """
        wants = Wants(
            names=((name, shared),), ttl=ttl, owner=owner, reason=reason, metadata=metadata, lock_delay=lock_delay
        )
        return await self._transport.ask(calls.lock(wants, agent=self._agents.label(), request=request))

    async def unlock(self, token: int, *, name: str = "", request: RequestId | None = None) -> UnlockAnswer:
        """Releases the hold with this token. Releasing what is not held changes nothing.

        name: where given, the token must be this lock's, and the answer names who holds it otherwise. request: as
        in try_lock.

        Raises RequestTooOld where `request` is no longer answered.
        """
        return await self._transport.ask(calls.unlock(token, name=name, request=request))

    async def break_hold(self, token: int, *, reason: str, owner: str | None = None) -> UnlockAnswer:
        """Frees a hold whoever has it, however often it was acquired; its lock delay begins. Needs the admin role.

        reason, and owner (default user@host:pid), are what watchers read.
        """
        label = calls.default_owner() if owner is None else owner
        return await self._transport.ask(calls.unlock(token, force=True, reason=reason, owner=label))

    async def renew(self, token: int, ttl: float) -> RenewAnswer:
        """Lets the hold live `ttl` seconds from now (bounds as in lock), never less than it would have lived.

        It may be called again after OutcomeUnknown. Raises CallFailed with the reason NO_LEASE for a hold without a
        ttl, IN_SESSION for one in a session.
        """
        return await self._transport.ask(calls.renew(token, ttl))

    async def cancel(self, request: RequestId) -> None:
        """Undoes a Lock by its request id: it waits no more, holds nothing, and if it has not arrived yet it never
        will. RequestTooOld: it was answered long ago.
        """
        await self._transport.ask(calls.cancel(request))

    async def is_locked(self, name: str) -> bool:
        """Whether anybody holds the lock, as of a moment after the call was made."""
        return await self._transport.ask(calls.is_locked(name))

    async def holders(self, name: str) -> tuple[Holder, ...]:
        """Who holds the lock, as of a moment after the call was made."""
        return await self._transport.ask(calls.holders(name))

    async def get(self, name: str, *, limit: int = 100) -> LockInfo:
        """Who holds the lock and who waits for it, at most `limit` (1 to 1000) of each, as of a moment after the call
        was made.
        """
        return await self._transport.ask(calls.get(name, limit))

    async def explain(self, name: str) -> Explanation:
        """Why the lock is not free: its holders and waiters, and what its holders wait for themselves. For people who
        ask why nothing goes on: it looks through what is waited for in the whole cluster.
        """
        return await self._transport.run(explaining.explain(name))

    async def check_token(self, name: str, token: int) -> TokenCheck:
        """Whether the token is that of a present hold of this lock, as of a moment after the call was made."""
        return await self._transport.ask(calls.check_token(name, token))

    async def list(self, prefix: str = "", owner: str = "", *, mode: Mode | None = None) -> AsyncIterator[Holder]:
        """Every hold whose name begins with `prefix`, whose owner is `owner` (empty: any) and whose mode is `mode`
        (None: any), in name order.

        Read in pages while iterating: each page is of one moment, not all of them together.
        """
        after = ""
        while True:
            page = await self._transport.ask(calls.page(prefix, after, owner=owner, mode=mode, waiters=False))
            for holder in page.holders:
                yield holder
            if not page.next:
                return
            after = page.next

    async def waiters(self, prefix: str = "", owner: str = "", *, mode: Mode | None = None) -> AsyncIterator[Waiter]:
        """Every waiter, as list() does holds; of each name in the order of their turns."""
        after = ""
        while True:
            page = await self._transport.ask(calls.page(prefix, after, owner=owner, mode=mode, waiters=True))
            for waiter in page.waiters:
                yield waiter
            if not page.next:
                return
            after = page.next

    async def status(self, endpoint: str | None = None) -> Status:
        """A node's own view of itself and its cluster, read locally.

        endpoint: ask this node, once; default: the one that this client is connected to.
        """
        if endpoint is not None:
            endpoint = parse_endpoint(endpoint)
            self._credentials.check(endpoint)
        return await self._transport.ask(calls.status(endpoint or ""))

    def watch(self, prefix: str = "", from_revision: int = 0) -> AsyncIterator[Event]:
        """What happens to locks whose names begin with `prefix`, from a revision on (0: from now on), for ever. It goes
        on through other nodes where one fails, without a gap and without repetition.

        Raises Compacted where the events from there on are no longer kept.
        """
        with calls.arguments():
            watching = Watching(prefix, from_revision, Route(self._endpoints, random.random), self._timeout, now())
            watching.request()
        return aio_feeds.watch(self._transport, watching)

    # ---- who may do what: for admins whose own token is for all names

    async def create_token(
        self,
        name: str,
        role: Role | str,
        prefixes: Iterable[str] = (),
        *,
        secret: str | None = None,
        request: RequestId | None = None,
    ) -> NewToken:
        """Lets whoever has the secret of the answer call the cluster as `name`. The secret is made here and not sent:
        the cluster keeps its hash.

        name: 1 to 64 of A-Z a-z 0-9 . _ @ : -; tokens of one name are one caller, so that one can take the place of
        another. role: read, lock or admin. prefixes: of the names of the locks that it is for, at most 64; none: all
        names. secret: one of the caller's own, of 32 to 512 printable ASCII characters without blanks. request: as in
        try_lock, with the same secret.
        """
        return await self._transport.ask(tokens.create(name, role, prefixes, secret, request))

    async def list_tokens(self) -> tuple[AccessToken, ...]:
        """The tokens that were created so, in the order of their ids. Those that cluster.yml declares are not among
        them.
        """
        found: tuple[AccessToken, ...] = ()
        after = 0
        while True:
            those, after = await self._transport.ask(tokens.page(after))
            found += tuple(those)
            if not after:
                return found

    async def revoke_token(self, id: int) -> bool:
        """From the answer on nothing is done with this token: streams and watches that it opened end. What was done
        with it stays; what it holds ends with its lease. False if there is no such token (any more). An identity that
        has another token goes on with that one.
        """
        return await self._transport.ask(tokens.revoke(id))

    # ---- the end

    async def close(self) -> None:
        """Stops the background work and closes the connections. Holds stay until they are released or their lease
        ends; what is held re-entrantly is freed, with the client's own sessions. Waits up to a second for what is still
        to be told to a node; cancelled, it does not wait. Calls in other tasks raise ClientClosed. May be called twice.
        """
        try:
            self._sessions.close()
            await self._transport.linger(LINGER_S)
        finally:
            await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # ---- inside

    def _lock(
        self,
        wants: Wants,
        wait: float | None,
        auto_renew: bool,
        progress_within: float | None,
        session: aio_locks.AsyncSession | None,
    ) -> aio_locks.AsyncLock:
        wants.message()
        held_in = None
        if session is not None:
            held_in = session.hold.get
        elif wants.reentrant:
            held_in = partial(self._sessions.get, wants.ttl)
        lock = aio_locks.AsyncLock(
            self._transport,
            wants,
            agent=self._agents.label,
            wait=wait,
            auto_renew=auto_renew,
            session=held_in,
            progress_within=checked_progress(progress_within, renews=auto_renew and wants.ttl > 0 and held_in is None),
        )
        lock.in_session = session
        return lock
