"""The ECUs' addresses in bench.json: bus, identifiers, and the address byte in front of every frame. Pure.

Writers and readers of bench.json use this module, so that the keys are in one place. The address bytes (``…_extension``) are null
except with extended addressing. The rules of addressing are in ``proto.isotp_address``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from otabench.bench.topology.model import Topology
from otabench.proto.isotp_address import FrameAddress, connection_address, functional_address

_DIRECTIONS: Final = {"request": "-> {ecu}", "response": "<- {ecu}", "functional": "-> all ECUs"}


def addresses(topology: Topology, ecu: str) -> dict[str, FrameAddress]:
    """Return the ``request``, ``response`` and ``functional`` address of an ECU."""
    entry, isotp = topology.ecus[ecu], topology.isotp_of(ecu)
    both = connection_address(isotp, request_id=entry.request_id, response_id=entry.response_id)
    functional = functional_address(isotp, functional_id=entry.functional_id)
    return {"request": both.request, "response": both.response, "functional": functional}


def extended_ids(topology: Topology, bus: str) -> list[int]:
    """Return the identifiers of a bus whose frames have an address byte in front."""
    here = [ecu for ecu, entry in topology.ecus.items() if entry.bus == bus]
    found = [address for ecu in here for address in addresses(topology, ecu).values()]
    return sorted({address.can_id for address in found if address.extension is not None})


def ecu_entries(topology: Topology) -> dict[str, dict[str, Any]]:
    """Return the value of the key ``ecus``."""
    entries: dict[str, dict[str, Any]] = {}
    for ecu, entry in topology.ecus.items():
        entries[ecu] = {"bus": entry.bus}
        for direction, address in addresses(topology, ecu).items():
            entries[ecu] |= {f"{direction}_id": address.can_id, f"{direction}_extension": address.extension}
    return entries


def names(entries: Mapping[str, Mapping[str, Any]], bus: str) -> Iterator[tuple[FrameAddress, str]]:
    """Yield the diagnostic addresses of a bus with their names, e.g. "-> engine", from the key ``ecus`` of bench.json.

    The entries may be those of an older version, without ``…_extension``.
    """
    for ecu, entry in entries.items():
        if entry["bus"] != bus:
            continue
        for direction, words in _DIRECTIONS.items():
            yield from_entry(entry, direction), words.format(ecu=ecu)


def from_entry(entry: Mapping[str, Any], direction: str) -> FrameAddress:
    """Return the address of one direction from an ECU's entry in bench.json or report.json, which have the same keys."""
    return FrameAddress(int(entry[f"{direction}_id"]), entry.get(f"{direction}_extension"))
