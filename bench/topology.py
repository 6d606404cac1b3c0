"""The bench file: which vehicle, which buses, which ECUs. Its model, its rules, and its messages.

Decides whether a bench file is right and says of every mistake: the file, the key's path, what is wrong, what to do. It
opens no bus and starts nothing.

Rules:

* Unknown keys are mistakes; the nearest known key is named.
* Every ECU's bus exists; no two ECUs of a bus share an identifier, and none uses the functional request identifier.
* A real board (``kind: board``) needs its serial number and its security access secret, as nobody made them for it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import BenchFileError
from proto.process_config import EcuTiming, IsoTpConfig

FUNCTIONAL_ID = 0x7DF
DEFAULT_NAME = "default.bench.yaml"
USER_SPACE_BLOCK_SIZE = 8
"""Block size where ISO-TP runs in user space: with 0 the receiver's buffer overflows and frames are lost."""
NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,31}$"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VehicleEntry(_Model):
    """The vehicle."""

    vin: str = Field(pattern=r"^[A-HJ-NPR-Z0-9]{17}$")


class BusEntry(_Model):
    """One CAN bus, as ``can.Bus`` opens it."""

    interface: str = "socketcan"
    channel: str | int
    bitrate: int = Field(default=500_000, ge=10_000, le=1_000_000)
    """Nominal bit rate: a virtual bus is paced to it, a real one must be set to it."""
    data_bitrate: int | None = Field(default=None, ge=10_000, le=12_000_000)
    """CAN FD's data phase; None: the nominal rate."""
    fd: bool = False
    options: dict[str, Any] = {}
    """Further keyword arguments of ``can.Bus`` for this interface, passed on as they are."""

    def can_arguments(self) -> dict[str, Any]:
        """Keyword arguments for ``can.Bus``."""
        arguments: dict[str, Any] = {"interface": self.interface, "channel": self.channel, "fd": self.fd}
        if self.interface not in ("socketcan", "udp_multicast", "virtual"):
            arguments["bitrate"] = self.bitrate
            if self.data_bitrate is not None:
                arguments["data_bitrate"] = self.data_bitrate
        return arguments | self.options

    @property
    def is_vcan(self) -> bool:
        """Whether this is a virtual SocketCAN interface by its name, which can be paced."""
        return self.interface == "socketcan" and str(self.channel).startswith("vcan")


class PowerEntry(_Model):
    """How a real board's supply is switched."""

    driver: Literal["none", "command", "manual"] = "none"
    on: str = ""
    off: str = ""


class SecurityEntry(_Model):
    """Security access of an ECU."""

    algorithm: Literal["hmac-sha256"] = "hmac-sha256"
    secret: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """32 bytes, hex. None: made by `otabench keys init` (simulated ECUs only)."""


class EcuEntry(_Model):
    """One ECU."""

    kind: Literal["simulated", "board"] = "simulated"
    bus: str
    request_id: int = Field(ge=0, le=0x1FFF_FFFF)
    response_id: int = Field(ge=0, le=0x1FFF_FFFF)
    functional_id: int = Field(default=FUNCTIONAL_ID, ge=0, le=0x1FFF_FFFF)
    hardware_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")
    profile: Literal["iso14229-ab"] = "iso14229-ab"
    serial: str | None = Field(default=None, pattern=r"^[\x21-\x7e]{1,32}$")
    part_number: str | None = Field(default=None, pattern=r"^[\x21-\x7e]{1,32}$")
    image_size_bytes: int = Field(default=262_144, ge=4096, le=1_000_000)
    """Size of the firmware that `otabench firmware build` makes for it."""
    slot_size_bytes: int = Field(default=0x100000, ge=0x2000, le=0x100000)
    declared_ram_bytes: int = Field(default=4 * 1024 * 1024, ge=4096)
    isotp: IsoTpConfig | None = None
    """None: by the bus."""
    timing: EcuTiming = EcuTiming()
    features: tuple[str, ...] = ()
    power: PowerEntry = PowerEntry()
    security: SecurityEntry = SecurityEntry()


class Topology(_Model):
    """A whole bench file."""

    vehicle: VehicleEntry
    buses: dict[str, BusEntry] = Field(min_length=1)
    ecus: dict[str, EcuEntry] = Field(min_length=1)

    def serial_of(self, ecu: str) -> str:
        """The ECU's serial number: the file's, else one made from vehicle and name."""
        return self.ecus[ecu].serial or f"{ecu.upper()[:20]}-{self.vehicle.vin[-8:]}"

    def part_number_of(self, ecu: str) -> str:
        """The ECU's part number: the file's, else one made from its hardware id."""
        return self.ecus[ecu].part_number or f"OTB-{self.ecus[ecu].hardware_id.upper()}"[:32]

    def isotp_of(self, ecu: str) -> IsoTpConfig:
        """ISO-TP parameters of both ends: the file's, else what the ECU's bus needs."""
        entry = self.ecus[ecu]
        bus = self.buses[entry.bus]
        if entry.isotp is not None:
            return entry.isotp
        if bus.interface == "socketcan":
            return IsoTpConfig(fd=bus.fd)
        return IsoTpConfig(transport="user", block_size=USER_SPACE_BLOCK_SIZE, fd=bus.fd)

    def simulated(self) -> list[str]:
        """Names of the simulated ECUs, in the file's order."""
        return [name for name, entry in self.ecus.items() if entry.kind == "simulated"]

    def without_kernel_can(self) -> Topology:
        """The same bench on python-can's ``udp_multicast``, one group a bus, with user-space ISO-TP."""
        groups = {name: f"239.74.163.{2 + index}" for index, name in enumerate(self.buses)}
        return self.model_copy(
            update={
                "buses": {
                    name: bus.model_copy(update={"interface": "udp_multicast", "channel": groups[name], "options": {}})
                    if bus.interface == "socketcan"
                    else bus
                    for name, bus in self.buses.items()
                },
                "ecus": {
                    name: ecu.model_copy(update={"isotp": None})
                    if self.buses[ecu.bus].interface == "socketcan"
                    else ecu
                    for name, ecu in self.ecus.items()
                },
            }
        )


