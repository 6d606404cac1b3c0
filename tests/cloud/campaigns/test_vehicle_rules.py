"""A campaign's rules on vehicles: each rule, and their order."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from otabench.cloud.campaigns.vehicle_rules import (
    EcuFacts,
    Offer,
    ReportedEcu,
    Rule,
    VehicleFacts,
    judge_campaign,
    judge_check_in,
    judge_report,
    versions_after,
)
from otabench.proto.image_format import Dependency, ImageVersion
from otabench.proto.job_states import JobState
from otabench.proto.uptane import PayloadCustom
from otabench.proto.version_order import VersionOrder, VersionRule

ENGINE = EcuFacts("engine", "S1", "engine-mcu-a", software_version="1.0.0", security_counter=3, image_number=1)
ADAS = EcuFacts("adas", "S2", "adas-soc-b", software_version="1.0.0", security_counter=3, image_number=2)
VEHICLE = VehicleFacts("VIN1", (ENGINE, ADAS))


def offer(version: str = "2.0.0", *, hardware_id: str = "engine-mcu-a", counter: int = 3) -> Offer:
    return Offer(hardware_id, version, counter)


def test_a_newer_image_for_known_hardware_is_allowed() -> None:
    assert judge_campaign(VEHICLE, [offer()]) is None
    assert judge_check_in(VEHICLE, [offer()], job_id="job-1") is None


@pytest.mark.parametrize(
    ("offered", "rule"),
    [
        (offer(hardware_id="other-mcu"), Rule.WRONG_HARDWARE),
        (offer("1.0.0"), Rule.NOT_NEWER),
        (offer("0.9.9"), Rule.NOT_NEWER),
        (offer(counter=2), Rule.SECURITY_COUNTER),
    ],
)
def test_an_image_that_does_not_fit_is_refused_by_its_rule(offered: Offer, rule: Rule) -> None:
    for refusal in (judge_campaign(VEHICLE, [offered]), judge_check_in(VEHICLE, [offered], job_id="job-1")):
        assert refusal is not None
        assert refusal.rule is rule


@pytest.mark.clause("R156 7.1.2.3")
def test_ecus_that_are_approved_together_are_updated_together() -> None:
    engine = replace(offer(), rxswin="R79 SWIN 2")
    adas = offer(hardware_id="adas-soc-b")
    for other in ("R79 SWIN 1", "R79"):
        for refusal in (
            judge_campaign(VEHICLE, [engine, replace(adas, rxswin=other)]),
            judge_check_in(VEHICLE, [engine, replace(adas, rxswin=other)], job_id="job-1"),
        ):
            assert refusal is not None and refusal.rule is Rule.RXSWIN_DIFFERS
            assert "the vehicle would have two of R79" in refusal.reason
    for other in ("R79 SWIN 2", "R13 SWIN 1", "R790 1", "OTABENCH 1", ""):
        assert judge_campaign(VEHICLE, [engine, replace(adas, rxswin=other)]) is None


def test_the_build_number_counts_as_newer() -> None:
    assert judge_campaign(VEHICLE, [offer("1.0.0+1")]) is None


def test_one_image_that_does_not_fit_refuses_the_whole_update() -> None:
    refusal = judge_campaign(VEHICLE, [offer(), offer("1.0.0", hardware_id="adas-soc-b")])

    assert refusal is not None
    assert "adas" in refusal.reason


def test_an_image_that_fits_two_ecus_is_refused() -> None:
    twins = VehicleFacts("VIN1", (ENGINE, replace(ADAS, hardware_id="engine-mcu-a")))

    refusal = judge_campaign(twins, [offer()])

    assert refusal is not None
    assert refusal.rule is Rule.AMBIGUOUS_HARDWARE


def test_a_vehicle_without_ecus_is_refused() -> None:
    refusal = judge_campaign(VehicleFacts("VIN1", ()), [offer()])

    assert refusal is not None
    assert refusal.rule is Rule.NO_ECUS


@pytest.mark.parametrize("state", [JobState.CREATED, JobState.INSTALLING, JobState.VERIFYING])
def test_a_busy_vehicle_is_refused_another_job_but_not_its_own(state: JobState) -> None:
    busy = replace(VEHICLE, busy_job_id="job-1", busy_state=state)

    refusal = judge_campaign(busy, [offer()])

    assert refusal is not None
    assert refusal.rule is Rule.VEHICLE_BUSY
    assert "job-1" in refusal.reason
    assert state in refusal.reason
    assert judge_check_in(busy, [offer()], job_id="job-1") is None


def test_a_vehicle_whose_job_has_ended_is_not_busy() -> None:
    assert judge_campaign(replace(VEHICLE, busy_job_id="job-1", busy_state=JobState.FAILED), [offer()]) is None


def test_an_unknown_version_is_allowed_at_creation_and_refused_at_check_in() -> None:
    silent = VehicleFacts("VIN1", (replace(ENGINE, software_version="", security_counter=None),))

    assert judge_campaign(silent, [offer()]) is None
    refusal = judge_check_in(silent, [offer()], job_id="job-1")
    assert refusal is not None
    assert refusal.rule is Rule.VERSION_UNKNOWN


def test_a_running_version_that_cannot_be_read_is_refused() -> None:
    odd = VehicleFacts("VIN1", (replace(ENGINE, software_version="latest"),))

    refusal = judge_campaign(odd, [offer()])

    assert refusal is not None
    assert refusal.rule is Rule.VERSION_UNKNOWN
    assert "latest" in refusal.reason


@pytest.mark.parametrize(
    ("reported", "rule"),
    [
        (ReportedEcu("radio", "S9", "radio"), Rule.UNKNOWN_ECU),
        (ReportedEcu("engine", "S9", "engine-mcu-a"), Rule.OTHER_SERIAL),
        (ReportedEcu("engine", "S1", "engine-mcu-b"), Rule.OTHER_HARDWARE),
    ],
)
def test_a_report_that_contradicts_the_registration_is_refused(reported: ReportedEcu, rule: Rule) -> None:
    refusal = judge_report(VEHICLE, [ReportedEcu("adas", "S2", "adas-soc-b"), reported])

    assert refusal is not None
    assert refusal.rule is rule


def test_a_report_that_agrees_with_the_registration_passes() -> None:
    assert judge_report(VEHICLE, [ReportedEcu("engine", "S1", "engine-mcu-a")]) is None


def needing(*needs: tuple[int, str], version: str = "2.0.0") -> Offer:
    """Return an offer of the engine's image with dependencies."""
    dependencies = tuple(Dependency(number, ImageVersion.parse(least)) for number, least in needs)
    return replace(offer(version), dependencies=dependencies)


