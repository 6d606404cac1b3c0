"""A vehicle of scripted ECUs (``scripted_ecu``), for the tests of the flashing client."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from otabench.bench.gateway.config import GatewayConfig, GatewayTiming
from otabench.bench.gateway.flashing import UdsVehicle
from otabench.bench.gateway.vehicle import EcuImage, EcuProgress
from otabench.bench.uds import profiles
from otabench.bench.uds.bus_link import ChannelOpener
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.proto import trace
from otabench.proto.trace import TraceWriter
from tests.bench.gateway.scripted_ecu import SECRET, ScriptedEcu

_channels = itertools.count()
IMAGE = bytes(range(256)) * 6 + b"end of the image"


class ScriptedEcuRig:
    """A vehicle of one or more scripted ECUs on virtual buses."""

    def __init__(self, folder: Path, ecus: dict[str, ScriptedEcu], *, soak_s: float, opener: ChannelOpener) -> None:
        self.folder = folder
        self.ecus = ecus
        self.seen: list[EcuProgress] = []
        self.fetched: list[str] = []
        self.cancel = threading.Event()
        self.trace_path = folder / "trace.jsonl"
        config = GatewayConfig(
            vin="W0TABENCH00000001",
            ecus=tuple(endpoint(name, ecu, folder) for name, ecu in ecus.items()),
            state_dir=folder,
            director_root=folder / "root.json",
            cloud_grpc="127.0.0.1:1",
            timing=GatewayTiming(boot_timeout_s=1.2, ecu_lost_timeout_s=0.7, stage_attempts=2, soak_s=soak_s),
        )
        self.vehicle = UdsVehicle(config, TraceWriter(self.trace_path, component="gateway"), opener=opener)
        self.images = [self.image(name) for name in ecus]

    def image(self, name: str, patch: bytes = b"") -> EcuImage:
        full = self.folder / f"{name}.bin"
        full.write_bytes(IMAGE)
        delta = self.folder / f"{name}.bsdiff"
        delta.write_bytes(patch)
        return EcuImage(
            ecu=name,
            version="2.0.0",
            image=full,
            image_length=len(IMAGE),
            metadata=b'{"signed": "targets"}' * 20,
            patch=delta if patch else None,
            patch_length=len(patch),
        )

    def stage(self, fetch_image: Callable[[str], None] | None = None) -> None:
        self.vehicle.stage(
            self.images,
            job_id="job-1",
            progress=self.seen.append,
            cancel=self.cancel,
            fetch_image=fetch_image or self.fetched.append,
        )

    def activate(self) -> None:
        self.vehicle.activate(self.images, job_id="job-1", progress=self.seen.append)

    def verify(self) -> Any:
        return self.vehicle.verify(self.images, job_id="job-1", progress=self.seen.append)

    def confirm(self) -> Any:
        return self.vehicle.confirm(self.images, job_id="job-1", progress=self.seen.append)

    def revert(self) -> Any:
        return self.vehicle.revert(self.images, job_id="job-1", progress=self.seen.append)

    def update(self) -> None:
        """Run the whole update, up to the confirmation."""
        self.stage()
        self.activate()
        self.verify()
        self.confirm()

    def events(self, name: str) -> list[trace.TraceEvent]:
        return [event for event in trace.read(self.trace_path) if event.event == name]


def profile_text(**changes: str) -> str:
    """Return the shipped profile with short time limits and with replaced lines."""
    text = (Path(profiles.__path__[0]) / "iso14229-ab.yaml").read_text(encoding="utf-8")
    quick = {
        "p2_margin_s: 1.0": "p2_margin_s: 0.25",
        "max_delay_s: 30.0": "max_delay_s: 1.2",
        "poll_p2_s: 0.3": "poll_p2_s: 0.1",
        "max_duration_s: 10.0   ": "max_duration_s: 1.0   ",
    }
    for old, new in {**quick, **changes}.items():
        assert old in text
        text = text.replace(old, new)
    return text


def endpoint(name: str, ecu: ScriptedEcu, folder: Path) -> EcuEndpoint:
    profile = folder / "quick.yaml"
    profile.write_text(profile_text(), encoding="utf-8")
    return EcuEndpoint(
        name=name,
        bus={"interface": "virtual", "channel": ecu.channel},
        request_id=ecu.request_id,
        response_id=ecu.response_id,
        serial="SN-1",
        hardware_id="engine-mcu-a",
        profile=str(profile),
        security_secret=SECRET.hex(),
    )


def channel() -> str:
    return f"scripted-{next(_channels)}"


def answer_once(
    service: int, *answers: bytes | None, times: int = 1, at: int = 0
) -> Callable[[bytes, ScriptedEcu], Any]:
    """Return a script that replaces ``times`` responses to a service by ``answers``, from the ``at``-th request on."""
    seen = itertools.count()

    def script(request: bytes, ecu: ScriptedEcu) -> Any:
        if request[0] != service:
            return True
        return list(answers) if at <= next(seen) < at + times else True

    return script
