"""``otabench with-can``: the program ``setup/with-can``, which an installed otabench has in its package."""

from __future__ import annotations

import os
from typing import Annotated, NoReturn

import typer

from otabench.bench import setup_programs
from otabench.bench.errors import BenchError

NAME = "with-can"


def become(arguments: list[str]) -> NoReturn:
    """Replace this process by ``with-can`` with these arguments.

    Raises:
        BenchError: it cannot be executed.
    """
    program = setup_programs.FOLDER.resolve() / NAME
    try:
        os.execve(program, [str(program), *arguments], {**os.environ, "OTABENCH_CALLED_AS": f"otabench {NAME}"})
    except OSError as error:
        raise BenchError(f"{program}: {error.strerror}; install otabench again: its files are not complete") from error


def with_can(arguments: Annotated[list[str] | None, typer.Argument(metavar="CMD")] = None) -> None:
    """Run a command on a kernel with CAN: this one if possible, else a guest kernel."""
    become(arguments or [])
