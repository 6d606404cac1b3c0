"""A real ECU process and a tester on the same bus: the kernel's ISO-TP, or can-isotp over any python-can bus."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import can
import isotp

from otabench.proto.process_config import EcuConfig, EcuTiming, IsoTpConfig
from tests.ecu_firmware_sim.factory import HARDWARE_ID, SECRET, SERIAL, VIN, Keys, key_for
from tests.waiting import PATIENCE_S

REQUEST_ID, RESPONSE_ID, FUNCTIONAL_ID = 0x7E0, 0x7E8, 0x7DF
ANSWER_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_config(
    folder: Path, keys: Keys, image: bytes, *, bus: dict[str, Any], transport: str, **more: Any
) -> EcuConfig:
    """Return an ECU with a real-sized flash and quick times."""
    factory_image = folder / "factory.bin"
    factory_image.write_bytes(image)
    return EcuConfig(
        **{
            "name": "engine",
            "vin": VIN,
            "serial": SERIAL,
            "hardware_id": HARDWARE_ID,
            "part_number": "PN-1",
            "bus": bus,
            "request_id": REQUEST_ID,
            "response_id": RESPONSE_ID,
            "isotp": IsoTpConfig(transport=transport, block_size=0 if transport == "kernel" else 8),  # type: ignore[arg-type]
            "timing": EcuTiming(boot_s=0.05),
            "security_secret": SECRET.hex(),
            "state_file": folder / "engine.flash",
            "factory_image": factory_image,
            "image_public_key": keys.folder / "image.pub.pem",
            "director_root": keys.folder / "root.json",
            "control_port": free_port(),
            "trace": folder / "trace.jsonl",
            **more,
        }
    )


class EcuProcess:
    """``python -m otabench.ecu_firmware_sim``, and its control port."""

    def __init__(self, config: EcuConfig, folder: Path) -> None:
        self.config = config
        self._path = folder / "ecu.json"
        self._path.write_text(config.model_dump_json())
        self.process: subprocess.Popen[str] | None = None

    def start(self, *, timeout_s: float = PATIENCE_S) -> None:
        command = [sys.executable, "-m", "otabench.ecu_firmware_sim", "--config", str(self._path)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the ECU ended: {self.process.communicate()[1]}")
            try:
                self.await_mode("application", timeout_s=deadline - time.monotonic())
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("the ECU did not come up in time")

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)

    def control(self, **message: Any) -> dict[str, Any]:
        with socket.create_connection(("127.0.0.1", self.config.control_port), timeout=PATIENCE_S) as link:
            link.sendall(json.dumps(message).encode() + b"\n")
            answer: dict[str, Any] = json.loads(link.makefile("rb").readline())
            return answer

    def await_mode(self, mode: str, *, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while True:
            state = self.control(op="state")
            if state["mode"] == mode:
                return state
            assert time.monotonic() < deadline, f"the ECU is {state}, not {mode}"
            time.sleep(0.02)


class Wire(Protocol):
    """The tester's end of the bus."""

    def send(self, request: bytes) -> None: ...

    def receive(self, timeout_s: float) -> bytes | None: ...

    def broadcast(self, request: bytes) -> None: ...

    def close(self) -> None: ...


class KernelWire:
    """The kernel's ISO-TP socket, and a raw one for functional requests."""

    def __init__(self, channel: str, *, fd: bool = False, listen: bool = True) -> None:
        self._isotp = socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP)
        if fd:
            self._isotp.setsockopt(106, 5, struct.pack("=BBB", 72, 64, 0))
        self._isotp.setsockopt(106, 1, struct.pack("=IIBBBB", 0x404, 0, 0, 0xCC, 0, 0))  # padding, WAIT_TX_DONE
        if listen:  # else the kernel gives no flow control
            self._isotp.bind((channel, RESPONSE_ID, REQUEST_ID))
        self._raw = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        self._raw.bind((channel,))

    def send(self, request: bytes) -> None:
        self._isotp.send(request)

    def receive(self, timeout_s: float) -> bytes | None:
        self._isotp.settimeout(timeout_s)
        try:
            return self._isotp.recv(4096)
        except TimeoutError:
            return None

    def broadcast(self, request: bytes) -> None:
        self.frame(FUNCTIONAL_ID, bytes((len(request),)) + request)

    def frame(self, identifier: int, data: bytes) -> None:
        """Send one classic frame, padded."""
        self._raw.send(struct.pack("=IB3x8s", identifier, 8, data.ljust(8, b"\xcc")))

    def close(self) -> None:
        self._isotp.close()
        self._raw.close()


