"""What ends because its time is over, in each entry within its bounds.

First what has begun to end in an earlier entry, then nodes' leases, waits and delays, then leases in the order of
their deadlines. A lease whose turn has not come is alive for every purpose. Every order is one of numbers in the state:
a replica that was restored has its tables in another order than one that never stopped.
"""

from dataclasses import replace

from .commands import Mode
from .constants import LEASES_PER_ENTRY, RECORDS_PER_ENTRY, WAITERS_PER_ENTRY
from .outcomes import Closed, SessionEnded, What, Withdrawn
from .state import State
from .tables import DelayKey, Lease, NodeKey, NodeLease
from .turn import Turn


def end_due(turn: Turn) -> None:
    """To be called once an entry, after the clock was set and before its commands run."""
    state = turn.state
    for node in [state.nodes[key] for key in sorted(state.ending_nodes)]:
        end_node(turn, node)
    for lease in [state.leases[id] for id in sorted(state.ending_leases)]:
        end_lease(turn, lease)
    _end_due_nodes(turn)
    _end_due_waits(turn)
    _end_due_delays(turn)
    _end_due_leases(turn)
    _end_due_records(turn)
    turn.serve()


def more_is_due(state: State) -> bool:
    """Whether an entry with a later stamp, or with the same one, would end something more."""
    bound = state.next_bound_ms()
    return bound is not None and bound < state.scalars.clock_ms


def end_lease(turn: Turn, lease: Lease) -> None:
    """Goes on ending a lease: its waiters first, then its holds, as many as this entry may still end."""
    state, use = turn.state, turn.state.on_lease(lease.id)
    for key in list(use.waiters):
        if not turn.waiters_left:
            return
        turn.waiters_left -= 1
        turn.leave(state.waiters[key], SessionEnded(), "session ended")
    for token in list(use.holds):
        hold = state.holds[token]
        if turn.names_left < len(hold.wants):
            return
        turn.names_left -= len(hold.wants)
        turn.free(hold, What.RELEASED if lease.closed else What.EXPIRED)
    if lease.is_session:  # a lease of a hold's own went with it
        state.drop_lease(state.leases[lease.id])
    if lease.closer:
        turn.answer(lease.closer, Closed())


def end_node(turn: Turn, node: NodeLease) -> None:
    """Goes on ending a node's lease: what it parked without a session leaves."""
    state, key = turn.state, NodeKey(node.node, node.life)
    for parked in sorted(state.parked_by(key), key=lambda parked: state.waiters[parked].arrival):
        if not turn.waiters_left:
            return
        turn.waiters_left -= 1
        turn.leave(state.waiters[parked], Withdrawn(), "node gone")
    state.drop_node(key)


def _end_due_nodes(turn: Turn) -> None:
    state = turn.state
    while (key := state.node_ends.due(turn.now)) is not None:
        node = replace(state.nodes[key], ending=True)
        state.put_node(node)
        end_node(turn, node)


def _end_due_waits(turn: Turn) -> None:
    state = turn.state
    while turn.waiters_left and (due := state.wait_ends.due(turn.now)) is not None:
        turn.waiters_left -= 1
        waiter = state.waiters[due[1]]
        turn.time_out(waiter)


def _end_due_delays(turn: Turn) -> None:
    """As many as waiters may end: they come from names of holds, which are bounded likewise."""
    state, left = turn.state, WAITERS_PER_ENTRY
    while left and (due := state.delay_ends.due(turn.now)) is not None:
        left -= 1
        turn.end_delay(state.delays[DelayKey(due[0], Mode[due[1]])])


def _end_due_leases(turn: Turn) -> None:
    state, left = turn.state, LEASES_PER_ENTRY
    while left and turn.names_left and turn.waiters_left and (id := state.lease_ends.due(turn.now)) is not None:
        lease = state.leases[id]
        if not lease.is_session and not _fits(turn, id):
            return
        left -= 1
        if lease.is_session:
            lease = replace(lease, ending=True)
            state.put_lease(lease)
        end_lease(turn, lease)


def _fits(turn: Turn, lease: int) -> bool:
    """Whether the one hold of this lease may end whole in this entry."""
    token = next(iter(turn.state.on_lease(lease).holds))
    return len(turn.state.holds[token].wants) <= turn.names_left


def _end_due_records(turn: Turn) -> None:
    state, left = turn.state, RECORDS_PER_ENTRY
    while left and (key := state.record_ends.due(turn.now)) is not None:
        left -= 1
        state.drop_record(state.records[key])
    while left and (client := state.mark_ends.due(turn.now)) is not None:
        left -= 1
        state.drop_mark(client)