ADAS_2 = offer("2.0.0", hardware_id="adas-soc-b")


@pytest.mark.parametrize(
    "offers",
    [
        [needing((2, "2.0.0")), ADAS_2],
        [ADAS_2, needing((2, "2.0.0"))],
        [needing((2, "1.0.0"))],
        [needing((0, "1.0.0"))],
        [needing((1, "2.0.0"))],
    ],
)
def test_dependencies_are_met_by_the_campaign_and_by_what_the_others_run(offers: list[Offer]) -> None:
    assert judge_campaign(VEHICLE, offers) is None
    assert judge_check_in(VEHICLE, offers, job_id="job-1") is None


@pytest.mark.parametrize(
    ("offers", "rule", "reason"),
    [
        (
            [needing((2, "2.0.0"))],
            Rule.DEPENDENCY_NOT_MET,
            "the image 2.0.0 of engine needs adas >= 2.0.0, but adas would run 1.0.0 and is not in this campaign",
        ),
        (
            [needing((2, "2.0.1")), ADAS_2],
            Rule.DEPENDENCY_NOT_MET,
            "the image 2.0.0 of engine needs adas >= 2.0.1, but adas would run 2.0.0",
        ),
        (
            [needing((0, "1.0.0+1"))],
            Rule.DEPENDENCY_NOT_MET,
            "the image 2.0.0 of engine needs engine >= 1.0.0+1, but engine runs 1.0.0",
        ),
        (
            [needing((2, "1.0.0"), (9, "1.0.0"))],
            Rule.NO_SUCH_IMAGE_NUMBER,
            "the image 2.0.0 of engine depends on image number 9, which no ECU of vehicle VIN1 has (it has 1: engine, 2: adas)",
        ),
    ],
)
def test_a_refused_dependency_is_named_with_ecu_and_versions(offers: list[Offer], rule: Rule, reason: str) -> None:
    for refusal in (judge_campaign(VEHICLE, offers), judge_check_in(VEHICLE, offers, job_id="job-1")):
        assert refusal is not None
        assert (refusal.rule, refusal.reason) == (rule, reason)


def test_a_dependency_on_a_silent_ecu_is_allowed_at_creation_only() -> None:
    silent = VehicleFacts("VIN1", (ENGINE, replace(ADAS, software_version="", security_counter=None)))

    assert judge_campaign(silent, [needing((2, "2.0.0"))]) is None
    refusal = judge_check_in(silent, [needing((2, "2.0.0"))], job_id="job-1")
    assert refusal is not None
    assert refusal.rule is Rule.DEPENDENCY_NOT_MET
    assert "adas has not reported what it runs" in refusal.reason
    assert judge_check_in(silent, [offer()], job_id="job-1") is None, "what nobody depends on need not be known"


