"""The database: worker threads with one transaction per call.

    count = await database.run(lambda session: session.scalar(select(func.count()).select_from(JobRow)))

``run`` calls a function with a session, in a worker thread and inside one transaction. It returns after the commit. An answer that follows
``run`` is based on committed data, and a process that is killed at any moment leaves only whole transactions.

* SQLite: one worker. Each transaction begins with the lock on the whole file (BEGIN IMMEDIATE), so transactions run strictly one after the
  other, also those of several processes.
* PostgreSQL: several workers and several processes. A transaction locks the vehicles that it judges (``campaigns.jobs.lock_vehicles``), and
  constraints of ``schema`` hold the rest.
* A transaction that fails because of a concurrent one, or on a connection that a restarted server has closed, is run again. So ``work``
  must have no effects outside of the database.
* ``read`` is for calls that only read. It has a worker of its own, so a long transaction that writes does not delay it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from otabench.cloud.errors import Conflict, InvalidRequest, NotReady, StartError
from otabench.cloud.store.schema import SCHEMA_VERSION, Base, SchemaRow
from otabench.proto.private_files import FILE_MODE

Result = TypeVar("Result")
Source = TypeVar("Source", Session, Connection)

_BUSY_TIMEOUT_S: Final = 5.0
_SERVER_WORKERS: Final = 4
"""Transactions of one process that a database server runs at the same time. SQLite runs one."""
_READERS: Final = 2
"""Reading transactions that run at the same time on a database server. SQLite runs one."""
_READS_ONLY: Final = "otabench_reads_only"
"""The execution option of connections that only read."""
_CONNECT_TIMEOUT_S: Final = 5
_ATTEMPTS: Final = 2
# SQLSTATE classes of PostgreSQL: serialization_failure and deadlock_detected.
_CONCURRENT_STATES: Final = ("40001", "40P01")
_MIGRATION_LOCK: Final = 0x07ABE7C4
"""The key of the advisory lock that lets one replica at a time change the tables."""
_log = logging.getLogger(__name__)


class Database:
    """The cloud's database. Use ``open_database`` to create one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        is_sqlite = engine.dialect.name == "sqlite"
        # With expire_on_commit rows could not be read after the commit, in the event loop's thread.
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        event.listen(self._sessions, "loaded_as_persistent", _hold)
        self._worker = ThreadPoolExecutor(1 if is_sqlite else _SERVER_WORKERS, thread_name_prefix="database")
        # Without BEGIN and ROLLBACK a reading is one round trip instead of three. Each of PostgreSQL's statements has a snapshot of its own
        # in a transaction, too (READ COMMITTED). SQLite's would not see one state of the file.
        reading = {_READS_ONLY: True} if is_sqlite else {_READS_ONLY: True, "isolation_level": "AUTOCOMMIT"}
        self._reading_engine = engine.execution_options(**reading)
        self._readings = sessionmaker(self._reading_engine)
        self._reader = ThreadPoolExecutor(1 if is_sqlite else _READERS, thread_name_prefix="database-read")

    async def run(self, work: Callable[[Session], Result]) -> Result:
        """Run ``work`` in a worker thread, inside one transaction. An exception from ``work`` rolls the transaction back.

        Raises:
            InvalidRequest: a value cannot be stored.
            Conflict: concurrent transactions got in the way, at every attempt.
            NotReady: the database does not answer, or cannot be used.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self.run_now, work)

    async def read(self, work: Callable[[Session], Result]) -> Result:
        """Run ``work``, which only reads, in a reader thread. It sees everything that was committed before the call.

        Raises:
            InvalidRequest: a value cannot be compared with what is stored.
            NotReady: the database does not answer, or cannot be used.
        """
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._read_now, work)

    async def read_rows(self, work: Callable[[Connection], Result]) -> Result:
        """Do the same as ``read`` with a plain connection, which costs less than a session."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._read_rows_now, work)

    def _read_rows_now(self, work: Callable[[Connection], Result]) -> Result:
        return self._read_from(self._reading_engine.connect, work)

    def _read_now(self, work: Callable[[Session], Result]) -> Result:
        return self._read_from(self._readings, work)

    def _read_from(
        self, opened: Callable[[], AbstractContextManager[Source]], work: Callable[[Source], Result]
    ) -> Result:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with opened() as source:
                    return work(source)
            except (DBAPIError, PoolTimeout) as error:
                if not _is_stale(error) or attempt == _ATTEMPTS:
                    raise _refusal(error) from error
        raise AssertionError("the last attempt returns or raises")

    def run_now(self, work: Callable[[Session], Result]) -> Result:
        """Do the same as ``run``, but in the calling thread."""
        for attempt in range(1, _ATTEMPTS + 1):
            is_committing = False
            try:
                with self._sessions.begin() as session:
                    result = work(session)
                    session.flush()
                    is_committing = True
                return result
            except (DBAPIError, PoolTimeout) as error:
                refusal = _refusal(error)
                # Nobody knows whether a commit has succeeded whose connection broke.
                may_repeat = isinstance(refusal, Conflict) or (_is_stale(error) and not is_committing)
                if not may_repeat or attempt == _ATTEMPTS:
                    raise refusal from error
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def check(self) -> None:
        """Ask the database whether it can be used.

        Raises:
            NotReady: it does not answer, or cannot be used.
        """
        # SELECT 1 would not touch SQLite's file.
        await self.run(lambda session: session.scalars(select(SchemaRow.version)).one())

    @property
    def has_notifications(self) -> bool:
        """Whether processes on this database can notify each other (``notifications``)."""
        return self._engine.dialect.name == "postgresql"

    def connect_arguments(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return what the driver's own ``connect`` needs, for a connection outside of the pool."""
        arguments, options = self._engine.dialect.create_connect_args(self._engine.url)
        return arguments, {**options, "connect_timeout": _CONNECT_TIMEOUT_S}

    def close(self) -> None:
        """End the workers and close all connections."""
        self._reader.shutdown(wait=True)
        self._worker.shutdown(wait=True)
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Connect to a database. Create its tables if they do not exist, and migrate older ones.

    Args:
        url: an SQLAlchemy URL. An SQLite file is created together with its folder.

    Raises:
        StartError: the URL is wrong, its driver is missing, the database cannot be reached, or its tables have an unknown version.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        # SQLAlchemy's own message would show the password.
        raise StartError("database_url is not an SQLAlchemy URL, such as sqlite:///cloud.db") from error
    display_url = parsed.render_as_string(hide_password=True)
    engine = _make_engine(parsed, display_url)
    try:
        with engine.begin() as connection:
            _make_tables(connection, display_url)
    except DatabaseError as error:
        raise StartError(f"database {display_url} cannot be used: {_cause(error)}") from error
    return Database(engine)


def _make_engine(url: URL, display_url: str) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            if url.database and url.database != ":memory:":
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
                # SQLite would make the file readable for everybody. Its journal files take over the mode of this one.
                os.close(os.open(url.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
            # SQLite insists on one thread by default. Here the tables are created in this thread, and all later work runs in the worker.
            engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False})
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        connect = {"connect_timeout": _CONNECT_TIMEOUT_S} if url.get_backend_name() == "postgresql" else {}
        # Not pool_pre_ping, which would cost a round trip before each transaction. After a restart of the server the first statement on an
        # old connection fails, and ``_is_stale`` lets it be run again.
        workers = _SERVER_WORKERS + _READERS
        return create_engine(url, pool_size=workers, max_overflow=1, connect_args=connect)
    except (ArgumentError, NoSuchModuleError) as error:
        raise StartError(f"database_url {display_url}: {error}") from error
    except ImportError as error:
        raise StartError(f"database_url {display_url}: the driver {error.name!r} is not installed") from error
    except OSError as error:
        raise StartError(f"database {display_url}: cannot be made: {error.strerror or error}") from error


def _make_tables(connection: Connection, display_url: str) -> None:
    """Create or migrate the tables, inside the caller's transaction."""
    # On SQLite the transaction itself is this lock.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    version = None
    if inspect(connection).has_table(SchemaRow.__tablename__):
        version = connection.scalar(select(SchemaRow.version))
    if version is None:
        Base.metadata.create_all(connection)
        connection.execute(insert(SchemaRow).values(version=SCHEMA_VERSION))
    elif version != SCHEMA_VERSION:
        # Imported late: the import is slow, and few starts need it.
        from otabench.cloud.store.migrations import OLDEST_VERSION, migrate

        if not OLDEST_VERSION <= version < SCHEMA_VERSION:
            raise StartError(
                f"database {display_url} was made by another version of otabench (tables {version}, needed "
                f"{OLDEST_VERSION} to {SCHEMA_VERSION}): use another database_url"
            )
        _log.info("database %s: migrating the tables from version %d to %d", display_url, version, SCHEMA_VERSION)
        migrate(connection, version=version, target=SCHEMA_VERSION)


def _hold(session: Session, row: object) -> None:
    # A session holds its rows weakly. Without this, ``session.get`` would read a row again that was read a moment before.
    session.info.setdefault("rows", []).append(row)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """Enable foreign keys, and the write-ahead log if the file system supports its shared memory."""
    # The driver would begin transactions late, and commit before it changes a table. ``_begin_sqlite`` begins them instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        # The pragma always succeeds. On a file system without shared memory the first read fails.
        cursor.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        cursor.execute("PRAGMA journal_mode=DELETE")
    # With NORMAL a commit survives a killed process. A power cut may lose the last commits, which a bench can afford (docs/cloud.md).
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # With a plain BEGIN two processes could both read, and then wait for each other to write. One that only reads waits for nobody.
    reads_only = connection.get_execution_options().get(_READS_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")


def _is_stale(error: DBAPIError | PoolTimeout) -> bool:
    """Return whether the connection has broken. All connections of the pool that are as old are then replaced before they are used."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _refusal(error: DBAPIError | PoolTimeout) -> InvalidRequest | Conflict | NotReady:
    """Return the text of the error for the caller of the cloud. It never contains the statement or its values."""
    if isinstance(error, PoolTimeout):
        return NotReady("the database is busy: try again")
    if isinstance(error, DataError):
        # PostgreSQL's text cannot hold a NUL character, for example.
        return InvalidRequest(f"a value cannot be stored: {_cause(error)}")
    if isinstance(error, IntegrityError):
        return Conflict("another call changed the same vehicle or campaign at the same time: try again")
    if getattr(error.orig, "sqlstate", None) in _CONCURRENT_STATES:
        return Conflict("another call changed the same vehicle or campaign at the same time: try again")
    if isinstance(error, (OperationalError, InterfaceError)):
        return NotReady(f"the database does not answer ({_cause(error)}): try again")
    _log.error("the database cannot be used: %s", error, exc_info=error)
    return NotReady("the database cannot be used; the cloud's log has the reason")


def _cause(error: DBAPIError) -> str:
    """Return the first line of the driver's message: the lines after it quote the statement."""
    return (str(error.orig).strip() or str(error)).splitlines()[0]
