"""What can be asked without changing anything. Also of a state that lags: then the answer is as old as that state."""

from collections.abc import Iterator

from .commands import CheckToken, Get, IsLocked, ListHolds, Mode
from .constants import HOLDERS_SHOWN, NAMES_PER_PAGE
from .outcomes import Holder, LockState, Page, TokenState, Waiting
from .state import State
from .tables import Waiter
from .turn import holder, holders


def is_locked(state: State, ask: IsLocked) -> LockState:
    return _lock_state(state, ask.name, holders_max=HOLDERS_SHOWN, waiters_max=0)


def get(state: State, ask: Get) -> LockState:
    return _lock_state(state, ask.name, holders_max=ask.limit, waiters_max=ask.limit)


def _lock_state(state: State, name: str, *, holders_max: int, waiters_max: int) -> LockState:
    lock = state.lock(name)
    return LockState(
        holders=tuple(holders(state, name, holders_max)),
        waiters=tuple(_waiters(state, name, waiters_max)),
        holders_count=len(lock.holders),
        waiters_count=len(lock.queue),
        delayed_until_ms=lock.delayed_until_ms,
    )


def list_holds(state: State, ask: ListHolds) -> Page:
    """Whole names: a page may go over its limit by the holds and waiters of its last name, at most limit of each."""
    if ask.token:
        return _names_of_hold(state, ask)
    found: list[Holder] = []
    waiting: list[Waiting] = []
    last = ""
    for looked_at, name in enumerate(state.names_after(ask.prefix, ask.after)):
        if len(found) + len(waiting) >= ask.limit or looked_at == NAMES_PER_PAGE:
            return Page(tuple(found), tuple(waiting), next=last)
        found += _holders_asked_for(state, ask, name)
        if ask.with_waiters:
            waiting += _waiters_asked_for(state, ask, name)
        last = name
    return Page(tuple(found), tuple(waiting))


def _names_of_hold(state: State, ask: ListHolds) -> Page:
    """On one page, of at most SET_MAX: `next` would be a name that the caller may not know of."""
    hold = state.holds.get(ask.token)
    if hold is None:
        return Page(())
    wants = [want for want in hold.wants if want.name.startswith(ask.prefix) and want.name > ask.after]
    found = [holder(state, hold, name, mode) for name, mode in sorted(wants) if _is_asked_for(ask, hold.owner, mode)]
    return Page(tuple(found))


def _holders_asked_for(state: State, ask: ListHolds, name: str) -> list[Holder]:
    held = [(state.holds[token], mode) for token, mode in state.lock(name).holders.items()]
    found = [(hold, mode) for hold, mode in held if _is_asked_for(ask, hold.owner, mode)]
    return [holder(state, hold, name, mode) for hold, mode in found[: ask.limit]]


def _waiters_asked_for(state: State, ask: ListHolds, name: str) -> list[Waiting]:
    found: list[Waiting] = []
    lock = state.lock(name)
    for position, key in enumerate(lock.queue):
        if len(found) == ask.limit:
            break
        waiter = state.waiters[key]
        mode = Mode.EXCLUSIVE if key in lock.exclusives else Mode.SHARED
        if _is_asked_for(ask, waiter.owner, mode):
            found.append(_waiting(waiter, name, position))
    return found


def _is_asked_for(ask: ListHolds, owner: str, mode: Mode) -> bool:
    return ask.owner in ("", owner) and ask.mode in (None, mode)


def check_token(state: State, ask: CheckToken) -> TokenState:
    is_current = ask.token in state.lock(ask.name).holders
    return TokenState(is_current, tuple(holders(state, ask.name, HOLDERS_SHOWN)))


def _waiters(state: State, name: str, most: int) -> Iterator[Waiting]:
    for position, key in enumerate(state.lock(name).queue):
        if position == most:
            return
        yield _waiting(state.waiters[key], name, position)


def _waiting(waiter: Waiter, name: str, position: int) -> Waiting:
    mode = next(want.mode for want in waiter.wants if want.name == name)
    return Waiting(
        name=name,
        mode=mode,
        position=position,
        owner=waiter.owner,
        session=waiter.session,
        agent=waiter.agent,
        since_ms=waiter.since_ms,
        until_ms=waiter.until_ms,
        reason=waiter.reason,
        metadata=waiter.metadata,
        identity=waiter.key.caller,
    )
