"""Filters over vehicles: what matches, the reason for what does not, and errors with their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabench.cloud.vehicle_filter import FilteredVehicle, FilterError, parse

CAR = FilteredVehicle(
    "W0TEST1",
    {"region": "eu", "model_year": "2024", "trim": "sport line", "or_not": "x"},
    {"engine": ("engine-mcu-a", "1.9.0"), "adas": ("adas-soc-b", "")},
)


@pytest.mark.parametrize(
    "text",
    [
        "region=eu",
        "region = 'eu' and model_year>=2023",
        "region=us or region=eu",
        "not region=us",
        "region!=us",
        "color!=red",
        "not (region=us or model_year<2024)",
        "vin in (A, W0TEST1)",
        "vin=W0T*",
        "hardware_id=adas-soc-b",
        "engine.version<1.10",
        "engine.version>=1.9 and engine.version<=1.9.0",
        "engine.hardware_id=engine-*",
        'trim="sport line"',
        "or_not=x",
        # "and" binds closer than "or"
        "region=eu or region=us and model_year=1",
    ],
)
def test_a_vehicle_matches(text: str) -> None:
    assert parse(text).explain(CAR) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("region=us", "region is eu, and not =us"),
        ("region=eu and model_year>2024", "model_year is 2024, and not >2024"),
        ("color=red", "color is not set, and not =red"),
        ("color<3", "color is not set, and not <3"),
        ("region<3", "region is eu, and not <3"),
        ("region=us or region=cn", "region is eu, and not =us; region is eu, and not =cn"),
        ("region in (us, cn)", "region is eu, and not in (us, cn)"),
        ("region!=eu", "region is eu, and not !=eu"),
        ("not region=eu", "excluded by not region=eu"),
        # no report yet
        ("adas.version<9", "adas.version is not set, and not <9"),
        ("brakes.version<9", "brakes.version is not set, and not <9"),
        # only "*" stands for other text
        ("region=e?", "region is eu, and not =e?"),
        ("region=[e]u", "region is eu, and not =[e]u"),
        ("vin=w0test1", "vin is W0TEST1, and not =w0test1"),
    ],
)
def test_a_vehicle_that_does_not_match_has_a_reason(text: str, reason: str) -> None:
    assert parse(text).explain(CAR) == reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "character 1: a name is expected"),
        ("region", "character 7: after 'region' one of = != <"),
        ("region=", "character 8: a value is expected"),
        ("region=eu model_year=1", "character 11: 'model_year' is not expected here: join"),
        ("region=eu and", "character 14: a name is expected"),
        ("(region=eu", "character 11: ')' is expected"),
        ("region in eu", "character 11: '(' is expected"),
        ("region in (eu cn)", "character 15: ')' is expected"),
        ("model_year>=new", "character 13: >= compares numbers and versions, and 'new' is neither"),
        ("region='eu", 'character 8: "\'" cannot stand here: close the quote'),
        ("region ! eu", "character 8: '!' cannot stand here"),
        ("and=1", "character 1: a name is expected"),
        ("engine.color=1", "character 1: 'engine.color': of an ECU there is .version and .hardware_id"),
        ("(" * 30 + "a=1" + ")" * 30, "nested more than 20 deep"),
        ("not " * 30 + "a=1", "nested more than 20 deep"),
        ("a=" + "1" * 4000, "4000 characters at most"),
    ],
)
def test_an_error_has_place_and_remedy(text: str, words: str) -> None:
    with pytest.raises(FilterError) as refused:
        parse(text)
    assert words in str(refused.value)


@given(st.text(alphabet="ab1.=!<>(),'\"* \tornotandi", max_size=40))
def test_any_text_is_a_filter_or_an_error(text: str) -> None:
    try:
        parse(text).explain(CAR)
    except FilterError as error:
        assert str(error).startswith("character ")
