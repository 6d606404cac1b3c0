"""The database: one engine, one worker thread, one transaction per call.

    count = await database.run(lambda session: session.scalar(select(func.count()).select_from(JobRow)))

``run`` calls a function with a session, in the worker thread and inside one transaction. It returns after the commit.

* An answer that follows ``run`` is based on committed data, and a process that is killed at any moment leaves only whole transactions.
* With one thread, transactions run strictly one after the other. So the rules of campaigns and jobs need not consider concurrent ones.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Engine, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from otabench.cloud.errors import NotReady, StartError
from otabench.cloud.store.schema import SCHEMA_VERSION, Base, SchemaRow

Result = TypeVar("Result")

_BUSY_TIMEOUT_S: Final = 5.0


class Database:
    """The cloud's database. Use ``open_database`` to create one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database")

    async def run(self, work: Callable[[Session], Result]) -> Result:
        """Run ``work`` in the worker thread, inside one transaction. An exception from ``work`` rolls the transaction back.

        Raises:
            NotReady: the database does not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self.run_now, work)

    def run_now(self, work: Callable[[Session], Result]) -> Result:
        """Do the same as ``run``, but in the calling thread."""
        try:
            # With expire_on_commit rows could not be read after the commit, in the event loop's thread.
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                return work(session)
        except (OperationalError, InterfaceError) as error:
            raise NotReady(f"the database does not answer ({_cause(error)}): try again") from error

    def close(self) -> None:
        """End the worker and close all connections."""
        self._worker.shutdown(wait=True)
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Connect to a database. Create its tables if they do not exist.

    Args:
        url: an SQLAlchemy URL. An SQLite file is created together with its folder.

    Raises:
        StartError: the URL is wrong, its driver is missing, the database cannot be reached, or its tables have another version.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        # SQLAlchemy's own message would show the password.
        raise StartError("database_url is not an SQLAlchemy URL, such as sqlite:///cloud.db") from error
    display_url = parsed.render_as_string(hide_password=True)
    engine = _make_engine(parsed, display_url)
    try:
        _make_tables(engine, display_url)
    except DatabaseError as error:
        raise StartError(f"database {display_url} cannot be used: {_cause(error)}") from error
    return Database(engine)


def _make_engine(url: URL, display_url: str) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            if url.database and url.database != ":memory:":
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            # SQLite insists on one thread by default. Here the tables are created in this thread, and all later work runs in the worker.
            engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False})
            event.listen(engine, "connect", _set_up_sqlite)
            return engine
        # One worker needs one connection. Ping before use, because a server closes connections that are idle for long.
        return create_engine(url, pool_pre_ping=True, pool_size=1, max_overflow=1)
    except (ArgumentError, NoSuchModuleError) as error:
        raise StartError(f"database_url {display_url}: {error}") from error
    except ImportError as error:
        raise StartError(f"database_url {display_url}: the driver {error.name!r} is not installed") from error
    except OSError as error:
        raise StartError(f"database {display_url}: cannot make its folder: {error.strerror or error}") from error


def _make_tables(engine: Engine, display_url: str) -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        version = session.scalar(select(SchemaRow.version))
        if version is None:
            session.add(SchemaRow(version=SCHEMA_VERSION))
        elif version != SCHEMA_VERSION:
            raise StartError(
                f"database {display_url} was made by another version of otabench (tables {version}, needed "
                f"{SCHEMA_VERSION}): use another database_url"
            )


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """Enable foreign keys, and the write-ahead log if the file system supports its shared memory."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        # The pragma always succeeds. On a file system without shared memory the first read fails.
        cursor.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        cursor.execute("PRAGMA journal_mode=DELETE")
    # With NORMAL a commit survives a killed process. A power cut may lose the last commits, which a bench can afford.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _cause(error: DatabaseError | InterfaceError) -> str:
    return str(error.orig).strip() or str(error)