def test_the_versions_after_a_campaign_leave_out_what_is_unknown() -> None:
    odd = replace(
        VEHICLE, ecus=(ENGINE, ADAS, replace(ADAS, image_number=5, software_version="latest", hardware_id="x"))
    )

    assert versions_after(odd, [offer("2.0.0")]) == {1: ImageVersion(2, 0, 0), 2: ImageVersion(1, 0, 0)}


def test_an_ecu_in_its_bootloader_can_get_an_image_that_depends_on_itself() -> None:
    rescued = replace(VEHICLE, ecus=(replace(ENGINE, software_version="0.0.0"), ADAS))

    assert judge_check_in(rescued, [needing((0, "1.5.0"))], job_id="job-1") is None
    assert judge_check_in(rescued, [needing((0, "1.5.0"), (2, "2.0.0"))], job_id="job-1") is not None


HEX_FILE = PayloadCustom.model_validate({"format": "Intel HEX", "segments": [{"address": 0, "length": 16}]})
GATE = EcuFacts(
    "gate", "S3", "gate-mcu", image_number=3, takes_programs=True, takes_patches=False, software_version="1.9"
)


def program(version: str) -> Offer:
    return Offer("gate-mcu", version, 0, payload=HEX_FILE)


def with_gate(order: VersionOrder, *known: str, runs: str = "1.9") -> VehicleFacts:
    return VehicleFacts(
        "VIN1", (ENGINE, replace(GATE, versions=VersionRule(order, known), software_version=runs, security_counter=9))
    )


@pytest.mark.parametrize(
    ("order", "known", "runs", "offered", "rule"),
    [
        (VersionOrder.NUMERIC, (), "1.9", "1.10", None),
        (VersionOrder.NUMERIC, (), "1.10", "1.9", Rule.NOT_NEWER),
        (VersionOrder.NUMERIC, (), "1.9", "V2", Rule.WRONG_VERSION),
        (VersionOrder.LIST, ("B", "A"), "B", "A", None),
        (VersionOrder.LIST, ("B", "A"), "A", "B", Rule.NOT_NEWER),
        (VersionOrder.LIST, ("B", "A"), "C", "A", Rule.VERSION_UNKNOWN),
        (VersionOrder.LIST, ("B", "A"), "B", "C", Rule.WRONG_VERSION),
        (VersionOrder.NONE, (), "2026 b", "2025 a", None),
        (VersionOrder.NONE, (), "2026 b", "2026 b", Rule.NOT_NEWER),
        (VersionOrder.SEMVER, (), "1.9", "2.0.0", Rule.VERSION_UNKNOWN),
        (VersionOrder.SEMVER, (), "1.9.0", "2.0", Rule.WRONG_VERSION),
        (VersionOrder.NONE, (), "0.0.0", "A", None),
    ],
)
def test_versions_are_compared_in_the_order_of_their_ecu(
    order: VersionOrder, known: tuple[str, ...], runs: str, offered: str, rule: Rule | None
) -> None:
    refusal = judge_check_in(with_gate(order, *known, runs=runs), [program(offered)], job_id="job-1")
    assert (refusal.rule if refusal else None) is rule


def test_a_version_that_is_never_taken_is_refused_before_the_vehicle_has_reported_anything() -> None:
    refusal = judge_campaign(with_gate(VersionOrder.NUMERIC, runs=""), [program("V2")])
    assert refusal is not None
    assert refusal.rule is Rule.WRONG_VERSION
    assert "gate" in refusal.reason
    assert "numeric" in refusal.reason


@pytest.mark.parametrize(
    ("offered", "words"),
    [
        (replace(program("2.0.0"), hardware_id="engine-mcu-a"), "engine takes MCUboot images.*Intel HEX"),
        (offer(hardware_id="gate-mcu"), "gate takes program files.*MCUboot image"),
    ],
)
def test_an_image_and_a_program_file_are_not_mistaken_for_each_other(offered: Offer, words: str) -> None:
    refusal = judge_campaign(with_gate(VersionOrder.NONE), [offered])
    assert refusal is not None
    assert refusal.rule is Rule.WRONG_PAYLOAD
    assert re.search(words, refusal.reason)


def test_a_program_file_cannot_be_encrypted() -> None:
    refusal = judge_campaign(with_gate(VersionOrder.NONE), [replace(program("2"), is_encrypted=True)])
    assert refusal is not None
    assert refusal.rule is Rule.NO_ENCRYPTION_KEY
    assert "takes program files" in refusal.reason


def test_an_ecu_without_an_order_of_minimum_versions_is_not_depended_on_nor_stated() -> None:
    vehicle = with_gate(VersionOrder.NUMERIC, runs="2.0.0")
    assert 3 not in versions_after(vehicle, [program("3.0.0")])
    refusal = judge_campaign(vehicle, [needing((3, "1.0.0"))])
    assert refusal is not None
    assert refusal.rule is Rule.DEPENDENCY_NOT_MET
    assert "numeric" in refusal.reason
