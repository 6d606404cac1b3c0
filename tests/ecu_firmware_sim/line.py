"""One ECU and one tester on a bus, in this process: the ECU's own loop and transport, and the gateway's own transport.

A ``Line`` is one way to carry UDS: a transport, an addressing, classic CAN or CAN FD. A ``Rig`` is the ECU on a line; it lives
for all tests of the line and is made new (memory, power) only after a test that left traces. ``Peer`` writes frames by hand.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import can
import pytest
from _pytest.mark import ParameterSet
from udsoncan.exceptions import TimeoutException

from otabench.bench.uds.transport import open_channel
from otabench.ecu_firmware_sim.ecu import Ecu
from otabench.ecu_firmware_sim.factory import open_state, provision
from otabench.ecu_firmware_sim.faults import parse
from otabench.ecu_firmware_sim.flash.layout import SLOT_WINDOW, FlashLayout
from otabench.ecu_firmware_sim.runtime.lifecycle import Mode
from otabench.proto import private_files
from otabench.proto.process_config import EcuTiming, IsoTpConfig
from otabench.proto.trace import TraceWriter
from tests.ecu_firmware_sim.factory import SECRET, Keys, key_for
from tests.ecu_firmware_sim.process import make_config
from tests.ecu_firmware_sim.sealing import KEY
from tests.pairwise import pairwise
from tests.waiting import PATIENCE_S, eventually

HAS_VCAN: Final = Path("/sys/class/net/vcan0").exists() and hasattr(socket, "CAN_ISOTP")
SLOT_BYTES: Final = 0x4000
TIMING: Final = EcuTiming(
    p2_server_max_s=0.05, p2_star_server_max_s=0.2, s3_server_s=0.3, boot_s=0.0, security_delay_s=0.15
)
ANSWER_S: Final = 20.0
"""How long to wait for an answer, which comes within P2 on a quiet machine."""
_LENGTHS: Final = (8, 12, 16, 20, 24, 32, 48, 64)

_ADDRESSES: Final[dict[str, dict[str, int]]] = {
    "normal": {"request_id": 0x7E0, "response_id": 0x7E8, "functional_id": 0x7DF},
    "normal_fixed": {"request_id": 0x18DA10F1, "response_id": 0x18DAF110, "functional_id": 0x18DB33F1},
    "extended": {"request_id": 0x6F1, "response_id": 0x610, "functional_id": 0x6F1},
}
"""With extended addressing one identifier serves physical and functional requests: the address in front separates them."""


@dataclass(frozen=True)
class Line:
    """One way to carry UDS."""

    transport: str
    addressing: str
    is_fd: bool
    more: tuple[tuple[str, int | None], ...] = ()
    """Other parameters of both ends."""
    number: int = 0
    """The number of the ECU on its bus: each has its own address and identifiers, apart from the functional ones."""

    def __str__(self) -> str:
        return f"{self.transport}-{self.addressing}-{'fd' if self.is_fd else 'classic'}"

    @property
    def ids(self) -> dict[str, int]:
        ids = _ADDRESSES[self.addressing]
        request_step = {"normal": 1, "normal_fixed": 0x100, "extended": 0}[self.addressing]
        return ids | {
            "request_id": ids["request_id"] + self.number * request_step,
            "response_id": ids["response_id"] + self.number,
        }

    @property
    def bus(self) -> dict[str, Any]:
        if self.transport == "kernel" or HAS_VCAN:
            return {"interface": "socketcan", "channel": "vcan0", "fd": self.is_fd}
        # A channel for each set of parameters: a shared ECU may still be on that of the plain line.
        return {"interface": "virtual", "channel": f"behaviour-{self}-{self.more}", "fd": self.is_fd}

    @property
    def isotp(self) -> IsoTpConfig:
        addresses = (
            {}
            if self.addressing == "normal"
            else {
                "target_address": 0x10 + self.number,
                "source_address": 0xF1,
            }
        )
        chosen = {"transport": self.transport, "addressing": self.addressing, "block_size": 16, "fd": self.is_fd}
        return IsoTpConfig.model_validate(chosen | addresses | dict(self.more))

    @property
    def first_bytes(self) -> int:
        """Payload of a first frame."""
        return (64 if self.is_fd else 8) - 2 - self.prefix_bytes

    @property
    def prefix_bytes(self) -> int:
        return 1 if self.addressing == "extended" else 0


_PROPERTIES: Final = (("kernel", "user"), tuple(_ADDRESSES), (False, True))
LINES: Final = [Line(*combination) for combination in itertools.product(*_PROPERTIES)]
PAIRWISE_LINES: Final = [Line(*combination) for combination in pairwise(*_PROPERTIES)]
"""Half of the lines: every transport meets every addressing, classic CAN and CAN FD, and so on."""


def on(lines: list[Line], *, sample: list[Line] | None = None) -> list[ParameterSet]:
    """Return lines as parameters of a fixture; those that are not in `sample`, if one is given, are marked ``exhaustive``."""

    def marks(line: Line) -> list[pytest.MarkDecorator]:
        needed = [pytest.mark.vcan] if line.transport == "kernel" else []
        return needed if sample is None or line in sample else [*needed, pytest.mark.exhaustive]

    return [pytest.param(line, id=str(line), marks=marks(line)) for line in lines]


def _on_lines(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "whole_rig", on([line for line in LINES if str(line).endswith(names)]), indirect=True
    )


ON_TWO_LINES_A_TRANSPORT: Final = _on_lines("normal-classic", "extended-fd")
"""For what takes a second or more: timeouts of ISO 15765-2, hundreds of exchanges."""
ON_ONE_LINE_A_TRANSPORT: Final = _on_lines("kernel-normal-classic", "user-extended-fd")
"""For what takes several seconds on a slow line: whole images."""


class Rig:
    """An ECU that runs 1.0.0, and its tester."""

    def __init__(
        self,
        line: Line,
        folder: Path,
        keys: Keys,
        image: bytes,
        *,
        timing: EcuTiming = TIMING,
        trace: Path | None = None,
    ) -> None:
        self.line = line
        self.keys = keys
        key_file = folder / "engine.x25519"
        private_files.write(key_file, bytes(KEY).hex())
        config = make_config(
            folder,
            keys,
            image,
            bus=line.bus,
            transport=line.transport,
            **line.ids,
            isotp=line.isotp,
            timing=timing,
            slot_size_bytes=SLOT_BYTES,
            decryption_key=key_file,
        )
        given = provision(config)
        self._backing = open_state(config, FlashLayout(slot_bytes=SLOT_BYTES), given.policy)
        self.ecu = Ecu(config, given, self._backing, TraceWriter(trace, component="ecu.engine", vin=config.vin))
        self._factory_memory = bytes(self.ecu.flash.memory)
        self._thread = threading.Thread(target=self.ecu.run, name=f"ecu {line}", daemon=True)
        self._thread.start()
        self.await_application()
        self._operations = self.ecu.flash.operations
        self._channel = open_channel(line.bus, line.isotp)
        self.connection = self._channel.connection(
            request_id=line.ids["request_id"], response_id=line.ids["response_id"], isotp=line.isotp
        )
        self.connection.open()
        self.pending_s: list[float] = []

    def close(self) -> None:
        self.connection.close()
        self._channel.close()
        self.ecu.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self._backing.close()

    def renew(self) -> None:
        """Restore the ECU as delivered, in the default session. If it was not written to, its memory is not restored."""
        self.pending_s.clear()
        untouched = self.ecu.flash.operations == self._operations and not self.ecu.faults.shown()
        if untouched and self.ecu.mode is Mode.APPLICATION:
            self._drop_answers()
            assert self.ask("10 01")[:2] == "50"
            return
        self.ecu.call(self._deliver)
        self.await_application()
        self._operations = self.ecu.flash.operations
        self._drop_answers()

    def _drop_answers(self) -> None:
        """Drop all answers to earlier requests, also those that are still on their way on a busy machine."""
        self.connection.empty_rxqueue()
        self.send("22 F1 8C")  # answered in every mode and session, and after everything that was requested before
        while (answer := self.receive()) is not None and not answer.startswith(b"\x62\xf1\x8c"):
            pass
        assert answer is not None, "no answer"

    def _deliver(self) -> None:
        self.ecu.fault_effects.clear()
        self.ecu.life.switch_off("renewed")
        self.ecu.flash.memory[:] = self._factory_memory
        self.ecu.life.switch_on("renewed")

    def power_cycle(self) -> None:
        """Switch the power off and on, and wait until the ECU has booted."""
        self.ecu.call(lambda: self.ecu.life.switch_off("cycled"))
        self.ecu.call(lambda: self.ecu.life.switch_on("cycled"))
        self.await_application()
        self.connection.empty_rxqueue()

    def await_application(self) -> None:
        def has_booted() -> bool:
            return self.ecu.mode is Mode.APPLICATION and self.ecu.call(lambda: self.ecu.mode is Mode.APPLICATION)

        eventually(has_booted, "the application runs", interval_s=0.002)

    def fault(self, kind: str, **values: Any) -> None:
        self.ecu.call(lambda: self.ecu.fault_effects.set(parse({"kind": kind, **values})))

    # -- the tester

    def send(self, request: bytes | str) -> None:
        self.connection.send(as_bytes(request))

    def receive(self, timeout_s: float = ANSWER_S) -> bytes | None:
        try:
            answer: bytes | None = self.connection.wait_frame(timeout=timeout_s, exception=True)
        except TimeoutException:
            return None
        return answer

    def final(self) -> bytes:
        """Return the response after all 78, whose times are added to ``pending_s``."""
        while True:
            answer = self.receive()
            assert answer is not None, "no answer"
            if answer[0] != 0x7F or answer[2] != 0x78:
                return answer
            self.pending_s.append(time.monotonic())

    def ask(self, request: bytes | str) -> str:
        self.send(request)
        return self.final().hex(" ").upper()

    def broadcast(self, request: str) -> None:
        self._channel.send_functional(self.line.ids["functional_id"], bytes.fromhex(request), isotp=self.line.isotp)

    def hears_nothing(self) -> bool:
        """Return whether earlier requests got no response: the next two responses are those to two later requests."""
        return [self.ask("3E 00"), self.ask("3E 00")] == ["7E 00", "7E 00"]

    def unlock(self) -> None:
        assert self.ask("10 02").startswith("50 02")
        seed = bytes.fromhex(self.ask("27 01"))[2:]
        assert self.ask(b"\x27\x02" + key_for(seed, SECRET)) == "67 02"

    def erase(self, length: int = SLOT_BYTES) -> str:
        return self.ask(erase_request(length))

    def request_download(self, size: int) -> str:
        return self.ask(b"\x34\x00\x44" + SLOT_WINDOW.to_bytes(4, "big") + size.to_bytes(4, "big"))

    def download(self, address: int, data: bytes) -> None:
        start = b"\x34\x00\x44" + address.to_bytes(4, "big") + len(data).to_bytes(4, "big")
        assert self.ask(start).startswith("74")
        for number, position in enumerate(range(0, len(data), 4093), start=1):
            assert self.ask(bytes((0x36, number)) + data[position : position + 4093]).startswith("76")
        assert self.ask("37") == "77"

    # -- frames by hand

    @contextmanager
    def instead_of_the_ecu(self) -> Iterator[Peer]:
        """Switch the ECU off, and return a peer that writes frames in its name."""
        self.ecu.call(lambda: self.ecu.life.switch_off("a peer takes its place"))
        ids, prefix = self.line.ids, b"\xf1" if self.line.prefix_bytes else b""
        own = b"\x10" if self.line.prefix_bytes else b""
        with Peer.on(self.line, hears=ids["request_id"], heard=own, says=ids["response_id"], prefix=prefix) as peer:
            yield peer

    @contextmanager
    def instead_of_the_tester(self) -> Iterator[Peer]:
        """Close the tester, and return a peer that writes frames in its name."""
        self.connection.close()
        ids, prefix = self.line.ids, b"\x10" if self.line.prefix_bytes else b""
        own = b"\xf1" if self.line.prefix_bytes else b""
        try:
            with Peer.on(self.line, hears=ids["response_id"], heard=own, says=ids["request_id"], prefix=prefix) as peer:
                yield peer
        finally:
            self.connection.open()


@dataclass
class Peer:
    """One end of the line, frame by frame. The address in front is added and removed here."""

    bus: can.BusABC
    line: Line
    says: int
    prefix: bytes
    heard: bytes

    @classmethod
    @contextmanager
    def on(cls, line: Line, *, hears: int, heard: bytes, says: int, prefix: bytes) -> Iterator[Peer]:
        with can.Bus(**line.bus) as bus:
            bus.set_filters([{"can_id": hears, "can_mask": 0x1FFFFFFF}])
            yield cls(bus, line, says, prefix, heard)

    def send(self, *frames: bytes | str) -> None:
        for frame in frames:
            data = self.prefix + as_bytes(frame)
            data = data.ljust(next(length for length in _LENGTHS if length >= len(data)), b"\xcc")
            self.bus.send(
                can.Message(
                    arbitration_id=self.says,
                    data=data,
                    is_extended_id=self.says > 0x7FF,
                    is_fd=self.line.is_fd,
                    bitrate_switch=self.line.is_fd,
                )
            )

    def receive(self, timeout_s: float = ANSWER_S) -> can.Message:
        """Return the next frame, without the address in front."""
        while True:
            message = self.bus.recv(timeout_s)
            assert message is not None, "no frame"
            data = bytes(message.data)
            if data.startswith(self.heard):
                message.data = bytearray(data[len(self.heard) :])
                return message


def as_bytes(data: bytes | str) -> bytes:
    return bytes.fromhex(data) if isinstance(data, str) else data


def erase_request(length: int, *, start: int = 0x01) -> bytes:
    return bytes((0x31, start, 0xFF, 0x00, 0x44)) + SLOT_WINDOW.to_bytes(4, "big") + length.to_bytes(4, "big")
