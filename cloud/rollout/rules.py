"""The rules of a roll-out: from its counts and the time to the jobs that may be opened, or to a pause.

    decision = decide(rollout, progress, counts, opened_last_minute=3, now=time.time())
    decision.progress, decision.open_jobs

* A wave opens when enough jobs of the wave before have succeeded. Jobs of a wave that is not open are never offered.
* A roll-out pauses by itself if too many jobs of an open wave have failed, if a wave has ended without enough successes, or at its end
  time. Only an operator resumes it.
* Jobs that were canceled, or rejected by vehicle or driver, count neither as successes nor as failures.

Pure: counts and time are arguments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

MAX_WAVES: Final = 100
MAX_PER_MINUTE: Final = 1_000_000
_PERCENT: Final = 100.0
# A share such as 7 % of 100 vehicles is 7.000000000000001 in floating point, and must not become 8.
_ROUNDING: Final = 1e-9


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Wave(_Model):
    """How many of the campaign's vehicles have been offered their job once this wave is open: a share, or a number of vehicles."""

    share_percent: float | None = Field(default=None, gt=0, le=_PERCENT)
    vehicles: int | None = Field(default=None, gt=0)

    def last_vehicle(self, total: int) -> int:
        """Return the number of vehicles up to this wave's end, of ``total``."""
        if self.vehicles is not None:
            return min(self.vehicles, total)
        return min(math.ceil((self.share_percent or 0) * total / _PERCENT - _ROUNDING), total)


class Rollout(_Model):
    """What the operator has asked for.

    Attributes:
        waves: at least one. Each includes those before it.
        success_percent: the share of a wave's jobs that must succeed before the next wave opens.
        error_percent: the share of a wave's jobs that may fail. None: any.
        max_per_minute: how many jobs are opened within 60 s. 0: without a limit.
        start_at, end_at: seconds since 1970. 0: at once; never.
    """

    waves: tuple[Wave, ...] = (Wave(share_percent=_PERCENT),)
    success_percent: float = Field(default=_PERCENT, ge=0, le=_PERCENT)
    error_percent: float | None = Field(default=None, ge=0, le=_PERCENT)
    max_per_minute: int = Field(default=0, ge=0, le=MAX_PER_MINUTE)
    start_at: float = 0.0
    end_at: float = 0.0


class PauseCause(StrEnum):
    """Why a roll-out is paused."""

    OPERATOR = "operator"
    ERRORS = "errors"
    TOO_FEW_SUCCESSES = "too few successes"
    END_TIME = "end time"


class Progress(_Model):
    """How far a roll-out has come.

    Attributes:
        open_waves: how many waves are open.
        opened_jobs: how many jobs were opened in all. So each opening changes the progress, and is written by compare-and-set.
        paused, reason: why it is paused. None: it is not.
        forgiven: for each wave the failures that an operator has seen and resumed after.
        waived: the highest wave whose too few successes an operator has accepted.
    """

    open_waves: int = 0
    opened_jobs: int = 0
    paused: PauseCause | None = None
    reason: str = ""
    forgiven: tuple[int, ...] = ()
    waived: int = 0


@dataclass(frozen=True)
class WaveCounts:
    """The jobs of one wave.

    Attributes:
        jobs: all of them.
        held: those that were not opened yet and are still to be.
        succeeded, failed: FAILED, ROLLED_BACK and TIMED_OUT are failures.
        left_out: CANCELED and REJECTED.
    """

    jobs: int = 0
    held: int = 0
    succeeded: int = 0
    failed: int = 0
    left_out: int = 0

    @property
    def counted(self) -> int:
        return self.jobs - self.left_out

    @property
    def has_ended(self) -> bool:
        return self.succeeded + self.failed == self.counted


@dataclass(frozen=True)
class Decision:
    """The progress after the decision, and how many held jobs of the open waves may be opened now."""

    progress: Progress
    open_jobs: int = 0


