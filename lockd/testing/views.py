"""What there is to know of a client's engine (lockd_client.engine) before time goes on: what it does that takes no
time, and what comes next.

What goes on in a client that reaches the node comes to its end in real time; one that is cut off waits for the hand.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from lockd_client import now
from lockd_client.engine import Engine
from lockd_client.links import Link
from lockd_client.operations import Operation

Reaches = Callable[[str], bool]
"""Whether an endpoint leads to the node now."""


class Doing(NamedTuple):
    """Something that comes to its end without the hand."""

    what: object
    name: str

    def __str__(self) -> str:
        return self.name


def doings(engine: Engine, reaches: Reaches) -> frozenset[Doing]:
    questions = [Doing(link, f"a question to {link.endpoint}") for link in engine.links.all if _is_busy(link, reaches)]
    calls = [
        Doing(operation, operation.call.method.path)
        for operation in engine.unfinished
        if _is_on_its_way(operation, engine, reaches)
    ]
    return frozenset((*questions, *calls))


def next_due(engine: Engine, reaches: Reaches) -> float:
    """When it does something because of the time. Where it reaches the node, it need not ask whether that lives."""
    if engine.is_closed:
        return math.inf
    if engine.links.all and all(reaches(link.endpoint) for link in engine.links.all):
        return min([engine.leases.next_due(), *(operation.due() for operation in engine.unfinished)])
    return engine.alarm


def unblock(engine: Engine, reaches: Reaches) -> None:
    """Has it connect at once where it pauses after a failure, and reaches the node: no time passes meanwhile."""
    route = engine.links.route
    pauses = engine.links.current is None and route.not_before > now()
    if pauses and reaches(route.endpoint) and any(not operation.key for operation in engine.unfinished):
        route.rested()
        engine.due(now())


def waits_in_queue(link: Link) -> bool:
    return any(operation.is_parked for operation in link.flying.values())


def _is_busy(link: Link, reaches: Reaches) -> bool:
    return bool(link.ping_key or link.wants_ping or link.outbox) and reaches(link.endpoint)


def _is_on_its_way(operation: Operation, engine: Engine, reaches: Reaches) -> bool:
    """And not in the node's queue, nor told to wait."""
    if operation.is_parked or operation.not_before > now():
        return False
    link = operation.link or engine.links.current
    return reaches(operation.call.endpoint or (link.endpoint if link else engine.links.route.endpoint))
