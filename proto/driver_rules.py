"""What a campaign allows its driver, besides the conditions: reminders, a question of its own for the download, and a date.

The campaign states these rules, the signed manifest carries them, and the gateway keeps them.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

MAX_REMINDERS: Final = 100
MAX_TIME_S: Final = 2**40
"""Far beyond any campaign. It also fits canonical JSON, which has whole numbers only."""


class DriverRules(BaseModel):
    """The rules of one campaign."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    max_reminders: int | None = Field(default=None, ge=0, le=MAX_REMINDERS)
    """How often the driver may choose Later. None: without a limit."""
    asks_before_download: bool = False
    """Whether the driver is asked twice: before the download, and again before the installation."""
    install_by: int = Field(default=0, ge=0, le=MAX_TIME_S)
    """When the update must be installed, in seconds since 1970, UTC. Such an update cannot be declined, and not be put off beyond this
    time. 0: the driver is free. Even then nothing is installed without the driver's consent."""
