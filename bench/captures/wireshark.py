"""Wireshark profiles from a bench file: ISO-TP identifiers, UDS on top, and the names of ECUs, identifiers and routines.

The contents of the profiles' files; pure except for ``install``. Tried with Wireshark 4.0; the tables' layouts are Wireshark's own
("User Accessible Tables"). Wireshark has no buses: identifiers that two buses share get both ECUs' names.

How it works there: ``iso15765.can.ids`` hands frames to ISO-TP, "decode as" hands what is reassembled to UDS, the mapping
table makes a diagnostic address of the identifier (for 29 bits of its lower 16, which is what the table can hold), and the
address table names it. Names of identifiers and routines hold for every address (ffffffff).

``iso15765.addressing`` holds for a whole profile: either every frame begins with an address, or none does. A bench with both kinds of
ECUs gets two profiles, and each lists the identifiers of its own ECUs only: the frames of the others stay CAN data, which is true,
instead of UDS that was never sent. ``findings`` warns of an identifier that both kinds use. In the profile with addresses, the
diagnostic address is the address in the frame, the receiver's; a column with the identifier tells who responded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.finding import Finding, warn
from otabench.bench.topology import addresses
from otabench.bench.topology.model import Topology
from otabench.bench.uds.names import DATA_IDENTIFIERS, ROUTINES
from otabench.proto.can_id import MAX_11_BIT_ID, MAX_29_BIT_ID, is_29_bit

DEFAULT_NAME: Final = "otabench"
_EXTENDED_SUFFIX: Final = "-extended"
# Wireshark's own wildcard in these tables.
_ANY_ADDRESS: Final = 0xFFFFFFFF
_MADE_BY: Final = "# made by `otabench wireshark-profile install`; made anew by it\n"
_COLUMNS: Final = (
    ("No.", "%m"),
    ("Time", "%t"),
    ("Address", "%Cus:uds.diag_addr:0:R"),
    ("ECU", "%Cus:uds.diag_addr_name:0:R"),
    ("Protocol", "%p"),
    ("Length", "%L"),
    ("Info", "%i"),
)
_IDENTIFIER_COLUMN: Final = ("CAN ID", "%Cus:can.id:0:R")
_COLOURS: Final = (
    ("UDS negative response", "uds.err.code && uds.err.code != 0x78", (65535, 52428, 52428)),
    # Above: the first filter that matches colours the row, so 78 is left out of the negative responses.
    ("UDS response pending", "uds.err.code == 0x78", (65535, 62965, 52428)),
    ("UDS TransferData", "uds.sid == 0x36", (56797, 61166, 65535)),
    ("UDS", "uds", (59881, 65535, 59881)),
)


@dataclass(frozen=True)
class Profile:
    """A profile to install: its name, and the ECUs whose frames it decodes."""

    name: str
    ecus: tuple[str, ...]
    has_address_byte: bool
    """Whether every frame of these ECUs begins with an address (extended addressing)."""


def profiles(topology: Topology, name: str = DEFAULT_NAME) -> list[Profile]:
    """Return the profiles that a bench needs: one, or two where some ECUs have extended addressing and some have not."""
    kinds = {ecu: addresses.addresses(topology, ecu)["request"].extension is not None for ecu in topology.ecus}
    plain = tuple(ecu for ecu, is_extended in kinds.items() if not is_extended)
    extended = tuple(ecu for ecu, is_extended in kinds.items() if is_extended)
    if not plain:
        return [Profile(name, extended, has_address_byte=True)]
    first = Profile(name, plain, has_address_byte=False)
    return [first, Profile(f"{name}{_EXTENDED_SUFFIX}", extended, has_address_byte=True)] if extended else [first]


def identifiers(topology: Topology, ecus: Collection[str] | None = None) -> dict[int, str]:
    """Return every diagnostic CAN identifier with the name to show: the ECU's, "all ECUs" for the functional one.

    Args:
        topology: the bench.
        ecus: of these only; None: of all.
    """
    names: dict[int, list[str]] = {}
    for ecu in topology.ecus if ecus is None else ecus:
        found = addresses.addresses(topology, ecu)
        names.setdefault(found["functional"].can_id, []).append("all ECUs")
        for direction in ("request", "response"):
            names.setdefault(found[direction].can_id, []).append(ecu)
    return {can_id: " / ".join(dict.fromkeys(found)) for can_id, found in sorted(names.items())}


def findings(topology: Topology) -> list[Finding]:
    """Return a warning for each identifier whose frames Wireshark decodes wrongly in one of the profiles."""
    wanted = profiles(topology)
    if len(wanted) < 2:
        return []
    plain, extended = (identifiers(topology, profile.ecus) for profile in wanted)
    return [
        warn(
            f"identifier 0x{can_id:03X}",
            f"it is used with an address in front of each frame ({extended[can_id]} of {', '.join(wanted[1].ecus)}) and without "
            f"({plain[can_id]} of {', '.join(wanted[0].ecus)}): each profile decodes the other's frames wrongly",
            "give the ECUs with extended addressing an identifier of their own (functional_id, request_id, response_id)",
        )
        for can_id in plain
        if can_id in extended
    ]


def files(topology: Topology, profile: Profile) -> dict[str, str]:
    """Return the profile's files by name."""
    ids = identifiers(topology, profile.ecus)
    return {
        "preferences": _preferences(ids, has_address_byte=profile.has_address_byte),
        "decode_as_entries": "decode_as_entry: iso15765.subdissector,0,(none),UDS\n",
        "ISO15765_can_id_mappings": "".join(_mapping(can_id) for can_id in ids),
        "UDS_diagnostic_addresses": "".join(
            _row(f"{address:08X}", name) for address, name in _address_names(topology, profile, ids).items()
        ),
        "UDS_data_identifiers": _names(DATA_IDENTIFIERS),
        "UDS_routine_identifiers": _names(ROUTINES),
        "colorfilters": "".join(
            f"@{name}@{expression}@[{red},{green},{blue}][0,0,0]\n" for name, expression, (red, green, blue) in _COLOURS
        ),
        "dfilter_buttons": _row("TRUE", "UDS", "uds", "services only")
        + _row("TRUE", "no TransferData", "uds && !(uds.sid == 0x36)", "")
        + _row("TRUE", "negative", "uds.err.code", "negative responses"),
    }


