"""One simulated ECU as a process, and the flashing client beside it. Sweeps and benchmarks update it again and again.

After an error, an update continues as the gateway's agent would: nothing after a failed staging, a revert after a failed activation or
verification. There are two images with the same security counter. Each update installs the one that the ECU does not run, so the same ECU
serves a whole sweep.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import yaml

from otabench.bench.deadline import Deadline
from otabench.bench.errors import BenchError, EndpointError
from otabench.bench.faults.control_port import ControlPort
from otabench.bench.gateway.config import GatewayConfig, GatewayTiming
from otabench.bench.gateway.flashing import UdsVehicle
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.launcher.key_folder import KeyFolder
from otabench.bench.launcher.process import PYTHON, Process, ProcessSpec, stop_all, wait_ready
from otabench.bench.launcher.specs.names import ecu_process
from otabench.bench.perf.material import VIN, Material
from otabench.bench.perf.tap import Tap
from otabench.bench.uds.errors import FlashError
from otabench.proto.process_config import IsoTpConfig
from otabench.proto.trace import TraceWriter

VERSIONS: Final = ("1.0.0", "1.0.1")
QUICK_TIMING: Final = GatewayTiming(boot_timeout_s=10.0, ecu_lost_timeout_s=5.0, stage_attempts=3, soak_s=0.1)
_READY_S: Final = 60.0


class Stage(StrEnum):
    """The calls of an update, in order."""

    STAGE = "stage"
    ACTIVATE = "activate"
    VERIFY = "verify"
    CONFIRM = "confirm"


@dataclass(frozen=True)
class RigOptions:
    """The parts of a rig.

    Attributes:
        bus: of the gateway, as ``can.Bus`` takes it.
        ecu_channel: the ECU's interface if it differs from the gateway's (behind a frame gate).
        isotp: of both ends.
        body_bytes: size of the binary; random bytes if that is too small for synthetic code.
        max_block_bytes: limit of a TransferData block; None: the profile's.
        p2_margin_s: how much later than P2 a response may come; None: the profile's.
    """

    bus: dict[str, Any] = field(default_factory=lambda: {"interface": "socketcan", "channel": "vcan0", "fd": False})
    ecu_channel: str | None = None
    isotp: IsoTpConfig = field(default_factory=IsoTpConfig)
    body_bytes: int = 2048
    max_block_bytes: int | None = None
    p2_margin_s: float | None = None


class OneEcuRig:
    """One simulated ECU and its images. Entering the context starts the ECU, leaving it stops the ECU.

    Args:
        folder: for images, keys, state and logs.
        options: see there.
        others: processes that are started before the ECU.
    """

    def __init__(self, folder: Path, options: RigOptions, *, others: list[ProcessSpec] | None = None) -> None:
        self.options = options
        self.material = Material(folder)
        self.trace_file = folder / "gateway.jsonl"
        self.images = {version: self._image(version) for version in VERSIONS}
        self._profile = self._write_profile()
        self._config = self.material.ecu_config(
            self.images[VERSIONS[0]],
            bus={**options.bus, "channel": options.ecu_channel or options.bus["channel"]},
            isotp=options.isotp,
        )
        (folder / "ecu.json").write_text(self._config.model_dump_json(), encoding="utf-8")
        self._others = [Process(spec) for spec in others or []]
        self._ecu = Process(
            ProcessSpec(
                name=ecu_process(self.material.ecu),
                argv=[*PYTHON, "otabench.ecu_firmware_sim", "--config", str(folder / "ecu.json")],
                log=folder / "ecu.log",
                ready=lambda: self._mode() == "application",
            )
        )
        self.control = ControlPort(self.material.ecu, self._config.control_port)
        self._number = 0

    def __enter__(self) -> OneEcuRig:
        try:
            for process in (*self._others, self._ecu):
                process.start()
                wait_ready([process], timeout_s=_READY_S)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the ECU, then the others. May be called twice."""
        stop_all([self._ecu])
        stop_all(self._others)

    @property
    def ecu_pid(self) -> int:
        """Process id of the ECU."""
        pid = self._ecu.pid
        if pid is None:
            raise ValueError("the ECU was not started")
        return pid

    def check(self) -> None:
        """Raise ProcessFailed if a process has died."""
        for process in (*self._others, self._ecu):
            process.check()

    def running(self) -> tuple[str, str]:
        """Wait until the ECU runs, and return version and state of its active slot.

        Raises:
            BenchError: it does not come up in time.
        """
        deadline = Deadline(QUICK_TIMING.boot_timeout_s)
        while True:
            state = self.control.state()
            if state["mode"] == "application":
                slot = state["slots"][state["active_slot"]]
                return str(slot["version"]), str(slot["state"])
            if deadline.has_passed():
                raise BenchError(f"the ECU does not come up: it is {state['mode']} with {state['slots']}")
            deadline.pause(0.02)

    def vehicle(self, tap: Tap | None = None, *, trace: bool = False) -> UdsVehicle:
        """Return a gateway's flashing client. The caller closes it."""
        options = self.options
        config = GatewayConfig(
            vin=VIN,
            ecus=(self.material.endpoint(bus=options.bus, isotp=options.isotp, profile=self._profile),),
            state_dir=self.material.folder,
            director_root=KeyFolder(self.material.folder).director_root,
            # Never used: the agent, which would call it, is not part of the rig.
            cloud_grpc="127.0.0.1:1",
            timing=QUICK_TIMING,
        )
        writer = TraceWriter(self.trace_file if trace else None, component="gateway", vin=VIN)
        return UdsVehicle(config, writer, **({"opener": tap.open} if tap is not None else {}))

    def next_image(self) -> EcuImage:
        """Return an update to the version that the ECU does not run. Its manifest is newer than all before."""
        version, _ = self.running()
        wanted = VERSIONS[1] if version == VERSIONS[0] else VERSIONS[0]
        self._number += 1
        return self.material.ecu_image(self.images[wanted], wanted, number=self._number)

    def _image(self, version: str) -> Path:
        size = self.options.body_bytes
        # Seeded by version and size, so that a sweep is the same in every run.
        body = random.Random(f"{version}/{size}").randbytes(size) if size < 2048 else None
        return self.material.image(version, body_bytes=size, body=body)

    def _mode(self) -> str:
        try:
            return str(self.control.state()["mode"])
        except EndpointError:
            return ""

    def _write_profile(self) -> str:
        options = self.options
        shipped = resources.files("otabench.bench.uds.profiles") / "iso14229-ab.yaml"
        profile = yaml.safe_load(shipped.read_text(encoding="utf-8"))
        if options.max_block_bytes is not None:
            profile["transfer"]["max_block_bytes"] = options.max_block_bytes
        if options.p2_margin_s is not None:
            profile["timing"]["p2_margin_s"] = options.p2_margin_s
        path = self.material.folder / "profile.yaml"
        path.write_text(yaml.safe_dump(profile), encoding="utf-8")
        return str(path)


