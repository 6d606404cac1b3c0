"""The ECU's events in the trace, with the job under way.

The job id is in the metadata window, in a document of up to 64 KiB. It is read when the window changes (``refresh_job``: at
every boot, after an erase, after a transfer), not for every event. Only flash is its source, so that a power cut cannot change it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otabench.proto.trace import TraceWriter


class EventTrace:
    """Events of one ECU.

    Args:
        writer: where they go.
        ecu: the ECU's name.
        announced_job_id: reads the job from the metadata window; may raise PowerLost.
    """

    def __init__(self, writer: TraceWriter, *, ecu: str, announced_job_id: Callable[[], str | None]) -> None:
        self._writer = writer
        self._ecu = ecu
        self._announced_job_id = announced_job_id
        self._job_id: str | None = None

    @property
    def job_id(self) -> str | None:
        """The job that the metadata window names; None where it names none. It is not verified: decide nothing by it."""
        return self._job_id

    def refresh_job(self) -> None:
        """Read the job again, on any thread. Raises PowerLost."""
        # One assignment, so that the loop, which may emit meanwhile, sees the old or the new id.
        self._job_id = self._announced_job_id()

    def emit(self, event: str, **data: Any) -> None:
        """Append an event of the ECU's own, with the job."""
        self._writer.emit(event, job_id=self._job_id, ecu=self._ecu, **data)

    def emit_external(self, event: str, **data: Any) -> None:
        """Append an event that comes from outside the ECU (power, faults) and belongs to no job."""
        self._writer.emit(event, ecu=self._ecu, **data)
