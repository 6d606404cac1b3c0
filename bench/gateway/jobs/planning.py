"""What a plan costs and which files it needs. Pure.

A patch is chosen only if the ECU runs its base version. The plan also has what each ECU receives (``EcuImage``) and the expected
times, from which come the duration and the progress that the driver sees (``overall_progress``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otabench.bench.gateway.jobs.overall_progress import ExpectedTimes
from otabench.bench.gateway.trust.manifest import Plan, PlannedEcu, RemoteFile
from otabench.bench.gateway.trust.vehicle_versions import explain
from otabench.bench.gateway.vehicle import EcuImage

_BOOT_S: Final = 3.5
"""Reset, boot and soak, for the expected time that the driver sees. 2 to 8 simulated ECUs take 3 to 3.5 s, of which 2 s are the soak."""
_CONFIRM_S: Final = 0.25
"""Session, security access and confirmation of one ECU."""
_DOWNLOAD_BYTES_PER_S: Final = 500_000.0
"""Assumed rate of the vehicle's uplink: far above a CAN bus's, so that the download is a small part of the progress."""


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


def expected_times(
    transfers: Sequence[PlannedTransfer],
    *,
    metadata_bytes: int,
    bus_of: Mapping[str, str],
    line_payload_bytes_per_s: float,
) -> ExpectedTimes:
    """Return how long each part of a job takes.

    Args:
        transfers: what is downloaded and crosses the buses.
        metadata_bytes: what each ECU receives besides.
        bus_of: a key of each ECU's bus.
        line_payload_bytes_per_s: what one bus carries.
    """
    transfers_s: dict[str, dict[str, float]] = {}
    for transfer in transfers:
        seconds = (transfer.file.length + metadata_bytes) / line_payload_bytes_per_s
        transfers_s.setdefault(bus_of.get(transfer.ecu, ""), {})[transfer.ecu] = seconds
    return ExpectedTimes(
        download_s=sum(transfer.file.length for transfer in transfers) / _DOWNLOAD_BYTES_PER_S,
        transfers_s=transfers_s,
        boot_s=_BOOT_S,
        confirm_s=_CONFIRM_S,
    )
