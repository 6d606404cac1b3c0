"""A running bench: ``with Bench.bring_up(options) as bench``.

A ``Bench`` is composed of ``processes``, ``ecus``, ``jobs`` and ``bus_ports``; what each of them can do is in the module of that
name in ``launcher``. ``bring_up`` constructs the whole object first and then starts its processes, in these steps:

1. Check what can be checked, take the lab's place, make the run's folder, choose keys and ports (``launcher.prepare``).
2. Start the recorders and the loads. They need neither keys nor firmware, so they come up while those are made, and the captures
   see the first frame.
3. Make keys and firmware.
4. Pace the buses.
5. Start the frame gates, then the broker, the cloud and the ECUs; identify the boards; register the vehicle; start the gateway.
6. Set the faults.

The boards are identified before the gateway starts, because a bus has one tester at a time. The vehicle is registered before its
gateway starts, so that the gateway's first request is about a vehicle that the cloud knows. If a step fails, everything that was
started is stopped. No process outlives the bench.

bench.json in the run's folder publishes where everything is, for commands in other terminals (``clients.running_bench``). It is
written once the bench is up, and again after a process was started or a campaign made.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final

from otabench.bench import ports
from otabench.bench.bus import frame_bits, pacing, rights, vcan
from otabench.bench.bus.pacing import Pacing
from otabench.bench.clients.hmi import HmiClient
from otabench.bench.deadline import Deadline
from otabench.bench.faults.frame_gate import far_channel
from otabench.bench.firmware.images import FirmwareFile
from otabench.bench.launcher import bench_json, boards, endpoints, keys, prepare, readiness, registration, run_end
from otabench.bench.launcher.boards import BoardFacts
from otabench.bench.launcher.bus_faults import BUS_FAULT_KINDS, BusPorts
from otabench.bench.launcher.ecus import Ecus
from otabench.bench.launcher.jobs import Jobs
from otabench.bench.launcher.labgrid import Place
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.launcher.phases import Phases
from otabench.bench.launcher.prepare import Say
from otabench.bench.launcher.processes import Processes
from otabench.bench.launcher.run_setup import RunSetup
from otabench.bench.launcher.specs import buses, cloud, names
from otabench.bench.launcher.specs.ecu import simulated_ecu
from otabench.bench.launcher.specs.gateway import gateway
from otabench.bench.launcher.specs.names import BROKER, CLOUD_ARTIFACTS, CLOUD_CONTROL, GATEWAY
from otabench.bench.run_mark import RunMark
from otabench.proto import private_files

if TYPE_CHECKING:
    from otabench.bench.clients.operator import OperatorClient

_POLL_INTERVAL_S: Final = 0.05
_BOARD_BOOTS_S: Final = 10.0
"""The time within which a board must answer after it was switched on."""


class Bench:
    """A bench that is up; leaving its ``with`` block stops everything. ``bring_up`` makes it.

    Args:
        setup: makes the specifications of the processes.
        kernel_can: the buses are SocketCAN, not udp_multicast.
        place: the lab's place that was taken for this bench; given back when it stops.

    Attributes:
        setup, options, topology, folder: what this run was made from, and its folder.
        kernel_can: see above.
        firmware: ``firmware[ecu][version]``.
        pacings: how each bus is paced, by name.
        phases: how long the steps of bringing it up took.
        processes: start, stop, kill and restart the processes.
        ecus: control ports, power and states.
        jobs: campaigns and their jobs.
        bus_ports: faults and loads of buses.
        hmi: the gateway's HMI.
    """

    def __init__(self, setup: RunSetup, *, kernel_can: bool, place: Place | None = None) -> None:
        self.setup = setup
        self.options = setup.options
        self.topology = setup.topology
        self.folder = setup.folder
        self.kernel_can = kernel_can
        self.phases = Phases()
        self._place = place
        self._mark = RunMark(self.folder.root, keep_keys=self.options.keep_keys)
        self.firmware: dict[str, dict[str, FirmwareFile]] = {}
        self.pacings: dict[str, Pacing] = {}
        self.processes = Processes(absent=self.options.absent, on_change=self.publish)
        self.ecus = Ecus(
            self.topology,
            control_ports=setup.ports.control,
            control_token=setup.secrets.control_token,
            boards=BoardFacts(self.folder.trace, self.topology.boards()),
        )
        self.bus_ports = BusPorts.of(bench_json.endpoints(setup))
        self.hmi = HmiClient(setup.ports.hmi, code=setup.secrets.pairing_code)
        self.jobs = Jobs(
            setup,
            firmware=self.firmware,
            processes=self.processes,
            ecus=self.ecus,
            operator=lambda: self.operator,
            hmi=self.hmi,
            on_change=self.publish,
        )
        self._operator: OperatorClient | None = None
        self._far_interfaces: list[str] = []

    @classmethod
    def bring_up(cls, options: BenchOptions | None = None, *, say: Say = lambda _: None) -> Bench:
        """Return a bench that is up.

        Args:
            options: what to bring up.
            say: receives one line for each thing that is done.

        Raises:
            BenchError: it does not come up; everything that was started is stopped.
        """
        chosen = options or BenchOptions()
        topology, kernel_can = prepare.check(chosen, say=say)
        place = prepare.take_place(topology, chosen, say=say)
        try:
            bench = cls(prepare.set_up(topology, chosen), kernel_can=kernel_can, place=place)
        except BaseException:
            if place is not None:
                place.release()
            raise
        try:
            bench._mark.make()
            with bench.phases.measure("recorders and loads started"):
                _start_recorders_and_loads(bench, say)
            with bench.phases.measure("keys and firmware"):
                _make_keys_and_firmware(bench, say)
            with bench.phases.measure("buses paced"):
                _pace(bench, say)
            with bench.phases.measure("cloud, ECUs and gateway up"):
                _start_gates(bench)
                _start_cloud_ecus_and_gateway(bench, say)
            _set_faults(bench, say)
            bench.publish()
        except BaseException:
            bench.stop()
            raise
        return bench

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def operator(self) -> OperatorClient:
        """The operator's connection to the cloud, made when it is first used: before that there may be no keys."""
        if self._operator is None:
            from otabench.bench.clients.operator import OperatorClient  # grpc is slow to import

            self._operator = OperatorClient(
                f"{ports.LOOPBACK}:{self.setup.ports.grpc}", self.setup.keys.tls("operator")
            )
        return self._operator

    def stop(self) -> None:
        """Stop everything: gateway, then ECUs, cloud and broker, then the captures. Then remove the run's keys. May be called twice."""
        if self._operator is not None:
            self._operator.close()
            self._operator = None
        try:
            self.processes.stop_in_order(GATEWAY)
        finally:
            for name, done in self.pacings.items():
                if done.applied:
                    pacing.remove(self.topology.buses[name])
            while self._far_interfaces:
                vcan.remove(self._far_interfaces.pop())
            # Also after a failed stop: private keys must not stay in a run's folder, which people attach to bug
            # reports.
            if not self.options.keep_keys:
                run_end.remove_secrets(self.folder)
            self._mark.remove()
            if self._place is not None:
                self._place.release()

    def make_far_interface(self, bus: str) -> None:
        """Make the interface behind a frame gate, which makes it itself where it has the right to; ``stop`` removes it.

        Raises:
            BenchError: it cannot be made.
        """
        name = far_channel(str(self.topology.buses[bus].channel))
        if vcan.ensure(name):
            self._far_interfaces.append(name)

    def channels(self) -> list[str]:
        """Return the SocketCAN interfaces of the buses."""
        return [str(bus.channel) for bus in self.topology.buses.values() if bus.interface == "socketcan"]

    def publish(self) -> None:
        """Write bench.json, readable by this user only. A reader sees the old or the new file, never a part of one."""
        content = {
            "pid": os.getpid(),
            "started_at": time.time(),
            "kernel_can": self.kernel_can,
            "guest": os.environ.get("OTABENCH_GUEST"),
            "bench_file": str(self.options.bench_file.resolve()) if self.options.bench_file else None,
            **bench_json.endpoints(self.setup),
            "pacing": {name: asdict(done) for name, done in self.pacings.items()},
            "firmware": {
                ecu: {version: str(file.path) for version, file in made.items()} for ecu, made in self.firmware.items()
            },
            "processes": {
                process.name: {"pid": process.pid, "log": str(process.spec.log)} for process in self.processes.started
            },
            "campaign": asdict(self.jobs.campaign) if self.jobs.campaign else None,
        }
        # A whole new file each time: `otabench status` in another terminal may read at any moment.
        private_files.write(self.folder.bench_json, json.dumps(content, indent=1))


