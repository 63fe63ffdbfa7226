"""ResourceLocker: what code that used the library with a database relies on, and what that library got wrong."""

import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from lockd_client import LimitReached, LockdClient, OutcomeUnknown, ensembl, registry
from lockd_client.ensembl import Client, LockException, Resource, ResourceLock, ResourceLocker
from tests.client.fake_node import Fail, FakeNode
from tests.eventually import eventually
from tests.integration.cluster import running

WITHIN_S = 20.0
ANN, BOB = "ann@ebi.example", "ProteinFeaturePipeline"
DB = "mysql://user@server:3306/homo_sapiens_core_100_38"


@pytest.fixture
def locker(url: str) -> Iterator[ResourceLocker]:
    """Everything that a test leaves behind goes with it."""
    with ResourceLocker(url) as locker:
        yield locker
        for lock in locker.get_locks():
            locker.unlock(lock)
        for client in locker.get_clients():
            locker.delete_client(client)
        for resource in locker.get_resources():
            locker.delete_resource(resource)


def ids(locks: list[ResourceLock]) -> list[int]:
    return [lock.resource_lock_id for lock in locks]


# ---- locks


def test_a_lock_tells_who_has_what(locker: ResourceLocker) -> None:
    before = datetime.now(UTC).replace(tzinfo=None)
    lock = locker.lock(ANN, DB, "write")
    assert (lock.lock_type, lock.client.name, lock.resource.uri) == ("write", ANN, DB)
    assert lock.resource_lock_id > 0
    assert lock.client.client_id == lock.client_id > 0
    assert lock.resource.resource_id == lock.resource_id > 0
    assert before <= lock.created <= datetime.now(UTC).replace(tzinfo=None)
    assert repr(lock) == (
        f"<ResourceLock(resource_lock_id={lock.resource_lock_id}, lock_type='write', client='{ANN}', resource='{DB}')>"
    )
    assert repr(lock.client) == f"<Client(client_id={lock.client_id}, name='{ANN}')>"
    assert repr(lock.resource) == f"<Resource(resource_id={lock.resource_id}, uri='{DB}')>"
    assert lock.to_dict() == {
        "resource_lock_id": lock.resource_lock_id,
        "lock_type": "write",
        "created": lock.created,
        "client": {"client_id": lock.client_id, "name": ANN},
        "resource": {"resource_id": lock.resource_id, "uri": DB},
    }
    assert locker.get_lock(lock.resource_lock_id) == lock
    assert locker.get_locks() == [lock]


def test_reads_are_shared_each_under_an_id_of_its_own_also_of_one_client(locker: ResourceLocker) -> None:
    locks = [locker.lock(name, DB, "read") for name in (ANN, BOB, ANN)]
    assert ids(locker.get_locks(resource_uri=DB)) == sorted(set(ids(locks)))
    locker.unlock(locks[0])
    assert ids(locker.get_locks()) == ids(locks[1:])


@pytest.mark.parametrize(("first", "second"), [("write", "read"), ("read", "write"), ("write", "write")])
@pytest.mark.parametrize("who", [ANN, BOB])
def test_a_write_is_alone_and_nobody_waits(locker: ResourceLocker, first: str, second: str, who: str) -> None:
    """The same client is in its own way, too."""
    lock = locker.lock(ANN, DB, first)
    with pytest.raises(LockException) as conflict:
        locker.lock(who, DB, second)
    assert str(conflict.value) == (
        f"cannot lock {DB} for {'reading' if second == 'read' else 'writing'}; in the way: "
        f"{first} lock {lock.resource_lock_id} of {ANN}"
    )
    assert locker.get_locks() == [lock]
    assert locker.lock(who, "another", second)
    locker.unlock(lock)
    assert locker.lock(who, DB, second).resource_lock_id > lock.resource_lock_id


def test_a_conflict_names_some_of_those_in_the_way(locker: ResourceLocker) -> None:
    for _ in range(5):
        locker.lock(ANN, DB, "read")
    with pytest.raises(LockException, match=f"(read lock [0-9]+ of {ANN}, ){{3}}2 more$"):
        locker.lock(BOB, DB, "write")


