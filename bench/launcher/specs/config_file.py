"""Write what a process reads at its start into the run's folder: its configuration file, and the token of the control ports."""

from __future__ import annotations

from pathlib import Path

from otabench.bench.launcher.run_setup import RunSetup
from otabench.proto import private_files
from otabench.proto.process_config import ProcessConfig


def write_config(setup: RunSetup, process: str, config: ProcessConfig) -> Path:
    """Write the configuration of a process, readable by this user only, and return its path."""
    path = setup.folder.config(process)
    path.touch(mode=0o600)  # before the contents: it may hold secrets
    path.write_text(config.model_dump_json(indent=1), encoding="utf-8")
    return path


def write_control_token(setup: RunSetup) -> Path:
    """Write the token of the control ports, readable by this user only, and return the file's path.

    A file and not an argument: everybody can read the arguments of a process.
    """
    private_files.write(setup.folder.control_token, setup.secrets.control_token + "\n")
    return setup.folder.control_token
