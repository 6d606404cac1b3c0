"""`otabench bench check`: everything that a bench file names is looked at, a line each, with the remedy."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import threading
from collections.abc import Iterator
from ctypes.util import find_library
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from otabench.bench.bus import environment
from otabench.bench.bus.link_state import LinkState
from otabench.bench.doctor import bench_check, bus_probe
from otabench.bench.errors import BenchError, BenchFileError
from otabench.bench.finding import Finding
from otabench.bench.gateway import flashing
from otabench.bench.gateway.flashing import session_check
from otabench.bench.launcher.keys import make_keys
from otabench.bench.run_mark import RunMark
from otabench.bench.topology import bench_file
from otabench.bench.topology.entries import BusEntry
from otabench.bench.uds import flash_profiles
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import BusUnavailable, EcuContradicts, EcuRefused, FlashError
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.sequence import profile as sequence_profiles
from tests.bench.runs.made import make_run
from tests.command_line import run_otabench
from tests.personalities import certificates

BOARD = """
vehicle: {vin: W0TABENCH00000001}
keys: ./keys
buses:
  usb: {interface: socketcan, channel: can77}
  air: {interface: udp_multicast, channel: 239.74.163.77}
ecus:
  engine:
    kind: board
    bus: BUS
    request_id: 0x7E0
    response_id: 0x7E8
    hardware_id: engine-mcu-a
    serial: ENGINE-1
    security: {secret_file: ./engine.secret}
    power: {driver: command, on: "no-such-relay 1", off: "true"}
"""


def findings(folder: Path, text: str) -> dict[str, list[str]]:
    file = folder / "my.bench.yaml"
    file.write_text(text)
    told: dict[str, list[str]] = {}
    for each in bench_check.examine(bench_file.load(file)):
        told.setdefault(each.where, []).append(f"{each.severity} {each.sentence()}")
    return told


def test_every_thing_that_is_missing_is_one_line_with_its_remedy(tmp_path: Path) -> None:
    told = findings(
        tmp_path, BOARD.replace("BUS", "usb").replace("hardware_id", "profile: ./mine.yaml\n    hardware_id")
    )
    assert told["bus usb"][0].startswith("fail there is no CAN interface can77 on this kernel; plug the adapter in")
    assert told["bus air"] == ["ok udp_multicast 239.74.163.77 can be opened (required: 500 kbit/s)"]
    profile, power, secret = told["ECU engine"]
    assert "flash profile" in profile and "mine.yaml: cannot be read" in profile
    assert power == "fail ecus.engine.power.on: there is no program 'no-such-relay'; install it, or give its path"
    assert "engine.secret: the security access secret of engine cannot be read: No such file" in secret


def test_a_board_that_does_not_answer_is_named_with_what_to_look_at(tmp_path: Path) -> None:
    (tmp_path / "engine.secret").write_text("ab" * 32 + "\n")
    told = findings(tmp_path, BOARD.replace("BUS", "air").replace("no-such-relay 1", "true"))
    (line,) = told["ECU engine"]
    assert line.startswith("fail board engine: 22 F1A1 read: no answer in time")
    assert "power, wiring, termination, bit rate, and ecus.engine.request_id/response_id?" in line


def test_a_board_without_keys_and_a_plug_in_that_is_not_there_are_told(tmp_path: Path) -> None:
    (tmp_path / "engine.secret").write_text("ab" * 32)
    text = BOARD.replace("BUS", "usb").replace("keys: ./keys", "").replace("no-such-relay 1", "true")
    told = findings(tmp_path, text.replace("security: {", "security: {algorithm: 'no_such_module:key', "))
    assert told["keys"][0].startswith(
        "fail a board trusts the keys it was given, and this file names none; add `keys: DIR`"
    )
    assert "module no_such_module cannot be imported" in told["ECU engine"][0]


AIR = "interface: udp_multicast, channel: 239.74.163.78, port: 43178, hop_limit: 0"


def default_on(bus: str, *, ecu: str = "") -> str:
    """Return the default bench on another bus, with something more in both ECUs' entries."""
    text = bench_file.default_text().replace("interface: socketcan, channel: vcan0, bitrate: 500000, fd: false", bus)
    return text.replace("kind: simulated", f"kind: simulated{ecu}")


