"""Flash profiles of both kinds by name, and the facts of them that cloud and gateway use."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabench.bench.uds import flash_profiles
from otabench.bench.uds.errors import ProfileInvalid
from otabench.bench.uds.flash_profiles import facts_of
from otabench.bench.uds.profile import Profile
from otabench.bench.uds.sequence.profile import SequenceProfile
from otabench.bench.uds.sequence.sections import Decoding, DidText, SlotsKind, VersionOrder

SMALL = """\
name: small
sequences:
  programming:
    - for_each: block
      do: [{download: block}]
"""


def test_profiles_of_both_kinds_are_found_by_name() -> None:
    assert isinstance(flash_profiles.load("iso14229-ab"), Profile)
    assert isinstance(flash_profiles.load("single-bank"), SequenceProfile)
    assert {"iso14229-ab", "single-bank"} <= set(flash_profiles.shipped())


def test_the_profile_with_a_slot_table_has_the_facts_that_held_before() -> None:
    facts = facts_of("iso14229-ab")
    assert (facts.payload, facts.version_order, facts.takes_deltas) == ("container", VersionOrder.SEMVER, True)
    assert (facts.slots, facts.takes_metadata, facts.needs_former_image) == (SlotsKind.TABLE, True, False)


def test_a_profile_that_leaves_everything_out_is_a_single_bank_of_unordered_versions(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    facts = facts_of(str(path))
    assert (facts.payload, facts.version_order, facts.takes_deltas) == ("raw", VersionOrder.NONE, False)
    assert (facts.slots, facts.takes_metadata, facts.needs_former_image) == (SlotsKind.SINGLE, False, True)


@pytest.mark.parametrize("name", ["missing", "./missing.yaml"])
def test_a_profile_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ProfileInvalid, match="cannot be read"):
        facts_of(name)


def test_a_name_that_is_misspelt_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(ProfileInvalid, match="did you mean 'single-bank'"):
        facts_of("single-bnak")


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("slots: {kind: table}", "line 6, slots: did is the identifier of a slot table"),
        ("slots: {kind: double}", "line 6, slots kind: expected 'table', 'version_only' or 'single', found 'double'"),
        ("versions: {order: list}", "line 6, versions: order: list needs known"),
        ("versions: {order: list, known: [a, a]}", "line 6, versions: known: a version occurs twice"),
        ("payload: container", "line 6, payload: a container needs the address"),
        ("takes_deltas: true", "line 6, takes_deltas: a patch needs a data format: add payload.patch_data_format"),
        ("success: {by: version}", "line 6, success: the ECU reports no version: add identity.version"),
        ("success: {by: slot}", "line 6, success: the ECU has no slot table"),
        ("success: {by: sequence}", "line 6, success: sequences.verify has no steps"),
        ("confirm: sequence", "line 6, confirm: sequences.confirm has no steps"),
        ("confirm: itself", "line 6, confirm: whether the ECU has confirmed it shows in a slot table only"),
        ("revert: sequence", "line 6, revert: sequences.revert has no steps"),
        ("revert: reset_unconfirmed", "line 6, revert: an ECU with a single bank has no software to fall back to"),
        ("identity: {version: {dit: 0xF189}}", "line 6, identity version dit: unknown key: did you mean 'did'?"),
        ("identity: {version: {did: 1, join: .}}", "line 6, identity version: join is for hex and bcd"),
    ],
)
def test_a_section_that_does_not_fit_is_found_with_its_line(section: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL + section + "\n")
    with pytest.raises(ProfileInvalid) as caught:
        flash_profiles.load(str(path))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("how", "record", "text"),
    [
        ({}, b"1.2.3\0\0  \xff\xff", "1.2.3"),
        ({"decode": Decoding.UTF8}, "Überlast".encode(), "Überlast"),
        ({"decode": Decoding.HEX}, b"\x0a\xbc", "0ABC"),
        ({"decode": Decoding.BCD, "join": "."}, b"\x01\x02\x10", "1.2.10"),
        ({"decode": Decoding.BCD, "at": 1, "length": 2}, b"\xee\x20\x26\xee", "2026"),
    ],
)
def test_a_reported_text_is_decoded(how: dict[str, object], record: bytes, text: str) -> None:
    assert DidText.model_validate({"did": 0xF189, **how}).text_of(record) == text


@pytest.mark.parametrize(
    ("how", "record", "problem"),
    [
        ({}, b"", "an empty record is too short"),
        ({"length": 4}, b"1.2", "31 2E 32 is too short"),
        ({}, b"\xc3\x28", "C3 28 is not ASCII"),
        ({"decode": Decoding.BCD}, b"\x0a", "0A is not BCD"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(how: dict[str, object], record: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        DidText.model_validate({"did": 0xF189, **how}).text_of(record)
