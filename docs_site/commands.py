"""The commands of ``otabench`` as Markdown, read from their definitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from typer.main import get_group
from typer.testing import CliRunner

from otabench.bench.cli.app import app
from otabench.bench.cli.lazy import Group


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        words: that call it, e.g. ``otabench bench run``.
        help: its whole help text.
        usage: what follows the words.
        parameters: name and help of each argument and option, as `-h` prints them.
        is_group: whether it only holds other commands.
    """

    words: str
    help: str
    usage: str
    parameters: tuple[tuple[str, str], ...]
    is_group: bool


def all_commands() -> list[Command]:
    """Return every command, groups before what they hold."""
    return list(_below(get_group(app), "otabench", None))


def section(command: Command) -> str:
    """Return a command's part of the page."""
    level = min(4, 1 + len(command.words.split()))
    parts = [f"{'#' * max(2, level)} `{command.words}`"]
    if not command.is_group:
        parts.append(f"```text\n{command.words} {command.usage}\n```")
    parts.append(command.help)
    if command.parameters and not command.is_group:
        rows = [f"| <code>{_cell(name)}</code> | {_cell(text)} |" for name, text in command.parameters]
        parts.append("\n".join(["| argument or option | meaning |", "|---|---|", *rows]))
    return "\n\n".join(part for part in parts if part)


def output_of(*words: str) -> str:
    """Return what a command prints."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def _below(command: Any, words: str, parent: Any) -> Iterator[Command]:
    context = command.make_context(words.rpartition(" ")[2], [], parent=parent, resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    is_group = isinstance(command, Group)
    yield Command(
        words=words,
        help=_paragraphs(command.help or ""),
        usage=" ".join(command.collect_usage_pieces(context)),
        parameters=tuple((record[0], record[1] or "") for record in records if record is not None),
        is_group=is_group,
    )
    if is_group:
        for name in command.list_commands(context):
            yield from _below(command.get_command(context, name), f"{words} {name}", context)


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _cell(text: str) -> str:
    """Return a text for a cell of a table: a bar would end the cell, and ``<path>`` would be a tag."""
    return escape(" ".join(text.split()), quote=False).replace("|", "&#124;")
