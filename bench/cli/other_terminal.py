"""Commands for another terminal, written so that they work as printed.

Such a command runs in the folder in which the bench was started. It names programs by their paths, because the other terminal's PATH
need not have the virtual environment, and it goes into the guest kernel by the guest's id, because another guest may run by then.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otabench.bench.cli.options import LATEST
from otabench.bench.report.of_bench import short

GUEST: Final = "OTABENCH_GUEST"
"""Set by ``setup/with-can`` in a guest kernel: the guest's id."""
_WITH_CAN: Final = "OTABENCH_WITH_CAN"
"""Set by ``setup/with-can``: its own path."""
_FORWARDED: Final = "OTABENCH_FORWARDED"
"""Set by ``setup/with-can`` in a guest kernel: the ports of this machine that lead into the guest."""


@dataclass(frozen=True)
class OtherTerminal:
    """How another terminal reaches the kernel and the run folder of a bench.

    Attributes:
        prefix: what to type before a command.
        otabench: how the command ``otabench`` is called.
        run: the option that names the run's folder; empty for the default.
    """

    prefix: tuple[str, ...]
    otabench: tuple[str, ...]
    run: tuple[str, ...] = ()

    def command(self, *argv: str) -> str:
        """Return the line for a program of the system."""
        return shlex.join([*self.prefix, *argv])

    def bench_command(self, *argv: str) -> str:
        """Return the line for a command of ``otabench`` that has the option ``--run``."""
        return shlex.join([*self.prefix, *self.otabench, *argv, *self.run])


def of_this_process(run_folder: Path, *, environ: Mapping[str, str] = os.environ) -> OtherTerminal:
    """Return the way to the bench of this process.

    Args:
        run_folder: the run's folder.
        environ: the environment.
    """
    guest, with_can = environ.get(GUEST), environ.get(_WITH_CAN)
    script = Path(sys.executable).with_name("otabench")
    latest = run_folder.with_name(LATEST.name)
    # Another bench that was started since then in the same folder is the latest.
    is_latest = short(latest) == str(LATEST) and latest.resolve() == run_folder.resolve()
    return OtherTerminal(
        prefix=(short(Path(with_can)), f"--join={guest}") if guest and with_can else (),
        otabench=(short(script),) if script.exists() else (sys.executable, "-m", "otabench.bench.cli"),
        run=() if is_latest else ("--run", short(run_folder)),
    )


def lines(way: OtherTerminal, *, channels: list[str]) -> list[str]:
    """Return what is worth typing while a bench is up, a line each.

    Args:
        way: from another terminal to the bench.
        channels: its SocketCAN interfaces; empty where candump cannot be used.
    """
    if not channels:
        frames = "(no candump here)"
    elif shutil.which("candump") is None:
        frames = "(candump is not installed; Debian, Ubuntu: can-utils)"
    else:
        frames = way.command("candump", *channels)
    follow = way.bench_command("campaign", "watch")
    return [f"frames   {frames}", f"status   {way.bench_command('status')}", f"follow   {follow}"]


def page_line(url: str, port: int, *, environ: Mapping[str, str] = os.environ) -> str:
    """Return where the driver's page is seen. A guest's port is reached from outside only if it is forwarded."""
    if GUEST in environ and str(port) not in environ.get(_FORWARDED, "").split():
        return f"{url}   (inside the guest only: `with-can --forward {port}` leads there)"
    return f"{url}   (asks for consent)"
