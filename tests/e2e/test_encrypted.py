"""Encrypted campaigns end to end: the gateway never holds an image, the ECUs decrypt what is theirs and nothing else."""

from __future__ import annotations

import time

import pytest
from nacl.public import PrivateKey

from otabench.bench.launcher import registration
from otabench.bench.launcher.options import TransferPolicy
from otabench.proto.job_states import JobState
from otabench.proto.trace import TraceEvent, read
from tests.e2e.living_bench import LivingBench

pytestmark = [pytest.mark.mosquitto]


def image_downloads(living: LivingBench, job_id: str) -> list[TraceEvent]:
    """Return the job's 34 requests to the slot."""
    exchanges = living.events(job_id, ["uds.exchange"])
    return [event for event in exchanges if str(event.data["request"]).lower()[:2] == "34"]


@pytest.mark.parametrize(
    ("transfer", "kind", "data_format"), [(TransferPolicy.FULL, "full", "01"), (TransferPolicy.DELTA, "delta", "11")]
)
def test_both_ecus_are_updated_and_the_gateway_never_has_an_image(
    living: LivingBench, transfer: TransferPolicy, kind: str, data_format: str
) -> None:
    before_ns = time.monotonic_ns()
    job_id = living.start_campaign(transfer=transfer, encrypt=True)
    living.approve()
    living.expect_updated()

    served = [event for event in read(living.bench.folder.trace) if event.event == "artifact.served"]
    paths = {str(event.data["path"]) for event in served if event.mono_ns > before_ns}
    assert len(paths) == 2, f"one file an ECU: {paths}"
    assert all(path.startswith("encrypted/") for path in paths), f"something plain was downloaded: {paths}"
    transfers = [event for event in living.events(job_id, ["flash.transfer"]) if event.data["kind"] != "metadata"]
    assert {(event.ecu, event.data["kind"], event.data.get("encrypted")) for event in transfers} == {
        ("engine", kind, True),
        ("adas", kind, True),
    }
    formats = {str(event.data["request"]).replace(" ", "")[2:4] for event in image_downloads(living, job_id)}
    assert formats == {"00", data_format}, "metadata is plain, the image is not"


def test_an_artifact_for_another_key_is_refused_by_the_ecu_and_the_reason_says_so(living: LivingBench) -> None:
    """The cloud is given another public key for the engine: it encrypts for somebody else."""
    bench = living.bench
    right = bench.setup.keys.public_keys(bench.topology.ecus)
    wrong = {**right, "engine": bytes(PrivateKey.generate().public_key)}
    registration.register(bench.operator, bench.topology, bench.setup.keys, public_keys=wrong)
    try:
        living.start_campaign(encrypt=True)
        living.approve()
        job = living.expect_unchanged(JobState.FAILED)
        living.expect_cloud_knows(JobState.FAILED)
    finally:
        registration.register(bench.operator, bench.topology, bench.setup.keys)
    assert "engine" in job.reason
    assert "decryption failed" in job.reason
    living.start_campaign(encrypt=True)
    living.approve()
    living.expect_updated()


def test_an_ecu_power_cycled_in_the_middle_of_an_encrypted_transfer_is_programmed_again(living: LivingBench) -> None:
    living.bench.ecus.control_port("adas").fault("power-cycle-at", bytes=9000, off_s=0.3)
    living.start_campaign(transfer=TransferPolicy.FULL, encrypt=True)
    living.approve()
    living.expect_updated()
