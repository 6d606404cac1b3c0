"""Check what a bench file names, before a run depends on it.

Checked are each bus (``doctor.bus_probe``) and the keys' folder; for each ECU that its flash profile and security plug-in load, its secret
can be read, the kernel has ISO-TP where it must, and the programs of its power commands exist; and that each board answers as the
board of the file. A simulated ECU exists only while its bench is up, so it is not asked. Nothing is changed, no power is switched.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from otabench.bench.bus import environment
from otabench.bench.doctor import bus_probe
from otabench.bench.errors import BenchError
from otabench.bench.finding import Finding, fail, ok
from otabench.bench.launcher import boards, endpoints, keys
from otabench.bench.topology.entries import EcuEntry
from otabench.bench.topology.model import Topology

_BOARD_ANSWERS_S: Final = 1.0
_SHELL_CHARACTERS: Final = frozenset("|&;<>()$`\\\"'*?[#~=%!{")


def examine(topology: Topology) -> Iterator[Finding]:
    """All findings, in the file's order."""
    reachable = set()
    for name, bus in topology.buses.items():
        problem = bus_probe.problem(bus)
        if not problem:
            reachable.add(name)
        yield replace(problem, where=f"bus {name}") if problem else ok(f"bus {name}", bus_probe.words(bus))
    if topology.keys is not None:
        yield keys.folder_problem(topology.keys, topology) or ok("keys", str(topology.keys))
    elif topology.boards():
        yield boards.NO_KEYS
    for name, ecu in topology.ecus.items():
        yield from _ecu_findings(topology, name, ecu, bus_is_there=ecu.bus in reachable)


def _ecu_findings(topology: Topology, name: str, ecu: EcuEntry, *, bus_is_there: bool) -> Iterator[Finding]:
    where = f"ECU {name}"
    problems = [*_profile_problems(where, ecu), *_power_problems(where, name, ecu)]
    if topology.isotp_of(name).transport == "kernel" and (missing := environment.isotp_problem()):
        problems.append(fail(where, f"ecus.{name}.isotp.transport: {missing.problem}", missing.remedy))
    try:
        has_its_own = ecu.kind == "board" or ecu.security.secret_file is not None
        secret = endpoints.secret(topology, name, keys_dir=_keys_dir(topology)) if has_its_own else "0" * 64
        problems += _algorithm_problems(where, name, ecu, secret)
    except BenchError as error:
        problems.append(fail(where, str(error)))
    yield from problems
    if ecu.kind == "simulated":
        if not problems:
            yield ok(where, f"simulated {ecu.hardware_id} on {ecu.bus}: the bench starts it")
        return
    if problems:
        return
    if not bus_is_there:
        yield fail(where, f"board {ecu.hardware_id}: its bus {ecu.bus} is not there", "mend that first")
        return
    try:
        found = boards.ask(endpoints.endpoint(topology, name, keys_dir=_keys_dir(topology)), within_s=_BOARD_ANSWERS_S)
    except BenchError as error:
        yield fail(where, str(error))
    else:
        version = found["software_version"]
        yield ok(where, f"board {topology.serial_of(name)} on {ecu.bus} answers 22 F18C and runs {version}")


def _profile_problems(where: str, ecu: EcuEntry) -> Iterator[Finding]:
    from otabench.bench.uds import profile
    from otabench.bench.uds.errors import FlashError

    try:
        profile.load(ecu.profile)
    except FlashError as error:
        yield fail(where, str(error))


def _algorithm_problems(where: str, name: str, ecu: EcuEntry, secret: str) -> Iterator[Finding]:
    from otabench.proto import security_algorithm

    try:
        security_algorithm.load(ecu.security.algorithm, secret=bytes.fromhex(secret))
    except security_algorithm.AlgorithmError as error:
        yield fail(where, f"ecus.{name}.security.algorithm: {error}")


def _power_problems(where: str, name: str, ecu: EcuEntry) -> Iterator[Finding]:
    if ecu.power.driver != "command":
        return
    for key, command in (("on", ecu.power.on), ("off", ecu.power.off)):
        if _SHELL_CHARACTERS & set(command.split(maxsplit=1)[0]):
            continue  # the shell's business
        program = shlex.split(command, comments=False, posix=False)[0]
        if shutil.which(program) is None and program not in ("cd", "test", "echo", "true", "false", "exit"):
            problem = f"ecus.{name}.power.{key}: there is no program {program!r}"
            yield fail(where, problem, "install it, or give its path")


def _keys_dir(topology: Topology) -> Path:
    """Return the bench file's key folder; without one, secrets of boards come from files that the bench file names."""
    return topology.keys or Path()
