"""A vehicle in memory and files: the second implementation of ``bench.gateway.vehicle.Vehicle``.

Its ECUs are models, not mocks: slots with images, trial boots, power, and a check of what they are given against the
Director's Targets. Their state lies in a folder, so that it outlives the gateway's process as real ECUs do. Faults are set in
a file there and hold until cleared.
"""

from __future__ import annotations

import hashlib
import json
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bsdiff4

from otabench.bench.gateway.config import GatewayConfig
from otabench.bench.gateway.vehicle import EcuImage, EcuProgress, Phase, ProgressListener
from otabench.bench.uds.errors import DependenciesNotMet, EcuLost, FlashCanceled, FlashError
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.slot_table import Slot, SlotState
from otabench.proto import image_format
from otabench.proto.conditions import ConditionSource, Quantity
from otabench.proto.trace import TraceWriter

_CHUNK_BYTES = 1024


@dataclass(frozen=True)
class ModelEcu:
    """An ECU in its factory state."""

    name: str
    serial: str
    hardware_id: str


def firmware(hardware_id: str, version: str, *, security_counter: int = 1, size: int = 4096) -> bytes:
    """Return an unsigned image in MCUboot's format, as the model's bootloader expects it."""
    wanted = image_format.ImageVersion.parse(version)
    body = b"".join(
        hashlib.sha256(f"{hardware_id} {version.split('.')[0]} {i}".encode()).digest() for i in range(size // 32)
    )
    protected_values = struct.pack("<HHI", image_format.TLV_SECURITY_COUNTER, 4, security_counter)
    protected_values += struct.pack("<HH", image_format.TLV_UUID_CLASS, 16) + image_format.class_id_of(hardware_id)
    protected = struct.pack("<HH", image_format.TLV_PROTECTED_INFO_MAGIC, 4 + len(protected_values)) + protected_values
    header = image_format.HEADER_FORMAT.pack(
        image_format.IMAGE_MAGIC, 0, 32, len(protected), len(body), 0,
        wanted.major, wanted.minor, wanted.revision, wanted.build, 0,
    )  # fmt: skip
    digest = hashlib.sha256(header + body + protected).digest()
    tlvs = struct.pack("<HHHH", image_format.TLV_INFO_MAGIC, 40, image_format.TLV_SHA256, 32) + digest
    return header + body + protected + tlvs


class ModelVehicle:
    """See ``Vehicle``. Faults of an ECU: ``silent`` (count of calls), ``boot-fail``, ``refuse`` (NRC by step), ``no-revert``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def build(cls, folder: Path, ecus: list[ModelEcu], *, version: str = "1.0.0") -> ModelVehicle:
        """Make a vehicle whose ECUs all run ``version``, confirmed."""
        folder.mkdir(parents=True)
        for ecu in ecus:
            image = firmware(ecu.hardware_id, version)
            (folder / f"{ecu.name}.0").write_bytes(image)
            slots = [_slot(SlotState.CONFIRMED, version, 1), _slot(SlotState.EMPTY, "", 0)]
            state = {"serial": ecu.serial, "hardware_id": ecu.hardware_id, "active": 0, "boots": 0, "slots": slots}
            (folder / f"{ecu.name}.json").write_text(json.dumps(state))
        (folder / "faults.json").write_text("{}")
        return cls(folder)

    # What a test does to it

    def set_fault(self, ecu: str, **fault: Any) -> None:
        """Set faults of an ECU; ``None`` clears one."""
        faults = json.loads((self._folder / "faults.json").read_text())
        mine = {k: v for k, v in {**faults.get(ecu, {}), **fault}.items() if v is not None}
        _write(self._folder / "faults.json", json.dumps({**faults, ecu: mine}))

    def set_values(self, **values: float) -> None:
        """Set what the vehicle measures, by quantity. A quantity that is not named cannot be read."""
        _write(self._folder / "values.txt", json.dumps(values))

    def running(self) -> dict[str, tuple[str, str]]:
        """Return the version and state of each ECU's running slot."""
        return {
            name: (ecu["slots"][ecu["active"]]["version"], ecu["slots"][ecu["active"]]["state"])
            for name, ecu in ((name, self._load(name)) for name in self._names())
        }

    def calls(self) -> list[str]:
        """Return the calls that a gateway made, in order."""
        log = self._folder / "calls.log"
        return log.read_text().split() if log.exists() else []

    # Vehicle

    def identify(self) -> Mapping[str, EcuIdentity]:
        return {name: self._identity(name) for name in self._names()}

    def version_reports(self, nonce: bytes) -> Mapping[str, bytes]:
        return {}

    def read_conditions(self, sources: Mapping[Quantity, ConditionSource], *, job_id: str) -> Mapping[Quantity, float]:
        file = self._folder / "values.txt"
        values = json.loads(file.read_text()) if file.exists() else {}
        return {quantity: values[quantity] for quantity in sources if quantity in values}

    def stage(
        self,
        images: list[EcuImage],
        *,
        job_id: str,
        progress: ProgressListener,
        cancel: threading.Event,
        fetch_image: Callable[[str], None],
    ) -> None:
        self._called("stage")
        for image in images:
            self._answer(image.ecu, "10 02 programming session")
            ecu = self._load(image.ecu)
            inactive = 1 - ecu["active"]
            slot = ecu["slots"][inactive]
            if image.version in (slot["version"], ecu["slots"][ecu["active"]]["version"]) and slot["state"] == "STAGED":
                progress(EcuProgress(image.ecu, Phase.STAGED))
                continue
            data = self._data_for(image, ecu, fetch_image)
            slot.update(_slot(SlotState.INVALID, "", 0))
            self._save(image.ecu, ecu)
            self._transfer(image, data, progress, cancel)
            version, counter = self._check_memory(image, ecu, data)
            slot.update(_slot(SlotState.STAGED, version, counter))
            _write(self._folder / f"{image.ecu}.{inactive}", data)
            self._save(image.ecu, ecu)
            progress(EcuProgress(image.ecu, Phase.STAGED, len(data), len(data)))

    def activate(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> None:
        self._called("activate")
        for image in images:
            if self._faults(image.ecu).get("dependencies-not-met"):
                raise DependenciesNotMet(f"not met: {image.needs}", ecu=image.ecu, step="31 01 FF01 check dependencies")
            self._answer(image.ecu, "31 01 0210 activate")
            ecu = self._load(image.ecu)
            other = ecu["slots"][1 - ecu["active"]]
            if ecu["slots"][ecu["active"]]["version"] == image.version:
                continue
            if other["state"] != "STAGED" or other["version"] != image.version:
                raise FlashError("nothing is staged", ecu=image.ecu, step="31 01 0210 activate", nrc=0x22)
            progress(EcuProgress(image.ecu, Phase.ACTIVATING))
            other["state"] = "TRIAL"
            if not self._faults(image.ecu).get("boot-fail"):
                ecu["active"] = 1 - ecu["active"]
            else:
                other["state"] = "INVALID"
            self._save(image.ecu, ecu)

    def verify(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        self._called("verify")
        for image in images:
            self._answer(image.ecu, "22 F189 software version")
            identity = self._identity(image.ecu)
            if identity.software_version != image.version:
                raise FlashError(
                    f"runs {identity.software_version}, not {image.version}: it rolled back",
                    ecu=image.ecu,
                    step="verify",
                )
            progress(EcuProgress(image.ecu, Phase.TRIAL))
        return self.identify()

    def confirm(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        self._called("confirm")
        for image in images:
            self._answer(image.ecu, "31 01 0211 confirm")
            ecu = self._load(image.ecu)
            ecu["slots"][ecu["active"]]["state"] = "CONFIRMED"
            self._save(image.ecu, ecu)
            progress(EcuProgress(image.ecu, Phase.CONFIRMED))
        return self.identify()

    def revert(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        self._called("revert")
        for image in images:
            self._answer(image.ecu, "31 01 0212 revert")
            if self._faults(image.ecu).get("no-revert"):
                raise FlashError("refused", ecu=image.ecu, step="31 01 0212 revert", nrc=0x22)
            ecu = self._load(image.ecu)
            if ecu["slots"][ecu["active"]]["version"] == image.version:
                ecu["slots"][ecu["active"]]["state"] = "INVALID"
                ecu["active"] = 1 - ecu["active"]
            self._save(image.ecu, ecu)
            progress(EcuProgress(image.ecu, Phase.REVERTED))
        return self.identify()

    def finish(self, *, job_id: str) -> None:
        self._called("finish")

    def close(self) -> None:
        self._called("close")

    # The ECUs

    def _data_for(self, image: EcuImage, ecu: dict[str, Any], fetch_image: Callable[[str], None]) -> bytes:
        if image.patch is not None and not self._faults(image.ecu).get("refuse-patch"):
            self._called("patch")
            active = (self._folder / f"{image.ecu}.{ecu['active']}").read_bytes()
            return bytes(bsdiff4.patch(active, image.patch.read_bytes()))
        if not image.image.exists():
            fetch_image(image.ecu)
        return image.image.read_bytes()

    def _transfer(self, image: EcuImage, data: bytes, progress: ProgressListener, cancel: threading.Event) -> None:
        pace_s = float(self._faults(image.ecu).get("pace_s", 0.0))
        for done in range(0, len(data), _CHUNK_BYTES):
            if cancel.is_set():
                raise FlashCanceled
            if pace_s:
                time.sleep(pace_s)
            self._answer(image.ecu, "36 transfer data")
            here = min(done + _CHUNK_BYTES, len(data))
            progress(EcuProgress(image.ecu, Phase.TRANSFERRING, here, len(data), 20_000.0))

    def _check_memory(self, image: EcuImage, ecu: dict[str, Any], data: bytes) -> tuple[str, int]:
        step = "31 01 0202 check memory"
        self._answer(image.ecu, step)
        targets = json.loads(image.metadata)["signed"]["targets"]
        mine = [entry for entry in targets.values() if entry["custom"]["ecu_serial"] == ecu["serial"]]
        if not mine or mine[0]["hashes"]["sha256"] != hashlib.sha256(data).hexdigest():
            raise FlashError("status 02", ecu=image.ecu, step=step)
        parsed = image_format.parse(data)
        if parsed.class_id != image_format.class_id_of(ecu["hardware_id"]):
            raise FlashError("status 03: image of another ECU", ecu=image.ecu, step=step)
        return str(parsed.version), parsed.security_counter or 0

    def _answer(self, name: str, step: str) -> None:
        """Answer the step, unless a fault prevents it."""
        faults = self._faults(name)
        silent = int(faults.get("silent", 0))
        if silent:
            self.set_fault(name, silent=silent - 1 or None)
            raise EcuLost("no answer", ecu=name, step=step)
        for refused, nrc in faults.get("refuse", {}).items():
            if refused in step:
                raise FlashError("refused", ecu=name, step=step, nrc=nrc)

    def _identity(self, name: str) -> EcuIdentity:
        self._answer(name, "22 F18C serial number")
        ecu = self._load(name)
        slots = tuple(Slot(SlotState(s["state"]), s["version"], s["counter"]) for s in ecu["slots"])
        return EcuIdentity(
            ecu=name,
            serial=ecu["serial"],
            hardware_id=ecu["hardware_id"],
            software_version=slots[ecu["active"]].version,
            active_slot=ecu["active"],
            boots_left=ecu["boots"],
            slots=slots,
        )

    def _names(self) -> list[str]:
        return sorted((p.stem for p in self._folder.glob("*.json") if p.stem != "faults"), reverse=True)

    def _load(self, name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self._folder / f"{name}.json").read_text())
        return loaded

    def _save(self, name: str, ecu: dict[str, Any]) -> None:
        _write(self._folder / f"{name}.json", json.dumps(ecu))

    def _faults(self, name: str) -> dict[str, Any]:
        faults: dict[str, Any] = json.loads((self._folder / "faults.json").read_text()).get(name, {})
        return faults

    def _called(self, what: str) -> None:
        with (self._folder / "calls.log").open("a") as log:
            log.write(what + "\n")


def beside_state(config: GatewayConfig, _trace: TraceWriter) -> ModelVehicle:
    """Return the vehicle of a gateway that is a process. It is stored beside the state folder."""
    return ModelVehicle(config.state_dir.parent / "vehicle")


def _slot(state: SlotState, version: str, counter: int) -> dict[str, Any]:
    return {"state": str(state), "version": version, "counter": counter}


def _write(path: Path, content: str | bytes) -> None:
    """Write the model atomically: the gateway may be killed during the write, and a real ECU would survive that."""
    partial = path.with_suffix(path.suffix + ".new")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    partial.replace(path)