def update(
    vehicle: UdsVehicle,
    image: EcuImage,
    *,
    start: Stage = Stage.STAGE,
    on_stage: Callable[[Stage], None] = lambda _: None,
) -> None:
    """Run an update from ``start`` on, and after an error do what the agent does.

    Raises:
        FlashError: the update failed; it was reverted if something had been activated.
    """
    images, job = [image], "perf"

    def quiet(_: object) -> None:
        return None

    calls: dict[Stage, Callable[[], object]] = {
        Stage.STAGE: lambda: vehicle.stage(
            images, job_id=job, progress=quiet, cancel=threading.Event(), fetch_image=quiet
        ),
        Stage.ACTIVATE: lambda: vehicle.activate(images, job_id=job, progress=quiet),
        Stage.VERIFY: lambda: vehicle.verify(images, job_id=job, progress=quiet),
        Stage.CONFIRM: lambda: vehicle.confirm(images, job_id=job, progress=quiet),
    }
    order = list(Stage)
    for stage in order[order.index(start) :]:
        on_stage(stage)
        try:
            calls[stage]()
        except FlashError:
            if stage is not Stage.STAGE:
                vehicle.revert(images, job_id=job, progress=quiet)
            vehicle.finish(job_id=job)
            raise
    vehicle.finish(job_id=job)
