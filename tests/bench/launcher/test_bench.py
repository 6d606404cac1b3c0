"""What keeps a bench from coming up is one clear message, and whatever was started is gone afterwards."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import can
import pytest

from otabench.bench import ports, run_folder
from otabench.bench.bus import environment
from otabench.bench.errors import BenchError, ProcessFailed, WrongUsage
from otabench.bench.faults.control_port import Fault
from otabench.bench.firmware.images import FirmwareFile
from otabench.bench.launcher.bench import Bench
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.launcher.process import Process, ProcessSpec, stop_all, wait_ready
from otabench.bench.launcher.run_setup import Ports, RunSetup
from otabench.bench.launcher.specs.ecu import simulated_ecu
from otabench.bench.launcher.specs.gateway import gateway
from otabench.bench.topology import bench_file
from tests.needs import needs
from tests.stalls import within
from tests.waiting import eventually


def process_of(folder: Path, code: str, *, name: str = "thing", ready: bool = True) -> Process:
    return Process(ProcessSpec(name, [sys.executable, "-c", code], folder / f"{name}.log", lambda: ready))


def wait_for(path: Path) -> str:
    eventually(lambda: path.exists() and path.read_text(), f"{path.name} is written")
    return path.read_text()


def is_alive(pid: int) -> bool:
    """Return whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# Processes.


def test_a_process_that_fails_at_start_is_named_with_its_last_line(tmp_path: Path) -> None:
    process = process_of(tmp_path, "print('starting'); raise SystemExit('no database here')", ready=False)
    process.start()
    with pytest.raises(ProcessFailed) as caught:
        wait_ready([process], timeout_s=10)
    assert str(caught.value).startswith("thing ended with status 1. Its last line: no database here. Log: ")
    assert caught.value.process == "thing"


def test_a_process_that_never_gets_ready_is_named(tmp_path: Path) -> None:
    process = process_of(tmp_path, "print('thinking', flush=True); import time; time.sleep(60)", ready=False)
    process.start()
    try:
        wait_for(tmp_path / "thing.log")
        with pytest.raises(ProcessFailed, match=r"thing did not come up within 0 s\. Its last line: thinking\."):
            wait_ready([process], timeout_s=0.1)
    finally:
        process.kill()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    process = Process(ProcessSpec("x", ["/does/not/exist"], tmp_path / "x.log", lambda: False))
    with pytest.raises(ProcessFailed):
        process.start()
        wait_ready([process], timeout_s=10)


def test_a_process_that_ignores_the_request_to_stop_is_killed_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        "import signal, subprocess, sys, time, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"pathlib.Path({str(child)!r}).write_text(str(c.pid)); time.sleep(60)"
    )
    process = process_of(tmp_path, code)
    process.start()
    pid = int(wait_for(child))
    process.stop(grace_s=0.2)
    assert process.exit_status == -9
    eventually(lambda: not is_alive(pid), "the child ends with its parent's group")


def test_what_is_killed_on_purpose_is_no_failure(tmp_path: Path) -> None:
    process = process_of(tmp_path, "import time; time.sleep(60)")
    process.start()
    process.kill()
    assert process.death() is None
    other = process_of(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", name="other")
    other.start()
    assert other.wait(60)
    death = other.death()
    assert death is not None
    assert str(death).startswith("other was ended by signal SIGSEGV. It wrote nothing.")


@needs(Path("/usr/bin/setpriv").exists(), "setpriv (util-linux) is missing; it sets the parent-death signal")
def test_nothing_outlives_a_launcher_that_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"""
import pathlib, sys, time
from otabench.bench.launcher.process import Process, ProcessSpec
p = Process(ProcessSpec("t", [sys.executable, "-c", "import time; time.sleep(60)"], pathlib.Path({str(tmp_path)!r}) / "t.log", bool))
p.start()
time.sleep(0.3)
pathlib.Path({str(note)!r}).write_text(str(p.pid))
time.sleep(60)
"""
    launcher = subprocess.Popen([sys.executable, "-c", code])
    pid = int(wait_for(note))
    launcher.kill()
    launcher.wait(60)
    eventually(lambda: not is_alive(pid), "the process ends with its launcher")


def test_all_are_asked_to_stop_at_once(tmp_path: Path) -> None:
    slow = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1.0), sys.exit(0)));"
        "print(1, flush=True); time.sleep(60)"
    )
    processes = [process_of(tmp_path, slow, name=f"p{number}") for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        wait_for(process.spec.log)
    with within(2.4):  # one after the other would take 3 s
        stop_all(processes)
    assert [process.exit_status for process in processes] == [0, 0, 0]


# What is missing on the machine.


def test_an_absent_vcan_is_one_message_with_the_remedy() -> None:
    text = bench_file.default_text().replace("vcan0", "vcan77")
    with pytest.raises(BenchError) as caught:
        environment.usable_topology(bench_file.parse(text, name="x"), kernel_can=True)
    assert str(caught.value).startswith("bus powertrain: there is no CAN interface vcan77 on this kernel; ")
    assert "`setup/with-can`" in str(caught.value)


def test_without_kernel_can_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.NO_KERNEL_CAN, "1")
    said: list[str] = []
    bench, kernel_can = environment.usable_topology(bench_file.load(), say=said.append)
    assert said == [environment.NO_KERNEL_CAN_LINE]
    assert not kernel_can
    assert bench.buses["powertrain"].interface == "udp_multicast"


