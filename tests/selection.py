"""Which part of the suite runs where: the options by which ``setup/run-tests`` divides it among host and guests.

``--kernel-can needed`` keeps the tests that need a CAN interface of the kernel: those marked ``vcan``, and those that use the shared
bench. ``--kernel-can unneeded`` keeps the others. Every test is in one of the two parts (``test_selection.py``).

``--bench-share 1/5`` keeps a fifth of the tests, for a bench file other than the default one, on which all of them run. Each
test's name decides which fifth it is in, so an added test moves no other. Tests marked ``every_bench`` are always kept.

``--exhaustive`` adds what ``make test`` leaves to ``make test-all``: the tests marked ``exhaustive``.

Guests take whole files, one after the other in the order of ``LONGEST_FIRST``: a long file that begins last keeps one guest busy while
the others have nothing left.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from otabench.bench.pytest_plugin.items import uses_bench

NEEDED, UNNEEDED = "needed", "unneeded"
LONGEST_FIRST = (
    "tests/boards/test_interrupted.py",
    "tests/sweeps/test_updates_on_vcan.py",
    "tests/e2e/test_ecu_faults.py",
    "tests/e2e/test_gateway_killed.py",
    "tests/diagnostics/test_services.py",
    "tests/e2e/test_cloud_faults.py",
    "tests/diagnostics/test_sessions_and_security.py",
)
"""Files that take more than 40 s in a guest; all others follow."""


def add_options(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("otabench suite")
    group.addoption(
        "--kernel-can", choices=(NEEDED, UNNEEDED), help="only the tests that need a kernel with CAN, or do not"
    )
    group.addoption(
        "--kernel-can-files", metavar="FILE", help="where to list the files whose tests --kernel-can leaves out"
    )
    group.addoption("--exhaustive", action="store_true", help="full products of combinations and whole sweeps, too")
    group.addoption(
        "--bench-share", metavar="I/N", help="the I-th of N shares of the tests, and those marked every_bench"
    )


def needs_kernel_can(item: pytest.Item) -> bool:
    """Return whether a test needs a CAN interface of the kernel."""
    return item.get_closest_marker("vcan") is not None or uses_bench(item)


def is_in_share(nodeid: str, share: str) -> bool:
    """Return whether a test belongs to a share ``I/N``.

    Raises:
        pytest.UsageError: the share is not two numbers I <= N.
    """
    index, _, count = share.partition("/")
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise pytest.UsageError(f"--bench-share {share}: write it as I/N, for example 1/5")
    return zlib.crc32(nodeid.encode()) % int(count) == int(index) - 1


def rank(nodeid: str) -> int:
    """Return the place of a test's file among the files."""
    file = nodeid.partition("::")[0]
    return LONGEST_FIRST.index(file) if file in LONGEST_FIRST else len(LONGEST_FIRST)


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remove from ``items`` what the options leave out."""
    where, share = config.getoption("--kernel-can"), config.getoption("--bench-share")
    kept = list(items)
    if not config.getoption("--exhaustive"):
        kept = [item for item in kept if not item.get_closest_marker("exhaustive")]
    if where:
        here = kept
        kept = [item for item in here if needs_kernel_can(item) == (where == NEEDED)]
        if list_file := config.getoption("--kernel-can-files"):
            here_only = set(kept)
            left_out = dict.fromkeys(item.nodeid.partition("::")[0] for item in here if item not in here_only)
            _write_at_once(Path(list_file), "".join(f"{name}\n" for name in left_out))
    if share:
        kept = [i for i in kept if i.get_closest_marker("every_bench") or is_in_share(i.nodeid, share)]
    if len(kept) < len(items):
        still_there = set(kept)
        config.hook.pytest_deselected(items=[item for item in items if item not in still_there])
        items[:] = kept


def _write_at_once(path: Path, text: str) -> None:
    """Write a file that ``setup/run-tests`` waits for, and that every worker of pytest-xdist writes."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(text)
    new.replace(path)
