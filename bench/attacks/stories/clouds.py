"""Attacks on the cloud: a stolen vehicle's certificate, the wrong role, floods, paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from otabench.bench.attacks.parties import Guard, Key, Place
from otabench.bench.attacks.scene import Scene
from otabench.bench.attacks.story import Case, Story
from otabench.proto import ota_pb2

_VEHICLE: Final = frozenset({Key.VEHICLE})
_VIEWER: Final = frozenset({Key.VIEWER})
_FLOOD_CALLS: Final = 2000


def _other_check_in(scene: Scene) -> None:
    cloud = scene.require_cloud()
    cloud.vehicle_call("CheckIn", ota_pb2.CheckInRequest(vin=cloud.other_vin))


def _other_manifest(scene: Scene) -> None:
    cloud = scene.require_cloud()
    cloud.vehicle_call("GetManifest", ota_pb2.GetManifestRequest(vin=cloud.other_vin, job_id="job-1"))


def _campaign(certificate: Callable[[Scene], str]) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        cloud = scene.require_cloud()
        request = ota_pb2.CreateCampaignRequest(name="evil", vins=[cloud.vin])
        cloud.operator_call("CreateCampaign", request, certificate=certificate(scene))

    return act


def _certificate_of_vehicle(scene: Scene) -> str:
    return f"vehicle-{scene.require_cloud().vin}"


def _viewer(_scene: Scene) -> str:
    return "viewer"


def _large_message(scene: Scene) -> None:
    cloud = scene.require_cloud()
    ecus = [ota_pb2.EcuReport(ecu="x" * 4_000_000)]
    cloud.vehicle_call("CheckIn", ota_pb2.CheckInRequest(vin=cloud.vin, ecus=ecus))


def _flood(scene: Scene) -> None:
    cloud = scene.require_cloud()
    for _ in range(_FLOOD_CALLS):
        cloud.vehicle_call("CheckIn", ota_pb2.CheckInRequest(vin=cloud.vin))


def _path(path: str) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        cloud = scene.require_cloud()
        cloud.get(path.format(vin=cloud.vin))

    return act


def _case(name: str, act: Callable[[Scene], None], refusal: str, *, guard: Guard = Guard.CLOUD, **more: Any) -> Case:
    return Case(name, act, Place.CLOUD, guard=guard, refusal=refusal, **more)


STOLEN_CERTIFICATE: Final = Story(
    "stolen-certificate",
    "stolen certificate",
    "The attacker has the certificate and key of one vehicle, or of somebody who may only read, and calls the cloud with it.",
    (
        _case("checks in as another vehicle", _other_check_in, "PERMISSION_DENIED", stolen=_VEHICLE),
        _case("asks for another vehicle's manifest", _other_manifest, "PERMISSION_DENIED", stolen=_VEHICLE),
        _case(
            "makes a campaign as a vehicle", _campaign(_certificate_of_vehicle), "PERMISSION_DENIED", stolen=_VEHICLE
        ),
        _case("makes a campaign as a viewer", _campaign(_viewer), "PERMISSION_DENIED", stolen=_VIEWER),
    ),
)
DENIAL_OF_SERVICE: Final = Story(
    "denial-of-service",
    "denial of service",
    "The attacker wants the cloud to serve nobody else. It sends messages that are too large, or calls without a pause.",
    (
        _case("sends a message of 4 MB", _large_message, "INVALID_ARGUMENT", stolen=_VEHICLE),
        _case("calls without a pause", _flood, "RESOURCE_EXHAUSTED", stolen=_VEHICLE),
    ),
)
SERVER_TRAVERSAL: Final = Story(
    "server-paths",
    "paths of the artifact server",
    "The attacker asks the artifact server for files that are not artifacts: keys, the database, other vehicles' metadata.",
    tuple(
        _case(f"requests {path}", _path(path), "status 404", guard=Guard.ARTIFACT_SERVER)
        for path in (
            "/artifacts/../state/cloud.db",
            "/artifacts/%2e%2e/state/cloud.db",
            "/artifacts/..%2fstate%2fcloud.db",
            "/artifacts/director/{vin}/targets.json",
            "/artifacts//etc/passwd",
        )
    ),
)
