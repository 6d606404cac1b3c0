"""What a driver reads about an update, in one language. A campaign carries texts in several; the page chooses (UN R156, 7.2.2.2)."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

MAX_LANGUAGES: Final = 16
MAX_BYTES: Final = 24 * 1024
"""Of all texts of a campaign together, UTF-8: they are part of the Targets, which must fit an ECU's metadata window (64 KiB)."""

LANGUAGE_PATTERN: Final = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}$"
Language = Annotated[str, Field(pattern=LANGUAGE_PATTERN)]
"""A language tag (BCP 47): "en", "de-AT", "zh-Hant"."""


class DriverTexts(BaseModel):
    """The texts in one language. Every one may be empty."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = ""
    """Of the update, as a title."""
    release_notes: str = ""
    """What is new."""
    purpose: str = ""
    """Why it is made, and how important it is."""
    unavailable: str = ""
    """Which functions cannot be used meanwhile."""
    instructions: str = ""
    """What the driver has to do before or afterwards."""
    obligation: str = ""
    """Why the update must be installed; of a campaign with ``DriverRules.install_by``."""
    contact: str = ""
    """Whom to ask: a workshop's or a maker's name, number or address."""

    def size(self) -> int:
        """Return the bytes of all texts in UTF-8."""
        return sum(len(str(text).encode()) for text in self.model_dump().values())
