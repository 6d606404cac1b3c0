"""Compute what a plan needs: the files to transfer, the free space, the image of each ECU, and the duration that the driver sees.

A patch is chosen only if the ECU runs its base version. ``overall_progress`` computes the progress that the driver sees from the expected
times. This module reads no files and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otabench.bench.gateway.jobs.overall_progress import ExpectedTimes
from otabench.bench.gateway.trust.manifest import Plan, PlannedEcu, RemoteFile
from otabench.bench.gateway.trust.vehicle_versions import explain
from otabench.bench.gateway.vehicle import EcuImage, Payload

_BOOT_S: Final = 3.5
"""Expected time for reset, boot and soak of all ECUs. 2 to 8 simulated ECUs take 3 to 3.5 s, of which the soak takes 2 s."""
_CONFIRM_S: Final = 0.25
"""Expected time for session, security access and confirmation of one ECU."""
_MARGIN: Final = 1.25
"""On the longer of the two times that the driver reads: an ECU may be programmed again from its start, or boot late."""
_DOWNLOAD_BYTES_PER_S: Final = 500_000.0
"""Assumed download rate of the vehicle. It is far above a CAN bus's, so the download is a small part of the progress."""


@dataclass(frozen=True)
class PlannedTransfer:
    """The artifact that is downloaded and transferred to one ECU. If the ECU refuses a patch, the full image follows."""

    ecu: str
    file: RemoteFile
    is_patch: bool


def choose_transfer(planned: PlannedEcu, *, from_version: str) -> PlannedTransfer:
    """Return the patch if its base is the version that the ECU ran when the manifest was accepted. Otherwise return the full image."""
    patch = planned.patch
    # The ECU itself compares length and SHA-256 of the base (34). This check only avoids a download in vain.
    if patch is not None and patch.base_version == from_version:
        return PlannedTransfer(planned.ecu, patch.file, is_patch=True)
    return PlannedTransfer(planned.ecu, planned.download, is_patch=False)


def choose_transfers(plan: Plan, from_versions: Mapping[str, str]) -> list[PlannedTransfer]:
    """Return the transfer of each planned ECU, in the plan's order."""
    return [choose_transfer(planned, from_version=from_versions.get(planned.ecu, "")) for planned in plan.ecus]


def needed_bytes(plan: Plan, from_versions: Mapping[str, str]) -> int:
    """Return how many bytes the downloads folder must hold: all patches, and all full images in case patches are refused."""
    transfers = {transfer.ecu: transfer for transfer in choose_transfers(plan, from_versions)}
    return sum(
        planned.download.length + (transfers[planned.ecu].file.length if transfers[planned.ecu].is_patch else 0)
        for planned in plan.ecus
    )


def ecu_images(
    plan: Plan,
    from_versions: Mapping[str, str],
    *,
    metadata: bytes,
    attest_time: Callable[[bytes], bytes] | None = None,
    path_of: Callable[[RemoteFile], Path],
) -> list[EcuImage]:
    """Return the image of each planned ECU, as the arguments of ``Vehicle``.

    Args:
        plan: the accepted manifest.
        from_versions: what each ECU ran when the manifest was accepted.
        metadata: the signed Targets, with Roots.
        attest_time: see ``EcuImage``.
        path_of: returns the path of a downloaded file.
    """
    transfers = {transfer.ecu: transfer for transfer in choose_transfers(plan, from_versions)}
    return [
        EcuImage(
            ecu=planned.ecu,
            version=planned.version,
            image=path_of(planned.download),
            image_length=planned.image.length,
            metadata=metadata,
            attest_time=attest_time,
            patch=path_of(transfers[planned.ecu].file) if transfers[planned.ecu].is_patch else None,
            patch_length=transfers[planned.ecu].file.length if transfers[planned.ecu].is_patch else 0,
            is_encrypted=planned.is_encrypted,
            file_length=planned.download.length,
            needs=explain(plan, planned, runs=from_versions.get(planned.ecu, "")),
            payload=_payload(planned),
        )
        for planned in plan.ecus
    ]


def _payload(planned: PlannedEcu) -> Payload | None:
    signed = planned.payload
    if signed is None:
        return None
    return Payload(signed.format, signed.start_address, tuple((each.address, each.length) for each in signed.segments))


def expected_times(
    transfers: Sequence[PlannedTransfer],
    *,
    metadata_bytes: int,
    bus_of: Mapping[str, str],
    line_payload_bytes_per_s: float,
) -> ExpectedTimes:
    """Return how long each part of a job takes.

    Args:
        transfers: the artifacts that are downloaded and cross the buses.
        metadata_bytes: the size of the metadata that each ECU receives in addition.
        bus_of: the key of each ECU's bus.
        line_payload_bytes_per_s: payload rate of one bus.
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


def duration_range(
    transfers: Sequence[PlannedTransfer],
    *,
    metadata_bytes: int,
    bus_of: Mapping[str, str],
    line_payload_bytes_per_s: float,
    measured: tuple[float, float] | None,
) -> tuple[int, int]:
    """Return how many seconds the installation takes: at the fastest and at the slowest rate that was measured.

    Args:
        transfers, metadata_bytes, bus_of: as ``expected_times``.
        line_payload_bytes_per_s: what a bus carries at best. It stands for the fastest rate if nothing was measured yet, and half of it
            for the slowest.
        measured: the slowest and the fastest rate of past transfers, in bytes a second.
    """
    slowest, fastest = measured or (line_payload_bytes_per_s / 2, line_payload_bytes_per_s)

    def seconds(rate: float) -> float:
        times = expected_times(
            transfers, metadata_bytes=metadata_bytes, bus_of=bus_of, line_payload_bytes_per_s=max(rate, 1.0)
        )
        return times.installing_s

    return math.floor(seconds(fastest)), math.ceil(seconds(slowest) * _MARGIN)
