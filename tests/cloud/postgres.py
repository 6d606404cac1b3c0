"""A PostgreSQL server of the tests, with a new database for each test. ``setup/packages.sh test`` installs the programs."""

from __future__ import annotations

import itertools

from sqlalchemy import create_engine, text

from otabench.bench.fleet import postgresql

_numbers = itertools.count(1)


class PostgreSQL(postgresql.PostgreSQL):
    """One server. ``stop`` and ``start`` keep its data."""

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"cloud{next(_numbers)}"
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name)
