"""An ECU that follows a script: the smallest dual-bank ECU that a tester can program, made to misbehave on purpose.

A second implementation of the far end of the wire, in user-space ISO-TP on a python-can bus of this process, so that a
test can give answers that no well-made ECU gives. ``Script`` handles each request before the ECU does.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import can
import isotp

SECRET = bytes(range(32))
SEED = bytes(range(1, 17))
EMPTY, STAGED, TRIAL, CONFIRMED, INVALID = range(5)

Answer = bytes | None
"""The response to a request. None means silence."""
Script = Callable[[bytes, "ScriptedEcu"], "Answer | list[Answer] | bool"]
"""True lets the ECU answer normally. Any other value is sent instead."""


@dataclass
class ScriptedSlot:
    state: int
    version: tuple[int, int, int] = (0, 0, 0)

    def pack(self) -> bytes:
        return struct.pack(">BBBHII", self.state, *self.version, 0, 1)


@dataclass
class ScriptedEcu:
    """One ECU. Call ``start`` and ``stop``, or use it as a context manager."""

    channel: str
    request_id: int = 0x7E0
    response_id: int = 0x7E8
    new_version: tuple[int, int, int] = (2, 0, 0)
    max_block_bytes: int = 258
    script: Script = field(default=lambda request, ecu: True)
    slots: list[ScriptedSlot] = field(default_factory=lambda: [ScriptedSlot(CONFIRMED, (1, 0, 0)), ScriptedSlot(EMPTY)])
    active: int = 0
    memory: bytearray = field(default_factory=bytearray)
    requests: list[bytes] = field(default_factory=list)
    unlocked: bool = False
    session: int = 1
    counter: int = 0
    writes: int = 0
    """Number of blocks written. A repetition of the last block is answered, but not counted."""
    address: int = 0
    boot_s: float = 0.05
    dark_until: float = 0.0
    rolls_back: bool = False
    boots_left: int = 3
    done: list[int] = field(default_factory=list)
    """Routines that were carried out in an unlocked ECU."""

    def __enter__(self) -> ScriptedEcu:
        self._bus = can.Bus(interface="virtual", channel=self.channel)
        self._notifier = can.Notifier(self._bus, [self._on_functional], timeout=0.05)
        self._stack = isotp.NotifierBasedCanStack(
            self._bus,
            self._notifier,
            address=isotp.Address(isotp.AddressingMode.Normal_11bits, txid=self.response_id, rxid=self.request_id),
            params={"blocksize": 16, "stmin": 0, "tx_padding": 0xCC, "max_frame_size": 4095},
        )
        self._stack.start()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._stack.stop()
        self._notifier.stop()
        self._bus.shutdown()

    def power_cycle(self, off_s: float = 0.2) -> None:
        """Reboot: forget everything except the slots, boot the preferred slot, and be silent for a while."""
        self.dark_until = time.monotonic() + off_s
        self.unlocked, self.session, self.counter = False, 1, 0
        trial = next((number for number, slot in enumerate(self.slots) if slot.state == TRIAL), None)
        if trial is None:
            self.active = 1 - self.active if self.slots[self.active].state == INVALID else self.active
        elif self.rolls_back:
            self.slots[trial].state = INVALID
        else:
            self.active, self.boots_left = trial, self.boots_left - 1

    @property
    def transfers(self) -> int:
        """Return the number of requested downloads to the image window."""
        return sum(request[0] == 0x34 and request[3:7] == b"\x00\x10\x00\x00" for request in self.requests)

    def _on_functional(self, message: can.Message) -> None:
        if message.arbitration_id == 0x7DF:
            self._stack.rx_queue.put(bytearray(message.data[1 : 1 + message.data[0]]))

    def _run(self) -> None:
        while not self._stop.is_set():
            received = self._stack.recv(block=True, timeout=0.05)
            if not received or time.monotonic() < self.dark_until:
                continue
            request = bytes(received)
            if request != b"\x3e\x80":
                self.requests.append(request)
            scripted = self.script(request, self)
            answers = [self._answer(request)] if scripted is True else scripted
            for answer in answers if isinstance(answers, list) else [answers]:
                if answer:
                    self._stack.send(answer)

    def _answer(self, request: bytes) -> Answer:
        sid = request[0]
        handler = getattr(self, f"_service_{sid:02x}", None)
        if handler is None:
            return bytes((0x7F, sid, 0x11))
        answer: Answer = handler(request)
        return answer

    def _service_10(self, request: bytes) -> Answer:
        self.session, self.unlocked = request[1] & 0x7F, False
        return None if request[1] & 0x80 else b"\x50" + request[1:2] + bytes.fromhex("003201F4")

    def _service_11(self, request: bytes) -> Answer:
        self.power_cycle(self.boot_s)
        return b"\x51" + request[1:2]

    def _service_22(self, request: bytes) -> Answer:
        table = bytes((self.active, self.boots_left)) + self.slots[0].pack() + self.slots[1].pack()
        version = ".".join(str(part) for part in self.slots[self.active].version).encode()
        records = {
            0xF1A1: table,
            0xF189: version,
            0xF18C: b"SN-1",
            0xF191: b"engine-mcu-a",
            0xF180: b"BOOT",
            0xF1A0: b"RX 1",
        }
        record = records.get(int.from_bytes(request[1:3], "big"))
        return b"\x7f\x22\x31" if record is None else b"\x62" + request[1:3] + record

    def _service_27(self, request: bytes) -> Answer:
        if request[1] == 1:
            return b"\x67\x01" + (bytes(16) if self.unlocked else SEED)
        self.unlocked = request[2:] == hmac.new(SECRET, SEED, hashlib.sha256).digest()
        return b"\x67\x02" if self.unlocked else b"\x7f\x27\x35"

    def _service_28(self, request: bytes) -> Answer:
        if self.session == 1:
            return b"\x7f\x28\x7f"
        return None if request[1] & 0x80 else b"\x68" + request[1:2]

    def _service_2e(self, request: bytes) -> Answer:
        return b"\x6e" + request[1:3]

    def _service_31(self, request: bytes) -> Answer:
        routine = int.from_bytes(request[2:4], "big")
        other = self.slots[1 - self.active]
        if self.session == 1:
            return b"\x7f\x31\x7f"
        if routine == 0x0203:
            return b"\x71\x01\x02\x03\x00"
        if routine == 0xFF01:
            return b"\x71\x01\xff\x01\x00"
        if not self.unlocked:
            return b"\x7f\x31\x33"
        if routine == 0xFF00:
            other.state = EMPTY
            self.memory.clear()
        elif routine == 0x0202:
            other.state, other.version = STAGED, self.new_version
        elif routine == 0x0210:
            if other.state != STAGED:
                return b"\x7f\x31\x22"
            other.state, self.boots_left = TRIAL, 3
        elif routine == 0x0211:
            if self.slots[self.active].state != TRIAL:
                return b"\x7f\x31\x22"
            self.slots[self.active].state = CONFIRMED
        elif routine == 0x0212:
            if self.slots[self.active].state == TRIAL:
                self.slots[self.active].state = INVALID  # left by the next reset
            else:
                other.state = STAGED
        self.done.append(routine)
        return b"\x71" + request[1:4] + b"\x00"

    def _service_34(self, request: bytes) -> Answer:
        if self.session != 2:
            return b"\x7f\x34\x7f"
        if not self.unlocked:
            return b"\x7f\x34\x33"
        self.counter, self.address = 0, int.from_bytes(request[3:7], "big")
        if self.address == 0x100000:
            self.memory.clear()
            self.slots[1 - self.active].state = INVALID
        return b"\x74\x20" + self.max_block_bytes.to_bytes(2, "big")

    def _service_36(self, request: bytes) -> Answer:
        if self.session != 2:
            return b"\x7f\x36\x7f"
        if request[1] == (self.counter + 1) & 0xFF:
            self.counter = request[1]
            self.writes += 1
            if self.address == 0x100000:
                self.memory += request[2:]
        elif request[1] != self.counter:
            return b"\x7f\x36\x73"
        return b"\x76" + request[1:2]

    def _service_37(self, request: bytes) -> Answer:
        return b"\x77" if self.session == 2 else b"\x7f\x37\x7f"

    def _service_3e(self, request: bytes) -> Answer:
        return None if request[1] & 0x80 else b"\x7e\x00"

    def _service_85(self, request: bytes) -> Answer:
        if self.session == 1:
            return b"\x7f\x85\x7f"
        return None if request[1] & 0x80 else b"\xc5" + request[1:2]
