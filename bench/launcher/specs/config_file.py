"""Write a process's configuration file into the run's folder."""

from __future__ import annotations

from pathlib import Path

from otabench.bench.launcher.run_setup import RunSetup
from otabench.proto.process_config import ProcessConfig


def write_config(setup: RunSetup, process: str, config: ProcessConfig) -> Path:
    """Write the configuration of a process, readable by this user only, and return its path."""
    path = setup.folder.config(process)
    path.touch(mode=0o600)  # before the contents: it may hold secrets
    path.write_text(config.model_dump_json(indent=1), encoding="utf-8")
    return path
