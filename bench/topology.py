"""The bench file: which vehicle, which buses, which ECUs.

Decides what a whole file means: defaults that come from several entries, and that every mistake is told with file, key, what
is wrong and what to do (``bench.topology_rules``, in the words of ``bench.topology_words``). Its entries are
``bench.topology_entries``. It opens no bus and starts nothing.

Rules:

* Unknown keys are mistakes; the nearest known key is named.
* Every ECU's bus exists; no two ECUs of a bus share an identifier, and none uses the functional request identifier. Application
  frames have identifiers of their own.
* CAN FD is asked for only where the interface has it, of ISO-TP only on a bus that is CAN FD.
* A real board (``kind: board``) needs its serial number and its security access secret, as nobody made them for it.
* Files that the bench file names are relative to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from bench import bus_settings, topology_rules, topology_words
from bench.errors import BenchFileError
from bench.topology_entries import UDP_MULTICAST, BusEntry, EcuEntry, Entry, PowerEntry, SecurityEntry, VehicleEntry
from proto.process_config import IsoTpConfig

__all__ = ["BusEntry", "EcuEntry", "PowerEntry", "SecurityEntry", "Topology", "VehicleEntry", "load", "parse"]

DEFAULT_NAME = "default.bench.yaml"
COMMENTED_NAME = "commented.bench.yaml"
_BOOL = "tag:yaml.org,2002:bool"
USER_SPACE_BLOCK_SIZE = 8
"""Block size where ISO-TP runs in user space: with 0 the receiver's buffer overflows and frames are lost."""


class Topology(Entry):
    """A whole bench file."""

    vehicle: VehicleEntry
    buses: dict[str, BusEntry] = Field(min_length=1)
    ecus: dict[str, EcuEntry] = Field(min_length=1)
    keys: Path | None = None
    """Made earlier by `otabench keys init`, relative to the bench file; None: new ones for each run (no board trusts these)."""

    def serial_of(self, ecu: str) -> str:
        """The ECU's serial number: the file's, else one made from vehicle and name."""
        return self.ecus[ecu].serial or f"{ecu.upper()[:20]}-{self.vehicle.vin[-8:]}"

    def part_number_of(self, ecu: str) -> str:
        """The ECU's part number: the file's, else one made from its hardware id."""
        return self.ecus[ecu].part_number or f"OTB-{self.ecus[ecu].hardware_id.upper()}"[:32]

    def isotp_of(self, ecu: str) -> IsoTpConfig:
        """ISO-TP parameters of both ends: the file's, and where it says nothing what the ECU's bus needs."""
        bus = self.buses[self.ecus[ecu].bus]
        said = self.ecus[ecu].isotp or IsoTpConfig()
        needed: dict[str, Any] = {"fd": bus.fd}
        if bus.interface != "socketcan":
            needed |= {"transport": "user", "block_size": USER_SPACE_BLOCK_SIZE}
        return said.model_copy(update={key: needed[key] for key in needed.keys() - said.model_fields_set})

    def simulated(self) -> list[str]:
        """Names of the simulated ECUs, in the file's order."""
        return [name for name, entry in self.ecus.items() if entry.kind == "simulated"]

    def boards(self) -> list[str]:
        """Names of the real boards, in the file's order."""
        return [name for name, entry in self.ecus.items() if entry.kind == "board"]

    def with_control_port(self) -> list[str]:
        """Names of the ECUs that faults can be set at: the simulated ones, and boards with a fault injector."""
        return [
            name for name, entry in self.ecus.items() if entry.kind == "simulated" or entry.control_port is not None
        ]

    def without_kernel_can(self, *, udp_ports: Sequence[int]) -> Topology:
        """The same bench on python-can's ``udp_multicast``, on this machine only, with user-space ISO-TP.

        Args:
            udp_ports: one a bus: Linux hands a socket the frames of every group that anybody joined on its port.
        """
        ports = dict(zip(self.buses, udp_ports, strict=True))
        groups = {name: f"239.74.163.{2 + index}" for index, name in enumerate(self.buses)}
        return self.model_copy(
            update={
                "buses": {
                    name: bus.model_copy(
                        update={
                            "interface": UDP_MULTICAST,
                            "channel": groups[name],
                            "options": {"port": ports[name], "hop_limit": 0},
                        }
                    )
                    if bus.interface == "socketcan"
                    else bus
                    for name, bus in self.buses.items()
                },
                "ecus": {
                    name: ecu.model_copy(update={"isotp": ecu.isotp.model_copy(update={"transport": "user"})})
                    if ecu.isotp is not None and self.buses[ecu.bus].interface == "socketcan"
                    else ecu
                    for name, ecu in self.ecus.items()
                },
            }
        )


def default_text() -> str:
    """The default bench file's text."""
    return resources.files("bench").joinpath(DEFAULT_NAME).read_text(encoding="utf-8")


def commented_text() -> str:
    """A bench file to start from: the default bench, and what else can be said, as comments."""
    return resources.files("bench").joinpath(COMMENTED_NAME).read_text(encoding="utf-8")


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
    return parse(text, name=name, folder=path.parent if path is not None else None)


def parse(text: str, *, name: str, folder: Path | None = None) -> Topology:
    """Reads a bench file's text.

    Args:
        text: YAML.
        name: stands in the messages.
        folder: what relative paths in it are relative to; None: the working directory.

    Raises:
        BenchFileError: one line for each mistake.
    """
    try:
        content = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise BenchFileError([f"{name}: {topology_words.yaml_problem(error)}"]) from error
    if not isinstance(content, dict):
        raise BenchFileError([f"{name}: expected the keys vehicle, buses and ecus; see `otabench bench init FILE`"])
    problems = [problem for at in _mappings(content.get("buses")) for problem in bus_settings.complete(*at)]
    here = (folder or Path()).resolve()
    if isinstance(content.get("keys"), str):
        content["keys"] = str(here / content["keys"])
    for _, ecu in _mappings(content.get("ecus")):
        _make_absolute(ecu, here)
    try:
        topology = Topology.model_validate(content)
    except ValidationError as error:
        problems += dict.fromkeys(topology_words.field_problem(dict(detail)) for detail in error.errors())
        raise BenchFileError([f"{name}: {problem}" for problem in problems]) from error
    problems += topology_rules.cross_problems(topology)
    if problems:
        raise BenchFileError([f"{name}: {problem}" for problem in problems])
    return topology


def _mappings(section: Any) -> list[tuple[str, dict[str, Any]]]:
    """The entries of a section that are mappings; what is none is for the model to refuse."""
    if not isinstance(section, dict):
        return []
    return [(str(key), value) for key, value in section.items() if isinstance(value, dict)]


def _make_absolute(ecu: dict[str, Any], folder: Path) -> None:
    profile = ecu.get("profile")
    if isinstance(profile, str) and ("/" in profile or profile.endswith(".yaml")):
        ecu["profile"] = str(folder / profile)
    security = ecu.get("security")
    if isinstance(security, dict) and isinstance(security.get("secret_file"), str):
        security["secret_file"] = str(folder / security["secret_file"])


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping; ``on`` and ``off`` are words (YAML 1.2), not truth values."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(_BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
