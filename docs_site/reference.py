"""The reference pages, generated from the code: one function for each page, which returns Markdown.

``PAGES`` lists them. tests/docs holds that every command, option, fixture, marker and key is in them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Final

from pydantic import BaseModel

from docs_site import commands, models, plugin
from otabench.bench.topology import bench_file
from otabench.bench.topology.model import Topology
from otabench.bench.uds.profile import Profile
from otabench.bench.uds.sequence.profile import SequenceProfile
from otabench.bench.uds.sequence.steps import AnyStep, Sequence
from otabench.bench.uds.sequence.values import Value

DEFAULT_PROFILE: Final = "iso14229-ab"


def command_line() -> str:
    """Return the page of all commands, with their arguments and options."""
    parts = [
        "# Command line",
        "Every command has `-h`. Commands that print facts have `--json`.",
        "An error is one line on stderr with what, where and the remedy. The exit status is then 1, or 2 for wrong usage.",
    ]
    parts += [commands.section(command) for command in commands.all_commands()]
    return "\n\n".join(parts) + "\n"


def fault_kinds() -> str:
    """Return the page of the faults, as `otabench fault ECU list` prints them."""
    return (
        "# Faults\n\n"
        "As `otabench fault ECU list` prints them. They are set in a running bench (`otabench fault engine silent count=3`), at its "
        'start (`--fault engine:silent:count=3`), or in a test (`fault("silent", count=3)`).\n\n'
        f"```text\n{commands.output_of('fault', 'engine', 'list')}```\n"
    )


def pytest_plugin() -> str:
    """Return the page of the plugin's fixtures, markers and options."""
    return (
        "\n\n".join(
            [
                "# Fixtures, markers and options of the pytest plugin",
                "[The pytest plugin](../pytest.md) explains how they work together.",
                "## Fixtures",
                *(plugin.fixture_section(fixture) for fixture in plugin.fixtures()),
                "## Markers",
                *(f"### `{name}`\n\n{text}" for name, text in plugin.markers().items()),
                "## Options",
                *(plugin.option_section(option) for option in plugin.options()),
            ]
        )
        + "\n"
    )


def bench_file_keys() -> str:
    """Return the page of the bench file's keys, and the commented file that `otabench bench init` writes."""
    return (
        "# Bench file\n\n"
        "`otabench bench init FILE` writes a commented file, `otabench bench check FILE` checks one. An unknown key is an error. "
        "`NAME` stands for a name that you choose.\n\n"
        f"{models.table(Topology)}\n\n"
        f"## The commented file\n\n```yaml\n{bench_file.commented_text()}```\n"
    )


def profile_keys() -> str:
    """Return the page of the flash profile's keys, and the shipped profile."""
    shipped = (
        resources.files("otabench.bench.uds.profiles").joinpath(f"{DEFAULT_PROFILE}.yaml").read_text(encoding="utf-8")
    )
    return (
        "# Flash profile\n\n"
        "The order of steps, identifiers, sizes and times of one kind of ECU. `profile` of an ECU in the bench file names a shipped "
        "one, or a file. An unknown key is an error.\n\n"
        f"{models.table(Profile)}\n\n"
        f"## The shipped profile `{DEFAULT_PROFILE}`\n\n```yaml\n{shipped}```\n"
    )


def sequence_keys() -> str:
    """Return the page of the keys of a profile with sequences, and of all kinds of steps and values in it."""
    steps, values = models.tagged(AnyStep), models.tagged(Value)
    named: dict[type[BaseModel], str] = {Sequence: "list of steps"}
    named |= dict.fromkeys(steps.values(), "step") | dict.fromkeys(values.values(), "value")
    parts = [
        "# Flash sequences",
        "The keys of a profile whose sequences are data. [Flash profiles](../profiles.md) explains templates, patterns and loops.",
        "`otabench profile show NAME` prints a shipped one.",
        "## The file",
        models.table(SequenceProfile, named=named),
        "## Steps",
    ]
    parts += [
        f"### `{tag}`\n\n{models.summary(step)}\n\n{models.table(step, named=named)}" for tag, step in steps.items()
    ]
    parts.append("## Values")
    parts += [
        f"### `{tag}`\n\n{models.summary(value)}\n\n{models.table(value, named=named)}" for tag, value in values.items()
    ]
    return "\n\n".join(parts) + "\n"


PAGES: Final[dict[str, Callable[[], str]]] = {
    "reference/commands.md": command_line,
    "reference/faults.md": fault_kinds,
    "reference/pytest.md": pytest_plugin,
    "reference/bench-file.md": bench_file_keys,
    "reference/profile.md": profile_keys,
    "reference/sequences.md": sequence_keys,
}
"""Path below `docs`, and what makes the page."""
