"""The driver for tooz: tooz's own tests against a node, and what they do not look at."""

import concurrent.futures
import importlib
import re
import sys
import threading
import types
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tooz
from tooz import coordination

from lockd_client import LockdClient, tooz_driver
from lockd_client.tooz_driver import LockdDriver, LockdLock
from tests.eventually import eventually
from tests.integration.cluster import Cluster, running

WITHIN_S = 20.0


def stand_in(driver: str, name: str) -> None:
    """tooz's tests make exceptions for drivers by their classes; their libraries are not needed for that."""
    module = types.ModuleType(f"tooz.drivers.{driver}")
    setattr(module, name, type(name, (), {}))
    sys.modules.setdefault(module.__name__, module)


stand_in("etcd3gw", "Etcd3Driver")
stand_in("ipc", "IPCDriver")
stand_in("memcached", "MemcachedDriver")
theirs = importlib.import_module("tooz.tests.test_coordination")
their_job = theirs.try_to_lock_job
NAMES = sorted(unittest.TestLoader().getTestCaseNames(theirs.TestAPI))
ELECTIONS = [name for name in NAMES if re.search("elect|leader", name)]
GROUPS = [name for name in NAMES if name not in ELECTIONS and re.search("group|member|capabilities|test_timeout", name)]
LOCKS = [name for name in NAMES if name not in ELECTIONS + GROUPS]


def job(*arguments: Any) -> Any:
    """Of a process that is spawned: to find it, it loads this module, and with it the stand-ins."""
    return their_job(*arguments)


@contextmanager
def started(url: str, member_id: bytes = b"m1", **options: Any) -> Iterator[LockdDriver]:
    coordinator = coordination.get_coordinator(url, member_id, **options)
    assert isinstance(coordinator, LockdDriver)
    coordinator.start()
    try:
        yield coordinator
    finally:
        if coordinator.is_started:
            coordinator.stop()


@pytest.fixture
def coordinator(url: str) -> Iterator[LockdDriver]:
    with started(url) as coordinator:
        yield coordinator


@pytest.fixture
def result_of(url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], unittest.TestResult]:
    """Runs one of tooz's own tests of drivers."""

    def run(name: str) -> unittest.TestResult:
        monkeypatch.setenv("TOOZ_TEST_URL", url)
        monkeypatch.setattr(theirs, "try_to_lock_job", job)
        result = unittest.TestResult()
        theirs.TestAPI(name).run(result)
        return result

    return run


def check_passed(result: unittest.TestResult) -> None:
    assert result.testsRun == 1
    assert [trace for _, trace in result.failures + result.errors] == []
    assert [reason for _, reason in result.skipped] == []


@pytest.mark.parametrize("name", LOCKS)
def test_passes_the_tests_of_locks_that_come_with_tooz(
    result_of: Callable[[str], unittest.TestResult], name: str
) -> None:
    check_passed(result_of(name))


@pytest.mark.parametrize("name", ELECTIONS)
def test_passes_the_tests_of_elections_that_come_with_tooz(
    result_of: Callable[[str], unittest.TestResult], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """They create and join the group first, which an election does not need here."""
    for call in ("create_group", "join_group"):
        monkeypatch.setattr(LockdDriver, call, done)
    check_passed(result_of(name))


def done(*_: object) -> coordination.CoordinatorResult[None]:
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    future.set_result(None)
    return coordination.CoordinatorResult(future)


@pytest.mark.parametrize("name", GROUPS)
def test_groups_are_not_implemented(result_of: Callable[[str], unittest.TestResult], name: str) -> None:
    ((_, reason),) = result_of(name).skipped
    assert reason == "not implemented" or reason.startswith("This test only works with coordinators that have")


def test_the_tests_of_tooz_are_those_that_were_meant() -> None:
    assert (len(LOCKS) >= 33, len(ELECTIONS) >= 6, len(GROUPS) >= 42) == (True, True, True)
    assert {"test_get_lock", "test_heartbeat_loop", "test_get_shared_lock_locking_same_lock_twice"} <= set(LOCKS)


# ---- locks


def test_a_lock_is_found_under_the_namespace_with_its_member_and_a_fencing_token(
    coordinator: LockdDriver, client: LockdClient
) -> None:
    with coordinator.get_lock(b"nightly") as lock:
        (holder,) = client.holders("tooz/locks/nightly")
        assert (holder.owner, holder.ttl, holder.token) == ("m1", 30, lock.fencing_token)
        assert client.check_token("tooz/locks/nightly", lock.fencing_token)
    assert lock.fencing_token == 0


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (b"a/b", "a/b"),
        ("日本語".encode(), "日本語"),
        ("日本語", "日本語"),
        (b"\xff\x00%41 \xc2\x85", "%FF%00%2541 %C2%85"),
    ],
)
def test_any_bytes_are_a_name(url: str, client: LockdClient, name: bytes, key: str) -> None:
    with started(url, namespace="names") as coordinator, coordinator.get_lock(name):
        assert [holder.name for holder in client.list("names/")] == [f"names/locks/{key}"]