def test_keys_that_are_not_there_and_keys_that_lack_something_are_told(tmp_path: Path) -> None:
    text = f"keys: ./nokeys\n{default_on(AIR)}"
    (line,) = findings(tmp_path, text)["keys"]
    assert (
        line
        == f"fail there is no folder {tmp_path}/nokeys; `otabench keys init {tmp_path}/nokeys --bench FILE` makes it"
    )

    make_keys(tmp_path / "nokeys", bench_file.load(), log=tmp_path / "log")
    assert findings(tmp_path, text)["keys"] == [f"ok {tmp_path}/nokeys"]

    (tmp_path / "nokeys/image/signing.pem").unlink()
    (tmp_path / "nokeys/ecu/adas.secret").unlink()
    (line,) = findings(tmp_path, text)["keys"]
    assert line.startswith(
        f"fail missing in {tmp_path}/nokeys: image/signing.pem, ecu/adas.secret; `otabench keys init`"
    )


def test_the_secret_file_of_a_simulated_ecu_is_read_too(tmp_path: Path) -> None:
    told = findings(tmp_path, default_on(AIR, ecu=", security: {secret_file: ./nope}"))
    (line,) = told["ECU engine"]
    assert line.startswith(f"fail {tmp_path}/nope: the security access secret of engine cannot be read: No such file")
    assert line.endswith("; correct ecus.engine.security.secret_file")


@pytest.mark.parametrize(
    ("authentication", "problem"),
    [
        ("", "its flash profile authenticates, and the tester has no certificate; add authentication: {certificate: FILE, key: FILE}"),
        ("    authentication: {certificate: ./absent.pem, key: ./k.pem}\n", "absent.pem: No such file or directory; check the path"),
        ("    authentication: {certificate: ./root.pem, key: ./tester.key.pem}\n", "tester.key.pem: is not the key of"),
        ("    authentication: {certificate: ./old.pem, key: ./tester.key.pem}\n", "old.pem: is valid from 2000-01-01 to 2000-01-11 only"),
    ],
    ids=["none", "absent", "another's", "expired"],
)  # fmt: skip
def test_a_tester_that_cannot_authenticate_itself_is_found_before_a_run(
    authentication: str, problem: str, tmp_path: Path
) -> None:
    certificates.write(tmp_path)
    old = certificates.issued(from_=datetime(2000, 1, 1, tzinfo=UTC))
    (tmp_path / "old.pem").write_bytes(old.public_bytes(Encoding.PEM))
    (tmp_path / "engine.secret").write_text("ab" * 32)
    told = findings(tmp_path, BOARD.replace("BUS", "air") + "    profile: certificates\n" + authentication)
    (line,) = [each for each in told["ECU engine"] if "authentication" in each]
    assert line.startswith("fail ecus.engine.authentication: ")
    assert problem in line


def test_every_secret_that_may_be_chosen_is_tried(tmp_path: Path) -> None:
    choices = "choices: {A-1: {algorithm: sa2, secret: 'ff'}, A-2: {secret_file: ./a2.secret}}"
    text = BOARD.replace("BUS", "air").replace("{secret_file: ./engine.secret}", f"{{{choices}}}")
    assert "a2.secret: the security access secret of engine cannot be read" in " ".join(
        findings(tmp_path, text)["ECU engine"]
    )
    (tmp_path / "a2.secret").write_text("0a0b")
    told = " ".join(findings(tmp_path, text)["ECU engine"])
    assert "ecus.engine.security.choices.A-1.algorithm: security algorithm sa2: failed" in told


