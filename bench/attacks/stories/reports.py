"""Attacks on version reports: a success that did not happen, told with a stolen certificate, with and without the gateway's key."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.bench.attacks.cloud_door import CloudDoor, CloudSaysNo
from otabench.bench.attacks.parties import Guard, Key, Place
from otabench.bench.attacks.scene import Scene
from otabench.bench.attacks.story import Case, Story
from otabench.bench.firmware.image_repository import ListedImage, OfflineRepository
from otabench.proto import ota_pb2
from otabench.proto.job_states import from_wire, is_final
from otabench.proto.version_report import EcuEntry, EcuVersionReport, VehicleVersionReport, seal

_BEFORE: Final = ("CONFIRMING", "WAITING_FOR_APPROVAL", "DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING")
_NEEDS_A_VEHICLE: Final = "it needs a vehicle whose ECUs did not update, and the bench's vehicle is an honest one"


def _key(owner: str) -> Ed25519PrivateKey:
    # The same in every story: a vehicle's registered keys stay while it has a job.
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(owner.encode()).digest())


def _operator(cloud: CloudDoor, method: str, request: Any) -> Any:
    return cloud.operator_call(method, request, certificate="operator")


def _bring_to_the_end(scene: Scene) -> None:
    """Register the vehicle with keys for reports, and bring a job of it to VERIFYING. Its ECU runs what it ran before."""
    cloud, target, good = scene.require_cloud(), scene.target, scene.good
    _end_open_jobs(cloud)
    register = ota_pb2.RegisterVehicleRequest(
        vin=cloud.vin, gateway_key=_key("gateway").public_key().public_bytes_raw()
    )
    register.ecus.add(
        ecu=target.name,
        serial=target.serial,
        hardware_id=target.hardware_id,
        report_key=_key("ecu").public_key().public_bytes_raw(),
    )
    _operator(cloud, "RegisterVehicle", register)
    listed = ListedImage(target.hardware_id, good.version, good.content, good.release_counter)
    files = OfflineRepository(cloud.tls_dir.parent / "image_repository").add([listed])
    _operator(cloud, "PublishImages", ota_pb2.PublishImagesRequest(metadata=files))
    image = ota_pb2.CreateCampaignRequest.Image(hardware_id=target.hardware_id, image=good.content)
    request = ota_pb2.CreateCampaignRequest(name="attacked", vins=[cloud.vin], images=[image])
    job_id = _operator(cloud, "CreateCampaign", request).jobs[0].job_id
    scene.memory["job"] = job_id
    for number, state in enumerate(_BEFORE, start=1):
        answer = cloud.vehicle_call("UpdateStatus", _status(cloud, job_id, state, number))
    scene.memory["nonce"] = answer.report_nonce


def _end_open_jobs(cloud: CloudDoor) -> None:
    for campaign in _operator(cloud, "ListCampaigns", ota_pb2.ListCampaignsRequest()).campaigns:
        for job in campaign.jobs:
            if job.vin == cloud.vin and not is_final(from_wire(job.state)):
                abandon = ota_pb2.AbandonJobRequest(campaign_id=campaign.campaign_id, vin=job.vin, reason="attacked")
                _operator(cloud, "AbandonJob", abandon)


def _status(cloud: CloudDoor, job_id: str, state: str, number: int, report: bytes = b"") -> ota_pb2.UpdateStatusRequest:
    return ota_pb2.UpdateStatusRequest(
        vin=cloud.vin, job_id=job_id, state=f"JOB_STATE_{state}", transition_seq=number, version_report=report
    )


def _claim(report: Callable[[Scene], bytes]) -> Callable[[Scene], None]:
    """Return the attack: SUCCEEDED, with such a report."""

    def act(scene: Scene) -> None:
        cloud = scene.require_cloud()
        claim = _status(cloud, scene.memory["job"], "SUCCEEDED", len(_BEFORE) + 1, report(scene))
        try:
            cloud.vehicle_call("UpdateStatus", claim)
        except CloudSaysNo as error:
            # "… unproven: …, but its version report was dropped: GATEWAY_SIGNATURE: …"
            _, dropped, why = str(error).partition("dropped: ")
            raise CloudSaysNo(error.guard, why.partition(":")[0] if dropped else "unproven", str(error)) from error

    return act


def _report(*, gateway: str, ecu: str, is_old: bool = False) -> Callable[[Scene], bytes]:
    """Return a report that states the new version, signed with these keys. ``is_old``: it answers an earlier nonce."""

    def make(scene: Scene) -> bytes:
        target, good = scene.target, scene.good
        nonce = (secrets.token_bytes(16) if is_old else scene.memory["nonce"]).hex()
        own = EcuVersionReport(
            vin=scene.pinned.vin,
            serial=target.serial,
            hardware_id=target.hardware_id,
            version=good.version,
            state="CONFIRMED",
            length=len(good.content),
            hashes={"sha256": hashlib.sha256(good.content).hexdigest()},
            counter=1_000_000,
            nonce=nonce,
        )
        entry = EcuEntry(
            serial=target.serial,
            hardware_id=target.hardware_id,
            version=good.version,
            report=seal(own, _key(ecu)).hex(),
        )
        return seal(VehicleVersionReport(vin=scene.pinned.vin, nonce=nonce, ecus=(entry,)), _key(gateway))

    return make


def _nothing(_scene: Scene) -> bytes:
    return b""


def _case(name: str, report: Callable[[Scene], bytes], refusal: str, *stolen: Key) -> Case:
    return Case(
        name,
        _claim(report),
        Place.CLOUD,
        stolen=frozenset({Key.VEHICLE, *stolen}),
        guard=Guard.CLOUD,
        refusal=refusal,
        prepare=_bring_to_the_end,
        is_for_tests=_NEEDS_A_VEHICLE,
    )


FORGED_REPORT: Final = Story(
    "forged-report",
    "forged and replayed reports",
    "The attacker has a vehicle's certificate, and tells the cloud that an update has succeeded, while the ECUs run the old "
    "version. The cloud takes only what the ECUs themselves have signed, for the nonce that it has given.",
    (
        _case("reports success without a version report", _nothing, "unproven"),
        _case("signs the report with a key of its own", _report(gateway="thief", ecu="thief"), "GATEWAY_SIGNATURE"),
        _case(
            "signs for the gateway, and for the ECU with a key of its own",
            _report(gateway="gateway", ecu="thief"),
            "ECU_SIGNATURE",
            Key.GATEWAY,
        ),
        _case(
            "sends a genuine report of an earlier update",
            _report(gateway="gateway", ecu="ecu", is_old=True),
            "UNKNOWN_NONCE",
        ),
    ),
)
