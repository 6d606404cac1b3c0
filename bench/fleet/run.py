"""The fleet bench: the phases of a run, and the disturbances of its last wave.

    figures = run(options, folder=folder, say=print)

Phases: register all vehicles; let each check in for the first time; let all check in at once (poll storm), at the cloud and at a bare
grpc.aio server; one campaign for each wave; during the last one kill a control plane, kill the broker and restart the database; wait
until the cloud has ended the jobs of vanished vehicles; compare.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from otabench.bench.clients.operator import OperatorClient
from otabench.bench.deadline import wait_until
from otabench.bench.errors import EndpointError
from otabench.bench.finding import fail
from otabench.bench.fleet import certificates
from otabench.bench.fleet.campaign import FleetOperator
from otabench.bench.fleet.figures import LOAD, FleetFigures, PhaseFigures
from otabench.bench.fleet.judgement import CloudJob, VehicleRecord, judge
from otabench.bench.fleet.load import Order, Result
from otabench.bench.fleet.loads import run_loads
from otabench.bench.fleet.measurements import merge, summarize
from otabench.bench.fleet.plan import Behaviour, Plan
from otabench.bench.fleet.postgresql import PostgreSQL
from otabench.bench.fleet.servers import BROKER, DATABASE, ServerOptions, Servers, replica_name
from otabench.bench.fleet.usage import Usage
from otabench.bench.launcher.key_folder import KeyFolder
from otabench.bench.launcher.keys import make_keys
from otabench.bench.ports import LOOPBACK
from otabench.bench.topology import bench_file
from otabench.proto.process_config import TlsConfig

START: Final = "start"
"""Instead of a database's URL: a PostgreSQL server of the run's own."""
_REGISTRARS: Final = 8
"""Operators that register vehicles at the same time: each may call 200 times a second."""
_FINISH_S: Final = 60.0
"""Beyond the vehicles' silence: the cloud looks for overdue jobs every ten seconds at most."""
_LOOK_S: Final = 0.5

Say = Callable[[str], None]


@dataclass(frozen=True)
class FleetOptions:
    """What to run.

    Attributes:
        plan: vehicles, waves, behaviours.
        replicas: how many control planes.
        database: SQLAlchemy's URL of an empty database; "start": a PostgreSQL server for this run; empty: SQLite.
        loads: how many load processes.
        at_a_time: open connections of each load process.
        silence_s: after which the cloud ends the job of a vehicle that does not report during its download.
        work_s: how long download and flashing take, each.
        sessions: how many vehicles of a wave listen to the broker.
        limit_s: of each phase.
        seed: of all jitter.
    """

    plan: Plan
    replicas: int = 1
    database: str = ""
    loads: int = 1
    at_a_time: int = 64
    silence_s: float = 30.0
    work_s: float = 0.5
    sessions: int = 200
    limit_s: float = 600.0
    seed: int = 0


@dataclass
class _Disturbance:
    """Something that happens once a share of the last wave's jobs has ended."""

    at: float
    name: str
    cause: Callable[[], None]


def run(options: FleetOptions, *, folder: Path, say: Say) -> FleetFigures:
    """Run all phases and return the figures. ``folder`` is empty; keys, logs and databases stay in it.

    Raises:
        BenchError: a process does not come up, or does not answer.
    """
    keys_dir = folder / "keys"
    say("keys and certificates")
    make_keys(keys_dir, bench_file.load(None), log=folder / "keys.log")
    postgresql = PostgreSQL(durable=True) if options.database == START else None
    try:
        if postgresql is not None:
            postgresql.start()
        url = postgresql.url("postgres") if postgresql else options.database or f"sqlite:///{folder}/cloud.db"
        server_options = ServerOptions(
            folder=folder,
            keys_dir=keys_dir,
            replicas=options.replicas,
            database_url=url,
            silence_s=options.silence_s,
            poll_interval_s=_poll_interval_s(options.plan),
        )
        with (
            Servers(server_options, postgresql=postgresql) as servers,
            OperatorClient(servers.targets[0], KeyFolder(keys_dir).tls("operator")) as client,
        ):
            operator = FleetOperator(client, keys_dir=keys_dir, folder=folder)
            return _Run(options, servers, operator, folder=folder, say=say).carry_out()
    finally:
        if postgresql is not None:
            postgresql.remove()


