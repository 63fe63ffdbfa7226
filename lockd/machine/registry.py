"""Clients and resources by name, each under an id that is never used again."""

from .commands import Kind, ListRegistered, Register, Unregister
from .outcomes import Registered, Unregistered
from .state import State
from .tables import Entry
from .turn import Turn


def register(turn: Turn, ask: Register) -> None:
    state = turn.state
    id = state.registered(ask.kind, ask.name)
    if not id:
        id = state.scalars.last_entry_id + 1
        state.set_scalars(last_entry_id=id)
        state.put_entry(Entry(id, ask.kind, ask.name))
    turn.answer(ask.call, Registered(ask.kind, ((id, ask.name),)))


def unregister(turn: Turn, ask: Unregister) -> None:
    state = turn.state
    entry = state.registry.get(ask.id)
    if entry is None or entry.kind is not ask.kind:
        turn.answer(ask.call, Unregistered(found=False))
        return
    in_use = _is_in_use(state, entry)
    if not in_use:
        state.drop_entry(entry)
    turn.answer(ask.call, Unregistered(found=True, in_use=in_use))


def _is_in_use(state: State, entry: Entry) -> bool:
    """A client: as an owner. A resource: as a lock."""
    return state.owns_anything(entry.name) if entry.kind is Kind.CLIENT else not state.lock(entry.name).is_idle


def list_registered(state: State, ask: ListRegistered) -> Registered:
    if ask.name or ask.id:
        entry = state.registry.get(ask.id or state.registered(ask.kind, ask.name))
        is_there = entry is not None and entry.kind is ask.kind
        return Registered(ask.kind, ((entry.id, entry.name),) if entry and is_there else ())
    ids, more = state.registered_after(ask.kind, ask.after, ask.limit)
    page = tuple([(id, state.registry[id].name) for id in ids])
    return Registered(ask.kind, page, ids[-1] if ids and more else 0)
