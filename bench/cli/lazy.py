"""Groups of commands whose modules are imported when a command is called: `otabench --help` stays quick.

    Group("can", "CAN interfaces.", [Lazy("up", "Set up an interface.", lambda: command(import_module("…").up)), …])

A command's one-line summary is written beside its name; a test holds it against the command's own help.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


@dataclass(frozen=True)
class Lazy:
    """A command or group that is not imported yet.

    Attributes:
        name: as it is typed.
        summary: one line for the list of commands, shown whole.
        load: imports it and returns it: a ``typer.Typer`` with one command, or a `Group`.
    """

    name: str
    summary: str
    load: Callable[[], Any]


class Group(TyperGroup):
    """A group of lazy commands."""

    def __init__(self, name: str | None, help_text: str, entries: Sequence[Lazy], **settings: Any) -> None:
        fixed = {"no_args_is_help": True, "rich_markup_mode": None, "context_settings": HELP_OPTIONS}
        names = {entry.name: None for entry in entries}  # for "did you mean"
        super().__init__(**settings | fixed | {"name": name, "help": help_text, "commands": names})
        self.entries = {entry.name: entry for entry in entries}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, imported now; None where there is none of that name."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        loaded = entry.load()
        command = get_command(loaded) if isinstance(loaded, typer.Typer) else loaded
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands, each with its whole summary, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(entry.name, entry.summary) for entry in self.entries.values()])


def command(function: Callable[..., Any], **settings: Any) -> typer.Typer:
    """Return a typer application of one command."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(context_settings=HELP_OPTIONS | settings)(function)
    return app
