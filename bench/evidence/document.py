"""The facts of one update, derived from the parts of an evidence file. Pure: parts in, facts out.

The same parts always give the same facts, so that ``verify`` derives them again and compares. ``schema`` is that of evidence.json.

Parts that this module reads (``collect`` writes them):

    vehicle.json                 VIN, buses and addresses of the ECUs
    trace.jsonl                  the job's trace events, as the processes wrote them
    metadata/director/targets.json   the Director's signed Targets: the manifest
    audit/audit.jsonl, audit.pub     the lines of the cloud's audit log about campaign and job, if the cloud was part of the run
    capture/BUS.log              the frames of each bus during the job, as candump writes them
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from otabench.bench.bus.frame import EFF_MASK, ERR_FLAG
from otabench.bench.captures.formats import parse_candump
from otabench.bench.evidence.facts import (
    Decision,
    Ecu,
    Evidence,
    Image,
    Judgement,
    Recorded,
    SignedAnswer,
    SignedConsent,
    State,
    Step,
)
from otabench.bench.topology import addresses
from otabench.proto.isotp_address import FrameAddress
from otabench.proto.job_states import JobState
from otabench.proto.trace import TraceEvent
from otabench.proto.uptane import MANIFEST_CUSTOM_KEY, ManifestCustom, TargetCustom

VEHICLE: Final = "vehicle.json"
TRACE: Final = "trace.jsonl"
TARGETS: Final = "metadata/director/targets.json"
AUDIT: Final = "audit/audit.jsonl"
AUDIT_KEY: Final = "audit/audit.pub"
_CLOCK_TOLERANCE_US: Final = 2_000
"""An exchange is stamped by the gateway and its frames by the recorder; both read the same clock, at slightly different moments."""

Parts = Mapping[str, bytes]
"""The parts of an evidence file, by name."""


class NotDerivable(Exception):
    """A part is missing or does not hold what it should; the text names the part."""


def schema() -> bytes:
    """Return the JSON schema of evidence.json."""
    return _json(Evidence.model_json_schema())


def to_bytes(evidence: Evidence) -> bytes:
    """Return evidence.json."""
    return _json(evidence.model_dump(mode="json"))


def derive(parts: Parts) -> Evidence:
    """Return the facts that the parts hold.

    Raises:
        NotDerivable: a part is missing, or cannot be read.
    """
    try:
        return _derive(parts)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # The parts may come from anybody: they are read before their signature is judged.
        raise NotDerivable(f"{TRACE} or {TARGETS}: a field is missing or wrong ({error})") from error


def _derive(parts: Parts) -> Evidence:
    targets = _targets(parts)
    custom = ManifestCustom.model_validate(targets[MANIFEST_CUSTOM_KEY])
    events = _events(parts)
    own = [event for event in events if event.job_id == custom.job_id and event.component == "gateway"]
    course = _course(own)
    identities = [event for event in events if event.event == "ecu.identity" and event.ecu]
    begun_ns = next(
        (e.mono_ns for e in own if e.event == "job.state" and e.data.get("to") == JobState.INSTALLING), None
    )
    accepted = next((event.ts for event in own if event.event == "manifest.accepted"), "")
    return Evidence(
        vin=custom.vin,
        job_id=custom.job_id,
        campaign_id=custom.campaign_id,
        campaign_name=custom.campaign_name,
        release_notes=custom.release_notes,
        manifest_version=int(targets["version"]),
        manifest_accepted_at=accepted,
        images=tuple(_image(path, entry, custom) for path, entry in sorted(targets["targets"].items())),
        texts=custom.texts,
        audit=_audit(parts),
        conditions=custom.conditions,
        judgements=tuple(
            Judgement(at=event.ts, unmet=tuple(event.data["unmet"]))
            for event in own
            if event.event == "conditions.judged"
        ),
        decisions=tuple(
            Decision(at=event.ts, decision=str(event.data["decision"]))
            for event in own
            if event.event == "driver.decision"
        ),
        consents=tuple(
            SignedConsent(
                at=event.ts,
                consent=event.data["consent"],
                signature=event.data.get("signature"),
                attestation=str(event.data.get("attestation") or ""),
            )
            for event in own
            if event.event == "driver.consent"
        ),
        answers=tuple(
            SignedAnswer(at=event.ts, answer=event.data["answer"], signature=event.data.get("signature"))
            for event in own
            if event.event == "driver.answer"
        ),
        course=course,
        result=course[-1].after if course else "",
        reason=course[-1].reason if course else "",
        before=_ecus(event for event in identities if begun_ns is None or event.mono_ns < begun_ns),
        after=_ecus(identities),
        trouble_codes={
            str(event.ecu): tuple(map(str, event.data["dtcs"]))
            for event in own
            if event.event == "ecu.dtcs" and event.ecu
        },
        steps=tuple(_steps(own, _captures(parts))),
    )


def manifest_of(parts: Parts) -> ManifestCustom:
    """Return the manifest's part about vehicle and job.

    Raises:
        NotDerivable: the parts have no manifest.
    """
    return ManifestCustom.model_validate(_targets(parts)[MANIFEST_CUSTOM_KEY])


def reference_time(evidence: Evidence) -> datetime:
    """Return the moment at which the gateway accepted the manifest: the moment by which its expiry is judged.

    Raises:
        NotDerivable: the gateway never accepted it.
    """
    if not evidence.manifest_accepted_at:
        raise NotDerivable(f"{TRACE}: the gateway did not accept the manifest")
    return datetime.fromisoformat(evidence.manifest_accepted_at)


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _targets(parts: Parts) -> dict[str, Any]:
    try:
        signed: dict[str, Any] = json.loads(parts[TARGETS])["signed"]
        # Judged as Targets metadata by ``verify``; here only what the facts need.
        signed["version"], signed["targets"], ManifestCustom.model_validate(signed[MANIFEST_CUSTOM_KEY])
    except (KeyError, ValueError, TypeError) as error:
        raise NotDerivable(f"{TARGETS}: not a manifest ({error})") from error
    return signed


def _events(parts: Parts) -> list[TraceEvent]:
    try:
        return [TraceEvent(**json.loads(line)) for line in parts[TRACE].decode().splitlines()]
    except (KeyError, ValueError, TypeError) as error:
        raise NotDerivable(f"{TRACE}: not a trace ({error})") from error


def _audit(parts: Parts) -> tuple[Recorded, ...]:
    try:
        lines = [json.loads(line) for line in parts.get(AUDIT, b"").splitlines()]
        fields = ("at", "who", "what", "outcome", "state")
        return tuple(Recorded(**{name: str(line[name]) for name in fields if name in line}) for line in lines)
    except (ValueError, TypeError) as error:
        raise NotDerivable(f"{AUDIT}: not an audit log ({error})") from error


def _course(own: Sequence[TraceEvent]) -> tuple[State, ...]:
    moves = [event for event in own if event.event == "job.state"]
    return tuple(
        State(at=e.ts, before=str(e.data["from"]), after=str(e.data["to"]), reason=str(e.data.get("reason") or ""))
        for e in moves
    )


def _image(path: str, entry: Mapping[str, Any], custom: ManifestCustom) -> Image:
    target = TargetCustom.model_validate(entry["custom"])
    names = {each.ecu_serial: each.ecu for each in custom.vehicle}
    return Image(
        ecu=names.get(target.ecu_serial, ""),
        serial=target.ecu_serial,
        hardware_id=target.hardware_id,
        version=target.version,
        release_counter=target.release_counter,
        path=path,
        length=int(entry["length"]),
        hashes=dict(entry["hashes"]),
        patch_sha256=target.patch.sha256 if target.patch else "",
        is_encrypted=target.encryption is not None,
        rxswin=target.rxswin,
    )


def _ecus(events: Any) -> dict[str, Ecu]:
    """Return the last identity of each ECU."""
    return {
        str(event.ecu): Ecu(
            at=event.ts,
            serial=str(event.data["serial"]),
            hardware_id=str(event.data["hardware_id"]),
            software_version=str(event.data["software_version"]),
            rxswin=str(event.data.get("rxswin") or ""),
            active_slot=int(event.data["active_slot"]),
            slots=tuple(dict(slot) for slot in event.data.get("slots", ())),
        )
        for event in events
    }


@dataclass(frozen=True)
class _Capture:
    """The diagnostic frames of one ECU on its bus: their times and their line numbers in the capture."""

    bus: str
    times_us: list[int]
    lines: list[int]


def _captures(parts: Parts) -> dict[str, _Capture]:
    """Return the frames of each ECU."""
    try:
        entries: dict[str, Any] = json.loads(parts[VEHICLE])["ecus"]
    except (KeyError, ValueError, TypeError) as error:
        raise NotDerivable(f"{VEHICLE}: not a description of the vehicle ({error})") from error
    found: dict[str, _Capture] = {}
    for bus in sorted({str(entry["bus"]) for entry in entries.values()}):
        name = f"capture/{bus}.log"
        if name not in parts:
            continue
        here = {ecu: _Capture(bus, [], []) for ecu, entry in entries.items() if entry["bus"] == bus}
        owner = _owners({ecu: entries[ecu] for ecu in here})
        try:
            for number, (_, frame) in enumerate(
                parse_candump(parts[name].decode("ascii").splitlines(keepends=True)), 1
            ):
                if frame.can_id & ERR_FLAG:
                    continue
                can_id = frame.can_id & EFF_MASK
                ecu = owner.get(FrameAddress(can_id, None)) or owner.get(FrameAddress(can_id, (frame.data or b"\0")[0]))
                if ecu is not None:
                    here[ecu].times_us.append(frame.timestamp_us)
                    here[ecu].lines.append(number)
        except ValueError as error:
            raise NotDerivable(f"{name}: {error}") from error
        found |= here
    return found


def _owners(entries: Mapping[str, Mapping[str, Any]]) -> dict[FrameAddress, str]:
    """Return whose each physical address is. The functional one belongs to all ECUs, and so to none."""
    return {
        addresses.from_entry(entry, direction): ecu
        for ecu, entry in entries.items()
        for direction in ("request", "response")
    }


def _steps(own: Sequence[TraceEvent], captures: Mapping[str, _Capture]) -> list[Step]:
    steps = []
    for event in own:
        if event.event != "uds.exchange":
            continue
        data, capture = event.data, captures.get(event.ecu or "")
        steps.append(
            Step(
                at=event.ts,
                ecu=event.ecu or "",
                service=str(data["service"]),
                request=str(data["request"]),
                response=str(data.get("response") or ""),
                nrc=data.get("nrc"),
                duration_ms=float(data.get("duration_ms") or 0.0),
                problem=str(data.get("problem") or ""),
                bus=capture.bus if capture else "",
                frames=_frames(event, capture) if capture else None,
            )
        )
    return steps


def _frames(event: TraceEvent, capture: _Capture) -> tuple[int, int] | None:
    """Return the first and last line of the capture that belong to an exchange, which ended when its event was written."""
    end_us = round(datetime.fromisoformat(event.ts).timestamp() * 1e6)
    start_us = end_us - round(float(event.data.get("duration_ms") or 0.0) * 1000)
    first = bisect_left(capture.times_us, start_us - _CLOCK_TOLERANCE_US)
    last = bisect_right(capture.times_us, end_us + _CLOCK_TOLERANCE_US) - 1
    return (capture.lines[first], capture.lines[last]) if first <= last else None
