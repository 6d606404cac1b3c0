"""After each test that used the bench: what is tidied, and what must then be true.

The table in docs/pytest.md ("After each test") lists what a test may leave and what becomes of it; tests/plugin/test_leftovers.py
holds it row by row. Anything else is an error of that test, which names it. A bench that is not healthy gets one power cycle; if
that does not help, it is broken, and the remaining bench tests are skipped.

Must be true: every process runs; every interface is up, ERROR-ACTIVE, and counted no error; every ECU answers in the default
session, has no fault set, and runs a confirmed slot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from otabench.bench.bus import environment
from otabench.bench.errors import BenchError, PowerError
from otabench.bench.launcher.specs.names import GATEWAY, ecu_process, gate_process, load_process
from otabench.bench.pytest_plugin import counters, upkeep
from otabench.bench.pytest_plugin.counters import Counters
from otabench.bench.pytest_plugin.evidence import TroubleCodes
from otabench.bench.pytest_plugin.shared_bench import BenchState, SharedBench
from otabench.bench.uds.dtcs import read_dtcs
from otabench.bench.uds.errors import EcuRefused, FlashError

_ECU_ANSWERS_S: Final = 5.0
_AFTER_POWER_CYCLE_S: Final = 15.0
_CLEAR_ALL_CODES: Final = bytes.fromhex("14FFFFFF")
"""ClearDiagnosticInformation of all groups (ISO 14229-1)."""


@dataclass(frozen=True)
class Sickness:
    """What is wrong with the bench after a test.

    Attributes:
        problems: one line each.
        recovered: whether a power cycle helped.
    """

    problems: list[str]
    recovered: bool

    def text(self) -> str:
        """Return the text of the test's error."""
        end = (
            "a power cycle of all ECUs has mended that: the next tests go on"
            if self.recovered
            else "a power cycle of all ECUs did not mend that: the remaining bench tests are skipped"
        )
        return "\n".join(["the bench is not healthy after this test:", *(f"  - {line}" for line in self.problems), end])


def read_counters(bench: SharedBench) -> dict[str, Counters]:
    """Return the counters of all SocketCAN interfaces, by channel."""
    found = {}
    for entry in bench.topology.buses.values():
        if entry.interface == "socketcan":
            read = counters.read(str(entry.channel))
            if read is not None:
                found[str(entry.channel)] = read
    return found


@dataclass(frozen=True)
class Aftermath:
    """What was found after a test.

    Attributes:
        sickness: what is wrong with the bench; None if nothing is.
        trouble_codes: those of the ECUs before they were cleared; empty if they were not read.
    """

    sickness: Sickness | None = None
    trouble_codes: TroubleCodes = field(default_factory=dict)


def after_test(
    bench: SharedBench, *, before: Mapping[str, Counters], is_destructive: bool = False, reads_codes: bool = False
) -> Aftermath:
    """Tidy the bench and return what is wrong with it.

    Args:
        bench: not broken.
        before: counters at the test's beginning.
        is_destructive: the test was allowed to damage the ECUs: simulated ones get their first firmware back.
        reads_codes: read the trouble codes before they are cleared, also if nothing is wrong.
    """
    problems = tidy(bench, is_destructive=is_destructive)
    problems += prove(bench, before=before, within_s=_ECU_ANSWERS_S)
    # Not earlier: until its jobs are closed, the gateway may be the one who speaks with the ECUs.
    codes = read_trouble_codes(bench) if problems or reads_codes else {}
    if not problems:
        problems += _clear_trouble_codes(bench)
    if not problems:
        return Aftermath(trouble_codes=codes)
    recovered = _recover(bench)
    return Aftermath(Sickness(problems, recovered=recovered and not _clear_trouble_codes(bench)), codes)


def read_trouble_codes(bench: SharedBench) -> TroubleCodes:
    """Return the trouble codes of every ECU; of one that does not answer, why they were not read."""
    found: dict[str, list[str]] = {}
    for ecu in bench.topology.ecus:
        try:
            with bench.tester.client(ecu) as client:
                found[ecu] = [str(record) for record in read_dtcs(client)]
        except (BenchError, FlashError) as error:
            found[ecu] = [f"not read: {error}"]
    return found


