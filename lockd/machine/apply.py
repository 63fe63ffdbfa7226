"""The state machine. `apply` is given one log entry and answers; it never refuses by raising.

Rules
-----
1. A request is granted when each of its names is free of incompatible holds, of incompatible lock delays and of
   incompatible waiters that arrived before it, with one token greater than every token before it. Arrival is one
   number over all queues. A set of names is granted whole or not at all; while it waits it has a place in every
   queue and holds nothing.
2. Whatever makes room on a name grants, in the same entry and in arrival order, what it made room for. A waiter whose
   session has begun to end is granted nothing.
3. A lease ends when the clock has passed its deadline, and everything on it: waiters leave first, then holds. From
   the moment it begins to end it accepts nothing. Waits and lock delays end likewise when their bound has passed.
4. A request id acts once. Its answer is repeated for as long as its waiter or hold lives and RECORD_KEEP_MS after,
   or until its client says that it has the answer; a repeated grant reports what remains of the lease, or Lost.
5. A call that waits is parked by a node, in one life of its process, which alone delivers the grant. A later attempt
   of the same request takes its place, and keeps the place in the queue. A node that cannot deliver withdraws, which
   counts only while its call stands. When the node's own lease ends, what it parked without a session leaves.
6. A wait that would close a cycle of agents is refused.
7. Releasing or renewing what is not held, or is held by another identity, changes nothing. After an expiry or a forced
   unlock a lock delay holds incompatible grants back.

Where they live: locking.py (requests for locks), sessions.py, ending.py (what time ends), turn.py (grants, the queues,
events), requests.py and marks.py (ids), deadlock.py, reading.py, registry.py, credentials.py; tables.py and state.py
have the state.

Theory of operation
-------------------
An entry is a batch of commands with one stamp, closed by a leader, or BeginEpoch. Raft's log decides the
order; every replica applies the same entries to the same state and so reaches the same state. There is no
other input: no clock, no chance, no configuration.

Time is `clock_ms`. Only entries move it: a batch that counts sets `clock_ms = max(clock_ms, stamp_ms)`,
then ends what is due, within the bounds of constants.py, then serves the queues, and then runs its commands in order,
each serving the queues before the next one runs.

A batch counts only if the term it was appended in equals its epoch and that epoch is the current one. A
leader begins an epoch, numbered by its Raft term, before it closes any batch. So a batch that a deposed
leader closed, and that entered the log later, changes nothing, and its commands are answered STALE_EPOCH.

A leader's stamp is clock_ms at its own BeginEpoch plus the monotonic time since it applied that entry.

Why no lease ends early
-----------------------
Let w(p) be the real time at which the stamp that set the clock at log position p was read, and c(p) the
clock there. Claim: for j <= k, c(k) - c(j) <= w(k) - w(j). Within an epoch both differences are taken on
one monotonic clock. Across a BeginEpoch at i the base is c(i), and the new leader applies i at a real time
a >= w(i), since everything before i in its log was closed before it got there; so
c(k) - c(j) <= (w(k) - a) + (w(i) - w(j)) <= w(k) - w(j). A deposed leader's late entries do not count,
replay and snapshots repeat the same positions, a restarted leader begins a new epoch, and time without a
leader is not counted: leases may end late, never early. Clocks that run at different rates are the
client's margin.

Why serving once is enough
--------------------------
A grant turns a waiter's places into holds of the same modes, and whoever was compatible with the one is compatible
with the other: a grant makes room for nobody. So one pass over the waiters at the heads of the names where something
ended, in arrival order, leaves no waiter that could be granted.

What is ugly here
-----------------
Outcomes are kept in records by the name of their class, since a record must survive a restart. Who is in the way, in
a repeated answer, is read afresh: it says who is there now, not who was then. A grant is made from a Waiter also where
nobody waited.
"""

from collections.abc import Callable
from typing import Any, cast

from . import commands as c
from . import credentials, locking, reading, registry, sessions
from .constants import VERSION
from .ending import end_due, more_is_due
from .outcomes import Answer, Applied, Outcome, Passed, Refusal
from .state import State
from .turn import Turn

__all__ = ["VERSION", "apply", "counts", "more_is_due", "read"]


def apply(state: State, entry: c.Entry, append_term: int) -> Applied:
    """Runs one entry. append_term is the Raft term in which the entry was appended to the log."""
    if isinstance(entry, c.BeginEpoch):
        if append_term == entry.epoch > state.scalars.epoch:
            state.set_scalars(epoch=entry.epoch, version=max(entry.version, state.scalars.version))
        return Applied()
    if not counts(state, entry, append_term):
        return Applied(tuple(Answer(command.call, Refusal.STALE_EPOCH) for command in entry.commands))
    if entry.stamp_ms > state.scalars.clock_ms:
        state.set_scalars(clock_ms=entry.stamp_ms)
    turn = Turn(state)
    end_due(turn)
    for command in entry.commands:
        change = _CHANGES.get(type(command))
        if change is None:
            turn.answer(command.call, read(state, command))
        else:
            change(turn, command)
            turn.serve()
    return turn.applied()


def counts(state: State, entry: c.Batch, append_term: int) -> bool:
    """Whether the entry was closed and appended by the leader of the current epoch."""
    return append_term == entry.epoch == state.scalars.epoch


def read(state: State, command: c.Command) -> Outcome:
    """The answer to a command that changes nothing."""
    return _READS[type(command)](state, command)


_CHANGES = cast(
    dict[type, Callable[[Turn, Any], None]],
    {
        c.Acquire: locking.acquire,
        c.Release: locking.release,
        c.Cancel: locking.cancel,
        c.Withdraw: locking.withdraw,
        c.Renew: locking.renew,
        c.OpenSession: sessions.open_session,
        c.KeepAlive: sessions.keep_alive,
        c.CloseSession: sessions.close_session,
        c.OpenNode: sessions.open_node,
        c.Register: registry.register,
        c.Unregister: registry.unregister,
        c.CreateCredential: credentials.create,
        c.RevokeCredential: credentials.revoke,
        c.Deny: credentials.deny,
    },
)

_READS = cast(
    dict[type, Callable[[State, Any], Outcome]],
    {
        c.IsLocked: reading.is_locked,
        c.Get: reading.get,
        c.ListHolds: reading.list_holds,
        c.CheckToken: reading.check_token,
        c.ListRegistered: registry.list_registered,
        c.ListCredentials: credentials.list_credentials,
        c.Barrier: lambda _state, _ask: Passed(),
    },
)
