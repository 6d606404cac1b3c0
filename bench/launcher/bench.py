"""Brings a bench up, keeps it, and takes it down again: ``with Bench(options) as bench``.

Decides the order in which things start and end, and that nothing outlives the bench. What each process is told is
``launcher.specs``'s, how it is started and stopped ``launcher.process``'; what may be asked of a running bench is in
``launcher.processes``, ``launcher.ecus`` and ``launcher.jobs``.

Order: folder, keys, firmware; broker and captures beside them; then cloud and ECUs, and boards are switched on and asked
who they are; the vehicle is registered before its gateway starts; faults are set at last. Captures see the first frame and
the last. A process that ends though nobody asked it to is an error, named with its last line, wherever the bench waits.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final

from otabench.bench import ports
from otabench.bench.bus import environment, frame_bits, pacing
from otabench.bench.bus.pacing import Pacing
from otabench.bench.clients.job_watch import JobWatch
from otabench.bench.errors import BenchError, UnknownName
from otabench.bench.launcher import boards, bus_faults, run_folder, specs
from otabench.bench.launcher.boards import NO_KEYS, BoardFacts
from otabench.bench.launcher.bus_faults import BUS_FAULT_KINDS, BusPorts
from otabench.bench.launcher.jobs import BenchJobs, CampaignHandle
from otabench.bench.launcher.keys import make_keys
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.launcher.process import ProcessSpec, wait_ready
from otabench.bench.launcher.run_folder import RunFolder
from otabench.bench.launcher.specs import BROKER, CLOUD_ARTIFACTS, CLOUD_CONTROL, GATEWAY, Ports, ProcessSetup
from otabench.bench.topology import bench_file
from otabench.bench.topology.model import Topology

__all__ = ["Bench", "CampaignHandle", "make_keys"]

_WAIT_INTERVAL_S: Final = 0.05
_CONTROL_PLANE_READY_S: Final = 20.0
_BOARD_BOOTS_S: Final = 10.0
"""A board that was switched on may take that long until it answers."""


class Bench(BenchJobs):
    """A running bench. Enter it to bring it up; leaving it stops everything, whatever happened.

    Args:
        options: what to bring up.
        say: told what is being done, one line each.

    Attributes:
        topology, folder, setup, firmware, pacings: of this run, once it is up. ``firmware[ecu][version]``.
    """

    def __init__(self, options: BenchOptions | None = None, *, say: Callable[[str], None] = lambda _: None) -> None:
        super().__init__()
        self.options = options or BenchOptions()
        self.topology: Topology = self.options.topology or bench_file.load(self.options.bench_file)
        self.kernel_can = True
        self.pacings: dict[str, Pacing] = {}
        self.folder: RunFolder
        self.setup: ProcessSetup
        self._say = say

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
            if fault.kind in BUS_FAULT_KINDS:
                bus_faults.check(fault, self.topology, options)
            elif fault.ecu not in self.topology.with_control_port():
                raise UnknownName("simulated ECU", fault.ecu, self.topology.with_control_port())
        self.topology, self.kernel_can = environment.usable_topology(
            self.topology, kernel_can=options.kernel_can, say=self._say
        )
        if self.topology.boards() and not (options.keys_dir or self.topology.keys):
            raise BenchError(f"board {', '.join(self.topology.boards())}: {NO_KEYS.sentence()}")
        if options.hmi_port:
            ports.require_free(
                options.hmi_port, purpose="the HMI", remedy="choose another: `make up HMI_PORT=8081` or --hmi-port 8081"
            )
        self.folder = run_folder.create(options.runs_dir)
        given_keys = options.keys_dir or self.topology.keys
        keys_dir = given_keys.resolve() if given_keys else self.folder.keys
        grpc, artifacts, mqtt, hmi, *free = ports.free_ports(4 + len(self.topology.ecus))
        control = {
            name: self.topology.ecus[name].control_port or port
            for name, port in zip(self.topology.with_control_port(), free, strict=False)
        }
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
                control=control,
                gates=self._gates(),
                loads=dict(zip(self._shared, ports.free_ports(len(self._shared)), strict=True)),
            ),
        )
        self._watch = JobWatch(self.folder.trace)
        self.boards = BoardFacts(self.folder.trace, self.topology.boards())
        self._start_early()
        if given_keys is None:
            self._say("keys: director, images, TLS, ECU secrets")
            make_keys(keys_dir, self.topology, log=self.folder.log("keys"))
        self._say(f"firmware: {', '.join(options.versions)} for {', '.join(self.topology.ecus)}")
        self._make_firmware(keys_dir)
        self._pace()
        self._start_late()
        for fault in options.faults:
            self._say(f"fault: {fault}")
            if fault.kind in BUS_FAULT_KINDS:
                BusPorts.of(self.setup.endpoints()).set_fault(fault.ecu, fault.kind, fault.parameters)
            else:
                self.ecu(fault.ecu).fault(fault.kind, **fault.parameters)
        self._write_bench_json()

    def _gates(self) -> dict[str, int]:
        buses = bus_faults.gated_buses(self.topology, self.options)
        return dict(zip(buses, ports.free_ports(len(buses)), strict=True))

    @property
    def _shared(self) -> list[str]:
        """Buses that more than one program can open."""
        return [name for name, bus in self.topology.buses.items() if not bus.is_one_programs]

    def _start_early(self) -> None:
        """What needs neither keys nor firmware."""
        self._specs[BROKER] = self.setup.broker
        if not self.setup.embedded_broker:
            self._start_unless_absent([BROKER])
        shared = self._shared
        if self.options.capture:
            for bus in shared:
                self._specs[specs.capture_process(bus)] = partial(self.setup.capture, bus)
            self._start_unless_absent([specs.capture_process(bus) for bus in shared])
            for bus in self.topology.buses.keys() - shared:
                entry = self.topology.buses[bus]
                self._say(
                    f"bus {bus}: no capture: {entry.interface} {entry.channel} is the gateway's alone; "
                    "with the kernel's driver (interface socketcan) there is one"
                )
        for bus in shared:
            self._specs[specs.load_process(bus)] = partial(self.setup.bus_load, bus)
        self._start_unless_absent([specs.load_process(bus) for bus in shared])

    def _make_firmware(self, keys_dir: Path) -> None:
        from otabench.bench.firmware import (
            images,  # imgtool takes its time to import; the processes above start meanwhile
        )

        self.firmware = images.build(
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
                self.pacings[name] = Pacing(False, bus.bitrate, mean_bits, reason="not asked for")
                continue
            done = self.pacings[name] = pacing.apply(bus, mean_bits=mean_bits)
            self._say(f"bus {name}: {bus.channel} {done.line()}")

    def _start_late(self) -> None:
        self._specs[CLOUD_CONTROL] = self.setup.cloud_control
        self._specs[CLOUD_ARTIFACTS] = self.setup.cloud_artifacts
        factory = self.options.versions[0]
        ecus = []
        for name in self.topology.simulated():
            ecus.append(specs.ecu_process(name))
            self._specs[ecus[-1]] = partial(self.setup.ecu, name, self.firmware[name][factory])
        self._specs[GATEWAY] = self._gateway_spec(stop_before=self.options.gateway_stop_before)
        for bus in self.setup.ports.gates:  # before the ECUs: it makes their interface
            self._specs[specs.gate_process(bus)] = partial(self.setup.frame_gate, bus)
            self._start_unless_absent([specs.gate_process(bus)])
            wait_ready([self.process(specs.gate_process(bus))], timeout_s=self.options.ready_timeout_s)
        started = self._start_unless_absent([BROKER, CLOUD_CONTROL, *ecus, CLOUD_ARTIFACTS])
        self._say(f"starting: {', '.join([*started, *({GATEWAY} - self.options.absent)]) or 'nothing'}")
        self._meet_boards()
        if CLOUD_CONTROL in self._processes:  # before the gateway asks for it for the first time
            wait_ready(
                [self._processes[CLOUD_CONTROL]], timeout_s=self.options.ready_timeout_s, watch=self.check_processes
            )
            self.register_vehicle()
        self._start_unless_absent([GATEWAY])
        wait_ready(list(self._processes.values()), timeout_s=self.options.ready_timeout_s)
        if self.options.gateway_stop_before and GATEWAY in self._processes:
            self._processes[GATEWAY].expected_to_run = False  # it ends itself

    def _meet_boards(self) -> None:
        """Switch the boards on and ask each who it is, while nobody else does: the gateway is not up yet."""
        for name in self.topology.boards():
            entry = self.topology.ecus[name]
            if entry.power.driver == "command":
                self._say(f"board {name}: power on")
                self.power(name).on()
            found = boards.ask(self.setup.endpoint(name), within_s=_BOARD_BOOTS_S)
            self.boards.learn(name, found)
            self._say(f"board {name}: {self.topology.serial_of(name)} on {entry.bus} runs {found['software_version']}")

    def stop(self) -> None:
        """Stop everything: gateway, then ECUs, cloud and broker, then the captures. May be called twice."""
        if self._operator is not None:
            self._operator.close()
            self._operator = None
        try:
            self._stop_in_order(GATEWAY)
        finally:
            for name, done in self.pacings.items():
                if done.applied:
                    pacing.remove(self.topology.buses[name])

    # Hooks of the processes.

    def _before_start(self, name: str, *, stop_before: str) -> None:
        if name == GATEWAY:
            self._specs[name] = self._gateway_spec(stop_before=stop_before)

    def _bench_changed(self) -> None:
        self._write_bench_json()

    # Details.

    def register_vehicle(self) -> None:
        """Make the vehicle known to the cloud; done at start where the control plane is there."""
        deadline = time.monotonic() + _CONTROL_PLANE_READY_S
        while not self.operator.is_serving():
            self.check_processes()
            if time.monotonic() > deadline:
                raise self.process(CLOUD_CONTROL).failure("listens, but does not say that it serves")
            time.sleep(_WAIT_INTERVAL_S)
        self.operator.register_vehicle(
            self.topology.vehicle.vin,
            [(name, self.topology.serial_of(name), ecu.hardware_id) for name, ecu in self.topology.ecus.items()],
            public_keys=self.setup.public_keys(),
            image_numbers={name: self.topology.image_number_of(name) for name in self.topology.ecus},
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
