"""Mutual TLS: who may call what, and who cannot even connect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from otabench.cloud.control.identity import Caller, require_operator, require_vehicle
from otabench.cloud.errors import NotPermitted
from otabench.cloud.trust.keys import init_keys
from otabench.proto import ota_pb2, ota_pb2_grpc
from tests.cloud.bench import CALL_S, Cloud, Vehicle, words_of

VEHICLE_CALLS: list[tuple[str, Callable[[str], Any]]] = [
    ("CheckIn", lambda vin: ota_pb2.CheckInRequest(vin=vin)),
    ("GetManifest", lambda vin: ota_pb2.GetManifestRequest(vin=vin, job_id="x")),
    ("UpdateStatus", lambda vin: ota_pb2.UpdateStatusRequest(vin=vin, job_id="x", state="JOB_STATE_CONFIRMING")),
]
OPERATOR_CALLS = [
    ("RegisterVehicle", ota_pb2.RegisterVehicleRequest(vin="X")),
    ("CreateCampaign", ota_pb2.CreateCampaignRequest()),
    ("GetCampaign", ota_pb2.GetCampaignRequest(campaign_id="x")),
    ("ListCampaigns", ota_pb2.ListCampaignsRequest()),
    ("ListJobs", ota_pb2.ListJobsRequest()),
    ("AbandonJob", ota_pb2.AbandonJobRequest(campaign_id="x", vin="X")),
    ("CancelCampaign", ota_pb2.CancelCampaignRequest(campaign_id="x")),
]


@pytest.mark.parametrize(("method", "request_for"), VEHICLE_CALLS, ids=[name for name, _ in VEHICLE_CALLS])
def test_nobody_can_act_for_another_vehicle(
    shared_cloud: Cloud, vehicle: Vehicle, other_vehicle: Vehicle, method: str, request_for: Callable[[str], Any]
) -> None:
    for certificate in (f"vehicle-{other_vehicle.vin}", "operator"):
        with pytest.raises(grpc.RpcError) as caught:
            getattr(shared_cloud.peer(certificate).control, method)(request_for(vehicle.vin), timeout=CALL_S)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "CN=" in words_of(caught.value)


@pytest.mark.parametrize(("method", "request_"), OPERATOR_CALLS, ids=[name for name, _ in OPERATOR_CALLS])
def test_a_vehicle_cannot_operate(shared_cloud: Cloud, vehicle: Vehicle, method: str, request_: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(shared_cloud.peer(f"vehicle-{vehicle.vin}").operator, method)(request_, timeout=CALL_S)

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "OU=operator" in words_of(caught.value)


@pytest.mark.parametrize(("method", "request_"), OPERATOR_CALLS, ids=[name for name, _ in OPERATOR_CALLS])
def test_a_viewer_reads_and_changes_nothing(shared_cloud: Cloud, method: str, request_: Any) -> None:
    call = getattr(shared_cloud.peer("viewer").operator, method)
    if method in ("ListCampaigns", "ListJobs"):
        call(request_, timeout=CALL_S)
        return
    with pytest.raises(grpc.RpcError) as caught:
        call(request_, timeout=CALL_S)

    # There is no campaign "x".
    reads = method == "GetCampaign"
    assert caught.value.code() is (grpc.StatusCode.NOT_FOUND if reads else grpc.StatusCode.PERMISSION_DENIED)


def test_a_vehicle_cannot_watch_campaigns(shared_cloud: Cloud, vehicle: Vehicle) -> None:
    operator = shared_cloud.peer(f"vehicle-{vehicle.vin}").operator
    with pytest.raises(grpc.RpcError) as caught:
        next(operator.WatchCampaign(ota_pb2.GetCampaignRequest(campaign_id="x"), timeout=CALL_S))

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("who", ["nobody", "another CA's operator", "the server's own certificate", "plain text"])
def test_a_connection_needs_a_certificate_of_the_benchs_ca(shared_cloud: Cloud, tmp_path: Path, who: str) -> None:
    address, ca = f"localhost:{shared_cloud.grpc_port}", (shared_cloud.keys_dir / "tls" / "ca.pem").read_bytes()
    if who == "plain text":
        channel = grpc.insecure_channel(address)
    elif who == "nobody":
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca))
    else:
        init_keys(tmp_path / "other", vins=[], ecus=[])
        foreign = "another" in who
        own = tmp_path / "other" / "tls" / "operator" if foreign else shared_cloud.keys_dir / "tls" / "cloud"
        pair = own.with_suffix(".key").read_bytes(), own.with_suffix(".pem").read_bytes()
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, *pair))

    with channel, pytest.raises(grpc.RpcError) as caught:
        ota_pb2_grpc.OperatorStub(channel).ListCampaigns(ota_pb2.ListCampaignsRequest(), timeout=3)  # type: ignore[no-untyped-call]

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_rules_by_themselves() -> None:
    require_vehicle(Caller("VIN1", "vehicle"), "VIN1")
    require_operator(Caller("operator", "operator"))
    require_vehicle(None, "VIN1")  # no TLS: loopback only
    require_operator(None)
    for caller in (Caller("VIN2", "vehicle"), Caller("VIN1", "operator"), Caller("", "")):
        with pytest.raises(NotPermitted):
            require_vehicle(caller, "VIN1")
    for caller in (Caller("operator", "vehicle"), Caller("VIN1", ""), Caller("cloud", "cloud")):
        with pytest.raises(NotPermitted):
            require_operator(caller)
