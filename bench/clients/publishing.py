"""Publish the images of a campaign in the Image repository, with a bench's development keys: the part of the offline signer.

A cloud takes only campaigns for images of the Image repository, and cannot add one itself. Whoever holds the key folder signs here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from otabench.bench.clients.operator import CampaignImage, OperatorClient
from otabench.bench.firmware.image_repository import ListedImage, OfflineRepository
from otabench.proto import image_format


def publish(keys_dir: Path, images: Sequence[CampaignImage], operator: OperatorClient) -> list[ListedImage]:
    """Sign and publish images, and return those that are listed now.

    An image that is not well-formed is left out: the cloud refuses its campaign with the reason. A key folder from before there was an
    Image repository has no keys for it, and neither has its cloud.

    Raises:
        FirmwareError: the keys cannot be used.
        EndpointError: the cloud does not answer or refuses.
    """
    folder = keys_dir / "image_repository"
    listed = [each for each in map(_listed, images) if each is not None]
    if not listed or not (folder / "root.json").exists():
        return []
    operator.publish_images(OfflineRepository(folder).add(listed))
    return listed


def _listed(given: CampaignImage) -> ListedImage | None:
    if given.program is not None:
        return ListedImage(given.hardware_id, given.program.version, given.image, 0, given.program.payload)
    try:
        image = image_format.parse(given.image)
    except image_format.ImageFormatError:
        return None
    if image.security_counter is None:
        return None
    return ListedImage(given.hardware_id, str(image.version), given.image, image.security_counter)
