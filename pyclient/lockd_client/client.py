"""The blocking client."""

import getpass
import math
import os
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from lockd_client import methods
from lockd_client.attempts import Attempts, Repeat
from lockd_client.clock import now
from lockd_client.endpoints import choose_endpoints, parse_endpoint
from lockd_client.errors import InvalidArgument, LockdError, RequestTooOld
from lockd_client.methods import AnswerT, Method, RequestT
from lockd_client.proto import lockapi_pb2, lockd_pb2
from lockd_client.translate import (
    holders_of,
    lock_answer,
    milliseconds,
    renew_answer,
    request_message,
    status_of,
    unlock_answer,
)
from lockd_client.transport import Answer, Transport
from lockd_client.values import Holder, LockAnswer, RenewAnswer, RequestId, Status, UnlockAnswer

NOT_AFTER_MS = 240_000  # from the last clock_ms seen to the last moment at which a new id is accepted
CLOCK_FRESH_S = 60.0  # a clock_ms seen longer ago is read again: not_after_ms would leave too little
REQUEST_ID_BYTES = 16
REQUESTS_PER_CALL_MAX = 3  # ids that one call uses up where nodes answer that they are too old
PAGE = 1000  # the least that a node may be configured to allow


def default_owner() -> str:
    """user@host:pid, of this process at this moment."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


@contextmanager
def _arguments() -> Iterator[None]:
    """What a message cannot hold (text that is not UTF-8, numbers out of range) is the caller's mistake."""
    try:
        yield
    except InvalidArgument:
        raise
    except ValueError as error:
        raise InvalidArgument(str(error)) from error


