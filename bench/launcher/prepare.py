"""The steps before a bench is constructed: check that it can come up here, make the run's folder, choose keys and ports.

Nothing is started here. ``check`` writes nothing either, so that a bench that cannot come up leaves no folder behind; it makes virtual
interfaces that the bench file names and this kernel does not have yet.
"""

from __future__ import annotations

from collections.abc import Callable

from otabench.bench import ports, run_folder
from otabench.bench.bus import environment
from otabench.bench.errors import BenchError, UnknownName
from otabench.bench.launcher import boards, bus_faults, run_end, tester_certificates
from otabench.bench.launcher.bus_faults import BUS_FAULT_KINDS
from otabench.bench.launcher.labgrid import Place
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.launcher.run_setup import Ports, RunSetup
from otabench.bench.topology import bench_file
from otabench.bench.topology.model import Topology

Say = Callable[[str], None]
"""Receives one line for each thing that is done."""


def check(options: BenchOptions, *, say: Say) -> tuple[Topology, bool]:
    """Check what can be checked before anything is started.

    Returns:
        The topology with buses that this machine has, and whether they are SocketCAN.

    Raises:
        BenchError: this bench cannot come up here.
    """
    topology = options.topology or bench_file.load(options.bench_file)
    for fault in options.faults:
        if fault.kind in BUS_FAULT_KINDS:
            bus_faults.check(fault, topology, options)
        elif fault.ecu not in topology.with_control_port():
            raise UnknownName("simulated ECU", fault.ecu, topology.with_control_port())
    topology, kernel_can = environment.usable_topology(
        topology, kernel_can=options.kernel_can, make_vcans=True, say=say
    )
    if topology.boards() and not (options.keys_dir or topology.keys):
        raise BenchError(f"board {', '.join(topology.boards())}: {boards.NO_KEYS.sentence()}")
    if options.hmi_port:
        ports.require_free(
            options.hmi_port, purpose="the HMI", remedy="choose another: `make up HMI_PORT=8081` or --hmi-port 8081"
        )
    return topology, kernel_can


def take_place(topology: Topology, options: BenchOptions, *, say: Say) -> Place | None:
    """Take the lab's place that the bench file names; None if it names none.

    Raises:
        LabError: somebody else holds it, or it cannot be taken.
    """
    if topology.lab is None:
        return None
    place = Place(topology.lab)
    place.acquire(wait_s=options.place_wait_s, say=say)
    return place


def set_up(topology: Topology, options: BenchOptions) -> RunSetup:
    """Make the run's folder, and choose the key folder and the ports."""
    # Before this run's folder exists: a run that was killed has left its secrets and its mark.
    run_end.end_cut_off(options.runs_dir)
    folder = run_folder.create(options.runs_dir)
    topology = tester_certificates.with_certificates(topology, folder)
    given_keys = options.keys_dir or topology.keys
    gated, shared = bus_faults.gated_buses(topology, options), shared_buses(topology)
    # All at once: a port that is handed out by a second call may be one of the first, as nothing is bound to it yet.
    grpc, artifacts, mqtt, hmi, *free = ports.free_ports(4 + len(topology.ecus) + len(gated) + len(shared))
    controlled = topology.with_control_port()
    control = {name: topology.ecus[name].control_port or port for name, port in zip(controlled, free, strict=False)}
    # One port was taken for each ECU, although a board may not need one.
    of_buses = free[len(topology.ecus) :]
    return RunSetup(
        topology=topology,
        options=options,
        folder=folder,
        keys_dir=given_keys.resolve() if given_keys else folder.keys,
        ports=Ports(
            grpc=grpc,
            artifacts=artifacts,
            mqtt=mqtt,
            hmi=options.hmi_port or hmi,
            control=control,
            gates=dict(zip(gated, of_buses, strict=False)),
            loads=dict(zip(shared, of_buses[len(gated) :], strict=True)),
        ),
    )


def shared_buses(topology: Topology) -> list[str]:
    """Return the buses that more than one program can open."""
    return [name for name, bus in topology.buses.items() if not bus.is_one_programs]