def test_without_kernel_can_buses_and_benches_do_not_hear_each_other() -> None:
    text = bench_file.default_text().replace("buses:", "buses:\n  body: {channel: vcan1}")
    one, _ = environment.usable_topology(bench_file.parse(text, name="x"), kernel_can=False)
    other, _ = environment.usable_topology(bench_file.parse(text, name="x"), kernel_can=False)
    with ExitStack() as stack:
        sender, twin, body, elsewhere = (
            stack.enter_context(can.Bus(**bus.can_arguments()))
            for bus in (*[one.buses["powertrain"]] * 2, one.buses["body"], other.buses["powertrain"])
        )
        sender.send(can.Message(arbitration_id=0x123, is_extended_id=False, data=b"\x01"))
        heard = twin.recv(5)
        assert heard is not None and heard.arbitration_id == 0x123
        assert body.recv(0.1) is None and elsewhere.recv(0) is None


def test_an_hmi_port_in_use_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = BenchOptions(runs_dir=tmp_path / "runs", hmi_port=port, kernel_can=False)
        with pytest.raises(BenchError) as caught, Bench.bring_up(options):
            pass
    assert f"port {port} of 127.0.0.1 (the HMI) is in use by another program or bench; " in str(caught.value)
    assert "HMI_PORT=" in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_fault_for_an_unknown_ecu_is_wrong_usage(tmp_path: Path) -> None:
    options = BenchOptions(runs_dir=tmp_path, faults=(Fault.parse("door:boot-fail"),), kernel_can=False)
    with (
        pytest.raises(WrongUsage, match="there is no simulated ECU 'door'; known: engine, adas"),
        Bench.bring_up(options),
    ):
        pass


def test_a_broken_key_folder_ends_the_bench_with_one_line_and_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Process] = []
    start = Process.start

    def note_and_start(process: Process) -> None:
        started.append(process)
        start(process)

    monkeypatch.setattr(Process, "start", note_and_start)
    (tmp_path / "keys").mkdir()
    options = BenchOptions(runs_dir=tmp_path / "runs", keys_dir=tmp_path / "keys", kernel_can=False)
    with pytest.raises(BenchError) as caught, Bench.bring_up(options):
        pass
    assert "there is no image signing key; `otabench keys init" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert started, "the recorders start before the keys are read"
    assert not any(process.running for process in started)


# Faults on the command line, the run's folder, the running bench.


def test_a_fault_is_read_with_its_parameters() -> None:
    assert Fault.parse("engine:boot-fail") == Fault("engine", "boot-fail", {})
    assert Fault.parse("adas:nrc:service=0x36:nrc=0x72") == Fault("adas", "nrc", {"service": 0x36, "nrc": 0x72})
    assert Fault.parse("adas:power-cut:off_s=1.5").parameters == {"off_s": 1.5}


@pytest.mark.parametrize("text", ["engine", "engine:", ":boot-fail", "engine:explode", "engine:nrc:service"])
def test_a_fault_that_cannot_be_read_is_wrong_usage(text: str) -> None:
    with pytest.raises(WrongUsage):
        Fault.parse(text)


def test_runs_of_one_second_have_their_own_folders_and_latest_is_the_newest(tmp_path: Path) -> None:
    first, second = run_folder.create(tmp_path / "runs"), run_folder.create(tmp_path / "runs")
    assert first.root != second.root
    assert (tmp_path / "runs" / "latest").resolve() == second.root


def test_a_run_leaves_nothing_outside_of_the_folder_of_runs(tmp_path: Path) -> None:
    run_folder.create(tmp_path / "runs")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(("soak", "trial_s"), [({}, 2.0), ({"soak_s": 5.0}, 4.0)])
def test_a_trial_shorter_than_the_soak_is_wrong_usage(tmp_path: Path, soak: dict[str, float], trial_s: float) -> None:
    setup = setup_with(tmp_path, gateway_timing=soak, ecu_timing={"trial_confirm_timeout_s": trial_s})
    with pytest.raises(WrongUsage, match=rf"ecus.engine.timing.trial_confirm_timeout_s: {trial_s:g} s, .* shorten the"):
        simulated_ecu(setup, "engine", FirmwareFile("engine", "engine-mcu-a", "1.0.0", tmp_path, 1, 1))


def test_a_soak_shorter_than_the_trial_is_told_to_both(tmp_path: Path) -> None:
    setup = setup_with(tmp_path, gateway_timing={"soak_s": 0.5}, ecu_timing={"trial_confirm_timeout_s": 1.0})
    (tmp_path / "config").mkdir()
    (tmp_path / "ecu").mkdir()
    for name in ("engine", "adas"):
        (tmp_path / "ecu" / f"{name}.secret").write_text("00" * 32)
    simulated_ecu(setup, "engine", FirmwareFile("engine", "engine-mcu-a", "1.0.0", tmp_path, 1, 1))
    gateway(setup)
    told = {name: json.loads((tmp_path / "config" / f"{name}.json").read_text()) for name in ("ecu-engine", "gateway")}
    assert told["ecu-engine"]["timing"]["trial_confirm_timeout_s"] == 1.0
    assert told["gateway"]["timing"]["soak_s"] == 0.5


def setup_with(folder: Path, **options: Any) -> RunSetup:
    told = Ports(grpc=1, artifacts=2, mqtt=3, hmi=4, control={"engine": 5, "adas": 6})
    bench = bench_file.load()
    return RunSetup(bench, BenchOptions(**options), run_folder.RunFolder(folder), folder, told)