class UserWire:
    """can-isotp over python-can."""

    def __init__(self, bus: dict[str, Any]) -> None:
        self._bus = can.Bus(**bus)
        self._notifier = can.Notifier(self._bus, [], timeout=0.2)
        address = isotp.Address(isotp.AddressingMode.Normal_11bits, txid=REQUEST_ID, rxid=RESPONSE_ID)
        parameters = {
            "blocking_send": True,
            "tx_padding": 0xCC,
            "blocksize": 8,
            # 1 s by default, which a busy machine may need to give the ECU a processor.
            "rx_flowcontrol_timeout": 20_000,
            "rx_consecutive_frame_timeout": 20_000,
        }
        self._stack = isotp.NotifierBasedCanStack(self._bus, self._notifier, address=address, params=parameters)
        self._stack.start()

    def send(self, request: bytes) -> None:
        self._stack.send(request, send_timeout=PATIENCE_S)

    def receive(self, timeout_s: float) -> bytes | None:
        answer = self._stack.recv(block=True, timeout=timeout_s)
        return None if answer is None else bytes(answer)

    def broadcast(self, request: bytes) -> None:
        data = (bytes((len(request),)) + request).ljust(8, b"\xcc")
        self._bus.send(can.Message(arbitration_id=FUNCTIONAL_ID, data=data, is_extended_id=False))

    def close(self) -> None:
        self._stack.stop()
        self._notifier.stop(timeout=1)
        self._bus.shutdown()


class Tester:
    """Plain UDS over a wire: waits until 78 end, and counts them."""

    __test__ = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.pending = 0

    def close(self) -> None:
        self._wire.close()

    def ask(self, request: bytes | str, *, timeout_s: float = ANSWER_S) -> bytes:
        data = bytes.fromhex(request) if isinstance(request, str) else request
        self._wire.send(data)
        while True:
            answer = self._wire.receive(timeout_s)
            assert answer is not None, f"no answer to {data[:4].hex()}"
            if answer[0] != 0x7F or answer[2] != 0x78:
                return answer
            self.pending += 1

    def hears_nothing(self, request: bytes | str, *, timeout_s: float = 0.3) -> bool:
        self._wire.send(bytes.fromhex(request) if isinstance(request, str) else request)
        return self._wire.receive(timeout_s) is None

    def broadcast(self, request: str, *, timeout_s: float = 1.0) -> bytes | None:
        self._wire.broadcast(bytes.fromhex(request))
        return self._wire.receive(timeout_s)

    def unlock(self, session: str = "10 02") -> None:
        assert self.ask(session)[0] == 0x50
        seed = self.ask("27 01")[2:]
        assert self.ask(b"\x27\x02" + key_for(seed, SECRET)) == b"\x67\x02"

    def download(self, data: bytes, *, address: int, data_format: int = 0, size: int | None = None) -> bytes:
        """Send 34, 36 in blocks of the size that the ECU offers, and 37. Return the response to 37."""
        length = len(data) if size is None else size
        answer = self.ask(bytes((0x34, data_format, 0x44)) + address.to_bytes(4, "big") + length.to_bytes(4, "big"))
        assert answer[:2] == b"\x74\x20", answer.hex()
        block = int.from_bytes(answer[2:4], "big") - 2
        for number, start in enumerate(range(0, len(data), block), start=1):
            answer = self.ask(bytes((0x36, number & 0xFF)) + data[start : start + block])
            assert answer == bytes((0x76, number & 0xFF)), answer.hex()
        return self.ask("37")
