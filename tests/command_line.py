"""Run ``otabench`` in this process, for tests of what it prints and how it ends.

A new interpreter takes most of a second, in a guest kernel several, and that for every command of a test. What only a process
of its own can show (signals, pipes, what is imported at the start) is tested with one, in ``tests/bench/cli``.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from otabench.bench.cli import main


def otabench(*arguments: str) -> int:
    """Return the exit status of a command; its output goes where the test's own goes."""
    with patch.object(sys, "argv", ["otabench", *arguments]):
        try:
            main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def run_otabench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Return exit status, stdout and stderr of a command that is run in the folder ``cwd``, without a terminal."""
    # As in a process: ``main`` chooses how characters are written that the encoding does not have.
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.chdir(cwd), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = otabench(*arguments)
    return subprocess.CompletedProcess(["otabench", *arguments], status, _text(output), _text(errors))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8")
