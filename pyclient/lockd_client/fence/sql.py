"""A fence in a database, for what is written to that database: from the extra `lockd-client[fence]`.

    fence = SqlFence(metadata)  # a table in your MetaData: create_all() and migrations see it

    with client.lock("nightly-report", ttl=30) as lock:
        with engine.begin() as connection:
            fence.check(connection, "nightly-report", lock.token)
            connection.execute(...)

The check and what is written are one transaction. From the check to its end no other transaction gets past a check of
the same name; it waits, and then sees the higher token. One that is rolled back leaves no mark, and nothing written.

Check first: what a transaction has read before may be older than what the holder of a lower token wrote meanwhile. At
REPEATABLE READ or SERIALIZABLE the database may end one of two transactions that meet here, with its own error: begin
that transaction again. On an AUTOCOMMIT connection the check would be over before anything is written: it is refused.

SQLite (3.35), PostgreSQL, MySQL and MariaDB (InnoDB).
"""

from typing import Any

from lockd_client.errors import InvalidArgument
from lockd_client.fence.values import checked_name, checked_token, refuse_below

try:
    from sqlalchemy import BigInteger, Column, Connection, Engine, MetaData, String, Table, case, select
    from sqlalchemy.dialects import mysql, postgresql, sqlite
    from sqlalchemy.orm import Session, scoped_session
except ImportError as error:
    raise ImportError(f"{error}: pip install 'lockd-client[fence]'", name=error.name) from error

TABLE = "lockd_fence"
NAME_CHARACTERS_MAX = 512

_MYSQL = ("mysql", "mariadb")
_DIALECTS = ("sqlite", "postgresql", *_MYSQL)

# Most of MySQL's collations take names for the same that differ in case, or in blanks at the end.
_NAME = String(NAME_CHARACTERS_MAX).with_variant(mysql.VARBINARY(NAME_CHARACTERS_MAX), *_MYSQL)


class SqlFence:
    """The highest exclusive token of each lock, in a table of two columns. Thread-safe: it has no state of its own."""

    def __init__(self, metadata: MetaData | None = None, *, table: str = TABLE, schema: str | None = None) -> None:
        """metadata: which the table joins; one of its own by default, for fence.metadata.create_all(engine)."""
        self.metadata = MetaData() if metadata is None else metadata
        self.table = Table(
            table,
            self.metadata,
            Column("name", _NAME, primary_key=True),
            Column("token", BigInteger, nullable=False),
            schema=schema,
            mysql_engine="InnoDB",
            mariadb_engine="InnoDB",
        )

    def check(
        self, connection: Connection | Session | scoped_session[Any], name: str, token: int, *, shared: bool = False
    ) -> None:
        """Lets the rest of the transaction be done under this token, or refuses it.

        connection: or an ORM session; of asyncio's, `await connection.run_sync(fence.check, name, token)`. shared: the
        token is a reader's: it is compared, as of the transaction's view of the table, locks nothing and leaves no
        mark.

        Raises StaleToken: let the transaction be rolled back; InvalidArgument; what the database raises.
        """
        checked_name(name)
        checked_token(token)
        if not isinstance(connection, Connection):
            connection = connection.connection(bind_arguments={"clause": self.table})
        dialect = connection.dialect.name
        if dialect not in _DIALECTS:
            raise InvalidArgument(f"the database is {dialect}; the fence is for {', '.join(_DIALECTS)}")
        key = name.encode() if dialect in _MYSQL else name
        if shared:
            highest = connection.scalar(select(self.table.c.token).where(self.table.c.name == key)) or 0
        else:
            _refuse_autocommit(connection)
            highest = self._raised(connection, dialect, key, token)
        refuse_below(highest, name, token)

    def _raised(self, connection: Connection, dialect: str, key: str | bytes, token: int) -> int:
        """The highest token, this one included, with its row locked."""
        table, values = self.table, {"name": key, "token": token}
        if dialect in _MYSQL:
            new = mysql.insert(table).values(values)
            highest = case((table.c.token > new.inserted.token, table.c.token), else_=new.inserted.token)
            connection.execute(new.on_duplicate_key_update(token=highest))
            # A locking read sees the row as it is; a plain one at REPEATABLE READ may see an older one.
            present = select(table.c.token).where(table.c.name == key).with_for_update()
            return int(connection.execute(present).scalar_one())
        row = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(table).values(values)
        highest = case((table.c.token > row.excluded.token, table.c.token), else_=row.excluded.token)
        upsert = row.on_conflict_do_update(index_elements=[table.c.name], set_={"token": highest})
        return int(connection.execute(upsert.returning(table.c.token)).scalar_one())


class SqlMarks:
    """Marks for middleware, each check a transaction of its own: what is done after it is not covered."""

    def __init__(self, engine: Engine, fence: SqlFence) -> None:
        self._engine, self._fence = engine, fence

    def check(self, name: str, token: int, *, shared: bool = False) -> None:
        """Raises what SqlFence.check() does."""
        with self._engine.begin() as connection:
            self._fence.check(connection, name, token, shared=shared)


def _refuse_autocommit(connection: Connection) -> None:
    """Raises InvalidArgument."""
    level = connection.get_execution_options().get("isolation_level")
    # What create_engine() was given has no public name.
    if (level or getattr(connection.dialect, "_on_connect_isolation_level", None)) == "AUTOCOMMIT":
        raise InvalidArgument("the connection is in AUTOCOMMIT; the check holds until the end of a transaction")
