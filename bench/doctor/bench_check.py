"""Check everything that a bench file names, before a run depends on it.

* Each bus can be used (``doctor.bus_probe``), the key folder is complete, and the lab's place exists.
* For each ECU: its flash profile and security algorithm can be loaded, its secret can be read, the kernel supports ISO-TP if required, and
  the programs of its power commands exist.
* Each board answers, with the serial number of the file. It reports a version that an update may follow, and enters the session in which an
  update begins. Simulated ECUs are not asked, because they exist only while their bench is up.

The check changes nothing and does not switch power.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from otabench.bench.bus import environment
from otabench.bench.doctor import bus_probe
from otabench.bench.errors import BenchError, FirmwareError
from otabench.bench.finding import Finding, Severity, fail, ok, warn
from otabench.bench.launcher import boards, endpoints, keys, labgrid
from otabench.bench.topology.entries import EcuEntry
from otabench.bench.topology.model import Topology
from otabench.proto.version_order import VersionRule

_BOARD_ANSWERS_S: Final = 1.0
_SHELL_CHARACTERS: Final = frozenset("|&;<>()$`\\\"'*?[#~=%!{")


def examine(topology: Topology) -> Iterator[Finding]:
    """Return all findings, in the order of the bench file."""
    reachable = set()
    for name, bus in topology.buses.items():
        problem = bus_probe.problem(bus)
        if not problem:
            reachable.add(name)
        yield replace(problem, where=f"bus {name}") if problem else ok(f"bus {name}", bus_probe.describe(bus))
    if topology.keys is not None:
        yield (
            keys.folder_problem(topology.keys, topology)
            or _signing_key_problem(topology.keys)
            or ok("keys", str(topology.keys))
        )
    elif topology.boards():
        yield boards.NO_KEYS
    if topology.lab is not None:
        yield labgrid.finding(topology.lab)
    for name, ecu in topology.ecus.items():
        yield from _ecu_findings(topology, name, ecu, bus_is_there=ecu.bus in reachable)


def _ecu_findings(topology: Topology, name: str, ecu: EcuEntry, *, bus_is_there: bool) -> Iterator[Finding]:
    where = f"ECU {name}"
    problems = [*_profile_problems(where, ecu), *_power_problems(where, name, ecu)]
    if topology.isotp_of(name).transport == "kernel" and (missing := environment.isotp_problem()):
        problems.append(fail(where, f"ecus.{name}.isotp.transport: {missing.problem}", missing.remedy))
    try:
        # The secret of a simulated ECU is made with the keys of each run. A dummy is good enough for loading the algorithm.
        has_its_own = ecu.kind == "board" or ecu.security.secret_file is not None
        secret = endpoints.secret(topology, name, keys_dir=_keys_dir(topology)) if has_its_own else "0" * 64
        problems += _algorithm_problems(where, f"ecus.{name}.security", ecu.security.algorithm, secret)
        for text, choice in endpoints.choices(topology, name).items():
            at = f"ecus.{name}.security.choices.{text}"
            problems += _algorithm_problems(where, at, choice.security_algorithm, choice.security_secret)
    except BenchError as error:
        problems.append(fail(where, str(error)))
    problems += _authentication_problems(where, name, ecu)
    yield from problems
    if ecu.kind == "simulated":
        if not problems:
            yield ok(where, f"simulated {ecu.hardware_id} on {ecu.bus}: the bench starts it")
        return
    if any(problem.severity is Severity.FAIL for problem in problems):
        return
    if not bus_is_there:
        yield fail(where, f"board {ecu.hardware_id}: its bus {ecu.bus} cannot be used", "correct the bus first")
        return
    from otabench.bench.uds.flash_profiles import facts_of

    rule = facts_of(ecu.profile).versions.rule
    try:
        endpoint = endpoints.endpoint(topology, name, keys_dir=_keys_dir(topology))
        version = str(boards.ask(endpoint, within_s=_BOARD_ANSWERS_S)["software_version"])
        boards.try_session(endpoint)
    except BenchError as error:
        yield fail(where, str(error))
    else:
        yield _version_problem(where, name, version, rule) or ok(
            where,
            f"board {topology.serial_of(name)} on {ecu.bus} answers, and runs {version or 'what it does not report'}",
        )


def _signing_key_problem(keys_dir: Path) -> Finding | None:
    from otabench.bench.firmware import images  # imgtool is slow to import

    try:
        images.require_signing_key(keys_dir / images.SIGNING_KEY)
    except FirmwareError as error:
        return fail("keys", str(error))
    return None


def _version_problem(where: str, name: str, version: str, rule: VersionRule) -> Finding | None:
    """Return why the cloud would never send an update for a version that a board reports."""
    try:
        # An ECU that does not report its version runs what the gateway has flashed, or what former_image names.
        if version:
            rule.check_running(version)
    except ValueError as error:
        return fail(
            where,
            f"the board reports {error}; no update would follow (order {rule.order})",
            f"state how its versions are compared in the flash profile of ecus.{name} (versions: {{order: …}})",
        )
    return None


def _profile_problems(where: str, ecu: EcuEntry) -> Iterator[Finding]:
    from otabench.bench.uds import flash_profiles
    from otabench.bench.uds.errors import ProfileMistakes

    try:
        facts = flash_profiles.facts_of(ecu.profile)
    except ProfileMistakes as error:
        yield from (fail(where, f"flash profile {line}") for line in error.as_lines())
        return
    if facts.needs_former_image and ecu.kind == "board" and ecu.former_image is None:
        remedy = "name the image that it has: former_image: {file: …, version: …}"
        yield warn(where, "a rollback of its first update is not possible: it has no second slot", remedy)
    yield from _own_version_problems(where, ecu, facts.versions.rule)


def _own_version_problems(where: str, ecu: EcuEntry, rule: VersionRule) -> Iterator[Finding]:
    """Return which versions of the bench's own files the cloud would never take."""
    from otabench.bench.firmware import images, versions  # imgtool is slow to import

    try:
        if ecu.former_image is not None:
            versions.require(rule, "former_image", ecu.former_image.version)
        if ecu.kind == "simulated":
            for place, version in enumerate(images.BENCH_VERSIONS):
                versions.generated(rule, "generated firmware", version, place=place)
    except BenchError as error:
        remedy = "state the versions of this ECU in its flash profile (versions: {order: …})"
        yield fail(where, str(error), remedy)


