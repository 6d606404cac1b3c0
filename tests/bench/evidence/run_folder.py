"""A run's folder as a bench leaves it after one update of one ECU: keys, verified metadata, trace and capture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]  # its public name

from otabench.bench.evidence.verify import PinnedRoots
from otabench.cloud.trust.keys import raw_public
from otabench.cloud.trust.tls import CertificateAuthority
from otabench.proto.audit_log import AuditLog
from otabench.proto.consent import Answer, Consent, Facts, Question, canonical, manifest_digest, nonce_of, offer_id
from otabench.proto.driver_texts import DriverTexts
from otabench.proto.time_attestation import attest
from otabench.proto.vehicle_signature import Signer
from tests.bench.gateway.director import Artifact, Director
from tests.bench.gateway.trust.tuf_repository import TufRepository

VIN = "W0TABENCH00000001"
JOB = "job-1"
TIME_KEY = Ed25519PrivateKey.generate()
"""Attests the time."""
COURSE = ["CREATED", "CONFIRMING", "WAITING_FOR_APPROVAL", "DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING"]
START = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=11)
"""The metadata are valid for ten minutes from then, so they have expired now. Certificates are valid from an hour before they are made,
which may be long after this module is imported: the suite takes its time."""
IDENTITY: dict[str, Any] = {
    "serial": "ENG-1",
    "hardware_id": "engine-mcu-a",
    "active_slot": 0,
    "boots_left": 0,
    "slots": [],
}


@dataclass
class Run:
    """The folder, and the roots that a verifier has pinned."""

    folder: Path
    director: Director = field(default_factory=lambda: Director(time_keys=(raw_public(TIME_KEY),)))
    images: TufRepository = field(default_factory=lambda: TufRepository(consistent=False))
    authority: CertificateAuthority = field(default_factory=CertificateAuthority)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def roots(self) -> PinnedRoots:
        return PinnedRoots(self.director.root(), self.authority.issued.certificate, self.images.first_root)

    def signer(self, *, vin: str = VIN, unit: str = "vehicle", authority: CertificateAuthority | None = None) -> Signer:
        """Return a signer with a certificate of the bench's CA, or of another one."""
        issued = (authority or self.authority).issue(common_name=vin, unit=unit)
        return Signer(issued.certificate, issued.key)

    def emit(
        self, event: str, *, job: bool = True, component: str = "gateway", ecu: str | None = None, **data: Any
    ) -> None:
        """Append one event, 100 ms after the one before."""
        number = len(self.events)
        self.events.append(
            {
                "v": 1,
                "seq": number + 1,
                "ts": (START + timedelta(milliseconds=100 * number)).isoformat(timespec="microseconds"),
                "mono_ns": 100_000_000 * number,
                "component": component,
                "event": event,
                "vin": VIN,
                "job_id": JOB if job else None,
                "ecu": ecu,
                "data": data,
            }
        )


AUDIT: tuple[dict[str, Any], ...] = (
    {"who": "CN=operator, OU=operator", "what": "CreateCampaign", "vins": [VIN], "campaign_id": "campaign-1"},
    {"who": "CN=operator, OU=operator", "what": "CreateCampaign", "vins": ["OTHER"], "campaign_id": "campaign-2"},
    {"who": "CN=approver, OU=approver", "what": "ApproveCampaign", "campaign_id": "campaign-1"},
    *(
        {"who": f"CN={VIN}", "what": "UpdateStatus", "job_id": JOB, "state": state}
        for state in [*COURSE[1:], "SUCCEEDED"]
    ),
)
"""What the cloud has recorded; campaign-2 is another one."""


