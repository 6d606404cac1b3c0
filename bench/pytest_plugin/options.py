"""The options of the plugin, as ``pytest_addoption`` adds them. ``plugin`` reads them; the user's table is in docs/pytest.md."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import pytest

from otabench.bench.pytest_plugin.capabilities import CAPABILITIES

_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "--bench": {
        "metavar": "FILE",
        "dest": "otabench_file",
        "help": "bench file (default: $OTABENCH_BENCH, else the built-in simulators)",
    },
    "--bench-wait": {
        "metavar": "SECONDS",
        "dest": "otabench_wait_s",
        "type": float,
        "default": 0.0,
        "help": "seconds to wait until another run releases the bench (default: 0)",
    },
    "--bench-ecu": {
        "metavar": "NAME",
        "dest": "otabench_ecu",
        "default": "",
        "help": "the ECU that the fixture `ecu` gives",
    },
    "--bench-runs": {
        "metavar": "DIR",
        "dest": "otabench_runs",
        "default": "",
        "help": "where the run's folder is made: logs, captures, trace, evidence (default: `runs` in pytest's rootdir)",
    },
    "--bench-pace": {
        "action": "store_true",
        "dest": "otabench_pace",
        "help": "make virtual buses as slow as their bit rate (default: as fast as they go)",
    },
    "--bench-destructive": {
        "action": "store_true",
        "dest": "otabench_destructive",
        "help": "run tests marked destructive, which may damage a board's contents",
    },
    "--keep-can-log": {
        "action": "store_true",
        "dest": "otabench_keep_can_log",
        "help": "keep the evidence of every test (CAN log, pcap, trace, logs), not only of those that fail",
    },
    "--require": {
        "metavar": "NAMES",
        "help": "comma-separated capabilities that must be present: a test that misses one fails instead of being skipped. "
        f"{', '.join(CAPABILITIES)}, hil, feature, feature:NAME, or all",
    },
}
# These two may also come from the environment, so that CI and a Makefile can set them without changing the command.
_FROM_ENVIRONMENT: Final = {"--bench": "OTABENCH_BENCH", "--require": "OTABENCH_REQUIRE"}


def add_options(group: pytest.OptionGroup) -> None:
    """Add the options to a group of pytest's parser."""
    for name, arguments in _OPTIONS.items():
        default = {"default": os.environ.get(_FROM_ENVIRONMENT[name], "")} if name in _FROM_ENVIRONMENT else {}
        group.addoption(name, **{**arguments, **default})
