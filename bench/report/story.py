"""``otabench trace``: one job's story in order, from the trace, on request with the CAN frames of the run's captures.

A job's events are those that carry its id, and what its ECUs did in the meantime. They are ordered by the monotonic clock, which all
processes share (``report.frame_story`` converts the captures to it). Each becomes one line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from otabench.bench.errors import BenchError, UnknownName
from otabench.bench.report import frame_story
from otabench.bench.report.frame_story import ToldFrame
from otabench.bench.topology import addresses
from otabench.bench.uds.names import NEGATIVE_RESPONSES, describe
from otabench.proto import trace
from otabench.proto.isotp_address import FrameAddress
from otabench.proto.trace import TraceEvent

_ECU_COMPONENT: Final = "ecu."
# Hundreds in a job; the flash.transfer events sum them up.
_NOISE: Final = frozenset({"uds.exchange"})
_MAX_VALUE: Final = 160
"""Characters that are shown of one value of an event."""


def tell(run: Path, job_id: str | None, *, exchanges: bool, frames: bool = False) -> list[str]:
    """Return the story of a job, line by line.

    Args:
        run: the run's folder.
        job_id: None: the run's last job (``last_job``).
        exchanges: with every UDS exchange.
        frames: with every CAN frame of the run's captures.

    Raises:
        BenchError: no trace, no such job in it, or no capture although ``frames`` is set.
    """
    events, chosen = events_and_job(run, job_id)
    return story(events, chosen, exchanges=exchanges, frames=frames_of(run, events, chosen) if frames else {})


def events_of(run: Path, job_id: str | None) -> list[dict[str, Any]]:
    """Return the trace events that carry a job's id, as they are in the trace.

    Raises:
        BenchError: no trace, or no such job in it.
    """
    events, chosen = events_and_job(run, job_id)
    return [asdict(event) for event in events if event.job_id == chosen]


def trace_of(run: Path) -> Path:
    """Return the trace file of a run."""
    return run / "traces" / "simulation_trace.jsonl"


def events_and_job(run: Path, job_id: str | None) -> tuple[list[TraceEvent], str]:
    """Return the events of a run's trace, and the job: the given one, else the run's last one (``last_job``).

    Raises:
        BenchError: no trace, or no such job in it.
    """
    path = trace_of(run)
    try:
        events = list(trace.read(path))
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; give the folder of a run by --run") from error
    except ValueError as error:
        raise BenchError(f"{error}; the file was changed by something else") from error
    last = last_job(events)
    if last is None:
        raise BenchError(f"{path}: no job in it yet; see logs/gateway.log of that run")
    if job_id is None:
        return events, last
    known = list(dict.fromkeys(event.job_id for event in events if event.job_id))
    if job_id not in known:
        raise UnknownName("job", job_id, known, where=str(path))
    return events, job_id


def last_job(events: Sequence[TraceEvent]) -> str | None:
    """Return the job whose first event is the latest; None if there is no job.

    Jobs that only ECUs mention count if there is no other. An ECU takes the job id from the Targets that it receives, and
    `otabench attack` sends it Targets with an id of its own.
    """
    of_all = [event for event in events if event.job_id]
    of_cloud_and_gateway = [event for event in of_all if not event.component.startswith("ecu.")]
    jobs = list(dict.fromkeys(event.job_id for event in of_cloud_and_gateway or of_all))
    return jobs[-1] if jobs else None


def frames_of(run: Path, events: Sequence[TraceEvent], job_id: str) -> dict[str, list[ToldFrame]]:
    """Return the frames of each captured bus of a run during a job.

    Raises:
        BenchError: no capture, or one cannot be read.
    """
    own = [event for event in events if event.job_id == job_id]
    if not own:
        return {}
    logs = sorted((run / "can").glob("*.log"))
    if not logs:
        raise BenchError(f"{run / 'can'}: no capture there; a bench records one where its buses can be read")
    offset_ns = frame_story.wall_to_mono_ns(own)
    first_ns, last_ns = min(event.mono_ns for event in own), max(event.mono_ns for event in own)
    found = {}
    for log in logs:
        try:
            with log.open(encoding="ascii") as lines:
                found[log.stem] = frame_story.tell(
                    frame_story.parse_log(lines),
                    names=_names(run, log.stem),
                    offset_ns=offset_ns,
                    first_ns=first_ns,
                    last_ns=last_ns,
                )
        except (OSError, ValueError) as error:
            raise BenchError(f"{log}: cannot be read: {error}; the file was changed by something else") from error
    return found


def _names(run: Path, bus: str) -> dict[FrameAddress, str]:
    """Return the owner of each diagnostic address of a bus, from bench.json; empty if there is none."""
    try:
        content = json.loads((run / "bench.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(addresses.names(content.get("ecus", {}), bus))


def story(
    events: Sequence[TraceEvent],
    job_id: str,
    *,
    exchanges: bool = False,
    frames: Mapping[str, Sequence[ToldFrame]] | None = None,
) -> list[str]:
    """Return one line an event: seconds since the job's first, component, what happened.

    Args:
        events: the whole trace.
        job_id: whose story it is.
        exchanges: whether UDS exchanges are included.
        frames: of each bus, what was on it.
    """
    own = [event for event in events if event.job_id == job_id]
    if not own:
        return []
    first, last = min(event.mono_ns for event in own), max(event.mono_ns for event in own)
    chosen = [
        event
        for event in events
        if event.job_id == job_id
        # A reset or a power cut of an ECU belongs to the story, but the ECU has no job id at that moment.
        or (event.job_id is None and event.component.startswith(_ECU_COMPONENT) and first <= event.mono_ns <= last)
    ]
    lines = [
        (event.mono_ns, f"{event.component:<16} {_line_of(event)}")
        for event in chosen
        if exchanges or event.event not in _NOISE
    ]
    for bus, each in (frames or {}).items():
        lines += [(frame.mono_ns, f"{f'can.{bus}':<16} {frame.words}") for frame in each]
    lines.sort(key=lambda line: line[0])
    # Two frames of one bus are a tenth of a millisecond apart.
    digits = 6 if frames else 3
    return [f"{(mono_ns - first) / 1e9:{digits + 6}.{digits}f} s  {words}" for mono_ns, words in lines]


def _line_of(event: TraceEvent) -> str:
    text_of = _TEXTS.get(event.event)
    text = text_of(event.data) if text_of else _plain(event.data)
    about = f"{event.ecu}: " if event.ecu and not event.component.endswith(f".{event.ecu}") else ""
    return f"{event.event:<16} {about}{text}".rstrip()


def _plain(data: Any) -> str:
    return " ".join(f"{key}={_in_short(value)}" for key, value in data.items() if value not in ("", None))


def _in_short(value: Any) -> str:
    """Return a value on one line. Certificates and signatures are long; the trace has them whole."""
    text = " ".join(str(value).split())
    if len(text) <= _MAX_VALUE:
        return text
    return f"{text[:_MAX_VALUE]}… ({len(text):,} characters)"


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


def _version_report(data: Any) -> str:
    who = {"signed by the ECU": data["signed"], "reported by the gateway": data["reported_by_gateway"]}
    return "; ".join(f"{', '.join(ecus)} {words}" for words, ecus in who.items() if ecus)


def _exchange(data: Any) -> str:
    request = str(data.get("request", ""))
    nothing = "to all, not waited for" if "functional_id" in data else "no answer"
    response = str(data.get("response") or data.get("problem") or nothing)
    code = data.get("nrc")
    nrc = f" NRC {code:02X} {NEGATIVE_RESPONSES.get(code, '')}".rstrip() if isinstance(code, int) else ""
    size = f" of {data['request_bytes']:,} bytes" if int(data.get("request_bytes") or 0) > len(request) // 2 else ""
    name = describe(bytes.fromhex(request))
    return f"{name} {request[:32]}{size} -> {response[:32]}{nrc} ({data.get('duration_ms', 0):.1f} ms)".lstrip()


_TEXTS: Final[dict[str, Callable[[Any], str]]] = {
    "job.state": _job_state,
    "ecu.phase": _phase,
    "flash.transfer": _transfer,
    "uds.exchange": _exchange,
    "vehicle.report": _version_report,
}