def make_run(
    folder: Path,
    *,
    change: Callable[[list[dict[str, Any]]], None] = lambda _: None,
    audit: Sequence[dict[str, Any]] = AUDIT,
) -> Run:
    """Write a run's folder.

    Args:
        folder: where.
        change: changes the trace's events before they are written.
        audit: the calls in the cloud's audit log.
    """
    run = Run(folder)
    for name in ("traces", "can", "state/gateway/director/root_history"):
        (folder / name).mkdir(parents=True)
    image = {
        "ecu_serial": "ENG-1",
        "hardware_id": "engine-mcu-a",
        "version": "2.0.0",
        "release_counter": 2,
        "rxswin": "R79 2",
    }
    custom = {
        "vin": VIN,
        "job_id": JOB,
        "campaign_id": "campaign-1",
        "campaign_name": "Autumn <release>",
        "conditions": ["speed_km_h<=0"],
        "texts": {"de": {"purpose": "Wichtig."}},
        "vehicle": [{"image_number": 1, "ecu": "engine", "ecu_serial": "ENG-1", "version": "2.0.0"}],
    }
    # Long expired when the evidence is verified; valid when the gateway accepted it.
    expires_s = (START - datetime.now(UTC)).total_seconds() + 600
    bundle = run.director.bundle([Artifact("images/x", b"code", image)], custom=custom, lifetime_s=expires_s)
    metadata = folder / "state/gateway/director"
    for name, content in bundle.items():
        (metadata / name).write_bytes(content)
    (metadata / "root_history/1.root.json").write_bytes(run.director.root())
    entry = json.loads(bundle["targets.json"])["signed"]["targets"]["images/x"]
    run.images.targets["targets"].targets["images/x"] = TargetFile.from_dict(entry, "images/x")
    run.images.publish()
    for name, content in run.images.files.items():
        path = folder / "state/gateway/image" / (f"root_history/{name}" if name.endswith(".root.json") else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    _tell(run, bundle["targets.json"])
    change(run.events)
    trace = "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in run.events)
    (folder / "traces/simulation_trace.jsonl").write_text(trace)
    ecus = {"engine": {"bus": "powertrain", "request_id": 0x7E0, "response_id": 0x7E8, "functional_id": 0x7DF}}
    (folder / "bench.json").write_text(json.dumps({"vin": VIN, "ecus": ecus, "pid": 1}))
    (folder / "can/powertrain.log").write_text(_capture(run))
    _record(folder / "state/cloud/audit", audit)
    return run


def _record(folder: Path, calls: Sequence[dict[str, Any]]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = AuditLog(folder)
    for call in calls:
        log.append(**{"outcome": "OK", **call})
    log.close()


def _move(before: str | None, after: str) -> dict[str, Any]:
    return {"from": before, "to": after, "reason": ""}


def sign_consent(
    run: Run,
    manifest: bytes,
    *,
    signer: Signer | None = None,
    attested_at: datetime = START,
    time_key: Ed25519PrivateKey = TIME_KEY,
    **changes: Any,
) -> dict[str, Any]:
    """Return the event's data of a consent to a manifest, as the gateway records it."""
    digest = manifest_digest(manifest)
    facts = Facts(
        download_bytes=4,
        duration_min_s=1,
        duration_max_s=2,
        stops_working=False,
        is_kept_parked=False,
        has_no_way_back=False,
    )
    fields: dict[str, Any] = {
        "vin": VIN,
        "job_id": JOB,
        "who": {"session": "ab" * 32, "pairing": "cd" * 16},
        "manifest_sha256": digest,
        "offer": offer_id(digest, Question.BOTH, facts),
        "shown": {
            "question": Question.BOTH,
            "language": "de",
            "texts": DriverTexts(name="Autumn <release>", purpose="Wichtig."),
            "facts": facts,
        },
        "conditions": [{"condition": "speed_km_h<=0", "value": 0.0, "is_met": True}],
        "given_at": START,
        "valid_until": START + timedelta(hours=24),
    }
    consent = Consent.model_validate(fields | changes)
    signature = json.loads((signer or run.signer()).sign(canonical(consent)))
    attestation = attest(time_s=int(attested_at.timestamp()), nonce=nonce_of(consent), keys=[time_key])
    return {"consent": consent.model_dump(mode="json"), "signature": signature, "attestation": attestation.hex()}


def sign_answer(run: Run, manifest: bytes, **changes: Any) -> dict[str, Any]:
    """Return the event's data of a Later, as the gateway records it."""
    fields: dict[str, Any] = {
        "vin": VIN,
        "job_id": JOB,
        "who": {"session": "ab" * 32, "pairing": "cd" * 16},
        "manifest_sha256": manifest_digest(manifest),
        "question": Question.BOTH,
        "decision": "later",
        "given_at": START,
    }
    answer = Answer.model_validate(fields | changes)
    return {"answer": answer.model_dump(mode="json"), "signature": json.loads(run.signer().sign(canonical(answer)))}


def _tell(run: Run, manifest: bytes) -> None:
    run.emit("ecu.identity", job=False, ecu="engine", **IDENTITY, software_version="1.0.0", rxswin="R79 1")
    run.emit("campaign.created", job=False, component="cloud.orchestrator", campaign_id="campaign-1", images=[])
    run.emit("job.state", component="cloud.control", **_move(None, "CREATED"))
    for before, after in zip(COURSE, [*COURSE[1:], "SUCCEEDED"], strict=True):
        if before == "CONFIRMING":
            run.emit("manifest.accepted", versions={"engine": ["1.0.0", "2.0.0"]})
        if before in ("WAITING_FOR_APPROVAL", "INSTALLING", "ACTIVATING"):
            run.emit("conditions.judged", unmet=[])
        if before == "WAITING_FOR_APPROVAL":
            run.emit("driver.decision", decision="later")
            run.emit("driver.answer", **sign_answer(run, manifest))
            run.emit("driver.decision", decision="install")
            run.emit("driver.consent", **sign_consent(run, manifest))
        if before == "INSTALLING":
            run.emit("uds.exchange", ecu="engine", service="10", request="1002", response="5002", duration_ms=20.0)
        if before == "VERIFYING":
            run.emit("ecu.identity", job=False, ecu="engine", **IDENTITY, software_version="2.0.0", rxswin="R79 2")
        run.emit("job.state", **_move(before, after))
    run.emit("ecu.dtcs", ecu="engine", dtcs=["U3000-55 (engine: seen)"])


def _capture(run: Run) -> str:
    """Return a log with an exchange on the diagnostic identifiers, and other nodes' frames around it."""
    (exchange,) = [event for event in run.events if event["event"] == "uds.exchange"]
    end = datetime.fromisoformat(exchange["ts"]).timestamp()
    frames = [(-0.5, "120#00"), (-0.019, "7E0#021002CCCCCCCCCC"), (-0.010, "120#01"), (-0.001, "7E8#025002CCCCCCCCCC")]
    outside = [(-3600.0, "7E0#023E00"), (3600.0, "7E0#023E00")]
    lines = [f"({end + at:017.6f}) vcan0 {frame}\n" for at, frame in sorted([*frames, *outside])]
    return "".join(lines)
