"""A consent is about the Director's Targets, however the gateway keeps them, and it is signed by the vehicle's key."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from otabench.bench.gateway.hmi.model import Choice, Decision
from otabench.bench.gateway.jobs.consents import Consents
from otabench.bench.gateway.jobs.driver_records import DriverRecords
from otabench.bench.gateway.store import JobRecord
from otabench.bench.gateway.trust.manifest import Plan
from otabench.cloud.trust.tls import CertificateAuthority
from otabench.proto import metadata_window
from otabench.proto.consent import Consent, Facts, Question, canonical
from otabench.proto.job_states import JobState
from otabench.proto.trace import TraceWriter
from otabench.proto.uptane import ManifestCustom
from otabench.proto.vehicle_signature import Signer, is_signed, read_signature

VIN = "W0TABENCH00000001"
TARGETS = b'{"signed": {}}'
FACTS = Facts(
    download_bytes=1,
    duration_min_s=1,
    duration_max_s=2,
    stops_working=False,
    is_kept_parked=False,
    has_no_way_back=False,
)


@pytest.mark.parametrize("roots", [[], [b"a later Root"]], ids=["Targets alone", "with a Root"])
def test_the_targets_are_named_and_the_vehicle_signs(tmp_path: Path, roots: list[bytes]) -> None:
    issued = CertificateAuthority().issue(common_name=VIN, unit="vehicle")
    trace = TraceWriter(tmp_path / "trace.jsonl", component="gateway", vin=VIN)
    engine = create_engine(f"sqlite:///{tmp_path / 'gateway.db'}")
    consents = Consents(DriverRecords(engine), signer=Signer(issued.certificate, issued.key), trace=trace)
    job = JobRecord("job-1", JobState.WAITING_FOR_APPROVAL, 2, manifest=metadata_window.pack(roots, TARGETS))
    plan = Plan(ManifestCustom(vin=VIN, job_id="job-1", campaign_id="c"), expires_at=0.0, ecus=())

    assert consents.install_problem(job, plan) == "there is no consent of the driver"
    choice = Choice(decision=Decision.INSTALL, session="s", pairing="p")
    consents.give(job, plan, choice, question=Question.BOTH, facts=FACTS, conditions=())

    (line,) = (tmp_path / "trace.jsonl").read_text().splitlines()
    recorded: dict[str, Any] = json.loads(line)["data"]
    consent = Consent.model_validate(recorded["consent"])
    assert consent.manifest_sha256 == hashlib.sha256(TARGETS).hexdigest()
    signature = read_signature(json.dumps(recorded["signature"]).encode())
    assert is_signed(signature, canonical(consent))
    assert not is_signed(signature, canonical(consent.model_copy(update={"job_id": "job-2"})))
    assert consents.install_problem(job, plan) == consents.download_problem(job, plan) == ""
    trace.close()
    engine.dispose()