def _poll_interval_s(plan: Plan) -> float:
    # A hundred check-ins a second in all, so that waiting vehicles are not the whole load.
    return max(2.0, len(plan.vins) / 100)


class _Run:
    """One run on running servers."""

    def __init__(
        self, options: FleetOptions, servers: Servers, operator: FleetOperator, *, folder: Path, say: Say
    ) -> None:
        self._options, self._servers, self._operator = options, servers, operator
        self._folder, self._say = folder, say
        self._tls: TlsConfig = KeyFolder(folder / "keys").tls("operator")
        self._records: dict[str, VehicleRecord] = {}
        self._campaigns: dict[str, int] = {}
        is_sqlite = options.database == "" or options.database.startswith("sqlite")
        self._figures = FleetFigures(
            vehicles=len(options.plan.vins),
            database="SQLite" if is_sqlite else DATABASE,
            replicas=options.replicas,
            load_before=os.getloadavg()[0],
        )

    def carry_out(self) -> FleetFigures:
        """Run all phases and return the figures."""
        plan, tls = self._options.plan, self._folder / "keys" / "tls"
        self._operator.require_empty()
        self._operator.publish()
        pairs = certificates.issue(plan.vins, unit="vehicle", tls=tls)
        certificates.write(self._folder / "vehicles.json", pairs)
        registrars = certificates.issue([f"registrar-{n}" for n in range(_REGISTRARS)], unit="operator", tls=tls)
        certificates.write(self._folder / "registrars.json", registrars)
        plain = dict.fromkeys(plan.vins, Behaviour.PLAIN)
        bare = [f"{LOOPBACK}:{self._servers.bare_port}"]
        self._phase("register", "register", plain, pairs="registrars.json")
        self._phase("first check-in", "check_in", plain)
        self._phase("poll storm", "check_in", plain)
        self._phase("poll storm, bare server", "check_in", plain, targets=bare)
        for number, vins in enumerate(plan.waves, start=1):
            self._wave(number, vins, pairs, is_last=number == len(plan.waves))
        self._finish()
        return self._figures

    def _phase(
        self,
        name: str,
        phase: str,
        behaviours: Mapping[str, Behaviour],
        *,
        pairs: str = "vehicles.json",
        targets: Sequence[str] = (),
        listeners: Mapping[str, list[str]] | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> list[Result]:
        self._say(name)
        orders = self._orders(phase, behaviours, pairs=pairs, targets=targets, listeners=listeners or {})
        before = self._servers.usage()
        results = run_loads(orders, folder=self._folder, name=name.replace(" ", "-"), meanwhile=meanwhile)
        self._servers.check()
        measured = merge(result.measured for result in results)
        usage = _difference(self._servers.usage(), before)
        usage[LOAD] = sum((Usage(result.cpu_s, result.memory_bytes) for result in results), Usage())
        self._figures.phases.append(PhaseFigures(name, measured.seconds, summarize(measured), usage))
        if phase != "update":
            refused = [record for result in results for record in result.records if record.refusal]
            if refused:
                text = f"{len(refused)} vehicles failed; {refused[0].vin}: {refused[0].refusal}"
                self._figures.findings.append(fail(f"phase {name}", text))
        return results

    def _orders(
        self,
        phase: str,
        behaviours: Mapping[str, Behaviour],
        *,
        pairs: str,
        targets: Sequence[str],
        listeners: Mapping[str, list[str]],
    ) -> list[Order]:
        options = self._options
        shares = [list(behaviours)[number :: options.loads] for number in range(options.loads)]
        return [
            Order(
                phase=phase,
                targets=targets or self._servers.targets,
                authority=str(self._tls.ca),
                pairs=str(self._folder / pairs),
                behaviours={vin: str(behaviours[vin]) for vin in share},
                at_a_time=options.at_a_time,
                seconds=options.limit_s,
                work_s=options.work_s,
                # Those that were not woken: a hundred check-ins a second in all.
                poll_s=max(1.0, len(behaviours) / 100),
                mqtt_port=self._servers.mqtt_port,
                listeners={vin: listeners[vin] for vin in share if vin in listeners},
                seed=options.seed + number,
            )
            for number, share in enumerate(shares)
            if share
        ]

    def _wave(self, number: int, vins: Sequence[str], pairs: Mapping[str, certificates.Pair], *, is_last: bool) -> None:
        name = f"wave {number}, {len(vins)} vehicles"
        waiting = self._disturbances() if is_last else []
        campaign_id = ""

        def meanwhile() -> None:
            nonlocal campaign_id
            if not campaign_id:
                campaign_id = self._operator.create(name, vins)
                self._campaigns[campaign_id] = len(vins)
                return
            ended = self._operator.count_ended(campaign_id)
            if waiting and ended is not None and ended >= waiting[0].at * len(vins):
                self._disturb(waiting.pop(0), f"{ended} of {len(vins)} jobs had ended")

        behaviours = {vin: self._options.plan.behaviours[vin] for vin in vins}
        listeners = self._write_listeners(vins, pairs)
        for result in self._phase(name, "update", behaviours, listeners=listeners, meanwhile=meanwhile):
            self._records |= {record.vin: record for record in result.records}
        # A small wave may be over before.
        for each in waiting:
            self._disturb(each, "all vehicles had ended")

    def _disturbances(self) -> list[_Disturbance]:
        killed = replica_name(self._options.replicas - 1)
        found = [_Disturbance(0.2, f"{killed} killed", partial(self._servers.kill_and_restart, killed))]
        if self._servers.has_broker:
            found.append(_Disturbance(0.45, "broker killed", partial(self._servers.kill_and_restart, BROKER)))
        if self._servers.postgresql is not None:
            found.append(_Disturbance(0.7, "database restarted", self._servers.restart_database))
        return found

    def _disturb(self, disturbance: _Disturbance, when: str) -> None:
        self._say(f"{disturbance.name}: {when}")
        disturbance.cause()
        self._figures.events.append(f"{disturbance.name} when {when}")

    def _write_listeners(self, vins: Sequence[str], pairs: Mapping[str, certificates.Pair]) -> dict[str, list[str]]:
        if not self._servers.has_broker:
            return {}
        folder = self._folder / "listeners"
        folder.mkdir(mode=0o700, exist_ok=True)
        listeners = {}
        for vin in vins[: self._options.sessions]:
            files = [folder / f"{vin}.pem", folder / f"{vin}.key"]
            for path, text in zip(files, pairs[vin], strict=True):
                path.touch(mode=0o600)
                path.write_text(text)
            listeners[vin] = [str(path) for path in files]
        return listeners

    def _finish(self) -> None:
        """Wait until the cloud has ended all jobs, and compare."""
        self._say("finish")

        def have_all_ended() -> bool:
            return all(self._operator.count_ended(each) == jobs for each, jobs in self._campaigns.items())

        wait_until(have_all_ended, timeout_s=self._options.silence_s + _FINISH_S, interval_s=_LOOK_S)
        jobs: list[CloudJob] = []

        def are_listed() -> bool:
            try:
                jobs[:] = self._operator.jobs(list(self._campaigns))
            except EndpointError:
                return False
            return True

        wait_until(are_listed, timeout_s=_FINISH_S, interval_s=_LOOK_S)
        self._figures.findings.extend(judge(self._options.plan, self._records, jobs))


def _difference(after: Mapping[str, Usage], before: Mapping[str, Usage]) -> dict[str, Usage]:
    return {
        name: Usage(used.cpu_s - before.get(name, Usage()).cpu_s, used.memory_bytes) for name, used in after.items()
    }