def _algorithm_problems(where: str, at: str, algorithm: str, secret: str) -> Iterator[Finding]:
    from otabench.proto import security_algorithm

    try:
        security_algorithm.load(algorithm, secret=bytes.fromhex(secret))
    except security_algorithm.AlgorithmError as error:
        yield fail(where, f"{at}.algorithm: {error}")


def _authentication_problems(where: str, name: str, ecu: EcuEntry) -> Iterator[Finding]:
    """Return why the tester could not authenticate itself (service 29)."""
    from otabench.bench.uds import authentication, flash_profiles
    from otabench.bench.uds.errors import ProfileMistakes

    at, given = f"ecus.{name}.authentication", ecu.authentication
    if given is None:
        with suppress(ProfileMistakes):  # ``_profile_problems`` reports them
            if ecu.kind == "board" and flash_profiles.facts_of(ecu.profile).authenticates:
                remedy = "add authentication: {certificate: FILE, key: FILE}"
                yield fail(where, f"{at}: its flash profile authenticates, and the tester has no certificate", remedy)
        return
    try:
        authentication.Credentials.load(given.certificate, given.key)
        certificate = authentication.load_certificate(given.certificate)
        if given.root is not None:
            authentication.load_certificate(given.root)
    except authentication.AuthenticationError as error:
        yield fail(where, f"{at}: {error}")
        return
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not start <= datetime.now(UTC) <= end:
        text = f"{at}: {given.certificate}: is valid from {start:%Y-%m-%d} to {end:%Y-%m-%d} only"
        yield fail(where, text, "have a new one issued, or set this machine's clock")


def _power_problems(where: str, name: str, ecu: EcuEntry) -> Iterator[Finding]:
    if ecu.power.driver != "command":
        return
    for key, command in (("on", ecu.power.on), ("off", ecu.power.off)):
        if _SHELL_CHARACTERS & set(command.split(maxsplit=1)[0]):
            # The shell evaluates this command, so its program cannot be determined here.
            continue
        program = shlex.split(command, comments=False, posix=False)[0]
        if shutil.which(program) is None and program not in ("cd", "test", "echo", "true", "false", "exit"):
            problem = f"ecus.{name}.power.{key}: there is no program {program!r}"
            yield fail(where, problem, "install it, or give its path")


def _keys_dir(topology: Topology) -> Path:
    """Return the key folder of the bench file. Without one, the bench file names a secret file for each board."""
    return topology.keys or Path()
