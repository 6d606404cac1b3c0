"""Make and store artifacts: patches, encrypted files, and the operator's images.

* All of this happens in one worker thread, because bsdiff4 needs about ten times the image in memory (``store.deltas``).
* A file is stored before the database refers to it. After a crash in between, the file is made again under the same path, which depends
  only on the contents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from otabench.cloud.campaigns.ecu_images import EcuImage, EncryptionNeed
from otabench.cloud.campaigns.request import GivenImage
from otabench.cloud.campaigns.transfer_policy import TransferPolicy, patch_is_kept
from otabench.cloud.errors import NotAllowed
from otabench.cloud.store import image_repository as repository
from otabench.cloud.store.artifact_store import ArtifactStore
from otabench.cloud.store.database import Database
from otabench.cloud.store.deltas import make_patch
from otabench.cloud.store.schema import ImageRow, PatchRow
from otabench.cloud.trust.encryption import encrypt

Result = TypeVar("Result")


class ArtifactMaker:
    """The worker thread and its artifacts. Methods run on the event loop, and return after the artifact was stored.

    Args:
        database: lists the artifacts.
        store: what the artifact server serves.
        private_store: plain images and patches of encrypted campaigns.
    """

    def __init__(self, *, database: Database, store: ArtifactStore, private_store: ArtifactStore) -> None:
        self._database = database
        self._store = store
        self._private_store = private_store
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="maker")

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run a call that takes processor time in the worker thread, and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def close(self) -> None:
        """Drop all calls that have not started. The artifacts are made again when they are needed."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def store_images(self, images: Iterable[GivenImage]) -> None:
        """Store the images of a request, with their base images.

        Raises:
            NotReady: the store cannot write them.
        """

        def put() -> None:
            for image in images:
                for firmware, content in image.files():
                    self._store_of(is_public=not image.encrypt).put(repository.image_path(firmware), content)

        await self.run(put)

    async def make_patch(self, target: EcuImage, policy: TransferPolicy, *, is_public: bool) -> None:
        """Make the patch for an ECU's image, unless it exists already or the base image is missing.

        Args:
            target: image and base image.
            policy: with DELTA the patch is required, and kept even if it is large.
            is_public: whether the artifact server may serve it.

        Raises:
            NotAllowed: the policy is DELTA, and the base image is not in the repository, or the ECU does not take patches.
            NotReady: database or store does not answer.
        """
        image, base = target.image, target.base
        if base is None:
            if policy is TransferPolicy.DELTA:
                raise NotAllowed(target.describe_missing_base())
            return
        keys = {"base_sha256": base.sha256, "target_sha256": image.sha256}
        row = await self._database.run(lambda session: repository.find_patch(session, **keys))
        if row is not None and _is_enough(row, policy, is_public=is_public):
            return

        def make() -> tuple[str, int, str]:
            # Read the images here, in the worker, because the store's calls block.
            patch = make_patch(self._read(base), self._read(image))
            # A patch that is too large is not stored. It is added to the database with its size, so that it is not made again.
            if not patch_is_kept(policy, patch_bytes=len(patch.content), image_bytes=image.length):
                return patch.sha256, len(patch.content), ""
            path = repository.patch_path(
                sha256=patch.sha256, hardware_id=image.hardware_id, base_version=base.version, version=image.version
            )
            self._store_of(is_public=is_public).put(path, patch.content)
            return patch.sha256, len(patch.content), path

        sha256, length, path = await self.run(make)
        await self._database.run(
            lambda session: repository.add_patch(
                session, **keys, sha256=sha256, length=length, path=path, is_public=is_public
            )
        )

    async def encrypt(self, need: EncryptionNeed) -> None:
        """Encrypt an image or patch for one ECU.

        Raises:
            NotReady: database or store does not answer.
        """

        def make() -> tuple[str, int, str]:
            made = encrypt(
                self._store_of(is_public=need.is_public).read(need.plain_path),
                public_key=bytes.fromhex(need.public_key),
            )
            path = repository.encrypted_path(sha256=made.sha256, plain_path=need.plain_path)
            self._store.put(path, made.content)
            return made.sha256, len(made.content), path

        sha256, length, path = await self.run(make)
        await self._database.run(
            lambda session: repository.add_encrypted(
                session,
                plain_sha256=need.plain_sha256,
                public_key=need.public_key,
                sha256=sha256,
                length=length,
                path=path,
            )
        )

    def _read(self, image: ImageRow) -> bytes:
        return self._store_of(is_public=image.is_public).read(image.path)

    def _store_of(self, *, is_public: bool) -> ArtifactStore:
        return self._store if is_public else self._private_store


def _is_enough(row: PatchRow, policy: TransferPolicy, *, is_public: bool) -> bool:
    """Return whether a patch need not be made again.

    That is so if it was too large (unless it is demanded), or if it is stored where this campaign needs it.
    """
    if not row.path:
        return policy is not TransferPolicy.DELTA
    return row.is_public or not is_public
