"""Rules across the entries of a bench file. Each entry has been validated by itself before. No I/O.

Mistakes within one entry are found by pydantic, and worded in ``topology.wording``. All findings are ``FAIL``; ``where`` is the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import ValidationError

from otabench.bench.finding import Finding, fail
from otabench.bench.topology.entries import FD_BIT_TIMING, UDP_MULTICAST, BusEntry, EcuEntry, LabEntry, VehicleEntry
from otabench.bench.topology.model import Topology
from otabench.proto.isotp_address import connection_address, functional_address

NAME_PATTERN = r"[a-z][a-z0-9_-]{0,31}"
BUS_NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}"
SIMULATOR_SECRET_DIGITS = 64
_INTERFACE_PATTERN = r"(?!\.\.?$)[^\s/:]{1,15}"


def is_interface_name(text: str) -> bool:
    """Return whether Linux takes a text as the name of a network interface."""
    return re.fullmatch(_INTERFACE_PATTERN, text) is not None


def cross_findings(topology: Topology) -> list[Finding]:
    """Return the mistakes between entries that are valid by themselves."""
    return [
        *_identifier_findings(topology),
        *_periodic_findings(topology),
        *_inhibit_findings(topology),
        *_ecu_findings(topology),
        *_isotp_findings(topology),
        *_condition_findings(topology),
        *_bus_findings(topology),
        *(finding for name, bus in topology.buses.items() for finding in _can_fd_findings(name, bus)),
    ]


def partial_findings(content: Any) -> list[Finding]:
    """Return the mistakes between those entries of a file that are valid by themselves, although others are not.

    Otherwise a user would correct the invalid entries, and only then hear of these mistakes.

    Args:
        content: of the file, of any shape.
    """
    if not isinstance(content, dict):
        return []
    buses, ecus = _valid(BusEntry, content.get("buses")), _valid(EcuEntry, content.get("ecus"))
    # ``model_construct`` does not demand that there is any bus or ECU. Of the vehicle no rule is checked here: any valid one will do.
    partial = Topology.model_construct(
        vehicle=VehicleEntry(vin="0" * 17), buses=buses, ecus=ecus, keys=None, lab=_any_lab(content)
    )
    findings = cross_findings(partial)
    # What an entry refers to may be among the invalid ones, and the default image number is the place among all of them.
    return [each for each in findings if not each.where.endswith((".bus", ".image_number"))]


_E = TypeVar("_E", BusEntry, EcuEntry)


def _valid(kind: type[_E], section: Any) -> dict[str, _E]:
    """Return the entries of a section that are valid by themselves."""
    found = {}
    for name, entry in section.items() if isinstance(section, dict) else ():
        with suppress(ValidationError):
            found[str(name)] = kind.model_validate(entry)
    return found


def _any_lab(content: dict[Any, Any]) -> LabEntry | None:
    return LabEntry(place="any") if content.get("lab") else None


def _identifier_findings(topology: Topology) -> Iterator[Finding]:
    """No two connections on a bus may use the same identifier. With extended addressing, the pair of identifier and address counts."""
    used: dict[
        tuple[str, int, int | None], str
    ] = {}  # (bus, identifier, address byte): where it is used, e.g. ecus.engine.request_id
    for name, ecu in topology.ecus.items():
        if ecu.bus not in topology.buses:
            continue  # ``_ecu_findings`` reports the missing bus
        isotp = topology.isotp_of(name)
        try:
            address = connection_address(isotp, request_id=ecu.request_id, response_id=ecu.response_id)
            functional = functional_address(isotp, functional_id=ecu.functional_id)
        except ValueError as error:
            yield fail(f"ecus.{name}", str(error))
            continue
        for key, frame in (("request_id", address.request), ("response_id", address.response)):
            at = f"ecus.{name}.{key}"
            if frame == functional:
                yield fail(at, f"0x{frame.can_id:X} is the functional request identifier", "give the ECU its own")
                continue
            other = used.setdefault((ecu.bus, frame.can_id, frame.extension), at)
            if other != at:
                yield fail(
                    at, f"0x{frame.can_id:X} is already {other} on bus {ecu.bus!r}", "give each ECU its own identifiers"
                )


def _periodic_findings(topology: Topology) -> Iterator[Finding]:
    """Return findings on application frames with a diagnostic identifier: its ECU would receive the frame as a diagnostic message."""
    used: dict[tuple[str, int], str] = {}
    for name, ecu in topology.ecus.items():
        for key in ("request_id", "response_id", "functional_id"):
            used.setdefault((ecu.bus, getattr(ecu, key)), f"ecus.{name}.{key}")
    for name, ecu in topology.ecus.items():
        for frame in ecu.periodic:
            other = used.get((ecu.bus, frame.id))
            if other is not None:
                yield fail(
                    f"ecus.{name}.periodic",
                    f"0x{frame.id:X} of {frame.name} is {other} on bus {ecu.bus!r}",
                    "give it an identifier of its own",
                )


def _inhibit_findings(topology: Topology) -> Iterator[Finding]:
    """Return findings on ECUs that use the identifier of the frame that inhibits the vehicle, which is sent on all buses."""
    frame = topology.vehicle.inhibit
    for name, ecu in topology.ecus.items() if frame is not None else ():
        assert frame is not None
        diagnostic = {key: getattr(ecu, key) for key in ("request_id", "response_id", "functional_id")}
        for key, number in {**diagnostic, **{f"periodic {each.name}": each.id for each in ecu.periodic}}.items():
            if number == frame.id:
                yield fail(
                    "vehicle.inhibit.id",
                    f"0x{frame.id:X} is {key} of ecus.{name}",
                    "give it an identifier of its own",
                )


def _condition_findings(topology: Topology) -> Iterator[Finding]:
    for quantity, source in topology.vehicle.conditions.items():
        if source.ecu and source.ecu not in topology.ecus:
            yield fail(
                f"vehicle.conditions.{quantity}.ecu",
                f"there is no ECU {source.ecu!r}",
                f"known ECUs: {', '.join(topology.ecus)}",
            )


def _isotp_findings(topology: Topology) -> Iterator[Finding]:
    for name, ecu in topology.ecus.items():
        bus = topology.buses.get(ecu.bus)
        if bus is None or ecu.isotp is None:
            continue
        isotp, at = topology.isotp_of(name), f"ecus.{name}.isotp"
        if isotp.fd and not bus.fd:
            yield fail(f"{at}.fd", f"bus {ecu.bus!r} is classic CAN", "add `fd: true` to the bus, or leave it out here")
        elif (isotp.tx_dl or 8) > 8 and not isotp.fd:
            yield fail(
                f"{at}.tx_dl",
                f"{isotp.tx_dl} bytes need CAN FD",
                f"add `fd: true` to bus {ecu.bus!r}, or leave tx_dl out",
            )
        if isotp.transport == "kernel" and bus.interface != "socketcan":
            yield fail(
                f"{at}.transport",
                f"the kernel has ISO-TP only on SocketCAN, and bus {ecu.bus!r} is {bus.interface}",
                "leave transport out, or use the adapter by its kernel driver (docs/hardware.md)",
            )


def _ecu_findings(topology: Topology) -> Iterator[Finding]:
    hardware: dict[str, str] = {}
    numbers: dict[int, str] = {}
    for name, ecu in topology.ecus.items():
        at = f"ecus.{name}"
        if not re.fullmatch(NAME_PATTERN, name):
            yield fail(
                at,
                f"{name[:40]!r} is not a valid ECU name",
                "use 1 to 32 lower-case letters, digits, - and _, a letter first",
            )
        if ecu.bus not in topology.buses:
            known = ", ".join(topology.buses)
            yield fail(f"{at}.bus", f"there is no bus {ecu.bus!r}", f"known buses: {known} (add it below `buses`)")
        other = hardware.setdefault(ecu.hardware_id, name)
        if other != name:
            yield fail(
                f"{at}.hardware_id",
                f"{ecu.hardware_id!r} is already that of {other!r}",
                "a campaign selects each ECU's image by hardware_id: give each ECU a different one",
            )
        if ecu.power.driver == "labgrid" and topology.lab is None:
            yield fail(f"{at}.power.driver", "labgrid needs a place", "add `lab: {place: NAME}` to the file")
        number = topology.image_number_of(name)
        other = numbers.setdefault(number, name)
        if other != name:
            yield fail(
                f"{at}.image_number",
                f"{number} is already that of {other!r}",
                "give each ECU its own (default: the ECU's position in the file, starting at 1)",
            )
        yield from _board_findings(name, ecu) if ecu.kind == "board" else _simulator_findings(name, ecu)


def missing_board_keys(content: Any) -> Iterator[Finding]:
    """Return what boards are missing in a file whose entries are not valid by themselves, so that all missing keys are reported at once.

    Args:
        content: of the file, of any shape.
    """
    ecus = content.get("ecus") if isinstance(content, dict) else None
    for name, entry in ecus.items() if isinstance(ecus, dict) else ():
        if isinstance(entry, dict) and entry.get("kind") == "board":
            security = entry.get("security", {})
            has_secret = not isinstance(security, dict) or bool({"secret", "secret_file", "choices"} & set(security))
            yield from _missing_of_board(f"ecus.{name}", has_serial="serial" in entry, has_secret=has_secret)


def _missing_of_board(at: str, *, has_serial: bool, has_secret: bool) -> Iterator[Finding]:
    if not has_serial:
        yield fail(f"{at}.serial", "a board's serial number (DID F18C) is missing", "add it")
    if not has_secret:
        yield fail(
            f"{at}.security.secret",
            "a board's security access secret is missing",
            'add it (hex digits), or secret_file; `secret: ""` if it has no security access',
        )


def _board_findings(name: str, ecu: EcuEntry) -> Iterator[Finding]:
    at = f"ecus.{name}"
    security = ecu.security
    has_secret = security.secret is not None or security.secret_file is not None or bool(security.choices)
    yield from _missing_of_board(at, has_serial=ecu.serial is not None, has_secret=has_secret)
    if ecu.personality is not None:
        yield fail(f"{at}.personality", "a board has its own bootloader", "remove this key (it is for kind: simulated)")
    if ecu.authentication is not None and ecu.authentication.root is not None:
        yield fail(
            f"{at}.authentication.root", "a board has its own root", "remove this key (it is for kind: simulated)"
        )
    if ecu.power.driver == "simulated":
        yield fail(
            f"{at}.power.driver", "a board is not simulated", "set power.driver to `command`, `labgrid` or `none`"
        )


def _simulator_findings(name: str, ecu: EcuEntry) -> Iterator[Finding]:
    if ecu.security.secret is not None and len(ecu.security.secret) != SIMULATOR_SECRET_DIGITS:
        yield fail(
            f"ecus.{name}.security.secret",
            f"a secret of {len(ecu.security.secret)} characters does not fit",
            f"expected {SIMULATOR_SECRET_DIGITS} hexadecimal digits",
        )
    if ecu.authentication is not None and ecu.authentication.root is None:
        yield fail(
            f"ecus.{name}.authentication.root",
            "the certificate that the simulated ECU trusts is missing",
            "add it, or remove authentication: the bench then makes certificates for each run",
        )
    if ecu.control_port is not None:
        yield fail(
            f"ecus.{name}.control_port",
            "the bench chooses the control port of a simulated ECU",
            "remove this key (it is for kind: board)",
        )


def _bus_findings(topology: Topology) -> Iterator[Finding]:
    channels: dict[tuple[str, str], str] = {}  # by ``BusEntry.identity``
    for name, bus in topology.buses.items():
        # Captures and processes' files are named after the bus.
        if not re.fullmatch(BUS_NAME_PATTERN, name):
            yield fail(
                f"buses.{name[:40]}",
                f"{name[:40]!r} is not a bus name",
                "use at most 32 letters, digits, -, _ and dots, a letter or digit first",
            )
        if bus.interface == "socketcan" and not is_interface_name(str(bus.channel)):
            yield fail(
                f"buses.{name[:40]}.channel",
                f"{str(bus.channel)[:40]!r} is not the name of a network interface",
                "Linux allows 1 to 15 characters without blanks, / and :",
            )
        other = channels.setdefault(bus.identity, name)
        if other == name:
            continue
        if bus.interface == UDP_MULTICAST and bus.channel != topology.buses[other].channel:
            yield fail(
                f"buses.{name}.port",
                f"bus {other!r} uses the same UDP port, and a socket receives the frames of every multicast group on its port",
                "give each bus a `port` of its own",
            )
        else:
            yield fail(
                f"buses.{name}.channel",
                f"{bus.channel!r} is already bus {other!r}",
                "describe each bus in one entry only",
            )


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
        "socketcand",
        "systec",
        "usb2can",
    }
)
"""Interfaces of python-can 4.6 without CAN FD, whatever the adapter can do."""
_FD_BY_BIT_TIMING = frozenset({"pcan", "slcan"})
"""Interfaces of python-can 4.6 that ignore ``data_bitrate``."""


def _can_fd_findings(name: str, bus: BusEntry) -> Iterator[Finding]:
    at = f"buses.{name}"
    if not bus.fd:
        if bus.data_bitrate is not None:
            yield fail(f"{at}.data_bitrate", "needs CAN FD", "add `fd: true`, or leave it out")
        return
    if bus.data_bitrate is not None and bus.data_bitrate < bus.bitrate:
        yield fail(
            f"{at}.data_bitrate",
            f"{bus.data_bitrate} is below bitrate {bus.bitrate}",
            "CAN FD's data phase is at least as fast: correct one of them",
        )
    if bus.interface in _CLASSIC_ONLY:
        yield fail(
            f"{at}.fd",
            f"python-can's {bus.interface} has no CAN FD",
            "`fd: false`, or run the bench where the interface is (socketcan)"
            if bus.interface == "socketcand"
            else "`fd: false`, or the kernel's driver (socketcan)",
        )
    elif bus.interface == "socketcan" and str(bus.channel).startswith("slcan"):
        yield fail(
            f"{at}.fd", f"{bus.channel} is the name of a serial adapter (slcan), which has no CAN FD", "`fd: false`"
        )
    elif bus.interface in _FD_BY_BIT_TIMING and "timing" not in bus.options:
        in_mhz = bus.interface == "pcan" and "f_clock_mhz" in bus.options
        missing = FD_BIT_TIMING - bus.options.keys() - ({"f_clock"} if in_mhz else set())
        if missing:
            yield fail(
                f"{at}.fd",
                f"{bus.interface} needs an explicit bit timing for CAN FD",
                f"add {', '.join(sorted(missing))} (data_bitrate has no effect here), or `fd: false`",
            )