def test_iso_tp_of_the_kernel_is_a_mistake_on_a_bus_that_is_not_the_kernel_s(tmp_path: Path) -> None:
    with pytest.raises(
        BenchFileError, match=r"ecus\.engine\.isotp\.transport: the kernel has ISO-TP only on SocketCAN"
    ):
        findings(tmp_path, default_on(AIR, ecu=", isotp: {transport: kernel}"))


def test_iso_tp_of_the_kernel_is_asked_for_where_the_file_wants_it(tmp_path: Path) -> None:
    told = findings(tmp_path, default_on("channel: vcan0", ecu=", isotp: {transport: kernel}"))["ECU engine"]
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP).close()
    except OSError:
        assert told[0].startswith("fail ecus.engine.isotp.transport: ISO-TP is not in this kernel")
        assert "; modprobe can-isotp, or leave transport out" in told[0]
    else:
        assert told[0].startswith("ok simulated")


@pytest.mark.parametrize(
    ("bus", "line"),
    [
        ("channel: can77, bitrate: 250000", "otabench can up can77 --bitrate 250000"),
        (
            "channel: can77, bitrate: 250000, fd: true, data_bitrate: 2000000",
            "otabench can up can77 --bitrate 250000 --data-bitrate 2000000 --fd",
        ),
    ],
)
def test_the_line_that_sets_an_interface_up_has_the_bench_file_s_bit_rates(tmp_path: Path, bus: str, line: str) -> None:
    (told,) = findings(tmp_path, default_on(bus))["bus powertrain"]
    assert told == f"fail there is no CAN interface can77 on this kernel; plug the adapter in and set it up: `{line}`"


@pytest.fixture
def classic_vcan() -> Iterator[str]:
    """A virtual interface that is set to classic CAN."""
    name = "vcanclassic"
    if subprocess.run(
        ["ip", "link", "add", name, "mtu", "16", "type", "vcan"], capture_output=True, check=False
    ).returncode:
        pytest.skip(f"making {name} needs root (the guest kernel has it: WITH_CAN=guest)")
    yield name
    subprocess.run(["ip", "link", "del", name], check=True)


@pytest.mark.vcan
def test_can_fd_on_an_interface_that_is_classic_is_told_with_the_line_that_mends_it(
    tmp_path: Path, classic_vcan: str
) -> None:
    text = default_on(f"channel: {classic_vcan}, fd: true")
    subprocess.run(["ip", "link", "set", classic_vcan, "up"], check=True)
    (told,) = findings(tmp_path, text)["bus powertrain"]
    assert told == (
        f"fail the CAN interface {classic_vcan} is set to classic CAN, but the bench file has fd: true; "
        f"`otabench can up {classic_vcan} --fd`"
    )
    with pytest.raises(BenchError, match=f"bus powertrain: the CAN interface {classic_vcan} is set to classic"):
        environment.usable_topology(bench_file.parse(text, name="x"), kernel_can=True)
    mend = told.split("`")[1].removeprefix("otabench ").split()
    assert run_otabench(*mend, cwd=tmp_path).returncode == 0
    assert findings(tmp_path, text)["bus powertrain"] == [
        f"ok {classic_vcan} exists and is up (required: 500 kbit/s, CAN FD)"
    ]


def sentence(found: Finding | None) -> str:
    return found.sentence() if found else ""


def rate_problem(bus: BusEntry, state: LinkState) -> str:
    return sentence(bus_probe.rate_problem(bus, state))


def bus_problem(bus: BusEntry) -> str:
    return sentence(bus_probe.problem(bus))


def link(**told: int) -> LinkState:
    return LinkState("can0", "can", True, 72, 1000, state="ERROR-ACTIVE", **told)  # type: ignore[arg-type]


