"""`otabench doctor`: its findings about interfaces in states of a real kernel, about error frames, adapters, and this machine.

The ``ip_link_can_*.json`` files are what ``ip -j -d -s link show type can`` printed of a slcan interface on Linux 6.1 whose
adapter reported these states; the variants below add what controllers with counters report besides.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otabench.bench.bus import environment, link_state, vcan
from otabench.bench.doctor import adapters, error_frames, links, machine
from otabench.bench.doctor.adapters import UsbAdapter
from otabench.bench.finding import Finding, Severity, fail, ok, warn
from otabench.bench.run_mark import RunMark
from otabench.bench.topology import bench_file
from otabench.bench.topology.model import Topology
from tests.bench.runs.made import make_run
from tests.needs import needs

DATA = Path(__file__).parent / "data"


def recorded(name: str) -> dict[str, Any]:
    (entry,) = json.loads((DATA / f"ip_link_{name}.json").read_text())
    return dict(entry)


def with_counters(entry: dict[str, Any], *, sent: int, received: int, **counted: int) -> dict[str, Any]:
    entry["linkinfo"]["info_data"]["berr_counter"] = {"tx": sent, "rx": received}
    entry["linkinfo"]["info_xstats"] |= counted
    return entry


def of_another_driver(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a controller that can be restarted, and takes any bit rate."""
    entry["linkinfo"]["info_data"].pop("bitrate_const")
    return entry


def judge(entry: dict[str, Any], *, bitrates: dict[str, int] | None = None) -> list[Finding]:
    return links.judge([link_state.parse(entry)], bitrates=bitrates)


def levels(findings: list[Finding]) -> list[Severity]:
    return [finding.severity for finding in findings]


def test_a_healthy_interface_is_one_line() -> None:
    (finding,) = judge(recorded("can_up"), bitrates={"can0": 500_000})
    assert finding.severity is Severity.OK
    assert finding.problem.startswith("slcan, up, error-active, 500 kbit/s, txqueuelen 1000, rx 0 frames, 0 errors")


def test_vcan_is_healthy_without_a_controller() -> None:
    (finding,) = judge(recorded("vcan"))
    assert finding.severity is Severity.OK
    assert finding.problem.startswith("vcan, up, CAN FD, txqueuelen 1000")


def test_a_bus_that_is_off_says_how_to_start_it_again() -> None:
    (finding,) = judge(of_another_driver(recorded("can_busoff")))
    assert finding.severity is Severity.FAIL
    assert "bus-off, once so far" in finding.problem
    assert "ip link set can0 type can restart (or set restart-ms 100" in finding.remedy


def test_a_serial_adapter_knows_no_restart_and_is_set_up_again() -> None:
    (finding,) = judge(recorded("can_busoff"))
    assert "then otabench can up can0 --bitrate 500000 (slcan does not support restart-ms)" in finding.remedy


def test_an_adapter_that_came_back_by_itself_is_still_without_carrier() -> None:
    entry = recorded("can_busoff")
    entry["linkinfo"]["info_data"]["state"] = "ERROR-ACTIVE"
    (finding,) = judge(entry)
    assert finding.severity is Severity.FAIL
    assert "the controller recovered from bus-off by itself; the kernel still sends nothing" in finding.problem


def test_a_bit_rate_that_only_slcand_knows_contradicts_nobody() -> None:
    entry = recorded("can_up")
    entry["linkinfo"]["info_data"]["bittiming_bitrate"] = 0xFFFF_FFFF
    (finding,) = judge(entry, bitrates={"can0": 500_000})
    assert finding.severity is Severity.OK and "kbit/s" not in finding.problem


def test_a_bus_off_that_ends_by_itself_is_told_so() -> None:
    entry = recorded("can_busoff")
    entry["linkinfo"]["info_data"]["restart_ms"] = 100
    (finding,) = judge(entry)
    assert "restarts by itself after 100 ms" in finding.remedy


def test_error_passive_without_counters_names_all_three_causes() -> None:
    (finding,) = judge(recorded("can_passive"))
    assert finding.severity is Severity.FAIL
    assert "it is the only node, its bit rate is wrong, or the termination is missing" in finding.remedy


