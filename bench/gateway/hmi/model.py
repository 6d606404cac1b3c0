"""What the HMI shows and what the driver may decide: the seam between the agent and the page.

``HmiState`` is sent whole on every change (SSE event ``state``, JSON); the page is a function of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from otabench.proto.job_states import JobState


class Decision(StrEnum):
    """The driver's answer to WAITING_FOR_APPROVAL."""

    INSTALL = "install"
    LATER = "later"
    DECLINE = "decline"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class EcuView(_Model):
    """One ECU's row."""

    ecu: str
    hardware_id: str
    from_version: str = ""
    to_version: str = ""
    slot_state: str = ""
    phase: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_s: float = 0.0
    detail: str = ""


class HistoryEntry(_Model):
    """One job that has ended. The page composes the text: this is data, so that no one parses a sentence."""

    job_id: str
    campaign_name: str = ""
    state: JobState
    """The final state."""
    ended_at: float
    """s since 1970, UTC."""
    reason: str = ""
    """Why the job ended in this state; empty where there is nothing to explain."""


class HmiState(_Model):
    """Everything that the page shows."""

    seq: int
    """Counts changes; the SSE event's id."""
    vin: str
    job_id: str | None = None
    job_state: JobState | None = None
    campaign_name: str = ""
    release_notes: str = ""
    download_bytes: int = 0
    download_done_bytes: int = 0
    expected_duration_s: float = 0.0
    reason: str = ""
    """Why the job ended, or what it waits for."""
    deferred_until: float | None = None
    """s since 1970, UTC: when the driver is asked again, after Later."""
    cloud_reachable: bool = True
    ecus: tuple[EcuView, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    """The jobs that ended, latest first."""


class DecisionRefused(Exception):
    """The decision does not fit: there is no such job, or it does not wait for a decision. The driver reads the message."""


class HmiModel(Protocol):
    """What the page needs of the agent."""

    def snapshot(self) -> HmiState:
        """Return the state now."""
        ...

    def changes(self) -> AsyncIterator[HmiState]:
        """Yield the state now, and then every later one. A slow reader misses states in between, but never the last."""
        ...

    async def decide(self, job_id: str, decision: Decision) -> None:
        """Take the driver's decision for the job.

        Raises:
            DecisionRefused: see there.
        """
        ...