def test_whoever_has_the_id_unlocks(locker: ResourceLocker, url: str) -> None:
    first, second = locker.lock(ANN, DB, "read"), locker.lock(ANN, DB, "read")
    with ResourceLocker(url) as another:
        another.unlock(first.resource_lock_id)
        another.unlock(second)
    assert locker.get_locks() == []
    assert locker.get_lock(first.resource_lock_id) is None


def test_unlocking_what_is_not_locked_is_a_value_error_and_changes_nothing(locker: ResourceLocker) -> None:
    lock, other = locker.lock(ANN, DB, "write"), locker.lock(ANN, "another", "write")
    locker.unlock(lock)
    again = locker.lock(ANN, DB, "write")
    for gone in (lock, lock.resource_lock_id, 10**9, 2**53, 2**70, 0, -1):
        with pytest.raises(ValueError, match="^No lock found for ID "):
            locker.unlock(gone)
        if isinstance(gone, int):
            assert locker.get_lock(gone) is None
    for odd in (None, "1", 1.0, True):
        with pytest.raises(ValueError, match="it is an id, a whole number"):
            locker.unlock(odd)  # type: ignore[arg-type]  # what it is about
    assert locker.get_locks() == [other, again]


def test_a_lock_has_no_time_limit_and_outlives_whoever_took_it(url: str, client: LockdClient) -> None:
    with ResourceLocker(url) as locker:
        lock = locker.lock(ANN, DB, "write")
    (holder,) = client.holders(DB)
    assert (holder.token, holder.owner, holder.ttl, holder.session_id) == (lock.resource_lock_id, ANN, 0, 0)
    with ResourceLocker(url) as another:
        assert another.get_lock(lock.resource_lock_id) == lock
        another.unlock(lock)


def test_filters_go_together(locker: ResourceLocker) -> None:
    a_read, a_write = locker.lock(ANN, DB, "read"), locker.lock(ANN, "another", "write")
    b_read = locker.lock(BOB, DB, "read")
    assert locker.get_locks(client_name=ANN) == [a_read, a_write]
    assert locker.get_locks(resource_uri=DB) == [a_read, b_read]
    assert locker.get_locks(lock_type="read") == [a_read, b_read]
    assert locker.get_locks(lock_type="write") == [a_write]
    assert locker.get_locks(client_name=BOB, resource_uri=DB, lock_type="read") == [b_read]
    assert locker.get_locks(client_name=None, resource_uri=None, lock_type=None) == [a_read, a_write, b_read]
    nothing: list[dict[str, Any]] = [
        {"client_name": "nobody"},
        {"client_name": ""},
        {"client_name": "x" * 1000},
        {"resource_uri": "nothing"},
        {"resource_uri": ""},
        {"resource_uri": "x" * 1000},
        {"resource_uri": DB[:-1]},
        {"lock_type": "exclusive"},
        {"lock_type": ["read"]},
        {"client_name": BOB, "resource_uri": "another"},
    ]
    for filters in nothing:
        assert locker.get_locks(**filters) == []
    with pytest.raises(TypeError):
        locker.get_locks(client=ANN)  # type: ignore[call-arg]  # else a slip of the pen would list everything


def test_many_locks_get_their_ids_from_pages_of_the_registry(
    locker: ResourceLocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "PAGE", 3)
    locks = [locker.lock(f"client {number % 4}", f"db{number}", "write") for number in range(ensembl.FEW + 1)]
    assert locker.get_locks() == locks
    assert locker.get_resources() == [lock.resource for lock in locks]
    assert locker.get_clients() == [lock.client for lock in locks[:4]]