def test_a_sender_that_nobody_acknowledges_seems_to_be_the_only_node() -> None:
    (finding,) = judge(with_counters(recorded("can_passive"), sent=128, received=0))
    assert "the only node" in finding.problem and "send 128, receive 0" in finding.problem
    assert "120 ohm" in finding.remedy


def test_a_listener_to_whom_nothing_makes_sense_has_the_wrong_bit_rate() -> None:
    (finding,) = judge(with_counters(recorded("can_passive"), sent=0, received=135))
    assert "cannot decode" in finding.problem
    assert "bit rate" in finding.remedy


def test_error_warning_is_a_warning() -> None:
    entry = recorded("can_up")
    entry["linkinfo"]["info_data"]["state"] = "ERROR-WARNING"
    assert levels(judge(entry)) == [Severity.WARN]


@pytest.mark.parametrize(("bitrates", "level"), [({}, Severity.WARN), ({"can0": 250_000}, Severity.FAIL)])
def test_an_interface_that_is_down_matters_where_the_bench_file_names_it(
    bitrates: dict[str, int], level: Severity
) -> None:
    (finding,) = judge(recorded("can_down"), bitrates=bitrates)
    assert finding.severity is level
    wanted = bitrates.get("can0", 500_000)
    assert finding.remedy == f"ip link set can0 type can bitrate {wanted}; ip link set can0 up"


def test_another_bit_rate_than_the_bench_file_s_is_a_failure() -> None:
    findings = judge(recorded("can_up"), bitrates={"can0": 250_000})
    assert levels(findings) == [Severity.OK, Severity.FAIL]
    assert "runs at 500000 bit/s, but the bench file requires 250000" in findings[1].problem


def test_a_short_queue_is_a_warning_with_the_line_that_mends_it() -> None:
    entry = recorded("can_up") | {"txqlen": 10}
    findings = judge(entry)
    assert levels(findings) == [Severity.OK, Severity.WARN]
    assert findings[1].remedy == "ip link set can0 txqueuelen 1000"


def test_a_bit_rate_is_read_from_controllers_with_and_without_bit_timing() -> None:
    entry = recorded("can_up")
    entry["linkinfo"]["info_data"].pop("bittiming_bitrate")
    entry["linkinfo"]["info_data"]["bittiming"] = {"bitrate": 1_000_000, "sample_point": "0.750"}
    assert "1000 kbit/s" in judge(entry)[0].problem


@pytest.mark.parametrize("entry", [{"ifname": "can3"}, {"ifname": "can3", "flags": ["UP"], "linkinfo": {}}])
def test_what_an_older_ip_leaves_out_is_no_trouble(entry: dict[str, Any]) -> None:
    assert len(judge(entry)) <= 2


ACK = (0x0A8, bytes.fromhex("0000001900000000"))
"""What the kernel made of an adapter's acknowledgement error: acknowledgement slot."""
FORM = (0x088, bytes.fromhex("0000060000000000"))
"""… of form and stuff errors."""
BIT = (0x088, bytes.fromhex("0000080000000000"))
"""… of a dominant bit that could not be sent."""


def test_silence_is_no_error() -> None:
    assert error_frames.judge("can0", [], data_frames=0, seconds=0.5) == [
        ok("can0", "received 0 frames in 0.5 s, no error frame")
    ]


def test_acknowledgement_errors_and_nothing_heard_is_the_only_node() -> None:
    (finding,) = error_frames.judge("can0", [ACK] * 20, data_frames=0, seconds=0.5)
    assert finding.severity is Severity.FAIL
    assert "it is the only node" in finding.problem and "no acknowledgement 20" in finding.problem


def test_destroyed_frames_and_nothing_heard_is_the_bit_rate() -> None:
    (finding,) = error_frames.judge("can0", [FORM] * 20, data_frames=0, seconds=0.5)
    assert finding.severity is Severity.FAIL
    assert "every frame is destroyed" in finding.problem and "another bit rate" in finding.remedy


def test_destroyed_frames_among_good_ones_is_the_termination() -> None:
    (finding,) = error_frames.judge("can0", [FORM] * 5, data_frames=300, seconds=0.5)
    assert finding.problem.startswith("frames are destroyed")
    assert "60 ohm" in finding.remedy