def test_a_wait_has_a_bound_in_either_of_two_ways(coordinator: LockdDriver, url: str) -> None:
    with started(url, b"m2") as other, other.get_lock(b"bounded"):
        lock = coordinator.get_lock(b"bounded")
        assert not lock.acquire(blocking=0.1)
        assert not lock.acquire(timeout=0.1)
        assert not lock.acquire(blocking=0)
        assert not lock.acquire(blocking=False, timeout=60)


def test_those_who_wait_are_served_in_the_order_of_their_arrival(
    coordinator: LockdDriver, client: LockdClient, url: str
) -> None:
    order: list[int] = []

    def wait(number: int) -> None:
        with coordinator.get_lock(b"queue"):
            order.append(number)

    with started(url, b"m2") as other, other.get_lock(b"queue"):
        threads = [threading.Thread(target=wait, args=(number,)) for number in range(4)]
        for number, thread in enumerate(threads, 1):
            thread.start()
            eventually(lambda: client.get("tooz/locks/queue").waiters_count == number, WITHIN_S)  # noqa: B023  # asked at once
    for thread in threads:
        thread.join(WITHIN_S)
    assert order == [0, 1, 2, 3]


def test_a_thread_that_would_wait_for_itself_is_told_so(coordinator: LockdDriver) -> None:
    with coordinator.get_lock(b"ring"), pytest.raises(coordination.LockAcquireFailed, match="waits for"):
        coordinator.get_lock(b"ring").acquire()


def test_threads_that_share_an_object_release_their_own_hold(coordinator: LockdDriver, client: LockdClient) -> None:
    """One lost it; its release must not free what the other has acquired since."""
    lock = coordinator.get_lock(b"own")
    lock.acquire()
    client.break_hold(lock.fencing_token, reason="a test")
    acquired, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            acquired.set()
            may_end.wait(WITHIN_S)

    other = threading.Thread(target=hold)
    other.start()
    assert acquired.wait(WITHIN_S)
    assert not lock.release()
    assert client.is_locked("tooz/locks/own")
    may_end.set()
    other.join(WITHIN_S)
    assert not client.is_locked("tooz/locks/own")


def test_another_thread_may_release_it(coordinator: LockdDriver) -> None:
    lock = coordinator.get_lock(b"handed over")
    lock.acquire()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(lock.release).result(WITHIN_S)
    assert not lock.acquired


def test_breaking_frees_all_who_share_it(coordinator: LockdDriver, client: LockdClient, url: str) -> None:
    with started(url, b"m2") as other:
        mine, others = coordinator.get_lock(b"shared"), other.get_lock(b"shared")
        assert mine.acquire(shared=True)
        assert others.acquire(shared=True)
        assert others.break_()
        assert not others.break_()
        assert not client.is_locked("tooz/locks/shared")
        assert (mine.is_still_owner(), mine.release(), others.release()) == (False, False, False)


# ---- heartbeats


def test_a_heartbeat_renews_what_is_held(url: str, client: LockdClient) -> None:
    with started(url, lock_timeout=600) as coordinator:
        lock = coordinator.get_lock(b"beat")
        assert not lock.heartbeat()
        with lock:
            eventually(lambda: client.holders("tooz/locks/beat")[0].lease_remaining < 599.9, WITHIN_S)
            before = client.holders("tooz/locks/beat")[0]
            assert lock.heartbeat()
            after = client.holders("tooz/locks/beat")[0]
            passed = after.age - before.age
            assert after.lease_remaining > before.lease_remaining - passed + 0.05
            assert (coordinator.heartbeat(), lock.acquired, lock.is_still_owner()) == (200, True, True)


