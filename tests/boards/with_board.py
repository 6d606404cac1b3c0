"""Runs a command on a mixed bench: ``python -m tests.boards.with_board [--boards adas] -- pytest tests/e2e tests/diagnostics``.

The engine stays simulated on a vcan; the others are boards behind a LAWICEL adapter on slcan0 (``tests.boards.rig``). The command
finds the bench file in OTABENCH_BENCH, so that pytest with the plugin needs nothing else. Exit status: the command's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.boards import rig
from tests.boards.rig import Rig
from tests.e2e.living_bench import IMAGE_SIZE_BYTES, QUICK_ECU, VERSIONS


def main(arguments: list[str]) -> int:
    """Entry point. Exit status 125 where this machine cannot have such a bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.boards.with_board")
    parser.add_argument("--boards", default="adas", help="ECUs of the default bench that become boards, by commas")
    parser.add_argument("command", nargs="+", help="put -- in front")
    options = parser.parse_args(arguments)
    if rig.missing():
        print(f"with_board: {rig.missing()}", file=sys.stderr)
        return 125
    with (
        tempfile.TemporaryDirectory(prefix="otabench-board-") as folder,
        Rig(
            Path(folder),
            boards=options.boards.split(","),
            version=VERSIONS[0],
            size_bytes=IMAGE_SIZE_BYTES,
            ecu_timing=QUICK_ECU,
        ) as boards,
    ):
        environment = {**os.environ, "OTABENCH_BENCH": str(boards.bench_file)}
        return subprocess.run(options.command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
