"""How far a job has come: one share of the whole job, weighted by expected time, that never falls. Pure.

Each part of a job counts by the seconds that it is expected to take: the download, the transfers (ECUs of one bus one after the
other, buses side by side), the boot of all ECUs together, and the confirmation of each. ``remaining_s`` returns what is left of
them. ``OverallProgress`` turns what is left into a share.

What is left may grow: an ECU is programmed again from the start, a patch is followed by the full image, a restarted gateway
programs an ECU anew. The share then stays where it is, and the new remainder is spread over the rest of the way, so the share
goes on as soon as something is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from otabench.bench.gateway.vehicle import EcuProgress, Phase
from otabench.proto.job_states import JobState

_BEFORE_PROGRAMMING: Final = frozenset({JobState.CREATED, JobState.CONFIRMING, JobState.WAITING_FOR_APPROVAL})
_STAGED_SHARE: Final = {Phase.CHECKING: 0.95, Phase.STAGED: 1.0}
"""Of the expected time of one ECU's transfer; erasing before it and checking after it take about a twentieth each."""
_ERASED_SHARE: Final = 0.05
_BOOTED_SHARE: Final = {Phase.TRIAL: 0.4, Phase.SOAKING: 0.4, Phase.CONFIRMED: 0.95}
"""Of the expected time of boot and soak; the soak is more than half of it. Only SUCCEEDED leaves nothing."""
_RESET_SHARE: Final = 0.2
"""VERIFYING begins when all ECUs were reset."""


@dataclass(frozen=True)
class ExpectedTimes:
    """The expected time of each part of a job, in seconds."""

    download_s: float = 0.0
    transfers_s: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of each bus, of each of its ECUs."""
    boot_s: float = 0.0
    """Reset, boot and soak of all ECUs, which they do together."""
    confirm_s: float = 0.0
    """Confirmation of one ECU."""

    @property
    def ecus(self) -> tuple[str, ...]:
        """All ECUs of the job."""
        return tuple(ecu for bus in self.transfers_s.values() for ecu in bus)

    @property
    def installing_s(self) -> float:
        """Everything after the download: the slowest bus, then boot and confirmation."""
        slowest_s = max((sum(bus.values()) for bus in self.transfers_s.values()), default=0.0)
        return slowest_s + self.put_into_use_s

    @property
    def put_into_use_s(self) -> float:
        """Everything after the transfers."""
        return self.boot_s + self.confirm_s * len(self.ecus)


def remaining_s(
    times: ExpectedTimes, state: JobState, *, downloaded_share: float, ecus: Mapping[str, EcuProgress]
) -> float:
    """Return the expected time from here to the job's end.

    Args:
        times: of the whole job.
        state: of the job.
        downloaded_share: 0 to 1; counts in DOWNLOADING only.
        ecus: the last progress of each ECU that has reported any.
    """
    if state is JobState.SUCCEEDED:
        return 0.0
    if state in _BEFORE_PROGRAMMING:
        return times.download_s + times.installing_s
    if state is JobState.DOWNLOADING:
        return times.download_s * (1.0 - downloaded_share) + times.installing_s
    if state is JobState.INSTALLING:
        left = [
            sum(seconds * (1.0 - _staged_share(ecus.get(ecu))) for ecu, seconds in bus.items())
            for bus in times.transfers_s.values()
        ]
        return max(left, default=0.0) + times.put_into_use_s
    reset = _RESET_SHARE if state is JobState.VERIFYING else 0.0
    booted = [max(reset, _booted_share(ecus.get(ecu))) for ecu in times.ecus]
    confirmed = sum(1 for ecu in times.ecus if ecu in ecus and ecus[ecu].phase is Phase.CONFIRMED)
    mean_booted = sum(booted) / len(booted) if booted else 0.0
    return times.boot_s * (1.0 - mean_booted) + times.confirm_s * (len(times.ecus) - confirmed)


class OverallProgress:
    """The share of a job that is done, 0 to 1.

    Args:
        share: where to go on, after a restart of the gateway.
    """

    def __init__(self, share: float = 0.0) -> None:
        self._share = share
        self._remaining_s = 0.0

    def advance(self, remaining_s: float) -> float:
        """Return the share, now that this much is left; 0: the job has succeeded."""
        if remaining_s <= 0.0:
            self._share = 1.0
        elif remaining_s < self._remaining_s:
            self._share += (1.0 - self._share) * (1.0 - remaining_s / self._remaining_s)
        self._remaining_s = remaining_s
        return self._share


def whole_percent(share: float) -> int:
    """Return the share in whole percent. Only a whole job has 100: rounding up would show an end that has not come."""
    return 100 if share >= 1.0 else min(99, int(share * 100 + 1e-9))


def _staged_share(progress: EcuProgress | None) -> float:
    if progress is None:
        return 0.0
    if progress.phase is Phase.TRANSFERRING and progress.bytes_total > 0:
        transferred = progress.bytes_done / progress.bytes_total
        return _ERASED_SHARE + (_STAGED_SHARE[Phase.CHECKING] - _ERASED_SHARE) * transferred
    return _STAGED_SHARE.get(progress.phase, 0.0)


def _booted_share(progress: EcuProgress | None) -> float:
    return _BOOTED_SHARE.get(progress.phase, 0.0) if progress is not None else 0.0
