"""The last time that was attested to the gateway, below which no clock counts.

The clock of the machine decides what has expired (``repository``), and whoever can set it back would make old metadata valid again. So the
files that were verified by it are judged once more, by the attested time, which never goes back. A file of the state folder keeps it.

Replaced time keys end a fast-forward: what their thief attested no longer counts.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from otabench.bench.gateway.errors import ManifestRefused, RefusalKind
from otabench.proto import time_attestation
from otabench.proto.time_attestation import AttestationRefused
from otabench.proto.uptane import time_keys_of

if TYPE_CHECKING:
    # python-tuf takes a while to import, and most runs of the gateway have no job.
    from tuf.api.metadata import Root  # type: ignore[attr-defined]  # its public name

_JUDGED: Final = ("root.json", "timestamp.json", "snapshot.json", "targets.json")
"""Delegated Targets are left out: those that no image needed now may be old, and the Timestamp vouches for the others."""


@dataclass(frozen=True)
class TimeAnswer:
    """The answer to a question for the time. ``attestation`` is empty if there was none."""

    nonce: bytes
    attestation: bytes


class KnownTime(BaseModel):
    """The last attested time (seconds since 1970, UTC; 0: never), and the keys of the Root under which it was attested."""

    model_config = ConfigDict(frozen=True)

    time_s: int = 0
    keys: tuple[str, ...] = ()

    @classmethod
    def read(cls, file: Path) -> KnownTime:
        """Return what a file keeps. A file that is missing or damaged keeps nothing.

        Raises:
            OSError: it cannot be read.
        """
        try:
            return cls.model_validate_json(file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return cls()

    def write(self, file: Path) -> None:
        """Keep it, as a whole. Raises OSError."""
        part = file.with_name(f".{file.name}.part")
        with part.open("w", encoding="utf-8") as written:
            written.write(self.model_dump_json())
            written.flush()
            os.fsync(written.fileno())
        part.replace(file)

    def after(self, answer: TimeAnswer | None, root: Root) -> tuple[KnownTime, str]:
        """Return what is known after an answer, and what is wrong with the answer ("": nothing, or there was none).

        Args:
            answer: to the gateway's own question.
            root: the Director's newest Root.
        """
        try:
            keys = time_keys_of(root.unrecognized_fields)
        except ValueError as error:
            return self, f"the Root's time keys are not well-formed: {error}"
        if keys is None:
            return self, ""
        known = self if set(self.keys) <= {*keys.keys} else KnownTime()
        known = KnownTime(time_s=known.time_s, keys=keys.keys)
        if answer is None or not answer.attestation:
            return known, ""
        try:
            time_s = time_attestation.verify(answer.attestation, nonce=answer.nonce, keys=keys)
        except AttestationRefused as error:
            return known, str(error)
        if time_s < known.time_s:
            return known, f"the attested time goes back by {known.time_s - time_s} s"
        return KnownTime(time_s=time_s, keys=keys.keys), ""

    def judge_expiry(self, folder: Path) -> None:
        """Raise ManifestRefused if a role's verified metadata in a folder had expired at that time."""
        for file in (folder / name for name in _JUDGED):
            expires = datetime.fromisoformat(json.loads(file.read_bytes())["signed"]["expires"])
            if expires.timestamp() <= self.time_s:
                at = datetime.fromtimestamp(self.time_s, UTC)
                raise ManifestRefused(
                    f"{file.name} had expired on {expires:%Y-%m-%d %H:%M}, and the attested time is {at:%Y-%m-%d %H:%M}: "
                    "the clock of the vehicle is slow",
                    kind=RefusalKind.FREEZE,
                )
