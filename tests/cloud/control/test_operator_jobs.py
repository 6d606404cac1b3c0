"""The operator's client with a real control plane: jobs in pages, and a job that is abandoned, with who did it in the audit log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from otabench.bench.clients.operator import OperatorClient
from otabench.bench.errors import EndpointError
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState, from_wire
from otabench.proto.process_config import TlsConfig
from tests.cloud.bench import ENGINE, Cloud, ImageMaker, Vehicle, campaign_request


def test_a_job_is_listed_abandoned_and_the_vehicle_told(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otabench.bench.clients.operator._PAGE_SIZE", 1)
    vehicle.register(shared_cloud)
    campaign = shared_cloud.create_campaign(campaign_request(vehicle, (ENGINE, images())))
    job_id = campaign.jobs[0].job_id
    vehicle.check_in(shared_cloud)
    vehicle.update(shared_cloud, job_id, "CONFIRMING")
    tls = TlsConfig(**{name: Path(path) for name, path in shared_cloud.tls_files("operator").items()})
    with OperatorClient(f"localhost:{shared_cloud.grpc_port}", tls) as operator:
        listed = list(operator.list_jobs(campaign_id=campaign.campaign_id, states=[JobState.CONFIRMING]))
        everywhere = [job.vin for job in operator.list_jobs(vin_prefix=vehicle.vin)]

        ended = operator.abandon_job(campaign.campaign_id, vehicle.vin, reason="scrapped")

        with pytest.raises(EndpointError, match="has ended already"):
            operator.abandon_job(campaign.campaign_id, vehicle.vin, reason="again")
        campaign = operator.get_campaign(campaign.campaign_id)

    assert [(job.job_id, from_wire(job.state)) for job in listed] == [(job_id, JobState.CONFIRMING)]
    assert everywhere == [vehicle.vin]
    assert from_wire(ended.state) is from_wire(campaign.jobs[0].state) is JobState.CANCELED
    assert [(each.jobs, from_wire(each.state)) for each in campaign.counts] == [(1, JobState.CANCELED)]
    told = vehicle.check_in(shared_cloud, job_id=job_id)
    assert (told.job_id, from_wire(told.job_state)) == (job_id, JobState.CANCELED)
    assert told.reason == "abandoned by the operator in CONFIRMING: scrapped"
    # and: free for the next campaign
    again = shared_cloud.create_campaign(campaign_request(vehicle, (ENGINE, images())))
    assert again.jobs[0].state == ota_pb2.JOB_STATE_CREATED
    lines = Path(shared_cloud.config["state_dir"], "audit", "audit.jsonl").read_text().splitlines()
    done = [
        entry for entry in map(json.loads, lines) if entry["what"] == "AbandonJob" and entry["vins"] == [vehicle.vin]
    ]
    assert [(entry["who"], entry["outcome"]) for entry in done] == [
        ("CN=operator, OU=operator", "OK"),
        ("CN=operator, OU=operator", "FAILED_PRECONDITION"),
    ]
