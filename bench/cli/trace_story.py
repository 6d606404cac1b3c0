"""``otabench trace``: one job's story in order, from the trace.

Decides which events belong to a job (those that carry its id, and what its ECUs did meanwhile), their order (the
monotonic clock, which all processes share) and how each is told in one line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError
from proto import trace
from proto.trace import TraceEvent

_ECU_COMPONENT: Final = "ecu."
_NOISE: Final = frozenset({"uds.exchange"})


def tell(run: Path, job_id: str | None, *, exchanges: bool) -> None:
    """Prints the story.

    Raises:
        BenchError: no trace, or no such job in it.
    """
    path = run / "traces" / "simulation_trace.jsonl"
    try:
        events = list(trace.read(path))
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; give the folder of a run by --run") from error
    except ValueError as error:
        raise BenchError(f"{error}; the file was changed by something else") from error
    chosen = job_id or last_job(events)
    if chosen is None:
        raise BenchError(f"{path}: no job in it yet; see logs/gateway.log of that run")
    lines = story(events, chosen, exchanges=exchanges)
    if not lines:
        known = ", ".join(dict.fromkeys(event.job_id for event in events if event.job_id))
        raise BenchError(f"{path}: there is no job {chosen!r} in it; known: {known or 'none'}")
    for line in lines:
        print(line)


def last_job(events: Sequence[TraceEvent]) -> str | None:
    """The job that was first mentioned last."""
    jobs = list(dict.fromkeys(event.job_id for event in events if event.job_id))
    return jobs[-1] if jobs else None


def story(events: Sequence[TraceEvent], job_id: str, *, exchanges: bool = False) -> list[str]:
    """One line an event: seconds since the job's first, component, what happened."""
    own = [event for event in events if event.job_id == job_id]
    if not own:
        return []
    first, last = min(event.mono_ns for event in own), max(event.mono_ns for event in own)
    told = [
        event
        for event in events
        if event.job_id == job_id
        or (event.job_id is None and event.component.startswith(_ECU_COMPONENT) and first <= event.mono_ns <= last)
    ]
    told.sort(key=lambda event: event.mono_ns)
    return [
        f"{(event.mono_ns - first) / 1e9:9.3f} s  {event.component:<16} {_told(event)}"
        for event in told
        if exchanges or event.event not in _NOISE
    ]


def _told(event: TraceEvent) -> str:
    teller = _TELLERS.get(event.event)
    text = teller(event.data) if teller else _plain(event.data)
    about = f"{event.ecu}: " if event.ecu and not event.component.endswith(f".{event.ecu}") else ""
    return f"{event.event:<16} {about}{text}".rstrip()


def _plain(data: Any) -> str:
    return " ".join(f"{key}={value}" for key, value in data.items() if value not in ("", None))


def _job_state(data: Any) -> str:
    reason = f" ({data['reason']})" if data.get("reason") else ""
    return f"{data.get('from') or '-'} -> {data.get('to')}{reason}"


def _phase(data: Any) -> str:
    total = data.get("bytes_total") or 0
    return f"{data.get('phase')}" + (f" {data.get('bytes_done', 0):,} of {total:,} bytes" if total else "")


def _transfer(data: Any) -> str:
    return (
        f"{data['kind']} {data['bytes']:,} bytes in {data['duration_s']:.2f} s, {data['bytes_per_s'] / 1024:.1f} KiB/s"
    )


def _exchange(data: Any) -> str:
    request, response = str(data.get("request", "")), str(data.get("response") or "no answer")
    nrc = f" NRC {data['nrc']}" if data.get("nrc") else ""
    return f"{request[:32]} -> {response[:32]}{nrc} ({data.get('duration_ms', 0):.1f} ms)"


_TELLERS: Final[dict[str, Callable[[Any], str]]] = {
    "job.state": _job_state,
    "ecu.phase": _phase,
    "flash.transfer": _transfer,
    "uds.exchange": _exchange,
}