def _start_recorders_and_loads(bench: Bench, say: Say) -> None:
    setup, processes = bench.setup, bench.processes
    shared = prepare.shared_buses(bench.topology)
    if bench.options.capture:
        for bus in shared:
            processes.declare(names.capture_process(bus), partial(buses.capture, setup, bus))
        processes.start_present(map(names.capture_process, shared))
        for bus in bench.topology.buses.keys() - shared:
            entry = bench.topology.buses[bus]
            say(
                f"bus {bus}: no capture: {entry.interface} {entry.channel} is the gateway's alone; "
                "with the kernel's driver (interface socketcan) there is one"
            )
    for bus in shared:
        processes.declare(names.load_process(bus), partial(buses.bus_load, setup, bus))
    processes.start_present(map(names.load_process, shared))


def _make_keys_and_firmware(bench: Bench, say: Say) -> None:
    from otabench.bench.firmware import images  # imgtool is slow to import; the processes above start meanwhile

    options, topology, keys_dir = bench.options, bench.topology, bench.setup.keys_dir
    if not (options.keys_dir or topology.keys):
        say("keys: director, images, TLS, ECU secrets")
        keys.make_keys(keys_dir, topology, log=bench.folder.log("keys"), timeout_s=_ready_limit_s(bench))
    say(f"firmware: {', '.join(options.versions)} for {', '.join(topology.ecus)}")
    made = images.build(
        topology,
        keys_dir=keys_dir,
        out_dir=bench.folder.firmware,
        versions=options.versions,
        size_bytes=options.image_size_bytes,
    )
    bench.firmware.update(made)


