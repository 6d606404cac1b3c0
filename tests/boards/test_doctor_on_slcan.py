"""`otabench doctor` and `otabench can status` on a real interface whose adapter reports states and errors, read by a real kernel.

Linux' slcan driver makes controller states, carrier and error frames of what the adapter writes on its serial line.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from otabench.bench.bus import link_state
from otabench.bench.topology import bench_file
from tests.boards import adapter
from tests.boards.adapter import ADAPTER, BEHIND, Adapter, plugged_in
from tests.boards.wiring import Wiring
from tests.command_line import run_otabench
from tests.needs import needs
from tests.waiting import eventually

pytestmark = [pytest.mark.vcan, needs(not adapter.missing(), adapter.missing())]


@pytest.fixture
def plugged(tmp_path: Path) -> Iterator[Adapter]:
    text = bench_file.default_text().replace("vcan0", ADAPTER)
    (tmp_path / "slcan.bench.yaml").write_text(text, encoding="utf-8")
    with plugged_in(tmp_path) as made:
        yield made


def otabench(*arguments: str, cwd: Path) -> tuple[int, list[str]]:
    done = run_otabench(*arguments, cwd=cwd)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout.splitlines()


def about_the_bus(tmp_path: Path) -> tuple[int, list[str]]:
    """Return the doctor's exit status, and its lines about the interface and the bus."""
    status, lines = otabench("doctor", "--bench", "slcan.bench.yaml", cwd=tmp_path)
    return status, [line for line in lines if line[6:].startswith((ADAPTER, "bus powertrain"))]


def test_a_healthy_adapter_is_up_and_silent(plugged: Adapter, tmp_path: Path) -> None:
    status, lines = about_the_bus(tmp_path)
    assert status == 0, lines
    assert lines[0].startswith(f"ok    {ADAPTER}           slcan, up, error-active, 500 kbit/s, txqueuelen 1000")
    assert lines[1].endswith("received 0 frames in 0.5 s, no error frame")
    status, lines = otabench("can", "status", ADAPTER, cwd=tmp_path)
    assert (status, lines) == (0, [f"{ADAPTER}: slcan, up, ERROR-ACTIVE, 500 kbit/s, bus-off 0 times, txqueuelen 1000"])


@pytest.mark.parametrize(
    ("wiring", "words"),
    [
        (Wiring.ALONE, "its frames are not acknowledged"),
        (Wiring.WRONG_BIT_RATE, "every frame is destroyed"),
        (Wiring.NO_TERMINATION, "it reads back different bits from those it sent"),
    ],
)
def test_what_is_wrong_with_the_wires_is_told_from_the_kernels_error_frames(
    plugged: Adapter, tmp_path: Path, wiring: Wiring, words: str
) -> None:
    plugged.rewire(wiring)
    status, lines = about_the_bus(tmp_path)
    assert status == 1
    assert any(line.startswith("fail") and words in line for line in lines), lines


def test_bus_off_is_a_failure_whose_remedy_works(plugged: Adapter, tmp_path: Path) -> None:
    # given an adapter that left a shorted bus
    plugged.rewire(Wiring.SHORT)
    # when it is looked at, then it is told, with what to do
    status, lines = about_the_bus(tmp_path)
    assert status == 1
    remedy = f"otabench can up {ADAPTER} --bitrate 500000"
    assert lines[0].startswith(f"fail  {ADAPTER}           bus-off, once so far") and remedy in lines[0]
    assert lines[1].startswith("fail  bus powertrain   the CAN interface slcan0 is bus-off")
    status, lines = otabench("can", "status", ADAPTER, cwd=tmp_path)
    assert status == 1 and "BUS-OFF" in lines[0] and remedy in lines[0]
    # and this driver's kernel refuses what other drivers do
    refused = subprocess.run(["ip", "link", "set", ADAPTER, "type", "can", "restart"], capture_output=True, check=False)
    assert refused.returncode != 0
    # when the wires are mended and the remedy is followed, then frames pass again
    plugged.rewire(Wiring.HEALTHY)
    status, lines = otabench(*remedy.split()[1:], cwd=tmp_path)
    assert status == 0 and "ERROR-ACTIVE" in lines[-1]
    with subprocess.Popen(["candump", "-n", "1", "-T", "5000", BEHIND], stdout=subprocess.PIPE, text=True) as heard:
        subprocess.run(["cansend", ADAPTER, "123#1122"], check=True)
        assert "123   [2]  11 22" in heard.communicate()[0]


def test_an_adapter_that_comes_back_by_itself_leaves_the_kernel_without_carrier(
    plugged: Adapter, tmp_path: Path
) -> None:
    plugged.rewire(Wiring.SHORT)
    eventually(lambda: link_state.read(ADAPTER).is_off_bus, "the kernel has seen the bus-off")
    plugged.rejoin()
    status, lines = about_the_bus(tmp_path)
    assert status == 1
    assert "the controller recovered from bus-off by itself; the kernel still sends nothing" in lines[0]
