"""What is wrong between the entries of a bench file that are each right, one line each: where, what, what to do. Pure.

What is wrong in one entry pydantic finds; ``topology.wording`` says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from otabench.bench.topology.entries import FD_BIT_TIMING, UDP_MULTICAST, BusEntry, EcuEntry
from otabench.bench.topology.model import Topology
from otabench.proto.isotp_address import connection_address, functional_address

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,31}$"


def cross_problems(topology: Topology) -> list[str]:
    """Return what is wrong between entries that are each right."""
    return [
        *_identifier_problems(topology),
        *_periodic_problems(topology),
        *_ecu_problems(topology),
        *_isotp_problems(topology),
        *_bus_problems(topology),
        *(problem for name, bus in topology.buses.items() for problem in _can_fd_problems(name, bus)),
    ]


def _identifier_problems(topology: Topology) -> Iterator[str]:
    """No two connections of a bus share an identifier (with extended addressing: identifier and address)."""
    used: dict[tuple[str, int, int | None], str] = {}
    for name, ecu in topology.ecus.items():
        if ecu.bus not in topology.buses:
            continue
        isotp = topology.isotp_of(name)
        try:
            address = connection_address(isotp, request_id=ecu.request_id, response_id=ecu.response_id)
            functional = functional_address(isotp, functional_id=ecu.functional_id)
        except ValueError as error:
            yield f"ecus.{name}.{error}"
            continue
        for key, frame in (("request_id", address.request), ("response_id", address.response)):
            at = f"ecus.{name}.{key}"
            if frame == functional:
                yield f"{at}: 0x{frame.can_id:X} is the functional request identifier; give the ECU its own"
                continue
            other = used.setdefault((ecu.bus, frame.can_id, frame.extension), at)
            if other != at:
                yield f"{at}: 0x{frame.can_id:X} is already {other} on bus {ecu.bus!r}; give each ECU its own identifiers"


def _periodic_problems(topology: Topology) -> Iterator[str]:
    """No application frame has the identifier of another ECU, whose receiver would take it for a diagnostic message."""
    used: dict[tuple[str, int], str] = {}
    for name, ecu in topology.ecus.items():
        for key in ("request_id", "response_id", "functional_id"):
            used.setdefault((ecu.bus, getattr(ecu, key)), f"ecus.{name}.{key}")
    for name, ecu in topology.ecus.items():
        for frame in ecu.periodic:
            other = used.get((ecu.bus, frame.id))
            if other is not None:
                yield (
                    f"ecus.{name}.periodic: 0x{frame.id:X} of {frame.name} is {other} on bus {ecu.bus!r}; "
                    "give it an identifier of its own"
                )


def _isotp_problems(topology: Topology) -> Iterator[str]:
    for name, ecu in topology.ecus.items():
        bus = topology.buses.get(ecu.bus)
        if bus is None or ecu.isotp is None:
            continue
        isotp, at = topology.isotp_of(name), f"ecus.{name}.isotp"
        if isotp.fd and not bus.fd:
            yield f"{at}.fd: bus {ecu.bus!r} is classic CAN; add `fd: true` to the bus, or leave it out here"
        elif (isotp.tx_dl or 8) > 8 and not isotp.fd:
            yield f"{at}.tx_dl: {isotp.tx_dl} bytes need CAN FD; add `fd: true` to bus {ecu.bus!r}, or leave tx_dl out"
        if isotp.transport == "kernel" and bus.interface != "socketcan":
            yield (
                f"{at}.transport: the kernel has ISO-TP only on SocketCAN, and bus {ecu.bus!r} is {bus.interface}; "
                "leave transport out, or use the adapter by its kernel driver (docs/hardware.md)"
            )


def _ecu_problems(topology: Topology) -> Iterator[str]:
    hardware: dict[str, str] = {}
    numbers: dict[int, str] = {}
    for name, ecu in topology.ecus.items():
        at = f"ecus.{name}"
        if not re.fullmatch(NAME_PATTERN, name):
            yield f"{at}: {name!r} is no ECU name; use a small letter, then small letters, digits, - and _"
        if ecu.bus not in topology.buses:
            known = ", ".join(topology.buses)
            yield f"{at}.bus: there is no bus {ecu.bus!r}; known buses: {known} (add it below `buses`)"
        other = hardware.setdefault(ecu.hardware_id, name)
        if other != name:
            yield f"{at}.hardware_id: {ecu.hardware_id!r} is already that of {other!r}; a campaign names its images by it"
        number = topology.image_number_of(name)
        other = numbers.setdefault(number, name)
        if other != name:
            yield (
                f"{at}.image_number: {number} is already that of {other!r}; give each ECU its own "
                "(where none is given it is the ECU's place in the file, from 1)"
            )
        yield from _board_problems(name, ecu) if ecu.kind == "board" else _simulator_problems(name, ecu)


def _board_problems(name: str, ecu: EcuEntry) -> Iterator[str]:
    at = f"ecus.{name}"
    if ecu.serial is None:
        yield f"{at}.serial: a board's serial number (DID F18C) is missing; add it"
    if ecu.security.secret is None and ecu.security.secret_file is None:
        yield f"{at}.security.secret: a board's security access secret is missing; add it (64 hex digits), or secret_file"
    if ecu.power.driver == "simulated":
        yield f"{at}.power.driver: a board is not simulated; use command or none"


def _simulator_problems(name: str, ecu: EcuEntry) -> Iterator[str]:
    if ecu.control_port is not None:
        yield f"ecus.{name}.control_port: a simulated ECU gets its own; remove it (it is for kind: board)"


def _bus_problems(topology: Topology) -> Iterator[str]:
    channels: dict[tuple[str, str], str] = {}
    for name, bus in topology.buses.items():
        other = channels.setdefault(bus.identity, name)
        if other == name:
            continue
        if bus.interface == UDP_MULTICAST and bus.channel != topology.buses[other].channel:
            yield (
                f"buses.{name}.port: bus {other!r} uses the same UDP port, and a port hears all its groups; "
                "give each bus a `port` of its own"
            )
        else:
            yield f"buses.{name}.channel: {bus.channel!r} is already bus {other!r}; one entry a bus"


_CLASSIC_ONLY = frozenset(
    {
        "canalystii",
        "cantact",
        "gs_usb",
        "iscan",
        "neousys",
        "nican",
        "robotell",
        "seeedstudio",
        "serial",
        "systec",
        "usb2can",
    }
)
"""Interfaces of python-can 4.6 that know no CAN FD, whatever the adapter does."""
_FD_BY_BIT_TIMING = frozenset({"pcan", "slcan"})
"""Interfaces of python-can that make nothing of data_bitrate."""


def _can_fd_problems(name: str, bus: BusEntry) -> Iterator[str]:
    at = f"buses.{name}"
    if not bus.fd:
        if bus.data_bitrate is not None:
            yield f"{at}.data_bitrate: needs CAN FD; add `fd: true`, or leave it out"
        return
    if bus.data_bitrate is not None and bus.data_bitrate < bus.bitrate:
        yield (
            f"{at}.data_bitrate: {bus.data_bitrate} is below bitrate {bus.bitrate}; CAN FD's data phase is at least as "
            "fast: correct one of them"
        )
    if bus.interface in _CLASSIC_ONLY:
        yield f"{at}.fd: python-can's {bus.interface} has no CAN FD; `fd: false`, or the kernel's driver (socketcan)"
    elif bus.interface == "socketcan" and str(bus.channel).startswith("slcan"):
        yield f"{at}.fd: {bus.channel} is a serial adapter by its name, and these have no CAN FD; `fd: false`"
    elif bus.interface in _FD_BY_BIT_TIMING and "timing" not in bus.options:
        in_mhz = bus.interface == "pcan" and "f_clock_mhz" in bus.options
        missing = FD_BIT_TIMING - bus.options.keys() - ({"f_clock"} if in_mhz else set())
        if missing:
            yield (
                f"{at}.fd: {bus.interface} takes CAN FD only with its bit timing; add {', '.join(sorted(missing))} "
                "(data_bitrate sets nothing here), or `fd: false`"
            )
