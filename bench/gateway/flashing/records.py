"""The gateway's own records of an ECU that reports little: the progress of a job on it, and the image that it ran before.

* ``EcuRecords``: for each ECU its last job, with its progress. PROGRAMMING and REVERTING are on disk before they begin, the others
  once they have succeeded.
* ``FormerImages``: the last two images of each ECU, so that one of them can be flashed again. The image that a workshop flashed is known
  if the configuration names it (``EcuEndpoint.former_image``).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from otabench.bench.gateway.vehicle import EcuImage, Payload
from otabench.bench.uds.endpoint import EcuEndpoint

RECORDS_FOLDER: Final = "ecus"
FORMER_FOLDER: Final = "former"
"""Names in the gateway's state folder."""
_KEPT: Final = 2
"""The image that runs and the one before: until a job has ended, both may be needed."""


class Act(StrEnum):
    """A job's progress on an ECU."""

    BEGUN = "begun"
    """Nothing was changed."""
    STAGED = "staged"
    """The inactive slot holds the image."""
    PROGRAMMING = "programming"
    """A single bank is being written: there may be no application."""
    ACTIVATED = "activated"
    CONFIRMED = "confirmed"
    REVERTING = "reverting"
    REVERTED = "reverted"


class EcuRecord(BaseModel):
    """One job on one ECU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str
    version: str
    from_version: str
    """What the ECU ran before; empty if that is not known."""
    act: Act = Act.BEGUN


class EcuRecords:
    """The records of all ECUs, each in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, ecu: str) -> EcuRecord | None:
        """Return an ECU's record; None before its first job, or if the file is damaged."""
        try:
            return EcuRecord.model_validate_json((self._folder / f"{ecu}.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, ecu: str, record: EcuRecord) -> None:
        """Store a record. It survives a power cut from the return of this call on.

        Raises:
            OSError: the folder cannot be written.
        """
        _write_whole(self._folder / f"{ecu}.json", record.model_dump_json().encode())


class _Kept(BaseModel):
    """The facts stored beside an image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    image_length: int
    file_format: str | None = None
    start_address: int | None = None
    number: int


class FormerImages:
    """The last images of all ECUs, in a folder for each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, image: EcuImage) -> None:
        """Copy the image that an ECU runs now, and delete images older than the one before.

        Raises:
            OSError: the folder cannot be written.
        """
        folder = self._folder / image.ecu
        folder.mkdir(parents=True, exist_ok=True)
        known = self._known(image.ecu)
        kept = _Kept(
            version=image.version,
            image_length=image.image_length,
            file_format=image.payload.file_format if image.payload else None,
            start_address=image.payload.start_address if image.payload else None,
            number=max((each.number for each in known.values()), default=0) + 1,
        )
        # A version may be any text, also one that is not a file name.
        stem = hashlib.sha256(image.version.encode()).hexdigest()[:16]
        # The image first: only the JSON file makes it known, so a power cut in between leaves no entry without its image.
        _write_whole(folder / f"{stem}.image", image.image.read_bytes())
        _write_whole(folder / f"{stem}.json", kept.model_dump_json().encode())
        newest = sorted(self._known(image.ecu).items(), key=lambda each: each[1].number)
        for path, _ in newest[:-_KEPT]:
            # In the other order, for the same reason.
            path.unlink()
            path.with_suffix(".image").unlink(missing_ok=True)

    def find(self, endpoint: EcuEndpoint, version: str, *, like: EcuImage) -> EcuImage | None:
        """Return the image of a version that an ECU ran, or None if it is not stored.

        Args:
            endpoint: the ECU; it may name the image that a workshop flashed.
            version: the version.
            like: the image of the job, whose metadata go with it.
        """
        for path, kept in self._known(endpoint.name).items():
            if kept.version == version:
                payload = None if kept.file_format is None else Payload(kept.file_format, kept.start_address)
                return _former(like, version, path.with_suffix(".image"), kept.image_length, payload)
        given = endpoint.former_image
        if given is None or given.version != version or not given.file.is_file():
            return None
        payload = None if given.file_format is None else Payload(given.file_format, given.start_address)
        return _former(like, version, given.file, given.file.stat().st_size, payload)

    def has(self, endpoint: EcuEndpoint, version: str) -> bool:
        """Return whether the image of a version that an ECU ran is stored."""
        if any(kept.version == version for kept in self._known(endpoint.name).values()):
            return True
        given = endpoint.former_image
        return given is not None and given.version == version and given.file.is_file()

    def _known(self, ecu: str) -> dict[Path, _Kept]:
        known = {}
        for path in (self._folder / ecu).glob("*.json"):
            try:
                known[path] = _Kept.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                continue
        return known


def _former(like: EcuImage, version: str, path: Path, length: int, payload: Payload | None) -> EcuImage:
    return replace(
        like,
        version=version,
        image=path,
        image_length=length,
        file_length=None,
        patch=None,
        patch_length=0,
        is_encrypted=False,
        payload=payload,
    )


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that is either the old or the new one, whenever power is lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as fresh:
        fresh.write(data)
        fresh.flush()
        os.fsync(fresh.fileno())
    Path(fresh.name).replace(path)
