"""What the user of a bench may choose, as one frozen object.

The defaults suit tests: no pacing, any free HMI port. The command line sets the values that suit people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from otabench.bench.faults.control_port import Fault
from otabench.bench.topology.model import Topology


class TransferPolicy(StrEnum):
    """What the campaign sends: a patch where it pays, always full images, or always patches."""

    AUTO = "auto"
    FULL = "full"
    DELTA = "delta"


@dataclass(frozen=True)
class BenchOptions:
    """Everything that can be chosen about a bench.

    Attributes:
        topology: the bench file's contents; None: ``bench_file`` is read, or the default bench.
        bench_file: path of a bench file.
        runs_dir: where the run's folder is made.
        hmi_port: 0: any free port.
        pace: make virtual buses as slow as their bit rate.
        capture: record the buses.
        transfer: of campaigns that name none.
        encrypt: seal every file for its ECU, in campaigns that do not set this themselves.
        faults: set once the ECUs are up.
        image_size_bytes: of all firmware bodies; None: the bench file's.
        versions: firmware versions made; the first is what the ECUs are delivered with.
        keys_dir: keys made earlier; None: new ones for this run.
        absent: processes not started with the bench; ``bench.processes.start`` starts them later.
        ecu_timing: overrides of ``EcuTiming``, for all simulated ECUs.
        gateway_timing: overrides of ``GatewayTiming``.
        poll_interval_s: how often the gateway asks the cloud without being woken.
        gateway_stop_before: a job state: the gateway kills itself after persisting it, before acting.
        embedded_broker: amqtt instead of mosquitto; None: only if mosquitto is not installed.
        kernel_can: False: udp_multicast instead of SocketCAN; None: by OTABENCH_NO_KERNEL_CAN.
        frame_gate: put simulated ECUs behind a frame gate, for faults of frames; implied by such a fault in ``faults``.
        conditions: of campaigns that name none (``proto.conditions``); None: those of a parked vehicle, as far as it measures them.
        keep_keys: leave the keys that the run made in its folder when it ends.
        place_wait_s: how long to wait for the lab's place, if the bench file names one.
        ready_timeout_s: how long to wait without any process becoming ready; None: by their number (``launcher.readiness``).
    """

    topology: Topology | None = None
    bench_file: Path | None = None
    runs_dir: Path = Path("runs")
    hmi_port: int = 0
    pace: bool = False
    capture: bool = True
    transfer: TransferPolicy = TransferPolicy.AUTO
    encrypt: bool = False
    faults: tuple[Fault, ...] = ()
    image_size_bytes: int | None = None
    versions: tuple[str, ...] = ("1.0.0", "2.0.0")
    keys_dir: Path | None = None
    absent: frozenset[str] = frozenset()
    ecu_timing: Mapping[str, Any] = field(default_factory=dict)
    gateway_timing: Mapping[str, Any] = field(default_factory=dict)
    poll_interval_s: float = 10.0
    gateway_stop_before: str = ""
    embedded_broker: bool | None = None
    kernel_can: bool | None = None
    frame_gate: bool = False
    conditions: tuple[str, ...] | None = ()
    keep_keys: bool = False
    place_wait_s: float = 0.0
    ready_timeout_s: float | None = None