def test_other_bit_rates_than_the_file_s_are_told_with_the_line_that_mends_them() -> None:
    classic, fd = BusEntry(channel="can0"), BusEntry(channel="can0", fd=True, data_bitrate=2_000_000)
    assert rate_problem(classic, link(bitrate=250_000)) == (
        "the CAN interface can0 runs at 250000 bit/s, but the bench file requires 500000; "
        "`otabench can up can0 --bitrate 500000`, or correct the file"
    )
    assert (
        "has a data phase of 4000000 bit/s, but the bench file requires 2000000; `otabench can up can0 --bitrate 500000 --data"
        in (rate_problem(fd, link(bitrate=500_000, data_bitrate=4_000_000)))
    )
    assert rate_problem(fd, link(bitrate=500_000, data_bitrate=2_000_000)) == ""
    assert rate_problem(classic, link()) == ""  # nobody knows


@pytest.mark.skipif(importlib.util.find_spec("gs_usb") is not None, reason="the package gs-usb is installed here")
def test_a_package_that_is_missing_is_told_with_the_line_that_installs_it() -> None:
    assert bus_problem(BusEntry(interface="gs_usb", channel=0)) == (
        'interface gs_usb, channel 0: the required Python package is not installed; `pip install "python-can[gs-usb]"`'
    )


@pytest.mark.skipif(find_library("canlib") is not None, reason="Kvaser's CANlib is installed here")
def test_a_vendor_s_library_that_is_missing_is_told() -> None:
    assert bus_problem(BusEntry(interface="kvaser", channel=0)).startswith(
        "interface kvaser, channel 0: Kvaser's CANlib (libcanlib.so) is not installed; install it, or use the kernel's"
    )


@pytest.mark.parametrize(
    ("bus", "words"),
    [
        (BusEntry(channel="lo"), "lo is the loopback interface; `ip -br link show type can` lists the CAN interfaces"),
        (
            BusEntry(interface="virtual", channel="x"),
            "one program, and a bench has several programs; use udp_multicast",
        ),
        *(
            (BusEntry(interface=name, channel=0), "python-can drives these adapters on Windows only; use an adapter")
            for name in ("vector", "ixxat", "nican", "systec", "usb2can", "etas", "iscan")
        ),
    ],
)
def test_a_bus_that_can_never_work_here_is_told_with_what_it_is(bus: BusEntry, words: str) -> None:
    found = bus_problem(bus)
    assert words in found
    assert "plugged in" not in found


def test_a_bus_within_one_program_is_refused_by_a_run_too() -> None:
    topology = bench_file.parse(default_on("interface: virtual, channel: x"), name="x")
    with pytest.raises(BenchError, match="bus powertrain: interface virtual passes frames between the threads"):
        environment.usable_topology(topology)


def test_socketcand_has_no_can_fd() -> None:
    bus = "interface: socketcand, channel: can0, host: localhost, port: 9, fd: true"
    with pytest.raises(BenchFileError, match=r"buses\.powertrain\.fd: python-can's socketcand has no CAN FD"):
        bench_file.parse(default_on(bus), name="x")


def board_reports(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, str] | FlashError, session: FlashError | None
) -> None:
    """Let the board of the bench file answer."""

    def probe(endpoint: EcuEndpoint) -> EcuIdentity:
        if isinstance(found, FlashError):
            raise found
        return EcuIdentity("engine", "ENGINE-1", "engine-mcu-a", found["version"], 0, 0, ())

    def try_session(endpoint: EcuEndpoint) -> None:
        if session is not None:
            raise session

    monkeypatch.setattr(flashing, "probe", probe)
    monkeypatch.setattr(session_check, "try_session", try_session)


REFUSED_F1A1 = EcuRefused(ecu="engine", step="22 F1A1 read", nrc=0x31)
REFUSED_SESSION = EcuRefused(ecu="engine", step="10 03 diagnostic session", nrc=0x22)


