"""A coordination driver for tooz: locks and leader election, from the extra `lockd-client[tooz]`.

    coordinator = tooz.coordination.get_coordinator("lockd://db1:2080,db2:2080,db3:2080", b"host-1")
    coordinator.start()
    with coordinator.get_lock(b"nightly-report"):
        ...

docs/tooz.md says what its options are and where it differs from other drivers. Groups are not implemented: an election
needs none, since leading a group is holding a lock.
"""

from __future__ import annotations  # older versions of tooz lack some of the names

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from lockd_client import DeadlockError, Lock, LockdClient, LockdError, LockLost, NotOwned, OutcomeUnknown, Unavailable

try:
    import tooz
    from oslo_utils import strutils
    from tooz import coordination, locking, utils
except ImportError as error:
    raise ImportError(f"{error}: pip install 'lockd-client[tooz]'", name=error.name) from error

LOG = logging.getLogger(__name__)

DEFAULT_NAMESPACE = "tooz"
DEFAULT_CALL_TIMEOUT_S = 10.0
DEFAULT_LOCK_TIMEOUT_S = 30.0
BEATS_PER_LOCK_TIMEOUT = 3

_LOCKS, _LEADERS = "locks", "leaders"
_MEMBER_ID = "member_id"  # of a hold's metadata
_OWNER_BYTES = 256
_HOLDERS_MAX = 1000
_UNUSABLE = re.compile("[%\x00-\x1f\x7f-\x9f\udc80-\udcff]")

_TEXTS = ("token", "token_file", "cacert", "cert", "key")
_OPTIONS = {*_TEXTS, "hosts", "insecure", "timeout", "lock_timeout", "namespace", "executor"}
_WITHOUT_MEANING = {"membership_timeout", "leader_timeout"}  # other drivers' options, for what there is not here

_ERRORS: Final = (
    (Unavailable, coordination.ToozConnectionError),
    (OutcomeUnknown, coordination.OperationTimedOut),
    (DeadlockError, coordination.LockAcquireFailed),
    (LockdError, tooz.ToozError),
)


@contextmanager
def _translated() -> Iterator[None]:
    """Raises ToozError for each LockdError, which is its cause."""
    try:
        yield
    except LockdError as error:
        kind = next(theirs for ours, theirs in _ERRORS if isinstance(error, ours))
        raise kind(str(error), cause=error) from error


def _text(data: bytes | str) -> str:
    """As it may stand in a lock's name: what may not, and %, is percent-encoded. unquote_to_bytes() is the way back."""
    text = utils.to_binary(data, encoding="utf-8").decode("utf-8", "surrogateescape")
    return _UNUSABLE.sub(lambda found: quote(found[0].encode("utf-8", "surrogateescape"), safe=""), text)


@dataclass(frozen=True, slots=True)
class _Settings:
    client: Mapping[str, Any]  # arguments of LockdClient
    namespace: str
    ttl: float


def _settings(netloc: str, options: Mapping[str, Any]) -> _Settings:
    """options: as tooz gives them, collapsed but for `hosts`. Raises ToozError."""
    if unknown := sorted(options.keys() - _OPTIONS - _WITHOUT_MEANING):
        raise tooz.ToozError(f"lockd has no option {', '.join(unknown)}; known are {', '.join(sorted(_OPTIONS))}")
    if "@" in netloc:
        raise tooz.ToozError("lockd:// takes no user and password; use the option token_file, or token")
    endpoints = [each for part in (netloc, *options.get("hosts", ())) for each in part.split(",") if each]
    timeout = _seconds(options, "timeout", DEFAULT_CALL_TIMEOUT_S)
    client = {name: options[name] for name in _TEXTS if name in options} | {
        "endpoints": endpoints or None,
        "timeout": timeout,
        "insecure": strutils.bool_from_string(options.get("insecure", False)),
    }
    default_ttl = timeout if "timeout" in options else DEFAULT_LOCK_TIMEOUT_S
    namespace = str(options.get("namespace", DEFAULT_NAMESPACE))
    return _Settings(client, namespace, _seconds(options, "lock_timeout", default_ttl))


def _seconds(options: Mapping[str, Any], name: str, default: float) -> float:
    value = options.get(name, default)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise tooz.ToozError(f"{name} is {value!r}; it is a number of seconds, more than 0")
    return seconds


@dataclass(eq=False, slots=True)
class _Hold:
    """token: the fencing token, also after the release. was_lost: a heartbeat found so, maybe before the renewals
    in the background did. was_told: the coordinator's heartbeat has raised for it.
    """

    lock: Lock
    token: int
    thread: int
    was_lost: bool = False
    was_told: bool = False

    @property
    def is_owned(self) -> bool:
        return self.lock.owned and not self.was_lost


