"""The ways to switch an ECU's supply: the simulator's control port, the user's own commands, the lab's power driver, or none.

Commands are run by the shell, as the bench file has them (a relay board, a laboratory supply, ``uhubctl``). A command that does not
end in time is killed, with every process that it started. The error of a failed command names the ECU, the command, its output
and the remedy.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from otabench.bench.errors import LabError, PowerError
from otabench.bench.faults.control_port import ControlPort
from otabench.bench.launcher import labgrid
from otabench.bench.launcher.labgrid import LabgridClient
from otabench.bench.topology.entries import EcuEntry, LabEntry, PowerEntry

_QUOTED_CHARACTERS: Final = 200


class PowerDriver(Protocol):
    """The supply of one ECU."""

    def on(self) -> None:
        """Switch it on.

        Raises:
            PowerError: it could not be.
        """
        ...

    def off(self) -> None:
        """Switch it off.

        Raises:
            PowerError: it could not be.
        """
        ...

    def cycle(self) -> None:
        """Switch it off, wait a while, and switch it on.

        Raises:
            PowerError: one of the two failed.
        """
        ...


@dataclass(frozen=True)
class SimulatedPower:
    """A simulator's power, by its control port."""

    port: ControlPort

    def on(self) -> None:
        """See ``PowerDriver``."""
        self.port.power("on")

    def off(self) -> None:
        """See ``PowerDriver``."""
        self.port.power("off")

    def cycle(self) -> None:
        """See ``PowerDriver``."""
        self.port.power("cycle")


@dataclass(frozen=True)
class CommandPower:
    """Two shell commands."""

    ecu: str
    entry: PowerEntry
    sleep: Callable[[float], None] = time.sleep

    def on(self) -> None:
        """See ``PowerDriver``."""
        self._run("on", self.entry.on)

    def off(self) -> None:
        """See ``PowerDriver``."""
        self._run("off", self.entry.off)

    def cycle(self) -> None:
        """See ``PowerDriver``."""
        self.off()
        self.sleep(self.entry.off_s)
        self.on()

    def _run(self, which: str, command: str) -> None:
        what = f"the command for {which!r} ({command})"
        process = subprocess.Popen(
            command,
            shell=True,  # nosec B602 # the user's own command, from the user's bench file
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A session of its own, so that a time-out can kill what the shell has started, not only the shell.
            start_new_session=True,
            text=True,
            errors="replace",
        )
        try:
            output, _ = process.communicate(timeout=self.entry.timeout_s)
        except subprocess.TimeoutExpired as error:
            # The group, because the shell may have started others. Then read on, so that no zombie stays.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise PowerError(
                self.ecu,
                f"{what} did not end within {self.entry.timeout_s:g} s and was killed",
                remedy=f"run it by hand, or raise ecus.{self.ecu}.power.timeout_s",
            ) from error
        if process.returncode != 0:
            # The end of the output, where programs usually print what went wrong.
            words = " ".join(output.split())[-_QUOTED_CHARACTERS:] or "it printed nothing"
            raise PowerError(
                self.ecu,
                f"{what} ended with status {process.returncode}: {words}",
                remedy="run it by hand, then correct it in the bench file",
            )


@dataclass(frozen=True)
class LabgridPower:
    """The power driver of a lab's place. The place must be acquired."""

    ecu: str
    entry: PowerEntry
    client: LabgridClient

    def on(self) -> None:
        """See ``PowerDriver``."""
        self._run("on")

    def off(self) -> None:
        """See ``PowerDriver``."""
        self._run("off")

    def cycle(self) -> None:
        """See ``PowerDriver``."""
        self._run("cycle", "--delay", f"{self.entry.off_s:g}")

    def _run(self, action: str, *options: str) -> None:
        # Only a place with several power resources needs the name.
        if self.entry.resource:
            options = (*options, "--name", self.entry.resource)
        try:
            status, said = self.client.call(
                "power", action, *options, timeout_s=self.entry.timeout_s + self.entry.off_s
            )
        except LabError as error:
            raise PowerError(self.ecu, f"labgrid, {error}", remedy=f"see ecus.{self.ecu}.power") from error
        if status != 0:
            raise PowerError(
                self.ecu,
                f"labgrid cannot switch it {action!r}: {labgrid.reason(said)[-_QUOTED_CHARACTERS:]}",
                remedy=f"`{labgrid.PROGRAM} -p {self.client.lab.place} power {action}` by hand, then lab and "
                f"ecus.{self.ecu}.power.resource of the bench file",
            )


@dataclass(frozen=True)
class NoPower:
    """An ECU without a power driver."""

    ecu: str

    def on(self) -> None:
        """See ``PowerDriver``."""
        raise self._error()

    def off(self) -> None:
        """See ``PowerDriver``."""
        raise self._error()

    def cycle(self) -> None:
        """See ``PowerDriver``."""
        raise self._error()

    def _error(self) -> PowerError:
        return PowerError(
            self.ecu,
            "the bench file names no power driver",
            remedy=f"add ecus.{self.ecu}.power: {{driver: command, on: …, off: …}}",
        )


@dataclass(frozen=True)
class NotedPower:
    """A supply that records which ECUs it has switched off.

    Attributes:
        ecu: the ECU's name.
        driver: switches the supply.
        switched_off: contains the ECU's name while the ECU is off because of this bench.
    """

    ecu: str
    driver: PowerDriver
    switched_off: set[str]

    def on(self) -> None:
        """See ``PowerDriver``."""
        self.driver.on()
        self.switched_off.discard(self.ecu)

    def off(self) -> None:
        """See ``PowerDriver``."""
        self.driver.off()
        self.switched_off.add(self.ecu)

    def cycle(self) -> None:
        """See ``PowerDriver``."""
        self.driver.cycle()
        self.switched_off.discard(self.ecu)


def driver(ecu: str, entry: EcuEntry, port: ControlPort | None, *, lab: LabEntry | None = None) -> PowerDriver:
    """Return the driver that the bench file names; without one, a simulator's own, or for a board one that refuses."""
    kind = entry.power.driver or ("simulated" if entry.kind == "simulated" else "none")
    if kind == "command":
        return CommandPower(ecu, entry.power)
    if kind == "labgrid" and lab is not None:
        return LabgridPower(ecu, entry.power, LabgridClient(lab))
    if kind == "simulated" and port is not None:
        return SimulatedPower(port)
    return NoPower(ecu)
