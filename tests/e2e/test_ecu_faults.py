"""An ECU that fails in the middle: the vehicle ends on one confirmed version, and the reason names ECU and step."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from otabench.bench.launcher.keys import make_keys
from otabench.bench.launcher.options import TransferPolicy
from otabench.bench.report import figures
from otabench.proto.job_states import JobState
from tests.e2e.living_bench import LivingBench
from tests.waiting import eventually

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.feature("fault", ecu="engine"),
    pytest.mark.feature("fault", ecu="adas"),
]


# Every fault, each ECU with two of them. That the engine does not boot is in three tests below.
@pytest.mark.clause("R156 7.2.2.1.1")
@pytest.mark.parametrize(
    ("ecu", "fault", "parameters"),
    [
        pytest.param("adas", "boot-fail", {}, marks=pytest.mark.every_bench),
        ("engine", "hang", {"after_s": 0.0}),
        ("engine", "hang", {}),
        ("adas", "crash", {"after_s": 0.02}),
        pytest.param("engine", "boot-fail", {}, marks=pytest.mark.exhaustive),
        pytest.param("adas", "hang", {"after_s": 0.0}, marks=pytest.mark.exhaustive),
        pytest.param("adas", "hang", {}, marks=pytest.mark.exhaustive),
        pytest.param("engine", "crash", {"after_s": 0.02}, marks=pytest.mark.exhaustive),
    ],
)
def test_a_new_image_that_does_not_run_rolls_both_ecus_back(
    living: LivingBench, ecu: str, fault: str, parameters: dict[str, float]
) -> None:
    living.bench.ecus.control_port(ecu).fault(fault, **parameters)
    living.start_campaign()
    living.approve()
    job = living.expect_unchanged(JobState.ROLLED_BACK)
    assert ecu in job.reason


def test_a_failed_boot_and_the_rollback_of_both_ecus_stand_in_the_report(living: LivingBench) -> None:
    started = datetime.now(UTC).replace(microsecond=0)
    living.bench.ecus.control_port("engine").fault("boot-fail")
    job_id = living.start_campaign()
    living.approve()
    living.expect_unchanged(JobState.ROLLED_BACK)
    stored = stored_in(living, job_id)
    assert set(stored["engine"]) >= {
        "P1601-00 a new image did not come up: the image did not come up",
        "P1602-00 rolled back to the confirmed image: not confirmed within its boots or time",
    }
    reverted = re.compile(r"P1602-00 rolled back .*: slot \d was left by the tester \(31 01 0212\)")
    assert [text for text in stored["adas"] if reverted.fullmatch(text)], "healthy itself, reverted with the other"
    for at in (at for codes in stored.values() for at in codes.values()):
        assert started <= at <= datetime.now(UTC)


def stored_in(living: LivingBench, job_id: str) -> dict[str, dict[str, datetime]]:
    """Return what the report says of each ECU's trouble codes that were stored in this job, with their time."""
    eventually(
        lambda: {event.ecu for event in living.events(job_id, ["ecu.dtcs"])} == set(living.bench.topology.ecus),
        "the gateway has read the trouble codes",
        interval_s=0.05,
    )
    line = re.compile(rf"(.*) \(job {job_id}, (\S+ \S+) UTC(?:, \d+ times)?\)")
    found = figures.dtcs(living.events(job_id), since_ns=0)
    matches = {ecu: [line.fullmatch(text) for text in texts] for ecu, texts in found.items()}
    return {
        ecu: {match[1]: datetime.fromisoformat(f"{match[2]}+00:00") for match in each if match}
        for ecu, each in matches.items()
    }


@pytest.mark.every_bench
def test_an_update_succeeds_after_one_that_was_rolled_back(living: LivingBench) -> None:
    living.bench.ecus.control_port("engine").fault("boot-fail")
    living.start_campaign()
    living.approve()
    living.expect_unchanged(JobState.ROLLED_BACK)
    living.bench.ecus.control_port("engine").clear()
    living.start_campaign()
    living.approve()
    living.expect_updated()


@pytest.mark.parametrize("transferred", [1, pytest.param(9000, marks=pytest.mark.exhaustive), 20000])
def test_an_ecu_power_cycled_during_the_transfer_is_programmed_again(living: LivingBench, transferred: int) -> None:
    living.bench.ecus.control_port("adas").fault("power-cycle-at", bytes=transferred, off_s=0.3)
    living.start_campaign(transfer=TransferPolicy.FULL)
    living.approve()
    living.expect_updated()


