"""`setup/with-can`, `setup/vcan.sh` and `setup/packages.sh`: what can be checked without booting a guest.

Two worlds. On any machine: how arguments are read, and what is said where no kernel with CAN is to be had (the
PATH and the directories the scripts look into are made up for that). On a kernel with CAN, which is the guest when
the tests run by `with-can`: that the kernel gives what the bench builds on. What needs a machine that boots guests is
in `setup/guest/selftest.sh`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import pytest

from tests.needs import needs

SETUP = Path(__file__).resolve().parent.parent / "setup"
WITH_CAN = SETUP / "with-can"
IN_GUEST = os.environ.get("OTABENCH_KERNEL") == "guest"
BASE_TOOLS = (
    *("awk", "basename", "bash", "cat", "cut", "dirname", "env", "find", "grep", "head", "id", "mkdir", "printf"),
    *("pwd", "readlink", "sed", "sha256sum", "sh", "sort", "stat", "tail", "tr", "true", "uname"),
)
CAN_FRAME = struct.Struct("=IB3x8s")


def tool_dir(tmp_path: Path, *extra: str) -> Path:
    """A PATH of one directory with the tools every system has, and `extra`: no sudo, no modprobe, no compiler."""
    directory = tmp_path / "bin"
    directory.mkdir(exist_ok=True)
    for name in (*BASE_TOOLS, *extra):
        found = shutil.which(name)
        if found and not (directory / name).exists():
            (directory / name).symlink_to(Path(found).resolve() if name != "python3" else found)
    return directory


def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run to the end, with variables set on top of a clean environment for with-can."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("WITH_CAN", "OTABENCH_NO_"))}
    return subprocess.run(
        [str(argument) for argument in arguments],
        env={**environment, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class TestArguments:
    def test_help_names_every_option(self) -> None:
        answer = run(WITH_CAN, "--help")
        assert answer.returncode == 0
        for option in ("--join", "--forward", "--fallback", "--which", "--build-only", "--list"):
            assert option in answer.stdout

    @pytest.mark.parametrize(
        ("command", "usage"),
        [
            ([WITH_CAN], "Usage: setup/with-can [OPTIONS]"),
            ([sys.executable, "-m", "otabench.bench.cli", "with-can"], "Usage: otabench with-can [OPTIONS]"),
        ],
    )
    def test_help_names_the_command_that_was_typed(self, command: list[str | Path], usage: str) -> None:
        assert run(*command, "--help").stdout.startswith(usage)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "no command"),
            (["--forward"], "needs a port"),
            (["--forward", "http", "true"], "'http' is not a TCP port"),
            (["--forward", "0", "true"], "'0' is not a TCP port"),
            (["--forward=65536", "true"], "'65536' is not a TCP port"),
            (["--no-such-option", "true"], "--no-such-option"),
        ],
    )
    def test_wrong_call_is_refused_and_runs_nothing(self, arguments: list[str], said: str) -> None:
        answer = run(WITH_CAN, *arguments)
        assert answer.returncode == 125
        assert said in answer.stderr

    def test_wrong_values_in_the_environment_name_the_variable(self) -> None:
        assert "WITH_CAN=qemu" in run(WITH_CAN, "true", WITH_CAN="qemu").stderr
        assert "WITH_CAN_PORTS" in run(WITH_CAN, "true", WITH_CAN_PORTS="8080 x").stderr


class TestFrames:
    """The protocol between host and guest."""

    @pytest.fixture
    def wire(self) -> Any:
        spec = importlib.util.spec_from_file_location("otabench_setup_wire", SETUP / "guest/wire.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def test_frames_survive_every_cut(self, wire: Any) -> None:
        request = {"argv": ["a b", "\udcff\n"], "main": True}
        sent = wire.encode_request(request) + wire.frame(wire.Kind.STDIN_EOF) + wire.frame(wire.Kind.STDIN, b"\0" * 9)
        for cut in range(len(sent) + 1):
            reader = wire.FrameReader()
            frames = reader.feed(sent[:cut]) + reader.feed(sent[cut:])
            assert [kind.name for kind, _ in frames] == ["REQUEST", "STDIN_EOF", "STDIN"]
            assert wire.decode_request(frames[0][1]) == request
            assert frames[2][1] == b"\0" * 9

    @pytest.mark.parametrize("sent", [b"\x63\0\0\0\0", b"\x02\xff\xff\xff\xff"])
    def test_what_is_no_frame_is_an_error(self, wire: Any, sent: bytes) -> None:
        with pytest.raises(wire.ProtocolError):
            wire.FrameReader().feed(sent)


class TestPackages:
    def test_wrong_call(self) -> None:
        assert run(SETUP / "packages.sh", "everything").returncode == 2

    def test_without_apt_it_is_one_line_and_the_caller_may_go_on(self, tmp_path: Path) -> None:
        answer = run(SETUP / "packages.sh", "run", PATH=str(tool_dir(tmp_path)))
        assert answer.returncode == 0
        assert len(answer.stderr.splitlines()) == 1
        assert "mosquitto" in answer.stderr

    def apt(self, tmp_path: Path, installed: str) -> dict[str, str]:
        """An apt that notes its calls and a dpkg-query that knows only `installed`."""
        directory = tool_dir(tmp_path, "slirp4netns")
        (directory / "apt-get").write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/apt.log"\n')
        (directory / "dpkg-query").write_text(
            f'#!/bin/sh\nfor last; do :; done\ncase " {installed} " in *" $last "*|*" all "*) printf "ii ";; *) exit 1;; esac\n'
        )
        for name in ("apt-get", "dpkg-query"):
            (directory / name).chmod(0o755)
        return {"PATH": str(directory)}

    def test_nothing_is_done_when_all_is_there(self, tmp_path: Path) -> None:
        answer = run(SETUP / "packages.sh", "test", **self.apt(tmp_path, "all"))
        assert answer.returncode == 0
        assert not (tmp_path / "apt.log").exists()

    def test_only_what_is_missing_is_installed(self, tmp_path: Path) -> None:
        variables = self.apt(tmp_path, "iproute2 can-utils python3-venv slirp4netns ca-certificates")
        missing = run(SETUP / "packages.sh", "--print", "run", **variables).stdout.split()
        assert "mosquitto" in missing
        assert "iproute2" not in missing
        answer = run(SETUP / "packages.sh", "run", **variables)
        if os.geteuid() == 0:
            assert answer.returncode == 0
            calls = (tmp_path / "apt.log").read_text().splitlines()
            assert calls[0].endswith("update")
            assert "mosquitto" in calls[1].split()
            assert "iproute2" not in calls[1].split()
        else:  # there is no sudo on this PATH
            assert answer.returncode == 4
            assert f"apt-get install -y --no-install-recommends {' '.join(missing)}" in answer.stderr
            assert not (tmp_path / "apt.log").exists()


class TestVcanScript:
    def test_a_name_that_is_none_is_refused(self) -> None:
        assert run(SETUP / "vcan.sh", "a/b").returncode == 2
        assert run(SETUP / "vcan.sh", "sixteen-letters-").returncode == 2

    def test_an_interface_of_another_kind_is_left_alone(self) -> None:
        answer = run(SETUP / "vcan.sh", "lo")
        assert answer.returncode == 2
        assert "no CAN interface" in answer.stderr


def interface(name: str, attribute: str) -> str:
    return Path("/sys/class/net", name, attribute).read_text().strip()


def raw_socket(name: str = "vcan0") -> socket.socket:
    made = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
    made.bind((name,))
    made.settimeout(5)
    return made


needs_admin = needs(os.geteuid() == 0, "changing interfaces needs root (the guest kernel has it: WITH_CAN=guest)")


@pytest.mark.vcan
class TestKernel:
    """What the bench builds on, on the kernel the tests run on."""

    def test_vcan0_is_up_and_takes_can_fd(self) -> None:
        assert int(interface("vcan0", "flags"), 16) & 1
        assert (interface("vcan0", "mtu"), interface("vcan0", "tx_queue_len")) == ("72", "1000")

    @pytest.mark.skipif(not IN_GUEST, reason="a vcan made by others may have echo=0; vcan.sh warns")
    def test_frames_are_echoed_after_the_queueing_discipline(self) -> None:
        assert Path("/sys/module/vcan/parameters/echo").read_text().strip() == "Y"

    def test_with_can_runs_natively_where_the_bus_is(self) -> None:
        assert run(WITH_CAN, "--which").stdout == "native\n"
        answer = run(WITH_CAN, "--forward", "8080", "sh", "-c", 'echo "$OTABENCH_KERNEL"; exit 3')
        assert (answer.returncode, answer.stdout) == (3, "guest\n" if IN_GUEST else "native\n")

    def test_vcan_script_does_nothing_twice(self) -> None:
        before = interface("vcan0", "ifindex")
        for _ in range(2):
            answer = run(SETUP / "vcan.sh")
            assert answer.returncode == 0, answer.stderr
        assert interface("vcan0", "ifindex") == before

    @needs_admin
    def test_vcan_script_makes_and_mends_an_interface(self) -> None:
        name = "vcantest3"
        try:
            assert run(SETUP / "vcan.sh", name).returncode == 0
            subprocess.run(["ip", "link", "set", name, "down"], check=True)
            subprocess.run(["ip", "link", "set", name, "mtu", "16"], check=True)
            assert run(SETUP / "vcan.sh", name).returncode == 0
            assert (interface(name, "mtu"), int(interface(name, "flags"), 16) & 1) == ("72", 1)
        finally:
            subprocess.run(["ip", "link", "del", name], check=False)

    def test_raw_frames_pass(self) -> None:
        with raw_socket() as sender, raw_socket() as receiver:
            frame = CAN_FRAME.pack(0x7E0, 8, b"raw-test")
            sender.send(frame)
            while receiver.recv(16) != frame:
                pass  # somebody else's traffic

    def test_isotp_carries_a_payload_of_many_frames(self) -> None:
        with (
            socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP) as tester,
            socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP) as ecu,
        ):
            tester.bind(("vcan0", 0x5E8, 0x5E0))
            ecu.bind(("vcan0", 0x5E0, 0x5E8))
            ecu.settimeout(10)
            payload = bytes(range(256)) * 4
            tester.send(payload)
            assert ecu.recv(4095) == payload

    def test_broadcast_manager_sends_cyclically(self) -> None:
        header = struct.Struct("@IIIllllII0q")  # struct bcm_msg_head: opcode, flags, count, two intervals, id, frames
        with socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_BCM) as manager, raw_socket() as receiver:
            manager.connect(("vcan0",))
            flags = socket.CAN_BCM_SETTIMER | socket.CAN_BCM_STARTTIMER
            frame = CAN_FRAME.pack(0x123, 3, b"bcm")
            manager.send(header.pack(socket.CAN_BCM_TX_SETUP, flags, 0, 0, 0, 0, 10000, 0x123, 1) + frame)
            seen = 0
            while seen < 3:
                seen += receiver.recv(16) == frame

    @needs_admin
    @needs(shutil.which("cangw"), "can-utils is missing: setup/packages.sh run")
    def test_gateway_routes_between_two_interfaces(self) -> None:
        name = "vcantest4"
        rule = ["-s", "vcan0", "-d", name, "-e", "-f", "456:7FF"]
        assert run(SETUP / "vcan.sh", name).returncode == 0
        try:
            subprocess.run(["cangw", "-A", *rule], check=True)
            with raw_socket() as sender, raw_socket(name) as receiver:
                sender.send(CAN_FRAME.pack(0x457, 2, b"no"))
                sender.send(CAN_FRAME.pack(0x456, 3, b"yes"))
                assert receiver.recv(16) == CAN_FRAME.pack(0x456, 3, b"yes")
        finally:
            subprocess.run(["cangw", "-D", *rule], check=False)
            subprocess.run(["ip", "link", "del", name], check=False)

    @pytest.mark.candump
    def test_candump_sees_frames(self) -> None:
        with subprocess.Popen(["candump", "-n", "1", "vcan0,321:7FF"], stdout=subprocess.PIPE, text=True) as dump:
            with raw_socket() as sender:
                while dump.poll() is None:  # its socket opens some time after its start
                    sender.send(CAN_FRAME.pack(0x321, 2, b"\xca\xfe"))
                    time.sleep(0.02)
            assert dump.stdout is not None
            assert "CA FE" in dump.stdout.read()

    @needs_admin
    @pytest.mark.skipif(not IN_GUEST, reason="needs vcan loaded with echo=1")
    def test_a_token_bucket_paces_what_receivers_see(self) -> None:
        name = "vcantest5"
        assert run(SETUP / "vcan.sh", name).returncode == 0
        try:
            # 128 bits a classic frame: 1000 frames a second.
            shape = ["tbf", "rate", "128kbit", "burst", "200", "limit", "100000"]
            subprocess.run(["tc", "qdisc", "add", "dev", name, "root", *shape], check=True)
            with raw_socket(name) as sender, raw_socket(name) as receiver:
                started = time.monotonic()
                for number in range(300):
                    sender.send(CAN_FRAME.pack(0x100, 8, number.to_bytes(8, "big")))
                received = [CAN_FRAME.unpack(receiver.recv(16))[2] for _ in range(300)]
                took = time.monotonic() - started
            assert [int.from_bytes(data, "big") for data in received] == list(range(300))
            assert took > 0.25, "frames were not paced"
        finally:
            subprocess.run(["ip", "link", "del", name], check=False)


class TestSurroundings:
    """The guest is to be as good a place as the host."""

    def test_shared_memory_works(self) -> None:
        block = shared_memory.SharedMemory(create=True, size=1 << 20)
        try:
            # By its file: a Python process that attaches it may also remove it when it ends (resource tracker, until 3.13).
            script = f"f = open('/dev/shm/{block.name}', 'r+b'); f.seek(7); f.write(bytes([42]))"
            subprocess.run([sys.executable, "-c", script], check=True)
            assert bytes(block.buf or b"")[7] == 42
        finally:
            block.close()
            block.unlink()

    def test_pseudo_terminals_work(self) -> None:
        master, slave = os.openpty()
        os.write(slave, b"hello")
        assert os.read(master, 5) == b"hello"
        os.close(master)
        os.close(slave)

    def test_standard_descriptors_have_names(self) -> None:
        answer = subprocess.run(
            ["bash", "-c", "cat <(echo named) >/dev/stdout"], capture_output=True, check=True, text=True
        )
        assert answer.stdout == "named\n"

    def test_loopback_and_unix_sockets_work(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            client.sendall(b"x")
            assert server.accept()[0].recv(1) == b"x"
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(str(tmp_path / "s"))
            server.listen()
            client.connect(str(tmp_path / "s"))

    @pytest.mark.vcan  # so that it runs in a guest, not on a host beside one
    @pytest.mark.skipif(not IN_GUEST, reason="only a guest has an address of its own")
    def test_the_guest_has_a_network(self) -> None:
        with socket.create_server(("10.0.2.100", 0)) as server:
            assert server.getsockname()[0] == "10.0.2.100"


@pytest.mark.parametrize("seconds", ["", "0", "-5", "soon", "1e3"])
def test_a_system_is_not_tried_within_a_time_that_is_none(seconds: str) -> None:
    refused = run(SETUP / "test-system", "--within", seconds)
    assert (refused.returncode, refused.stdout) == (2, "") and "needs a number of seconds" in refused.stderr
