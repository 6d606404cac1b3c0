"""The database: one engine, one worker thread, one transaction a call.

Decides how work reaches the database: ``run`` takes a function of a session, runs it in the one worker thread inside one
transaction, and returns once it is committed, so that whatever is answered to a vehicle is on disk, and a process killed
at any moment leaves whole transactions. What is read and written is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from otabench.cloud.errors import NotReady, StartError
from otabench.cloud.store.schema import SCHEMA_VERSION, Base, SchemaRow

Result = TypeVar("Result")

_BUSY_TIMEOUT_S: Final = 5.0


class Database:
    """The cloud's state. Made by ``open_database``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database")

    async def run(self, work: Callable[[Session], Result]) -> Result:
        """Runs ``work`` in the worker thread, inside one transaction; an exception of ``work`` rolls it back.

        Raises:
            NotReady: the database does not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self.run_now, work)

    def run_now(self, work: Callable[[Session], Result]) -> Result:
        """As ``run``, in the calling thread."""
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                return work(session)
        except (OperationalError, InterfaceError) as error:
            raise NotReady(f"the database does not answer ({_cause(error)}): try again") from error

    def close(self) -> None:
        """Ends the worker and closes all connections."""
        self._worker.shutdown(wait=True)
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Connects, and makes the tables where they are absent.

    Args:
        url: an SQLAlchemy URL; a SQLite file is made with its folder.

    Raises:
        StartError: the URL is wrong, its driver is missing, the database is not reachable, or holds other tables.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:  # its message has the whole text, password and all
        raise StartError("database_url is not an SQLAlchemy URL, such as sqlite:///cloud.db") from error
    shown = parsed.render_as_string(hide_password=True)
    try:
        if parsed.get_backend_name() == "sqlite":
            if parsed.database and parsed.database != ":memory:":
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False})
            event.listen(engine, "connect", _set_up_sqlite)
        else:
            engine = create_engine(url, pool_pre_ping=True, pool_size=1, max_overflow=1)
    except (ArgumentError, NoSuchModuleError) as error:
        raise StartError(f"database_url {shown}: {error}") from error
    except ImportError as error:
        raise StartError(f"database_url {shown}: the driver {error.name!r} is not installed") from error
    except OSError as error:
        raise StartError(f"database {shown}: cannot make its folder: {error.strerror or error}") from error
    try:
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
    except DatabaseError as error:
        raise StartError(f"database {shown} cannot be used: {_cause(error)}") from error
    return Database(engine)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """Foreign keys on; write-ahead log where the file system can share memory for it, else SQLite's default journal."""
    import sqlite3

    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("SELECT count(*) FROM sqlite_master")
        cursor.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.OperationalError:
        cursor.execute("PRAGMA journal_mode=DELETE")
        cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _cause(error: DatabaseError | InterfaceError) -> str:
    return str(error.orig).strip() or str(error)
