"""Why a call was not answered with an outcome: one list of reasons for every edge."""

from enum import Enum


class Reason(Enum):
    """Travels to the client by name; an edge maps it to its own codes."""

    INVALID_ARGUMENT = "a field is out of its bounds"
    ID_REUSED = "another request was made under this id"
    TOO_OLD = "the request's not_after_ms has passed and its id is not on record: it will not be done any more"
    ANSWERED = "the client has said that it has this request's answer; nothing was done"
    CANCELLED = "the request was cancelled by its id; nothing was done"
    NO_LEASE = "the hold has no lease to renew"
    IN_SESSION = "the hold lives as long as its session: keep the session alive"
    SESSION_ENDED = "the session has ended, with all that it held; open another"
    WITHDRAWN = "the wait ended with the call, or with the node, that asked for it; ask again with another request id"
    SUPERSEDED = "a later attempt of the same request has taken this call's place"
    COMPACTED = "this node no longer keeps the events since then: list the locks and watch from now on"
    NO_LEADER = "no leader could be reached; nothing was done"
    NO_ANSWER = "the read was not answered in time"
    OUTCOME_UNKNOWN = "it may or may not have been done; ask again with the same request id"
    LIMIT_REACHED = "a limit of this node is reached; nothing was done"
    STOPPING = "this node is stopping; nothing was done"
    WAITS_ELSEWHERE = "this node is stopping and the wait goes on: ask another one, with the same request id"
    SECRET_IN_USE = "another token has this secret; nothing was done"  # noqa: S105  # a reason, no password
    UNAUTHENTICATED = "the caller is not known"
    PERMISSION_DENIED = "the caller may not do this; nothing was done"
    RECONNECT = "this node's certificates have changed: connect again; nothing was done"
    UNKNOWN_SERVICE = "this node has no service of that name"
    INTERNAL = "a fault of lockd"


class Refused(Exception):
    """A call that gets an error instead of an outcome."""

    def __init__(self, reason: Reason, message: str = "", *, limit: str = "") -> None:
        """message: the reason's own words if there are no better ones. limit: the limit's name, where one was met."""
        super().__init__(message or reason.value)
        self.reason, self.limit = reason, limit
