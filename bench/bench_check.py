"""Looks at what a bench file names, before a run depends on it: one finding a line, ok or fail, with the remedy.

Decides what is looked at: each bus is there and can be opened, each flash profile and security plug-in loads, each secret can be
read, each power command's program exists, and each board answers as the board the file says. A simulated ECU is not there before
its bench is up, so nothing is asked of it. Nothing is changed, no power switched.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bench import boards, environment
from bench.errors import BenchError
from bench.options import BenchOptions
from bench.process_setup import Ports, ProcessSetup
from bench.run_folder import RunFolder
from bench.topology import BusEntry, EcuEntry, Topology

_BOARD_ANSWERS_S: Final = 1.0
_SHELL_CHARACTERS: Final = frozenset("|&;<>()$`\\\"'*?[#~=%!{")


class Finding(NamedTuple):
    """One line."""

    fine: bool
    about: str
    words: str


def examine(topology: Topology) -> Iterator[Finding]:
    """All findings, in the file's order."""
    reachable = set()
    for name, bus in topology.buses.items():
        problem = bus_problem(bus)
        if not problem:
            reachable.add(name)
        yield Finding(not problem, f"bus {name}", problem or _bus_words(bus))
    if topology.boards() and topology.keys is None:
        yield Finding(False, "keys", boards.NO_KEYS)
    for name, ecu in topology.ecus.items():
        yield from _ecu_findings(topology, name, ecu, bus_is_there=ecu.bus in reachable)


def bus_problem(bus: BusEntry) -> str:
    """Why a bus cannot be used, with the remedy; empty where it can."""
    if bus.interface == "socketcan":
        return environment.interface_problem(str(bus.channel))
    import can

    try:
        can.Bus(**bus.can_arguments()).shutdown()
    except Exception as error:  # noqa: BLE001  # python-can's interfaces raise what they like
        words = " ".join(str(error).split()) or type(error).__name__
        return f"interface {bus.interface}, channel {bus.channel}: {words}; is the adapter plugged in and its driver installed?"
    return ""


def _bus_words(bus: BusEntry) -> str:
    what = f"{bus.interface} {bus.channel}"
    rate = f"{bus.bitrate // 1000} kbit/s" + (", CAN FD" if bus.fd else "")
    return f"{what} is {'up' if bus.interface == 'socketcan' else 'there'} ({rate} wanted)"


def _ecu_findings(topology: Topology, name: str, ecu: EcuEntry, *, bus_is_there: bool) -> Iterator[Finding]:
    about = f"ECU {name}"
    problems = [*_profile_problems(ecu), *_power_problems(name, ecu)]
    try:
        secret = _setup(topology).secret(name) if ecu.kind == "board" else "0" * 64
        problems += _algorithm_problems(name, ecu, secret)
    except BenchError as error:
        problems.append(str(error))
    yield from (Finding(False, about, problem) for problem in problems)
    if ecu.kind == "simulated":
        if not problems:
            yield Finding(True, about, f"simulated {ecu.hardware_id} on {ecu.bus}: the bench starts it")
        return
    if problems:
        return
    if not bus_is_there:
        yield Finding(False, about, f"board {ecu.hardware_id}: its bus {ecu.bus} is not there; mend that first")
        return
    try:
        found = boards.ask(_setup(topology).endpoint(name), within_s=_BOARD_ANSWERS_S)
    except BenchError as error:
        yield Finding(False, about, str(error))
    else:
        words = f"board {topology.serial_of(name)} on {ecu.bus} answers 22 F18C and runs {found['software_version']}"
        yield Finding(True, about, words)


def _profile_problems(ecu: EcuEntry) -> Iterator[str]:
    from bench.gateway.flashing import profile
    from bench.gateway.vehicle import FlashError

    try:
        profile.load(ecu.profile)
    except FlashError as error:
        yield str(error)


def _algorithm_problems(name: str, ecu: EcuEntry, secret: str) -> Iterator[str]:
    from proto import security_algorithm

    try:
        security_algorithm.load(ecu.security.algorithm, secret=bytes.fromhex(secret))
    except security_algorithm.AlgorithmError as error:
        yield f"ecus.{name}.security.algorithm: {error}"


def _power_problems(name: str, ecu: EcuEntry) -> Iterator[str]:
    if ecu.power.driver != "command":
        return
    for key, command in (("on", ecu.power.on), ("off", ecu.power.off)):
        if _SHELL_CHARACTERS & set(command.split(maxsplit=1)[0]):
            continue  # the shell's business
        program = shlex.split(command, comments=False, posix=False)[0]
        if shutil.which(program) is None and program not in ("cd", "test", "echo", "true", "false", "exit"):
            yield f"ecus.{name}.power.{key}: there is no program {program!r}; install it, or give its path"


def _setup(topology: Topology) -> ProcessSetup:
    """As the launcher would make it; no port is used."""
    here = Path()
    ports = Ports(grpc=0, artifacts=0, mqtt=0, hmi=0, control={})
    return ProcessSetup(topology, BenchOptions(), RunFolder(here), topology.keys or here, ports)