@pytest.mark.parametrize(
    ("client_name", "resource_uri", "lock_type", "said"),
    [
        (ANN, DB, "exclusive", "Unsupported lock_type: 'exclusive'; it is 'read' or 'write'"),
        (ANN, DB, "READ", "Unsupported lock_type"),
        (ANN, DB, None, "Unsupported lock_type"),
        (ANN, DB, ["read"], "Unsupported lock_type"),
        ("", DB, "read", "client_name has 0 characters; it takes 1 to 64"),
        ("x" * 65, DB, "read", "client_name has 65 characters"),
        (None, DB, "read", "client_name is None; it is text of 1 to 64 characters"),
        ("a\nb", DB, "read", "owner has the control character U[+]000A"),
        (ANN, "", "read", "resource_uri has 0 bytes; it takes 1 to 512"),
        (ANN, "ä" * 257, "read", "resource_uri has 514 bytes"),
        (ANN, 5, "read", "resource_uri is 5; it is text of 1 to 512 bytes"),
        (ANN, "a\0", "read", "name has the control character U[+]0000"),
        (ANN, "\ud800", "read", "surrogates not allowed"),
    ],
)
def test_bad_values_are_value_errors_and_change_nothing(
    locker: ResourceLocker, client_name: Any, resource_uri: Any, lock_type: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        locker.lock(client_name, resource_uri, lock_type)
    assert locker.get_locks() == []
    assert locker.get_clients() == []
    assert locker.get_resources() == []


def test_the_longest_names(locker: ResourceLocker) -> None:
    lock = locker.lock("\U0001f512" * 64, "ä" * 256, "write")
    assert locker.get_locks() == [lock]


# ---- other holds on the same names


def test_holds_that_were_taken_otherwise_are_in_the_way_and_are_shown(
    locker: ResourceLocker, client: LockdClient
) -> None:
    token = client.try_lock(DB, ttl=60, owner="handover:4711").token
    with pytest.raises(LockException, match=f"write lock {token} of handover:4711$"):
        locker.lock(ANN, DB, "read")
    lock = locker.get_lock(token)
    assert lock is not None
    assert (lock.lock_type, lock.client, lock.resource) == ("write", Client(0, "handover:4711"), Resource(0, DB))
    assert abs(lock.created - datetime.now(UTC).replace(tzinfo=None)) < timedelta(seconds=60)
    assert ids(locker.get_locks(client_name="handover:4711")) == [token]
    assert locker.get_clients() == [], "looking makes no entries"
    locker.unlock(token)
    assert client.is_locked(DB) is False


@pytest.mark.parametrize("created", ["yesterday", "2026-11-26T12:00:00+00:00", ""])
def test_a_time_that_another_program_wrote_is_not_believed(
    locker: ResourceLocker, client: LockdClient, created: str
) -> None:
    token = client.try_lock(DB, ttl=60, metadata={ensembl.CREATED: created}).token
    lock = locker.get_lock(token)
    assert lock is not None
    assert abs(lock.created - datetime.now(UTC).replace(tzinfo=None)) < timedelta(seconds=60)


def test_a_set_is_shown_under_each_of_its_names_and_found_under_the_first(
    locker: ResourceLocker, client: LockdClient
) -> None:
    resource = locker.get_resource("b")
    with client.lock_all(["b", ("a", True)], owner=ANN) as held:
        locks = locker.get_locks()
        assert [(lock.resource_lock_id, lock.resource, lock.lock_type) for lock in locks] == [
            (held.token, Resource(0, "a"), "read"),
            (held.token, resource, "write"),
        ]
        found = locker.get_lock(held.token or 0)
        assert found is not None
        assert found.resource == locks[0].resource


def test_readers_stand_behind_a_writer_that_waits(locker: ResourceLocker, client: LockdClient) -> None:
    lock = locker.lock(ANN, DB, "read")
    writer = client.lock(DB, ttl=60)
    thread = threading.Thread(target=writer.acquire)
    thread.start()
    eventually(lambda: client.get(DB).waiters_count == 1, WITHIN_S)
    with pytest.raises(LockException, match=f"read lock {lock.resource_lock_id} of {ANN}, 1 that wait for it$"):
        locker.lock(ANN, DB, "read")
    locker.unlock(lock)
    thread.join(WITHIN_S)
    writer.release()


# ---- clients and resources


def test_clients_are_made_found_listed_and_deleted(locker: ResourceLocker) -> None:
    ann, bob = locker.get_client(ANN), locker.get_client(BOB)
    assert (ann.name, ann.to_dict()) == (ANN, {"client_id": ann.client_id, "name": ANN})
    assert locker.get_client(ANN) == locker.get_client(ann.client_id) == locker.get_client_by_id(ann.client_id) == ann
    assert locker.get_clients() == [ann, bob]
    locker.delete_client(ANN)
    assert locker.get_client_by_id(ann.client_id) is None
    locker.delete_client(bob.client_id)
    assert locker.get_clients() == []
    again = locker.get_client(ANN)
    assert again.client_id > bob.client_id, "an id is never used again"
    locker.delete_client(again)
    for gone in (ann, again, ANN, BOB, ann.client_id, "", 0, -1, 2**64):
        with pytest.raises(ValueError, match="^No client found for "):
            locker.delete_client(gone)


def test_resources_are_made_found_listed_and_deleted(locker: ResourceLocker) -> None:
    first, second = locker.get_resource(DB), locker.get_resource(ANN)
    assert (first.uri, first.to_dict()) == (DB, {"resource_id": first.resource_id, "uri": DB})
    assert locker.get_resource(DB) == locker.get_resource(first.resource_id) == first
    assert locker.get_resource_by_id(first.resource_id) == first
    assert locker.get_client_by_id(first.resource_id) is None
    assert locker.get_resources() == [first, second]
    locker.delete_resource(first)
    locker.delete_resource(ANN)
    assert locker.get_resources() == []
    assert locker.get_resource(second.resource_id) is None
    for gone in (first, DB, second.resource_id):
        with pytest.raises(ValueError, match="^No resource found for "):
            locker.delete_resource(gone)


def test_what_has_active_locks_stays(locker: ResourceLocker) -> None:
    """Else every list of locks would meet a lock without a client."""
    lock = locker.lock(ANN, DB, "read")
    for client in (ANN, lock.client_id, lock.client):
        with pytest.raises(LockException, match=f"^Client {ANN} has active locks$"):
            locker.delete_client(client)
    for resource in (DB, lock.resource_id, lock.resource):
        with pytest.raises(LockException, match=f"^Resource {DB} has active locks$"):
            locker.delete_resource(resource)
    assert locker.get_locks() == [lock]
    locker.unlock(lock)
    locker.delete_client(ANN)
    locker.delete_resource(DB)
    assert locker.lock(ANN, DB, "read").client_id > lock.client_id


def test_while_a_lock_is_held_its_ids_are_those_of_entries_whoever_deletes_at_the_same_time(
    locker: ResourceLocker, url: str
) -> None:
    is_over = threading.Event()

    def delete() -> None:
        with ResourceLocker(url) as another:
            while not is_over.is_set():
                with contextlib.suppress(ValueError, LockException):
                    another.delete_client(ANN)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        for _ in range(60):
            lock = locker.lock(ANN, DB, "write")
            assert locker.get_client_by_id(lock.client_id) == lock.client
            assert locker.get_lock(lock.resource_lock_id) == lock
            locker.unlock(lock)
            eventually(lambda: locker.get_clients() == [], WITHIN_S)
    finally:
        is_over.set()
        thread.join(WITHIN_S)


def test_bad_names_make_nothing(locker: ResourceLocker) -> None:
    odd: Any
    for odd, said in (
        ("", "0 characters"),
        ("x" * 65, "65 char"),
        ("a\n", "U[+]000A"),
        (None, "an id"),
        (True, "an id"),
    ):
        with pytest.raises(ValueError, match=said):
            locker.get_client(odd)
    for odd, said in (("", "0 bytes"), ("x" * 513, "513 bytes"), ("a\n", "U[+]000A"), (None, "an id"), (1.5, "an id")):
        with pytest.raises(ValueError, match=said):
            locker.get_resource(odd)
    assert locker.get_clients() == []
    assert locker.get_resources() == []


def test_a_lock_of_which_nobody_knows_whether_it_was_granted_is_given_back() -> None:
    with FakeNode() as node, ResourceLocker(f"lockd://127.0.0.1:{node.port}?timeout=0.4") as locker:
        assert locker.get_locks() == []
        node.after.extend([Fail(grpc.StatusCode.UNAVAILABLE)] * 200)
        with pytest.raises(OutcomeUnknown):
            locker.lock(ANN, DB, "write")
        assert node.state.last_token == 1
        node.after.clear()
        eventually(lambda: not node.holds, WITHIN_S)


def test_a_lock_whose_names_get_no_ids_is_given_back(tmp_path: Path) -> None:
    with (
        running(tmp_path, 1, settings={"limits": {"registered_max": 1}}) as cluster,
        ResourceLocker(f"lockd://{cluster.nodes[1].endpoint}") as locker,
    ):
        with pytest.raises(LimitReached, match="registered_max: 1 of 1"):
            locker.lock(ANN, DB, "write")
        eventually(lambda: locker.get_locks() == [], WITHIN_S)
