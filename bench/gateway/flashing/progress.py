"""Report the progress of one ECU to driver and cloud.

A change of phase is reported at once, and traced. Within a phase progress is reported at most five times a second.
"""

from __future__ import annotations

import time
from typing import Any, Final, Protocol

from otabench.bench.gateway.vehicle import EcuProgress, Phase, ProgressListener

_MIN_INTERVAL_S: Final = 0.2


class _Ecu(Protocol):
    """An ECU with its part of the trace: a client of either kind."""

    name: str

    def emit(self, event: str, **data: Any) -> None: ...


class ProgressSender:
    """The progress of one ECU, sent to a listener."""

    def __init__(self, client: _Ecu, listener: ProgressListener) -> None:
        self._client = client
        self._listener = listener
        self._phase: Phase | None = None
        self._started_s = 0.0
        self._reported_at_s = 0.0
        self._total = 0

    def phase(self, phase: Phase, *, bytes_done: int = 0, bytes_total: int = 0, detail: str = "") -> None:
        """Report a new phase."""
        self._phase, self._total = phase, bytes_total
        self._started_s = self._reported_at_s = time.monotonic()
        self._client.emit(
            "ecu.phase",
            phase=str(phase),
            bytes_done=bytes_done,
            bytes_total=bytes_total,
            **({"detail": detail} if detail else {}),
        )
        self._listener(EcuProgress(self._client.name, phase, bytes_done, bytes_total, 0.0, detail))

    def bytes(self, done: int) -> None:
        """Report how many bytes of the phase the ECU has acknowledged."""
        now = time.monotonic()
        # The last block is always reported, so that progress ends at 100 %.
        if self._phase is None or (now - self._reported_at_s < _MIN_INTERVAL_S and done < self._total):
            return
        self._reported_at_s = now
        elapsed_s = now - self._started_s
        rate = done / elapsed_s if elapsed_s > 0 else 0.0
        self._listener(EcuProgress(self._client.name, self._phase, done, self._total, rate))
