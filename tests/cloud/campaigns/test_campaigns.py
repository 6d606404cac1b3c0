"""A campaign from the operator's request to the end of its job, over real sockets with mutual TLS."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bsdiff4
import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tuf.ngclient import Updater  # type: ignore[attr-defined]  # its public names

from otabench.cloud.campaigns.request import check_campaign
from otabench.cloud.errors import InvalidRequest
from otabench.proto import ota_pb2
from otabench.proto.driver_rules import DriverRules
from otabench.proto.driver_texts import DriverTexts
from otabench.proto.uptane import MANIFEST_CUSTOM_KEY, ManifestCustom, TargetCustom
from tests.cloud.bench import ADAS, CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, state_name, words_of
from tests.cloud.trust.test_director import client

NO_UPDATE = ota_pb2.CheckInResponse.DECISION_NO_UPDATE
AVAILABLE = ota_pb2.CheckInResponse.DECISION_UPDATE_AVAILABLE
REFUSED = ota_pb2.CheckInResponse.DECISION_REFUSED

HAPPY_PATH = ["CONFIRMING", "WAITING_FOR_APPROVAL", "DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING", "SUCCEEDED"]


def create(cloud: Cloud, request: ota_pb2.CreateCampaignRequest) -> ota_pb2.Campaign:
    return cloud.create_campaign(request)


def refused(cloud: Cloud, request: ota_pb2.CreateCampaignRequest) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        create(cloud, request)
    return caught.value.code(), words_of(caught.value)


def get(cloud: Cloud, campaign_id: str) -> ota_pb2.Campaign:
    campaign = cloud.operator.GetCampaign(ota_pb2.GetCampaignRequest(campaign_id=campaign_id), timeout=CALL_S)
    assert isinstance(campaign, ota_pb2.Campaign)
    return campaign


def manifest(cloud: Cloud, vehicle: Vehicle, job_id: str, folder: Path) -> tuple[Updater, dict[str, bytes]]:
    """Return the job's Targets, verified by python-tuf's client with the pinned Root."""
    request = ota_pb2.GetManifestRequest(vin=vehicle.vin, job_id=job_id)
    answer = vehicle.control(cloud).GetManifest(request, timeout=CALL_S)
    assert answer.artifact_base_url == cloud.artifacts_url
    files = dict(answer.metadata)
    updater = client(cloud.keys_dir, folder, files)
    updater.refresh()
    return updater, files


def test_an_update_of_two_ecus_from_campaign_to_success(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker, tmp_path: Path
) -> None:
    # given: a vehicle on 1.0.0 that has checked in, and the images it runs
    vehicle.register(shared_cloud)
    idle = vehicle.check_in(shared_cloud)
    assert (idle.decision, idle.poll_interval_s) == (NO_UPDATE, 7.0)
    bases = {ENGINE: images(ENGINE, "1.0.0", counter=1), ADAS: images(ADAS, "1.0.0", counter=1)}
    news = {ENGINE: images(ENGINE, "2.0.0"), ADAS: images(ADAS, "2.0.0", seed=77)}  # adas: nothing in common
    request = campaign_request(
        vehicle,
        *news.items(),
        approval_timeout_s=60,
        conditions=["speed_km_h <= 0", "supply_v>=12.5"],
        texts=[ota_pb2.DriverTexts(language="ar", purpose="مهم للسلامة", contact="02 / 345")],
        driver=ota_pb2.DriverRules(max_reminders=0, asks_before_download=True, install_by=1_900_000_000),
    )
    for image in request.images:
        image.base_image = bases[image.hardware_id]

    # when: a campaign is made
    campaign = create(shared_cloud, request)

    # then: its job waits, its manifest is signed already and verifies
    (job,) = campaign.jobs
    assert (state_name(job.state), job.vin) == ("CREATED", vehicle.vin)
    assert shared_cloud.trace("manifest.signed", vin=vehicle.vin)
    answer = vehicle.check_in(shared_cloud)
    assert (answer.decision, answer.job_id, state_name(answer.job_state)) == (AVAILABLE, job.job_id, "CREATED")
    updater, files = manifest(shared_cloud, vehicle, job.job_id, tmp_path / "tuf")
    custom = ManifestCustom.model_validate(updater._trusted_set.targets.unrecognized_fields[MANIFEST_CUSTOM_KEY])
    assert (custom.vin, custom.job_id, custom.campaign_id) == (vehicle.vin, job.job_id, campaign.campaign_id)
    assert (custom.campaign_name, custom.release_notes, custom.approval_timeout_s) == (
        "Autumn release",
        "Smoother.",
        60,
    )
    assert custom.texts == {"ar": DriverTexts(purpose="مهم للسلامة", contact="02 / 345")}
    assert custom.driver == DriverRules(max_reminders=0, asks_before_download=True, install_by=1_900_000_000)
    assert (custom.conditions, custom.conditions_limit_s) == (("speed_km_h<=0", "supply_v>=12.5"), 600)

    # then: every file is served as the manifest says, and the engine's patch makes the image; the adas' does not pay
    targets = {}
    for path in updater._trusted_set.targets.targets:
        info = updater.get_targetinfo(path)
        assert info is not None
        target = TargetCustom.model_validate(info.custom)
        targets[target.hardware_id] = target
        served = httpx.get(shared_cloud.artifacts_url + path).content
        assert served == news[target.hardware_id]
        info.verify_length_and_hashes(served)
    assert targets[ENGINE].ecu_serial == vehicle.serial("engine")
    assert (targets[ENGINE].version, targets[ENGINE].release_counter) == ("2.0.0", 2)
    patch = targets[ENGINE].patch
    assert patch is not None
    content = httpx.get(shared_cloud.artifacts_url + patch.path).content
    assert (len(content), hashlib.sha256(content).hexdigest()) == (patch.length, patch.sha256)
    assert bsdiff4.patch(bases[ENGINE], content) == news[ENGINE]
    assert (patch.base_version, patch.base_length) == ("1.0.0", len(bases[ENGINE]))
    assert patch.base_sha256 == hashlib.sha256(bases[ENGINE]).hexdigest()
    assert targets[ADAS].patch is None
    # Metadata of a vehicle is delivered to this vehicle only.
    for name in files:
        assert httpx.get(f"{shared_cloud.artifacts_url}director/{vehicle.vin}/{name}").status_code == 404

    # when: the vehicle goes through the states, then then checks in on the new version
    for state in HAPPY_PATH:
        status = vehicle.update(shared_cloud, job.job_id, state)
        assert (state_name(status.state), status.cancel_requested) == (state, False)
    vehicle.versions = {"engine": "2.0.0", "adas": "2.0.0"}
    after = vehicle.check_in(shared_cloud)

    # then: there is nothing left to do, and the story stands in the trace
    assert after.decision == NO_UPDATE
    assert state_name(get(shared_cloud, campaign.campaign_id).jobs[0].state) == "SUCCEEDED"
    story = [event.data["to"] for event in shared_cloud.trace("job.state", vin=vehicle.vin)]
    assert story == ["CREATED", *HAPPY_PATH]
    assert [e.data["decision"] for e in shared_cloud.trace("vehicle.check_in", vin=vehicle.vin)] == [
        "NO_UPDATE",
        "UPDATE_AVAILABLE",
        "NO_UPDATE",
    ]
    assert any(e.data["campaign_id"] == campaign.campaign_id for e in shared_cloud.trace("campaign.created"))


def test_an_ecu_in_its_bootloader_is_offered_a_full_image(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker, tmp_path: Path
) -> None:
    # given: an engine that runs nothing; the counter of the image that rotted is not believed
    vehicle.register(shared_cloud)
    vehicle.versions["engine"], vehicle.counters["engine"] = "0.0.0", 0xFFFF
    reports = vehicle.reports()
    reports[0].slots[0].state = ota_pb2.SLOT_STATE_INVALID
    vehicle.check_in(shared_cloud, ecus=reports)

    # when: a campaign comes with the image that ran before
    request = campaign_request(vehicle, (ENGINE, images()))
    request.images[0].base_image = images(ENGINE, "1.0.0", counter=1)
    job_id = create(shared_cloud, request).jobs[0].job_id

    # then: it is offered, without a patch
    assert vehicle.check_in(shared_cloud, ecus=reports).decision == AVAILABLE
    updater, _ = manifest(shared_cloud, vehicle, job_id, tmp_path / "tuf")
    (target,) = updater._trusted_set.targets.targets.values()
    assert TargetCustom.model_validate(target.custom).patch is None


def test_a_campaign_before_the_first_check_in_gets_its_manifest_then(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker, tmp_path: Path
) -> None:
    vehicle.register(shared_cloud)
    request = campaign_request(vehicle, (ENGINE, images()))
    request.images[0].base_image = images(ENGINE, "1.0.0", counter=1)
    job_id = create(shared_cloud, request).jobs[0].job_id
    with pytest.raises(grpc.RpcError) as early:
        manifest(shared_cloud, vehicle, job_id, tmp_path / "early")
    assert early.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    answer = vehicle.check_in(shared_cloud)

    assert (answer.decision, answer.job_id) == (AVAILABLE, job_id)
    updater, _ = manifest(shared_cloud, vehicle, job_id, tmp_path / "tuf")
    (target,) = updater._trusted_set.targets.targets.values()
    assert TargetCustom.model_validate(target.custom).patch is not None


def test_a_vehicle_updated_elsewhere_gets_a_manifest_for_what_it_runs_now(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker, tmp_path: Path
) -> None:
    vehicle.register(shared_cloud)
    vehicle.check_in(shared_cloud)
    request = campaign_request(vehicle, (ENGINE, images()))
    request.images[0].base_image = images(ENGINE, "1.0.0", counter=1)
    job_id = create(shared_cloud, request).jobs[0].job_id
    vehicle.versions["engine"] = "1.5.0"

    assert vehicle.check_in(shared_cloud).decision == AVAILABLE

    updater, files = manifest(shared_cloud, vehicle, job_id, tmp_path / "tuf")
    (target,) = updater._trusted_set.targets.targets.values()
    assert TargetCustom.model_validate(target.custom).patch is None, "no image of 1.5.0 is held"
    assert json.loads(files["targets.json"])["signed"]["version"] == 2


def test_transfer_policies_full_and_delta(
    shared_cloud: Cloud, vehicle: Vehicle, other_vehicle: Vehicle, images: ImageMaker, tmp_path: Path
) -> None:
    base = images(ENGINE, "1.0.0", counter=1)
    foreign = images(ENGINE, "2.0.0", seed=99)
    for one, policy, patched in (
        (vehicle, ota_pb2.TRANSFER_POLICY_FULL, False),
        (other_vehicle, ota_pb2.TRANSFER_POLICY_DELTA, True),
    ):
        one.register(shared_cloud)
        one.check_in(shared_cloud)
        request = campaign_request(one, (ENGINE, foreign), transfer=policy)
        request.images[0].base_image = base
        job_id = create(shared_cloud, request).jobs[0].job_id

        updater, _ = manifest(shared_cloud, one, job_id, tmp_path / one.vin)

        (target,) = updater._trusted_set.targets.targets.values()
        patch = TargetCustom.model_validate(target.custom).patch
        assert (patch is not None) == patched
        if patch is not None:
            content = httpx.get(shared_cloud.artifacts_url + patch.path).content
            assert bsdiff4.patch(base, content) == foreign


def test_demanding_a_patch_that_cannot_be_made_is_refused(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    vehicle.versions["engine"] = "1.2.3"
    vehicle.register(shared_cloud)
    delta = campaign_request(vehicle, (ENGINE, images()), transfer=ota_pb2.TRANSFER_POLICY_DELTA)
    job_id = create(shared_cloud, delta).jobs[0].job_id  # it is not known yet what the vehicle runs

    answer = vehicle.check_in(shared_cloud)

    assert (answer.decision, answer.job_id) == (REFUSED, job_id)
    assert "1.2.3" in answer.reason
    assert "base_image" in answer.reason


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ("unsigned", grpc.StatusCode.INVALID_ARGUMENT, "not an MCUboot image"),
        ("flipped", grpc.StatusCode.INVALID_ARGUMENT, "changed after it was signed"),
        ("other hardware", grpc.StatusCode.INVALID_ARGUMENT, "other hardware"),
        ("bad base", grpc.StatusCode.INVALID_ARGUMENT, "base image"),
        ("no images", grpc.StatusCode.INVALID_ARGUMENT, "at least one image"),
        ("no vins", grpc.StatusCode.INVALID_ARGUMENT, "at least one vehicle"),
        ("same vin twice", grpc.StatusCode.INVALID_ARGUMENT, "twice"),
        ("endless notes", grpc.StatusCode.INVALID_ARGUMENT, "release_notes"),
        ("negative lifetime", grpc.StatusCode.INVALID_ARGUMENT, "manifest_lifetime_s"),
        ("unknown quantity", grpc.StatusCode.INVALID_ARGUMENT, "conditions: 'mood' is not a quantity"),
        ("too many conditions", grpc.StatusCode.INVALID_ARGUMENT, "conditions: 17 are more than 16"),
        ("no language", grpc.StatusCode.INVALID_ARGUMENT, "texts: 'Deutsch' is not a language tag"),
        ("a language twice", grpc.StatusCode.INVALID_ARGUMENT, "texts: the language de is given twice"),
        ("endless texts", grpc.StatusCode.INVALID_ARGUMENT, "texts: 24577 bytes are more than 24576"),
        ("unknown vin", grpc.StatusCode.NOT_FOUND, "not registered"),
        ("hardware it has not", grpc.StatusCode.FAILED_PRECONDITION, "WRONG_HARDWARE"),
        ("not newer", grpc.StatusCode.FAILED_PRECONDITION, "NOT_NEWER"),
        ("lower counter", grpc.StatusCode.FAILED_PRECONDITION, "SECURITY_COUNTER"),
    ],
)
def test_a_campaign_that_is_wrong_is_refused_with_the_reason(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker, change: str, code: grpc.StatusCode, words: str
) -> None:
    vehicle.versions["engine"], vehicle.counters["engine"] = "1.9.0", 2
    vehicle.register(shared_cloud)
    vehicle.check_in(shared_cloud)
    request = campaign_request(vehicle, (ENGINE, images()))
    first = request.images[0]
    match change:
        case "unsigned":
            first.image = b"\x00" * 4096
        case "flipped":
            first.image = first.image[:0x300] + bytes([first.image[0x300] ^ 1]) + first.image[0x301:]
        case "other hardware":
            first.image = images(ADAS)
        case "bad base":
            first.base_image = b"no image"
        case "no images":
            del request.images[:]
        case "no vins":
            del request.vins[:]
        case "same vin twice":
            request.vins.append(vehicle.vin)
        case "endless notes":
            request.release_notes = "long " * 10_000
        case "negative lifetime":
            request.manifest_lifetime_s = -1
        case "unknown quantity":
            request.conditions.append("mood>=1")
        case "too many conditions":
            request.conditions.extend(["speed_km_h<=0"] * 17)
        case "no language":
            request.texts.add(language="Deutsch")
        case "a language twice":
            request.texts.add(language="de")
            request.texts.add(language="de")
        case "endless texts":
            request.texts.add(language="de", purpose="x" * (24 * 1024 + 1))
        case "unknown vin":
            request.vins.append("NOBODY")
        case "hardware it has not":
            first.hardware_id, first.image = "radio-x", images("radio-x")
        case "not newer":
            first.image = images(ENGINE, "1.9.0")
        case "lower counter":
            first.image = images(ENGINE, "2.0.0", counter=1)

    status, details = refused(shared_cloud, request)

    assert status is code
    assert words in details
    listed = shared_cloud.operator.ListCampaigns(ota_pb2.ListCampaignsRequest(), timeout=CALL_S)
    assert not any(job.vin == vehicle.vin for one in listed.campaigns for job in one.jobs)


def test_a_busy_vehicle_gets_no_second_campaign(shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker) -> None:
    vehicle.register(shared_cloud)
    job_id = create(shared_cloud, campaign_request(vehicle, (ENGINE, images()))).jobs[0].job_id

    status, details = refused(shared_cloud, campaign_request(vehicle, (ADAS, images(ADAS))))

    assert status is grpc.StatusCode.FAILED_PRECONDITION
    assert job_id in details


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("ecu", "radio", "UNKNOWN_ECU"),
        ("serial", "stolen", "OTHER_SERIAL"),
        ("hardware_id", "engine-mcu-b", "OTHER_HARDWARE"),
        ("software_version", "3.0.0", "NOT_NEWER"),
        ("software_version", "", "VERSION_UNKNOWN"),
    ],
)
def test_a_refusal_at_check_in_names_its_rule(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker, field: str, value: str, rule: str
) -> None:
    vehicle.register(shared_cloud)
    campaign = create(shared_cloud, campaign_request(vehicle, (ENGINE, images())))
    reports = vehicle.reports()
    setattr(reports[0], field, value)

    answer = vehicle.check_in(shared_cloud, ecus=reports)

    assert answer.decision == REFUSED
    assert rule in answer.reason
    assert state_name(get(shared_cloud, campaign.campaign_id).jobs[0].state) == "CREATED"
    assert shared_cloud.trace("vehicle.check_in", vin=vehicle.vin)[-1].data["decision"] == "REFUSED"


def test_a_vehicle_that_is_not_registered_is_refused(shared_cloud: Cloud, vehicle: Vehicle) -> None:
    answer = vehicle.check_in(shared_cloud)

    assert answer.decision == REFUSED
    assert "UNKNOWN_VEHICLE" in answer.reason


def test_a_busy_vehicle_is_answered_the_clouds_state_of_its_job(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    vehicle.register(shared_cloud)
    job_id = create(shared_cloud, campaign_request(vehicle, (ENGINE, images()))).jobs[0].job_id
    for state in HAPPY_PATH[:3]:
        vehicle.update(shared_cloud, job_id, state)

    running = vehicle.check_in(shared_cloud, job_id=job_id)
    forgotten = vehicle.check_in(shared_cloud)
    unknown = vehicle.check_in(shared_cloud, job_id="job-nobody")
    vehicle.update(shared_cloud, job_id, "FAILED", reason="workshop")
    ended = vehicle.check_in(shared_cloud, job_id=job_id)

    for answer in (running, forgotten):
        assert (answer.decision, answer.job_id, state_name(answer.job_state)) == (AVAILABLE, job_id, "DOWNLOADING")
    assert (ended.decision, state_name(ended.job_state), ended.reason) == (NO_UPDATE, "FAILED", "workshop")
    assert unknown.decision == REFUSED


def test_other_ecus_cannot_be_registered_while_a_job_is_open(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    vehicle.register(shared_cloud)
    vehicle.check_in(shared_cloud)
    create(shared_cloud, campaign_request(vehicle, (ENGINE, images())))

    vehicle.register(shared_cloud)

    assert vehicle.check_in(shared_cloud).decision == AVAILABLE
    vehicle.hardware["engine"] = "engine-mcu-b"
    with pytest.raises(grpc.RpcError) as caught:
        vehicle.register(shared_cloud)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_a_watcher_sees_every_state_and_the_stream_ends_with_the_job(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    vehicle.register(shared_cloud)
    campaign = create(shared_cloud, campaign_request(vehicle, (ENGINE, images())))
    job_id = campaign.jobs[0].job_id
    stream = shared_cloud.operator.WatchCampaign(
        ota_pb2.GetCampaignRequest(campaign_id=campaign.campaign_id), timeout=CALL_S
    )
    seen = [state_name(next(stream).jobs[0].state)]
    for state in HAPPY_PATH[:4]:
        vehicle.update(shared_cloud, job_id, state)
        seen.append(state_name(next(stream).jobs[0].state))

    progress = ota_pb2.EcuProgress(ecu="engine", phase="transferring", bytes_done=10, bytes_total=20)
    vehicle.update(shared_cloud, job_id, "INSTALLING", seq=vehicle.seq, progress=[progress])
    assert next(stream).jobs[0].progress[0].bytes_done == 10
    for state in HAPPY_PATH[4:]:
        vehicle.update(shared_cloud, job_id, state)
        seen.append(state_name(next(stream).jobs[0].state))

    assert seen == ["CREATED", *HAPPY_PATH]
    assert list(stream) == []


def test_watching_or_reading_an_unknown_campaign_is_refused(shared_cloud: Cloud) -> None:
    request = ota_pb2.GetCampaignRequest(campaign_id="campaign-nobody")
    calls: list[Callable[[], object]] = [
        lambda: shared_cloud.operator.GetCampaign(request, timeout=CALL_S),
        lambda: list(shared_cloud.operator.WatchCampaign(request, timeout=CALL_S)),
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_and_reflection_answer(shared_cloud: Cloud) -> None:
    channel = shared_cloud.peer("operator").channel
    for service in ("", "ota.v1.ControlPlane", "ota.v1.Operator"):
        request = health_pb2.HealthCheckRequest(service=service)
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=CALL_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {"ota.v1.ControlPlane", "ota.v1.Operator"} <= set(database.get_services())
    assert DescriptorPool(database).FindServiceByName("ota.v1.Operator").methods_by_name["CreateCampaign"]


def test_a_program_file_is_signed_as_it_is_with_what_is_in_it(
    shared_cloud: Cloud, vehicle: Vehicle, tmp_path: Path
) -> None:
    # given: a vehicle whose ECU takes program files with versions like 1.10, and a HEX file that two kinds of ECUs get
    content = b":0400000001020304F2\n:00000001FF\n"
    vehicle.hardware = {"gate": "gate-mcu", "door": "door-mcu"}
    vehicle.versions = {"gate": "1.9", "door": "Blue"}
    vehicle.counters = {"gate": 0, "door": 0}
    ecus = [
        ota_pb2.RegisterVehicleRequest.Ecu(
            ecu=name,
            serial=vehicle.serial(name),
            hardware_id=hardware_id,
            payload=ota_pb2.PAYLOAD_KIND_PROGRAM,
            version_order=order,
        )
        for (name, hardware_id), order in zip(
            vehicle.hardware.items(), (ota_pb2.VERSION_ORDER_NUMERIC, ota_pb2.VERSION_ORDER_NONE), strict=True
        )
    ]
    shared_cloud.operator.RegisterVehicle(ota_pb2.RegisterVehicleRequest(vin=vehicle.vin, ecus=ecus), timeout=CALL_S)
    vehicle.check_in(shared_cloud)
    request = campaign_request(vehicle, ("gate-mcu", content), ("door-mcu", content))
    for image, version in zip(request.images, ("1.10", "dark red/2"), strict=True):
        image.program.format, image.program.version = "Intel HEX", version
        image.program.segments.add(address=0, length=4)

    # when: a campaign is made, and the vehicle checks in
    job_id = create(shared_cloud, request).jobs[0].job_id
    assert vehicle.check_in(shared_cloud).decision == AVAILABLE

    # then: format, segments and version are in the signed Targets, and the file is served
    updater, files = manifest(shared_cloud, vehicle, job_id, tmp_path)
    signed = json.loads(files["targets.json"])["signed"]
    assert ManifestCustom.model_validate(signed[MANIFEST_CUSTOM_KEY]).vehicle == ()
    targets = {entry["custom"]["hardware_id"]: (path, entry) for path, entry in signed["targets"].items()}
    assert {each[1]["custom"]["version"] for each in targets.values()} == {"1.10", "dark red/2"}
    for path, entry in targets.values():
        custom = TargetCustom.model_validate(entry["custom"])
        assert custom.payload is not None
        assert custom.payload.format == "Intel HEX"
        assert [(each.address, each.length) for each in custom.payload.segments] == [(0, 4)]
        assert updater.get_targetinfo(path) is not None
        assert entry["hashes"]["sha256"] == hashlib.sha256(content).hexdigest()
        assert httpx.get(shared_cloud.artifacts_url + path, trust_env=False).content == content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "a picture"}, "'a picture' is not a valid ProgramFormat"),
        ({"format": "S-record"}, "stated to be S-record, but its contents are Intel HEX"),
        ({"version": ""}, "1 to 64 printable characters"),
        ({"start_address": 0}, "Intel HEX has its own addresses"),
        ({"segments": []}, "at least 1 item"),
    ],
)
def test_a_statement_about_a_program_file_is_checked(vehicle: Vehicle, change: dict[str, Any], words: str) -> None:
    facts = {"format": "Intel HEX", "version": "A", "segments": [{"address": 0, "length": 4}], **change}
    request = campaign_request(vehicle, ("gate-mcu", b":0400000001020304F2\n:00000001FF\n"))
    request.images[0].program.CopyFrom(ota_pb2.CreateCampaignRequest.Program(**facts))
    with pytest.raises(InvalidRequest, match=words):
        check_campaign(request, key=Ed25519PrivateKey.generate().public_key())
