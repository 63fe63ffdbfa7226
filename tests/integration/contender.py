"""A client in a process of its own: `python -m tests.integration.contender ENDPOINTS`, driven by JSON lines.

Times are of CLOCK_MONOTONIC, which all processes of a machine share. Contender is the other end of the pipes.
"""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from lockd_client import (
    CallFailed,
    DeadlockError,
    Lock,
    LockdClient,
    LockdError,
    OutcomeUnknown,
    RequestId,
    Session,
    Unavailable,
)
from tests.driven import Driven, serve

SETTLED_WITHIN_S = 60.0
"""An outcome that is still unknown after so many more attempts stays so, and the scenario fails."""

KEPT_OF = 10
"""Of so many turns on names of its own a thread leaves one lock held for good."""

TTL_S = 30.0

T = TypeVar("T")


@dataclass
class Grant:
    """An acknowledged grant. answered: when its answer was here; let_go: when its unlock was sent, None if never;
    asked: when it was asked for. name: of a set, the first.
    """

    name: str
    token: int
    answered: float
    let_go: float | None = None
    asked: float = 0.0


@dataclass
class Tally:
    """What a process did. unknown, unavailable and withdrawn: calls that had to be made again, the last ones under
    another id; failed: those that ended badly.
    """

    grants: list[Grant] = field(default_factory=list)
    refusals: int = 0
    calls: int = 0
    unknown: int = 0
    unavailable: int = 0
    withdrawn: int = 0
    failed: list[str] = field(default_factory=list)
    longest_s: float = 0.0


class Caller:
    """A client that asks until it knows, each call under one id."""

    def __init__(self, client: LockdClient, tally: Tally) -> None:
        self._client, self.tally = client, tally

    def lock(self, name: str) -> Grant | None:
        answer = self._settled(lambda request: self._client.try_lock(name, request=request, ttl=0))
        if not answer.acquired:
            self.tally.refusals += 1
            return None
        grant = Grant(name, answer.token, time.monotonic())
        self.tally.grants.append(grant)
        return grant

    def unlock(self, grant: Grant) -> bool:
        grant.let_go = time.monotonic()
        return self._settled(lambda request: self._client.unlock(grant.token, request=request)).released

    def _settled(self, call: Callable[[RequestId | None], T]) -> T:
        request: RequestId | None = None
        began = time.monotonic()
        self.tally.calls += 1
        while True:
            try:
                answer = call(request)
            except OutcomeUnknown as error:
                self.tally.unknown += 1
                request = error.request
                if time.monotonic() - began > SETTLED_WITHIN_S:
                    raise
            except Unavailable:
                self.tally.unavailable += 1
                if time.monotonic() - began > SETTLED_WITHIN_S:
                    raise
            except CallFailed as error:
                if error.reason != "WITHDRAWN":
                    raise
                self.tally.withdrawn += 1  # nothing is held under that id, and nothing ever will be
                request = None
            else:
                self.tally.longest_s = max(self.tally.longest_s, time.monotonic() - began)
                return answer


# ---- inside the process