def _clear_trouble_codes(bench: SharedBench) -> list[str]:
    """Clear the trouble codes of every ECU, so that the next test does not see them; return problems, one line each."""
    problems = []
    for ecu in bench.topology.ecus:
        try:
            with bench.tester.client(ecu) as client:
                client.request(_CLEAR_ALL_CODES, step="14 FFFFFF clear trouble codes")
        except EcuRefused:
            continue  # an ECU without that service keeps its codes, and is not sick for that
        except (BenchError, FlashError) as error:
            problems.append(str(error))
    return problems


def tidy(bench: SharedBench, *, is_destructive: bool = False) -> list[str]:
    """Undo what a test may leave; return what cannot be undone, one line each."""
    gateway_was_up = bench.state is BenchState.APPLICATION
    steps: list[Callable[[], None]] = [
        bench.processes.check,
        bench.tester.release,
        lambda: _start_ecus(bench),
        lambda: _clear(bench),
    ]
    if is_destructive:
        if gateway_was_up:  # it is started again below, reads the ECUs, and reports their first firmware to the cloud
            steps += [lambda: bench.processes.stop(GATEWAY)]
        steps += [lambda ecu=ecu: upkeep.restore_factory(bench.running, ecu) for ecu in bench.topology.simulated()]  # type: ignore[misc]
    if gateway_was_up:
        steps += [lambda: upkeep.start_missing(bench.running), lambda: upkeep.close_jobs(bench.running)]
    problems = []
    for step in steps:
        try:
            step()
        except (BenchError, FlashError) as error:
            problems.append(str(error))
    bench.state = BenchState.APPLICATION if bench.processes.is_running(GATEWAY) else BenchState.DEFAULT
    return problems


def _start_ecus(bench: SharedBench) -> None:
    """Start the simulated ECUs that a test stopped or killed: without them there is nothing to clear a fault in."""
    for ecu in bench.topology.simulated():
        if not bench.processes.is_running(ecu_process(ecu)):
            bench.processes.start(ecu_process(ecu))


def _clear(bench: SharedBench) -> None:
    """Clear all faults of ECUs, frames and loads, and switch on what is off."""
    for bus in bench.topology.buses:
        if bench.processes.is_running(gate_process(bus)):
            bench.bus_ports.gate_of(bus).clear()
        if bench.processes.is_running(load_process(bus)):
            bench.bus_ports.load_of(bus).clear()
    for name in bench.topology.ecus:
        if name in bench.topology.simulated():
            port = bench.ecus.control_port(name)
            port.clear()
            if port.state()["power"] == "off":
                port.power("on")
        else:
            if name in bench.topology.with_control_port():
                bench.ecus.control_port(name).clear()
            if name in bench.ecus.switched_off:
                bench.ecus.power(name).on()


def prove(bench: SharedBench, *, before: Mapping[str, Counters], within_s: float) -> list[str]:
    """Return what is not as it must be; one line each."""
    problems = _bus_problems(bench, before)
    for ecu in bench.topology.ecus:
        try:
            bench.tester.enter_default(ecu, within_s=within_s)
            bench.require_confirmed(bench.tester.identity(ecu))
            faults = bench.ecus.control_port(ecu).state()["faults"] if ecu in bench.topology.simulated() else []
        except (BenchError, FlashError) as error:
            problems.append(str(error))
            continue
        problems += [f"{ecu}: fault {fault.get('kind')} is still set" for fault in faults]
    return problems


def _bus_problems(bench: SharedBench, before: Mapping[str, Counters]) -> list[str]:
    problems = []
    for name, entry in bench.topology.buses.items():
        if entry.interface != "socketcan":
            continue
        channel = str(entry.channel)
        missing = environment.interface_problem(channel)
        if missing:
            problems.append(f"bus {name}: {missing.sentence()}")
            continue
        after = counters.read(channel)
        if after is not None:
            problems += counters.problems(channel, before.get(channel, Counters()), after)
    return problems


def _recover(bench: SharedBench) -> bool:
    """Power-cycle every ECU that can be switched; return whether the bench is healthy then."""
    try:
        for ecu in bench.topology.ecus:
            try:
                bench.ecus.power(ecu).cycle()
            except PowerError:
                continue  # it cannot be switched; whether it is healthy is seen below
        upkeep.start_missing(bench.running)
        upkeep.close_jobs(bench.running)
    except (BenchError, FlashError):
        return False
    bench.state = BenchState.APPLICATION
    return not prove(bench, before=read_counters(bench), within_s=_AFTER_POWER_CYCLE_S)
