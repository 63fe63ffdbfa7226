"""Deadlocks: a wait that would close a cycle of agents is refused before it begins.

An agent waits for whoever stands in the way of one of its requests: the incompatible holders of a name, and the
incompatible waiters ahead of it there, back to and including the nearest that has an agent and wants the name
EXCLUSIVE (those further ahead are what that one waits for). A cycle can only be closed by the wait that is asked for
now, and only at a hold of its agent, so a depth-first search runs from it, and only for an agent that holds something.
Another wait of the same agent, such as one whose Cancel is still on its way, is followed like anybody's, and closes
nothing by itself.
"""

from collections.abc import Iterator

from .commands import Acquire, Agent, Key, Mode, Want
from .constants import CYCLE_SEARCH_MAX
from .outcomes import Link
from .state import State
from .tables import Hold, Waiter


class SearchTooLong(Exception):
    """It took more than CYCLE_SEARCH_MAX steps: nobody knows whether there is a cycle."""


def closing_cycle(state: State, ask: Acquire) -> tuple[Link, ...]:
    """The cycle that this wait would close, beginning with its own link; empty: none. Raises SearchTooLong."""
    asker = Agent(ask.request.key.caller, ask.session, ask.agent)
    if not ask.agent or not state.of_agent(asker).holds:
        return ()
    return _Search(state, asker).run(ask)


class _Search:
    def __init__(self, state: State, asker: Agent) -> None:
        self._state, self._asker = state, asker
        self._reached: dict[Agent, tuple[Agent, Link]] = {}
        """From which agent, and by which wait of it, each agent was reached first."""
        self._todo: list[Agent] = []
        self._queues: dict[str, tuple[list[Key], dict[Key, int]]] = {}
        self._closing: tuple[Agent, Link] | None = None
        self._steps_left = CYCLE_SEARCH_MAX

    def run(self, ask: Acquire) -> tuple[Link, ...]:
        if self._follow(self._asker, ask.owner, ask.wants, None):
            return self._cycle()
        while self._todo:
            agent = self._todo.pop()
            for key in self._state.of_agent(agent).waiters:
                waiter = self._state.waiters[key]
                if self._follow(agent, waiter.owner, waiter.wants, key):
                    return self._cycle()
        return ()

    def _follow(self, agent: Agent, owner: str, wants: tuple[Want, ...], key: Key | None) -> bool:
        """Reaches whoever is in the way of this wait. True: the asker is."""
        for want in wants:
            for blocker in self._blockers(want, key):
                self._step(1)
                other = blocker.who
                link = Link(owner, agent.session, agent.name, want.name)
                if other == self._asker and isinstance(blocker, Hold):
                    self._closing = agent, link
                    return True
                if other is not None and other not in self._reached:
                    self._reached[other] = agent, link
                    self._todo.append(other)
        return False

    def _blockers(self, want: Want, key: Key | None) -> Iterator[Hold | Waiter]:
        """Who is in the way of the waiter with this key, or of one that would come last."""
        lock = self._state.lock(want.name)
        for token, mode in lock.holders.items():
            if Mode.EXCLUSIVE in (mode, want.mode):
                yield self._state.holds[token]
        keys, places = self._queue(want.name)
        for place in range(places[key] if key else len(keys), 0, -1):
            ahead = keys[place - 1]
            is_exclusive = ahead in lock.exclusives
            if is_exclusive or want.mode is Mode.EXCLUSIVE:
                yield self._state.waiters[ahead]
            if is_exclusive and self._state.waiters[ahead].agent:
                return

    def _queue(self, name: str) -> tuple[list[Key], dict[Key, int]]:
        if name not in self._queues:
            keys = list(self._state.lock(name).queue)
            self._step(len(keys))
            self._queues[name] = keys, {key: place for place, key in enumerate(keys)}
        return self._queues[name]

    def _step(self, steps: int) -> None:
        self._steps_left -= steps
        if self._steps_left < 0:
            raise SearchTooLong

    def _cycle(self) -> tuple[Link, ...]:
        """Back from the link that closes it to the asker, against the edges."""
        assert self._closing is not None
        agent, link = self._closing
        links = [link]
        while agent != self._asker:
            agent, link = self._reached[agent]
            links.append(link)
        return tuple(reversed(links))
