"""The audit log of a running cloud: done and refused calls, by whom; it survives kill -9 and is checked by the command."""

from __future__ import annotations

import asyncio
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

    async def record() -> None:
        for each in (request, moving):
            await auditor.record("/s/UpdateStatus", who="V", request=each, answer=None, code=grpc.StatusCode.OK)
        for _ in range(3):
            await auditor.record(
                "/s/CheckIn", who="V", request=None, answer=None, code=grpc.StatusCode.RESOURCE_EXHAUSTED
            )

    asyncio.run(record())
    auditor.close()

    assert [(entry["what"], entry.get("state")) for entry in audit_log.read(tmp_path)] == [
        ("UpdateStatus", shown),
        ("CheckIn", None),
    ]


def test_lines_of_concurrent_calls_are_chained_in_one_log(tmp_path: Path) -> None:
    auditor = Auditor(audit_log.AuditLog(tmp_path), clock=time.monotonic)

    async def record(number: int) -> list[str]:
        request = ota_pb2.UpdateStatusRequest(vin=f"VIN{number}", state=ota_pb2.JOB_STATE_INSTALLING)
        await auditor.record("/s/UpdateStatus", who="V", request=request, answer=None, code=grpc.StatusCode.OK)
        # Whoever is answered finds the line in the log.
        return [entry["vins"][0] for entry in audit_log.read(tmp_path)]

    async def record_all() -> list[list[str]]:
        return await asyncio.gather(*(record(number) for number in range(50)))

    seen = asyncio.run(record_all())
    auditor.close()

    assert all(f"VIN{number}" in seen[number] for number in range(50))
    assert len(list(audit_log.read(tmp_path))) == 50
    assert audit_log.verify(tmp_path) == []


def test_a_log_that_cannot_be_written_does_not_end_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = audit_log.AuditLog(tmp_path)
    auditor = Auditor(log, clock=time.monotonic)

    def fail(_: object) -> None:
        raise audit_log.AuditError("audit.jsonl: cannot be written: No space left on device")

    monkeypatch.setattr(log, "append_all", fail)
    request = ota_pb2.RegisterVehicleRequest(vin="VIN1")

    asyncio.run(auditor.record("/s/RegisterVehicle", who="V", request=request, answer=None, code=grpc.StatusCode.OK))
    auditor.close()

    assert "RegisterVehicle by V (OK) is not recorded: audit.jsonl" in caplog.text