def default_text() -> str:
    """The default bench file's text."""
    return resources.files("bench").joinpath(DEFAULT_NAME).read_text(encoding="utf-8")


def load(path: Path | None = None) -> Topology:
    """Reads a bench file, or the default one.

    Raises:
        BenchFileError: it cannot be read or is wrong; one line for each mistake.
    """
    name = str(path) if path is not None else DEFAULT_NAME
    try:
        text = default_text() if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise BenchFileError(
            [f"{name}: the bench file cannot be read: {reason}; `otabench bench init FILE` writes one to start from"]
        ) from error
    return parse(text, name=name)


def parse(text: str, *, name: str) -> Topology:
    """Reads a bench file's text; ``name`` stands in the messages.

    Raises:
        BenchFileError: one line for each mistake.
    """
    try:
        content = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise BenchFileError([f"{name}: {_yaml_problem(error)}"]) from error
    if not isinstance(content, dict):
        raise BenchFileError([f"{name}: expected the keys vehicle, buses and ecus; see `otabench bench init FILE`"])
    try:
        topology = Topology.model_validate(content)
    except ValidationError as error:
        raise BenchFileError([f"{name}: {_field_problem(dict(detail))}" for detail in error.errors()]) from error
    problems = _cross_problems(topology)
    if problems:
        raise BenchFileError([f"{name}: {problem}" for problem in problems])
    return topology


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, which YAML's loader takes silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or 'not YAML'}; correct that line"
    return f"not YAML: {' '.join(str(error).split())}"


def _field_problem(detail: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    value = detail.get("input")
    if detail["type"] == "extra_forbidden":
        known = _known_keys(detail["loc"])
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(sorted(known))}"
        return f"{where}: unknown key; {remedy}"
    if detail["type"] == "missing":
        return f"{where}: this key is missing; add it"
    if detail["type"] == "string_pattern_mismatch":
        expected = {"vin": "17 capital letters and digits without I, O, Q"}.get(
            str(detail["loc"][-1]), f"the form {detail['ctx']['pattern']}"
        )
        return f"{where}: {value!r} does not fit; expected {expected}"
    message = str(detail["msg"])
    return f"{where}: {message[:1].lower()}{message[1:]}, found {value!r}; correct the value"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Keys that the model has where ``location``'s last part stands."""
    model: type[BaseModel] | None = Topology
    parts = list(location[:-1])
    while parts and model is not None:
        key = str(parts.pop(0))
        if model is Topology and key in ("buses", "ecus"):
            model = BusEntry if key == "buses" else EcuEntry
            parts = parts[1:]
            continue
        model = _SUBMODELS.get(key)
    return list(model.model_fields) if model is not None else []


_SUBMODELS: dict[str, type[BaseModel]] = {
    "vehicle": VehicleEntry,
    "isotp": IsoTpConfig,
    "timing": EcuTiming,
    "power": PowerEntry,
    "security": SecurityEntry,
}


def _cross_problems(topology: Topology) -> list[str]:
    """What is wrong between entries that are each right."""
    problems = []
    used: dict[tuple[str, int], str] = {}
    hardware: dict[str, str] = {}
    for name, ecu in topology.ecus.items():
        at = f"ecus.{name}"
        if not re.fullmatch(NAME_PATTERN, name):
            problems.append(f"{at}: {name!r} is no ECU name; use a small letter, then small letters, digits, - and _")
        if ecu.bus not in topology.buses:
            problems.append(
                f"{at}.bus: there is no bus {ecu.bus!r}; known buses: {', '.join(topology.buses)} (add it below `buses`)"
            )
        for key, can_id in (("request_id", ecu.request_id), ("response_id", ecu.response_id)):
            if can_id == ecu.functional_id:
                problems.append(f"{at}.{key}: 0x{can_id:X} is the functional request identifier; give the ECU its own")
                continue
            other = used.setdefault((ecu.bus, can_id), f"{at}.{key}")
            if other != f"{at}.{key}":
                problems.append(
                    f"{at}.{key}: 0x{can_id:X} is already {other} on bus {ecu.bus!r}; give each ECU its own identifiers"
                )
        other_ecu = hardware.setdefault(ecu.hardware_id, name)
        if other_ecu != name:
            problems.append(
                f"{at}.hardware_id: {ecu.hardware_id!r} is already that of {other_ecu!r}; a campaign names its images by it"
            )
        if ecu.kind == "board":
            if ecu.serial is None:
                problems.append(f"{at}.serial: a board's serial number (DID F18C) is missing; add it")
            if ecu.security.secret is None:
                problems.append(
                    f"{at}.security.secret: a board's security access secret is missing; add it (64 hex digits)"
                )
    channels: dict[tuple[str, str], str] = {}
    for name, bus in topology.buses.items():
        other_bus = channels.setdefault((bus.interface, str(bus.channel)), name)
        if other_bus != name:
            problems.append(f"buses.{name}.channel: {bus.channel!r} is already bus {other_bus!r}; one entry a bus")
    return problems
