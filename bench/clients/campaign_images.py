"""Read a file for a campaign: an MCUboot image, or a program file with the JSON file that `otabench firmware pack` wrote beside it."""

from __future__ import annotations

from pathlib import Path

from otabench.bench.clients.operator import CampaignImage, ProgramFacts
from otabench.bench.errors import WrongUsage
from otabench.bench.firmware import images, program_files


def load(path: Path, *, hardware_id: str) -> CampaignImage:
    """Return a file as one image of a campaign, without base image.

    Args:
        path: an MCUboot image; or a program file that `otabench firmware pack` has made.
        hardware_id: hardware id of the ECU that the campaign updates.

    Raises:
        FirmwareError: the file cannot be read, or is neither.
        WrongUsage: it was packed for other hardware.
    """
    statement = program_files.statement_of(path)
    if statement is None:
        _, data = images.read(path)
        return CampaignImage(hardware_id, data)
    if statement.hardware_id != hardware_id:
        raise WrongUsage(
            f"{path}: it was packed for hardware {statement.hardware_id}, but the ECU has {hardware_id}; pack it again with --ecu"
        )
    return CampaignImage(hardware_id, path.read_bytes(), program=ProgramFacts(statement.version, statement.payload))