@pytest.mark.parametrize(
    ("found", "session", "words"),
    [
        ({"version": "V1.2 b"}, None, "fail the board reports version 'V1.2 b': expected MAJOR.MINOR.REVISION"),
        ({"version": "1.2.3"}, None, "ok board ENGINE-1 on air answers, and runs 1.2.3"),
        ({"version": "0.0.0"}, None, "ok board ENGINE-1 on air answers"),
        (REFUSED_F1A1, None, "fail board engine answers, but 22 F1A1 read: NRC 31 requestOutOfRange"),
        ({"version": "1.2.3"}, REFUSED_SESSION, "fail board engine answers, but 10 03 diagnostic session: NRC 22"),
        (EcuContradicts("3 bytes", ecu="engine", step="22 F1A1 read"), None, "fail board engine answers, but 22 F1A1"),
        (BusUnavailable("gone", ecu="engine", step="open bus"), None, "fail board engine: open bus: gone"),
    ],
)
def test_what_would_end_a_run_is_found_before_without_advice_about_wires(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: dict[str, str] | FlashError,
    session: FlashError | None,
    words: str,
) -> None:
    (tmp_path / "engine.secret").write_text("ab" * 32)
    board_reports(monkeypatch, found, session)
    (line,) = findings(tmp_path, BOARD.replace("BUS", "air").replace("no-such-relay 1", "true"))["ECU engine"]
    assert line.startswith(words)
    assert "wiring" not in line


def test_the_session_that_an_update_begins_with_is_read_from_either_kind_of_profile() -> None:
    assert session_check.first_session(flash_profiles.load("iso14229-ab")) == 0x03
    assert session_check.first_session(flash_profiles.load("single-bank")) == 0x03


@pytest.mark.parametrize(
    ("versions", "problem"),
    [
        ("order: list, known: [Blue]", "generated firmware: its flash profile lists 1 versions, too few"),
        ("order: list, known: [Blue, Green]", ""),
        ("order: numeric", ""),
    ],
)
def test_versions_of_generated_firmware_that_no_cloud_takes_are_told(
    tmp_path: Path, versions: str, problem: str
) -> None:
    profile = Path(sequence_profiles.path_of("minimal")).read_text()
    (tmp_path / "mine.yaml").write_text(profile.replace("order: semver", versions))
    text = default_on(AIR, ecu=", personality: minimal").replace("profile: iso14229-ab", "profile: ./mine.yaml")
    (line,) = findings(tmp_path, text)["ECU adas"]
    assert line.startswith(f"fail {problem}" if problem else "ok simulated")


def checked(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "my.yaml").write_text(text)
    return run_otabench("bench", "check", "my.yaml", cwd=folder)


def test_a_socketcand_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        bus = f"interface: socketcand, channel: can0, host: 127.0.0.1, port: {taken.getsockname()[1]}"
        done = checked(tmp_path, default_on(bus))
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    assert "(Connection refused); start socketcand there, or correct host and port" in line


def test_a_socketcand_that_says_something_else_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):  # the probe's connection and python-can's
                connection, _ = server.accept()
                connection.sendall(b"< nonsense >")
                connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        bus = f"interface: socketcand, channel: can0, host: 127.0.0.1, port: {server.getsockname()[1]}"
        done = checked(tmp_path, default_on(bus))
        thread.join(timeout=10)
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    assert "nonsense" in line and "check that the socketcand there serves this channel" in line


def test_a_bus_that_a_running_bench_may_hold_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = BusEntry(interface="neousys", channel=0)  # needs no package to be imported, and a library to be opened
    monkeypatch.chdir(tmp_path)
    assert bus_problem(bus)
    mark = RunMark(make_run(Path("runs"), "20261128T120000Z"), keep_keys=False)
    mark.make()
    try:
        assert bus_problem(bus) == ""
        assert bus_probe.describe(bus) == "neousys 0 was not opened, because a bench of runs is up"
    finally:
        mark.remove()
