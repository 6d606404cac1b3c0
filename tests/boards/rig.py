"""Boards without hardware: simulated ECUs on a vcan of their own, reached through a LAWICEL adapter on a pseudo-terminal.

    bench ── slcan0 ── slcand ── pty ── tests.boards.lawicel ── vcan1 ── python -m otabench.ecu_firmware_sim

or, by python-can's own slcan interface, without slcan0 and slcand. The bench is told nothing of all this but a bench file with
``kind: board``. Keys and the image a board is delivered with are made beforehand, as a supplier would; power is switched by a
command. What a hand does to the adapter: ``tests.boards.adapter``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import yaml

from otabench.bench import ports, run_folder
from otabench.bench.firmware import images
from otabench.bench.launcher.keys import make_keys
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.launcher.process import Process, stop_all, wait_ready
from otabench.bench.launcher.run_setup import Ports, RunSecrets, RunSetup
from otabench.bench.launcher.specs.ecu import simulated_ecu
from otabench.bench.topology import bench_file
from otabench.bench.topology.model import Topology
from tests.boards.adapter import ADAPTER, BEHIND, PATIENCE_S, Adapter, missing, vcans

__all__ = ["ADAPTER", "BEHIND", "BESIDE", "Rig", "missing", "vcans"]

BESIDE: Final = "vcan2"
"""For the ECUs that stay simulated: vcan0 may be another test's, and its ECUs would answer too."""
_ROOT: Final = Path(__file__).parents[2]


class Rig(Adapter):
    """Use as a context manager.

    Args:
        folder: where everything is made.
        boards: names of the default bench's ECUs that become boards; the others stay simulated on a vcan.
        version: the firmware the boards are delivered with.
        size_bytes: of firmware bodies.
        ecu_timing: of the boards.
        by_slcand: the kernel's slcan0; else python-can's interface on the terminal.

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
        by_slcand: bool = True,
    ) -> None:
        super().__init__(folder, by_slcand=by_slcand)
        self.boards = tuple(boards)
        self.keys_dir = folder / "keys"
        self.bench_file = folder / "boards.bench.yaml"
        self.control_ports = dict(zip(self.boards, ports.free_ports(len(self.boards)), strict=True))
        self._folder = folder
        self._options = BenchOptions(ecu_timing=dict(ecu_timing or {}), image_size_bytes=size_bytes)
        self._version = version
        self._stack = ExitStack()

    def __enter__(self) -> Rig:
        with ExitStack() as stack:
            stack.enter_context(vcans(BEHIND, BESIDE))
            behind = bench_file.parse(self._behind(), name="behind the adapter")
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

    def _behind(self) -> str:
        """Return the boards' side. python-can reads its serial port byte by byte: without periodic frames there."""
        content = yaml.safe_load(bench_file.default_text().replace("vcan0", BEHIND))
        if not self.by_slcand:
            for entry in content["ecus"].values():
                entry["periodic"] = []
        return yaml.safe_dump(content, sort_keys=False)

    def _write_bench_file(self) -> None:
        content = yaml.safe_load(bench_file.default_text())
        default = bench_file.load()
        content["keys"] = str(self.keys_dir)
        content["buses"]["powertrain"]["channel"] = BESIDE
        by_python = {"interface": "slcan", "channel": str(self.terminal), "sleep_after_open": 0}
        chosen = {"interface": "socketcan", "channel": ADAPTER} if self.by_slcand else by_python
        content["buses"]["usb"] = {**chosen, "bitrate": 500_000}
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

    def _start_boards(self, behind: Topology, stack: ExitStack) -> None:
        made = images.build(
            behind,
            keys_dir=self.keys_dir,
            out_dir=self._folder / "delivered",
            versions=(self._version,),
            ecus=self.boards,
            size_bytes=self._options.image_size_bytes,
        )
        setup = RunSetup(
            topology=behind,
            options=self._options,
            folder=run_folder.create(self._folder / "board"),
            keys_dir=self.keys_dir,
            ports=Ports(grpc=0, artifacts=0, mqtt=0, hmi=0, control=self.control_ports),
            # as an injector on the desk, which has no token of the run
            secrets=RunSecrets(control_token=""),
        )
        processes = [Process(simulated_ecu(setup, name, made[name][self._version])) for name in self.boards]
        stack.callback(stop_all, processes)
        for process in processes:
            process.start()
        wait_ready(processes, timeout_s=PATIENCE_S)
