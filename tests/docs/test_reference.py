"""The generated reference pages have every command, option, fixture, marker and key that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from _pytest.fixtures import FixtureFunctionDefinition
from pydantic import BaseModel
from typer.main import get_group

from docs_site import models, plugin, reference
from otabench.bench.cli.app import app
from otabench.bench.cli.lazy import Group
from otabench.bench.faults.control_port import FAULT_KINDS
from otabench.bench.pytest_plugin import fixtures as fixtures_module
from otabench.bench.pytest_plugin import options as options_module
from otabench.bench.pytest_plugin.capabilities import CAPABILITIES
from otabench.bench.topology.model import Topology
from otabench.bench.uds.profile import Profile
from otabench.bench.uds.sequence.profile import SequenceProfile


def commands(group: Any, *above: str) -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        yield " ".join((*above, name)), command
        if isinstance(command, Group):
            yield from commands(command, *above, name)


def test_every_command_is_there_with_its_summary_arguments_and_options() -> None:
    page = unescape(reference.command_line())
    sections = dict(re.findall(r"^#+ `([^`]+)`\n(.*?)(?=^#+ `|\Z)", page, re.M | re.S))
    found = list(commands(get_group(app), "otabench"))
    assert len(found) > 30
    for words, command in found:
        text = sections[words]
        assert command.help.partition("\n")[0] in " ".join(text.split())
        if isinstance(command, Group):
            continue
        for parameter in command.params:
            for name in [] if parameter.hidden else parameter.opts if parameter.param_type_name == "option" else []:
                assert re.search(rf"<code>[^<]*(?<![\w-]){re.escape(name)}(?![\w-])", text), f"{words} {name}"
            if parameter.param_type_name == "argument":
                assert (parameter.help or "") in " ".join(text.split()), f"{words} {parameter.name}"


def test_every_fixture_is_there_with_its_docstring() -> None:
    public = {
        name: value._get_wrapped_function().__doc__
        for name, value in vars(fixtures_module).items()
        if isinstance(value, FixtureFunctionDefinition) and not name.startswith("_")
    }
    assert {"bench", "ecu", "campaign", "can_log"} <= public.keys()
    page = reference.pytest_plugin()
    assert {fixture.name for fixture in plugin.fixtures()} == public.keys()
    for name, docstring in public.items():
        assert f"### `{name}`" in page
        assert str(docstring).partition("\n")[0].replace("``", "`") in page


def test_every_marker_is_there(pytestconfig: pytest.Config) -> None:
    registered = {line.partition(":")[0].strip() for line in pytestconfig.getini("markers")}
    listed = plugin.markers()
    assert listed.keys() <= registered
    names = {re.split(r"\W", name)[0] for name in listed}
    assert names >= {*CAPABILITIES, "hil", "feature", "slow", "destructive"}
    assert all(f"### `{name}`\n\n{text}" in reference.pytest_plugin() for name, text in listed.items())


def test_every_option_of_the_plugin_is_there() -> None:
    written = set(re.findall(r'"(--[a-z-]+)"', Path(options_module.__file__).read_text(encoding="utf-8")))
    page = reference.pytest_plugin()
    assert len(written) > 6
    assert {option for option in written if not re.search(rf"### `{option}[ `]", page)} == set()


def keys_of_schema(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """Yield the name of every property of a JSON schema, however deep."""
    if "$ref" in schema:
        yield from keys_of_schema(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for name, inner in schema.get("properties", {}).items():
        yield name
        yield from keys_of_schema(inner, definitions)
    for inner in [*schema.get("anyOf", ()), *schema.get("allOf", ()), *schema.get("prefixItems", ())]:
        yield from keys_of_schema(inner, definitions)
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from keys_of_schema(inner, definitions)


@pytest.mark.filterwarnings(
    "ignore::pydantic.json_schema.PydanticJsonSchemaWarning"
)  # of defaults, which are not looked at
@pytest.mark.parametrize(
    ("model", "make"),
    [
        (Topology, reference.bench_file_keys),
        (Profile, reference.profile_keys),
        (SequenceProfile, reference.sequence_keys),
    ],
)
def test_every_key_of_a_file_is_there(model: type[BaseModel], make: Any) -> None:
    schema = model.model_json_schema(mode="validation")
    wanted = set(keys_of_schema(schema, schema.get("$defs", {})))
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", make(), re.M)
    assert len(wanted) > 25
    wanted.discard("steps")  # a sequence is written as the list itself
    assert wanted - {path.rpartition(".")[2] for path, _ in rows} == set()
    assert [path for path, values in rows if not values.strip()] == []


def test_a_key_has_type_range_default_and_meaning() -> None:
    keys = {key.path: key for key in models.keys(Topology)}
    bitrate = keys["buses.NAME.bitrate"]
    assert (bitrate.values, bitrate.default) == ("integer, ≥ 10,000, ≤ 1,000,000", "`500000`")
    assert bitrate.meaning.startswith("Nominal bit rate")
    assert (
        keys["ecus.NAME.functional_id"].default == "`0x7DF`"
        and "≤ 0x1FFFFFFF" in keys["ecus.NAME.functional_id"].values
    )
    assert keys["ecus.NAME.kind"].values == "`simulated`, `board`"
    assert keys["vehicle.vin"].default == "required"
    assert {"ecus.NAME.periodic[].name", "ecus.NAME.power.driver", "ecus.NAME.timing.boot_s"} <= keys.keys()


def test_every_kind_of_fault_is_there() -> None:
    page = reference.fault_kinds()
    assert [kind for kind in FAULT_KINDS if not re.search(rf"^{kind} ", page, re.M)] == []