def test_a_heartbeat_tells_of_a_loss_once(coordinator: LockdDriver, client: LockdClient) -> None:
    lost, kept = coordinator.get_lock(b"lost"), coordinator.get_lock(b"kept")
    with kept:
        lost.acquire()
        client.break_hold(lost.fencing_token, reason="a test")
        with pytest.raises(tooz.ToozError, match="lost: tooz/locks/lost$"):
            coordinator.heartbeat()
        assert coordinator.heartbeat() == 10
        assert (lost.heartbeat(), lost.is_still_owner(), kept.is_still_owner()) == (False, False, True)
        assert not lost.release()


def test_locks_live_longer_than_their_timeout_without_a_heartbeat(url: str, client: LockdClient) -> None:
    with started(url, lock_timeout=2) as coordinator, coordinator.get_lock(b"quiet") as lock:
        assert eventually(lambda: client.holders("tooz/locks/quiet")[0].age > 3, WITHIN_S)
        assert lock.is_still_owner()


def test_stopping_frees_what_is_held_and_led(url: str, client: LockdClient) -> None:
    with started(url, namespace="ended") as coordinator:
        coordinator.watch_elected_as_leader(b"g", lambda event: None)
        coordinator.run_watchers()
        coordinator.get_lock(b"a").acquire()
        shared = coordinator.get_lock(b"b")
        assert shared.acquire(shared=True)
        assert shared.acquire(shared=True)
        assert len(list(client.list("ended/"))) == 4
    assert list(client.list("ended/")) == []


def test_stopping_ends_though_the_heart_and_the_cluster_do_not_answer(tmp_path: Path) -> None:
    with running(tmp_path, 1) as cluster:
        url = f"lockd://{cluster.nodes[1].endpoint}?timeout=1&lock_timeout=600"
        coordinator = coordination.get_coordinator(url, b"m1")
        coordinator.start()
        lock = coordinator.get_lock(b"a")
        assert lock.acquire()
        cluster.kill(1)
        with pytest.raises((coordination.ToozConnectionError, coordination.OperationTimedOut)):
            coordinator.heartbeat()
        coordinator.heart.start()  # at once into a heartbeat that raises, and is repeated until one does not
        coordinator.stop()
        assert not coordinator.is_started


# ---- elections


def test_a_lead_that_was_lost_is_taken_again_and_told_of(coordinator: LockdDriver, client: LockdClient) -> None:
    elected: list[tuple[bytes, bytes]] = []

    def called_back(event: coordination.LeaderElected) -> None:
        elected.append((event.group_id, event.member_id))

    coordinator.watch_elected_as_leader(b"g", called_back)
    coordinator.run_watchers()
    coordinator.run_watchers()
    assert elected == [(b"g", b"m1")]
    (holder,) = client.holders("tooz/leaders/g")
    client.break_hold(holder.token, reason="a test")
    with pytest.raises(tooz.ToozError, match="lost: tooz/leaders/g$"):
        coordinator.heartbeat()
    coordinator.run_watchers()
    assert elected == [(b"g", b"m1")] * 2
    assert coordinator.get_leader(b"g").get() == b"m1"
    assert coordinator.stand_down_group_leader(b"g")
    assert not coordinator.stand_down_group_leader(b"g")


def test_a_group_that_nobody_watches_is_not_led(coordinator: LockdDriver) -> None:
    with pytest.raises(coordination.WatchCallbackNotFound):
        coordinator.unwatch_elected_as_leader(b"g", lambda event: None)
    coordinator.run_elect_coordinator()
    assert coordinator.get_leader(b"g").get() is None


def test_leading_a_group_is_not_holding_a_lock_of_its_name(coordinator: LockdDriver) -> None:
    coordinator.watch_elected_as_leader(b"g", lambda event: None)
    coordinator.run_watchers()
    assert coordinator.get_lock(b"g").acquire(blocking=False)


def test_any_bytes_are_a_member(url: str) -> None:
    member_id = b"\xff\x00%41" + "日本語".encode() * 100
    with started(url, member_id) as coordinator:
        coordinator.watch_elected_as_leader(b"g", lambda event: None)
        coordinator.run_watchers()
        assert coordinator.get_leader(b"g").get(WITHIN_S) == member_id


def test_callbacks_of_members_are_refused(coordinator: LockdDriver) -> None:
    for watch in (coordinator.watch_join_group, coordinator.watch_leave_group):
        with pytest.raises(tooz.NotImplemented):
            watch(b"g", lambda event: None)


# ---- where, who, and what goes wrong


