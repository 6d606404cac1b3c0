"""The servers of a run: the control planes, the broker, PostgreSQL if the bench starts it, and the bare server beside them.

They can be killed and restarted one by one. What a killed process has used is kept.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otabench.bench.errors import ProcessFailed
from otabench.bench.fleet.postgresql import PostgreSQL
from otabench.bench.fleet.usage import Usage, usage_of
from otabench.bench.launcher import readiness
from otabench.bench.launcher.key_folder import KeyFolder
from otabench.bench.launcher.process import Process, ProcessSpec, stop_all, wait_ready
from otabench.bench.launcher.specs import mosquitto
from otabench.bench.launcher.specs.cloud import find_mosquitto
from otabench.bench.ports import LOOPBACK, free_ports, is_listening
from otabench.proto import private_files
from otabench.proto.process_config import CloudConfig

# Not the launcher's way, which forks: its processes share memory, so that none could be charged with its own.
_PYTHON: Final = (sys.executable, "-m")
BROKER: Final = "broker"
BARE: Final = "bare grpc.aio"
DATABASE: Final = "PostgreSQL"


@dataclass(frozen=True)
class ServerOptions:
    """What the servers are.

    Attributes:
        folder: where everything is.
        keys_dir: the key folder.
        replicas: how many control planes.
        database_url: SQLAlchemy's URL.
        silence_s: after which a job ends whose vehicle does not report during its download.
        poll_interval_s: of the vehicles.
    """

    folder: Path
    keys_dir: Path
    replicas: int
    database_url: str
    silence_s: float
    poll_interval_s: float


class Servers:
    """The running servers. Use it as a context manager."""

    def __init__(self, options: ServerOptions, *, postgresql: PostgreSQL | None) -> None:
        self._options = options
        self.postgresql = postgresql
        ports = free_ports(options.replicas + 4)
        self.ports = ports[: options.replicas]
        self.mqtt_port, self.bare_port, self._artifact_port, _ = ports[options.replicas :]
        self.has_broker = find_mosquitto() is not None
        self._processes: dict[str, Process] = {}
        self._used: dict[str, Usage] = defaultdict(Usage)

    def __enter__(self) -> Servers:
        if self.has_broker:
            self._start(BROKER)
        # One after the other: the first one makes the tables.
        for number in range(self._options.replicas):
            self._start(replica_name(number))
        self._start(BARE)
        return self

    def __exit__(self, *_: object) -> None:
        stop_all(list(self._processes.values()))

    @property
    def targets(self) -> Sequence[str]:
        """host:port of each control plane."""
        return [f"{LOOPBACK}:{port}" for port in self.ports]

    def check(self) -> None:
        """Make sure that all processes run.

        Raises:
            ProcessFailed: one has ended.
        """
        for process in self._processes.values():
            process.check()

    def kill_and_restart(self, name: str) -> None:
        """Kill a process as a crash does, and start it again.

        Raises:
            ProcessFailed: it does not come up again.
        """
        process = self._processes[name]
        if process.pid is not None:
            self._used[name] += Usage(usage_of(process.pid).cpu_s)
        process.kill()
        self._start(name)

    def restart_database(self) -> None:
        """End PostgreSQL, so that all connections break, and start it again.

        Raises:
            ProcessFailed: it does not come up again.
        """
        assert self.postgresql is not None, "only a server of the bench's own can be restarted"
        if self.postgresql.pid is not None:
            self._used[DATABASE] += Usage(usage_of(self.postgresql.pid).cpu_s)
        self.postgresql.stop()
        self.postgresql.start()

    def usage(self) -> dict[str, Usage]:
        """Return what each process has used since its start, the time before a kill included."""
        pids = {name: process.pid for name, process in self._processes.items()}
        if self.postgresql is not None:
            pids[DATABASE] = self.postgresql.pid
        return {name: self._used[name] + usage_of(pid) for name, pid in pids.items() if pid is not None}

    def _start(self, name: str) -> None:
        process = Process(self._spec(name))
        self._processes[name] = process
        process.start()
        wait_ready([process], timeout_s=readiness.limit_s(1))

    def _spec(self, name: str) -> ProcessSpec:
        if name == BROKER:
            return self._broker()
        if name == BARE:
            argv = [*_PYTHON, "otabench.bench.fleet.bare", str(self.bare_port), str(self._options.keys_dir / "tls")]
            return self._listening(name, argv, port=self.bare_port)
        number = int(name.rpartition(" ")[2]) - 1
        argv = [*_PYTHON, "otabench.cloud", "control", "--config", str(self._write_config(number))]
        return self._listening(name, argv, port=self.ports[number])

    def _broker(self) -> ProcessSpec:
        program = find_mosquitto()
        if program is None:
            raise ProcessFailed("mosquitto is not installed", process=BROKER)
        config = mosquitto.write_config(
            self._options.folder / "broker", port=self.mqtt_port, tls=KeyFolder(self._options.keys_dir).tls("broker")
        )
        return self._listening(BROKER, [program, "-c", str(config)], port=self.mqtt_port)

    def _listening(self, name: str, argv: list[str], *, port: int) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            argv=argv,
            log=self._options.folder / "logs" / f"{name.replace(' ', '-')}.log",
            ready=lambda: is_listening(port),
            awaited=f"its port {port} accepts no connection",
        )

    def _write_config(self, number: int) -> Path:
        options = self._options
        config = CloudConfig(
            # Of its own: the audit log in it has one writer.
            state_dir=options.folder / f"control-{number + 1}",
            database_url=options.database_url,
            artifact_store=(options.folder / "artifacts").as_uri(),
            private_store=(options.folder / "private-artifacts").as_uri(),
            keys_dir=options.keys_dir,
            grpc_port=self.ports[number],
            tls=KeyFolder(options.keys_dir).tls("cloud"),
            artifact_port=self._artifact_port,
            artifact_base_url=f"http://{LOOPBACK}:{self._artifact_port}/artifacts/",
            mqtt_port=self.mqtt_port,
            mqtt_tls=KeyFolder(options.keys_dir).tls("events") if self.has_broker else None,
            poll_interval_s=options.poll_interval_s,
            job_timeouts_s={"DOWNLOADING": options.silence_s},
        )
        path = options.folder / f"control-{number + 1}.json"
        private_files.write(path, config.model_dump_json(indent=1))
        return path


def replica_name(number: int) -> str:
    """Return the name of a control plane, counted from 0, as figures show it."""
    return f"control plane {number + 1}"