class LockdLock(locking.Lock):
    """A lock of the cluster, made by LockdDriver.get_lock(). Threads may share the object.

    It is not re-entrant. Shared, it may be acquired several times, and is to be released as often. It is renewed in the
    background until it is released or its coordinator stops.
    """

    def __init__(self, coord: LockdDriver, name: bytes, kind: str = _LOCKS) -> None:
        super().__init__(name)
        self._coord = coord
        self.key = coord.key(kind, name)
        """The lock's name in the cluster."""
        self._guard = threading.Lock()
        self._holds: list[_Hold] = []

    @_translated()
    def acquire(self, blocking: bool | float = True, shared: bool = False, timeout: float | None = None) -> bool:
        """True where it was acquired. Those who wait are served in the order of their arrival.

        blocking: False answers at once; a number is the same as `timeout`. timeout: seconds; None: as long as it takes.

        Raises LockAcquireFailed where the wait would close a ring of threads that wait for each other, be it a thread
        that waits for itself; ToozConnectionError where no node answers, OperationTimedOut where one no longer does,
        and after both nothing is held; ToozError.
        """
        blocking, timeout = utils.convert_blocking(blocking, timeout)
        lock = self._coord.new_lock(self.key, shared)
        wait = 0.0 if not blocking else -1 if timeout is None else max(0.0, timeout)
        if not lock.acquire(timeout=wait):
            return False
        with self._guard:
            self._holds.append(_Hold(lock, lock.token, threading.get_ident()))
        self._coord.acquired_locks.add(self)
        return True

    @_translated()
    def release(self) -> bool:
        """False where nothing is held, or where it was lost before. This thread's own hold goes first, then the newest.

        Raises ToozError; the lock counts as released nevertheless, and the release is repeated in the background.
        """
        hold = self._take()
        if hold is None:
            return False
        try:
            hold.lock.release()
        except (LockLost, NotOwned):
            return False
        return True

    @_translated()
    def break_(self) -> bool:
        """Frees it whoever has it. False where nobody did. Needs the admin role; raises ToozError without."""
        client = self._coord.client
        holders = client.get(self.key, limit=_HOLDERS_MAX).holders
        reason = f"broken through tooz by {self._coord.owner}"
        answers = [client.break_hold(each.token, reason=reason, owner=self._coord.owner) for each in holders]
        return any(answers)

    @property
    def acquired(self) -> bool:
        """Whether it is held, by this client's clock. It asks nobody."""
        return any(hold.is_owned for hold in self._present())

    @_translated()
    def is_still_owner(self) -> bool:
        """Whether it is held, as of a moment after the call."""
        client = self._coord.client
        return any(hold.is_owned and client.check_token(self.key, hold.token) for hold in self._present())

    @_translated()
    def heartbeat(self) -> bool:
        """Renews it now, beside the renewals in the background. False where it is not held, or was lost."""
        holds = self._present()
        for hold in holds:
            self._renew(hold)
        return bool(holds) and all(hold.is_owned for hold in holds)

    @property
    def fencing_token(self) -> int:
        """Of this thread's newest hold, else of the newest; 0 where nothing is held."""
        with self._guard:
            hold = self._foremost()
        return hold.token if hold is not None and hold.is_owned else 0

    def take_losses(self) -> int:
        """How many of its holds were lost and not released, of which this did not tell before."""
        lost = [hold for hold in self._present() if hold.was_lost and not hold.was_told]
        for hold in lost:
            hold.was_told = True
        return len(lost)

    def _renew(self, hold: _Hold) -> None:
        if not (hold.is_owned and self._coord.client.renew(hold.token, self._coord.lock_timeout)):
            hold.was_lost = True  # or it was released meanwhile, and is not among the holds any more

    def _present(self) -> list[_Hold]:
        with self._guard:
            return list(self._holds)

    def _foremost(self) -> _Hold | None:
        own = [hold for hold in self._holds if hold.thread == threading.get_ident()]
        return next(reversed(own or self._holds), None)

    def _take(self) -> _Hold | None:
        with self._guard:
            hold = self._foremost()
            if hold is not None:
                self._holds.remove(hold)
            if not self._holds:
                self._coord.acquired_locks.discard(self)
            return hold


