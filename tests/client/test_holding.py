"""The flows of locks and sessions, each step by hand: what happens between two of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lockd_client import SessionLost
from lockd_client.calls import Wants
from lockd_client.clock import now
from lockd_client.credentials import Credentials
from lockd_client.engine import Engine
from lockd_client.holding import Holding, SessionHold
from lockd_client.proto import lockd_pb2
from lockd_client.settings import Settings
from lockd_client.translate import Opened
from lockd_client.values import LockAnswer, Outcome, RenewAnswer

WANTS = Wants(names=(("a", False),), ttl=0)


class Driver:
    """An engine that is nowhere connected. before: done once, by what another thread has done before it is inside."""

    def __init__(self) -> None:
        settings = Settings(endpoints=("a:1",))
        self.engine = Engine(settings.endpoints, Credentials(settings), timeout=10, chance=lambda: 1.0)
        self.before: list[Callable[[], object]] = []

    @contextmanager
    def inside(self) -> Iterator[Engine]:
        while self.before:
            self.before.pop()()
        yield self.engine

    def fire(self, callback: Callable[[], object]) -> None:
        callback()

    @property
    def given_back(self) -> list[int]:
        """The tokens that are being released in the background."""
        messages = [operation.call.message for operation in self.engine.unfinished]
        return [message.token for message in messages if isinstance(message, lockd_pb2.UnlockRequest)]


def opened(driver: Driver) -> SessionHold:
    session = SessionHold(driver, 30, None, lambda _: None)
    flow = session.open()
    next(flow)
    time = now()
    with pytest.raises(StopIteration):
        flow.send(Opened(1, 30, RenewAnswer(renewed=True, lease_remaining=30, deadline=time + 30, sent=time)))
    return session


def test_a_grant_in_a_session_that_is_lost_meanwhile_is_given_back() -> None:
    """The lease is looked at, lost by the background thread, and only then would the lock be in its books."""
    driver = Driver()
    session = opened(driver)
    lease = session.present()
    holding = Holding(driver, WANTS, auto_renew=True, signal=lambda _: None, session=session.get)
    flow = holding.acquire("agent", 0)
    next(flow)
    granted = LockAnswer(
        acquired=True, outcome=Outcome.GRANTED, token=7, lease_remaining=30, deadline=0, holders=(), clock_ms=1
    )
    driver.before.append(lambda: driver.engine.leases.lose(lease, now()))
    with pytest.raises(SessionLost):
        flow.send(granted)
    assert (holding.is_owned, holding.is_taken, driver.given_back) == (False, False, [7])
