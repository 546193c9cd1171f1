"""The database behind the index: SQLite (WAL, synchronous=FULL) or PostgreSQL, always migrated.

SQLite allows one writer at a time and tells the others to wait; PostgreSQL gets the same order
from an advisory lock, so that keys and changes are committed in the order of their numbers in both.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, NoSuchTableError, OperationalError, ProgrammingError

from somascope.archive.records import OutOfSpace
from somascope.archive.schema import HEAD, VERSION_TABLE
from somascope.core.errors import MissingExtra, SomascopeError

BUSY_SECONDS = 60
_LOCK_WRITE, _LOCK_MIGRATE = 0x50_4D_41_01, 0x50_4D_41_02
"""Numbers of PostgreSQL's advisory locks."""


class Prepared:
    """A statement compiled once: the way of the few that every store runs.

    Building and compiling costs more than SQLite needs to run them.
    """

    def __init__(
        self, statement: Any, dialect: Dialect, *, keys: Sequence[str] | None = None
    ) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=keys)
        self.sql = str(compiled)
        self._order: Sequence[str] | None = compiled.positiontup

    def bind(self, values: Mapping[str, Any]) -> Any:
        """The values in the driver's form."""
        if self._order is None:
            return values
        return tuple(values[name] for name in self._order)

    def one(self, cursor: Any, values: Mapping[str, Any]) -> Any:
        """The first row, or ``None``."""
        cursor.execute(self.sql, self.bind(values))
        return cursor.fetchone()

    def many(self, cursor: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run once for every row."""
        if len(rows) == 1:
            cursor.execute(self.sql, self.bind(rows[0]))
        else:
            cursor.executemany(self.sql, [self.bind(r) for r in rows])


class Database:
    """An engine with two ways in: `reading` and `writing`."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if self.url.get_backend_name() == "postgresql":
            self.url = self.url.set(drivername="postgresql+psycopg")
        try:
            self.engine = _engine(self.url, sqlite=self.sqlite)
        except ImportError as error:
            raise MissingExtra(
                "PostgreSQL needs psycopg; install it with: pip install 'somascope[postgres]'"
            ) from error
        self._write = threading.Lock()
        reference: weakref.ref[Database] = weakref.ref(self)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: _forget(reference))

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A snapshot to read from."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def lookup(self, statement: Prepared, values: Mapping[str, Any]) -> Any:
        """The first row of a prepared SELECT, or ``None``."""
        connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            try:
                return statement.one(cursor, values)
            finally:
                cursor.close()
        finally:
            connection.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """The only writing transaction, of this process and of all; durable once left."""
        with self._write, self.engine.connect() as plain:
            connection = plain.execution_options(somascope_write=True)
            try:
                with connection.begin():
                    if not self.sqlite:
                        connection.execute(
                            text("SELECT pg_advisory_xact_lock(:k)"), {"k": _LOCK_WRITE}
                        )
                    yield connection
            except OperationalError as error:
                if "full" in str(error.orig) or "No space" in str(error.orig):
                    raise OutOfSpace(
                        f"the index has no space: {error.orig}; free some and send again"
                    ) from error
                raise

    def migrate(self, lock: Path | None = None) -> None:
        """Bring the tables to `schema.HEAD`; safe while others do the same."""
        if self._version() == HEAD:
            return
        with _exclusive(lock), self.engine.connect() as connection:
            if not self.sqlite:
                connection.execute(text("SELECT pg_advisory_lock(:k)"), {"k": _LOCK_MIGRATE})
                connection.commit()
            try:
                if self._version() != HEAD:
                    _upgrade(connection)
                    connection.commit()
            finally:
                if not self.sqlite:
                    connection.rollback()
                    connection.execute(text("SELECT pg_advisory_unlock(:k)"), {"k": _LOCK_MIGRATE})
                    connection.commit()

    def _version(self) -> str | None:
        try:
            with self.reading() as connection:
                return connection.execute(
                    text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608
                ).scalar()
        except (OperationalError, ProgrammingError, NoSuchTableError):
            return None

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def _forget(reference: weakref.ref[Database]) -> None:
    """A forked child must not use its parent's connections, nor wait for its threads' locks."""
    database = reference()
    if database is not None:
        database.engine.dispose(close=False)
        database._write = threading.Lock()  # noqa: SLF001


def _engine(url: Any, *, sqlite: bool) -> Engine:
    if not sqlite:
        return create_engine(url, pool_size=8, max_overflow=24, pool_pre_ping=True)
    engine = create_engine(
        url,
        pool_size=8,
        max_overflow=56,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={BUSY_SECONDS * 1000}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "case_sensitive_like=ON",
            "cache_size=-32768",
            "temp_store=MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("somascope_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


@contextlib.contextmanager
def _exclusive(lock: Path | None) -> Iterator[None]:
    """One process at a time, where the platform has `fcntl`."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        try:
            import fcntl
        except ImportError:
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", "somascope.archive:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SomascopeError(
            f"the index has a schema this version does not know ({error}); use the Somascope that "
            "wrote it, or a newer one"
        ) from error
    except DBAPIError as error:
        raise SomascopeError(f"the index cannot be migrated: {error.orig}") from error
