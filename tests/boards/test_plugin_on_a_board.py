"""A user's tests on a board: one that a test has switched off is on again for the next, as a simulator would be.

`make test` proves that on the shared mixed bench, where these are tests of ours (``tests/diagnostics/test_left_off.py``).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.boards import rig
from tests.boards.rig import Rig
from tests.e2e.living_bench import QUICK_ECU
from tests.needs import needs

pytestmark = [
    pytest.mark.vcan,
    pytest.mark.exhaustive,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    needs(not rig.missing(), rig.missing()),
]

USERS_TESTS = """
import pytest

def test_1_leaves_the_board_off(bench):
    bench.ecus.power("adas").off()

def test_2_finds_it_on(ecus):
    assert ecus["adas"].is_board and ecus["adas"].software_version() == "1.0.0"

def test_3_reaches_a_state_though_it_is_off(bench, ecus):
    bench.ecus.power("adas").off()
    bench.transition("default")
    assert ecus["adas"].software_version() == "1.0.0"
"""


def test_a_board_that_a_test_switched_off_is_tidied(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.mkdir()
    (users / "test_it.py").write_text(USERS_TESTS, encoding="utf-8")
    with Rig(tmp_path, boards=("adas",), size_bytes=12 * 1024, ecu_timing=QUICK_ECU) as boards:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--bench", str(boards.bench_file)],
            cwd=users, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout
