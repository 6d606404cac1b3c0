"""`otabench perf frames`: drop, duplicate or corrupt one CAN frame of an update, one run for each frame and fault.

The points are all frames of an undisturbed update, in both directions, as the frame gate counts them. The bus is not paced, and the
tester's timeouts are short; those of the transport (1 s) are the kernel's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otabench.bench import ports
from otabench.bench.errors import WrongUsage
from otabench.bench.faults.control_port import ControlPort
from otabench.bench.faults.frame_faults import FrameFaultKind
from otabench.bench.faults.frame_gate import far_channel
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.launcher.process import PYTHON, ProcessSpec
from otabench.bench.perf.rig import OneEcuRig, RigOptions, update
from otabench.bench.perf.verdict import Run, Runs, judge

SWEPT: Final = (FrameFaultKind.DROP, FrameFaultKind.DUPLICATE, FrameFaultKind.CORRUPT)
LIMIT_S: Final = 60.0
BODY_BYTES: Final = 256


@dataclass(frozen=True)
class Point:
    """One run: the fault, and the number of the frame that it hits (from 1, both directions counted together)."""

    kind: FrameFaultKind
    frame: int

    def __str__(self) -> str:
        return f"{self.kind}@{self.frame}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """Return the point that ``str`` made this text of.

        Raises:
            WrongUsage: not of that form.
        """
        kind, _, number = text.partition("@")
        try:
            return cls(FrameFaultKind(kind), int(number))
        except ValueError as error:
            raise WrongUsage(f"point {text!r}: expected KIND@FRAME, such as drop@17") from error


def points_of(frames: int, *, step: int = 1) -> list[Point]:
    """Return all points of an update with that number of frames; with ``step``, every n-th frame, different ones for each fault."""
    return [
        Point(kind, frame) for offset, kind in enumerate(SWEPT) for frame in range(1 + offset % step, frames + 1, step)
    ]


def sweep(
    choose: Callable[[int], Iterable[Point]],
    *,
    seed: int = 0,
    channel: str = "vcan0",
    on_run: Callable[[Run, int], None] = lambda _run, _of: None,
) -> Runs:
    """Return one run for each point.

    Args:
        choose: receives the number of frames of an undisturbed update, and returns the points.
        seed: of the bits that are corrupted.
        channel: the bus.
        on_run: called with each run and the number of all runs.

    Raises:
        BenchError: the rig could not run.
    """
    with tempfile.TemporaryDirectory(prefix="otabench-frames-") as folder:
        gate = ControlPort("frame gate", ports.free_ports(1)[0])
        options = RigOptions(body_bytes=BODY_BYTES, p2_margin_s=0.3, ecu_channel=far_channel(channel))
        with OneEcuRig(Path(folder), options, others=[gate_spec(gate, channel, seed, Path(folder))]) as rig:
            points = list(choose(frames(rig, gate)))
            runs = Runs()
            for point in points:
                runs.runs.append(_run(rig, gate, point, seed))
                on_run(runs.runs[-1], len(points))
            return runs


def gate_spec(gate: ControlPort, channel: str, seed: int, folder: Path) -> ProcessSpec:
    """Return the frame gate as a process."""
    argv = [
        *PYTHON,
        "otabench.bench.faults.frame_gate",
        "--near",
        channel,
        "--control-port",
        str(gate.port),
        "--seed",
        str(seed),
    ]
    return ProcessSpec(name="frame-gate", argv=argv, log=folder / "frame-gate.log", ready=gate.is_up)


def frames(rig: OneEcuRig, gate: ControlPort) -> int:
    """Return the number of frames of an undisturbed update."""
    # The gate counts since its start, so the update's frames are a difference.
    before = sum(gate.state()["frames"].values())
    _update(rig, rig.next_image())
    return int(sum(gate.state()["frames"].values()) - before)


def _run(rig: OneEcuRig, gate: ControlPort, point: Point, seed: int) -> Run:
    image = rig.next_image()
    # every=0: this one frame only.
    gate.call("fault", kind=str(point.kind), first=point.frame, every=0, seed=seed + point.frame)
    return judge(rig, str(point), image, lambda image: _update(rig, image), gate.clear, LIMIT_S)


def _update(rig: OneEcuRig, image: EcuImage) -> None:
    vehicle = rig.vehicle()
    try:
        update(vehicle, image)
    finally:
        vehicle.close()