class LockdDriver(coordination.CoordinationDriverWithExecutor):
    """The driver of lockd://HOST[:PORT][,HOST[:PORT]...][?OPTION=VALUE[&...]].

    Without a host, and for each option that is not given, the environment's LOCKD_… and client.toml count, as for
    LockdClient. Hosts may also be given by the option `hosts`, once or several times.
    """

    CHARACTERISTICS = (
        coordination.Characteristics.DISTRIBUTED_ACROSS_THREADS,
        coordination.Characteristics.DISTRIBUTED_ACROSS_PROCESSES,
        coordination.Characteristics.DISTRIBUTED_ACROSS_HOSTS,
        coordination.Characteristics.LINEARIZABLE,
        coordination.Characteristics.SEQUENTIAL,
        coordination.Characteristics.CAUSAL,
        coordination.Characteristics.SERIALIZABLE,
        coordination.Characteristics.SAME_VIEW_UNDER_PARTITIONS,
        coordination.Characteristics.SAME_VIEW_ACROSS_CLIENTS,
    )
    """Every call goes through one log, reads too, and a node that is cut off from the others answers none. Not
    NON_TIMEOUT_BASED: what a process held that died is free when its lease has ended.
    """

    EXCLUDE_OPTIONS = frozenset({"hosts"})

    def __init__(self, member_id: bytes, parsed_url: Any, options: dict[str, Any]) -> None:
        """Connects when it is started. Raises ToozError where an option is not known, or makes no sense."""
        super().__init__(member_id, parsed_url, options)
        self._settings = _settings(parsed_url.netloc, self._options)
        self.acquired_locks: set[LockdLock] = set()
        self._leaders: dict[bytes, LockdLock] = {}
        self._client: LockdClient | None = None
        self._is_stopping = False

    @property
    def lock_timeout(self) -> float:
        """Seconds that a hold lives without being renewed."""
        return self._settings.ttl

    @property
    def owner(self) -> str:
        """The member id, as far as it fits into what people read of a hold."""
        return _text(self._member_id).encode()[:_OWNER_BYTES].decode(errors="ignore")

    @property
    def client(self) -> LockdClient:
        if self._client is None:
            raise tooz.ToozError("this coordinator is not started")
        return self._client

    def key(self, kind: str, name: bytes | str) -> str:
        """The lock's name in the cluster."""
        return f"{self._settings.namespace}/{kind}/{_text(name)}"

    def new_lock(self, key: str, shared: bool) -> Lock:
        member = {_MEMBER_ID: _text(self._member_id)}
        return self.client.lock(key, self.lock_timeout, shared=shared, owner=self.owner, metadata=member)

    # ---- start and stop

    @_translated()
    def _start(self) -> None:
        client = LockdClient(**self._settings.client)
        try:
            client.status()
        except BaseException:  # Ctrl-C, too: nobody has the client, to close it
            client.close()
            raise
        self._client = client

    def stop(self) -> None:
        self._is_stopping = True  # tooz waits for its heart, which goes on until a heartbeat does not raise
        try:
            super().stop()
        finally:
            self._is_stopping = False

    def _stop(self) -> None:
        try:
            for lock in list(self.acquired_locks):
                while lock in self.acquired_locks:
                    lock.release()
        except tooz.ToozError as error:
            LOG.warning("what this coordinator holds ends with its lease, within %s s: %s", self.lock_timeout, error)
        self.acquired_locks.clear()
        self._leaders.clear()
        self.client.close()
        self._client = None

    @_translated()
    def heartbeat(self) -> float:
        """Renews what is held. Holds are renewed in the background, too: what a heartbeat adds is that it says what
        became of them. Returns after how many seconds to call it again.

        Raises ToozError for what was lost, once for each loss; ToozConnectionError and OperationTimedOut where the
        cluster does not answer.
        """
        held = [] if self._is_stopping else list(self.acquired_locks)
        for lock in held:
            lock.heartbeat()
        if lost := [lock.key for lock in held if lock.take_losses()]:
            raise tooz.ToozError(f"lost: {', '.join(lost)}")
        return self.lock_timeout / BEATS_PER_LOCK_TIMEOUT

    # ---- groups: a callback that would never be called is refused, as the calls are

    def watch_join_group(
        self, group_id: bytes, callback: coordination.EventCallback[coordination.MemberJoinedGroup]
    ) -> None:
        raise tooz.NotImplemented("not implemented")

    def watch_leave_group(
        self, group_id: bytes, callback: coordination.EventCallback[coordination.MemberLeftGroup]
    ) -> None:
        raise tooz.NotImplemented("not implemented")

    # ---- locks and elections

    def get_lock(self, name: bytes) -> LockdLock:
        return LockdLock(self, name)

    def run_watchers(self, timeout: float | None = None) -> list[Any]:
        """Runs for election. There are no groups whose members could be watched."""
        self.run_elect_coordinator()
        return []

    def run_elect_coordinator(self) -> None:
        """Takes the lead of every watched group that has no leader, and calls back for each that was taken. A lead that
        was lost is taken again in the same way.
        """
        for group_id, hooks in list(self._hooks_elected_leader.items()):
            if hooks and self._is_elected_now(group_id):
                hooks.run(coordination.LeaderElected(group_id, self._member_id))

    def stand_down_group_leader(self, group_id: bytes) -> bool:
        """False where this member does not lead the group."""
        lock = self._leaders.get(group_id)
        return lock is not None and lock.release()

    def get_leader(self, group_id: bytes) -> coordination.CoordinatorResult[bytes]:
        """The result is the member id of who leads, None where nobody does."""
        leader = self._executor.submit(self._leader_of, group_id)
        return coordination.CoordinatorResult(leader)  # type: ignore[arg-type]  # None, as tooz's own drivers answer

    def _is_elected_now(self, group_id: bytes) -> bool:
        lock = self._leaders.setdefault(group_id, LockdLock(self, group_id, _LEADERS))
        if lock.acquired:
            return False
        lock.release()  # a lead that was lost
        return lock.acquire(blocking=False)

    @_translated()
    def _leader_of(self, group_id: bytes) -> bytes | None:
        for holder in self.client.holders(self.key(_LEADERS, group_id)):
            return unquote_to_bytes(holder.metadata.get(_MEMBER_ID, _text(holder.owner)))
        return None
