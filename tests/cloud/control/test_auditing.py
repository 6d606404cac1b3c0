"""The audit log of a running cloud: done and refused calls, by whom; it survives kill -9 and is checked by the command."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from otabench.bench.cli import audit
from otabench.bench.errors import BenchError
from otabench.cloud.control.auditing import Auditor
from otabench.proto import audit_log, ota_pb2
from tests.cloud.bench import CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request


def test_who_did_what_is_recorded_and_survives_kill_9(
    make_cloud: Callable[..., Cloud],
    vehicle: Vehicle,
    other_vehicle: Vehicle,
    images: ImageMaker,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cloud = make_cloud()
    cloud.start()
    folder = cloud.folder / "state" / "audit"
    vehicle.register(cloud)
    campaign = cloud.create_campaign(campaign_request(vehicle, (ENGINE, images())))
    vehicle.check_in(cloud)
    with pytest.raises(grpc.RpcError):
        other_vehicle.control(cloud).GetManifest(
            ota_pb2.GetManifestRequest(vin=vehicle.vin, job_id="x"), timeout=CALL_S
        )
    cloud.kill()
    with (folder / "audit.jsonl").open("ab") as lines:
        lines.write(b'{"line":99,"at":"2026')
    cloud.start()
    cloud.operator.CancelCampaign(
        ota_pb2.CancelCampaignRequest(campaign_id=campaign.campaign_id, reason="\x1b[2J"), timeout=CALL_S
    )
    cloud.kill()

    entries = list(audit_log.read(folder))
    by_name = {entry["what"]: entry for entry in entries}
    operator, stranger = "CN=operator, OU=operator", f"CN={other_vehicle.vin}, OU=vehicle"
    assert [entry["what"] for entry in entries if entry["what"] != "PublishImages"] == [
        "RegisterVehicle",
        "CreateCampaign",
        "GetManifest",
        "audit.torn",
        "CancelCampaign",
    ]
    created, refused = by_name["CreateCampaign"], by_name["GetManifest"]
    assert (created["who"], created["outcome"], created["vins"]) == (operator, "OK", [vehicle.vin])
    assert created["hashes"] == [hashlib.sha256(images()).hexdigest()]
    assert created["campaign_id"] == by_name["CancelCampaign"]["campaign_id"] == campaign.campaign_id
    assert (refused["who"], refused["outcome"], refused["vins"]) == (stranger, "PERMISSION_DENIED", [vehicle.vin])
    assert "does not belong to vehicle" in refused["detail"]

    audit.verify(log=folder)
    audit.show(log=folder)
    printed = capsys.readouterr().out
    assert "none changed" in printed
    assert printed.replace("\n", "").isprintable()

    content = (folder / "audit.jsonl").read_text()
    (folder / "audit.jsonl").write_text(content.replace("PERMISSION_DENIED", "OK"))
    with pytest.raises(BenchError, match="was changed"):
        audit.verify(log=folder)


@pytest.mark.parametrize(("state", "shown"), [(5, "INSTALLING"), (77, "77")])
def test_a_transition_is_recorded_by_name_and_progress_is_not(tmp_path: Path, state: int, shown: str) -> None:
    auditor = Auditor(audit_log.AuditLog(tmp_path), clock=time.monotonic)
    request = ota_pb2.UpdateStatusRequest.FromString(b"\x18" + bytes([state]))
    moving = ota_pb2.UpdateStatusRequest(progress=[{"ecu": "engine"}])
    for each in (request, moving):
        auditor.record("/s/UpdateStatus", who="V", request=each, answer=None, code=grpc.StatusCode.OK)
    for _ in range(3):
        auditor.record("/s/CheckIn", who="V", request=None, answer=None, code=grpc.StatusCode.RESOURCE_EXHAUSTED)

    assert [(entry["what"], entry.get("state")) for entry in audit_log.read(tmp_path)] == [
        ("UpdateStatus", shown),
        ("CheckIn", None),
    ]