@pytest.mark.parametrize(
    "form", ["lockd://127.0.0.1:1,{}", "lockd://127.0.0.1:1?hosts={}", "lockd://?hosts=[::1]:1,{}"]
)
def test_several_hosts_are_tried_in_turn(cluster: Cluster, form: str) -> None:
    with started(form.format(cluster.nodes[1].endpoint)) as coordinator, coordinator.get_lock(b"a"):
        assert len(coordinator.client.endpoints) == 2


def test_without_a_host_the_environment_says_where(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKD_ENDPOINTS", url.removeprefix("lockd://"))
    with started("lockd://") as coordinator:
        assert coordinator.get_lock(b"a").acquire(blocking=False)


def test_options_of_the_url(url: str, client: LockdClient) -> None:
    with started(f"{url}?timeout=5&namespace=app&membership_timeout=9") as coordinator:
        assert coordinator.lock_timeout == 5
        with coordinator.get_lock(b"a"):
            assert client.holders("app/locks/a")[0].ttl == 5
    with started(f"{url}?timeout=5&lock_timeout=7.5", lock_timeout=8) as coordinator:
        assert coordinator.lock_timeout == 8


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("lockd://db1?ca_cert=/ca.crt&x=1", "lockd has no option ca_cert, x; known are cacert, cert,"),
        ("lockd://db1?timeout=soon", "timeout is 'soon'; it is a number of seconds, more than 0"),
        ("lockd://db1?lock_timeout=0", "lock_timeout is '0'; it is a number of seconds, more than 0"),
        ("lockd://me:secret@db1", "lockd:// takes no user and password; use the option token_file, or token"),
        ("lockd://db1?executor=none", "Unknown executor 'none' provided"),
    ],
)
def test_options_that_make_no_sense_are_refused(url: str, message: str) -> None:
    with pytest.raises(tooz.ToozError) as caught:
        coordination.get_coordinator(url, b"m1")
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_the_client_refuses_is_an_error_of_tooz() -> None:
    coordinator = coordination.get_coordinator("lockd://db1?token=short", b"m1")
    with pytest.raises(tooz.ToozError, match="token has 5 characters") as caught:
        coordinator.start()
    assert not isinstance(caught.value, coordination.ToozConnectionError)
    assert not coordinator.is_started


def test_what_the_node_refuses_is_an_error_of_tooz(url: str) -> None:
    with started(url, lock_timeout=0.5) as coordinator:
        with pytest.raises(tooz.ToozError, match="it takes 0 .* or 2000 to") as caught:
            coordinator.get_lock(b"a").acquire()
        assert caught.value.cause is caught.value.__cause__


def test_before_the_start_there_is_no_client(url: str) -> None:
    coordinator = coordination.get_coordinator(url, b"m1")
    with pytest.raises(tooz.ToozError, match="not started"):
        coordinator.get_lock(b"a").acquire()


def test_breaking_needs_the_admin_role(tmp_path: Path) -> None:
    with running(tmp_path, 1, tls="none") as cluster:
        pki = cluster.secured.folder
        url = f"lockd://{cluster.nodes[1].endpoint}?namespace=ci&cacert={pki / 'ca.crt'}"
        with (
            started(url, token_file=pki / "ci.token") as worker,
            started(url, b"m2", token_file=pki / "admin.token") as admin,
        ):
            worker.get_lock(b"a").acquire()
            with pytest.raises(tooz.ToozError, match="this caller may not"):
                worker.get_lock(b"a").break_()
            assert admin.get_lock(b"a").break_()


def test_characteristics_are_asked_for_by_name(url: str) -> None:
    wanted = (coordination.Characteristics.LINEARIZABLE, coordination.Characteristics.DISTRIBUTED_ACROSS_HOSTS)
    assert isinstance(coordination.get_coordinator(url, b"m1", characteristics=wanted), LockdDriver)
    with pytest.raises(coordination.ToozDriverChosenPoorly):
        coordination.get_coordinator(url, b"m1", characteristics=(coordination.Characteristics.NON_TIMEOUT_BASED,))


def test_a_lock_needs_a_name(coordinator: LockdDriver) -> None:
    with pytest.raises(ValueError, match="name"):
        LockdLock(coordinator, b"")


def test_the_driver_says_which_extra_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tooz", None)
    monkeypatch.delitem(sys.modules, tooz_driver.__name__)
    with pytest.raises(ImportError, match=r"pip install 'lockd-client\[tooz\]'"):
        importlib.import_module(tooz_driver.__name__)
