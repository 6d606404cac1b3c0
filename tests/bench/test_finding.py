"""Suggestions for misspelt names."""

from __future__ import annotations

import pytest

from otabench.bench.errors import UnknownName
from otabench.bench.faults.control_port import FAULT_KINDS
from otabench.bench.finding import nearest


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("boot-fial", "boot-fail"),
        ("BOOT_FAIL", "boot-fail"),
        ("boot", "boot-fail"),
        ("dropped", "drop"),
        ("Bit_Rot", "bit-rot"),
        ("bo", None),
        ("explode", None),
    ],
)
def test_a_fault_that_is_spelt_differently_is_suggested(typed: str, meant: str | None) -> None:
    assert nearest(typed, FAULT_KINDS) == meant
    assert (f"did you mean {meant!r}?" in str(UnknownName("fault", typed, FAULT_KINDS))) is (meant is not None)


def test_a_name_with_capitals_is_suggested_as_it_is_written() -> None:
    assert nearest("engine_l", ["Engine-L", "Engine-R"]) == "Engine-L"
