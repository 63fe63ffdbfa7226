"""What holds of a state after every entry, whatever came before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .commands import Mode
from .tables import NodeKey

if TYPE_CHECKING:
    from .state import State


def broken(state: State) -> Iterator[str]:
    """In words."""
    yield from _holds_invariants(state)
    yield from _waiters_invariants(state)
    yield from _others_invariants(state)
    wants = [want for hold in state.holds.values() for want in hold.wants]
    wants += [want for waiter in state.waiters.values() for want in waiter.wants]
    names = {want.name for want in wants} | {delay.name for delay in state.delays.values()}
    if state._names != sorted(names) or set(state._locks) != names:
        yield "the name index differs from the locks"


def _holds_invariants(state: State) -> Iterator[str]:
    for token, hold in state.holds.items():
        if token != hold.token or not 0 < token <= state.scalars.last_token:
            yield f"hold {token} has a token that was not given out"
        if hold.lease and hold.lease not in state.leases:
            yield f"hold {token} names lease {hold.lease}, which is gone"
        elif hold.lease and state.leases[hold.lease].is_session != bool(hold.session):
            yield f"hold {token} names lease {hold.lease}, which is of another kind"
        if hold.count < 1:
            yield f"hold {token} has a count of {hold.count}"
    for name, lock in state._locks.items():
        modes = list(lock.holders.values())
        if Mode.EXCLUSIVE in modes and len(modes) > 1:
            yield f"{name!r} is held exclusively and once more"


def _waiters_invariants(state: State) -> Iterator[str]:
    for key, waiter in state.waiters.items():
        if key != waiter.key or not 0 < waiter.arrival <= state.scalars.last_arrival:
            yield f"waiter {key} has an arrival number that was not given out"
        if waiter.session and waiter.session not in state.leases:
            yield f"waiter {key} waits in session {waiter.session}, which is gone"
        if not waiter.session and NodeKey(waiter.call.node, waiter.call.life) not in state.nodes:
            yield f"waiter {key} is parked by a node without a lease"
        record = state.records.get(key)
        if record is None or record.outcome != "Queued" or record.until_ms:
            yield f"waiter {key} has no lasting request record"
    for name, lock in state._locks.items():
        if list(lock.queue.values()) != sorted(lock.queue.values()):
            yield f"the queue of {name!r} is out of order"


def _others_invariants(state: State) -> Iterator[str]:
    for id, lease in state.leases.items():
        if id != lease.id or not 0 < id <= state.scalars.last_lease:
            yield f"lease {id} has an id that was not given out"
        if not lease.is_session and len(state.on_lease(id).holds) != 1:
            yield f"lease {id} belongs to no hold"
    for key, record in state.records.items():
        if record.until_ms:
            continue
        if record.outcome == "Granted" and record.token not in state.holds:
            yield f"request record {key} waits for a hold that is gone"
        elif record.outcome == "Queued" and key not in state.waiters:
            yield f"request record {key} waits for a waiter that is gone"
        elif record.outcome not in ("Granted", "Queued"):
            yield f"request record {key} would last for ever"
    if len(state._registered) != len(state.registry):
        yield "two entries of the registry share one name"
    if len(state._secrets) != len(state.credentials):
        yield "two credentials share one secret"
    if any(id != row.id or id > state.scalars.last_credential for id, row in state.credentials.items()):
        yield "a credential has an id that was not given out"
