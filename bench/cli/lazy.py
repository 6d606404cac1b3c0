"""Groups of commands whose modules are imported when a command is called: `otabench --help` stays quick.

    Group("can", "Look at SocketCAN interfaces.", [Lazy("up", "Set up an interface.", lambda: import_module("…").up), …])

A command's one-line summary is written beside its name; a test checks that it equals the first line of the command's help.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

_HELP_OPTIONS: Final = {"help_option_names": ["-h", "--help"]}
_TYPE_BEHIND_NAME: Final = re.compile(r"^(  \[?[A-Z][A-Z|=\[\]. ]*) (<[^>]+>)", re.MULTILINE)
"""In the help of an argument: its name as it is shown, and the Python type that typer adds."""


@dataclass(frozen=True)
class Lazy:
    """A command that is not imported yet.

    Attributes:
        name: as it is typed.
        summary: one line for the list of commands, shown whole.
        function: imports the command's function and returns it.
        ignore_unknown_options: pass words that look like unknown options on as arguments.
    """

    name: str
    summary: str
    function: Callable[[], Callable[..., Any]]
    ignore_unknown_options: bool = False

    def load(self) -> Any:
        """Import the function and return it as a click command."""
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        settings = _HELP_OPTIONS | {"ignore_unknown_options": self.ignore_unknown_options}
        app.command(cls=_Command, context_settings=settings)(self.function())
        return get_command(app)


class _Command(TyperCommand):
    """A command whose help does not show the Python types of arguments that have a name for the user."""

    def get_help(self, ctx: Any) -> str:
        """Return the help."""
        # Replaced by as many spaces: the columns are laid out already.
        return _TYPE_BEHIND_NAME.sub(lambda found: found[1] + " " * (len(found[2]) + 1), super().get_help(ctx))


class Group(TyperGroup):
    """A group of lazy commands and of other groups."""

    def __init__(self, name: str | None, summary: str, entries: Sequence[Lazy | Group], **settings: Any) -> None:
        fixed = {"no_args_is_help": True, "rich_markup_mode": None, "context_settings": _HELP_OPTIONS}
        self.summary = summary
        self.entries = {entry.name or "": entry for entry in entries}
        names = dict.fromkeys(self.entries)  # only the keys are used, for "did you mean"
        super().__init__(**settings | fixed | {"name": name, "help": summary, "commands": names})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, imported now; None where there is none of that name."""
        entry = self.entries.get(cmd_name)
        if not isinstance(entry, Lazy):
            return entry
        command = entry.load()
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands, each with its whole summary, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.entries.items()])
