"""Compute the progress of a whole job as one share, weighted by expected time. The share never falls.

Each part of a job counts by its expected time: the download, the transfers (one after the other on one bus, in parallel on several), the
boot of all ECUs together, and the confirmation of each ECU. ``remaining_s`` returns the expected time that is left, and ``OverallProgress``
turns it into a share.

The remaining time may grow: an ECU is programmed again from the start, the full image follows a patch, or a restarted gateway programs an
ECU again. The share then stays as it is, and the new remaining time is spread over the rest, so that the share grows again as soon as
something is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from otabench.bench.gateway.vehicle import EcuProgress, Phase
from otabench.proto.job_states import JobState

_BEFORE_PROGRAMMING: Final = frozenset({JobState.CREATED, JobState.CONFIRMING, JobState.WAITING_FOR_APPROVAL})
_STAGED_SHARE: Final = {Phase.CHECKING: 0.95, Phase.STAGED: 1.0}
"""Shares of one ECU's expected transfer time. Erasing before the transfer and checking after it take about a twentieth each."""
_ERASED_SHARE: Final = 0.05
_BOOTED_SHARE: Final = {Phase.TRIAL: 0.4, Phase.SOAKING: 0.4, Phase.CONFIRMED: 0.95}
"""Shares of the expected time of boot and soak, of which the soak is more than half. All of it is only SUCCEEDED."""
_NOT_PROGRAMMED: Final = frozenset({Phase.WAITING, Phase.ERASING, Phase.TRANSFERRING, Phase.CHECKING})
_RESET_SHARE: Final = 0.2
"""Share of boot and soak at the start of VERIFYING, when all ECUs have been reset."""


@dataclass(frozen=True)
class ExpectedTimes:
    """The expected time of each part of a job, in seconds."""

    download_s: float = 0.0
    transfers_s: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Transfer time of each ECU, by bus and ECU."""
    boot_s: float = 0.0
    """Reset, boot and soak of all ECUs together."""
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
    """Return the expected time until the end of the job.

    Args:
        times: the expected times of the whole job.
        state: the state of the job.
        downloaded_share: the share of the downloads that has arrived, 0 to 1. It counts only in DOWNLOADING.
        ecus: the last progress of each ECU. ECUs without progress are missing.
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
    # ACTIVATING and later: boot, soak and confirmation are left, and before them the programming of single banks (ADR 11).
    late = [
        sum(
            seconds * (1.0 - _staged_share(ecus[ecu]))
            for ecu, seconds in bus.items()
            if ecu in ecus and ecus[ecu].phase in _NOT_PROGRAMMED
        )
        for bus in times.transfers_s.values()
    ]
    min_booted = _RESET_SHARE if state is JobState.VERIFYING else 0.0
    booted = [max(min_booted, _booted_share(ecus.get(ecu))) for ecu in times.ecus]
    confirmed = sum(1 for ecu in times.ecus if ecu in ecus and ecus[ecu].phase is Phase.CONFIRMED)
    mean_booted = sum(booted) / len(booted) if booted else 0.0
    booting_s = times.boot_s * (1.0 - mean_booted) + times.confirm_s * (len(times.ecus) - confirmed)
    return max(late, default=0.0) + booting_s


class OverallProgress:
    """The share of a job that is done, 0 to 1.

    Args:
        share: the share at which a restarted gateway continues.
    """

    def __init__(self, share: float = 0.0) -> None:
        self._share = share
        self._remaining_s = 0.0

    def advance(self, remaining_s: float) -> float:
        """Return the new share for the remaining time. A remaining time of 0 means that the job has succeeded."""
        if remaining_s <= 0.0:
            self._share = 1.0
        elif remaining_s < self._remaining_s:
            self._share += (1.0 - self._share) * (1.0 - remaining_s / self._remaining_s)
        self._remaining_s = remaining_s
        return self._share


def whole_percent(share: float) -> int:
    """Return the share in whole percent. Only a finished job has 100 %: rounding up would show it as finished too early."""
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
