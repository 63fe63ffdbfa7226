"""What a client asks for, as values: the request, how it may be repeated, and what its answer means. Pure."""

import getpass
import math
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from lockd_client import methods, translate
from lockd_client.attempts import Repeat
from lockd_client.errors import InvalidArgument
from lockd_client.methods import Method
from lockd_client.proto import lockapi_pb2, lockd_pb2
from lockd_client.values import (
    Holder,
    LockAnswer,
    LockInfo,
    Mode,
    RenewAnswer,
    RequestId,
    Status,
    TokenCheck,
    UnlockAnswer,
)

PAGE = 1000  # the least that a node may be configured to allow

T = TypeVar("T")


class Gone(Enum):
    """What becomes of a call whose caller does not wait for it any more."""

    DROP = auto()
    FINISH = auto()  # it goes on in the background until it is answered
    CANCEL = auto()  # it is undone, in the background until that is answered


@dataclass(slots=True, kw_only=True, eq=False)
class Call(Generic[T]):
    """message: without id and attempt, which belong to each attempt; it is the call's own. decode: of the answer, and
    of when the attempt that it answers was sent. wait: seconds that a Lock may be queued. timeout: seconds without an
    answer after which it fails; None: the client's. endpoint: where one attempt is made, and no other.
    """

    method: Method[Any, Any]
    message: Message
    decode: Callable[[Any, float], T]
    repeat: Repeat
    identified: bool = False
    request: RequestId | None = None
    wait: float = 0.0
    timeout: float | None = None
    gone: Gone = Gone.DROP
    endpoint: str = ""


@contextmanager
def arguments() -> Iterator[None]:
    """What a message cannot hold (text that is not UTF-8, numbers out of range) is the caller's mistake."""
    try:
        yield
    except InvalidArgument:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidArgument(str(error)) from error


def default_owner() -> str:
    """user@host:pid, of this process at this moment."""
    return _owner_of(os.getpid())


