"""Boards without hardware: simulated ECUs on a vcan of their own, reached through a LAWICEL adapter on a pseudo-terminal.

    bench ── slcan0 ── slcand ── pty ── tests.boards.lawicel ── vcan1 ── python -m ecu_firmware_sim

The bench is told nothing of all this but a bench file with ``kind: board``. Keys and the image a board is delivered with are
made beforehand, as a supplier would; power is switched by a command. ``pull`` and ``plug`` do to the adapter what a hand does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import yaml

from bench import firmware, ports, run_folder, topology
from bench.keys import make_keys
from bench.options import BenchOptions
from bench.process_setup import Ports, ProcessSetup
from bench.processes import Process, ProcessSpec, stop_all, wait_ready

ADAPTER: Final = "slcan0"
BEHIND: Final = "vcan1"
BESIDE: Final = "vcan2"
"""For the ECUs that stay simulated: vcan0 may be another test's, and its ECUs would answer too."""
_INTERFACES: Final = Path("/sys/class/net")
_PATIENCE_S: Final = 15.0
_ROOT: Final = Path(__file__).parents[2]


def missing() -> str:
    """What this machine lacks for a rig; empty where it has all."""
    if shutil.which("slcand") is None:
        return "slcand is missing: setup/packages.sh run"
    if os.geteuid() != 0:
        return "making slcan0 and vcan1 needs root (the guest kernel has it: WITH_CAN=guest)"
    return ""


@contextmanager
def vcans(*names: str) -> Iterator[None]:
    """Virtual interfaces that are there meanwhile."""
    with ExitStack() as stack:
        for name in names:
            _make_vcan(name)
            stack.callback(_ip, "link", "del", name)
        yield


class Rig:
    """Use as a context manager.

    Args:
        folder: where everything is made.
        boards: names of the default bench's ECUs that become boards; the others stay simulated on a vcan.
        version: the firmware the boards are delivered with.
        size_bytes: of firmware bodies.
        ecu_timing: of the boards.

    Attributes:
        bench_file, keys_dir: for the bench.
        control_ports: of the simulators that play the boards.
    """

    def __init__(
        self,
        folder: Path,
        *,
        boards: Sequence[str],
        version: str = "1.0.0",
        size_bytes: int | None = None,
        ecu_timing: Mapping[str, Any] | None = None,
    ) -> None:
        self.boards = tuple(boards)
        self.keys_dir = folder / "keys"
        self.bench_file = folder / "boards.bench.yaml"
        self.control_ports = dict(zip(self.boards, ports.free_ports(len(self.boards)), strict=True))
        self._folder = folder
        self._terminal = folder / "adapter.tty"
        self._options = BenchOptions(ecu_timing=dict(ecu_timing or {}), image_size_bytes=size_bytes)
        self._version = version
        self._stack = ExitStack()
        self._adapter: list[Process] = []

    def __enter__(self) -> Rig:
        with ExitStack() as stack:
            stack.enter_context(vcans(BEHIND, BESIDE))
            behind = topology.parse(topology.default_text().replace("vcan0", BEHIND), name="behind the adapter")
            make_keys(self.keys_dir, behind, log=self._folder / "keys.log")
            self._write_bench_file()
            self._start_boards(behind, stack)
            self.plug()
            stack.callback(self.pull)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def plug(self) -> None:
        """Plugs the adapter in and sets its interface up."""
        adapter = Process(
            ProcessSpec(
                "adapter",
                [sys.executable, "-m", "tests.boards.lawicel", "--channel", BEHIND, "--link", str(self._terminal)],
                self._folder / "adapter.log",
                self._terminal.exists,
            )
        )
        adapter.start()
        wait_ready([adapter], timeout_s=_PATIENCE_S)
        slcand = Process(
            ProcessSpec(
                "slcand",
                ["slcand", "-o", "-F", "-s6", str(self._terminal.readlink()), ADAPTER],
                self._folder / "slcand.log",
                (_INTERFACES / ADAPTER).exists,
            )
        )
        slcand.start()
        wait_ready([slcand], timeout_s=_PATIENCE_S)
        self._adapter = [slcand, adapter]
        _ip("link", "set", ADAPTER, "txqueuelen", "1000", "up")

    def pull(self) -> None:
        """Pulls it out: the terminal hangs up, the interface is gone. Nothing where it is out already."""
        for process in reversed(self._adapter):  # the adapter first: slcand is surprised, as by a hand
            process.kill()
        self._adapter = []
        self._terminal.unlink(missing_ok=True)
        _wait(lambda: not (_INTERFACES / ADAPTER).exists(), f"{ADAPTER} is still there")

    def _write_bench_file(self) -> None:
        content = yaml.safe_load(topology.default_text())
        default = topology.load()
        content["keys"] = str(self.keys_dir)
        content["buses"]["powertrain"]["channel"] = BESIDE
        content["buses"]["usb"] = {"interface": "socketcan", "channel": ADAPTER, "bitrate": 500_000}
        switch = f"cd {_ROOT} && {sys.executable} -m tests.boards.switch"
        for name in self.boards:
            port = self.control_ports[name]
            content["ecus"][name] |= {
                "kind": "board",
                "bus": "usb",
                "serial": default.serial_of(name),
                "security": {"secret_file": str(self.keys_dir / "ecu" / f"{name}.secret")},
                "power": {"driver": "command", "on": f"{switch} {port} on", "off": f"{switch} {port} off"},
                "control_port": port,
            }
        if set(self.boards) == set(content["ecus"]):
            del content["buses"]["powertrain"]
        self.bench_file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def _start_boards(self, behind: topology.Topology, stack: ExitStack) -> None:
        made = firmware.build(
            behind,
            keys_dir=self.keys_dir,
            out_dir=self._folder / "delivered",
            versions=(self._version,),
            ecus=self.boards,
            size_bytes=self._options.image_size_bytes,
        )
        setup = ProcessSetup(
            topology=behind,
            options=self._options,
            folder=run_folder.create(self._folder / "board"),
            keys_dir=self.keys_dir,
            ports=Ports(grpc=0, artifacts=0, mqtt=0, hmi=0, control=self.control_ports),
        )
        processes = [Process(setup.ecu(name, made[name][self._version])) for name in self.boards]
        stack.callback(stop_all, processes)
        for process in processes:
            process.start()
        wait_ready(processes, timeout_s=_PATIENCE_S)


def _make_vcan(name: str) -> None:
    if not (_INTERFACES / name).exists():
        _ip("link", "add", "dev", name, "type", "vcan")
    _ip("link", "set", name, "mtu", "72", "txqueuelen", "1000", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _wait(condition: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, problem
        time.sleep(0.02)
