"""What is done when a run ends: the private keys that it made are removed, and its mark (``bench.run_mark``) with them.

A run's folder is evidence that people pass on: to a colleague, to CI, into an issue. So it must not hold what signs firmware or opens
ECUs. Keys that were given to the bench (``--keys``, ``keys`` of the bench file) are not the run's; they stay where they are.

A run that was cut off could not do this. ``end_cut_off`` does it at the start of the next run.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from otabench.bench import run_folder, run_mark
from otabench.bench.errors import BenchError
from otabench.bench.run_folder import RunFolder

_SECRETS: Final = frozenset({"security_secret", "hmi_pairing_code", "control_token"})
"""Keys of the processes' configuration files whose values are secret themselves; all others are paths of files."""
REMOVED: Final = "removed when the run ended"


def remove_secrets(folder: RunFolder) -> None:
    """Remove the keys that a run made, and the secrets in its configuration files.

    Raises:
        BenchError: something cannot be removed.
    """
    try:
        # Never follow a link: what it leads to was given to the bench, and is not this run's.
        if folder.keys.is_symlink():
            folder.keys.unlink()
        elif folder.keys.is_dir():
            shutil.rmtree(folder.keys)
        folder.control_token.unlink(missing_ok=True)
        # The broker reads its key from a folder of its own (``specs.mosquitto``).
        for copied in folder.configs.rglob("*.key"):
            copied.unlink()
        for path in sorted(folder.configs.glob("*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            blanked = _blanked(content)
            # A file without secrets keeps its bytes and its time.
            if blanked != content:
                path.write_text(json.dumps(blanked, indent=1), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{folder.root}: the run's private keys cannot be removed: {error}; remove {folder.keys} and {folder.configs} by hand"
        ) from error


def end_cut_off(runs_dir: Path) -> None:
    """Do what the end of a run does, for all runs that were cut off. What this user may not change is left."""
    for folder in run_folder.runs_in(runs_dir):
        with suppress(BenchError, OSError):
            if run_mark.was_cut_off(folder.root):
                if not run_mark.keeps_keys(folder.root):
                    remove_secrets(folder)
                (folder.root / run_mark.NAME).unlink(missing_ok=True)


def _blanked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: REMOVED if key in _SECRETS else _blanked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_blanked(inner) for inner in value]
    return value
