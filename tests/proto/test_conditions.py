"""Conditions of an update: their texts, and how they are judged."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from otabench.proto.conditions import (
    PARKED,
    Condition,
    ConditionSource,
    Quantity,
    describe,
    standard_sources,
    unmet,
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("speed_km_h<=0", "speed_km_h<=0"),
        (" supply_v >= 12.50 ", "supply_v>=12.5"),
        ("ambient_degc>=-20", "ambient_degc>=-20"),
    ],
)
def test_a_text_is_read_and_written(text: str, canonical: str) -> None:
    assert str(Condition.parse(text)) == canonical
    assert Condition.parse(canonical) == Condition.parse(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a condition"),
        ("speed_km_h<0", "is not a condition"),
        ("supply_v>=nan", "is not a condition"),
        ("supply_v>=1e400", "is not a condition"),
        ("supply_v>=" + "9" * 5000, "is not a condition"),
        ("speed<=0", "'speed' is not a quantity; choose from speed_km_h,"),
    ],
)
def test_other_texts_are_refused_with_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(")):
        Condition.parse(text)


@pytest.mark.parametrize(
    ("text", "value", "met"),
    [
        ("speed_km_h<=0", 0, True),
        ("speed_km_h<=0", 0.1, False),
        ("supply_v>=12", 12, True),
        ("supply_v>=12", 11.99, False),
        ("ignition=0", 0, True),
        ("ignition=0", 1, False),
        ("speed_km_h<=0", None, False),
        ("speed_km_h<=0", math.nan, False),
        ("speed_km_h<=0", -math.inf, False),
    ],
)
def test_a_value_meets_a_condition(text: str, value: float | None, met: bool) -> None:
    assert Condition.parse(text).is_met(value) is met


def test_what_is_unmet_is_told_with_its_value() -> None:
    values = {Quantity.SPEED: 12.0, Quantity.SUPPLY: 16.5}
    assert [describe(each, values.get(each.quantity)) for each in unmet(PARKED, values)] == [
        "speed_km_h is 12, must be at most 0",
        "engine_rpm is not known, must be at most 0",
        "supply_v is 16.5, must be at most 16",
    ]


def test_a_source_reads_its_bytes_and_nothing_else() -> None:
    sources = standard_sources("engine")
    assert sources[Quantity.ENGINE_SPEED].read(bytes.fromhex("0C80")) == 800
    assert sources[Quantity.SUPPLY].read(bytes.fromhex("34BC")) == pytest.approx(13.5)
    assert sources[Quantity.SUPPLY].read(b"\x34") is None
    assert ConditionSource(ecu="bms", identifier=0x0100, start=2, length=1, factor=0.5).read(b"\0\0\xc8") == 100


@pytest.mark.parametrize(
    "fields", [{}, {"ecu": "engine"}, {"identifier": 1}, {"ecu": "e", "identifier": 1, "value": 1}, {"value": math.inf}]
)
def test_a_source_without_one_origin_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ConditionSource.model_validate(fields)
