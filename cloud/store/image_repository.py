"""The image repository: which verified images and patches the cloud holds, and where.

Decides paths (content-addressed) and which image counts as *the* image of a hardware id and version (the one stored last).
It is the seam for the second Uptane repository, whose metadata will name the same paths. All functions work inside the
caller's transaction; the bytes lie in the artifact store and are put there first.

A file has one name (``path``), whatever campaign brought it. What only campaigns that encrypt brought lies in the store's private
folder under that name, and is named in their manifests without being served; a plain campaign makes it public.
"""

from __future__ import annotations

import json

from sqlalchemy import select
from sqlalchemy.orm import Session

from otabench.cloud.store.artifact_store import PRIVATE_FOLDER
from otabench.cloud.store.schema import EncryptedRow, ImageRow, PatchRow
from otabench.cloud.trust.firmware import Firmware
from otabench.proto.image_format import Dependency, ImageVersion


def image_path(firmware: Firmware) -> str:
    """Where the image is served below ``/artifacts/``."""
    return f"images/{firmware.sha256}/{firmware.hardware_id}-{firmware.version}.bin"


def patch_path(*, sha256: str, hardware_id: str, base_version: str, version: str) -> str:
    """Where a patch is served below ``/artifacts/``."""
    return f"patches/{sha256}/{hardware_id}-{base_version}-{version}.bsdiff"


def encrypted_path(*, sha256: str, plain_path: str) -> str:
    """Where an encrypted file is served below ``/artifacts/``; ``plain_path``: of what is in it."""
    return f"encrypted/{sha256}/{plain_path.rpartition('/')[2]}.enc"


def location(path: str, *, is_public: bool) -> str:
    """Where a file lies in the store."""
    return path if is_public else f"{PRIVATE_FOLDER}/{path}"


def add_image(session: Session, firmware: Firmware, *, now: float, is_public: bool) -> None:
    """Makes a stored image known; one that is known already stays, and stays public."""
    known = session.get(ImageRow, firmware.sha256)
    if known is not None:
        known.is_public = known.is_public or is_public
        return
    session.add(
        ImageRow(
            sha256=firmware.sha256,
            hardware_id=firmware.hardware_id,
            version=str(firmware.version),
            security_counter=firmware.security_counter,
            length=firmware.length,
            path=image_path(firmware),
            stored_at=now,
            is_public=is_public,
            dependencies=json.dumps([[each.image_number, str(each.version)] for each in firmware.dependencies]),
        )
    )
    session.flush()


def dependencies(row: ImageRow) -> tuple[Dependency, ...]:
    """What the image depends on."""
    return tuple(Dependency(number, ImageVersion.parse(version)) for number, version in json.loads(row.dependencies))


def image(session: Session, sha256: str) -> ImageRow | None:
    """The image with that digest."""
    return session.get(ImageRow, sha256)


def image_of_version(session: Session, *, hardware_id: str, version: str) -> ImageRow | None:
    """The image that an ECU of this hardware and version runs, as far as the repository holds it."""
    return session.scalars(
        select(ImageRow)
        .where(ImageRow.hardware_id == hardware_id, ImageRow.version == version)
        .order_by(ImageRow.stored_at.desc(), ImageRow.sha256)
    ).first()


def patch(session: Session, *, base_sha256: str, target_sha256: str) -> PatchRow | None:
    """The patch between two images, if it was made."""
    return session.get(PatchRow, (base_sha256, target_sha256))


def add_patch(
    session: Session,
    *,
    base_sha256: str,
    target_sha256: str,
    sha256: str,
    length: int,
    path: str,
    is_public: bool,
) -> PatchRow:
    """Makes a patch known; ``path`` is empty where it did not pay and is not stored."""
    row = patch(session, base_sha256=base_sha256, target_sha256=target_sha256)
    if row is None:
        row = PatchRow(
            base_sha256=base_sha256,
            target_sha256=target_sha256,
            sha256=sha256,
            length=length,
            path=path,
            is_public=is_public,
        )
        session.add(row)
    elif path:
        row.is_public = is_public or (bool(row.path) and row.is_public)
        row.sha256, row.length, row.path = sha256, length, path
    session.flush()
    return row


def encrypted(session: Session, *, plain_sha256: str, public_key: str) -> EncryptedRow | None:
    """What was encrypted of that image or patch for the ECU with that key."""
    return session.get(EncryptedRow, (plain_sha256, public_key))


def add_encrypted(session: Session, *, plain_sha256: str, public_key: str, sha256: str, length: int, path: str) -> None:
    """Makes a stored encrypted file known; the first one stays."""
    if encrypted(session, plain_sha256=plain_sha256, public_key=public_key) is None:
        session.add(
            EncryptedRow(plain_sha256=plain_sha256, public_key=public_key, sha256=sha256, length=length, path=path)
        )
        session.flush()
