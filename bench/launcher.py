"""Brings a bench up, keeps it, and takes it down again: ``with Bench(options) as bench``.

Decides the order in which things start and end, and that nothing outlives the bench. What each process is told is
``bench.process_setup``'s, how it is started and stopped ``bench.processes``'.

Order: folder, keys, firmware; broker and captures beside them; then cloud, ECUs and gateway at once; then the vehicle is
registered and faults are set. Captures see the first frame and the last. A process that ends though nobody asked it to is
an error, named with its last line, wherever the bench waits for something.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from bench import environment, frame_bits, pacing, ports, process_setup, run_folder, topology
from bench.control_port import ControlPort
from bench.errors import EndpointError, ProcessFailed, WaitTimeout, WrongUsage
from bench.firmware import FirmwareFile
from bench.hmi_client import HmiClient
from bench.job_watch import JobView, JobWatch
from bench.options import BenchOptions, Transfer
from bench.pacing import Pacing
from bench.process_setup import BROKER, CLOUD_ARTIFACTS, CLOUD_CONTROL, GATEWAY, Ports, ProcessSetup
from bench.processes import Process, ProcessSpec, stop_all, wait_ready
from bench.run_folder import RunFolder
from bench.topology import Topology
from proto.job_states import FINAL_STATES, JobState

if TYPE_CHECKING:
    from bench.operator_client import OperatorClient

_KEYS_TIMEOUT_S: Final = 60.0
_WAIT_INTERVAL_S: Final = 0.05
_CONTROL_PLANE_READY_S: Final = 20.0


@dataclass(frozen=True)
class CampaignHandle:
    """A campaign made on this bench; one vehicle, so one job."""

    campaign_id: str
    job_id: str


class Bench:
    """A running bench. Enter it to bring it up; leaving it stops everything, whatever happened.

    Args:
        options: what to bring up.
        say: told what is being done, one line each.

    Attributes:
        topology, folder, setup, firmware, pacings: of this run, once it is up. ``firmware[ecu][version]``.
    """

    def __init__(self, options: BenchOptions | None = None, *, say: Callable[[str], None] = lambda _: None) -> None:
        self.options = options or BenchOptions()
        self.topology: Topology = self.options.topology or topology.load(self.options.bench_file)
        self.kernel_can = True
        self.pacings: dict[str, Pacing] = {}
        self.firmware: dict[str, dict[str, FirmwareFile]] = {}
        self.folder: RunFolder
        self.setup: ProcessSetup
        self.campaign: CampaignHandle | None = None
        self._say = say
        self._processes: dict[str, Process] = {}
        self._specs: dict[str, Callable[[], ProcessSpec]] = {}
        self._operator: OperatorClient | None = None
        self._watch: JobWatch | None = None

    def __enter__(self) -> Bench:
        try:
            self._bring_up()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # Up and down.

    def _bring_up(self) -> None:
        options = self.options
        for fault in options.faults:
            if fault.ecu not in self.topology.simulated():
                raise WrongUsage(
                    f"fault {fault.kind}: there is no simulated ECU {fault.ecu!r}; known: {', '.join(self.topology.simulated())}"
                )
        self.topology, self.kernel_can = environment.usable_topology(
            self.topology, kernel_can=options.kernel_can, say=self._say
        )
        if options.hmi_port:
            ports.require_free(
                options.hmi_port, purpose="the HMI", remedy="choose another: `make up HMI_PORT=8081` or --hmi-port 8081"
            )
        self.folder = run_folder.create(options.runs_dir)
        keys_dir = options.keys_dir.resolve() if options.keys_dir else self.folder.keys
        grpc, artifacts, mqtt, hmi, *control = ports.free_ports(4 + len(self.topology.ecus))
        self.setup = ProcessSetup(
            topology=self.topology,
            options=options,
            folder=self.folder,
            keys_dir=keys_dir,
            ports=Ports(
                grpc=grpc,
                artifacts=artifacts,
                mqtt=mqtt,
                hmi=options.hmi_port or hmi,
                control=dict(zip(self.topology.simulated(), control, strict=False)),
            ),
        )
        self._watch = JobWatch(self.folder.trace)
        self._start_early()
        if options.keys_dir is None:
            self._say("keys: director, images, TLS, ECU secrets")
            make_keys(keys_dir, self.topology, log=self.folder.log("keys"))
        self._say(f"firmware: {', '.join(options.versions)} for {', '.join(self.topology.ecus)}")
        self._make_firmware(keys_dir)
        self._pace()
        self._start_late()
        for fault in options.faults:
            self._say(f"fault: {fault.ecu} {fault.kind}")
            self.ecu(fault.ecu).fault(fault.kind, **fault.parameters)
        self._write_bench_json()

    def _start_early(self) -> None:
        """What needs neither keys nor firmware."""
        self._specs[BROKER] = self.setup.broker
        if not self.setup.embedded_broker:
            self._start_unless_absent([BROKER])
        if self.options.capture:
            for bus in self.topology.buses:
                self._specs[process_setup.capture_process(bus)] = partial(self.setup.capture, bus)
            self._start_unless_absent([process_setup.capture_process(bus) for bus in self.topology.buses])

    def _make_firmware(self, keys_dir: Path) -> None:
        from bench import firmware  # imgtool takes its time to import; the processes above start meanwhile

        self.firmware = firmware.build(
            self.topology,
            keys_dir=keys_dir,
            out_dir=self.folder.firmware,
            versions=self.options.versions,
            size_bytes=self.options.image_size_bytes,
        )

    def _pace(self) -> None:
        for name, bus in self.topology.buses.items():
            on_bus = [ecu for ecu, entry in self.topology.ecus.items() if entry.bus == name]
            newest = [self.firmware[ecu][self.options.versions[-1]].path.read_bytes() for ecu in on_bus]
            if not newest:
                continue
            mean_bits = pacing.mean_frame_bits(bus, self.topology.ecus[on_bus[0]].request_id, newest)
            if not self.options.pace:
                pacing.remove(bus)
                self.pacings[name] = Pacing(False, bus.bitrate, mean_bits, 0, "not asked for")
                continue
            done = self.pacings[name] = pacing.apply(bus, mean_bits=mean_bits)
            self._say(
                f"bus {name}: {bus.channel} paced to {bus.bitrate // 1000} kbit/s"
                if done.applied
                else f"bus {name}: not paced: {done.reason}"
            )

    def _start_late(self) -> None:
        self._specs[CLOUD_CONTROL] = self.setup.cloud_control
        self._specs[CLOUD_ARTIFACTS] = self.setup.cloud_artifacts
        factory = self.options.versions[0]
        ecus = []
        for name in self.topology.simulated():
            ecus.append(process_setup.ecu_process(name))
            self._specs[ecus[-1]] = partial(self.setup.ecu, name, self.firmware[name][factory])
        self._specs[GATEWAY] = self._gateway_spec(stop_before=self.options.gateway_stop_before)
        started = self._start_unless_absent([BROKER, CLOUD_CONTROL, *ecus, CLOUD_ARTIFACTS])
        self._say(f"starting: {', '.join([*started, *({GATEWAY} - self.options.absent)]) or 'nothing'}")
        if CLOUD_CONTROL in self._processes:  # before the gateway asks for it for the first time
            wait_ready(
                [self._processes[CLOUD_CONTROL]], timeout_s=self.options.ready_timeout_s, watch=self.check_processes
            )
            self.register_vehicle()
        self._start_unless_absent([GATEWAY])
        wait_ready(list(self._processes.values()), timeout_s=self.options.ready_timeout_s)
        if self.options.gateway_stop_before and GATEWAY in self._processes:
            self._processes[GATEWAY].expected_to_run = False  # it ends itself

    def _start_unless_absent(self, names: Iterable[str]) -> list[str]:
        started = []
        for name in names:
            if name not in self.options.absent and name not in self._processes:
                self._start(name)
                started.append(name)
        return started

    def _start(self, name: str) -> Process:
        process = self._processes[name] = Process(self._specs[name]())
        process.start()
        return process

    def stop(self) -> None:
        """Stops everything: gateway, then ECUs, cloud and broker, then the captures. May be called twice."""
        if self._operator is not None:
            self._operator.close()
            self._operator = None
        captures = [process for name, process in self._processes.items() if name.startswith("can-")]
        gateway = [process for name, process in self._processes.items() if name == GATEWAY]
        others = [process for process in self._processes.values() if process not in (*captures, *gateway)]
        try:
            stop_all(gateway)
            stop_all(others)
        finally:
            stop_all(captures)
            for name, done in self.pacings.items():
                if done.applied:
                    pacing.remove(self.topology.buses[name])
        self._processes.clear()

    def stop_captures(self) -> None:
        """Ends the captures, so that their files are whole; the rest goes on."""
        stop_all([process for name, process in self._processes.items() if name.startswith("can-")])

    # Processes, by name: broker, cloud-control, cloud-artifacts, gateway, ecu-<name>, can-<bus>.

    @property
    def process_names(self) -> tuple[str, ...]:
        """All that this bench can run, started or not."""
        return tuple(self._specs)

    def process(self, name: str) -> Process:
        """A started process.

        Raises:
            WrongUsage: there is no such process, or it was not started.
        """
        if name not in self._processes:
            raise WrongUsage(f"no process {name!r} was started; this bench has: {', '.join(self._specs)}")
        return self._processes[name]

    def is_running(self, name: str) -> bool:
        """Whether that process was started and has not ended."""
        return name in self._processes and self._processes[name].running

    def kill(self, name: str) -> None:
        """SIGKILL: what a crash does."""
        self.process(name).kill()

    def stop_process(self, name: str) -> None:
        """SIGTERM, and SIGKILL if that is not heeded."""
        self.process(name).stop()

    def start_process(self, name: str, *, timeout_s: float = 30.0, stop_before: str = "") -> None:
        """Starts a process that is absent or was stopped, and waits until it is ready.

        Args:
            name: see above.
            timeout_s: until it is ready.
            stop_before: for the gateway: see ``BenchOptions.gateway_stop_before``.

        Raises:
            ProcessFailed: it does not come up.
            WrongUsage: there is no such process, or it runs.
        """
        if name not in self._specs:
            raise WrongUsage(f"there is no process {name!r}; this bench has: {', '.join(self._specs)}")
        if name in self._processes and self._processes[name].running:
            raise WrongUsage(f"{name} runs already; stop it first")
        if name == GATEWAY:
            self._specs[name] = self._gateway_spec(stop_before=stop_before)
        process = self._start(name)
        wait_ready([process], timeout_s=timeout_s)
        if stop_before:
            process.expected_to_run = False
        self._write_bench_json()

    def restart(self, name: str, *, timeout_s: float = 30.0, stop_before: str = "") -> None:
        """Stops a process, if it runs, and starts it again."""
        if name in self._processes:
            self.stop_process(name)
        self.start_process(name, timeout_s=timeout_s, stop_before=stop_before)

    def wait_exit(self, name: str, *, timeout_s: float = 30.0) -> int:
        """Waits until a process ends by itself; its exit status (negative: the signal).

        Raises:
            WaitTimeout: it goes on.
        """
        process = self.process(name)
        if not process.wait(timeout_s):
            raise WaitTimeout(f"{name} still runs after {timeout_s:.0f} s; see {process.spec.log}")
        process.expected_to_run = False
        status = process.exit_status
        assert status is not None
        return status

    def check_processes(self) -> None:
        """Raises for the first process that ended though nobody asked it to.

        Raises:
            ProcessFailed: with its name and last line.
        """
        for process in self._processes.values():
            death = process.death()
            if death is not None:
                raise death

    # What the bench speaks with.

    @property
    def operator(self) -> OperatorClient:
        """The operator's connection to the cloud."""
        if self._operator is None:
            from bench.operator_client import OperatorClient

            self._operator = OperatorClient(f"{ports.LOOPBACK}:{self.setup.ports.grpc}", self.setup.tls("operator"))
        return self._operator

    @property
    def hmi(self) -> HmiClient:
        """The gateway's HMI."""
        return HmiClient(self.setup.ports.hmi)

    def ecu(self, name: str) -> ControlPort:
        """The control port of a simulated ECU.

        Raises:
            WrongUsage: there is no such simulated ECU.
        """
        port = self.setup.ports.control.get(name)
        if port is None:
            raise WrongUsage(f"there is no simulated ECU {name!r}; known: {', '.join(self.setup.ports.control)}")
        return ControlPort(name, port)

    def ecu_states(self) -> dict[str, dict[str, Any]]:
        """The control port's state of every simulated ECU that answers."""
        states = {}
        for name in self.topology.simulated():
            try:
                states[name] = self.ecu(name).state()
            except EndpointError:
                continue
        return states

    # Campaigns and jobs.

    def start_campaign(
        self,
        *,
        version: str | None = None,
        name: str = "Bench campaign",
        release_notes: str = "Made by the bench.",
        images: Mapping[str, bytes] | None = None,
        transfer: Transfer | None = None,
        manifest_lifetime_s: float = 0.0,
        approval_timeout_s: float = 0.0,
        ecus: Collection[str] | None = None,
    ) -> CampaignHandle:
        """Makes a campaign for this vehicle.

        Args:
            version: of the firmware made with the bench; None: the newest.
            name, release_notes: shown to the driver.
            images: ECU name to MCUboot image, instead of the bench's own.
            transfer: None: the options'.
            manifest_lifetime_s, approval_timeout_s: see ``ota.proto``.
            ecus: only these; None: all.

        Raises:
            EndpointError: the cloud does not answer or refuses.
        """
        from bench.operator_client import CampaignImage

        policy = transfer or self.options.transfer
        wanted = version or self.options.versions[-1]
        chosen = [ecu for ecu in self.topology.ecus if ecus is None or ecu in ecus]
        campaign = self.operator.create_campaign(
            name=name,
            release_notes=release_notes,
            vins=[self.topology.vehicle.vin],
            images=[
                CampaignImage(
                    hardware_id=self.topology.ecus[ecu].hardware_id,
                    image=(images or {}).get(ecu) or self.firmware[ecu][wanted].path.read_bytes(),
                    base_image=b"" if policy is Transfer.FULL else self._running_image(ecu),
                )
                for ecu in chosen
            ],
            transfer=policy,
            manifest_lifetime_s=manifest_lifetime_s,
            approval_timeout_s=approval_timeout_s,
        )
        self.campaign = CampaignHandle(campaign.campaign_id, campaign.jobs[0].job_id)
        self._write_bench_json()
        return self.campaign

    def job(self) -> JobView | None:
        """The job whose state changed last, as the gateway told it; None before the first."""
        assert self._watch is not None
        self._watch.update()
        return self._watch.latest

    def wait_for_job(
        self, states: JobState | str | Collection[JobState | str], *, timeout_s: float = 60.0, job_id: str | None = None
    ) -> JobView:
        """Waits until a job is, or has been, in one of the states.

        Args:
            states: one or several.
            timeout_s: until then.
            job_id: None: the last campaign's job.

        Raises:
            WaitTimeout: it does not come there, or it ended elsewhere.
            ProcessFailed: a process died meanwhile.
        """
        wanted = {JobState(states)} if isinstance(states, str) else {JobState(state) for state in states}
        wanted_id = job_id or (self.campaign.job_id if self.campaign else None)
        names = ", ".join(sorted(wanted))
        deadline = time.monotonic() + timeout_s
        assert self._watch is not None
        while True:
            self._watch.update()
            job = self._watch.jobs.get(wanted_id) if wanted_id else self._watch.latest
            if job is not None and not wanted.isdisjoint(job.history):
                return job
            self.check_processes()
            at = f"is {job.state} ({job.reason or 'no reason given'})" if job else "is not known to the gateway"
            if job is not None and job.ended:
                raise WaitTimeout(f"job {wanted_id} {at}: it cannot come to {names} any more; see {self.folder.trace}")
            if time.monotonic() > deadline:
                raise WaitTimeout(f"job {wanted_id} {at} after {timeout_s:.0f} s, not {names}; see {self.folder.trace}")
            time.sleep(_WAIT_INTERVAL_S)

    def wait_for_end(self, *, timeout_s: float = 120.0) -> JobView:
        """Waits until the last campaign's job has ended, wherever."""
        return self.wait_for_job(FINAL_STATES, timeout_s=timeout_s)

    def decide(self, decision: str = "install", *, job_id: str | None = None) -> None:
        """Answers in the driver's place, through the HMI's API.

        Raises:
            EndpointError: the HMI does not answer or refuses.
        """
        chosen = job_id or (self.campaign.job_id if self.campaign else None) or self.hmi.state().get("job_id")
        self.hmi.decide(decision, job_id=str(chosen))

    def update(self, *, timeout_s: float = 120.0, **campaign: Any) -> JobView:
        """A whole update: campaign, consent, end. Takes the arguments of ``start_campaign``."""
        self.start_campaign(**campaign)
        self.wait_for_job(JobState.WAITING_FOR_APPROVAL, timeout_s=timeout_s)
        self.decide()
        return self.wait_for_end(timeout_s=timeout_s)

    # Details.

    def _running_image(self, ecu: str) -> bytes:
        """The image that an ECU runs now; what it was delivered with, where it cannot be asked."""
        made = self.firmware[ecu]
        running = self.options.versions[0]
        if ecu in self.setup.ports.control:
            with contextlib.suppress(EndpointError):  # it is off: the cloud may hold its image already
                state = self.ecu(ecu).state()
                running = str(state["slots"][state["active_slot"]]["version"])
        return made[running].path.read_bytes() if running in made else b""

    def register_vehicle(self) -> None:
        """Makes the vehicle known to the cloud; done at start where the control plane is there."""
        deadline = time.monotonic() + _CONTROL_PLANE_READY_S
        while not self.operator.is_serving():
            self.check_processes()
            if time.monotonic() > deadline:
                raise self.process(CLOUD_CONTROL).failure("listens, but does not say that it serves")
            time.sleep(_WAIT_INTERVAL_S)
        self.operator.register_vehicle(
            self.topology.vehicle.vin,
            [(name, self.topology.serial_of(name), ecu.hardware_id) for name, ecu in self.topology.ecus.items()],
        )

    def _gateway_spec(self, *, stop_before: str) -> Callable[[], ProcessSpec]:
        limits = [
            frame_bits.payload_limit_bytes_per_s(
                done.bitrate,
                done.mean_frame_bits,
                payload_bytes=frame_bits.consecutive_payload(fd=self.topology.buses[name].fd),
            )
            for name, done in self.pacings.items()
        ]
        return partial(self.setup.gateway, stop_before=stop_before, line_payload_bytes_per_s=min(limits))

    def _write_bench_json(self) -> None:
        content = {
            "pid": os.getpid(),
            "started_at": time.time(),
            "kernel_can": self.kernel_can,
            **self.setup.endpoints(),
            "pacing": {name: asdict(done) for name, done in self.pacings.items()},
            "firmware": {
                ecu: {version: str(file.path) for version, file in made.items()} for ecu, made in self.firmware.items()
            },
            "processes": {
                name: {"pid": process.pid, "log": str(process.spec.log)} for name, process in self._processes.items()
            },
            "campaign": asdict(self.campaign) if self.campaign else None,
        }
        fresh = self.folder.bench_json.with_suffix(".new")
        fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
        fresh.replace(self.folder.bench_json)


def make_keys(keys_dir: Path, topology: Topology, *, log: Path) -> None:
    """Makes the bench's keys by ``python -m cloud keys init``.

    Raises:
        ProcessFailed: that went wrong; the message quotes it.
    """
    argv = [*process_setup.PYTHON, "cloud", "keys", "init", str(keys_dir), "--vin", topology.vehicle.vin]
    for name in topology.ecus:
        argv += ["--ecu", name]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_KEYS_TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProcessFailed(
            f"keys: making them took more than {_KEYS_TIMEOUT_S:.0f} s; is the machine overloaded?", process="keys"
        ) from error
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode != 0:
        words = " ".join((done.stderr or done.stdout).split()) or f"status {done.returncode}"
        raise ProcessFailed(f"keys: {keys_dir} could not be made: {words}", process="keys", log=log)
