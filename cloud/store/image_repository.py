"""The index of the artifact store: verified images, patches and encrypted files, with their paths.

Uptane's Image repository, with its signed metadata, is in ``cloud.trust``.

Rules:

* A path contains the file's SHA-256, so a file has the same path in every campaign.
* A file that only encrypted campaigns use is in the private store, which the artifact server cannot read. The first plain campaign that
  uses the file makes it public. It has the same path in both stores.
* A program file contains neither hardware id nor version. It has one row for each pair under which it was published.
* If several images have the same hardware id and version, the latest one is assumed to be what ECUs run.
* The bytes are in the artifact store. They are stored before a row here refers to them.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

import json

from sqlalchemy import select
from sqlalchemy.orm import Session

from otabench.cloud.store.schema import EncryptedRow, ImageRow, PatchRow
from otabench.cloud.trust.firmware import Firmware
from otabench.proto.image_format import Dependency, ImageVersion
from otabench.proto.uptane import PayloadCustom
from otabench.proto.version_order import path_part


def image_path(firmware: Firmware) -> str:
    """Return the image's path below ``/artifacts/``."""
    return f"images/{firmware.sha256}/{firmware.hardware_id}-{path_part(firmware.version)}.bin"


def patch_path(*, sha256: str, hardware_id: str, base_version: str, version: str) -> str:
    """Return a patch's path below ``/artifacts/``."""
    return f"patches/{sha256}/{hardware_id}-{base_version}-{version}.bsdiff"


def encrypted_path(*, sha256: str, plain_path: str) -> str:
    """Return an encrypted file's path below ``/artifacts/``. ``plain_path`` is the path of the plain image or patch."""
    return f"encrypted/{sha256}/{plain_path.rpartition('/')[2]}.enc"


def add_image(session: Session, firmware: Firmware, *, now: float, is_public: bool) -> None:
    """Add a stored image. An image that is present already stays as it is, but may become public.

    The caller has put the bytes into the store before, and into the public one if ``is_public``.
    """
    known = session.get(ImageRow, firmware.image_id)
    if known is not None:
        known.is_public = known.is_public or is_public
        return
    session.add(
        ImageRow(
            image_id=firmware.image_id,
            sha256=firmware.sha256,
            hardware_id=firmware.hardware_id,
            version=firmware.version,
            security_counter=firmware.security_counter,
            length=firmware.length,
            path=image_path(firmware),
            stored_at=now,
            is_public=is_public,
            dependencies=json.dumps([[each.image_number, str(each.version)] for each in firmware.dependencies]),
            payload=firmware.payload.model_dump_json() if firmware.payload else "",
            rxswin=firmware.rxswin,
        )
    )
    session.flush()


def read_dependencies(row: ImageRow) -> tuple[Dependency, ...]:
    """Return the image's dependencies."""
    return tuple(Dependency(number, ImageVersion.parse(version)) for number, version in json.loads(row.dependencies))


def read_payload(row: ImageRow) -> PayloadCustom | None:
    """Return what is in a program file, or None for an MCUboot image."""
    return PayloadCustom.model_validate_json(row.payload) if row.payload else None


def find_image(session: Session, sha256: str) -> ImageRow | None:
    """Return the MCUboot image with that digest, or None."""
    # Only an MCUboot image has its digest as image_id (Firmware.image_id), so a program file is never found here.
    return session.get(ImageRow, sha256)


def find_image_of_version(session: Session, *, hardware_id: str, version: str) -> ImageRow | None:
    """Return the MCUboot image that an ECU with this hardware and version runs, or None if the cloud does not hold it."""
    return session.scalars(
        select(ImageRow)
        .where(ImageRow.hardware_id == hardware_id, ImageRow.version == version, ImageRow.payload == "")
        # The images of one campaign have the same time; the digest makes the choice between them a fixed one.
        .order_by(ImageRow.stored_at.desc(), ImageRow.sha256)
    ).first()


def find_patch(session: Session, *, base_sha256: str, target_sha256: str) -> PatchRow | None:
    """Return the patch between two images, or None if it was not made."""
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
    """Add a patch. ``path`` is empty for a patch that was too large and is not stored."""
    row = find_patch(session, base_sha256=base_sha256, target_sha256=target_sha256)
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
        # A patch is made again if a campaign with the policy `delta` needs it in spite of its size, or a plain campaign needs a
        # public copy. A row without path was never stored, so its is_public refers to no file.
        row.is_public = is_public or (bool(row.path) and row.is_public)
        row.sha256, row.length, row.path = sha256, length, path
    session.flush()
    return row


def find_encrypted(session: Session, *, plain_sha256: str, public_key: str) -> EncryptedRow | None:
    """Return the image or patch as it was encrypted for that public key, or None."""
    return session.get(EncryptedRow, (plain_sha256, public_key))


def add_encrypted(session: Session, *, plain_sha256: str, public_key: str, sha256: str, length: int, path: str) -> None:
    """Add a stored encrypted file. Keep an existing one, because a manifest may refer to it."""
    if find_encrypted(session, plain_sha256=plain_sha256, public_key=public_key) is None:
        session.add(
            EncryptedRow(plain_sha256=plain_sha256, public_key=public_key, sha256=sha256, length=length, path=path)
        )
        session.flush()
