"""The header Lockd-Fence: how it is written, read and judged. What asgi.py and wsgi.py have in common.

    Lockd-Fence: nightly-report 42
    Lockd-Fence: stock/a 43, stock/b 43 shared

A list of holds: the lock's name, percent-encoded where it is not visible ASCII, and `,` and `%` always; blanks; the
fencing token; and, of a shared hold, blanks and the word `shared`. At most 64, no name twice. The header may be
repeated.

Refusals are application/problem+json (RFC 9457) with a `reason` beside its `status`: 409 STALE_TOKEN, with `name`,
`token` and `highest`; 428 FENCE_REQUIRED; 400 BAD_FENCE; 503 RESOURCE_EXHAUSTED.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from lockd_client.errors import InvalidArgument
from lockd_client.fence.errors import BadFence, FenceError, FenceRequired, StaleToken, TooManyNames
from lockd_client.fence.values import Fence

if TYPE_CHECKING:
    from lockd_client.aio_locks import AsyncLock
    from lockd_client.locks import Lock

HEADER = "Lockd-Fence"
FENCES_MAX = 64  # names in one grant
KEY = "lockd_client.fences"  # of ASGI's scope and WSGI's environ: a tuple of Fence
WRITING = frozenset({"DELETE", "PATCH", "POST", "PUT"})
PROBLEM_TYPE = "application/problem+json"

_ELEMENT = re.compile(r"((?:[!-$&-+\--~]|%[0-9A-Fa-f]{2})+)[ \t]+([1-9][0-9]{0,15})(?:[ \t]+(shared))?")
_VISIBLE = "!\"#$&'()*+/:;<=>?@[\\]^`{|}"  # besides what is never quoted

STATUSES: dict[type[FenceError], HTTPStatus] = {
    # 412 would say what If-Match says, and clients answer that by fetching and trying again.
    StaleToken: HTTPStatus.CONFLICT,
    BadFence: HTTPStatus.BAD_REQUEST,
    FenceRequired: HTTPStatus.PRECONDITION_REQUIRED,
    TooManyNames: HTTPStatus.SERVICE_UNAVAILABLE,
}
REFUSALS = tuple(STATUSES)

NameOf = str | Callable[[str], str | None] | None


def header(*fences: Fence) -> dict[str, str]:
    """The header for a request under these holds. Raises InvalidArgument where there is none."""
    if not fences:
        raise InvalidArgument("a header needs at least one fence")
    return {HEADER: ", ".join(map(_element, fences))}


def headers(lock: "Lock | AsyncLock") -> dict[str, str]:
    """The header for a request under this lock, or set of locks: `requests.put(url, data, headers=headers(lock))`.

    Raises LockLost, NotOwned.
    """
    lock.check()
    return header(*(Fence(name, lock.token, shared) for name, shared in lock._holding.wants.names))


def parse(text: str) -> tuple[Fence, ...]:
    """The holds that a header names, at least one. Raises BadFence."""
    elements = [element for each in text.split(",") if (element := each.strip(" \t"))]
    if not 1 <= len(elements) <= FENCES_MAX:
        raise BadFence(f"It has {len(elements)} elements; it takes 1 to {FENCES_MAX}.")
    fences = tuple(map(_fence, elements))
    if len({fence.name for fence in fences}) < len(fences):
        raise BadFence("A name is there twice.")
    return fences


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which requests need which holds.

    name: the lock that counts, whatever else the header names; or a function of the path that answers it, None for a
    path where nothing is asked and nothing checked; None: any lock that the client names. methods: need an exclusive
    hold; those of others are checked where they are named.
    """

    name: NameOf
    methods: Collection[str]

    def fences(self, method: str, path: str, lines: Sequence[str]) -> tuple[Fence, ...]:
        """Those that are to be checked. lines: the values of the header. Raises BadFence, FenceRequired."""
        name = self.name(path) if callable(self.name) else self.name
        if name is None and self.name is not None:
            return ()
        named = parse(",".join(lines)) if lines else ()
        fences = tuple(fence for fence in named if name is None or fence.name == name)
        if method in self.methods and all(fence.shared for fence in fences):
            raise FenceRequired("" if name is None else f"The lock is {name!r}.")
        return fences


def problem(error: FenceError) -> tuple[HTTPStatus, bytes]:
    """The status, and the body, of the answer to a request that was refused for one of REFUSALS."""
    status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
    members: dict[str, object] = {"title": status.phrase, "status": status, "detail": str(error)}
    members["reason"] = error.reason
    if isinstance(error, StaleToken):
        members |= {"name": error.name, "token": error.token, "highest": error.highest}
    return status, json.dumps(members).encode()


def _element(fence: Fence) -> str:
    return f"{quote(fence.name, safe=_VISIBLE)} {fence.token}{' shared' if fence.shared else ''}"


def _fence(element: str) -> Fence:
    found = _ELEMENT.fullmatch(element)
    if found is None:
        raise BadFence(f"This is none: {element[:80]!r}.")
    try:
        return Fence(unquote_to_bytes(found[1]).decode(), int(found[2]), found[3] is not None)
    except (UnicodeDecodeError, InvalidArgument) as error:
        raise BadFence(f"{element[:80]!r}: {error}") from error
