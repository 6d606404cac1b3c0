"""A PostgreSQL server of its own: Debian's programs, in a temporary folder, reached by a Unix socket.

    server = PostgreSQL(durable=True)
    server.start()
    server.url("postgres")  # "postgresql+psycopg://otabench@/postgres?host=/tmp/…"
    server.remove()

The server refuses to run as root, so root runs it as nobody.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from otabench.bench.deadline import wait_until
from otabench.bench.errors import ProcessFailed
from otabench.bench.pytest_plugin.capabilities import find_postgresql
from otabench.bench.setup_programs import command_of

_NAME: Final = "postgresql"
_START_S: Final = 30.0
# Tests are not afraid of a power cut.
_CARELESS: Final = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB")
_SETTINGS: Final = ("listen_addresses=", "max_connections=60")


class PostgreSQL:
    """One server. ``stop`` and ``start`` keep its data.

    Args:
        durable: with PostgreSQL's own defaults, for measurements. False: faster, and a power cut may destroy the data.

    Raises:
        ProcessFailed: the programs are not installed, or cannot make a database.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._settings = _SETTINGS if durable else (*_CARELESS, *_SETTINGS)
        programs = find_postgresql()
        if programs is None:
            raise ProcessFailed(
                f"PostgreSQL's server is not installed: {command_of('packages.sh')} test installs it", process=_NAME
            )
        self._programs = programs
        # Short, because a socket's path is limited to 107 bytes; and in a place that nobody's account may enter.
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
        if made.returncode:
            shutil.rmtree(self.folder)
            raise ProcessFailed(f"initdb ended with {made.returncode}: {made.stderr.strip()}", process=_NAME)

    @property
    def pid(self) -> int | None:
        """The process id of the running server."""
        return self._server.pid if self._server is not None else None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ProcessFailed: it does not answer.
        """
        settings = [word for each in self._settings for word in ("-c", each)]
        log = self.folder / "log"
        with log.open("ab") as output:
            self._server = subprocess.Popen(
                [*self._as_user, self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder, *settings],
                stdout=subprocess.DEVNULL,
                stderr=output,
                cwd=self.folder,
                # Ctrl-C ends the server after its clients.
                start_new_session=True,
            )
        if not wait_until(self._answers, timeout_s=_START_S):
            raise ProcessFailed(f"PostgreSQL does not answer within {_START_S:.0f} s", process=_NAME, log=log)

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

    def url(self, database: str) -> str:
        """Return SQLAlchemy's URL of a database."""
        return f"postgresql+psycopg://otabench@/{database}?host={self.folder}"

    def _answers(self) -> bool:
        ready = subprocess.run([self._programs / "pg_isready", "-q", "-h", self.folder], check=False)
        return ready.returncode == 0
