"""Simulated ECUs as processes (``python -m otabench.ecu_firmware_sim``), for the tests that need real ones."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.proto.inhibit import InhibitFrame
from otabench.proto.process_config import EcuConfig, EcuTiming, IsoTpConfig
from tests.ecu_firmware_sim.factory import SECRET, VIN, ImageMaker, Keys, Manifest, patch_facts
from tests.waiting import PATIENCE_S


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RealEcu:
    """One ECU process, as a context manager."""

    name: str
    number: int
    folder: Path
    bus: dict[str, Any]
    keys: Keys
    make_image: ImageMaker
    isotp: IsoTpConfig = field(default_factory=IsoTpConfig)
    size: int = 9000
    decryption_key: Path | None = None
    inhibit: InhibitFrame | None = None

    def __post_init__(self) -> None:
        self.serial = f"{self.name.upper()}-0001"
        self.hardware_id = f"{self.name}-mcu"
        self.port = free_port()
        self.old = self._image("1.0.0", 1)
        self.new = self._image("2.0.0", 2)

    def _image(self, version: str, counter: int) -> bytes:
        body = (version.encode() + b" some code, ") * (self.size // 18)
        return self.make_image(version, counter=counter, body=body, hardware_id=self.hardware_id)

    def __enter__(self) -> RealEcu:
        factory_image = self.folder / f"{self.name}-factory.bin"
        factory_image.write_bytes(self.old)
        config = EcuConfig(
            name=self.name,
            vin=VIN,
            serial=self.serial,
            hardware_id=self.hardware_id,
            part_number="P-1",
            bus=self.bus,
            request_id=0x7E0 + self.number,
            response_id=0x7E8 + self.number,
            isotp=self.isotp,
            timing=EcuTiming(security_delay_s=1.0),
            security_secret=SECRET.hex(),
            state_file=self.folder / f"{self.name}.flash",
            factory_image=factory_image,
            image_public_key=self.keys.folder / "image.pub.pem",
            director_root=self.keys.folder / "root.json",
            control_port=self.port,
            decryption_key=self.decryption_key,
            inhibit=self.inhibit,
            trace=self.folder / "trace.jsonl",
        )
        path = self.folder / f"{self.name}.json"
        path.write_text(config.model_dump_json())
        self.log = (self.folder / f"{self.name}.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "otabench.ecu_firmware_sim", "--config", str(path)], stdout=self.log, stderr=self.log
        )
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if self.control(op="state").get("mode") == "application":
                    return self
            except OSError:
                pass
            assert self.process.poll() is None, (self.folder / f"{self.name}.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.log.close()

    def control(self, **request: Any) -> Mapping[str, Any]:
        """Send one request to the control port, and return the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as wire:
            wire.sendall(json.dumps(request).encode() + b"\n")
            answer: Mapping[str, Any] = json.loads(wire.makefile().readline())
            return answer

    def endpoint(self) -> EcuEndpoint:
        return EcuEndpoint(
            name=self.name,
            bus=self.bus,
            request_id=0x7E0 + self.number,
            response_id=0x7E8 + self.number,
            isotp=self.isotp,
            serial=self.serial,
            hardware_id=self.hardware_id,
            security_secret=SECRET.hex(),
        )

    def image(self, patch: bytes | None = None, *, base: bytes | None = None, **falsified: Any) -> EcuImage:
        """Return the update to 2.0.0 with its manifest, which may be forged. ``base``: the base image of the patch."""
        path = self.folder / f"{self.name}-new.bin"
        path.write_bytes(self.new)
        patch_path = self.folder / f"{self.name}.bsdiff"
        patch_path.write_bytes(patch or b"")
        if patch is not None:
            falsified.setdefault("patch", patch_facts(base or self.old, patch))
        facts: dict[str, Any] = {"image": self.new, "serial": self.serial, "hardware_id": self.hardware_id}
        return EcuImage(
            ecu=self.name,
            version="2.0.0",
            image=path,
            image_length=len(self.new),
            metadata=Manifest(**{**facts, **falsified}).signed(self.keys.targets),
            patch=patch_path if patch else None,
            patch_length=len(patch or b""),
        )
