"""What every store does, the durable one and its twin."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockd.persistence.errors import StoreClosed
from lockd.persistence.leveldb import LevelStore
from lockd.persistence.memory import MemoryStore
from lockd.persistence.store import Store
from lockd.raft import ports

Batch = Mapping[bytes, bytes | None]
MakeStore = Callable[[Path], Store]


def level(path: Path) -> Store:
    return LevelStore.open(path, node_id=1)


def memory(_: Path) -> Store:
    return MemoryStore()


@pytest.fixture(params=[level, memory])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store = request.param(tmp_path / "data")
    yield opened
    opened.close()


def write(store: Store, batch: Batch, *, inline: bool = True) -> None:
    asyncio.run(store.write(batch, inline=inline))


def everything(store: Store) -> dict[bytes, bytes]:
    return dict(store.scan(b""))


def test_it_is_what_the_raft_room_asks_for(store: Store):
    asked_for: ports.Store = store
    view: ports.View = asked_for.view()
    view.close()


def test_a_new_store_is_blank_and_shows_no_bookkeeping(store: Store):
    assert store.was_blank
    assert everything(store) == {}


def test_a_batch_puts_and_deletes(store: Store):
    write(store, {b"a": b"1", b"b": b"2"})
    write(store, {b"a": None, b"c": b"", b"never there": None})
    assert everything(store) == {b"b": b"2", b"c": b""}


def test_an_empty_batch_changes_nothing(store: Store):
    write(store, {b"a": b"1"})
    write(store, {})
    assert everything(store) == {b"a": b"1"}


def test_a_scan_is_in_key_order_and_ends_with_the_prefix(store: Store):
    write(store, {b"b": b"", b"a\xff\xff": b"", b"a\x00": b"", b"a": b"", b"\xff": b""})
    assert [key for key, _ in store.scan(b"a")] == [b"a", b"a\x00", b"a\xff\xff"]
    assert [key for key, _ in store.scan(b"\xff")] == [b"\xff"]
    assert [key for key, _ in store.scan(b"c")] == []


def test_a_scan_under_way_does_not_see_later_writes(store: Store):
    before = {b"%04d" % number: b"" for number in range(1000)}
    write(store, before)
    scan = store.scan(b"")
    write(store, {b"0500": None, b"9999": b""})
    assert dict(scan) == before


@pytest.mark.parametrize("key", [b"", b"\x00", b"\x00n"])
def test_a_bookkeeping_key_is_refused_and_nothing_of_its_batch_written(store: Store, key: bytes):
    with pytest.raises(ValueError, match="zero byte"):
        write(store, {b"a": b"1", key: b"2"})
    assert everything(store) == {}


def test_bookkeeping_is_not_scanned(store: Store):
    view = store.view()
    for scan in (store.scan, view.scan):
        with pytest.raises(ValueError, match="zero byte"):
            scan(b"\x00")
    view.close()


def test_a_view_stays_as_it_was(store: Store):
    write(store, {b"a": b"1", b"b": b"2"})
    view = store.view()
    write(store, {b"a": None, b"b": b"3", b"c": b"4"})
    assert dict(view.scan(b"")) == {b"a": b"1", b"b": b"2"}
    assert list(view.scan(b"b")) == [(b"b", b"2")]
    view.close()
    assert everything(store) == {b"b": b"3", b"c": b"4"}


def test_a_view_is_read_in_another_thread_while_the_store_is_written(store: Store):
    before = {b"%04d" % number: b"x" for number in range(2000)}
    write(store, before)
    view = store.view()
    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(lambda: dict(view.scan(b"")))
        for number in range(20):
            write(store, {b"%04d" % number: None})
        assert seen.result() == before
    view.close()


def test_what_is_closed_says_so(store: Store):
    write(store, {b"a": b"1"})
    view, forgotten = store.view(), store.view()
    view.close()
    view.close()
    with pytest.raises(StoreClosed):
        view.scan(b"")
    store.close()
    store.close()
    forgotten.close()
    for call in (lambda: store.scan(b""), store.view, lambda: write(store, {b"b": b""}), lambda: write(store, {})):
        with pytest.raises(StoreClosed):
            call()


def test_closing_the_store_ends_a_scan_in_another_thread_orderly(store: Store):
    write(store, {b"%04d" % number: b"x" for number in range(1000)})
    view = store.view()
    begun, closed = threading.Event(), threading.Event()

    def read() -> int:
        records = view.scan(b"")
        next(records)
        begun.set()
        closed.wait()
        return sum(1 for _ in records)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        begun.wait()
        store.close()
        closed.set()
        # The twin's view is a copy and may go on; neither crashes, and neither answers less without saying so.
        error = reading.exception()
    assert isinstance(error, StoreClosed) if error else reading.result() == 999


KEYS = st.binary(min_size=1, max_size=3).filter(lambda key: not key.startswith(b"\x00"))
BATCHES = st.lists(st.dictionaries(KEYS, st.none() | st.binary(max_size=20), max_size=5), max_size=6)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES, prefix=st.binary(max_size=2).filter(lambda prefix: not prefix.startswith(b"\x00")))
def test_both_agree(tmp_path_factory: pytest.TempPathFactory, batches: list[Batch], prefix: bytes):
    durable, twin = level(tmp_path_factory.mktemp("data")), MemoryStore()
    for batch in batches:
        write(durable, batch)
        write(twin, batch)
    assert list(durable.scan(prefix)) == list(twin.scan(prefix))
    durable.close()


def test_the_twin_can_begin_with_what_an_earlier_life_wrote():
    earlier = {b"a": b"1"}
    store = MemoryStore(earlier)
    write(store, {b"a": None})
    assert not store.was_blank
    assert earlier == {b"a": b"1"}


# The durable one alone:


def test_what_was_written_is_there_after_reopening(tmp_path: Path):
    store = level(tmp_path)
    write(store, {b"a": b"1", b"b": b"2"})
    write(store, {b"a": None})
    store.close()
    again = level(tmp_path)
    assert everything(again) == {b"b": b"2"}
    again.close()


def test_a_store_that_was_opened_and_never_written_to_is_still_blank(tmp_path: Path):
    level(tmp_path).close()
    store = level(tmp_path)
    assert store.was_blank
    write(store, {b"a": b"1"})
    assert store.was_blank
    store.close()
    again = level(tmp_path)
    assert not again.was_blank
    again.close()


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "var" / "lockd"
    level(path).close()
    assert path.stat().st_mode & 0o777 == 0o700


def test_a_write_runs_where_the_caller_says(tmp_path: Path):
    offloaded: list[Callable[[], object]] = []

    def offload(blocking: Callable[[], object]) -> Awaitable[object]:
        offloaded.append(blocking)
        return asyncio.get_running_loop().run_in_executor(None, blocking)

    store = LevelStore.open(tmp_path, node_id=1, offload=offload)
    write(store, {b"a": b"1"})
    assert offloaded == []
    write(store, {b"b": b"2"}, inline=False)
    assert len(offloaded) == 1
    assert everything(store) == {b"a": b"1", b"b": b"2"}
    store.close()


def test_writes_that_overlap_against_the_rules_leave_no_hole(tmp_path: Path):
    """Their order is open, their numbering is not: the directory opens again."""
    with ThreadPoolExecutor(4) as pool:
        store = LevelStore.open(
            tmp_path, node_id=1, offload=lambda call: asyncio.get_running_loop().run_in_executor(pool, call)
        )

        async def overlap() -> None:
            await asyncio.gather(*(store.write({b"%d" % n: b""}, inline=n % 3 == 0) for n in range(30)))

        asyncio.run(overlap())
        store.close()
    again = level(tmp_path)
    assert len(everything(again)) == 30
    again.close()


def test_only_the_newest_numbers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lockd.persistence.leveldb.WINDOW", 10)
    for rounds in range(1, 6):
        store = level(tmp_path)
        for number in range(7):
            write(store, {b"%d" % number: os.urandom(8)})
        store.close()
        assert len(bookkeeping(tmp_path)) == 1 + min(10, 1 + 7 * rounds)


def bookkeeping(path: Path) -> list[bytes]:
    import plyvel

    db = plyvel.DB(str(path))
    keys = list(db.iterator(prefix=b"\x00", include_value=False))
    db.close()
    return keys
