"""Measure the control plane and the bare server: each in a process of its own, with the load in further ones."""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from otabench.cloud.trust.keys import init_keys
from otabench.proto import ota_pb2
from tests.benchmarks.cloud import fleet
from tests.benchmarks.cloud.fleet import FleetDatabase
from tests.benchmarks.cloud.load import Load, Taken
from tests.cloud.bench import ENGINE, Cloud, ImageMaker, free_port

CHECK_IN: Final = "/ota.v1.ControlPlane/CheckIn"
UPDATE: Final = "/ota.v1.ControlPlane/UpdateStatus"
WATCH: Final = "/ota.v1.Operator/WatchCampaign"
WATCHERS: Final = 3
_CALLERS: Final = 100
_ROUNDS: Final = 3
_WAIT_S: Final = 600.0
_POLL_S: Final = 0.2
Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What to measure: the number of vehicles, of those that are woken at once, and the seconds of each rate."""

    vehicles: int
    woken: int
    seconds: float


@dataclass(frozen=True)
class Rate:
    """One call's rate of the control plane and of the bare server, measured one after the other.

    Attributes:
        line: what was called.
        database: "SQLite" or "PostgreSQL".
        ours, bare: what the load measured.
        our_cpu_s, bare_cpu_s: processor time of the server's process meanwhile.
        goal: the share of the bare server's rate to reach.
        share: the median of our rates by the bare server's, of several rounds; all other fields are of the round with the median rate.
    """

    line: str
    database: str
    ours: Taken
    bare: Taken
    our_cpu_s: float
    bare_cpu_s: float
    goal: float
    share: float


@dataclass(frozen=True)
class _Side:
    """One measurement of one server, and the processor time of its process before and after."""

    taken: Taken
    before_s: float
    after_s: float

    @property
    def cpu_s(self) -> float:
        return self.after_s - self.before_s


@dataclass(frozen=True)
class Creation:
    """A campaign of many vehicles. ``check_ins``: those of other vehicles meanwhile, whose longest is the stall."""

    database: str
    vehicles: int
    answer_s: float
    done_s: float
    check_ins: Taken


@dataclass(frozen=True)
class Wake:
    """Vehicles that connect and check in at the same moment, and are told their job."""

    database: str
    vehicles: int
    taken: Taken


@dataclass(frozen=True)
class Figures:
    """Everything of one run."""

    rates: list[Rate]
    creations: list[Creation]
    wakes: list[Wake]


class Bench:
    """Keys, vehicles and the two servers, on one database."""

    def __init__(self, folder: Path, *, database_url: str, options: Options, say: Say) -> None:
        self._folder, self._options, self._say = folder, options, say
        self.database_name = "SQLite" if database_url.startswith("sqlite") else "PostgreSQL"
        self.vins = [f"FLEET{number:06d}" for number in range(max(options.vehicles, options.woken) + _CALLERS)]
        self._callers = self.vins[:_CALLERS]
        self._keys = folder / "keys"
        self._cloud = Cloud(folder / "cloud", self._keys, tls=True)
        # A fleet's cloud writes no trace.
        self._cloud.config.update(database_url=database_url, trace=None)
        self._bare_port = free_port()
        self._bare: subprocess.Popen[str] | None = None
        self._database_url = database_url

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make keys and vehicles, and run both servers."""
        with_certificate = self.vins[: max(_CALLERS, self._options.woken)]
        init_keys(self._keys, vins=with_certificate, ecus=["engine", "adas"])
        self._cloud.tls, self._cloud.config["tls"] = True, self._cloud.tls_files("cloud")
        self.fleet = FleetDatabase(self._database_url)
        try:
            if self.fleet.count_vehicles():
                raise ValueError(f"the database of {self.database_name} has vehicles already: name an empty one")
            self.fleet.register(self.vins)
            command = [
                sys.executable,
                "-m",
                "otabench.bench.fleet.bare",
                str(self._bare_port),
                str(self._keys / "tls"),
            ]
            with self._cloud, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as self._bare:
                try:
                    self._cloud.start()
                    assert self._bare.stdout is not None
                    self._bare.stdout.readline()
                    yield
                finally:
                    self._bare.kill()
        finally:
            self.fleet.close()

    def rates(self) -> Iterator[Rate]:
        """Measure all rates."""
        self._say(f"{self.database_name}: CheckIn, nothing to do")
        idle = {f"vehicle-{vin}": [fleet.check_in(vin).hex()] for vin in self._callers}
        yield self._rate("CheckIn, nothing to do", CHECK_IN, idle, goal=0.5 if self.database_name == "SQLite" else 0.35)
        self._say(f"{self.database_name}: CheckIn, a job waits")
        campaign = self._create(self._callers)
        self._wait_for_manifests(campaign.campaign_id, len(self._callers))
        yield self._rate("CheckIn, a job waits", CHECK_IN, idle, goal=0.3)
        self.fleet.remove_jobs()
        jobs = self.vins[: self._options.vehicles]
        self.fleet.add_jobs(jobs, "DOWNLOADING")
        reports = {f"vehicle-{vin}": [fleet.progress(vin, kib=kib).hex() for kib in range(16)] for vin in self._callers}
        size = f"{self._options.vehicles:,} jobs"
        self._say(f"{self.database_name}: UpdateStatus, {size}")
        yield self._rate(f"UpdateStatus, {size}", UPDATE, reports, goal=0.4)
        self._say(f"{self.database_name}: UpdateStatus, {size}, {WATCHERS} watchers")
        with self._watching():
            yield self._rate(f"UpdateStatus, {size}, {WATCHERS} watchers", UPDATE, reports, goal=0.4)
        self.fleet.remove_jobs()
        self._say(f"{self.database_name}: UpdateStatus, transitions")
        self.fleet.add_jobs(self._callers, "CREATED")
        moves = {f"vehicle-{vin}": [each.hex() for each in fleet.transitions(vin)] for vin in self._callers}
        yield self._rate("UpdateStatus, transitions", UPDATE, moves, goal=0.4, at_once=True)
        if self.fleet.states() != {"VERIFYING"}:
            raise ValueError(f"jobs are lost: their states are {self.fleet.states()}")
        self.fleet.remove_jobs()

    def creation(self) -> Creation:
        """Create a campaign for all vehicles but the callers, which check in meanwhile."""
        vins = self.vins[_CALLERS : _CALLERS + self._options.vehicles]
        self._say(f"{self.database_name}: CreateCampaign, {len(vins):,} vehicles")
        probing = Load(
            port=self._cloud.grpc_port,
            tls=str(self._keys / "tls"),
            method=CHECK_IN,
            callers={f"vehicle-{vin}": [fleet.check_in(vin).hex()] for vin in self._callers},
            at_a_time=2,
            pause_s=0.01,
            # The end of its input ends it.
            seconds=_WAIT_S,
        )
        done: dict[str, float] = {}

        def create() -> None:
            began = time.monotonic()
            campaign = self._create(vins)
            done["answer_s"] = time.monotonic() - began
            self._wait_for_manifests(campaign.campaign_id, len(vins))
            done["done_s"] = time.monotonic() - began

        taken = _carry_out_while(probing, create)
        self.fleet.remove_jobs()
        return Creation(self.database_name, len(vins), done["answer_s"], done["done_s"], taken)

    def wake(self) -> Wake:
        """Let vehicles with a waiting job connect and check in at once."""
        vins = self.vins[: self._options.woken]
        self._say(f"{self.database_name}: {len(vins):,} vehicles are woken at once")
        campaign = self._create(vins)
        self._wait_for_manifests(campaign.campaign_id, len(vins))
        callers = {f"vehicle-{vin}": [fleet.check_in(vin).hex()] for vin in vins}
        load = Load(
            port=self._cloud.grpc_port, tls=str(self._keys / "tls"), method=CHECK_IN, callers=callers, seconds=0
        )
        taken = _carry_out(load)
        self.fleet.remove_jobs()
        return Wake(self.database_name, len(vins), taken)

    def _rate(
        self, line: str, method: str, callers: dict[str, list[str]], *, goal: float, at_once: bool = False
    ) -> Rate:
        assert self._bare is not None
        assert self._cloud.process is not None
        tls, seconds = str(self._keys / "tls"), 0.0 if at_once else self._options.seconds
        sides: list[list[_Side]] = [[], []]
        # In turn, so that other work on the machine meets both.
        for _ in range(1 if at_once else _ROUNDS):
            for side, port, process in (
                (sides[0], self._bare_port, self._bare),
                (sides[1], self._cloud.grpc_port, self._cloud.process),
            ):
                before_s = _cpu_s(process.pid)
                load = Load(port=port, tls=tls, method=method, callers=callers, seconds=seconds)
                side.append(_Side(_carry_out(load), before_s, _cpu_s(process.pid)))
        shares = [ours.taken.rate / bare.taken.rate for bare, ours in zip(*sides, strict=True)]
        bare, ours = (_median(side) for side in sides)
        return Rate(
            line=line,
            database=self.database_name,
            ours=ours.taken,
            bare=bare.taken,
            our_cpu_s=ours.cpu_s,
            bare_cpu_s=bare.cpu_s,
            goal=goal,
            share=statistics.median(shares),
        )

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Let operators watch the campaign, from a process of their own."""
        request = ota_pb2.GetCampaignRequest(campaign_id=fleet.CAMPAIGN).SerializeToString().hex()
        load = Load(
            port=self._cloud.grpc_port,
            tls=str(self._keys / "tls"),
            method=WATCH,
            callers={"operator": [request] * WATCHERS},
            seconds=_WAIT_S,
            watch=True,
            at_a_time=WATCHERS,
        )
        with _loading(load) as process:
            assert process.stderr is not None
            process.stderr.readline()
            # Each of them first receives the whole campaign.
            time.sleep(2.0)
            try:
                yield
            finally:
                process.kill()

    def _create(self, vins: Sequence[str]) -> ota_pb2.Campaign:
        with contextlib.redirect_stdout(io.StringIO()):  # imgtool prints what it does
            image = ImageMaker(self._keys / "image" / "signing.pem", self._folder)()
        request = ota_pb2.CreateCampaignRequest(
            name="benchmark",
            vins=vins,
            transfer=ota_pb2.TRANSFER_POLICY_FULL,
            images=[ota_pb2.CreateCampaignRequest.Image(hardware_id=ENGINE, image=image)],
        )
        self._cloud.publish(request)
        campaign = self._cloud.operator.CreateCampaign(request, timeout=_WAIT_S)
        assert isinstance(campaign, ota_pb2.Campaign)
        return campaign

    def _wait_for_manifests(self, campaign_id: str, number: int) -> None:
        until = time.monotonic() + _WAIT_S
        while self.fleet.count_manifests(campaign_id) < number:
            if time.monotonic() > until:
                raise TimeoutError(f"the manifests of {number} vehicles are not made after {_WAIT_S:.0f} s")
            time.sleep(_POLL_S)


def _loading(load: Load) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.cloud.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if load.watch else None,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(load)) + "\n")
    process.stdin.flush()
    return process


def _carry_out(load: Load) -> Taken:
    with _loading(load) as process:
        assert process.stdout is not None
        # Not communicate(): it closes stdin, which ends the load.
        output = process.stdout.read()
    if process.returncode:
        raise ValueError(f"the load process ended with {process.returncode}")
    return Taken(**json.loads(output))


def _carry_out_while(load: Load, work: Callable[[], None]) -> Taken:
    """Put the load on the server while ``work`` runs."""
    with _loading(load) as process:
        # Its warm-up, so that no figure has the connecting in it.
        time.sleep(3.0)
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        output, _ = process.communicate()
    return Taken(**json.loads(output))


def _median(side: Sequence[_Side]) -> _Side:
    return sorted(side, key=lambda each: each.taken.rate)[len(side) // 2]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
