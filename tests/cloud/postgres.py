"""A PostgreSQL server of the tests: Debian's programs, in a folder of its own, reached by a Unix socket.

The server refuses to run as root, so it runs as nobody where the tests run as root. ``setup/packages.sh test`` installs the programs.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from sqlalchemy import create_engine, text

from otabench.bench.pytest_plugin.capabilities import find_postgresql
from tests.waiting import eventually

_START_S = 30.0
# Tests are not afraid of a power cut.
_CARELESS = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB")
_SETTINGS = ("listen_addresses=", "max_connections=60")
_numbers = itertools.count(1)


class PostgreSQL:
    """One server. ``stop`` and ``start`` keep its data. ``durable``: with PostgreSQL's own defaults, for measurements."""

    def __init__(self, *, durable: bool = False) -> None:
        self._settings = _SETTINGS if durable else (*_CARELESS, *_SETTINGS)
        programs = find_postgresql()
        assert programs is not None, "the capability was checked before"
        self._programs = programs
        # Not below pytest's folder, which only its owner may enter; and short, because a socket's path is limited to 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="otabench-pg-"))
        # Not Popen's ``user``: with it Python forks, and a fork of a process that serves gRPC crashes now and then before the exec.
        self._as_user: tuple[str, ...] = ()
        if os.geteuid() == 0:
            self._as_user = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
            shutil.chown(self.folder, "nobody")
        self._server: subprocess.Popen[bytes] | None = None
        data = self.folder / "data"
        options = ["--no-sync", "--auth=trust", "--username=otabench", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(
            [*self._as_user, self._programs / "initdb", *options, "-D", data],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )
        assert made.returncode == 0, f"initdb ended with {made.returncode}: {made.stderr}"

    def start(self) -> None:
        settings = [word for each in self._settings for word in ("-c", each)]
        self._server = subprocess.Popen(
            [*self._as_user, self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder, *settings],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("ab"),
            cwd=self.folder,
        )
        eventually(self._answers, "PostgreSQL comes up", timeout_s=_START_S, interval_s=0.05)

    def stop(self) -> None:
        """End the server at once. All connections break."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(timeout=_START_S)
            self._server = None

    def remove(self) -> None:
        """End the server without a checkpoint, which a busy machine may take long for, and delete its data."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait()
            self._server = None
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"cloud{next(_numbers)}"
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://otabench@/{database}?host={self.folder}"

    def _answers(self) -> bool:
        ready = subprocess.run([self._programs / "pg_isready", "-q", "-h", self.folder], check=False)
        return ready.returncode == 0
