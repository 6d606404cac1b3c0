"""The choice between patch and full image, the space and time it takes, and the pauses between attempts."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from otabench.bench.backoff import Backoff
from otabench.bench.gateway.errors import ManifestRefused
from otabench.bench.gateway.jobs.planning import (
    PlannedTransfer,
    choose_transfers,
    ecu_images,
    expected_times,
    needed_bytes,
)
from otabench.bench.gateway.trust.manifest import KnownEcu, Plan, PlannedEcu, PlannedPatch, RemoteFile, judge_plan
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.slot_table import Slot, SlotState
from otabench.proto.uptane import ManifestCustom, PayloadCustom
from otabench.proto.version_order import VersionOrder, VersionRule

_PATCH = PlannedPatch(RemoteFile("p", 100, "b" * 64), base_version="1.0.0")
_ENGINE = PlannedEcu("engine", "E1", "mcu", "2.0.0", 1, RemoteFile("i", 1000, "a" * 64), _PATCH)
_ADAS = replace(_ENGINE, ecu="adas", serial="A1", image=RemoteFile("j", 3000, "c" * 64), patch=None)
_PLAN = Plan(ManifestCustom(vin="V", job_id="j", campaign_id="c"), 0.0, (_ENGINE, _ADAS))
_FROM = {"engine": "1.0.0", "adas": "1.0.0"}


def test_a_patch_is_chosen_only_for_the_version_it_is_made_for() -> None:
    assert [(t.ecu, t.file.path, t.is_patch) for t in choose_transfers(_PLAN, _FROM)] == [
        ("engine", "p", True),
        ("adas", "j", False),
    ]
    assert [t.file.path for t in choose_transfers(_PLAN, {"engine": "0.9.0"})] == ["i", "j"]


def test_room_is_needed_for_the_full_image_too_that_a_patch_may_fall_back_to() -> None:
    assert needed_bytes(_PLAN, _FROM) == 1000 + 100 + 3000


def test_the_ecus_get_their_files_and_the_signed_targets() -> None:
    engine, adas = ecu_images(_PLAN, _FROM, metadata=b"targets", path_of=lambda file: Path("/d") / file.sha256)
    assert (engine.patch, engine.patch_length, engine.image_length) == (Path("/d") / ("b" * 64), 100, 1000)
    assert (adas.patch, adas.patch_length, adas.image) == (None, 0, Path("/d") / ("c" * 64))
    assert engine.metadata == b"targets"


def test_ecus_of_one_bus_take_turns_and_buses_do_not_wait_for_each_other() -> None:
    transfers = choose_transfers(_PLAN, _FROM)
    one = expected_times(
        transfers, metadata_bytes=0, bus_of={"engine": "a", "adas": "a"}, line_payload_bytes_per_s=100.0
    )
    two = expected_times(
        transfers, metadata_bytes=0, bus_of={"engine": "a", "adas": "b"}, line_payload_bytes_per_s=100.0
    )
    assert (one.installing_s, two.installing_s) == (31.0 + 4.0, 30.0 + 4.0)


def test_ecus_boot_together_so_that_eight_take_little_longer_than_one() -> None:
    file = RemoteFile("i", 0, "a" * 64)
    transfers = [PlannedTransfer(f"ecu{number}", file, is_patch=False) for number in range(8)]
    one, eight = (
        expected_times(chosen, metadata_bytes=0, bus_of={}, line_payload_bytes_per_s=1.0).installing_s
        for chosen in (transfers[:1], transfers)
    )
    assert one < eight < 2 * one


def test_waits_double_up_to_the_most_and_begin_anew_after_success() -> None:
    waits = Backoff(first_s=1.0, max_s=4.0, source=random.Random(1))
    for whole_s in (1.0, 2.0, 4.0, 4.0):
        assert whole_s / 2 <= waits.next_s() <= whole_s
    waits.reset()
    assert waits.next_s() <= 1.0


def test_an_ecu_in_its_bootloader_is_judged_by_no_counter_of_an_image_that_does_not_run() -> None:
    image = PlannedEcu("engine", "E1", "mcu", "2.0.0", 1, RemoteFile("i", 1000, "a" * 64), None)
    plan = Plan(ManifestCustom(vin="V", job_id="j", campaign_id="c"), 0.0, (image,))

    def judge(state: SlotState, version: str) -> None:
        slots = (Slot(state, "1.0.0", 0xFFFF), Slot(SlotState.INVALID, "", 0))
        identity = EcuIdentity("engine", "E1", "mcu", version, 0, 0, slots)
        judge_plan(plan, vin="V", job_id="j", known=[KnownEcu("engine", "E1", "mcu")], identities={"engine": identity})

    judge(SlotState.INVALID, "0.0.0")
    with pytest.raises(ManifestRefused, match="release counter 1, lower than 65535"):
        judge(SlotState.CONFIRMED, "1.0.0")


HEX_FILE = PayloadCustom.model_validate({"format": "Intel HEX", "segments": [{"address": 0, "length": 16}]})
RAW_FILE = PayloadCustom.model_validate(
    {"format": "raw binary", "start_address": 16, "segments": [{"address": 16, "length": 9}]}
)


def plan_for(version: str, payload: PayloadCustom | None, *, patch: PlannedPatch | None = None) -> Plan:
    image = PlannedEcu("gate", "G1", "mcu", version, 0, RemoteFile("i", 1000, "a" * 64), patch, payload=payload)
    return Plan(ManifestCustom(vin="V", job_id="j", campaign_id="c"), 0.0, (image,))


def judge_gate(plan: Plan, known: KnownEcu, *, runs: str) -> None:
    # A counter that another image left in the table says nothing about a program file.
    slots = (Slot(SlotState.CONFIRMED, runs, 7), Slot(SlotState.EMPTY, "", 0))
    identity = EcuIdentity("gate", "G1", "mcu", runs, 0, 0, slots)
    judge_plan(plan, vin="V", job_id="j", known=[known], identities={"gate": identity})


GATE = KnownEcu(
    "gate", "G1", "mcu", takes_programs=True, takes_patches=False, versions=VersionRule(VersionOrder.NUMERIC)
)


def test_a_program_file_is_accepted_in_the_order_of_its_ecu_and_handed_over_with_its_format() -> None:
    for payload, start in ((HEX_FILE, None), (RAW_FILE, 16)):
        plan = plan_for("1.10", payload)
        judge_gate(plan, GATE, runs="1.9")
        (image,) = ecu_images(plan, {"gate": "1.9"}, metadata=b"", path_of=lambda file: Path(file.sha256))
        assert image.payload is not None
        assert (image.payload.file_format, image.payload.start_address) == (payload.format, start)
        assert image.patch is None


@pytest.mark.parametrize(
    ("version", "payload", "patch", "known", "words"),
    [
        ("1.9", HEX_FILE, None, GATE, "is 1.9, gate runs 1.9 already"),
        ("1.8", HEX_FILE, None, GATE, "is 1.8, gate runs 1.9 already"),
        ("V2", HEX_FILE, None, GATE, "gate: version 'V2': expected numbers"),
        ("2.0", HEX_FILE, None, replace(GATE, memory=((0, 15),)), r"outside the memory, at 0x00000000 \(16 bytes\)"),
        ("2.0", None, None, GATE, "is an MCUboot image, gate takes program files"),
        (
            "2.0",
            HEX_FILE,
            None,
            KnownEcu("gate", "G1", "mcu"),
            "is a program file .Intel HEX., gate takes MCUboot images",
        ),
        (
            "2.0",
            None,
            PlannedPatch(RemoteFile("p", 1, "b" * 64), "1.9"),
            KnownEcu("gate", "G1", "mcu", takes_patches=False),
            "has a patch for gate, which does not take patches",
        ),
    ],
)
def test_what_an_ecu_does_not_take_is_refused_by_name(
    version: str, payload: PayloadCustom | None, patch: PlannedPatch | None, known: KnownEcu, words: str
) -> None:
    with pytest.raises(ManifestRefused, match=words):
        judge_gate(plan_for(version, payload, patch=patch), known, runs="1.9")
