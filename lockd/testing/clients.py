"""The clients of this process, blocking ones and those of asyncio, for whoever moves time.

A client of asyncio takes part while its loop runs, in another thread than the one that moves time. The code that uses
the clients is not waited for.
"""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import NamedTuple, TypeVar

from lockd_client import aio_transport, now, transport
from lockd_client.aio_transport import AioTransport
from lockd_client.engine import Engine
from lockd_client.methods import KEEPING
from lockd_client.transport import Transport

from .hand import Hand
from .views import Doing, Reaches, doings, next_due, unblock, waits_in_queue

T = TypeVar("T")
Driver = Transport | AioTransport

POLL_S, POLL_MAX_S = 0.0003, 0.005
"""Of real time, between two looks at what has to come to its end."""

LOOKS_MAX = 10
"""At a client whose threads or tasks do not cease to ask."""

LOOP_POLL_S = 0.05
"""Of real time, between two looks at whether a loop still runs."""

STEP_S, BUSY_STEP_S = 0.001, 1.0
"""Time goes on by at least so much, and by at most so much while calls are on their way: less than makes a client leave
a node that does not answer.
"""

NOTHING: frozenset[Doing] = frozenset()


class _View(NamedTuple):
    is_idle: bool
    next: float


class Clients:
    def __init__(self, hand: Hand, patience: float, reaches: Reaches) -> None:
        """patience: seconds of real time for anything to come to its end."""
        self._hand, self._patience, self._reaches = hand, patience, reaches

    def come_to_rest(self) -> bool:
        """Has all of them do what is due, and waits until nothing goes on. False where threads or tasks go on asking
        for more; what was under way has come to its end even so. Raises TimeoutError.
        """
        rest = [self._comes_to_rest(driver) for driver in _drivers()]
        return all(rest)

    def hear(self, *, everyone: bool = False) -> None:
        """Has those that wait in the node's queues, or everyone, ask whether it lives: what it told them before is
        heard before.
        """
        for driver in _drivers():
            self._ask(driver, partial(self._question, everyone), None)

    def nudge(self) -> None:
        """Whoever reaches the node does not pause before it connects, also while nobody moves time."""
        for driver in _drivers():
            if isinstance(driver, Transport):
                self._unblock(driver)
            elif driver.loop is not None:
                with suppress(RuntimeError):  # it is closed
                    driver.loop.call_soon_threadsafe(self._unblock, driver)

    def move(self, moment: float, *, is_busy: bool = False) -> bool:
        """Moves the hand to this moment, or to what comes first for one of them. False: they are busy again.

        is_busy: it is moved all the same, by no more than harms no call that is on its way.
        """
        by_loop: dict[asyncio.AbstractEventLoop, list[AioTransport]] = defaultdict(list)
        views: list[_View] = []
        drivers = _drivers()
        for driver in drivers:
            if isinstance(driver, AioTransport) and driver.loop is not None:
                by_loop[driver.loop].append(driver)
        with ExitStack() as stack:
            for loop, theirs in by_loop.items():  # first, since code on a loop may use a blocking client, too
                views += stack.enter_context(self._stopped(loop, theirs))
            for driver in drivers:
                if isinstance(driver, Transport):
                    views.append(self._view(driver, stack.enter_context(driver.inside())))
            if not all(view.is_idle for view in views):
                if not is_busy:
                    return False
                moment = min(moment, self._hand.now + BUSY_STEP_S)
            soonest = self._hand.now + STEP_S
            self._hand.move(min([moment, *(max(view.next, soonest) for view in views)]))
            return True

    def calls(self, driver: Transport) -> int:
        """That were made and have no answer yet; what it does of itself is not among them."""
        with driver.inside() as engine:
            return sum(not (each.is_background or each.call.method in KEEPING) for each in engine.unfinished)

    def do(self, driver: Driver, work: Callable[[Engine], None]) -> None:
        """With its engine, where that may be used. Raises RuntimeError where its loop does not run."""

        def inside(driver: Driver) -> bool:
            with driver.inside() as engine:
                work(engine)
            return True

        if isinstance(driver, AioTransport) and driver.loop is running_loop():
            inside(driver)
        elif not self._ask(driver, inside, False):
            raise RuntimeError("the event loop of this client does not run")

    # ---- one client

    def _comes_to_rest(self, driver: Driver) -> bool:
        deadline, pause, looks = time.monotonic() + self._patience, POLL_S, 1
        found = under_way = self._ask(driver, self._tend, NOTHING)
        while found:
            if not under_way and looks >= LOOKS_MAX:
                return False
            if time.monotonic() > deadline:
                what = ", ".join(sorted(map(str, under_way)))
                raise TimeoutError(f"time stands still: a client is busy for {self._patience} s with {what}")
            time.sleep(pause)
            pause, looks = min(1.2 * pause, POLL_MAX_S), looks + 1
            found = self._ask(driver, self._tend, NOTHING)
            under_way &= found
        return True

    def _tend(self, driver: Driver) -> frozenset[Doing]:
        """What is under way, once it has done what is due."""
        with driver.inside() as engine:
            unblock(engine, self._reaches)
            if engine.alarm <= now():
                engine.due(now())
            return self._doings(driver, engine)

    def _unblock(self, driver: Driver) -> None:
        with driver.inside() as engine:
            unblock(engine, self._reaches)

    def _question(self, everyone: bool, driver: Driver) -> None:
        with driver.inside() as engine:
            for link in engine.links.all:
                if self._reaches(link.endpoint) and (everyone or waits_in_queue(link)):
                    engine.links.ask_status(link, now())

    def _view(self, driver: Driver, engine: Engine) -> _View:
        return _View(not self._doings(driver, engine), next_due(engine, self._reaches))

    def _doings(self, driver: Driver, engine: Engine) -> frozenset[Doing]:
        if engine.is_closed:
            return NOTHING
        found = doings(engine, self._reaches)
        if driver.is_idle:
            return found
        return found | {Doing(driver, "an answer that is not taken, or a callback of on_lost() or on_state()")}

    # ---- loops

    def _ask(self, driver: Driver, work: Callable[[Driver], T], absent: T) -> T:
        """absent: where it takes no part."""
        if isinstance(driver, Transport):
            return work(driver)
        answer: Future[T] = Future()
        done = threading.Event()

        def run() -> None:
            try:
                answer.set_result(work(driver))
            except BaseException as error:  # noqa: BLE001  # whoever asks raises it
                answer.set_exception(error)
            done.set()

        return answer.result() if self._runs(driver.loop, run, done) else absent

    @contextmanager
    def _stopped(self, loop: asyncio.AbstractEventLoop, theirs: Sequence[AioTransport]) -> Iterator[list[_View]]:
        """Nothing else happens on the loop meanwhile."""
        views: list[_View] = []
        has_stopped, goes_on = threading.Event(), threading.Event()

        def stop() -> None:
            for driver in theirs:
                with driver.inside() as engine:
                    views.append(self._view(driver, engine))
            has_stopped.set()
            goes_on.wait()

        try:
            yield views if self._runs(loop, stop, has_stopped) else []
        finally:
            goes_on.set()

    def _runs(self, loop: asyncio.AbstractEventLoop | None, work: Callable[[], None], done: threading.Event) -> bool:
        """Has a loop do it, and waits until it is done. False where it takes no part. Raises TimeoutError."""
        if loop is None or loop is running_loop() or not loop.is_running():
            return False
        try:
            loop.call_soon_threadsafe(work)
        except RuntimeError:  # it was closed
            return False
        deadline = time.monotonic() + self._patience
        while not done.wait(LOOP_POLL_S):
            if not loop.is_running():
                return done.is_set()
            if time.monotonic() > deadline:
                raise TimeoutError(f"time stands still: a client's event loop is blocked for {self._patience} s")
        return True


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Of this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _drivers() -> list[Driver]:
    while True:
        try:
            return [*aio_transport._OPEN, *transport._OPEN]
        except RuntimeError:  # another thread made one meanwhile
            continue
