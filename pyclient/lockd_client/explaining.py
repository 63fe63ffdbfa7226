"""Why a lock is not free: who holds it, and what its holders wait for themselves. A flow (holding.py)."""

from collections import deque

from lockd_client import calls
from lockd_client.errors import PermissionDenied
from lockd_client.holding import Flow
from lockd_client.values import Explanation, Holder, LockInfo, Waiter, WaitingHolder

SHOWN_MAX = 100  # holders and waiters of each lock
HOLDERS_MAX = 64  # whose own waits are looked for
PAGES_MAX = 20  # of waiters, looked through for each of them


def explain(name: str) -> Flow[Explanation]:
    lock = yield calls.get(name, SHOWN_MAX)
    todo, seen, chain = deque([lock]), {name}, list[WaitingHolder]()
    asked: set[tuple[int, str]] = set()
    is_whole = True
    while todo:
        for holder in todo.popleft().holders:
            who = (holder.session_id, holder.agent)
            if not holder.agent or not holder.owner or who in asked:
                continue
            if len(asked) == HOLDERS_MAX:
                return Explanation(lock=lock, chain=tuple(chain), is_whole=False)
            asked.add(who)
            waits, all_seen = yield from _waits_of(holder)
            is_whole = is_whole and all_seen
            for waiter in waits:
                behind: LockInfo = yield calls.get(waiter.name, SHOWN_MAX)
                chain.append(WaitingHolder(holder=holder, waits=waiter, lock=behind))
                if waiter.name not in seen:
                    seen.add(waiter.name)
                    todo.append(behind)
    return Explanation(lock=lock, chain=tuple(chain), is_whole=is_whole)


def _waits_of(holder: Holder) -> Flow[tuple[list[Waiter], bool]]:
    """And whether those are all."""
    found, after = list[Waiter](), ""
    for _ in range(PAGES_MAX):
        try:
            page = yield calls.page("", after, owner=holder.owner, mode=None, waiters=True)
        except PermissionDenied:  # this caller's token is for some names alone
            return found, False
        found += [each for each in page.waiters if (each.session_id, each.agent) == (holder.session_id, holder.agent)]
        after = page.next
        if not after:
            return found, True
    return found, False
