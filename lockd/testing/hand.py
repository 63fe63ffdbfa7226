"""Time that stands still until a test moves it."""

from lockd_client import now


class Hand:
    """The clock of the node (lockd.clock.Clock) and of the process's clients (a source of lockd_client.clock).

    It begins where the clients' clock stands, so that no deadline of theirs goes back.
    """

    def __init__(self) -> None:
        self.now = now()

    def move(self, moment: float) -> None:
        assert moment >= self.now, "time goes forward"
        self.now = moment

    def monotonic(self) -> float:
        return self.now

    def read(self) -> float:
        return self.now