class LockdClient:
    """Calls to a lockd cluster. Thread-safe; a forked child may go on using it.

    Endpoints: `host` and `port`, or `endpoints` (each `host`, `host:port` or `[v6]:port`), else the environment's
    LOCKD_ENDPOINTS (comma separated), else 127.0.0.1:2080. They are tried in turn, beginning with the last that
    answered, until `timeout` seconds have passed. HTTP proxies are not used.

    Forks: a fork waits up to a second for calls in flight, and then breaks their connections. Import lockd_client
    before grpc: what makes gRPC survive a fork is read when grpc is loaded.

    Besides what is named at each call, all of them raise Unavailable, OutcomeUnknown (only those that change
    something), InvalidArgument, LimitReached, PermissionDenied, Unauthenticated, CallFailed and ClientClosed; all are
    LockdErrors.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        endpoints: Sequence[str] | None = None,
        timeout: float = 10.0,
    ) -> None:
        """timeout: seconds for one call with all its attempts, more than 0. Connects when the first call is made.

        Raises InvalidArgument.
        """
        if not (math.isfinite(timeout) and timeout > 0):
            raise InvalidArgument(f"timeout is {timeout}; it is a number of seconds, more than 0")
        self._endpoints = choose_endpoints(host, port, endpoints, os.environ)
        self._timeout = timeout
        self._transport = Transport()
        self._good = 0  # the endpoint that answered last
        self._clock: tuple[int, float] | None = None  # the last clock_ms, and when it was seen

    @property
    def endpoints(self) -> tuple[str, ...]:
        """host:port of each node that this client knows."""
        return self._endpoints

    # ---- lockapi.Locking: the Go lockd's three calls

    def Lock(self, name: str) -> bool:
        """Takes the lock, or answers False if it is held. It is held until somebody calls Unlock with its name.

        The call carries no id: it is sent again only where it certainly was not carried out, and OutcomeUnknown is
        raised where nobody knows. Prefer try_lock.
        """
        return self._by_name(methods.LOCK_BY_NAME, name)

    def Unlock(self, name: str) -> bool:
        """Releases a lock that Lock took; False if there was none, or if it is held in another way.

        As Lock, it carries no id.
        """
        return self._by_name(methods.UNLOCK_BY_NAME, name)

    def IsLocked(self, name: str) -> bool:
        """Whether anybody holds the lock."""
        with _arguments():
            message = lockapi_pb2.LockName(name=name)
        return self._call(methods.IS_LOCKED_BY_NAME, message, Repeat.READ).message.is_locked

    # ---- lockd.v1

    def try_lock(
        self,
        name: str,
        *,
        ttl: float,
        owner: str | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        request: RequestId | None = None,
    ) -> LockAnswer:
        """Takes the lock, or says at once who holds it. Test `answer.acquired`.

        name: 1 to 512 bytes of UTF-8 without control characters. ttl: seconds that the hold lives unless it is
        renewed, at least 2 and at most 86400 by default; 0: until it is unlocked. owner (at most 256 bytes, default
        user@host:pid), reason (512 bytes) and metadata (4096 bytes, keys and values together) are for people.
        request: that of an OutcomeUnknown, to learn what became of that call; all else must be as it was then.

        Raises RequestTooOld where `request` is no longer answered.
        """
        ttl_ms = milliseconds(ttl)
        label = default_owner() if owner is None else owner

        def build(request: RequestId) -> lockd_pb2.LockRequest:
            return lockd_pb2.LockRequest(
                name=name,
                ttl_ms=ttl_ms,
                owner=label,
                reason=reason,
                metadata=metadata or {},
                request=request_message(request),
            )

        answer = self._change(methods.LOCK, build, request)
        self._saw_clock(answer.message.clock_ms)
        return lock_answer(answer.message, answer.sent, ttl_ms)

    def unlock(self, token: int, *, name: str = "", request: RequestId | None = None) -> UnlockAnswer:
        """Releases the hold with this token. Releasing what is not held changes nothing.

        name: where given, the token must be this lock's, and the answer names who holds it otherwise. request: as
        in try_lock.

        Raises RequestTooOld where `request` is no longer answered.
        """

        def build(request: RequestId) -> lockd_pb2.UnlockRequest:
            return lockd_pb2.UnlockRequest(token=token, name=name, request=request_message(request))

        answer = self._change(methods.UNLOCK, build, request)
        self._saw_clock(answer.message.clock_ms)
        return unlock_answer(answer.message)

    def renew(self, token: int, ttl: float) -> RenewAnswer:
        """Lets the hold live `ttl` seconds from now (bounds as in try_lock), never less than it would have lived.

        It may be called again after OutcomeUnknown. Raises CallFailed with the reason NO_LEASE for a hold without a
        ttl.
        """
        with _arguments():
            message = lockd_pb2.RenewRequest(token=token, ttl_ms=milliseconds(ttl))
        answer = self._call(methods.RENEW, message, Repeat.SAFE)
        self._saw_clock(answer.message.clock_ms)
        return renew_answer(answer.message, answer.sent)

    def is_locked(self, name: str) -> bool:
        """Whether anybody holds the lock, as of a moment after the call was made."""
        return self._is_locked(name).is_locked

    def holders(self, name: str) -> tuple[Holder, ...]:
        """Who holds the lock, as of a moment after the call was made."""
        message = self._is_locked(name)
        return holders_of(message.holders, message.clock_ms)

    def list(self, prefix: str = "", owner: str = "") -> Iterator[Holder]:
        """Every hold whose name begins with `prefix` and whose owner is `owner` (empty: any), in name order.

        Read in pages while iterating: each page is of one moment, not all of them together.
        """
        after = ""
        while True:
            with _arguments():
                message = lockd_pb2.ListRequest(prefix=prefix, after=after, limit=PAGE, owner=owner)
            page = self._call(methods.LIST, message, Repeat.READ).message
            self._saw_clock(page.clock_ms)
            yield from holders_of(page.holders, page.clock_ms)
            if not page.next:
                return
            after = page.next

    def status(self, endpoint: str | None = None) -> Status:
        """A node's own view of itself and its cluster, read locally.

        endpoint: ask this node, once; default: the first that answers, as all other calls.
        """
        if endpoint is None:
            answer = self._call(methods.STATUS, lockd_pb2.StatusRequest(), Repeat.READ)
        else:
            only = (parse_endpoint(endpoint),)
            answer = self._call(methods.STATUS, lockd_pb2.StatusRequest(), Repeat.READ, endpoints=only, rounds=1)
        return status_of(answer.message)

    def close(self) -> None:
        """Closes the connections; holds stay. Calls in other threads raise ClientClosed. May be called twice."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # ---- inside

    def _by_name(self, method: Method[lockapi_pb2.LockName, lockapi_pb2.LockResult], name: str) -> bool:
        with _arguments():
            message = lockapi_pb2.LockName(name=name)
        return self._call(method, message, Repeat.ONCE).message.success

    def _is_locked(self, name: str) -> lockd_pb2.IsLockedResponse:
        with _arguments():
            message = lockd_pb2.IsLockedRequest(name=name)
        answer = self._call(methods.IS_LOCKED, message, Repeat.READ).message
        self._saw_clock(answer.clock_ms)
        return answer

    def _change(
        self,
        method: Method[RequestT, AnswerT],
        build: Callable[[RequestId], RequestT],
        given: RequestId | None,
    ) -> Answer[AnswerT]:
        """A call under an id of its own, the same in all attempts.

        An id made here is younger than any record's end, so TOO_OLD proves that no attempt under it was carried out
        and none will be: the clock that it was made from lay behind (a node cut off from the others), and another id
        is safe.
        """
        begun = time.monotonic()
        deadline = begun + self._timeout
        for spent in range(1, REQUESTS_PER_CALL_MAX + 1):
            request = given or self._new_request(deadline)
            with _arguments():
                message = build(request)
            try:
                in_doubt = given is not None
                return self._call(method, message, Repeat.SAFE, request=request, deadline=deadline, in_doubt=in_doubt)
            except RequestTooOld:
                self._clock = None
                is_young = time.monotonic() - begun < NOT_AFTER_MS / 1000
                if in_doubt or not is_young or spent == REQUESTS_PER_CALL_MAX:
                    raise
        raise AssertionError("the loop returns or raises")

    def _new_request(self, deadline: float) -> RequestId:
        return RequestId(os.urandom(REQUEST_ID_BYTES), self._clock_ms(deadline) + NOT_AFTER_MS)

    def _clock_ms(self, deadline: float) -> int:
        seen = self._clock
        if seen is not None and now() - seen[1] < CLOCK_FRESH_S:
            return seen[0]
        status = self._call(methods.STATUS, lockd_pb2.StatusRequest(), Repeat.READ, deadline=deadline)
        self._saw_clock(status.message.clock_ms)
        return status.message.clock_ms

    def _saw_clock(self, clock_ms: int) -> None:
        self._clock = (clock_ms, now())

    def _call(
        self,
        method: Method[RequestT, AnswerT],
        message: RequestT,
        repeat: Repeat,
        *,
        deadline: float | None = None,
        request: RequestId | None = None,
        endpoints: tuple[str, ...] | None = None,
        rounds: int | None = None,
        in_doubt: bool = False,
    ) -> Answer[AnswerT]:
        attempts = Attempts(
            endpoints or self._in_turn(),
            repeat,
            deadline=time.monotonic() + self._timeout if deadline is None else deadline,
            chance=random.random,
            request=request,
            rounds=rounds,
            in_doubt=in_doubt,
        )
        while (attempt := attempts.next(time.monotonic())) is not None:
            self._transport.pause(attempt.delay)
            sound = repeat is not Repeat.READ
            result = self._transport.call(attempt.endpoint, method, message, attempt.timeout, sound=sound)
            if isinstance(result, Answer):
                if endpoints is None:
                    self._good = self._endpoints.index(result.endpoint)
                return result
            error: LockdError | None = attempts.failed(result)
            if error is not None:
                raise error
        raise attempts.exhausted()

    def _in_turn(self) -> tuple[str, ...]:
        good = self._good
        return self._endpoints[good:] + self._endpoints[:good]
