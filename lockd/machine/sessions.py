"""Sessions, and the leases under which nodes park calls."""

from dataclasses import replace

from .commands import CloseSession, KeepAlive, OpenNode, OpenSession
from .constants import WAIT_GRACE_MS
from .ending import end_lease, end_node
from .outcomes import Closed, Kept, Opened, Outcome, Passed, Refusal, SessionEnded, Superseded
from .requests import heed, keep, refusal, repeated_once
from .tables import Lease, NodeKey, NodeLease
from .turn import Turn


def open_session(turn: Turn, ask: OpenSession) -> None:
    turn.answer(ask.call, _open(turn, ask))


def _open(turn: Turn, ask: OpenSession) -> Outcome:
    heed(turn, ask.request)
    known = refusal(turn, ask.request)
    if known is not None:
        return repeated_once(turn, known)
    state, id = turn.state, turn.state.scalars.last_lease + 1
    state.set_scalars(last_lease=id)
    caller = ask.request.key.caller
    lease = Lease(
        id=id,
        deadline_ms=turn.now + ask.ttl_ms,
        ttl_ms=ask.ttl_ms,
        is_session=True,
        caller=caller,
        owner=ask.owner,
    )
    state.put_lease(lease)
    return keep(turn, ask.request, Opened(id, ask.ttl_ms, ask.ttl_ms), token=id)


def keep_alive(turn: Turn, ask: KeepAlive) -> None:
    state = turn.state
    lease = state.session(ask.session, ask.caller)
    if lease is None:
        turn.answer(ask.call, SessionEnded())
        return
    deadline_ms = turn.now + lease.ttl_ms
    if deadline_ms > lease.deadline_ms:
        state.put_lease(replace(lease, deadline_ms=deadline_ms))
    turn.answer(ask.call, Kept(state.remaining_ms(lease.id)))


def close_session(turn: Turn, ask: CloseSession) -> None:
    """The session begins to end. The answer waits until nothing of it is left."""
    lease = turn.state.leases.get(ask.session)
    if lease is None or not lease.is_session or lease.caller != ask.caller:
        turn.answer(ask.call, Closed())
        return
    if lease.closer is not None and lease.closer != ask.call:
        turn.answer(lease.closer, Superseded())
    closing = replace(lease, ending=True, closed=lease.closed or not lease.ending, closer=ask.call)
    turn.state.put_lease(closing)
    end_lease(turn, closing)


def open_node(turn: Turn, ask: OpenNode) -> None:
    """Opens or renews. Another life of the node has ended: what it parked without a session leaves."""
    state = turn.state
    mine = NodeKey(ask.call.node, ask.call.life)
    for key in [key for key in sorted(state.nodes) if key.node == mine.node and key != mine]:
        node = replace(state.nodes[key], ending=True)
        state.put_node(node)
        end_node(turn, node)
    present = state.nodes.get(mine)
    if present is not None and present.ending:
        turn.answer(ask.call, Refusal.STALE_NODE)  # what is left of it ends with the next entries
        return
    state.put_node(NodeLease(mine.node, mine.life, turn.now + WAIT_GRACE_MS))
    turn.answer(ask.call, Passed())