@pytest.mark.parametrize("data_frames", [0, 300])
def test_frames_that_read_back_otherwise_are_the_termination(data_frames: int) -> None:
    (finding,) = error_frames.judge("can0", [BIT] * 20, data_frames=data_frames, seconds=0.5)
    assert finding.problem.startswith("it reads back different bits from those it sent")
    assert "60 ohm" in finding.remedy


def test_one_error_now_and_then_is_a_warning() -> None:
    assert levels(error_frames.judge("can0", [FORM], data_frames=300, seconds=0.5)) == [Severity.WARN]


def test_transceiver_errors_are_the_cable() -> None:
    (finding,) = error_frames.judge("can0", [(0x010, bytes(8))], data_frames=0, seconds=0.5)
    assert "check the cable" in finding.remedy


def plug(
    devices: Path, path: str, vendor: str, product: str, *, serial: str = "", driver: str = "", interface: str = ""
) -> None:
    device, part = devices / path, devices / f"{path}:1.0"
    device.mkdir(parents=True)
    part.mkdir()
    (device / "idVendor").write_text(f"{vendor}\n")
    (device / "idProduct").write_text(f"{product}\n")
    if serial:
        (device / "serial").write_text(f"{serial}\n")
    if driver:
        (devices / "drivers" / driver).mkdir(parents=True, exist_ok=True)
        (part / "driver").symlink_to(devices / "drivers" / driver)
    if interface:
        (part / interface).mkdir(parents=True)


def test_adapters_are_known_by_sysfs(tmp_path: Path) -> None:
    plug(tmp_path, "1-1", "1d50", "606f", serial="0042001", driver="gs_usb", interface="net/can0")
    plug(tmp_path, "1-2", "0c72", "000c", driver="")
    plug(tmp_path, "1-3", "16d0", "117e", serial="A1", driver="cdc_acm", interface="tty/ttyACM0")
    plug(tmp_path, "1-4", "0bfd", "0120", serial="77", driver="kvaser_usb", interface="net/can1")
    plug(tmp_path, "1-5", "046d", "c31c", driver="usbhid")
    found = adapters.find(tmp_path)
    assert [adapter.path for adapter in found] == ["1-1", "1-2", "1-3", "1-4"]
    assert found[0] == UsbAdapter("1-1", "candleLight / gs_usb", "gs_usb", "0042001", "gs_usb", ("can0",))
    findings = adapters.judge(found, is_needed=True, is_missing=False)
    assert levels(findings) == [Severity.OK, Severity.WARN, Severity.OK, Severity.OK]
    assert findings[0].problem == "candleLight / gs_usb, serial 0042001, driver gs_usb, can0"
    assert findings[1].remedy == "modprobe peak_usb"
    assert "/dev/ttyACM0" in findings[2].problem


def test_a_lawicel_adapter_behind_a_usb_serial_chip_is_known(tmp_path: Path) -> None:
    plug(tmp_path, "1-1", "0403", "ffa8", serial="LW1", driver="ftdi_sio", interface="ttyUSB0")
    plug(tmp_path, "1-2", "0403", "6001", serial="A9", driver="ftdi_sio", interface="ttyUSB1")  # any FTDI cable
    (found,) = adapters.find(tmp_path)
    assert found == UsbAdapter("1-1", "LAWICEL CANUSB", "ftdi_sio", "LW1", "ftdi_sio", ("ttyUSB0",))
    (finding,) = adapters.judge([found], is_needed=True, is_missing=True)
    assert finding == ok(
        "USB 1-1", "LAWICEL CANUSB, serial LW1, driver ftdi_sio, /dev/ttyUSB0: for `slcand` or python-can's slcan"
    )


def test_clones_that_share_a_serial_number_are_told(tmp_path: Path) -> None:
    for path, interface in (("1-1", "net/can0"), ("1-2", "net/can1")):
        plug(tmp_path, path, "1d50", "606f", serial="000000000001", driver="gs_usb", interface=interface)
    findings = adapters.judge(adapters.find(tmp_path), is_needed=True, is_missing=False)
    assert [finding.severity for finding in findings] == [Severity.OK, Severity.WARN] * 2
    assert "USB path" in findings[1].remedy


