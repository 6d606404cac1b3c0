"""SUCCEEDED is taken only if the ECUs themselves have signed that they run the job's images."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.proto import ota_pb2
from otabench.proto.version_report import EcuEntry, EcuVersionReport, VehicleVersionReport, seal
from tests.cloud.bench import ADAS, CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, state_name, words_of
from tests.cloud.campaigns.test_campaigns import HAPPY_PATH, create, get

ENDED = HAPPY_PATH.index("SUCCEEDED")
SIGNED, BY_GATEWAY = ota_pb2.EVIDENCE_SIGNED_BY_ECU, ota_pb2.EVIDENCE_REPORTED_BY_GATEWAY


@dataclass
class SigningVehicle:
    """A vehicle whose gateway signs, and those of its ECUs that have a key."""

    vehicle: Vehicle
    signing: tuple[str, ...] = ("engine", "adas")
    gateway: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    counter: int = 0
    nonce: bytes = b""
    images: dict[str, bytes] = field(default_factory=dict)
    attack: str = ""
    times: dict[str, int] = field(default_factory=dict)
    """What each ECU takes for the attested time."""

    def __post_init__(self) -> None:
        self.keys = {name: Ed25519PrivateKey.generate() for name in self.signing}
        self.images = {name: f"factory image of {name}".encode() for name in self.vehicle.hardware}

    def register(self, cloud: Cloud) -> None:
        request = ota_pb2.RegisterVehicleRequest(
            vin=self.vehicle.vin, gateway_key=self.gateway.public_key().public_bytes_raw()
        )
        for name, hardware_id in self.vehicle.hardware.items():
            key = self.keys[name].public_key().public_bytes_raw() if name in self.keys else b""
            request.ecus.add(ecu=name, serial=self.vehicle.serial(name), hardware_id=hardware_id, report_key=key)
        cloud.operator.RegisterVehicle(request, timeout=CALL_S)

    def report(self, nonce: bytes | None = None, **stated: str) -> bytes:
        """Return the vehicle's report. ``stated``: versions that the gateway states."""
        self.counter += 1
        nonce = self.nonce if nonce is None else nonce
        entries = tuple(
            EcuEntry(
                serial=self.vehicle.serial(name),
                hardware_id=hardware_id,
                version=stated.get(name, self.vehicle.versions[name]),
                report=self._own(name, hardware_id, nonce) if name in self.keys else "",
            )
            for name, hardware_id in self.vehicle.hardware.items()
        )
        return seal(VehicleVersionReport(vin=self.vehicle.vin, nonce=nonce.hex(), ecus=entries), self.gateway)

    def _own(self, name: str, hardware_id: str, nonce: bytes) -> str:
        image = self.images[name]
        report = EcuVersionReport(
            vin=self.vehicle.vin,
            serial=self.vehicle.serial(name),
            hardware_id=hardware_id,
            version=self.vehicle.versions[name],
            state="CONFIRMED",
            length=len(image),
            hashes={"sha256": hashlib.sha256(image).hexdigest()},
            counter=self.counter,
            nonce=nonce.hex(),
            attack=self.attack,
            attested_time_s=self.times.get(name, 0),
        )
        return seal(report, self.keys[name]).hex()

    def until_verifying(self, cloud: Cloud, job_id: str) -> None:
        for state in HAPPY_PATH[:ENDED]:
            self.nonce = self.vehicle.update(cloud, job_id, state).report_nonce

    def succeed(self, cloud: Cloud, job_id: str, report: bytes, **fields: Any) -> ota_pb2.UpdateStatusResponse:
        return self.vehicle.update(
            cloud, job_id, "SUCCEEDED", version_report=report, ecus=self.vehicle.reports(), **fields
        )


