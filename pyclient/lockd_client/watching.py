"""Following events through lost connections and other nodes. Pure: time is an argument."""

from lockd_client.attempts import RECONNECT, Doubt, Failure, Repeat, Route
from lockd_client.errors import Compacted, LockdError
from lockd_client.proto import lockd_pb2
from lockd_client.translate import event_of
from lockd_client.values import Event


class Watching:
    """from_revision 0: from the first answer on; what happens while no node answers before that is not seen."""

    def __init__(self, prefix: str, from_revision: int, route: Route, timeout: float, time: float) -> None:
        """timeout: seconds without a node after which it fails."""
        self.route = route
        self._prefix = prefix
        self._next = from_revision
        self._timeout = timeout
        self._heard = time
        self._doubt = Doubt(Repeat.READ)

    def request(self) -> lockd_pb2.WatchRequest:
        """Raises ValueError for text that is not UTF-8."""
        return lockd_pb2.WatchRequest(prefix=self._prefix, from_revision=self._next)

    def took(self, response: lockd_pb2.WatchResponse, endpoint: str) -> list[Event]:
        """The events that are new."""
        self.route.succeeded(endpoint)
        self._doubt = Doubt(Repeat.READ)
        events = [event_of(event) for event in response.events if event.revision >= self._next]
        last = max((event.revision for event in events), default=0)
        self._next = max(self._next, last + 1 if last else 0, response.revision + 1)
        return events

    def heard(self, time: float) -> None:
        """A node answered, until `time`."""
        self._heard = max(self._heard, time)

    def failed(self, failure: Failure, time: float) -> LockdError | None:
        """What to raise; None: ask route.endpoint, not before route.not_before."""
        if failure.reason == Compacted.default_reason:
            return Compacted(str(failure), endpoints=(failure.endpoint,))
        if failure.reason == RECONNECT:
            self.route.returned(time)
        else:
            self.route.failed(failure.endpoint, time, failure.patience)
        error = self._doubt.failed(failure)
        if error is None and (time - self._heard >= self._timeout or self.route.is_shut(time)):
            return self._doubt.exhausted()
        return error
