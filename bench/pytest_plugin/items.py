"""One test of a run: what it is called, whether it uses the bench, and how it ends where something is missing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, NoReturn

import pytest

from otabench.bench.pytest_plugin.demands import Missing
from otabench.bench.pytest_plugin.run import BenchRun

RUN: Final = pytest.StashKey[BenchRun]()
"""Of the configuration: the run."""
FAILED: Final = pytest.StashKey[bool]()
"""Of an item: a phase of it failed."""
BENCH_FIXTURE: Final = "_otabench"
"""The fixture behind all fixtures of the bench. Its own name: users' fixtures may be called ``bench``, too."""
_MAX_READABLE_BYTES: Final = 120
"""Of a folder's name; a file system takes 255 bytes, and a letter may have four."""


def folder_name(nodeid: str) -> str:
    """Return a test's name as a folder's: a readable part, and a digest that keeps different tests apart.

    Parameters such as ``a/b`` and ``a b`` have the same readable part.
    """
    replaced = "".join(character if character.isalnum() or character in "._-" else "_" for character in nodeid)
    # The end is kept, because the parameters are there.
    readable = replaced.encode(errors="replace")[-_MAX_READABLE_BYTES:].decode(errors="ignore").strip("_.")
    digest = hashlib.sha256(nodeid.encode(errors="surrogatepass")).hexdigest()[:10]
    return f"{readable}-{digest}".lstrip("-")


def evidence_folder(run_folder: Path, nodeid: str) -> Path:
    """Return the folder of a test's files and evidence; it may not exist."""
    return run_folder / "tests" / folder_name(nodeid)


def uses_bench(item: pytest.Item) -> bool:
    """Return whether a test asks for the bench by one of its fixtures."""
    return BENCH_FIXTURE in getattr(item, "fixturenames", ())


def refuse(run: BenchRun, missing: Missing) -> NoReturn:
    """End a test for which something is missing: skip it, or fail it where that is required."""
    if missing in run.required:
        pytest.fail(missing.failure_text, pytrace=False)
    pytest.skip(missing.skip_text)
