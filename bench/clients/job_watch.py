"""Follow jobs in the trace while it is written: their states and the history of their states.

The states come from the gateway's own ``job.state`` events, so a caller can wait for a job even if cloud and page are down. Each call reads
only the part of the file that was appended since the last call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otabench.proto.foreign_text import printable
from otabench.proto.job_states import JobState, is_final
from otabench.proto.trace import TraceEvent


class TraceTail:
    """The events that were appended to a trace file since the last call. An incomplete last line waits until it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_events(self) -> list[TraceEvent]:
        """Return the events since the last call. While the file does not exist, the list is empty."""
        try:
            with self._path.open("rb") as trace:
                trace.seek(self._offset)
                data = trace.read()
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self._offset += end
        return [TraceEvent(**json.loads(line)) for line in data[:end].splitlines()]


@dataclass
class JobView:
    """One job, from the gateway's events."""

    job_id: str
    state: JobState = JobState.CREATED
    reason: str = ""
    history: list[JobState] = field(default_factory=list)
    changed_ns: int = 0
    """When the job entered its state, on the monotonic clock."""

    @property
    def ended(self) -> bool:
        return is_final(self.state)


def where_it_stands(job: JobView | None, page: Mapping[str, Any] | None = None) -> str:
    """Return where a job is, as the second half of a sentence.

    Args:
        job: the job; None: the gateway has not received it.
        page: what the driver's page shows: its obstacle is the reason why the gateway has not received a job.
    """
    if job is not None:
        return f"is {job.state} ({job.reason or 'no reason given'})"
    obstacle = (page or {}).get("obstacle")
    return "has not reached the gateway" + (f" ({obstacle['text']})" if obstacle else "")


class JobWatch:
    """All jobs of a trace. ``update`` reads new events."""

    def __init__(self, path: Path, *, component: str = "gateway") -> None:
        self._tail = TraceTail(path)
        self._component = component
        self.jobs: dict[str, JobView] = {}
        self.latest: JobView | None = None
        """The job whose state changed last."""

    def update(self) -> list[TraceEvent]:
        """Read new events, update the jobs, and return the events."""
        events = self._tail.new_events()
        for event in events:
            if event.event != "job.state" or event.component != self._component or event.job_id is None:
                continue
            try:
                state = JobState(str(event.data.get("to")))
            except ValueError:
                continue
            job = self.jobs.setdefault(event.job_id, JobView(event.job_id))
            job.state, job.reason = state, printable(str(event.data.get("reason") or ""))
            job.history.append(state)
            job.changed_ns = event.mono_ns
            self.latest = job
        return events
