"""Which runs there are, and which one a user means."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from otabench.bench import run_folder
from otabench.bench.errors import UnknownName, WrongUsage
from otabench.bench.run_folder import LATEST, RunFolder

_MAX_NAMED: Final = 10
"""An error names that many of the newest runs."""


def find(runs_dir: Path, name: str) -> RunFolder:
    """Return the run that a user means: its name in ``runs_dir``, the first letters of it, ``latest``, or the path of its folder.

    Raises:
        UnknownName: the run does not exist.
        WrongUsage: several runs begin like that, or the path is not that of a run.
    """
    runs = run_folder.runs_in(runs_dir)
    wanted = Path(name)
    if len(wanted.parts) > 1 or wanted.is_absolute():
        resolved = wanted.resolve()
        if run_folder.is_run(resolved):
            return RunFolder(resolved)
        raise WrongUsage(f"{name}: not the folder of a run; `otabench runs list` lists those of {runs_dir}")
    if name == LATEST and runs:
        return runs[-1]
    found = [run for run in runs if run.root.name == name] or [
        run for run in runs if name and run.root.name.startswith(name)
    ]
    if len(found) > 1:
        names = ", ".join(run.root.name for run in found)
        raise WrongUsage(f"{name}: several runs begin like that: {names}; write one of them in full")
    if not found:
        raise UnknownName("run", name, [run.root.name for run in runs[-_MAX_NAMED:]], where=f"in {runs_dir}")
    return found[0]