class _Process:
    def __init__(self, endpoints: Sequence[str]) -> None:
        self._client = LockdClient(endpoints=endpoints)
        self._caller = Caller(self._client, Tally())
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._tallies: list[Tally] = []
        self._held: Grant | None = None
        self._session: Session | None = None
        self._locks: list[Lock] = []

    def warm(self) -> str:
        """Connects."""
        return self._client.status().role

    def attempt(self, name: str) -> dict[str, Any]:
        """One call. token: 0 where the lock was not acquired."""
        self._held = self._caller.lock(name)
        return {"token": self._held.token if self._held else 0, "answered": time.monotonic()}

    def release(self) -> bool:
        assert self._held is not None
        return self._caller.unlock(self._held)

    def tally(self) -> dict[str, Any]:
        return asdict(self._caller.tally)

    def load(self, shared: list[str], own: list[str]) -> int:
        """One thread for each name of its own; they take turns at the shared ones as well."""
        for place, name in enumerate(own):
            tally = Tally()
            self._tallies.append(tally)
            arguments = (Caller(self._client, tally), shared[place % len(shared) :] + shared, name)
            self._threads.append(threading.Thread(target=self._lock_and_unlock, args=arguments, daemon=True))
        for thread in self._threads:
            thread.start()
        return len(self._threads)

    def take_turns(self, wants: list[list[str | bool]], label: str, rounds: int) -> int:
        """Starts a thread that waits for these locks, each a name and whether it is to be shared, and lets them go, so
        many times, or until it is stopped (0). Each turn's owner is label/turn.
        """
        tally = Tally()
        self._tallies.append(tally)
        thread = threading.Thread(target=self._take_turns, args=(tally, wants, label, rounds), daemon=True)
        self._threads.append(thread)
        thread.start()
        return len(self._threads)

    def finish(self) -> list[dict[str, Any]]:
        """When all turns are over."""
        for thread in self._threads:
            thread.join()
        return [asdict(tally) for tally in self._tallies]

    def hold(self, name: str) -> int:
        """In the process's session, by its main thread. Returns the session's id."""
        if self._session is None:
            self._session = self._client.open_session(TTL_S)
        lock = self._client.lock(name, session=self._session)
        assert lock.acquire()
        self._locks.append(lock)
        return self._session.id

    def want(self, name: str) -> dict[str, Any]:
        """The same for a lock that is to be waited for. token: 0 where the wait was refused; cycle: why."""
        lock = self._client.lock(name, session=self._session)
        try:
            lock.acquire()
        except DeadlockError as error:
            return {"token": 0, "cycle": [asdict(link) for link in error.cycle]}
        self._locks.append(lock)
        return {"token": lock.token, "cycle": []}

    def let_go(self) -> int:
        """Of what hold() and want() took. Returns how many."""
        locks, self._locks = self._locks, []
        for lock in locks:
            lock.release()
        return len(locks)

    def done(self) -> int:
        """Grants so far."""
        return sum(len(tally.grants) for tally in self._tallies)

    def stop(self) -> list[dict[str, Any]]:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return [asdict(tally) for tally in self._tallies]

    def _lock_and_unlock(self, caller: Caller, shared: list[str], own: str) -> None:
        turn = 0
        try:
            while not self._stop.is_set():
                turn += 1
                kept = turn % KEPT_OF == 0
                name = f"{own}/{turn}" if turn % 2 or kept else shared[turn // 2 % len(shared)]
                grant = caller.lock(name)
                if grant is not None and not kept and not caller.unlock(grant):
                    caller.tally.failed.append(f"{name}: token {grant.token} was not held when it was released")
        except LockdError as error:
            caller.tally.failed.append(repr(error))

    def _take_turns(self, tally: Tally, wants: list[list[str | bool]], label: str, rounds: int) -> None:
        names = [(str(name), bool(shared)) for name, shared in wants]
        turn = 0
        try:
            while turn < rounds or not (rounds or self._stop.is_set()):
                turn += 1
                asked = time.monotonic()
                with self._client.lock_all(names, TTL_S, owner=f"{label}/{turn}") as lock:
                    tally.calls += 1
                    grant = Grant(names[0][0], lock.token, time.monotonic(), asked=asked)
                    tally.grants.append(grant)
                    tally.longest_s = max(tally.longest_s, grant.answered - asked)
                    grant.let_go = time.monotonic()
        except LockdError as error:
            tally.failed.append(f"{label}/{turn}: {error!r}: {error}")


# ---- outside


class Contender(Driven):
    def __init__(self, endpoints: Sequence[str]) -> None:
        super().__init__([sys.executable, "-m", "tests.integration.contender", ",".join(endpoints)])


class Contenders:
    """Several of them; leaving the `with` ends them."""

    def __init__(self, count: int, endpoints: Sequence[str]) -> None:
        """Each has the endpoints in another order."""
        turned = [[*endpoints[n % len(endpoints) :], *endpoints[: n % len(endpoints)]] for n in range(count)]
        self.processes = [Contender(each) for each in turned]

    def __enter__(self) -> Self:
        for process in self.processes:
            process.ask("warm")
        for process in self.processes:
            process.answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.close()

    def ask_all(self, do: str, **arguments: object) -> None:
        for process in self.processes:
            process.ask(do, **arguments)

    def answers(self) -> list[Any]:
        return [process.answer() for process in self.processes]


def tally_of(answer: dict[str, Any]) -> Tally:
    return Tally(**{**answer, "grants": [Grant(**grant) for grant in answer["grants"]]})


if __name__ == "__main__":
    serve(_Process(sys.argv[1].split(",")))
