"""The LAWICEL adapter on a pseudo-terminal, as something that a hand plugs in and pulls out, and whose wires it cuts.

``plug`` and ``pull``: the adapter, and its interface set up; ``rewire``: the wires of the bus behind it (``wiring``); ``set_up``: what
a user does after bus-off. The bus behind it is vcan1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from otabench.bench import ports
from otabench.bench.bus import interfaces
from otabench.bench.launcher.process import Process, ProcessSpec, wait_ready
from tests.boards import lawicel
from tests.boards.wiring import Wiring
from tests.waiting import eventually

ADAPTER: Final = "slcan0"
BEHIND: Final = "vcan1"
PATIENCE_S: Final = 40.0
_INTERFACES: Final = Path("/sys/class/net")


def missing() -> str:
    """Return what is missing on this machine for a rig; empty if nothing is."""
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


@contextmanager
def plugged_in(folder: Path) -> Iterator[Adapter]:
    """An adapter on slcan0, whose interface is up, and vcan1 behind it."""
    with vcans(BEHIND):
        made = Adapter(folder)
        made.plug()
        try:
            yield made
        finally:
            made.pull()


class Adapter:
    """Not plugged in yet; ``vcan1`` must be there.

    Args:
        folder: for its terminal's link and logs.
        by_slcand: the kernel's slcan0; else python-can's interface on ``terminal``.
    """

    def __init__(self, folder: Path, *, by_slcand: bool = True) -> None:
        self.by_slcand = by_slcand
        self.terminal = folder / "adapter.tty"
        self._logs = folder
        (self._wires,) = ports.free_ports(1)
        self._processes: list[Process] = []

    def plug(self) -> None:
        """Plug the adapter in and sets its interface up."""
        adapter = Process(
            ProcessSpec(
                "adapter",
                [
                    *(sys.executable, "-m", "tests.boards.lawicel", "--channel", BEHIND),
                    *("--link", str(self.terminal), "--control", str(self._wires)),
                ],
                self._logs / "adapter.log",
                self.terminal.exists,
            )
        )
        adapter.start()
        wait_ready([adapter], timeout_s=PATIENCE_S)
        self._processes = [adapter]
        if not self.by_slcand:
            return
        slcand = Process(
            ProcessSpec(
                "slcand",
                ["slcand", "-F", str(self.terminal.readlink()), ADAPTER],
                self._logs / "slcand.log",
                (_INTERFACES / ADAPTER).exists,
            )
        )
        slcand.start()
        wait_ready([slcand], timeout_s=PATIENCE_S)
        self._processes = [slcand, adapter]
        self.set_up()

    def set_up(self) -> None:
        """What a user does after bus-off, as after plugging in: down, and up at the bit rate."""
        for command in interfaces.up_commands(ADAPTER, "slcan", interfaces.LinkSettings()):
            _ip(*command[1:])

    def rewire(self, wiring: Wiring) -> None:
        """Change the wires of the bus."""
        lawicel.control(self._wires, wiring)

    def rejoin(self) -> None:
        """The adapter's firmware goes back on a mended bus by itself."""
        lawicel.control(self._wires, lawicel.REJOIN.decode("ascii"))

    def pull(self) -> None:
        """Pull it out: the terminal hangs up, the interface is gone. Nothing where it is out already."""
        for process in reversed(self._processes):  # the adapter first: slcand is surprised, as by a hand
            process.kill()
        self._processes = []
        self.terminal.unlink(missing_ok=True)
        _wait(lambda: not (_INTERFACES / ADAPTER).exists(), f"{ADAPTER} is still there")


def _make_vcan(name: str) -> None:
    if not (_INTERFACES / name).exists():
        _ip("link", "add", "dev", name, "type", "vcan")
    _ip("link", "set", name, "mtu", "72", "txqueuelen", "1000", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _wait(condition: Callable[[], bool], problem: str) -> None:
    eventually(condition, problem, timeout_s=PATIENCE_S)
