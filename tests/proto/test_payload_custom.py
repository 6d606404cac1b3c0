"""What signed metadata may state about a program file."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from otabench.proto.uptane import MAX_SEGMENTS, PayloadCustom, TargetCustom

HEX = {"format": "Intel HEX", "segments": [{"address": 0x1000, "length": 16}]}


def test_a_program_file_has_addresses_of_its_own_and_a_binary_has_one_that_is_given() -> None:
    assert PayloadCustom.model_validate(HEX).start_address is None
    raw = {"format": "raw binary", "start_address": 0x1000, "segments": [{"address": 0x1000, "length": 16}]}
    assert PayloadCustom.model_validate(raw).start_address == 0x1000


def segments(*parts: tuple[int, int]) -> list[dict[str, int]]:
    return [{"address": address, "length": length} for address, length in parts]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"format": "a picture"}, "format"),
        ({"start_address": 0}, "has its own addresses"),
        ({"format": "raw binary"}, "needs a start address"),
        ({"format": "raw binary", "start_address": 0}, "one segment, at its start address"),
        ({"segments": []}, "at least 1 item"),
        ({"segments": segments(*((n * 32, 16) for n in range(MAX_SEGMENTS + 1)))}, f"at most {MAX_SEGMENTS} items"),
        ({"segments": segments((0x1000, 0))}, "greater than or equal to 1"),
        ({"segments": segments((-1, 16))}, "greater than or equal to 0"),
        ({"segments": segments((0x1000, 16), (0x1008, 16))}, "overlap"),
        ({"segments": segments((0x2000, 16), (0x1000, 16))}, "not in the order"),
        ({"segments": segments((0xFFFF_FFF8, 16))}, "outside a memory of 4 GiB"),
        ({"format": "VBF", "segments": segments((0x1000, 16), (0x1000, 16))}, "overlap"),
    ],
)
def test_a_statement_that_contradicts_itself_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PayloadCustom.model_validate({**HEX, **changed})


def test_compressed_data_may_be_longer_in_the_file_than_the_space_to_the_next_segment() -> None:
    assert PayloadCustom.model_validate({"format": "VBF", "segments": segments((0x1000, 48), (0x1020, 16))})


@pytest.mark.parametrize(
    "more",
    [
        {"requires": [{"image_number": 2, "version": "1.0.0"}]},
        {"encryption": {"path": "e", "length": 1, "sha256": "0" * 64, "public_key": "0" * 64}},
    ],
)
def test_a_program_file_has_no_encryption_and_no_dependencies(more: dict[str, Any]) -> None:
    target = {"ecu_serial": "S", "hardware_id": "h", "version": "A", "release_counter": 0, "payload": HEX}
    assert TargetCustom.model_validate(target).payload is not None
    with pytest.raises(ValidationError, match="neither patch nor encryption nor dependencies"):
        TargetCustom.model_validate({**target, **more})
