"""PostgreSQL's notifications (LISTEN and NOTIFY): short texts from one process to all others on the same database.

    async with listening(database, "jobs") as texts:
        async for text in texts:
            ...
    await notify(database, "jobs", ["a text"])

Other databases have none (``Database.has_notifications``). A text is lost if nobody listens at that moment, or if the connection breaks,
so readers have to look into the tables as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from otabench.cloud.errors import NotReady
from otabench.cloud.store.database import Database

if TYPE_CHECKING:
    from psycopg import Notify

MAX_TEXT_BYTES: Final = 7999
"""PostgreSQL's limit in its default configuration (manual of NOTIFY)."""


@asynccontextmanager
async def listening(database: Database, channel: str) -> AsyncIterator[AsyncIterator[str]]:
    """Yield the texts that arrive while the block runs, on a connection of its own.

    Raises:
        NotReady: the database does not answer, also while the texts are read.
    """
    # Imported here: only a database of this kind needs the driver.
    from psycopg import AsyncConnection, Error, sql

    arguments, options = database.connect_arguments()
    try:
        connection = await AsyncConnection.connect(*arguments, **options, autocommit=True)
        async with connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            yield _texts(connection.notifies())
    except Error as error:
        raise NotReady(f"the database does not answer ({' '.join(str(error).split())}): try again") from error


async def _texts(notifies: AsyncIterator[Notify]) -> AsyncIterator[str]:
    async for notification in notifies:
        yield notification.payload


async def notify(database: Database, channel: str, texts: Sequence[str]) -> None:
    """Send texts to all that listen.

    Raises:
        NotReady: the database does not answer.
    """
    await database.run(lambda session: [session.execute(select(func.pg_notify(channel, text))) for text in texts])
