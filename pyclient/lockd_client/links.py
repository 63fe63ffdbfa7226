"""A client's connections as data, and the rules by which it opens and leaves them. Pure.

One link at a time carries new calls: a stream to one node or, where a node has no Stream, unary calls to it. A link
opens with a question (Status) that changes nothing, so that a host that is off leaves no call in doubt; its answer
also brings the cluster's clock, which request ids need, and says who leads. The leader's link is opened beside the
present one, which then drains: what is in flight on it ends there, and waiting calls keep their place. In the same way
a link takes over that was opened with newer credentials, to the same node.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from typing import Any

from lockd_client import methods
from lockd_client.attempts import ATTEMPT_S, CODES, RECONNECT, Failure, Route
from lockd_client.credentials import LOOK_S, Credentials
from lockd_client.methods import Method
from lockd_client.operations import Operation
from lockd_client.proto import lockd_pb2

CONNECT_S = 2.0  # what a host that is off costs of the timeout
PING_S = 1.0  # a link on which calls wait in a queue, silent for so long, is asked whether it lives
REFRESH_PAUSE_S = 5.0  # after a link with newer credentials failed, while the one with older ones goes on
LEADERLESS_MAX = 2  # answers in a row that name no leader, after which another node is asked


class LinkState(Enum):
    OPENING = auto()  # its question was not answered yet
    OPEN = auto()
    DRAINING = auto()  # carries to its end what is in flight on it
    BROKEN = auto()


class Link:
    """outbox: to be written to the stream. flying: what is on the stream, by the key of its attempt. Unary calls are
    on their own: they end by themselves, whatever becomes of the link. edition: of the credentials; it was opened with
    these or newer ones.
    """

    def __init__(self, endpoint: str, *, is_stream: bool, time: float, edition: int = 0) -> None:
        self.endpoint = endpoint
        self.edition = edition
        self.is_stream = is_stream
        self.state = LinkState.OPENING
        self.outbox: deque[Operation] = deque()
        self.flying: dict[int, Operation] = {}
        self.opened = time
        self.heard = time
        self.ping_key = 0  # of the question that is in flight
        self.ping_sent = 0.0
        self.wants_ping = False
        self.leaderless = 0
        self.leads_as = ""  # the leader's address, where this node said that it leads

    @property
    def is_idle(self) -> bool:
        return not self.flying and not self.outbox

    def failure(self, error: lockd_pb2.Error) -> Failure:
        """What the node said of one call."""
        code = CODES.get(error.code, "UNKNOWN")
        return Failure(endpoint=self.endpoint, code=code, reason=error.reason, details=error.message)

    def silence(self, time: float) -> Failure:
        """That its question was not answered."""
        details = f"no answer within {time - self.ping_sent:.1f} s"
        return Failure(endpoint=self.endpoint, code="DEADLINE_EXCEEDED", details=details)

    def due(self) -> float:
        if self.state is LinkState.OPENING:
            return self.opened + CONNECT_S
        if self.ping_key or self.wants_ping:
            return self.ping_sent + ATTEMPT_S
        if self.is_stream and any(operation.is_parked for operation in self.flying.values()):
            return self.heard + PING_S
        return float("inf")


@dataclass(frozen=True, slots=True)
class Open:
    """Begin a stream."""

    link: Link


@dataclass(frozen=True, slots=True)
class Write:
    """There is something in the link's outbox."""

    link: Link


@dataclass(frozen=True, slots=True)
class Close:
    """End a stream."""

    link: Link


@dataclass(frozen=True, slots=True)
class Ask:
    """Begin a unary call. timeout: seconds; None: as long as it takes."""

    key: int
    endpoint: str
    method: Method[Any, Any]
    message: Any
    timeout: float | None


@dataclass(frozen=True, slots=True)
class HangUp:
    """End a unary call that nobody waits for."""

    key: int


Action = Open | Write | Close | Ask | HangUp


