"""The processes at a bus: its frame gate, its load and its capture."""

from __future__ import annotations

import json

from otabench.bench.faults.control_port import ControlPort
from otabench.bench.launcher.process import PYTHON, ProcessSpec
from otabench.bench.launcher.run_setup import RunSetup
from otabench.bench.launcher.specs.config_file import write_control_token
from otabench.bench.launcher.specs.names import capture_process, gate_process, load_process
from otabench.bench.topology import addresses


def frame_gate(setup: RunSetup, bus: str) -> ProcessSpec:
    """Return the process of the frame gate of a bus."""
    channel, port = str(setup.topology.buses[bus].channel), setup.ports.gates[bus]
    process = gate_process(bus)
    return ProcessSpec(
        name=process,
        argv=[*PYTHON, "otabench.bench.faults.frame_gate", "--near", channel, *_control(setup, port)],
        log=setup.folder.log(process),
        ready=ControlPort(process, port, token=setup.secrets.control_token).is_up,
        awaited=f"its control port {port} does not answer",
    )


def bus_load(setup: RunSetup, bus: str) -> ProcessSpec:
    """Return the process that puts load on a bus. It avoids the identifiers of the bus's ECUs."""
    entry, port, process = setup.topology.buses[bus], setup.ports.loads[bus], load_process(bus)
    # Without a data bit rate the load sends no frames with bit rate switch, so None must stay None here.
    config = {"can": entry.can_arguments(), "bitrate": entry.bitrate, "data_bitrate": entry.data_bitrate}
    avoid = sorted(setup.topology.identifiers_on(bus))
    argv = ["--bus", json.dumps(config), "--name", bus, *_control(setup, port), "--avoid", *map(str, avoid)]
    return ProcessSpec(
        name=process,
        argv=[*PYTHON, "otabench.bench.faults.bus_load", *argv],
        log=setup.folder.log(process),
        ready=ControlPort(bus, port, what="load of bus", token=setup.secrets.control_token).is_up,
        awaited=f"its control port {port} does not answer",
    )


def _control(setup: RunSetup, port: int) -> tuple[str, ...]:
    """Write the file with the control token, and return the arguments of a control port."""
    return "--control-port", str(port), "--control-token-file", str(write_control_token(setup))


def capture(setup: RunSetup, bus: str) -> ProcessSpec:
    """Return the process that captures a bus."""
    entry = setup.topology.buses[bus]
    process = capture_process(bus)
    config = {
        "can": entry.can_arguments(),
        "bitrate": entry.bitrate,
        # The recorder only computes times of frames with it.
        "data_bitrate": entry.data_bitrate or entry.bitrate,
        "extended_ids": addresses.extended_ids(setup.topology, bus),
    }
    out = setup.folder.can / bus
    return ProcessSpec(
        name=process,
        argv=[*PYTHON, "otabench.bench.captures.recorder", "--bus", json.dumps(config), "--out", str(out)],
        log=setup.folder.log(process),
        # The recorder makes the pcap once the bus is open. Not with_suffix: it would cut a bus name that contains a dot.
        ready=out.with_name(out.name + ".pcap").exists,
        awaited=f"it has not opened {entry.channel}: there is no {out.name}.pcap",
    )
