"""The texts about an update that the driver's page shows, in one language. A campaign carries several languages; the page chooses one.

UN R156, 7.2.2.2, lists what the user must be informed of: purpose, changes, time, functions that cannot be used, instructions.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

MAX_LANGUAGES: Final = 16
MAX_BYTES: Final = 24 * 1024
"""Maximum size of all texts of a campaign together, in UTF-8.

The texts are part of the Targets, which must fit an ECU's metadata window (64 KiB). Only the texts are counted: the other 40 KiB are for
keys, JSON escapes and everything else in the Targets.
"""

LANGUAGE_PATTERN: Final = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}$"
Language = Annotated[str, Field(pattern=LANGUAGE_PATTERN)]
"""A language tag (BCP 47): "en", "de-AT", "zh-Hant"."""


class DriverTexts(BaseModel):
    """The texts in one language. Every one may be empty."""

    # A gateway must be able to read the campaign of a newer cloud. bench.cli.driver_texts forbids unknown keys where a person types them.
    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = ""
    """Title of the update."""
    release_notes: str = ""
    """What is new."""
    purpose: str = ""
    """Why the update is made, and how important it is."""
    unavailable: str = ""
    """Functions that cannot be used during the update."""
    instructions: str = ""
    """What the driver has to do before or afterwards."""
    obligation: str = ""
    """Why the update must be installed, in a campaign with ``DriverRules.install_by``."""
    contact: str = ""
    """Whom to ask: a workshop's or a maker's name, number or address."""

    def size(self) -> int:
        """Return the bytes of all texts in UTF-8."""
        return sum(len(str(text).encode()) for text in self.model_dump().values())