class Links:
    """Which links there are, and which of them takes new calls."""

    def __init__(self, route: Route, credentials: Credentials) -> None:
        self.route = route
        self.credentials = credentials
        self.actions: list[Action] = []
        self.current: Link | None = None
        self.better: Link | None = None  # to the leader, not answering yet
        self.all: dict[Link, None] = {}  # all that are not broken, in the order of their opening
        self.keys = count(1)
        self._no_stream: set[str] = set()
        self._back_to = ""  # the endpoint of the next link, where it is not its turn
        self._look_at = 0.0
        self._refresh_at = 0.0

    @property
    def ready(self) -> Link | None:
        """Takes new calls now."""
        link = self.current
        return link if link is not None and link.state is LinkState.OPEN else None

    def want(self, time: float) -> None:
        """A link is needed."""
        if self.current is None and time >= self.route.not_before:
            endpoint, self._back_to = self._back_to or self.route.endpoint, ""
            if self.better is not None and self.better.endpoint == endpoint:
                self.current, self.better = self.better, None
            else:
                self.current = self._open(endpoint, time)

    def refresh(self, time: float, *, may_open: bool) -> None:
        """Sees to it that a link with the present credentials takes over. To be called from time to time."""
        if not self.credentials.has_files or time < self._look_at:
            return
        self._look_at = time + LOOK_S
        edition, link = self.credentials.look(), self.ready
        if link is None or link.edition >= edition or self.better is not None or time < self._refresh_at:
            return
        if may_open:
            self.better = self._open(link.endpoint, time)

    def ask_status(self, link: Link, time: float) -> None:
        if link.ping_key or link.wants_ping:
            return
        link.ping_sent = time
        if link.is_stream:
            link.wants_ping = True
            self.actions.append(Write(link))
        else:
            link.ping_key = next(self.keys)
            self.actions.append(Ask(link.ping_key, link.endpoint, methods.STATUS, lockd_pb2.StatusRequest(), CONNECT_S))

    def status_came(self, link: Link, status: lockd_pb2.StatusResponse | None, time: float) -> bool:
        """None: the node answered that it knows no such question. False where the link is to be given up: its node has
        been without a leader for a while.
        """
        link.ping_key = 0
        if link.state is LinkState.OPENING:
            link.state = LinkState.OPEN
            if link is self.better:
                self._move(link)
        if status is None:
            return True
        link.leaderless = 0 if status.leader_id else link.leaderless + 1
        if status.leader_address:
            link.leads_as = status.leader_address if status.leader_id == status.node_id else ""
            self.prefer(link, status.leader_address, time)
        return link.leaderless < LEADERLESS_MAX or len(self.route.endpoints) == 1

    def prefer(self, link: Link, leader_address: str, time: float) -> None:
        """A node said where the leader serves clients."""
        if link is not self.current or link.state is not LinkState.OPEN or self.better is not None:
            return
        if leader_address in (link.endpoint, link.leads_as):
            return
        link.leads_as = ""
        endpoint = self.route.leader(leader_address, time)
        if endpoint is not None and endpoint != link.endpoint and self.credentials.suits(endpoint):
            self.better = self._open(endpoint, time)

    def broke(self, link: Link, failure: Failure, time: float) -> list[Operation]:
        """Returns what was on it. The next link is another node's turn, or the same without Stream, or by another
        connection.
        """
        if failure.reason == RECONNECT:
            self.come_back(link, time)
        elif link.is_stream and failure.code == "UNIMPLEMENTED" and not failure.reason:
            self._no_stream.add(link.endpoint)
        elif link is self.better:
            if self.current is not None and link.endpoint == self.current.endpoint:
                self._refresh_at = time + REFRESH_PAUSE_S
            else:
                self.route.unfit(link.endpoint, time)
        elif link is self.current:
            self.route.failed(link.endpoint, time, failure.patience)
        return self.drop(link)

    def come_back(self, link: Link, time: float) -> None:
        """If it is the present one, the next link goes to its node."""
        if link is self.current:
            self._back_to = link.endpoint
            self.route.returned(time)

    def drop(self, link: Link) -> list[Operation]:
        """Returns what was on it."""
        link.state = LinkState.BROKEN
        self.all.pop(link, None)
        if link is self.current:
            self.current = None
        if link is self.better:
            self.better = None
        if link.is_stream:
            self.actions.append(Close(link))
        back = [*link.flying.values(), *link.outbox]
        link.flying.clear()
        link.outbox.clear()
        return back

    def turn_away(self, link: Link, time: float) -> list[Operation]:
        """From a node that failed a call, to the next; what is on its stream goes along. With one node there is
        nowhere to go.
        """
        self.route.failed(link.endpoint, time)
        if len(self.route.endpoints) == 1 and link.endpoint in self.route.endpoints:
            return []
        return self.drop(link)

    def tidy(self, link: Link) -> None:
        """A draining link that has come to its end is closed."""
        if link.state is LinkState.DRAINING and link.is_idle:
            self.drop(link)

    def asked(self, key: int) -> Link | None:
        """Whose question this is."""
        return next((link for link in self.all if key == link.ping_key), None)

    def due(self) -> Iterable[float]:
        found = [link.due() for link in self.all]
        if found and self.credentials.has_files:
            found.append(self._look_at)
        return found

    def _open(self, endpoint: str, time: float) -> Link:
        edition = self.credentials.look()
        link = Link(endpoint, is_stream=endpoint not in self._no_stream, time=time, edition=edition)
        self.all[link] = None
        if link.is_stream:
            self.actions.append(Open(link))
        self.ask_status(link, time)
        return link

    def _move(self, link: Link) -> None:
        previous, self.current, self.better = self.current, link, None
        if previous is not None:
            previous.state = LinkState.DRAINING
            self.tidy(previous)
