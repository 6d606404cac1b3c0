"""Whether a run is up: in this process, in another, in one that was killed, and in another kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from otabench.bench import run_mark
from otabench.bench.run_mark import RunMark

HOLD = """
import sys, time
from pathlib import Path
from otabench.bench.run_mark import RunMark
RunMark(Path(sys.argv[1]), keep_keys=False).make()
print("made", flush=True)
time.sleep(60)
"""


def test_a_run_is_up_from_its_mark_s_making_to_its_removal(tmp_path: Path) -> None:
    mark = RunMark(tmp_path, keep_keys=True)
    assert not run_mark.is_up(tmp_path)
    mark.make()
    assert run_mark.is_up(tmp_path) and run_mark.keeps_keys(tmp_path) and not run_mark.was_cut_off(tmp_path)
    mark.remove()
    mark.remove()
    assert not run_mark.is_up(tmp_path) and list(tmp_path.iterdir()) == []


def test_a_run_whose_process_was_killed_was_cut_off(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "made\n"
        assert run_mark.is_up(tmp_path) and not run_mark.was_cut_off(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not run_mark.is_up(tmp_path) and run_mark.was_cut_off(tmp_path)


def test_a_mark_of_another_kernel_counts_as_long_as_it_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / run_mark.NAME
    path.write_text(json.dumps({"pid": 1, "kernel": "that of a guest", "guest": "12-ab34", "keep_keys": False}))
    assert run_mark.is_up(tmp_path) and run_mark.guest_of(tmp_path) == "12-ab34"
    long_ago_s = time.time() - 3600
    os.utime(path, (long_ago_s, long_ago_s))
    assert not run_mark.is_up(tmp_path) and run_mark.was_cut_off(tmp_path)


def test_a_mark_that_is_no_json_and_not_locked_is_of_a_run_that_ended(tmp_path: Path) -> None:
    (tmp_path / run_mark.NAME).write_text("{")
    os.utime(tmp_path / run_mark.NAME, (0, 0))
    assert not run_mark.is_up(tmp_path) and not run_mark.keeps_keys(tmp_path)
