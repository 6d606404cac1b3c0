"""What the HMI shows and what the driver may decide: the seam between the agent and the page.

``HmiState`` is sent whole on every change (SSE event ``state``, JSON); the page is a function of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from otabench.proto.conditions import Quantity, Sign
from otabench.proto.consent import Question
from otabench.proto.driver_rules import DriverRules
from otabench.proto.driver_texts import DriverTexts
from otabench.proto.job_states import JobState


class Decision(StrEnum):
    """The driver's decision."""

    INSTALL = "install"
    """Now. Where the question is about the download: download it now."""
    SCHEDULE = "schedule"
    LATER = "later"
    DECLINE = "decline"
    CANCEL = "cancel"
    """Of an update that is being downloaded or installed; possible until the point of no return."""


class Refusal(StrEnum):
    """Why a decision is refused, so that the page can say it in the driver's language."""

    OTHER = "other"
    GONE = "gone"
    NOT_ASKED = "not_asked"
    JUST_DECIDED = "just_decided"
    NOT_READY = "not_ready"
    SHOWN_DIFFERENTLY = "shown_differently"
    NO_REMINDERS = "no_reminders"
    MUST_BE_INSTALLED = "must_be_installed"
    NO_TIME = "no_time"
    TIME_PASSED = "time_passed"
    TOO_FAR = "too_far"
    NO_RETURN = "no_return"
    STOPPING = "stopping"


class Ending(StrEnum):
    """How a job ended, as far as it matters to the driver."""

    INSTALLED = "installed"
    UNDONE = "undone"
    """Rolled back: the vehicle runs what it ran before."""
    UNCHANGED = "unchanged"
    """Failed before any ECU ran the new software."""
    NOT_BROUGHT_BACK = "not_brought_back"
    """Failed afterwards: an ECU may run the new software, or none."""
    DECLINED = "declined"
    REFUSED = "refused"
    """The gateway or the cloud refused it before the driver was asked."""
    WITHDRAWN = "withdrawn"
    OUT_OF_TIME = "out_of_time"


class ObstacleKind(StrEnum):
    """What keeps the vehicle from being updated."""

    CLOUD_REFUSES = "cloud_refuses"
    ECU_SILENT = "ecu_silent"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class EcuView(_Model):
    """One ECU's row."""

    ecu: str
    hardware_id: str
    version: str = ""
    """What it runs, as last read; empty: not known."""
    from_version: str = ""
    """What it ran when the job began; outside a job: ``version``."""
    to_version: str = ""
    slot_state: str = ""
    phase: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_s: float = 0.0
    detail: str = ""
    evidence: str = ""
    """Who vouches for ``version`` to the cloud: "signed by the ECU" or "reported by the gateway"; empty: not known."""


class Choice(_Model):
    """A decision, and what belongs to it."""

    decision: Decision
    offer: str = ""
    """``HmiState.offer`` of what was shown; a consent must name it."""
    language: str = ""
    """Of the campaign's texts as shown; empty: the campaign's own name and notes were."""
    when: str = ""
    """For SCHEDULE: ``night``, or day and time in the vehicle's zone: ``2026-11-30T02:30``."""
    reason: str = ""
    """For DECLINE."""
    session: str = ""
    """The digest of the session that decided."""
    pairing: str = ""
    """The fingerprint of the pairing code that opened it."""


class ConditionView(_Model):
    """One condition of the update: what it is about, its limit, and the value as last read."""

    quantity: Quantity
    sign: Sign
    limit: float
    value: float | None = None
    """None: it could not be read."""
    is_met: bool


class Obstacle(_Model):
    """What keeps the vehicle from being updated, for as long as it does."""

    kind: ObstacleKind
    text: str
    """In the words of the workshop."""


class HistoryEntry(_Model):
    """One job that has ended. It is data, from which the page composes the text."""

    job_id: str
    campaign_name: str = ""
    state: JobState
    """The final state."""
    ending: Ending
    ended_at: float
    """s since 1970, UTC."""
    reason: str = ""
    """Why the job ended in this state, in the words of the workshop; empty where there is nothing to explain."""


class HmiState(_Model):
    """Everything that the page shows."""

    seq: int
    """Counts changes; the SSE event's id."""
    vin: str
    job_id: str | None = None
    job_state: JobState | None = None
    campaign_name: str = ""
    release_notes: str = ""
    texts: dict[str, DriverTexts] = Field(default_factory=dict)
    """What the driver reads, by language. Of a campaign without texts it is empty, and name and notes above are shown."""
    download_bytes: int = 0
    download_done_bytes: int = 0
    expected_duration_s: float = 0.0
    duration_min_s: int = 0
    """The expected duration of the installation, as a range, from the rates that were measured."""
    duration_max_s: int = 0
    progress_percent: int = 0
    """Of the whole job, weighted by expected time. It never falls."""
    is_reverting: bool = False
    """Whether the update is being undone."""
    ending: Ending | None = None
    reason: str = ""
    """Why the job ended or is being undone, in the words of the workshop."""
    obstacle: Obstacle | None = None
    conditions: tuple[ConditionView, ...] = ()
    """What the vehicle must meet before the update may be installed, as last read."""
    stops_working: bool = False
    """Whether a control unit does not work while the update is installed."""
    is_kept_parked: bool = False
    """Whether the vehicle cannot be driven while the update is installed (``proto.inhibit``)."""
    has_no_way_back: bool = False
    """Whether a control unit could not be brought back if the update failed."""
    is_paused: bool = False
    """Whether the job waits for a condition that was lost."""
    question: Question | None = None
    """What the driver is asked; None: nothing."""
    offer: str = ""
    """Names what is shown while the driver is asked (``proto.consent.offer_id``)."""
    rules: DriverRules = DriverRules()
    reminders_left: int | None = None
    """How often Later may still be chosen. None: without a limit."""
    time_zone: str = "UTC"
    """The vehicle's, by its IANA name."""
    start_from: float | None = None
    """s since 1970, UTC: when an update that the driver scheduled begins."""
    start_by: float | None = None
    """Until when the vehicle waits for its conditions then."""
    is_appointment_missed: bool = False
    """Whether the last appointment passed without all conditions being met."""
    can_be_canceled: bool = False
    deferred_until: float | None = None
    """s since 1970, UTC: when the driver is asked again, after Later."""
    cloud_reachable: bool | None = None
    """None: the cloud was not asked yet."""
    ecus: tuple[EcuView, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    """The jobs that ended, latest first."""


class DecisionRefused(Exception):
    """The decision does not fit: there is no such job, or it does not wait for a decision.

    Attributes:
        kind: why.
        sentence: what the driver reads, in English.
        detail: job id, state or reason, for the workshop and for tests; part of the exception's text only.
    """

    def __init__(self, sentence: str, *, kind: Refusal = Refusal.OTHER, detail: str = "") -> None:
        super().__init__(f"{sentence} ({detail})" if detail else sentence)
        self.kind = kind
        self.sentence = sentence
        self.detail = detail


class HmiModel(Protocol):
    """The agent's interface for the page."""

    def snapshot(self) -> HmiState:
        """Return the state now."""
        ...

    def changes(self) -> AsyncIterator[HmiState]:
        """Yield the state now, and then every later one. A slow reader misses states in between, but never the last."""
        ...

    async def decide(self, job_id: str, choice: Choice) -> None:
        """Take the driver's decision for the job.

        Raises:
            DecisionRefused: see there.
        """
        ...
