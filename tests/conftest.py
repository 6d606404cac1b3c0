"""Capabilities of the machine the tests run on: what is missing is a skip here and a failure where it is required.

``--require vcan,browser,mosquitto`` (CI) turns the skip into a failure that names the capability.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest


def _has_vcan() -> bool:
    if not Path("/sys/class/net/vcan0").exists():
        return False
    try:
        with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as probe:
            probe.bind(("vcan0",))
    except (OSError, AttributeError):
        return False
    return True


def _has_browser() -> bool:
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


CAPABILITIES: dict[str, tuple[Callable[[], bool], str]] = {
    "vcan": (_has_vcan, "no vcan0 on this kernel: run by `setup/with-can`, or `setup/vcan.sh` where the kernel has CAN"),
    "browser": (_has_browser, "chromium or chromedriver is missing: setup/packages.sh test"),
    "mosquitto": (lambda: shutil.which("mosquitto") is not None, "mosquitto is missing: setup/packages.sh run"),
    "tshark": (lambda: shutil.which("tshark") is not None, "tshark is missing: setup/packages.sh test"),
    "candump": (lambda: shutil.which("candump") is not None, "can-utils is missing: setup/packages.sh run"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        default=os.environ.get("OTABENCH_REQUIRE", ""),
        help=f"capabilities whose absence is a failure, by commas, or all: {', '.join(CAPABILITIES)}",
    )


def pytest_configure(config: pytest.Config) -> None:
    for name, (_, reason) in CAPABILITIES.items():
        config.addinivalue_line("markers", f"{name}: needs {name} ({reason})")
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    required = _required(config)
    unknown = required - set(CAPABILITIES)
    if unknown:
        raise pytest.UsageError(f"--require: unknown capability {', '.join(sorted(unknown))}")


def _required(config: pytest.Config) -> set[str]:
    names = {name for name in str(config.getoption("--require")).split(",") if name}
    return set(CAPABILITIES) if names == {"all"} else names


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name, (present, reason) in CAPABILITIES.items():
        if item.get_closest_marker(name) is None or present():
            continue
        if name in _required(item.config):
            pytest.fail(f"required capability {name!r} is missing: {reason}", pytrace=False)
        pytest.skip(f"{name}: {reason}")
