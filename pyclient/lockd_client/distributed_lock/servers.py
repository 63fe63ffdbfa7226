"""What the rest of the package asks of each kind of server."""

from collections.abc import Mapping
from typing import Any, Protocol

PROBE_S = 3.0  # how long a server has to answer before the next entry is tried
TTL_S = 30.0  # of a hold that is not renewed, where the entry does not say


class Unreachable(Exception):
    """The server did not answer as it should; the message says why."""


class Hold(Protocol):
    """One hold, taken once and given back once. Two of one name exclude each other in one process, too."""

    @property
    def token(self) -> int:
        """The fencing token; 0 where the server gives none."""

    def acquire(self, wait: float) -> bool:
        """wait: seconds; 0 answers at once, infinite waits as long as it takes. Where it answers False nothing is left
        behind that keeps others out.
        """

    def release(self) -> None:
        """Raises LockLost where it had been lost."""

    def abandon(self) -> None:
        """After acquire() raised, or was broken off, or release() was, nobody knows where: gives back whatever there
        is, if need be in the background. Raises nothing.
        """


class Server(Protocol):
    """One that answered."""

    @property
    def client(self) -> Any:
        """What get_locking_client() returns."""

    def hold(self, name: str, *, shared: bool) -> Hold:
        """Nothing is sent yet."""

    def close(self) -> None:
        """May be called twice."""


class Opening(Protocol):
    def __call__(self, config: Mapping[str, Any], /) -> Server:
        """Raises Unreachable within a few times PROBE_S, and ValueError or TypeError where a value is of no use."""
