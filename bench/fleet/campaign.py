"""The campaigns of a run, one for each wave, and the cloud's jobs at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from otabench.bench.clients.operator import CampaignImage, OperatorClient
from otabench.bench.clients.publishing import publish
from otabench.bench.errors import EndpointError, WrongUsage
from otabench.bench.firmware.images import ImageDetails, pack
from otabench.bench.fleet.judgement import CloudJob
from otabench.bench.fleet.vehicle import ECU, HARDWARE_ID, NEW_VERSION
from otabench.proto.job_states import from_wire, is_final

_BODY_BYTES: Final = 32 * 1024
"""The vehicles do not download it."""


class FleetOperator:
    """The operator of the fleet. Its calls go to the first control plane.

    Args:
        operator: the connection.
        keys_dir: the key folder, with the keys that sign images.
        folder: where the image is made.
    """

    def __init__(self, operator: OperatorClient, *, keys_dir: Path, folder: Path) -> None:
        self._operator = operator
        self._keys_dir = keys_dir
        self._folder = folder
        self._images: list[CampaignImage] = []

    def require_empty(self) -> None:
        """Make sure that the database is a new one: jobs of others would be judged as this fleet's.

        Raises:
            WrongUsage: there are campaigns.
            EndpointError: the cloud does not answer.
        """
        if self._operator.list_campaigns():
            raise WrongUsage("--database: there are campaigns in this database; name an empty one")

    def publish(self) -> None:
        """Make the image of all campaigns, and list it in the Image repository.

        Raises:
            BenchError: the image cannot be signed, or the cloud refuses it.
        """
        packed = pack(
            os.urandom(_BODY_BYTES),
            ImageDetails(ecu=ECU, hardware_id=HARDWARE_ID, version=NEW_VERSION),
            keys_dir=self._keys_dir,
            out=self._folder / "image.bin",
        )
        self._images = [CampaignImage(HARDWARE_ID, packed.path.read_bytes())]
        publish(self._keys_dir, self._images, self._operator)

    def create(self, name: str, vins: Sequence[str]) -> str:
        """Create a campaign and return its identifier.

        Raises:
            EndpointError: the cloud does not answer or refuses.
        """
        campaign = self._operator.create_campaign(
            name=name, release_notes="", vins=vins, images=self._images, transfer="full"
        )
        return campaign.campaign_id

    def count_ended(self, campaign_id: str) -> int | None:
        """Return how many jobs of a campaign have ended; None if the cloud does not answer at this moment."""
        try:
            campaign = self._operator.get_campaign(campaign_id, with_jobs=False)
        except EndpointError:
            return None
        return sum(each.jobs for each in campaign.counts if is_final(from_wire(each.state)))

    def jobs(self, campaign_ids: Sequence[str]) -> list[CloudJob]:
        """Return all jobs of these campaigns.

        Raises:
            EndpointError: the cloud does not answer.
        """
        return [
            CloudJob(job.job_id, job.vin, from_wire(job.state), job.reason)
            for campaign_id in campaign_ids
            for job in self._operator.list_jobs(campaign_id=campaign_id)
        ]
