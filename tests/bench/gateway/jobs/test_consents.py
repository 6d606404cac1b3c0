"""A consent is about the Director's Targets, however the gateway keeps them, and it is signed by the vehicle's key."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import create_engine

from otabench.bench.gateway.cloud.cloud_link import CloudLink
from otabench.bench.gateway.cloud.time_source import TimeSource
from otabench.bench.gateway.hmi.model import Choice, Decision
from otabench.bench.gateway.jobs.consents import Consents
from otabench.bench.gateway.jobs.driver_records import DriverRecords
from otabench.bench.gateway.store import JobRecord
from otabench.bench.gateway.trust.manifest import Plan
from otabench.cloud.trust.keys import raw_public
from otabench.cloud.trust.tls import CertificateAuthority
from otabench.proto import metadata_window
from otabench.proto.consent import Consent, Facts, Question, canonical, nonce_of
from otabench.proto.job_states import JobState
from otabench.proto.time_attestation import verify
from otabench.proto.trace import TraceWriter
from otabench.proto.uptane import ManifestCustom, TimeKeys
from otabench.proto.vehicle_signature import Signer, is_signed, read_signature
from tests.bench.gateway.control_plane import ControlPlane

KEY = Ed25519PrivateKey.generate()
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
def test_the_targets_are_named_the_vehicle_signs_and_the_time_is_attested(tmp_path: Path, roots: list[bytes]) -> None:
    issued = CertificateAuthority().issue(common_name=VIN, unit="vehicle")
    trace = TraceWriter(tmp_path / "trace.jsonl", component="gateway", vin=VIN)
    engine = create_engine(f"sqlite:///{tmp_path / 'gateway.db'}")
    signer = Signer(issued.certificate, issued.key)
    job = JobRecord("job-1", JobState.WAITING_FOR_APPROVAL, 2, manifest=metadata_window.pack(roots, TARGETS))
    plan = Plan(ManifestCustom(vin=VIN, job_id="job-1", campaign_id="c"), expires_at=0.0, ecus=())

    async def story() -> None:
        plane = ControlPlane()
        plane.time_key = KEY
        await plane.start()
        link = CloudLink(target=f"127.0.0.1:{plane.port}", vin=VIN, tls=None, on_reachable=lambda _: None)
        consents = Consents(DriverRecords(engine), signer=signer, time_source=TimeSource(link, trace), trace=trace)
        assert consents.install_problem(job, plan) == "there is no consent of the driver"
        choice = Choice(decision=Decision.INSTALL, session="s", pairing="p")
        await consents.give(job, plan, choice, question=Question.BOTH, facts=FACTS, conditions=())
        assert consents.install_problem(job, plan) == consents.download_problem(job, plan) == ""
        await link.close()
        await plane.stop()

    asyncio.run(story())
    (line,) = (tmp_path / "trace.jsonl").read_text().splitlines()
    recorded: dict[str, Any] = json.loads(line)["data"]
    consent = Consent.model_validate(recorded["consent"])
    assert consent.manifest_sha256 == hashlib.sha256(TARGETS).hexdigest()
    signature = read_signature(json.dumps(recorded["signature"]).encode())
    assert is_signed(signature, canonical(consent))
    assert not is_signed(signature, canonical(consent.model_copy(update={"job_id": "job-2"})))
    attestation = bytes.fromhex(recorded["attestation"])
    attested_s = verify(attestation, nonce=nonce_of(consent), keys=TimeKeys(keys=(raw_public(KEY),)))
    assert abs(attested_s - consent.given_at.timestamp()) < 60
    trace.close()
    engine.dispose()
