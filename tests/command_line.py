"""The command line in the test's own process: quicker than a process of its own, where nothing of that is tested."""

from __future__ import annotations

import pytest

from otabench.bench.cli import main


def otabench(*arguments: str) -> int:
    """Run the command line; return its exit status."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.argv", ["otabench", *arguments])
        main()
    return int(ended.value.code or 0)
