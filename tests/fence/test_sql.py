"""SqlFence: what two transactions see of each other, on SQLite, PostgreSQL and MariaDB."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, MetaData, create_engine, inspect, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from lockd_client import InvalidArgument
from lockd_client.fence import StaleToken
from lockd_client.fence.sql import SqlFence, SqlMarks
from tests.eventually import eventually
from tests.fence.resources import FENCE, METADATA, WRITTEN
from tests.integration.cluster import ROOT

WITHIN_S = 30.0
WAITING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
}

_numbers = count()


@pytest.fixture
def name() -> str:
    """Of a lock that no test before has used."""
    return f"lock {next(_numbers)}"


def engine_of(url: str, **options: Any) -> Engine:
    engine = create_engine(url, poolclass=NullPool, **options)
    METADATA.create_all(engine)
    return engine


@pytest.fixture
def engine(database: str) -> Engine:
    return engine_of(database)


@pytest.fixture
def shared_engine(server: str) -> Engine:
    """Of a server."""
    return engine_of(server)


def check(engine: Engine, name: str, token: int, **options: bool) -> None:
    with engine.begin() as connection:
        FENCE.check(connection, name, token, **options)


def highest(engine: Engine, name: str) -> int:
    """What refuses the lowest token says."""
    with engine.connect() as connection, pytest.raises(StaleToken) as refused:
        FENCE.check(connection, name, 1)
    return refused.value.highest


# ---- one after the other


def test_a_lower_token_is_refused_and_the_error_says_by_which(engine, name):
    check(engine, name, 7)
    with pytest.raises(StaleToken, match=f"{name!r}: token 5, the highest seen is 7.") as refused:
        check(engine, name, 5)
    assert (refused.value.name, refused.value.token, refused.value.highest) == (name, 5, 7)
    assert highest(engine, name) == 7


def test_the_same_token_passes_again_and_a_higher_one_always(engine, name):
    for token in (3, 3, 4, 2**53 - 1, 2**53 - 1):
        check(engine, name, token)
    assert highest(engine, name) == 2**53 - 1


def test_locks_have_marks_of_their_own_however_alike_their_names_are(engine, name):
    check(engine, name, 9)
    for other in (name.upper(), name + " ", "é" + name, "e\u0301" + name, name + "x" * (512 - len(name))):
        check(engine, other, 2)
        assert highest(engine, other) == 2


def test_a_readers_token_is_compared_and_leaves_no_mark(engine, name):
    check(engine, name, 8, shared=True)
    check(engine, name, 5)
    check(engine, name, 9, shared=True)
    check(engine, name, 6)
    with pytest.raises(StaleToken):
        check(engine, name, 5, shared=True)
    assert highest(engine, name) == 6


def test_a_transaction_that_is_rolled_back_leaves_no_mark(engine, name):
    with engine.connect() as connection:
        FENCE.check(connection, name, 7)
        connection.rollback()
    check(engine, name, 5)


def test_a_refused_transaction_goes_on_where_its_caller_wants_that(engine, name):
    check(engine, name, 7)
    with engine.begin() as connection:
        with pytest.raises(StaleToken):
            FENCE.check(connection, name, 5)
        FENCE.check(connection, name, 8)
    assert highest(engine, name) == 8


@pytest.mark.parametrize("token", [0, -1, 2**53, True, 1.0, "5", None])
def test_what_is_no_token_is_refused(engine, name, token):
    with engine.begin() as connection, pytest.raises(InvalidArgument, match="a number from 1 to 9007199254740991"):
        FENCE.check(connection, name, token)


@pytest.mark.parametrize("bad", ["", "x" * 513, "é" * 257, "a\0b", "a\n", "\udcff"])
def test_what_is_no_name_is_refused(engine, bad):
    with engine.begin() as connection, pytest.raises(InvalidArgument, match="name is"):
        FENCE.check(connection, bad, 1)


# ---- the ways in


class Base(DeclarativeBase):
    pass


class Report(Base):
    __tablename__ = "report"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    token: Mapped[int]


MAPPED = SqlFence(Base.metadata, table="report_fence")


def test_an_orm_session_is_checked_and_written_as_one_transaction(engine, name):
    Base.metadata.create_all(engine)
    number = next(_numbers)
    with Session(engine) as session, session.begin():
        MAPPED.check(session, name, 7)
        session.add(Report(id=number, token=7))
    stale = scoped_session(sessionmaker(engine))
    with pytest.raises(StaleToken), stale.begin():
        stale.get_one(Report, number).token = 5
        MAPPED.check(stale, name, 5)
    stale.remove()
    with Session(engine) as session:
        assert session.get_one(Report, number).token == 7


def test_a_session_of_several_databases_asks_the_one_that_the_table_is_bound_to(engine, name):
    elsewhere = create_engine("sqlite://")
    with Session(binds={Report: elsewhere, FENCE.table: engine}) as session, session.begin():
        FENCE.check(session, name, 7)
    assert highest(engine, name) == 7


def test_the_table_is_in_the_callers_metadata_under_a_name_of_their_choice():
    metadata = MetaData()
    fence = SqlFence(metadata, table="marks", schema="ops")
    assert metadata.tables["ops.marks"] is fence.table
    assert [column.name for column in fence.table.primary_key] == ["name"]


def test_without_a_metadata_it_brings_its_own(tmp_path):
    fence, engine = SqlFence(), create_engine(f"sqlite:///{tmp_path}/own.db", poolclass=NullPool)
    fence.metadata.create_all(engine)
    assert inspect(engine).get_table_names() == ["lockd_fence"]


def test_marks_for_middleware_check_in_a_transaction_of_their_own(engine, name):
    marks = SqlMarks(engine, FENCE)
    marks.check(name, 7)
    marks.check(name, 8, shared=True)
    with pytest.raises(StaleToken):
        marks.check(name, 5)


@pytest.mark.parametrize("of_engine", [True, False])
def test_autocommit_is_refused_since_the_check_would_not_last(database, name, of_engine):
    engine = engine_of(database, **({"isolation_level": "AUTOCOMMIT"} if of_engine else {}))
    options = {} if of_engine else {"isolation_level": "AUTOCOMMIT"}
    with (
        engine.connect().execution_options(**options) as connection,
        pytest.raises(InvalidArgument, match="AUTOCOMMIT"),
    ):
        FENCE.check(connection, name, 7)


def test_a_database_that_it_was_not_made_for_is_refused(name):
    class Stranger:
        name = "oracle"

    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        connection.dialect = Stranger()  # type: ignore[assignment]  # there is no Oracle here
        with pytest.raises(InvalidArgument, match="the database is oracle"):
            FENCE.check(connection, name, 7)


def test_without_sqlalchemy_the_error_names_the_extra():
    program = "import sys; sys.modules['sqlalchemy'] = None; import lockd_client.fence.sql"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.stderr.rstrip().endswith("pip install 'lockd-client[fence]'")


# ---- at the same time


@contextmanager
def in_a_thread(work: Callable[[], None]) -> Iterator["Future[None]"]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(work)


def wait_until_one_waits(engine: Engine) -> None:
    def one_waits() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(text(WAITING[engine.dialect.name])))

    eventually(one_waits, WITHIN_S)


@pytest.mark.parametrize("before", [None, 1], ids=["first insertion", "present row"])
def test_the_stale_one_of_two_transactions_waits_for_the_other_and_is_refused(shared_engine, name, before):
    if before:
        check(shared_engine, name, before)
    with shared_engine.connect() as fresh:
        FENCE.check(fresh, name, 7)
        with in_a_thread(lambda: check(shared_engine, name, 5)) as stale:
            wait_until_one_waits(shared_engine)
            fresh.commit()
            with pytest.raises(StaleToken):
                stale.result(WITHIN_S)


@pytest.mark.parametrize("before", [None, 1], ids=["first insertion", "present row"])
def test_the_later_one_of_two_transactions_waits_until_the_earlier_has_written(shared_engine, name, before):
    if before:
        check(shared_engine, name, before)
    with shared_engine.connect() as early:
        FENCE.check(early, name, 5)
        with in_a_thread(lambda: check(shared_engine, name, 7)) as late:
            wait_until_one_waits(shared_engine)
            assert not late.done()
            early.commit()
            late.result(WITHIN_S)
    assert highest(shared_engine, name) == 7


def test_one_that_waited_passes_where_the_other_is_rolled_back(shared_engine, name):
    with shared_engine.connect() as fresh:
        FENCE.check(fresh, name, 7)
        with in_a_thread(lambda: check(shared_engine, name, 5)) as stale:
            wait_until_one_waits(shared_engine)
            fresh.rollback()
            stale.result(WITHIN_S)
    assert highest(shared_engine, name) == 5


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_at_no_isolation_level_does_an_old_view_let_a_stale_token_in(server, name, level):
    engine = engine_of(server, isolation_level=level)
    with engine.connect() as stale:
        look(stale)
        check(engine, name, 7)
        with pytest.raises((StaleToken, DBAPIError)) as refused:
            FENCE.check(stale, name, 5)
        if level == "READ COMMITTED" or engine.dialect.name == "mysql":
            assert refused.type is StaleToken
    assert highest(engine, name) == 7


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_waiting_stale_token_does_not_pass_at_any_isolation_level_either(server, name, level):
    engine = engine_of(server, isolation_level=level)
    with engine.connect() as fresh:
        FENCE.check(fresh, name, 7)
        with in_a_thread(lambda: check(engine, name, 5)) as stale:
            wait_until_one_waits(engine)
            fresh.commit()
            with pytest.raises((StaleToken, DBAPIError)):
                stale.result(WITHIN_S)
    assert highest(engine, name) == 7


def look(connection: Connection) -> None:
    """From here on a transaction with a view of its own has it, of what is guarded and of the marks."""
    connection.execute(select(WRITTEN)).all()


def test_sqlite_lets_nobody_write_between_a_check_and_its_commit(sqlite, name):
    engine = engine_of(sqlite, connect_args={"timeout": 0})
    with engine.connect() as fresh:
        FENCE.check(fresh, name, 7)
        with pytest.raises(OperationalError, match="database is locked"):
            check(engine, name, 5)
        fresh.commit()
    with pytest.raises(StaleToken):
        check(engine, name, 5)
