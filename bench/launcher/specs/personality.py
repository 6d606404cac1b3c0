"""Simulated ECUs with bootloaders of other kinds: which bootloader, and its factory's application as plain memory."""

from __future__ import annotations

from pathlib import Path

from otabench.bench.errors import UnknownName
from otabench.bench.firmware.images import FirmwareFile
from otabench.bench.launcher.run_setup import RunSetup
from otabench.bench.topology.model import Topology


def personality_of(topology: Topology, ecu: str) -> str | None:
    """Return the bootloader of a simulated ECU; None: the one with two slots and a slot table.

    Raises:
        UnknownName: the bootloader does not exist.
    """
    from otabench.bench.uds.sequence import profile  # here, because it imports the sequence language

    entry, known = topology.ecus[ecu], profile.shipped()
    if entry.personality is None:
        return entry.profile if entry.profile in known else None
    if entry.personality not in known:
        raise UnknownName("personality", entry.personality, known, where=f"of a simulated ECU (ecus.{ecu})")
    return entry.personality


def factory_memory(setup: RunSetup, ecu: str, factory: FirmwareFile) -> Path:
    """Write the application of a program file as it lies in the flash, from its first address on. Return the path.

    Raises:
        BenchError: the file is not a program, or does not fit the flash profile.
    """
    from otabench.bench.firmware.programs import reading
    from otabench.bench.firmware.programs.material import material
    from otabench.bench.uds import flash_profiles
    from otabench.bench.uds.sequence.material import BlockKind, Layout, lay_out
    from otabench.bench.uds.sequence.profile import SequenceProfile

    profile = flash_profiles.load(setup.topology.ecus[ecu].profile)
    areas = profile.layout.areas if isinstance(profile, SequenceProfile) else ()
    laid = lay_out(material(reading.read(factory.path)), Layout(areas=areas))
    blocks = laid.of_kind(BlockKind.APPLICATION)
    memory = bytearray()
    for block in blocks:
        at = block.address - blocks[0].address
        memory.extend(b"\xff" * (at - len(memory)))
        memory[at:] = block.data
    path = setup.folder.state / f"{ecu}-factory.bin"
    path.write_bytes(memory)
    return path
