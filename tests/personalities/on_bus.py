"""A vehicle of simulated bootloaders on a virtual bus: the gateway's flashing, ISO-TP and the ECUs' loops, in one process."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from otabench.bench.gateway.config import GatewayConfig, GatewayTiming
from otabench.bench.gateway.flashing import UdsVehicle
from otabench.bench.gateway.vehicle import EcuImage, EcuProgress, Payload
from otabench.bench.uds.bus_link import ChannelOpener
from otabench.bench.uds.endpoint import AuthenticationFiles, EcuEndpoint, FormerImage
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.sequence.profile import path_of
from otabench.bench.uds.transport import open_channel
from otabench.ecu_firmware_sim.flash.nor import FileBacking
from otabench.ecu_firmware_sim.personalities.memory import new_flash
from otabench.ecu_firmware_sim.personalities.personality import FLASH_BASE, RAM_BASE
from otabench.ecu_firmware_sim.personalities.process import PersonalityEcu
from otabench.ecu_firmware_sim.personalities.shipped import PERSONALITIES
from otabench.proto import trace
from otabench.proto.process_config import EcuConfig, EcuTiming, IsoTpConfig
from otabench.proto.trace import TraceWriter
from tests.bench.firmware.programs import writers
from tests.personalities import certificates
from tests.personalities.updates import DRIVER_SIZE, program
from tests.waiting import eventually

SECRET = bytes(range(32)).hex()
QUICK = {
    "wait: 5.0": "wait: 0.05",
    "for_s: 2.0": "for_s: 0.05",
    "deaf_s: 0.5": "deaf_s: 0.05",
    "every_s: 0.5": "every_s: 0.02",
    "transfer_p2_s: 60.0": "transfer_p2_s: 1.0",
    "pause_s: 5.0": "pause_s: 0.05",
    "deaf_s: 0.2": "deaf_s: 0.02",
    "deaf_s: 1.0": "deaf_s: 0.05",
}
SIZE = 0x480
"""Small, because a virtual bus is slow: more than one block of most bootloaders."""
_numbers = itertools.count()


def program_file(name: str, version: str) -> tuple[bytes, str]:
    """Return the program file of one personality and its format. The driver is part of it, where there is one."""
    application = [(FLASH_BASE, program(version, size=SIZE))]
    if name == "records":
        return writers.s_record(application), "S-record"
    driver = [(RAM_BASE, random.Random(0).randbytes(DRIVER_SIZE))] if PERSONALITIES[name].needs_driver else []
    return writers.intel_hex([*application, *driver]), "Intel HEX"


def quick_profile(name: str, folder: Path, changes: dict[str, str] | None = None) -> Path:
    """Write a shipped profile with shorter waits, and with replaced lines."""
    text = path_of(name).read_text(encoding="utf-8")
    for old, new in {**QUICK, **(changes or {})}.items():
        assert old in text or old in QUICK, old
        text = text.replace(old, new)
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


class EcuOnBus:
    """One simulated bootloader, running in a thread, as a context manager."""

    def __init__(self, name: str, number: int, folder: Path, bus: dict[str, Any], *, version: str = "1.0.0") -> None:
        self.name = name
        self.version = version
        self.state_file = folder / f"{name}-{number}.flash"
        self.config = EcuConfig(
            name=name,
            vin="W0TABENCH00000001",
            serial=f"SN-{number}",
            hardware_id=f"{name}-mcu",
            part_number="P-1",
            bus=bus,
            request_id=0x700 + number,
            response_id=0x708 + number,
            isotp=IsoTpConfig(transport="user", block_size=8),
            timing=EcuTiming(boot_s=0.05),
            personality=name,
            security_secret=SECRET,
            authentication_root=certificates.write(folder)[0],
            state_file=self.state_file,
            factory_image=folder / "none",
            image_public_key=folder / "none",
            director_root=folder / "none",
            control_port=1,
        )

    def __enter__(self) -> EcuOnBus:
        if not self.state_file.exists():
            self.state_file.write_bytes(new_flash(program(self.version, size=SIZE)).memory)
        self._backing = FileBacking(self.state_file, size_bytes=self.state_file.stat().st_size)
        trace_file = TraceWriter(None, component=f"ecu.{self.name}")
        self.ecu = PersonalityEcu(self.config, PERSONALITIES[self.name], self._backing, trace_file)
        self._thread = threading.Thread(target=self.ecu.run)
        self._thread.start()
        eventually(lambda: self.ecu.connection.is_open)
        return self

    def __exit__(self, *_: object) -> None:
        self.ecu.stop()
        self._thread.join()
        self._backing.close()

    def control(self, op: str, **members: Any) -> dict[str, Any]:
        """Perform an operation of the control port."""
        return self.ecu.call(lambda: self.ecu.perform({"op": op, **members}))

    @property
    def runs(self) -> str:
        """The version in its flash."""
        state = self.control("state")
        return str(state["slots"][state["active_slot"]]["version"])


class BusRig:
    """The gateway's vehicle of some of these ECUs."""

    def __init__(
        self,
        folder: Path,
        ecus: Iterable[EcuOnBus],
        *,
        changes: dict[str, str] | None = None,
        knows_former: bool = True,
        others: tuple[EcuEndpoint, ...] = (),
    ) -> None:
        self.folder = folder
        self.seen: list[EcuProgress] = []
        self.cancel = threading.Event()
        self.trace_path = folder / "trace.jsonl"
        self.ecus = {ecu.name: ecu for ecu in ecus}
        endpoints = [self._endpoint(ecu, changes, knows_former=knows_former) for ecu in self.ecus.values()]
        self.config = GatewayConfig(
            vin="W0TABENCH00000001",
            ecus=(*endpoints, *others),
            state_dir=folder / "gateway",
            director_root=folder / "none",
            cloud_grpc="127.0.0.1:1",
            timing=GatewayTiming(boot_timeout_s=1.0, ecu_lost_timeout_s=2.0, soak_s=0.1),
        )
        self.restart()

    def restart(self, opener: ChannelOpener = open_channel) -> None:
        """Begin as a gateway that was killed does: only its folder is left."""
        self.vehicle = UdsVehicle(self.config, TraceWriter(self.trace_path, component="gateway"), opener=opener)

    def _endpoint(self, ecu: EcuOnBus, changes: dict[str, str] | None, *, knows_former: bool) -> EcuEndpoint:
        content, form = program_file(ecu.name, ecu.version)
        former = self.folder / f"{ecu.name}-former"
        former.write_bytes(content)
        config = ecu.config
        return EcuEndpoint(
            name=ecu.name,
            bus=config.bus,
            request_id=config.request_id,
            response_id=config.response_id,
            isotp=config.isotp,
            serial=config.serial,
            hardware_id=config.hardware_id,
            profile=str(quick_profile(ecu.name, self.folder, changes)),
            security_secret=SECRET,
            authentication=AuthenticationFiles(
                certificate=config.state_file.parent / "tester.pem", key=config.state_file.parent / "tester.key.pem"
            ),
            former_image=FormerImage(version=ecu.version, file=former, file_format=form) if knows_former else None,
        )

    def images(self, version: str) -> list[EcuImage]:
        """Return the images of a version for all simulated bootloaders."""
        images = []
        for name in self.ecus:
            content, form = program_file(name, version)
            path = self.folder / f"{name}-{version}"
            path.write_bytes(content)
            images.append(EcuImage(name, version, path, len(content), b"{}", payload=Payload(form)))
        return images

    def stage(self, images: list[EcuImage], job_id: str = "job-1") -> None:
        self.vehicle.stage(
            images, job_id=job_id, progress=self.seen.append, cancel=self.cancel, fetch_image=lambda _: None
        )

    def activate(self, images: list[EcuImage], job_id: str = "job-1") -> None:
        self.vehicle.activate(images, job_id=job_id, progress=self.seen.append)

    def verify(self, images: list[EcuImage], job_id: str = "job-1") -> None:
        self.vehicle.verify(images, job_id=job_id, progress=self.seen.append)

    def confirm(self, images: list[EcuImage], job_id: str = "job-1") -> dict[str, EcuIdentity]:
        return dict(self.vehicle.confirm(images, job_id=job_id, progress=self.seen.append))

    def revert(self, images: list[EcuImage], job_id: str = "job-1") -> dict[str, EcuIdentity]:
        return dict(self.vehicle.revert(images, job_id=job_id, progress=self.seen.append))

    def update(self, images: list[EcuImage], job_id: str = "job-1") -> dict[str, EcuIdentity]:
        """Run the whole update, up to the end of the job."""
        self.stage(images, job_id)
        self.activate(images, job_id)
        self.verify(images, job_id)
        identities = self.confirm(images, job_id)
        self.vehicle.finish(job_id=job_id)
        return identities

    def events(self) -> list[trace.TraceEvent]:
        """Return the gateway's events."""
        return list(trace.read(self.trace_path))

    def requests(self, ecu: str) -> list[str]:
        """Return the requests to an ECU in the trace, as hexadecimal digits."""
        events = [event for event in self.events() if event.event == "uds.exchange"]
        return [str(event.data["request"]) for event in events if event.ecu == ecu]

    def __enter__(self) -> BusRig:
        return self

    def __exit__(self, *_: object) -> None:
        self.vehicle.close()


def virtual_bus() -> dict[str, Any]:
    """Return the arguments of a new virtual bus."""
    return {"interface": "virtual", "channel": f"personalities-{next(_numbers)}"}
