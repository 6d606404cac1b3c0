"""A manifest's statements about the versions in the vehicle are compared with its images and with what the ECUs run."""

from __future__ import annotations

import pytest

from otabench.bench.gateway.errors import ManifestRefused
from otabench.bench.gateway.trust.manifest import Plan, PlannedEcu, RemoteFile
from otabench.bench.gateway.trust.vehicle_versions import explain, judge_versions
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.slot_table import Slot, SlotState
from otabench.proto.image_format import Dependency, ImageVersion
from otabench.proto.uptane import ManifestCustom, VehicleEcuCustom


def plan(*needs: tuple[int, str], adas: str | None = "1.0.0") -> Plan:
    """Return a manifest for the engine alone, which states what adas runs."""
    dependencies = tuple(Dependency(number, ImageVersion.parse(version)) for number, version in needs)
    vehicle = [VehicleEcuCustom(image_number=1, ecu="engine", ecu_serial="E", version="2.0.0")]
    if adas is not None:
        vehicle.append(VehicleEcuCustom(image_number=2, ecu="adas", ecu_serial="A", version=adas))
    image = PlannedEcu("engine", "E", "mcu", "2.0.0", 2, RemoteFile("x", 1, "00"), None, dependencies=dependencies)
    custom = ManifestCustom(vin="V", job_id="j", campaign_id="c", vehicle=tuple(vehicle))
    return Plan(custom, 0.0, (image,))


def runs(**versions: str) -> dict[str, EcuIdentity]:
    return {
        name: EcuIdentity(
            ecu=name,
            serial=name[0].upper(),
            hardware_id="mcu",
            software_version=version,
            active_slot=0,
            boots_left=0,
            slots=(Slot(SlotState.CONFIRMED, version, 1),),
        )
        for name, version in versions.items()
    }


@pytest.mark.parametrize("adas", ["1.0.0", "1.0.1"])
def test_an_ecu_outside_the_manifest_may_run_the_stated_version_or_a_newer_one(adas: str) -> None:
    judge_versions(plan((2, "1.0.0")), runs(engine="1.0.0", adas=adas))


def test_a_manifest_that_overstates_another_ecus_version_is_refused() -> None:
    with pytest.raises(
        ManifestRefused, match=r"states that adas will run 1\.0\.0, but has no image for it: adas runs 0\.9\.0"
    ):
        judge_versions(plan(), runs(engine="1.0.0", adas="0.9.0"))


def test_a_manifest_without_dependencies_and_promises_is_accepted() -> None:
    judge_versions(plan(adas=None), runs(engine="1.0.0", adas="1.0.0"))


@pytest.mark.parametrize(
    ("need", "words"),
    [
        ((2, "1.0.1"), "its image 2.0.0 for engine needs adas >= 1.0.1 (adas would run 1.0.0)"),
        ((0, "1.5.0"), "its image 2.0.0 for engine needs engine >= 1.5.0 before the update (engine runs 1.0.0)"),
    ],
)
def test_a_dependency_that_is_not_met_is_refused_with_ecu_and_versions(need: tuple[int, str], words: str) -> None:
    with pytest.raises(ManifestRefused) as refused:
        judge_versions(plan(need), runs(engine="1.0.0", adas="1.0.0"))
    assert str(refused.value) == words


def test_an_ecu_in_its_bootloader_is_not_asked_what_it_ran_before() -> None:
    judge_versions(plan((0, "1.5.0")), runs(engine="0.0.0", adas="1.0.0"))


def test_without_stated_dependencies_there_is_nothing_to_explain() -> None:
    assert explain(plan(), plan().ecus[0], runs="1.0.0") == ""