def test_no_adapter_matters_only_to_a_bench_that_misses_one(tmp_path: Path) -> None:
    assert levels(adapters.judge(adapters.find(tmp_path / "absent"), is_needed=False, is_missing=False)) == [
        Severity.OK
    ]
    assert levels(adapters.judge([], is_needed=True, is_missing=False)) == [Severity.OK]  # on a serial line
    assert levels(adapters.judge([], is_needed=True, is_missing=True)) == [Severity.WARN]


def test_a_line_has_level_subject_words_and_remedy() -> None:
    assert (
        fail("can0", "is down", "ip link set can0 up").as_line()
        == "fail  can0             is down; ip link set can0 up"
    )
    assert warn("tc", "is not installed", "x").as_json() == {
        "severity": "warn", "where": "tc", "problem": "is not installed", "remedy": "x"
    }  # fmt: skip


@pytest.mark.parametrize("is_ours", [True, False])
def test_the_port_of_this_folder_s_own_page_is_not_another_program_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_ours: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        run = make_run(Path("runs"), "20261128T120000Z")
        (run / "bench.json").write_text(json.dumps({"hmi_port": port if is_ours else port - 1}))
        mark = RunMark(run, keep_keys=False)
        mark.make()
        monkeypatch.setenv("HMI_PORT", str(port))
        try:
            (finding,) = [each for each in machine.examine(bench_file.load()) if each.where == "HMI port"]
        finally:
            mark.remove()
    if is_ours:
        assert finding == ok("HMI port", f"{port} is the driver's page of the bench of {run}, which is up")
    else:
        assert finding.severity is Severity.WARN and "another program or bench" in finding.problem


def test_a_kernel_without_can_is_answered_with_with_can_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "why_kernel_has_no_can", lambda: "not supported")
    monkeypatch.setattr(machine, "why_kernel_has_no_isotp", lambda: "not supported")
    monkeypatch.setattr(vcan, "can_make", lambda: False)
    remedies = {each.where: each.remedy for each in machine.examine(on_a_missing_bus())}
    for where in ("can-raw", "can-isotp", "bus powertrain"):
        assert "setup/with-can" in remedies[where]
        assert "vcan.sh" not in remedies[where] and "modprobe" not in remedies[where]


def on_a_missing_bus() -> Topology:
    return bench_file.parse(bench_file.default_text().replace("vcan0", "vcan77"), name="x")


