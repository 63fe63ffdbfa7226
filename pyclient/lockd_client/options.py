"""What may be said of a lock when it is made, for what makes locks on its own."""

from collections.abc import Callable
from inspect import isasyncgen, isasyncgenfunction, isawaitable, iscoroutinefunction, isgenerator, isgeneratorfunction
from typing import Any, TypedDict, TypeVar

from lockd_client.errors import InvalidArgument

T = TypeVar("T")


class ElectionOptions(TypedDict, total=False):
    """As in lock()."""

    wait: float | None
    auto_renew: bool
    owner: str | None
    reason: str
    lock_delay: float
    progress_within: float | None


class LockOptions(ElectionOptions, total=False):
    """As in lock()."""

    shared: bool
    metadata: dict[str, str] | None
    reentrant: bool


def name_of(name: str | Callable[..., str], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> str:
    """Of the lock for a call of a function with these arguments."""
    return name if isinstance(name, str) else name(*arguments, **keywords)


def check_decorated(function: Callable[..., object], *, is_async: bool) -> None:
    """Raises InvalidArgument for what would go on after the lock is released."""
    what = getattr(function, "__qualname__", repr(function))
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        raise InvalidArgument(f"{what} is a generator: it runs when it is iterated over; take the lock inside it")
    if iscoroutinefunction(function) and not is_async:
        raise InvalidArgument(f"{what} is a coroutine function: use AsyncLockdClient's synchronized")
    if is_async and not iscoroutinefunction(function):
        raise InvalidArgument(f"{what} is no coroutine function: use LockdClient's synchronized")


def checked_result(function: Callable[..., object], result: T) -> T:
    """Raises InvalidArgument for what only now would begin, as a coroutine that a plain function returns."""
    if isawaitable(result) or isgenerator(result) or isasyncgen(result):
        what = getattr(function, "__qualname__", repr(function))
        if hasattr(result, "close"):
            result.close()  # a coroutine that is never awaited warns of that
        kind = type(result).__name__
        raise InvalidArgument(
            f"{what} returned a {kind}, which runs after the lock is released: take the lock inside it"
        )
    return result