@pytest.mark.clause("R156 7.2.2.1.1")
def test_power_cut_inside_a_flash_operation_is_recovered(living: LivingBench) -> None:
    living.bench.ecus.control_port("engine").fault("power-cut", flash_operation=25, off_s=0.3)
    living.start_campaign(transfer=TransferPolicy.FULL)
    living.approve()
    living.expect_updated()


def rot_both_slots(living: LivingBench, ecu: str) -> None:
    """No image of the ECU may run any more: it stays in its bootloader."""
    port = living.bench.ecus.control_port(ecu)
    for slot in (0, 1):
        port.fault("bit-rot", slot=slot, offset=0x300)
    port.power("cycle")
    eventually(lambda: port.state()["mode"] == "bootloader", "the bootloader runs")


@pytest.mark.parametrize("transfer", [TransferPolicy.AUTO, TransferPolicy.FULL])
def test_an_ecu_without_a_valid_slot_is_rescued_by_a_campaign(living: LivingBench, transfer: TransferPolicy) -> None:
    rot_both_slots(living, "engine")
    job_id = living.start_campaign(transfer=transfer)
    living.approve()
    living.expect_updated()
    sent = [(event.ecu, event.data["kind"]) for event in living.events(job_id, ["flash.transfer"])]
    assert ("engine", "full") in sent and ("engine", "delta") not in sent, "there is nothing to patch in a bootloader"


def test_a_rescue_that_the_other_ecu_spoils_can_be_repeated(living: LivingBench) -> None:
    """All or nothing; the ECU in its bootloader has nothing to return to, and must stay programmable."""
    rot_both_slots(living, "engine")
    living.bench.ecus.control_port("adas").fault("boot-fail")
    living.start_campaign()
    living.approve()
    job = living.bench.jobs.wait_for_end(timeout_s=60)
    assert job.state in (JobState.ROLLED_BACK, JobState.FAILED) and "adas" in job.reason, job
    living.bench.ecus.control_port("adas").clear()
    living.start_campaign()
    living.approve()
    living.expect_updated()


def test_a_refusal_ends_the_job_with_ecu_step_and_response_code(living: LivingBench) -> None:
    living.bench.ecus.control_port("adas").fault("nrc", service=0x34, nrc=0x70)
    living.start_campaign()
    living.approve()
    job = living.expect_unchanged(JobState.FAILED)
    assert "adas" in job.reason
    assert "0x70" in job.reason or "uploadDownloadNotAccepted" in job.reason.replace(" ", "")


def test_a_silent_ecu_ends_the_job_by_name(living: LivingBench) -> None:
    living.start_campaign()
    living.bench.jobs.wait_for(JobState.WAITING_FOR_APPROVAL, timeout_s=60)
    living.bench.ecus.control_port("engine").fault("silent")
    living.bench.jobs.decide("install")
    job = living.bench.jobs.wait_for_end(timeout_s=90)
    assert job.state is JobState.FAILED, job.reason
    assert "engine" in job.reason


def test_an_ecu_silent_for_a_moment_does_not_matter(living: LivingBench) -> None:
    living.start_campaign()
    living.bench.jobs.wait_for(JobState.WAITING_FOR_APPROVAL, timeout_s=60)
    living.bench.ecus.control_port("engine").fault("silent", count=4)
    living.bench.jobs.decide("install")
    living.expect_updated()


@pytest.mark.clause("R156 7.2.1.1")
def test_an_image_signed_by_another_key_is_refused_by_the_ecu_itself(living: LivingBench, tmp_path: Path) -> None:
    """The cloud is talked into another image key; the ECUs hold on to theirs."""
    bench = living.bench
    other = tmp_path / "keys"
    make_keys(other, bench.topology, log=tmp_path / "keys.log")
    public_key = bench.setup.keys.image_public_key
    kept = public_key.read_bytes()
    from otabench.bench.firmware import images as firmware

    images = firmware.build(
        bench.topology,
        keys_dir=other,
        out_dir=tmp_path / "firmware",
        versions=(living.next_version,),
        size_bytes=8192,
    )
    try:
        shutil.copy(other / "image" / "signing.pub.pem", public_key)
        bench.processes.restart("cloud-control")
        living.start_campaign(
            images={ecu: made[living.next_version].path.read_bytes() for ecu, made in images.items()},
            transfer=TransferPolicy.FULL,
        )
        living.approve()
        job = living.expect_unchanged(JobState.FAILED)
    finally:
        public_key.write_bytes(kept)
        bench.processes.restart("cloud-control")
    assert "signature" in job.reason