@dataclass
class Story:
    """A job in VERIFYING, of a vehicle whose ECUs still run what they ran before."""

    cloud: Cloud
    car: SigningVehicle
    campaign_id: str
    job_id: str
    new: dict[str, bytes]

    def job(self) -> ota_pb2.Job:
        return get(self.cloud, self.campaign_id).jobs[0]

    def state(self) -> str:
        return state_name(self.job().state)

    def install(self) -> None:
        self.car.images.update(self.new)
        self.car.vehicle.versions.update(dict.fromkeys(self.new, "2.0.0"))

    def refused(self, report: bytes, **fields: Any) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            self.car.succeed(self.cloud, self.job_id, report, **fields)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        return words_of(caught.value)

    def audited(self) -> list[str]:
        lines = (self.cloud.folder / "state" / "audit" / "audit.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        mine = [each for each in entries if self.car.vehicle.vin in each["vins"] and each["outcome"] == "DROPPED"]
        return [str(each["detail"]).split(":")[0] for each in mine]


def begin(cloud: Cloud, car: SigningVehicle, images: ImageMaker) -> Story:
    car.register(cloud)
    new = {"engine": images(), "adas": images(hardware_id=ADAS)}
    campaign = create(cloud, campaign_request(car.vehicle, (ENGINE, new["engine"]), (ADAS, new["adas"])))
    job_id = campaign.jobs[0].job_id
    car.until_verifying(cloud, job_id)
    return Story(cloud, car, campaign.campaign_id, job_id, new)


@pytest.fixture
def story(shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker) -> Story:
    return begin(shared_cloud, SigningVehicle(vehicle), images)


def test_a_stolen_vehicle_certificate_cannot_report_succeeded(story: Story) -> None:
    """The thief has the vehicle's certificate, and neither the gateway's key nor an ECU's. Both ECUs run the old version."""
    thief = SigningVehicle(story.car.vehicle, nonce=story.car.nonce, counter=1000)
    thief.images.update(story.new)
    story.car.vehicle.versions.update(engine="2.0.0", adas="2.0.0")

    assert "there is no version report" in story.refused(b"")
    assert "GATEWAY_SIGNATURE" in story.refused(thief.report())

    assert story.state() == "VERIFYING"
    assert story.job().reason.startswith("unproven: the vehicle reports SUCCEEDED, but")
    assert story.audited() == ["GATEWAY_SIGNATURE"]
    story.install()
    assert state_name(story.car.succeed(story.cloud, story.job_id, story.car.report()).state) == "SUCCEEDED", (
        "the vehicle itself can still prove it"
    )


def test_a_compromised_gateway_cannot_report_succeeded(story: Story) -> None:
    """It has the certificate and the gateway's key. The ECUs sign what they really run, and their signatures cannot be forged."""
    answer = story.car.succeed(story.cloud, story.job_id, story.car.report(engine="2.0.0", adas="2.0.0"))

    assert state_name(answer.state) == story.state() == "FAILED"
    assert "has signed that it runs 1.0.0, which is not the job's image of 2.0.0" in story.job().reason


def test_reports_of_all_ecus_prove_a_success(story: Story) -> None:
    story.install()

    answer = story.car.succeed(story.cloud, story.job_id, story.car.report())

    assert state_name(answer.state) == "SUCCEEDED"
    assert [ecu.evidence for ecu in story.job().ecus] == [SIGNED, SIGNED]
    assert (story.job().dropped_reports, story.job().two_reporters) == (0, False)
    assert answer.report_nonce != story.car.nonce, "a nonce is used once"


def test_an_ecu_from_which_somebody_withholds_the_time_is_shown(story: Story) -> None:
    story.install()
    story.car.times = {"engine": int(time.time()), "adas": int(time.time()) - 40 * 86_400}
    story.car.succeed(story.cloud, story.job_id, story.car.report())
    assert story.state() == "SUCCEEDED"
    assert story.job().reason == "adas stalls: its attested time is 40 days older than the campaign"


def test_a_repeated_success_whose_answer_was_lost_is_not_a_replay(story: Story) -> None:
    story.install()
    report = story.car.report()
    story.car.succeed(story.cloud, story.job_id, report)

    answer = story.car.succeed(story.cloud, story.job_id, report, seq=story.car.vehicle.seq)

    assert state_name(answer.state) == "SUCCEEDED"
    assert story.job().dropped_reports == 0


def test_one_ecu_that_runs_another_image_is_enough_to_fail(story: Story) -> None:
    story.install()
    story.car.images["adas"] = b"another image of the same version"

    story.car.succeed(story.cloud, story.job_id, story.car.report())

    assert story.state() == "FAILED"
    assert story.job().reason.startswith("the vehicle reports SUCCEEDED, but adas has signed")


def test_a_kept_report_is_dropped_and_the_operator_reads_it(story: Story, images: ImageMaker) -> None:
    story.install()
    kept = story.car.report()
    vehicle, cloud = story.car.vehicle, story.cloud
    checked = vehicle.control(cloud).CheckIn(
        ota_pb2.CheckInRequest(
            vin=vehicle.vin, ecus=vehicle.reports(), job_id=story.job_id, version_report=story.car.report()
        ),
        timeout=CALL_S,
    )

    assert "TWO_REPORTERS" in story.refused(kept), "the nonce was answered by another report"
    assert "UNKNOWN_NONCE" in story.refused(story.car.report(bytes(16)))

    job = story.job()
    assert (job.dropped_reports, job.two_reporters) == (2, True)
    assert job.dropped_reason.startswith("UNKNOWN_NONCE: ")
    assert story.audited() == ["TWO_REPORTERS", "UNKNOWN_NONCE"]
    assert [event.data["reason"].split(":")[0] for event in cloud.trace("vehicle.report_dropped", vin=vehicle.vin)] == [
        "TWO_REPORTERS",
        "UNKNOWN_NONCE",
    ]
    story.car.nonce = checked.report_nonce
    assert state_name(story.car.succeed(cloud, story.job_id, story.car.report()).state) == "SUCCEEDED"


def test_after_five_claims_without_proof_the_job_fails(story: Story) -> None:
    for _ in range(4):
        story.refused(b"")
    answer = story.car.succeed(story.cloud, story.job_id, b"")

    assert state_name(answer.state) == story.state() == "FAILED"
    assert "claimed 5 times" in story.job().reason


def test_an_ecu_that_cannot_sign_is_reported_by_the_gateway(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    story = begin(shared_cloud, SigningVehicle(vehicle, signing=("engine",)), images)
    story.install()

    story.car.succeed(shared_cloud, story.job_id, story.car.report())

    assert story.state() == "SUCCEEDED"
    assert {ecu.ecu: ecu.evidence for ecu in story.job().ecus} == {"engine": SIGNED, "adas": BY_GATEWAY}


def test_a_gateway_that_states_another_version_contradicts_itself(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    story = begin(shared_cloud, SigningVehicle(vehicle, signing=("engine",)), images)
    story.install()

    story.car.succeed(shared_cloud, story.job_id, story.car.report(adas="1.0.0"))

    assert story.state() == "FAILED"
    assert "its gateway states that adas runs 1.0.0, not 2.0.0" in story.job().reason


def test_an_ecu_with_a_key_needs_a_gateway_with_one(shared_cloud: Cloud, vehicle: Vehicle) -> None:
    ecu = ota_pb2.RegisterVehicleRequest.Ecu(ecu="engine", serial="1", hardware_id=ENGINE, report_key=bytes(32))
    for request, words in (
        (ota_pb2.RegisterVehicleRequest(vin=vehicle.vin, ecus=[ecu]), "gateway_key"),
        (ota_pb2.RegisterVehicleRequest(vin=vehicle.vin, ecus=[ecu], gateway_key=b"short"), "Ed25519"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            shared_cloud.operator.RegisterVehicle(request, timeout=CALL_S)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert words in words_of(caught.value)


def test_what_an_ecu_refused_is_audited_once(shared_cloud: Cloud, vehicle: Vehicle) -> None:
    car = SigningVehicle(vehicle, signing=("engine",), attack="SIGNATURE_WRONG")
    car.register(shared_cloud)
    car.nonce = vehicle.check_in(shared_cloud).report_nonce
    for _ in range(2):
        request = ota_pb2.CheckInRequest(vin=vehicle.vin, ecus=vehicle.reports(), version_report=car.report())
        car.nonce = vehicle.control(shared_cloud).CheckIn(request, timeout=CALL_S).report_nonce

    lines = (shared_cloud.folder / "state" / "audit" / "audit.jsonl").read_text().splitlines()
    audited = [each for each in map(json.loads, lines) if vehicle.vin in each["vins"]]
    assert [
        (each["what"], each["outcome"], each["detail"]) for each in audited if each["what"] != "RegisterVehicle"
    ] == [("AttackReported", "SIGNATURE_WRONG", "engine")]
    (event,) = shared_cloud.trace("vehicle.attack_reported", vin=vehicle.vin)
    assert (event.data["about"], event.data["attack"]) == ("engine", "SIGNATURE_WRONG")


def test_an_oversized_report_is_refused_by_its_field(story: Story) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        story.car.succeed(story.cloud, story.job_id, bytes(70_000))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "version_report: 70000 bytes" in words_of(caught.value)
