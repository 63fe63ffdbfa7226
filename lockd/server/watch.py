"""LockService.Watch: the node's feed, as messages. What happens while one is on its way goes into the next."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from lockd.access import bounds
from lockd.access.admission import Admission, Caller
from lockd.access.feed import Feed, Watcher
from lockd.access.refusal import Reason, Refused
from lockd.machine.outcomes import Event
from lockd_client.proto import lockd_pb2 as pb

from . import translate
from .rpc import Send
from .stream import Pace

MESSAGE_BYTES_MAX = 1024 * 1024
"""Events share a message up to this size."""


class Watches:
    def __init__(self, feed: Feed, admission: Admission) -> None:
        self._feed, self._admission = feed, admission
        self._open: dict[Watcher, str] = {}
        """With their credentials."""

    async def Watch(self, message: pb.WatchRequest, caller: Caller, send: Send) -> None:  # noqa: N802 - gRPC's name
        """Until the client leaves. Raises Refused.

        The first message comes at once, be it without events: from then on nothing is missed.
        """
        authority, credential = self._admission.authority, caller.credential
        bounds.check_text("prefix", message.prefix, self._admission.limits.name_bytes, "name_bytes")
        authority.check_watch(credential, message.prefix)
        watcher = self._feed.watch(message.prefix, message.from_revision)
        self._open[watcher] = credential
        try:
            events, revision = watcher.take()
            while True:
                for part in self._messages(events, revision, partial(authority.sees, credential)):
                    await send(part)
                events, revision = await watcher.next()
        finally:
            del self._open[watcher]
            watcher.close()

    def end_unknown(self) -> None:
        """Those whose token was revoked since, or bound to other prefixes."""
        for watcher, credential in self._open.items():
            try:
                self._admission.authority.check_watch(credential, watcher.prefix)
            except Refused as refused:
                watcher.fail(refused)

    async def move(self, pace: Pace) -> None:
        """To other connections."""
        for watcher in list(self._open):
            watcher.fail(Refused(Reason.RECONNECT))
            await pace()

    def _messages(self, events: Sequence[Event], revision: int, sees: Callable[[str], bool]) -> Iterator[bytes]:
        """One that is not the last says the revision of its own last event: who saw no more goes on from there."""
        parts: list[bytes] = []
        size = last = 0
        for event in events:
            part = pb.WatchResponse(events=[translate.event(event, sees)]).SerializeToString()
            if parts and size + len(part) > MESSAGE_BYTES_MAX:
                yield self._message(parts, last)
                parts, size = [], 0
            parts.append(part)
            size, last = size + len(part), event.revision
        yield self._message(parts, revision)

    def _message(self, parts: Sequence[bytes], revision: int) -> bytes:
        end = pb.WatchResponse(revision=revision, clock_ms=self._admission.clock_ms).SerializeToString()
        return b"".join((*parts, end))
