"""Why a call was not answered with an outcome: one list of reasons for every edge."""

from enum import Enum


class Reason(Enum):
    """Travels to the client by name; an edge maps it to its own codes."""

    INVALID_ARGUMENT = "a field is out of its bounds"
    ID_REUSED = "another request was made under this id"
    TOO_OLD = "the request's not_after_ms has passed and its id is not on record: it will not be done any more"
    NO_LEASE = "the hold has no lease to renew"
    NO_LEADER = "no leader could be reached; nothing was done"
    NO_ANSWER = "the read was not answered in time"
    OUTCOME_UNKNOWN = "it may or may not have been done; ask again with the same request id"
    LIMIT_REACHED = "a limit of this node is reached; nothing was done"
    STOPPING = "this node is stopping; nothing was done"
    INTERNAL = "a fault of lockd"


class Refused(Exception):
    """A call that gets an error instead of an outcome."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