def doctor(*arguments: str, cwd: Path, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-c", "from otabench.bench.cli import main; main()", "doctor", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=60, env=environment)


def test_this_machine_is_looked_at_and_the_exit_status_tells_of_a_failure(tmp_path: Path) -> None:
    done = doctor("--json", cwd=tmp_path)
    findings = json.loads(done.stdout)
    assert done.stderr == ""
    about = {entry["where"] for entry in findings}
    assert {
        "kernel",
        "can-raw",
        "can-isotp",
        "bus powertrain",
        "broker",
        "database",
        "HMI port",
        "keys",
        "disk",
    } <= about
    assert all(entry["remedy"] for entry in findings if entry["severity"] != "ok")
    assert done.returncode == (1 if any(entry["severity"] == "fail" for entry in findings) else 0)


@pytest.mark.vcan
def test_a_machine_with_a_bus_is_healthy(tmp_path: Path) -> None:
    done = doctor(cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "\nok    can-raw " in done.stdout and "\nok    bus powertrain   vcan0 exists and is up" in done.stdout


def test_a_bench_file_s_bus_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text(bench_file.default_text().replace("vcan0", "can7"))
    done = doctor("--bench", "real.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "fail  bus powertrain   there is no CAN interface can7 on this kernel; plug the adapter in" in done.stdout
    assert "warn  USB adapter" in done.stdout or "ok    USB" in done.stdout


def told_by_doctor(folder: Path, text: str) -> tuple[dict[str, str], int]:
    """Return its lines about a bench file, by subject, and its exit status."""
    (folder / "my.yaml").write_text(text)
    done = doctor("--bench", "my.yaml", "--json", cwd=folder)
    assert done.stderr == ""
    lines = {f["where"]: f"{f['severity']} {f['problem']}: {f['remedy']}" for f in json.loads(done.stdout)}
    return lines, done.returncode


def default_on(bus: str) -> str:
    return bench_file.default_text().replace("interface: socketcan, channel: vcan0, bitrate: 500000, fd: false", bus)


AIR = "interface: udp_multicast, channel: 239.74.163.79, port: 43179, hop_limit: 0"


def test_keys_that_the_bench_file_names_and_that_are_not_there_are_a_failure(tmp_path: Path) -> None:
    told, status = told_by_doctor(tmp_path, f"keys: ./mykeys\n{default_on(AIR)}")
    assert told["keys"].startswith(f"fail there is no folder {tmp_path}/mykeys: `otabench keys init {tmp_path}/mykeys")
    assert status == 1


def test_a_board_without_keys_is_a_failure(tmp_path: Path) -> None:
    board = "kind: board, serial: ENGINE-1, security: {secret: '" + "a0" * 32 + "'}"
    told, _ = told_by_doctor(tmp_path, default_on(AIR).replace("kind: simulated", board, 1))
    assert told["keys"].startswith(
        "fail a board trusts the keys it was given, and this file names none: add `keys: DIR`"
    )


def test_a_bench_without_socketcan_needs_none_in_the_kernel(tmp_path: Path) -> None:
    told, status = told_by_doctor(tmp_path, default_on(AIR))
    assert told["can-raw"].startswith("ok")
    assert told["bus powertrain"] == "ok udp_multicast 239.74.163.79 can be opened (required: 500 kbit/s): "
    assert told["keys"].startswith("ok no folder ./keys, and the bench file does not name one")
    assert status == 0, told


@pytest.mark.parametrize("interface", ["gs_usb", "kvaser", "pcan"])
def test_a_bus_that_python_can_cannot_open_is_a_failure_and_wants_an_adapter(tmp_path: Path, interface: str) -> None:
    told, status = told_by_doctor(tmp_path, default_on(f"interface: {interface}, channel: 0"))
    assert told["bus powertrain"].startswith(f"fail interface {interface}, channel 0: ")
    assert told["bus powertrain"].partition(": ")[2], "no remedy"
    assert status == 1
    assert adapters.find() or told["USB adapter"].startswith(
        "warn no adapter is plugged in, but the bench file names a real"
    )


ARPHRD_CAN = "280"


def test_a_machine_without_any_can_interface_is_told_so(tmp_path: Path) -> None:
    kinds = [path.read_text().strip() for path in Path("/sys/class/net").glob("*/type")]
    told, _ = told_by_doctor(tmp_path, default_on(AIR))
    if ARPHRD_CAN in kinds:
        assert "interfaces" not in told
    else:
        assert told["interfaces"] == "ok no CAN interface on this kernel: "
        told, _ = told_by_doctor(tmp_path, default_on("channel: can7"))
        assert told["interfaces"].startswith("warn no CAN interface on this kernel: plug the adapter in, or run by")


@needs(os.geteuid() == 0 and shutil.which("setpriv"), "becoming nobody needs root and setpriv (util-linux)")
def test_an_unprivileged_user_is_told_what_is_missing(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all")
    done = doctor(cwd=Path("/"), prefix=nobody)
    assert done.stderr == ""
    assert "warn  rights           no CAP_NET_ADMIN" in done.stdout
    assert "fail  database         this user may not write in /" in done.stdout
    assert done.returncode == 1


@pytest.mark.parametrize(("interface", "is_asked_for"), [("vector", False), ("ixxat", False), ("slcan", True)])
def test_an_adapter_that_linux_cannot_use_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, interface: str, is_asked_for: bool
) -> None:
    monkeypatch.setattr(adapters, "find", list)
    text = bench_file.default_text().replace(
        "interface: socketcan, channel: vcan0", f"interface: {interface}, channel: x"
    )
    found = [each for each in machine.examine(bench_file.parse(text, name="x")) if each.where == "USB adapter"]
    assert ["no adapter is plugged in" in each.problem for each in found] == [is_asked_for]
