"""The database: one engine, one worker thread, one transaction per call.

    count = await database.run(lambda session: session.scalar(select(func.count()).select_from(JobRow)))

``run`` runs a function of a session in the worker thread, inside one transaction, and returns once it is committed. So nothing is
answered that is not committed, and a process that is killed at any moment leaves whole transactions. One thread makes transactions
strictly sequential: no rule of campaigns or jobs has to think of another transaction beside it.
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
    """The cloud's state. ``open_database`` makes it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database")

    async def run(self, work: Callable[[Session], Result]) -> Result:
        """Run ``work`` in the worker thread, inside one transaction; an exception from ``work`` rolls it back.

        Raises:
            NotReady: the database does not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self.run_now, work)

    def run_now(self, work: Callable[[Session], Result]) -> Result:
        """Do the same as ``run``, in the calling thread."""
        try:
            # expire_on_commit: rows stay readable after the commit, in the event loop's thread.
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                return work(session)
        except (OperationalError, InterfaceError) as error:
            raise NotReady(f"the database does not answer ({_cause(error)}): try again") from error

    def close(self) -> None:
        """End the worker and close all connections."""
        self._worker.shutdown(wait=True)
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Connect, and make the tables if they are absent.

    Args:
        url: an SQLAlchemy URL; an SQLite file is made with its folder.

    Raises:
        StartError: the URL is wrong, its driver is missing, the database is not reachable, or holds other tables.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:  # SQLAlchemy's message would show the password
        raise StartError("database_url is not an SQLAlchemy URL, such as sqlite:///cloud.db") from error
    shown = parsed.render_as_string(hide_password=True)
    engine = _make_engine(parsed, shown)
    try:
        _make_tables(engine, shown)
    except DatabaseError as error:
        raise StartError(f"database {shown} cannot be used: {_cause(error)}") from error
    return Database(engine)


def _make_engine(url: URL, shown: str) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            if url.database and url.database != ":memory:":
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            # check_same_thread: the tables are made in this thread, all later work runs in the worker.
            engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False})
            event.listen(engine, "connect", _set_up_sqlite)
            return engine
        # One worker needs one connection; pre-ping, because a server closes connections that were idle for long.
        return create_engine(url, pool_pre_ping=True, pool_size=1, max_overflow=1)
    except (ArgumentError, NoSuchModuleError) as error:
        raise StartError(f"database_url {shown}: {error}") from error
    except ImportError as error:
        raise StartError(f"database_url {shown}: the driver {error.name!r} is not installed") from error
    except OSError as error:
        raise StartError(f"database {shown}: cannot make its folder: {error.strerror or error}") from error


def _make_tables(engine: Engine, shown: str) -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        found = session.scalar(select(SchemaRow.version))
        if found is None:
            session.add(SchemaRow(version=SCHEMA_VERSION))
        elif found != SCHEMA_VERSION:
            raise StartError(
                f"database {shown} was made by another version of otabench (tables {found}, needed "
                f"{SCHEMA_VERSION}): use another database_url"
            )


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """Switch foreign keys on, and the write-ahead log if the file system can share memory for it."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        # The pragma succeeds anywhere; on a file system without shared memory, the first read fails.
        cursor.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        cursor.execute("PRAGMA journal_mode=DELETE")
    # NORMAL: a commit survives a killed process. A power cut may cost the last commits, which a bench can afford.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _cause(error: DatabaseError | InterfaceError) -> str:
    return str(error.orig).strip() or str(error)
