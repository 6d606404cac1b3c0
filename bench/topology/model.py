"""The contents of a whole bench file, and the defaults that depend on several of its entries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from otabench.bench.topology.entries import (
    DEFAULT_PROFILE,
    UDP_MULTICAST,
    BusEntry,
    EcuEntry,
    Entry,
    LabEntry,
    VehicleEntry,
)
from otabench.proto.conditions import ConditionSource, Quantity, standard_sources
from otabench.proto.process_config import IsoTpConfig

USER_SPACE_BLOCK_SIZE = 8
"""Block size for ISO-TP in user space: with 0 (no limit) the receiver's buffer overflows and frames are lost."""


class Topology(Entry):
    """A whole bench file."""

    vehicle: VehicleEntry
    buses: dict[str, BusEntry] = Field(min_length=1)
    ecus: dict[str, EcuEntry] = Field(min_length=1)
    keys: Path | None = None
    """Folder made by `otabench keys init`, relative to the bench file. None: new keys for each run, which no board trusts."""

    lab: LabEntry | None = None
    """The place of a shared lab that this bench is."""

    def serial_of(self, ecu: str) -> str:
        """Return the ECU's serial number: the file's, else one made from vehicle and name."""
        return self.ecus[ecu].serial or f"{ecu.upper()[:20]}-{self.vehicle.vin[-8:]}"

    def part_number_of(self, ecu: str) -> str:
        """Return the ECU's part number: the file's, else one made from its hardware id."""
        return self.ecus[ecu].part_number or f"OTB-{self.ecus[ecu].hardware_id.upper()}"[:32]

    def image_number_of(self, ecu: str) -> int:
        """Return the number by which images of other ECUs refer to this one: the file's, else its place in the file."""
        return self.ecus[ecu].image_number or list(self.ecus).index(ecu) + 1

    def isotp_of(self, ecu: str) -> IsoTpConfig:
        """Return the ISO-TP parameters of both ends: the file's; those that it omits are chosen by the ECU's bus."""
        bus = self.buses[self.ecus[ecu].bus]
        given = self.ecus[ecu].isotp or IsoTpConfig()
        needed: dict[str, Any] = {"fd": bus.fd}
        if bus.interface != "socketcan":
            needed |= {"transport": "user", "block_size": USER_SPACE_BLOCK_SIZE}
        return given.model_copy(update={key: needed[key] for key in needed.keys() - given.model_fields_set})

    def condition_sources(self) -> dict[Quantity, ConditionSource]:
        """Return where the gateway takes quantities from: the file's sources; others from the first simulated A/B ECU, if there is one."""
        simulated = [name for name in self.simulated() if self.ecus[name].profile == DEFAULT_PROFILE]
        return {**(standard_sources(simulated[0]) if simulated else {}), **self.vehicle.conditions}

    def identifiers_on(self, bus: str) -> frozenset[int]:
        """Return all identifiers that the ECUs of a bus use: diagnostic and periodic ones, and the one that inhibits the vehicle."""
        here = [entry for entry in self.ecus.values() if entry.bus == bus]
        diagnostic = {number for ecu in here for number in (ecu.request_id, ecu.response_id, ecu.functional_id)}
        inhibit = {self.vehicle.inhibit.id} if self.vehicle.inhibit is not None else set()
        return frozenset(diagnostic | inhibit | {frame.id for ecu in here for frame in ecu.periodic})

    def simulated(self) -> list[str]:
        """Return the names of the simulated ECUs, in the file's order."""
        return [name for name, entry in self.ecus.items() if entry.kind == "simulated"]

    def boards(self) -> list[str]:
        """Return the names of the real boards, in the file's order."""
        return [name for name, entry in self.ecus.items() if entry.kind == "board"]

    def with_control_port(self) -> list[str]:
        """Return the names of the ECUs that accept faults: the simulated ones, and boards with a fault injector."""
        return [
            name for name, entry in self.ecus.items() if entry.kind == "simulated" or entry.control_port is not None
        ]

    def without_kernel_can(self, *, udp_ports: Sequence[int]) -> Topology:
        """Return the same bench on python-can's ``udp_multicast``, on this machine only, with user-space ISO-TP.

        Args:
            udp_ports: one for each bus: Linux delivers to a socket the frames of every group that any socket joined on its port.
        """
        # 239.x.x.x: administratively scoped multicast (RFC 2365), which routers do not forward by default
        ports = dict(zip(self.buses, udp_ports, strict=True))
        groups = {name: f"239.74.163.{2 + index}" for index, name in enumerate(self.buses)}
        return self.model_copy(
            update={
                "buses": {
                    name: bus.model_copy(
                        update={
                            "interface": UDP_MULTICAST,
                            "channel": groups[name],
                            "options": {"port": ports[name], "hop_limit": 0},  # 0: the frames stay on this machine
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
