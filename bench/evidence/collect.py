"""Take the parts of an evidence file from a run's folder: what the job's processes wrote, cut to the job, nothing rewritten."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from otabench.bench.captures.formats import candump_line, parse_candump, pcap_header, pcap_record
from otabench.bench.errors import BenchError
from otabench.bench.evidence import document
from otabench.bench.report import story
from otabench.proto import audit_log
from otabench.proto.trace import TraceEvent
from otabench.proto.uptane import MANIFEST_CUSTOM_KEY

_MARGIN_US: Final = 1_000_000
"""Frames from a second before the job's first event to a second after its last one: post-programming is part of the story."""


def parts_of(run: Path, job_id: str | None) -> dict[str, bytes]:
    """Return the parts of a job's evidence file, by name.

    Args:
        run: the run's folder.
        job_id: None: the job that was mentioned last.

    Raises:
        BenchError: the run has no such job, or what it left is not there any more.
    """
    events, chosen = story.events_and_job(run, job_id)
    # As they were written; an incomplete last line is not an event.
    lines = story.trace_of(run).read_bytes().splitlines(keepends=True)[: len(events)]
    own = [event for event in events if event.job_id == chosen]
    return {
        document.VEHICLE: _vehicle(run),
        **_metadata(run, chosen),
        **_audit(run, chosen),
        document.TRACE: b"".join(
            line for line, event in zip(lines, events, strict=True) if _belongs(event, chosen, own, events)
        ),
        **_captures(run, own),
    }


def _belongs(event: TraceEvent, job_id: str, own: Sequence[TraceEvent], events: Sequence[TraceEvent]) -> bool:
    """Return whether an event is part of a job's story."""
    if event.job_id is not None:
        return event.job_id == job_id
    first_ns, last_ns = own[0].mono_ns, own[-1].mono_ns
    if event.component.startswith("ecu."):
        return first_ns <= event.mono_ns <= last_ns
    if event.event == "campaign.created":
        return event.mono_ns <= first_ns and event is _last_before(events, "campaign.created", first_ns)
    if event.event != "ecu.identity":
        return False
    # What the ECUs ran before is read before the job has an id; what they run afterwards is read after its end.
    next_job_ns = min(
        (each.mono_ns for each in events if each.job_id not in (None, job_id) and each.mono_ns > last_ns),
        default=None,
    )
    return next_job_ns is None or event.mono_ns < next_job_ns


def _last_before(events: Sequence[TraceEvent], name: str, mono_ns: int) -> TraceEvent | None:
    found = [event for event in events if event.event == name and event.mono_ns <= mono_ns]
    return found[-1] if found else None


def _vehicle(run: Path) -> bytes:
    try:
        content: dict[str, Any] = json.loads((run / "bench.json").read_text(encoding="utf-8"))
        chosen = {"vin": content["vin"], "ecus": content["ecus"]}
    except (OSError, ValueError, KeyError) as error:
        raise BenchError(
            f"{run / 'bench.json'}: cannot be read ({error}); give the folder of a run by --run"
        ) from error
    return (json.dumps(chosen, indent=1, sort_keys=True) + "\n").encode()


def _metadata(run: Path, job_id: str) -> dict[str, bytes]:
    """Return the metadata that the gateway trusts, of both repositories, as bytes, if they are those of the job."""
    state = run / "state" / "gateway"
    try:
        found = {
            f"metadata/{path.relative_to(state)}": path.read_bytes()
            for folder in (state / "director", state / "image")
            for path in sorted(folder.rglob("*.json"))
            if path.is_file() and not path.is_symlink()
        }
        named = json.loads(found[document.TARGETS])["signed"][MANIFEST_CUSTOM_KEY]["job_id"]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BenchError(
            f"{state}: the gateway holds no verified metadata; evidence needs a job whose manifest was accepted"
        ) from error
    if named != job_id:
        raise BenchError(
            f"{state}: the metadata there is that of {named}, which came after {job_id}; take evidence before the next job"
        )
    return found


def _audit(run: Path, job_id: str) -> dict[str, bytes]:
    """Return the lines of the cloud's audit log about the campaign and the job; nothing if the cloud is not part of the run."""
    folder = run / "state" / "cloud" / "audit"
    if not folder.is_dir():
        return {}
    targets = (run / "state" / "gateway" / "director" / "targets.json").read_bytes()
    campaign_id = str(json.loads(targets)["signed"][MANIFEST_CUSTOM_KEY].get("campaign_id", ""))
    try:
        lines = audit_log.excerpt(folder, campaign_id=campaign_id, job_id=job_id)
        return {document.AUDIT: lines, document.AUDIT_KEY: audit_log.public_key(folder)}
    except audit_log.AuditError as error:
        raise BenchError(f"{error}; evidence holds the audit log's lines about the campaign") from error


def _captures(run: Path, own: Sequence[TraceEvent]) -> dict[str, bytes]:
    first_us, last_us = (round(datetime.fromisoformat(event.ts).timestamp() * 1e6) for event in (own[0], own[-1]))
    found: dict[str, bytes] = {}
    for log in sorted((run / "can").glob("*.log")):
        try:
            with log.open(encoding="ascii") as lines:
                frames = [
                    (channel, frame)
                    for channel, frame in parse_candump(lines)
                    if first_us - _MARGIN_US <= frame.timestamp_us <= last_us + _MARGIN_US
                ]
        except (OSError, ValueError) as error:
            raise BenchError(f"{log}: cannot be read: {error}; the file was changed by something else") from error
        found[f"capture/{log.stem}.log"] = "".join(candump_line(frame, channel) for channel, frame in frames).encode()
        found[f"capture/{log.stem}.pcap"] = pcap_of(found[f"capture/{log.stem}.log"])
    return found


def pcap_of(log: bytes) -> bytes:
    """Return a candump log as a pcap file; its frame numbers are the log's line numbers.

    Raises:
        ValueError: a line is not candump's.
    """
    frames = parse_candump(log.decode("ascii").splitlines(keepends=True))
    return pcap_header() + b"".join(pcap_record(frame) for _, frame in frames)
