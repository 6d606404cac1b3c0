"""A Wireshark profile from a bench file: ISO-TP identifiers, UDS on top, and the names of ECUs, identifiers and routines.

The contents of the profile's files; pure except for ``install``. Tried with Wireshark 4.0; the tables' layouts are Wireshark's own
("User Accessible Tables"). Wireshark has no buses: identifiers that two buses share get both ECUs' names.

How it works there: ``iso15765.can.ids`` hands frames to ISO-TP, "decode as" hands what is reassembled to UDS, the mapping
table makes a diagnostic address of the identifier (for 29 bits of its lower 16, which is what the table can hold), and the
address table names it. Names of identifiers and routines hold for every address (ffffffff).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.topology import addresses
from otabench.bench.topology.model import Topology
from otabench.bench.uds.names import DATA_IDENTIFIERS, ROUTINES
from otabench.proto.can_id import MAX_11_BIT_ID, MAX_29_BIT_ID, is_29_bit

DEFAULT_NAME: Final = "otabench"
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
_COLOURS: Final = (
    ("UDS negative response", "uds.err.code && uds.err.code != 0x78", (65535, 52428, 52428)),
    ("UDS response pending", "uds.err.code == 0x78", (65535, 62965, 52428)),
    ("UDS TransferData", "uds.sid == 0x36", (56797, 61166, 65535)),
    ("UDS", "uds", (59881, 65535, 59881)),
)


def identifiers(topology: Topology) -> dict[int, str]:
    """Return every diagnostic CAN identifier of a bench, with the name to show: the ECU's, "all ECUs" for the functional one."""
    names: dict[int, list[str]] = {}
    for ecu in topology.ecus:
        found = addresses.addresses(topology, ecu)
        names.setdefault(found["functional"].can_id, []).append("all ECUs")
        for direction in ("request", "response"):
            names.setdefault(found[direction].can_id, []).append(ecu)
    return {can_id: " / ".join(dict.fromkeys(found)) for can_id, found in sorted(names.items())}


def files(topology: Topology) -> dict[str, str]:
    """Return the profile's files by name."""
    ids = identifiers(topology)
    return {
        "preferences": _preferences(ids, extended=_is_extended(topology)),
        "decode_as_entries": "decode_as_entry: iso15765.subdissector,0,(none),UDS\n",
        "ISO15765_can_id_mappings": "".join(_mapping(can_id) for can_id in ids),
        "UDS_diagnostic_addresses": "".join(_row(f"{_address(can_id):08X}", name) for can_id, name in ids.items()),
        "UDS_data_identifiers": _names(DATA_IDENTIFIERS),
        "UDS_routine_identifiers": _names(ROUTINES),
        "colorfilters": "".join(
            f"@{name}@{expression}@[{red},{green},{blue}][0,0,0]\n" for name, expression, (red, green, blue) in _COLOURS
        ),
        "dfilter_buttons": _row("TRUE", "UDS", "uds", "services only")
        + _row("TRUE", "no TransferData", "uds && !(uds.sid == 0x36)", "")
        + _row("TRUE", "negative", "uds.err.code", "negative responses"),
    }


def personal_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return where Wireshark keeps a user's configuration on this system."""
    given = os.environ if environment is None else environment
    home = Path(given.get("HOME") or Path.home())
    config = Path(given.get("XDG_CONFIG_HOME") or home / ".config") / "wireshark"
    old = home / ".wireshark"
    return old if old.is_dir() and not config.is_dir() else config


def install(topology: Topology, *, folder: Path | None = None, name: str = DEFAULT_NAME) -> Path:
    """Write the profile below ``folder`` (None: the user's own Wireshark configuration); the profile's folder.

    Files of an older profile of that name are replaced, others in it are left alone.

    Raises:
        WrongUsage: no name for a profile.
        BenchError: the place cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", name):
        raise WrongUsage(f"--name {name!r}: use letters, digits, blanks, dots, - and _")
    profile = (folder or personal_folder()) / "profiles" / name
    try:
        profile.mkdir(parents=True, exist_ok=True)
        for file, content in files(topology).items():
            (profile / file).write_text(_MADE_BY + content, encoding="utf-8")
    except OSError as error:
        raise BenchError(
            f"{error.filename or profile}: the profile cannot be written: {error.strerror}; give another place by --dir"
        ) from error
    return profile


def _is_extended(topology: Topology) -> bool:
    """Return whether every frame begins with an address. Wireshark has one setting for all ECUs: that of most of them."""
    kinds = [addresses.addresses(topology, ecu)["request"].extension is not None for ecu in topology.ecus]
    return sum(kinds) * 2 > len(kinds)


def _preferences(ids: Mapping[int, str], *, extended: bool) -> str:
    short = [can_id for can_id in ids if not is_29_bit(can_id)]
    long = [can_id for can_id in ids if is_29_bit(can_id)]
    columns = ",\n\t".join(f'"{title}", "{content}"' for title, content in _COLUMNS)
    return (
        f"iso15765.can.ids: {','.join(f'0x{can_id:x}' for can_id in short)}\n"
        f"iso15765.can.extended_ids: {','.join(f'0x{can_id:x}' for can_id in long)}\n"
        f"iso15765.addressing: {'Extended' if extended else 'Normal'} addressing\n"
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
