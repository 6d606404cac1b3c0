"""pytest runs inside pytest: a user's repository in a folder of its own.

What an inner run imports in this process, pytester takes out of ``sys.modules`` again; the plugin's lazy imports would then meet
two copies of one module. So all of them are imported here, once.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

import otabench.bench.launcher.lock
import otabench.bench.pytest_plugin.fixtures
import otabench.bench.pytest_plugin.guard
import otabench.bench.pytest_plugin.handles
import otabench.bench.pytest_plugin.properties
import otabench.bench.pytest_plugin.uds  # noqa: F401

BENCH_FILE = """
vehicle: {{vin: W0TABENCH00000003}}
buses:
  powertrain: {{interface: {interface}, channel: {channel}, bitrate: 500000, fd: {fd}}}
ecus:
  engine:
    {{kind: simulated, bus: powertrain, request_id: 0x6C0, response_id: 0x6C8, functional_id: 0x6CF, hardware_id: engine-mcu-a,
     image_size_bytes: 24576, features: [lambda-probe]}}
  adas:
    {{kind: {kind}, bus: powertrain, request_id: 0x6C1, response_id: 0x6C9, functional_id: 0x6CF, hardware_id: adas-soc-b,
     image_size_bytes: 24576{board}}}
"""
BOARD = f", serial: ADAS-1, security: {{secret: '{'ab' * 32}'}}"
UDP_PORT = 20_000 + os.getpid() % 10_000
"""Of this process: several run tests of this folder at the same time."""
UDP_BENCH_FILE = f"""
vehicle: {{vin: W0TABENCH00000004}}
buses:
  powertrain: {{interface: udp_multicast, channel: 239.74.163.61, port: {UDP_PORT}, hop_limit: 0}}
ecus:
  engine:
    {{kind: simulated, bus: powertrain, request_id: 0x6C0, response_id: 0x6C8, hardware_id: engine-mcu-a, image_size_bytes: 24576}}
  adas:
    {{kind: simulated, bus: powertrain, request_id: 0x6C1, response_id: 0x6C9, hardware_id: adas-soc-b, image_size_bytes: 24576}}
"""
"""A bench that needs no CAN in the kernel."""

BenchFile = Callable[..., str]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variables of this run, and nobody who may make the bench file's vcan99: a bench that is missing stays missing."""
    monkeypatch.setattr("otabench.bench.bus.vcan.can_make", lambda: False)
    for name in ("OTABENCH_BENCH", "OTABENCH_REQUIRE", "OTABENCH_NO_KERNEL_CAN", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bench_file(pytester: pytest.Pytester) -> BenchFile:
    """Write ``my.bench.yaml``; its name."""

    def write(
        *, interface: str = "socketcan", channel: str = "vcan99", kind: str = "simulated", fd: bool = False
    ) -> str:
        text = BENCH_FILE.format(
            interface=interface,
            channel=channel,
            kind=kind,
            fd=str(fd).lower(),
            board=BOARD if kind == "board" else "",
        )
        path = pytester.path / "my.bench.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write
