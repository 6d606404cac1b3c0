"""Dependencies between ECUs' versions: judged when a campaign is created and at check-in, promised in the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from otabench.proto import ota_pb2
from otabench.proto.uptane import MANIFEST_CUSTOM_KEY, ManifestCustom, TargetCustom
from tests.cloud.bench import ADAS, CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, words_of
from tests.cloud.campaigns.test_campaigns import AVAILABLE, REFUSED, create, manifest, refused

NEEDS_ADAS_2 = "(2,2.0.0)"


def promised(cloud: Cloud, vehicle: Vehicle, job_id: str, folder: Path) -> dict[str, tuple[int, str, str]]:
    """Return what the job's signed Targets state about the vehicle, by ECU: image number, serial number, version."""
    updater, files = manifest(cloud, vehicle, job_id, folder)
    assert updater._trusted_set.targets.version == json.loads(files["targets.json"])["signed"]["version"]
    custom = ManifestCustom.model_validate(updater._trusted_set.targets.unrecognized_fields[MANIFEST_CUSTOM_KEY])
    return {each.ecu: (each.image_number, each.ecu_serial, each.version) for each in custom.vehicle}


def register(cloud: Cloud, vehicle: Vehicle, **numbers: int) -> None:
    ecus = [
        ota_pb2.RegisterVehicleRequest.Ecu(
            ecu=name, serial=vehicle.serial(name), hardware_id=hardware_id, image_number=numbers.get(name, 0)
        )
        for name, hardware_id in vehicle.hardware.items()
    ]
    cloud.operator.RegisterVehicle(ota_pb2.RegisterVehicleRequest(vin=vehicle.vin, ecus=ecus), timeout=CALL_S)


@pytest.mark.clause("R156 7.1.1.5", "R156 7.1.1.7")
def test_a_dependency_that_the_vehicle_would_not_meet_refuses_the_campaign(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    vehicle.register(shared_cloud)
    vehicle.check_in(shared_cloud)
    engine = images(ENGINE, "2.0.0", needs=NEEDS_ADAS_2)

    code, words = refused(shared_cloud, campaign_request(vehicle, (ENGINE, engine)))

    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert words == (
        "DEPENDENCY_NOT_MET: the image 2.0.0 of engine needs adas >= 2.0.0, but adas would run 1.0.0 and is not in this campaign"
    )
    # with the other ECU's image in the same campaign, or once it runs it, it is taken
    create(shared_cloud, campaign_request(vehicle, (ENGINE, engine), (ADAS, images(ADAS, "2.0.0"))))


def test_a_dependency_on_an_unknown_image_number_is_refused(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    register(shared_cloud, vehicle, engine=7)
    vehicle.check_in(shared_cloud)

    _, words = refused(shared_cloud, campaign_request(vehicle, (ADAS, images(ADAS, "2.0.0", needs="(1,1.0.0)"))))

    assert words.startswith("NO_SUCH_IMAGE_NUMBER: the image 2.0.0 of adas depends on image number 1")
    assert words.endswith("(it has 2: adas, 7: engine)")
    create(shared_cloud, campaign_request(vehicle, (ADAS, images(ADAS, "2.0.0", needs="(7,1.0.0)"))))


def test_the_manifest_promises_every_ecus_version_after_the_campaign(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker, tmp_path: Path
) -> None:
    register(shared_cloud, vehicle, adas=9)
    vehicle.versions["adas"] = "2.3.4"
    vehicle.check_in(shared_cloud)
    campaign = create(
        shared_cloud, campaign_request(vehicle, (ENGINE, images(ENGINE, "2.0.0", needs="(9,2.3.4)(0,1.0.0)")))
    )
    (job,) = campaign.jobs

    assert vehicle.check_in(shared_cloud).decision == AVAILABLE
    assert promised(shared_cloud, vehicle, job.job_id, tmp_path) == {
        "engine": (1, vehicle.serial("engine"), "2.0.0"),
        "adas": (9, vehicle.serial("adas"), "2.3.4"),
    }
    updater, _ = manifest(shared_cloud, vehicle, job.job_id, tmp_path / "again")
    (target,) = updater._trusted_set.targets.targets.values()
    stated = TargetCustom.model_validate(target.custom).requires
    assert [(each.image_number, each.version) for each in stated] == [(9, "2.3.4"), (0, "1.0.0")]


@pytest.mark.clause("R156 7.1.1.7")
@pytest.mark.parametrize("transfer", [ota_pb2.TRANSFER_POLICY_AUTO, ota_pb2.TRANSFER_POLICY_FULL])
def test_an_ecu_outside_the_campaign_that_changes_is_judged_again(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker, tmp_path: Path, transfer: Any
) -> None:
    # given: a campaign with its manifest, created while adas runs what the engine needs
    vehicle.register(shared_cloud)
    vehicle.versions["adas"] = "2.1.0"
    vehicle.check_in(shared_cloud)
    engine = images(ENGINE, "2.0.0", needs=NEEDS_ADAS_2)
    (job,) = create(shared_cloud, campaign_request(vehicle, (ENGINE, engine), transfer=transfer)).jobs
    # when: a workshop installs an older adas
    vehicle.versions["adas"] = "1.0.0"
    answer = vehicle.check_in(shared_cloud)
    # then: it is refused, by the rule
    assert answer.decision == REFUSED
    assert answer.reason.startswith("DEPENDENCY_NOT_MET: the image 2.0.0 of engine needs adas >= 2.0.0")
    # and when a newer one is in, the manifest says what it is now
    vehicle.versions["adas"] = "2.2.0"
    assert vehicle.check_in(shared_cloud).decision == AVAILABLE
    assert promised(shared_cloud, vehicle, job.job_id, tmp_path)["adas"] == (2, vehicle.serial("adas"), "2.2.0")


@pytest.mark.parametrize(
    ("numbers", "words"),
    [({"engine": 2}, "image number 2 is given twice"), ({"engine": 256}, "image number of engine 256: 1 to 255")],
)
def test_image_numbers_that_are_not_unique_are_refused(
    shared_cloud: Cloud, vehicle: Vehicle, numbers: dict[str, int], words: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        register(shared_cloud, vehicle, **numbers)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in words_of(caught.value)


def test_another_image_number_is_refused_while_a_job_is_open(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    vehicle.register(shared_cloud)
    vehicle.check_in(shared_cloud)
    create(shared_cloud, campaign_request(vehicle, (ENGINE, images(ENGINE, "2.0.0"))))
    register(shared_cloud, vehicle, engine=1, adas=2)  # what the places in the list say, too
    with pytest.raises(grpc.RpcError) as caught:
        register(shared_cloud, vehicle, adas=3)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
