"""A test that never ends by itself, with processes of its own: what ``test_run_tests.py`` interrupts. Not collected by its name."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from otabench.bench.launcher.fork_server import ForkServer


def test_it_sleeps(tmp_path: Path) -> None:
    server = ForkServer(preload=())
    child = server.spawn("timeit", ["-n", "1", "-r", "1", "import time; time.sleep(600)"], log=tmp_path / "log")
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    told = Path(os.environ["OTABENCH_SLEEPER"])
    told.with_suffix(".new").write_text(f"{os.getpid()} {server.pid} {child.pid} {program.pid}")
    told.with_suffix(".new").rename(told)
    try:
        time.sleep(600)
    finally:
        program.kill()
        server.close()
