"""What the JUnit file says of adapters and commit, from folders as the kernel and git make them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from otabench.bench.pytest_plugin import properties
from otabench.bench.topology.entries import BusEntry


def test_an_adapter_is_told_with_its_driver_and_serial_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given can0 of an adapter with a serial number, as /sys/class/net shows it
    usb = tmp_path / "devices" / "1-4"
    interface, driver = usb / "1-4:1.0", tmp_path / "drivers" / "peak_usb"
    for folder in (interface, driver, tmp_path / "net" / "can0", tmp_path / "net" / "vcan0"):
        folder.mkdir(parents=True)
    (usb / "serial").write_text("00A7F2\n")
    (interface / "driver").symlink_to(driver)
    (tmp_path / "net" / "can0" / "device").symlink_to(interface)
    monkeypatch.setattr(properties, "_INTERFACES", tmp_path / "net")
    # then it is told, and of a virtual one nothing is made up
    real = BusEntry(channel="can0", fd=True, data_bitrate=2_000_000)
    told = properties.adapter(real)
    assert told == "socketcan can0, 500000 bit/s, FD 2000000 bit/s, driver peak_usb, serial 00A7F2"
    assert properties.adapter(BusEntry(channel="vcan0")) == "socketcan vcan0, 500000 bit/s"


def test_a_commit_with_changes_says_so_and_a_folder_without_one_has_none(tmp_path: Path) -> None:
    assert properties.git_commit(tmp_path) == ""
    who = ["-c", "user.name=A user", "-c", "user.email=user@example.org", "-c", "commit.gpgsign=false"]
    (tmp_path / "test_it.py").write_text("1\n")
    for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "tests"]):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
    head = subprocess.run(
        ["git", "-C", tmp_path, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert properties.git_commit(tmp_path) == head
    (tmp_path / "test_it.py").write_text("2\n")
    assert properties.git_commit(tmp_path) == f"{head}-dirty"