def _pace(bench: Bench, say: Say) -> None:
    topology = bench.topology
    for name, bus in topology.buses.items():
        on_bus = [ecu for ecu, entry in topology.ecus.items() if entry.bus == name]
        newest = [bench.firmware[ecu][bench.options.versions[-1]].path.read_bytes() for ecu in on_bus]
        if not newest:
            continue
        # The newest version's image, because it is what the job transfers; the mean depends on the bytes by their
        # stuff bits.
        mean_bits = pacing.mean_frame_bits(bus, topology.ecus[on_bus[0]].request_id, newest)
        if not bench.options.pace:
            pacing.remove(bus)  # an earlier run may have left one on this interface
            bench.pacings[name] = Pacing(False, bus.bitrate, mean_bits, reason="not asked for")
            continue
        done = bench.pacings[name] = pacing.apply(bus, mean_bits=mean_bits)
        say(f"bus {name}: {bus.channel} {done.describe()}")


def _start_gates(bench: Bench) -> None:
    """Start the frame gates and wait for them: they make the interfaces that the ECUs open."""
    for bus in bench.setup.ports.gates:
        gate = names.gate_process(bus)
        if rights.are_dropped():
            bench.make_far_interface(bus)
        bench.processes.declare(gate, partial(buses.frame_gate, bench.setup, bus))
        bench.processes.start_present([gate])
        bench.processes.wait_ready([gate], timeout_s=_ready_limit_s(bench))


