"""What a plan costs and which files it needs. Pure.

A patch is chosen only if the ECU runs its base version. The plan also has what each ECU receives (``EcuImage``) and the duration
shown to the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otabench.bench.gateway.trust.manifest import Plan, PlannedEcu, RemoteFile
from otabench.bench.gateway.trust.vehicle_versions import explain
from otabench.bench.gateway.vehicle import EcuImage

_BOOT_S: Final = 2.0
"""Reset, boot, soak and confirmation of one ECU, for the expected time that the driver sees."""


@dataclass(frozen=True)
class PlannedTransfer:
    """The artifact that is downloaded and transferred to an ECU. If the ECU refuses a patch, the full image follows."""

    ecu: str
    file: RemoteFile
    is_patch: bool


def choose_transfer(planned: PlannedEcu, *, from_version: str) -> PlannedTransfer:
    """Return the patch where there is one for what the ECU ran when the manifest was accepted, else the full image."""
    patch = planned.patch
    if patch is not None and patch.base_version == from_version:
        return PlannedTransfer(planned.ecu, patch.file, is_patch=True)
    return PlannedTransfer(planned.ecu, planned.download, is_patch=False)


def choose_transfers(plan: Plan, from_versions: Mapping[str, str]) -> list[PlannedTransfer]:
    """Return the transfer of each planned ECU, in the plan's order."""
    return [choose_transfer(planned, from_version=from_versions.get(planned.ecu, "")) for planned in plan.ecus]


def needed_bytes(plan: Plan, from_versions: Mapping[str, str]) -> int:
    """Return the bytes that the downloads folder must hold: all transfers, and the full images in case patches are refused."""
    transfers = {transfer.ecu: transfer for transfer in choose_transfers(plan, from_versions)}
    return sum(
        planned.download.length + (transfers[planned.ecu].file.length if transfers[planned.ecu].is_patch else 0)
        for planned in plan.ecus
    )


def ecu_images(
    plan: Plan, from_versions: Mapping[str, str], *, metadata: bytes, path_of: Callable[[RemoteFile], Path]
) -> list[EcuImage]:
    """Return what the vehicle is to run, as ``Vehicle`` takes it."""
    transfers = {transfer.ecu: transfer for transfer in choose_transfers(plan, from_versions)}
    return [
        EcuImage(
            ecu=planned.ecu,
            version=planned.version,
            image=path_of(planned.download),
            image_length=planned.image.length,
            metadata=metadata,
            patch=path_of(transfers[planned.ecu].file) if transfers[planned.ecu].is_patch else None,
            patch_length=transfers[planned.ecu].file.length if transfers[planned.ecu].is_patch else 0,
            is_encrypted=planned.is_encrypted,
            file_length=planned.download.length,
            needs=explain(plan, planned, runs=from_versions.get(planned.ecu, "")),
        )
        for planned in plan.ecus
    ]


def expected_duration_s(
    transfers: Sequence[PlannedTransfer],
    *,
    metadata_bytes: int,
    bus_of: Mapping[str, str],
    line_payload_bytes_per_s: float,
) -> float:
    """Return how long installing takes: the ECUs of one bus one after the other, buses side by side, then all boot.

    Args:
        transfers: what crosses the buses.
        metadata_bytes: what each ECU receives besides.
        bus_of: a key of each ECU's bus.
        line_payload_bytes_per_s: what one bus carries.
    """
    if not transfers:
        return 0.0
    per_bus: dict[str, int] = {}
    for transfer in transfers:
        bus = bus_of.get(transfer.ecu, "")
        per_bus[bus] = per_bus.get(bus, 0) + transfer.file.length + metadata_bytes
    return max(per_bus.values()) / line_payload_bytes_per_s + _BOOT_S * len(transfers)