@cache
def _owner_of(pid: int) -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{pid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What a Lock asks for. names: with `shared` each. ttl: seconds, 0 where a session carries the hold."""

    names: tuple[tuple[str, bool], ...]
    ttl: float
    owner: str | None = None
    reason: str = ""
    metadata: Mapping[str, str] | None = None
    lock_delay: float = 0.0
    reentrant: bool = False

    def message(self, *, session_id: int = 0, agent: str = "", wait: float = 0.0) -> lockd_pb2.LockRequest:
        """Raises InvalidArgument."""
        with arguments():
            message = lockd_pb2.LockRequest(
                ttl_ms=0 if session_id else translate.milliseconds(self.ttl),
                owner=default_owner() if self.owner is None else self.owner,
                reason=self.reason,
                metadata=self.metadata or {},
                session_id=session_id,
                agent=agent,
                wait_ms=translate.wait_milliseconds(wait),
                reentrant=self.reentrant,
                lock_delay_ms=translate.milliseconds(self.lock_delay, "lock_delay"),
            )
            if len(self.names) == 1:
                message.name, shared = self.names[0]
                message.mode = translate.mode_message(shared)
            else:
                message.wants.extend(
                    lockd_pb2.Want(name=name, mode=translate.mode_message(shared)) for name, shared in self.names
                )
            return message


def lock(
    wants: Wants,
    *,
    session_id: int = 0,
    agent: str = "",
    wait: float = 0.0,
    request: RequestId | None = None,
    timeout: float | None = None,
    gone: Gone = Gone.DROP,
) -> Call[LockAnswer]:
    message = wants.message(session_id=session_id, agent=agent, wait=wait)
    return Call(
        method=methods.LOCK,
        message=message,
        decode=lambda answer, sent: translate.lock_answer(answer, sent, message.ttl_ms),
        repeat=Repeat.SAFE,
        identified=True,
        request=request,
        wait=wait,
        timeout=timeout,
        gone=gone,
    )


def unlock(
    token: int,
    *,
    name: str = "",
    request: RequestId | None = None,
    force: bool = False,
    reason: str = "",
    owner: str = "",
    gone: Gone = Gone.DROP,
) -> Call[UnlockAnswer]:
    with arguments():
        message = lockd_pb2.UnlockRequest(token=token, name=name, force=force, reason=reason, owner=owner)
    return Call(
        method=methods.UNLOCK,
        message=message,
        decode=lambda answer, _: translate.unlock_answer(answer),
        repeat=Repeat.SAFE,
        identified=True,
        request=request,
        gone=gone,
    )


def cancel(request: RequestId, timeout: float | None = None) -> Call[None]:
    with arguments():
        message = lockd_pb2.CancelRequest(request=translate.request_message(request))
    return Call(
        method=methods.CANCEL,
        message=message,
        decode=lambda _answer, _sent: None,
        repeat=Repeat.SAFE,
        timeout=timeout,
        gone=Gone.FINISH,
    )


def renew(token: int, ttl: float, timeout: float | None = None) -> Call[RenewAnswer]:
    with arguments():
        message = lockd_pb2.RenewRequest(token=token, ttl_ms=translate.milliseconds(ttl))
    return Call(
        method=methods.RENEW, message=message, decode=translate.renew_answer, repeat=Repeat.SAFE, timeout=timeout
    )


def open_session(ttl: float, owner: str | None) -> Call[translate.Opened]:
    """A session that nobody waits for any more ends with its ttl."""
    with arguments():
        message = lockd_pb2.OpenSessionRequest(
            ttl_ms=translate.milliseconds(ttl), owner=default_owner() if owner is None else owner
        )
    return Call(
        method=methods.OPEN_SESSION,
        message=message,
        decode=translate.opened,
        repeat=Repeat.SAFE,
        identified=True,
    )


def keep_alive(session_id: int, timeout: float | None = None) -> Call[RenewAnswer]:
    return Call(
        method=methods.KEEP_ALIVE,
        message=lockd_pb2.KeepAliveRequest(session_id=session_id),
        decode=translate.kept_answer,
        repeat=Repeat.SAFE,
        timeout=timeout,
    )


def close_session(session_id: int, timeout: float | None = None) -> Call[None]:
    return Call(
        method=methods.CLOSE_SESSION,
        message=lockd_pb2.CloseSessionRequest(session_id=session_id),
        decode=lambda _answer, _sent: None,
        repeat=Repeat.SAFE,
        timeout=timeout,
        gone=Gone.FINISH,
    )


def holders(name: str) -> Call[tuple[Holder, ...]]:
    with arguments():
        message = lockd_pb2.IsLockedRequest(name=name)
    return Call(
        method=methods.IS_LOCKED,
        message=message,
        decode=lambda answer, _: translate.holders_of(answer.holders, answer.clock_ms),
        repeat=Repeat.READ,
    )


def is_locked(name: str) -> Call[bool]:
    with arguments():
        message = lockd_pb2.IsLockedRequest(name=name)
    return Call(
        method=methods.IS_LOCKED,
        message=message,
        decode=lambda answer, _: bool(answer.is_locked),
        repeat=Repeat.READ,
    )


def get(name: str, limit: int) -> Call[LockInfo]:
    with arguments():
        message = lockd_pb2.GetRequest(name=name, limit=limit)
    return Call(
        method=methods.GET,
        message=message,
        decode=lambda answer, _: translate.lock_info(name, answer),
        repeat=Repeat.READ,
    )


_FILTERS = {
    None: lockd_pb2.ANY_MODE,
    Mode.EXCLUSIVE: lockd_pb2.ONLY_EXCLUSIVE,
    Mode.SHARED: lockd_pb2.ONLY_SHARED,
}


def page(prefix: str, after: str, *, owner: str, mode: Mode | None, waiters: bool) -> Call[translate.Page]:
    with arguments():
        message = lockd_pb2.ListRequest(
            prefix=prefix, after=after, limit=PAGE, owner=owner, mode=_FILTERS[mode], with_waiters=waiters
        )
    return Call(
        method=methods.LIST, message=message, decode=lambda answer, _: translate.page_of(answer), repeat=Repeat.READ
    )


def check_token(name: str, token: int) -> Call[TokenCheck]:
    with arguments():
        message = lockd_pb2.CheckTokenRequest(name=name, token=token)
    return Call(
        method=methods.CHECK_TOKEN,
        message=message,
        decode=lambda answer, _: translate.token_check(answer),
        repeat=Repeat.READ,
    )


def status(endpoint: str = "") -> Call[Status]:
    return Call(
        method=methods.STATUS,
        message=lockd_pb2.StatusRequest(),
        decode=lambda answer, _: translate.status_of(answer),
        repeat=Repeat.READ,
        endpoint=endpoint,
    )


def by_name(method: Method[lockapi_pb2.LockName, lockapi_pb2.LockResult], name: str) -> Call[bool]:
    """lockapi's calls carry no id."""
    with arguments():
        message = lockapi_pb2.LockName(name=name)
    return Call(method=method, message=message, decode=lambda answer, _: bool(answer.success), repeat=Repeat.ONCE)


def is_locked_by_name(name: str) -> Call[bool]:
    with arguments():
        message = lockapi_pb2.LockName(name=name)
    return Call(
        method=methods.IS_LOCKED_BY_NAME,
        message=message,
        decode=lambda answer, _: bool(answer.is_locked),
        repeat=Repeat.READ,
    )


def names_of(names: Iterable[str | tuple[str, bool]]) -> tuple[tuple[str, bool], ...]:
    """Raises InvalidArgument."""
    if isinstance(names, str):
        raise InvalidArgument(f"names is a list, as in lock_all([{names!r}])")
    found = tuple((each, False) if isinstance(each, str) else (each[0], bool(each[1])) for each in names)
    if not found:
        raise InvalidArgument("names is empty")
    return found


def seconds(value: float | None, what: str) -> float:
    """None means for ever. Raises InvalidArgument."""
    if value is None:
        return math.inf
    if math.isnan(value) or value < 0:
        raise InvalidArgument(f"{what} is {value}; it is a number of seconds, 0 or more, or None for ever")
    return float(value)