def assign_waves(waves: Sequence[Wave], total: int) -> list[int]:
    """Return the wave of each of ``total`` vehicles, counted from 0. Waves that would be empty are skipped."""
    ends = sorted({end for wave in waves if (end := wave.last_vehicle(total))} | {total})
    assigned: list[int] = []
    for number, end in enumerate(ends):
        assigned.extend([number] * (end - len(assigned)))
    return assigned


def decide(
    rollout: Rollout, progress: Progress, counts: Sequence[WaveCounts], *, opened_last_minute: int, now: float
) -> Decision:
    """Return what is to be done now.

    Args:
        rollout: what the operator has asked for.
        progress: how far it has come.
        counts: the jobs of each wave.
        opened_last_minute: how many jobs were opened in the last 60 s.
        now: seconds since 1970.
    """
    if progress.paused or now < rollout.start_at:
        return Decision(progress)
    if rollout.end_at and now >= rollout.end_at:
        return Decision(_paused(progress, PauseCause.END_TIME, "the end time of the roll-out has passed"))
    if reason := _too_many_failures(rollout, progress, counts):
        return Decision(_paused(progress, PauseCause.ERRORS, reason))
    if progress.open_waves == 0:
        progress = progress.model_copy(update={"open_waves": 1})
    elif progress.open_waves < len(counts):
        current, number = counts[progress.open_waves - 1], progress.open_waves
        if _is_successful(rollout, current) or (current.has_ended and progress.waived >= number):
            progress = progress.model_copy(update={"open_waves": number + 1})
        elif current.has_ended:
            reason = (
                f"wave {number} has ended with {current.succeeded} of {current.counted} jobs SUCCEEDED: "
                f"the next wave needs {rollout.success_percent:g} %"
            )
            return Decision(_paused(progress, PauseCause.TOO_FEW_SUCCESSES, reason))
    held = sum(wave.held for wave in counts[: progress.open_waves])
    allowed = max(0, rollout.max_per_minute - opened_last_minute) if rollout.max_per_minute else held
    return Decision(progress, min(held, allowed))


def pause(progress: Progress, reason: str) -> Progress:
    """Return the progress as paused by an operator. A roll-out that is paused keeps its cause."""
    return progress if progress.paused else _paused(progress, PauseCause.OPERATOR, reason)


def resume(progress: Progress, counts: Sequence[WaveCounts]) -> Progress:
    """Return the progress as resumed by an operator, who accepts what has paused it: the failures so far, or the successes of the wave."""
    changes: dict[str, object] = {"paused": None, "reason": ""}
    if progress.paused is PauseCause.ERRORS:
        changes["forgiven"] = tuple(wave.failed for wave in counts)
    if progress.paused is PauseCause.TOO_FEW_SUCCESSES:
        changes["waived"] = progress.open_waves
    return progress.model_copy(update=changes)


def _paused(progress: Progress, cause: PauseCause, reason: str) -> Progress:
    return progress.model_copy(update={"paused": cause, "reason": reason})


def _too_many_failures(rollout: Rollout, progress: Progress, counts: Sequence[WaveCounts]) -> str:
    """Return the reason to pause because of failures; empty: there is none."""
    if rollout.error_percent is None:
        return ""
    for number, wave in enumerate(counts[: progress.open_waves], start=1):
        forgiven = progress.forgiven[number - 1] if number <= len(progress.forgiven) else 0
        failed = wave.failed - forgiven
        # All jobs of the wave, not only those that were opened: the first failure among few would stop a large wave otherwise.
        if failed * _PERCENT > rollout.error_percent * (wave.counted - forgiven):
            return (
                f"{wave.failed} of {wave.counted} jobs of wave {number} have failed: "
                f"{rollout.error_percent:g} % are allowed" + (f", after {forgiven} accepted ones" if forgiven else "")
            )
    return ""


def _is_successful(rollout: Rollout, wave: WaveCounts) -> bool:
    # A wave without a single counted job has proven nothing.
    return wave.counted > 0 and wave.succeeded * _PERCENT >= rollout.success_percent * wave.counted