def _address_names(topology: Topology, profile: Profile, ids: Mapping[int, str]) -> dict[int, str]:
    """Return the name of each diagnostic address: of the identifiers, or of the addresses in front of the frames."""
    if not profile.has_address_byte:
        return {_address(can_id): name for can_id, name in ids.items()}
    names: dict[int, list[str]] = {}
    for ecu in profile.ecus:
        found = addresses.addresses(topology, ecu)
        for direction, name in (("request", ecu), ("response", "tester"), ("functional", "all ECUs")):
            names.setdefault(found[direction].extension or 0, []).append(name)
    return {address: " / ".join(dict.fromkeys(found)) for address, found in sorted(names.items())}


def personal_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return where Wireshark keeps a user's configuration on this system."""
    given = os.environ if environment is None else environment
    home = Path(given.get("HOME") or Path.home())
    config = Path(given.get("XDG_CONFIG_HOME") or home / ".config") / "wireshark"
    # Wireshark prefers the new place and reads the old one only where the new one does not exist. A profile in the
    # other folder would never be seen.
    old = home / ".wireshark"
    return old if old.is_dir() and not config.is_dir() else config


def install(topology: Topology, *, folder: Path | None = None, name: str = DEFAULT_NAME) -> dict[Path, Profile]:
    """Write the bench's profiles below ``folder`` (None: the user's own Wireshark configuration).

    Files of an older profile of that name are replaced, others in it are left alone.

    Returns:
        The folder of each profile.

    Raises:
        WrongUsage: no name for a profile.
        BenchError: the place cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", name):
        raise WrongUsage(f"--name {name!r}: use letters, digits, blanks, dots, - and _")
    made = {}
    for profile in profiles(topology, name):
        place = (folder or personal_folder()) / "profiles" / profile.name
        try:
            place.mkdir(parents=True, exist_ok=True)
            for file, content in files(topology, profile).items():
                (place / file).write_text(_MADE_BY + content, encoding="utf-8")
        except OSError as error:
            raise BenchError(
                f"{error.filename or place}: the profile cannot be written: {error.strerror}; give another place by --dir"
            ) from error
        made[place] = profile
    return made


def _preferences(ids: Mapping[int, str], *, has_address_byte: bool) -> str:
    short = [can_id for can_id in ids if not is_29_bit(can_id)]
    long = [can_id for can_id in ids if is_29_bit(can_id)]
    shown = (*_COLUMNS[:2], _IDENTIFIER_COLUMN, *_COLUMNS[2:]) if has_address_byte else _COLUMNS
    columns = ",\n\t".join(f'"{title}", "{content}"' for title, content in shown)
    return (
        f"iso15765.can.ids: {','.join(f'0x{can_id:x}' for can_id in short)}\n"
        f"iso15765.can.extended_ids: {','.join(f'0x{can_id:x}' for can_id in long)}\n"
        f"iso15765.addressing: {'Extended' if has_address_byte else 'Normal'} addressing\n"
        f"gui.column.format:\n\t{columns}\n"
    )


def _address(can_id: int) -> int:
    return can_id & 0xFFFF


def _mapping(can_id: int) -> str:
    extended = is_29_bit(can_id)
    whole, address = (MAX_29_BIT_ID, 0xFFFF) if extended else (MAX_11_BIT_ID, MAX_11_BIT_ID)
    columns = (can_id, whole, 0, 0, address)
    return _row("TRUE" if extended else "FALSE", *(f"{value:08X}" for value in columns))


def _names(names: Mapping[int, str]) -> str:
    return "".join(_row(f"{_ANY_ADDRESS:08X}", f"{number:08X}", name) for number, name in sorted(names.items()))


def _row(*columns: str) -> str:
    return ",".join(f'"{column}"' for column in columns) + "\n"
