"""The Image repository in the database: take publications, hand out its metadata, and return whether an image is in it.

* A publication replaces Targets, and makes a new Snapshot and Timestamp in the same transaction. Their version numbers never go back.
* Snapshot and Timestamp are signed again before they expire, and when their keys were replaced, when somebody asks for them.
* A campaign is for images of the repository only. Without the offline keys, nobody who commands the Director can install anything else.

``trust.image_metadata`` verifies and signs.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from otabench.cloud.errors import InvalidRequest, NotAllowed
from otabench.cloud.store.database import Database
from otabench.cloud.store.image_repository import image_path
from otabench.cloud.store.schema import ImageMetadataRow
from otabench.cloud.trust.firmware import Firmware
from otabench.cloud.trust.image_metadata import (
    ImageRepositoryKeys,
    PublicationRefused,
    check_publication,
    listed_targets,
    needs_new_snapshot,
    sign_snapshot,
)

_ONLINE = ("snapshot.json", "timestamp.json")


class HoldsImageRepositoryKeys(Protocol):
    """``ImageRepositoryKeys`` themselves, or a ``Keyring``, whose keys change when there is a newer Root."""

    def current(self) -> ImageRepositoryKeys: ...


class Publication:
    """The Image repository of one cloud. ``keys`` None: there is none, and every verified image may be in a campaign."""

    def __init__(self, database: Database, keys: HoldsImageRepositoryKeys | None) -> None:
        self._database = database
        self._keys = keys

    async def publish(self, files: dict[str, bytes]) -> int:
        """Take Targets that were signed offline. Return the version of the new Snapshot.

        Raises:
            InvalidRequest: they are not signed as they must be, or are older than the published ones.
            NotAllowed: this cloud has no Image repository.
        """
        keys = None if self._keys is None else self._keys.current()
        if keys is None:
            raise NotAllowed("this cloud's key folder has no image_repository: make new keys (otabench keys init)")

        def store(session: Session) -> int:
            now = datetime.now(UTC)
            try:
                targets = check_publication(keys.root, files, current=_targets(session), now=now)
            except PublicationRefused as error:
                raise InvalidRequest(f"publication refused: {error}") from error
            return _store(session, keys, targets, now=now)

        return await self._database.run(store)

    async def files(self) -> dict[str, bytes]:
        """Return the repository's metadata by file name, as a TUF client requests them. Empty: nothing was published."""
        keys = None if self._keys is None else self._keys.current()
        if keys is None:
            return {}

        def load(session: Session) -> dict[str, bytes]:
            now = datetime.now(UTC)
            stored = _all(session)
            if not stored:
                return {}
            if needs_new_snapshot(stored["timestamp.json"], now=now) or not keys.have_signed(stored):
                _store(session, keys, _targets(session), now=now)
                stored = _all(session)
            return {**keys.root_files, **stored}

        return await self._database.run(load)

    def require_listed(self, session: Session, images: Iterable[Firmware]) -> None:
        """Check that a campaign's images are in the repository.

        Raises:
            NotAllowed: one is not.
        """
        if self._keys is None:
            return
        listed = listed_targets(_targets(session))
        for image in images:
            target = listed.get(image_path(image))
            stated = target.custom if target is not None else None
            facts = (image.length, image.sha256, image.hardware_id, image.security_counter)
            if (
                target is None
                or not isinstance(stated, dict)
                or facts
                != (
                    target.length,
                    target.hashes.get("sha256"),
                    stated.get("hardware_id"),
                    stated.get("release_counter"),
                )
            ):
                raise NotAllowed(
                    f"{image.hardware_id} {image.version} is not in the Image repository: publish it first "
                    "(otabench firmware publish), with the offline keys"
                )


def _store(session: Session, keys: ImageRepositoryKeys, targets: dict[str, bytes], *, now: datetime) -> int:
    # Read and written in one transaction, so a version is never used twice.
    newest = session.get(ImageMetadataRow, "snapshot.json")
    version = (newest.version if newest is not None else 0) + 1
    files = targets | sign_snapshot(keys, targets, version=version, now=now)
    session.execute(delete(ImageMetadataRow))
    session.add_all(ImageMetadataRow(name=name, version=version, content=content) for name, content in files.items())
    session.flush()
    return version


def _all(session: Session) -> dict[str, bytes]:
    return {row.name: row.content for row in session.scalars(select(ImageMetadataRow))}


def _targets(session: Session) -> dict[str, bytes]:
    return {name: content for name, content in _all(session).items() if name not in _ONLINE}