def _start_cloud_ecus_and_gateway(bench: Bench, say: Say) -> None:
    setup, processes, options = bench.setup, bench.processes, bench.options
    # Not with the recorders, because the broker needs its key.
    processes.declare(BROKER, partial(cloud.broker, setup))
    processes.declare(CLOUD_CONTROL, partial(cloud.control_plane, setup))
    processes.declare(CLOUD_ARTIFACTS, partial(cloud.artifact_server, setup))
    simulated = bench.topology.simulated()
    for name in simulated:
        factory_image = bench.firmware[name][options.versions[0]]
        processes.declare(names.ecu_process(name), partial(simulated_ecu, setup, name, factory_image))
    factory = {name: bench.firmware[name][options.versions[0]] for name in simulated}
    rate = _line_payload_bytes_per_s(bench)
    processes.declare(GATEWAY, partial(gateway, setup, factory=factory, line_payload_bytes_per_s=rate))

    started = processes.start_present([BROKER, CLOUD_CONTROL, *map(names.ecu_process, simulated), CLOUD_ARTIFACTS])
    say(f"starting: {', '.join([*started, *({GATEWAY} - options.absent)]) or 'nothing'}")
    _identify_boards(bench, say)
    if processes.was_started(CLOUD_CONTROL):
        processes.wait_ready([CLOUD_CONTROL], timeout_s=_ready_limit_s(bench))
        _register_vehicle(bench)
    processes.start_present([GATEWAY], stop_before=options.gateway_stop_before)
    processes.wait_ready(processes.names, timeout_s=_ready_limit_s(bench))


def _ready_limit_s(bench: Bench) -> float:
    return readiness.limit_s(len(bench.processes.started), wanted_s=bench.options.ready_timeout_s)


def _line_payload_bytes_per_s(bench: Bench) -> float:
    """Return the payload rate of the slowest bus. The gateway estimates the duration of an update with it."""
    return min(
        frame_bits.payload_limit_bytes_per_s(
            done.bitrate,
            done.mean_frame_bits,
            payload_bytes=frame_bits.consecutive_payload(fd=bench.topology.buses[name].fd),
        )
        for name, done in bench.pacings.items()
    )


def _identify_boards(bench: Bench, say: Say) -> None:
    """Switch the boards on and ask each for its identity; the gateway must not be up yet."""
    for name in bench.topology.boards():
        entry = bench.topology.ecus[name]
        if entry.power.is_external:
            say(f"board {name}: power on")
            bench.ecus.power(name).on()
        endpoint = endpoints.endpoint(bench.topology, name, keys_dir=bench.setup.keys_dir)
        found = boards.ask(endpoint, within_s=_BOARD_BOOTS_S)
        bench.ecus.boards.learn(name, found)
        say(f"board {name}: {bench.topology.serial_of(name)} on {entry.bus} runs {found['software_version']}")


def _register_vehicle(bench: Bench) -> None:
    """Register the vehicle with the cloud, once the control plane reports that it serves."""
    deadline = Deadline(_ready_limit_s(bench))
    while not bench.operator.is_serving():
        bench.processes.check()
        if deadline.has_passed():
            raise bench.processes.get(CLOUD_CONTROL).failure(
                "listens, but does not report that it serves", remedy=readiness.remedy()
            )
        deadline.pause(_POLL_INTERVAL_S)
    registration.register(bench.operator, bench.topology, bench.setup.keys)


def _set_faults(bench: Bench, say: Say) -> None:
    for fault in bench.options.faults:
        say(f"fault: {fault}")
        if fault.kind in BUS_FAULT_KINDS:
            bench.bus_ports.set_fault(fault.ecu, fault.kind, fault.parameters)
        else:
            bench.ecus.control_port(fault.ecu).fault(fault.kind, **fault.parameters)
