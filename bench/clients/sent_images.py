"""The images of a run, by digest: which bytes an ECU runs, to make a patch from them.

Two images may have the same version: a user's own, and the one that the bench made. So the image that an ECU runs is looked up
by the digest that the ECU reports (the SHA-256 that imgtool put into the image). The bench's own images lie in the run's folder
``firmware/``. Every image that a campaign sends is kept in ``firmware/sent/DIGEST.bin``, for every process that makes the next one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from otabench.bench.errors import BenchError
from otabench.bench.uds.slot_table import same_version
from otabench.proto import image_format
from otabench.proto.image_format import ImageFormatError

_FOLDER: Final = "sent"


def digest_of(image: bytes) -> str:
    """Return an image's digest in hexadecimal; empty if the bytes are not an image, or one without a digest."""
    try:
        return (image_format.parse(image).tlv(image_format.TLV_SHA256) or b"").hex()
    except ImageFormatError:
        return ""


class SentImages:
    """The images that campaigns of one run have sent.

    Args:
        firmware: the run's folder of that name.
    """

    def __init__(self, firmware: Path) -> None:
        self._folder = firmware / _FOLDER

    def keep(self, image: bytes) -> None:
        """Keep an image that a campaign sends. Bytes that are not an image are left to the cloud to refuse.

        Raises:
            BenchError: the folder cannot be written.
        """
        digest = digest_of(image)
        if not digest:
            return
        path = self._folder / f"{digest}.bin"
        fresh = path.with_suffix(f".{os.getpid()}.new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(image)
            # Replace even an image that is known already, so that it becomes the newest. For a board, which reports no digest, the newest
            # image of its version counts.
            fresh.replace(path)
        except OSError as error:
            raise BenchError(f"{path}: the image cannot be kept: {error.strerror}; is there space left?") from error

    def running(self, state: Mapping[str, Any], *, hardware_id: str, made: Mapping[str, Path]) -> bytes:
        """Return the image that an ECU runs; empty if this run does not hold it (the cloud may).

        Args:
            state: of the ECU, as its control port reports it. A board's has no digest: it gets the image of its version that
                was sent last, or else the bench's own.
            hardware_id: of the ECU.
            made: the bench's own images for it, by version.
        """
        slot = state["slots"][state["active_slot"]]
        version, digest = str(slot["version"]), str(slot.get("digest", ""))
        own = [made[version]] if version in made else []
        if digest:
            kept = self._folder / f"{digest}.bin"
            return next((data for data in _contents([kept, *own]) if digest_of(data) == digest), b"")
        sent = (data for data in _contents(self._newest_first()) if _is_for(data, hardware_id, version))
        return next(sent, None) or next(iter(_contents(own)), b"")

    def _newest_first(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(self._folder.glob("*.bin"), key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _contents(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        try:
            yield path.read_bytes()
        except FileNotFoundError:
            continue


def _is_for(data: bytes, hardware_id: str, version: str) -> bool:
    try:
        image = image_format.parse(data)
    except ImageFormatError:
        return False
    return image.class_id == image_format.class_id_of(hardware_id) and same_version(str(image.version), version)
