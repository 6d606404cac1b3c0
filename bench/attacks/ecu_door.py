"""An ECU as a compromised gateway reaches it: any request, in any order, with any contents.

    door = EcuDoor(port, secret=secret)
    door.program(targets, image)

``EcuPort`` is the seam: a UDS connection (``live``), or an ECU in this process (tests). Nothing here is careful: no repeats, no checks
before sending. A refusal is ``EcuSaysNo`` with the name of the negative response, or of the status of check memory.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, Protocol

from otabench.bench.uds import slot_table
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.names import NEGATIVE_RESPONSES

SLOT_WINDOW: Final = 0x0010_0000
METADATA_WINDOW: Final = 0x00F0_0000
SECTOR_BYTES: Final = 4096
SILENCE: Final = "silence"
"""The name of a refusal that is none: no answer came."""
PATCH, ENCRYPTED = 0x10, 0x01
"""dataFormatIdentifiers."""
CHECK_MEMORY: Final = (
    "",
    "no-image",
    "digest-differs",
    "other-hardware",
    "signature-wrong",
    "security-counter-too-low",
    "manifest-refused",
    "manifest-too-old",
    "patch-refused",
    "decryption-failed",
    "metadata-expired",
)
"""Statuses of 31 01 0202, as docs/contracts.md has them."""


class EcuSaysNo(Exception):
    """The ECU refused. ``refusal`` is the name of a negative response code or of a status."""

    def __init__(self, refusal: str, text: str) -> None:
        super().__init__(text)
        self.refusal = refusal


class EcuPort(Protocol):
    """One ECU: requests go in, responses come out."""

    def exchange(self, request: bytes) -> bytes:
        """Return the final response, positive or negative. Empty: there is none."""
        ...


@dataclass(frozen=True)
class EcuDoor:
    """A compromised gateway's view of one ECU.

    Attributes:
        name: of the ECU.
        hardware_id, serial: as provisioned.
        secret: of security access, with the built-in algorithm.
        port: the connection.
    """

    name: str
    hardware_id: str
    serial: str
    secret: bytes
    port: EcuPort

    def ask(self, request: bytes) -> bytes:
        """Return the positive response.

        Raises:
            EcuSaysNo: it is negative, or missing.
        """
        answer = self.port.exchange(request)
        if not answer:
            raise EcuSaysNo(SILENCE, f"{request[:4].hex(' ').upper()} is not answered")
        if answer[0] == 0x7F:
            name = NEGATIVE_RESPONSES.get(answer[2], f"{answer[2]:02X}")
            raise EcuSaysNo(name, f"{request[:4].hex(' ').upper()} is answered by NRC {answer[2]:02X} {name}")
        return answer

    def identity(self) -> EcuIdentity:
        """Return what the ECU reports about itself. Raises EcuSaysNo."""
        slots = slot_table.parse(self.ask(b"\x22\xf1\xa1")[3:])
        return EcuIdentity(
            ecu=self.name,
            serial=self._text(b"\xf1\x8c"),
            hardware_id=self._text(b"\xf1\x91"),
            software_version=self._text(b"\xf1\x89"),
            active_slot=slots.active_slot,
            boots_left=slots.boots_left,
            slots=slots.slots,
        )

    def time_nonce(self) -> bytes:
        """Return a nonce for a time attestation. Raises EcuSaysNo."""
        return self.ask(b"\x22\xf1\xa2")[3:]

    def key_for(self, seed: bytes) -> bytes:
        """Return the key of a seed."""
        return hmac.new(self.secret, seed, hashlib.sha256).digest()

    def unlock(self) -> None:
        """Enter the programming session, and unlock the ECU unless it is. Raises EcuSaysNo."""
        self.ask(b"\x10\x02")
        seed = self.ask(b"\x27\x01")[2:]
        # A seed of zeros: it is unlocked.
        if any(seed):
            self.ask(b"\x27\x02" + self.key_for(seed))

    def send(self, address: int, data: bytes, *, size: int | None = None, data_format: int = 0) -> None:
        """Send data by 34, 36 and 37. ``size``: what 34 announces. Raises EcuSaysNo."""
        announced = len(data) if size is None else size
        answer = self.ask(bytes((0x34, data_format, 0x44)) + _window(address, announced))
        # The maximum counts service id and block counter, too (ISO 14229-1).
        block_bytes = int.from_bytes(answer[2 : 2 + (answer[1] >> 4)], "big") - 2
        for number, start in enumerate(range(0, len(data), block_bytes), start=1):
            self.ask(bytes((0x36, number & 0xFF)) + data[start : start + block_bytes])
        self.ask(b"\x37")

    def program(self, targets: bytes, data: bytes, *, size: int | None = None, data_format: int = 0) -> None:
        """Send Targets and image, and have the ECU check both: STAGED if nothing is raised.

        Args:
            targets: for the metadata window.
            data: the image, a patch or an encrypted file.
            size: of the image; None: of ``data``.
            data_format: what ``data`` is.

        Raises:
            EcuSaysNo: the ECU refuses a request, or what was sent.
        """
        image_bytes = len(data) if size is None else size
        self.unlock()
        self.send(METADATA_WINDOW, targets)
        self.ask(b"\x31\x01\xff\x00\x44" + _window(SLOT_WINDOW, -(-image_bytes // SECTOR_BYTES) * SECTOR_BYTES))
        try:
            self.send(SLOT_WINDOW, data, size=image_bytes, data_format=data_format)
        except EcuSaysNo as refused:
            # 70 and 72 name no cause: check memory does.
            if refused.refusal not in ("uploadDownloadNotAccepted", "generalProgrammingFailure"):
                raise
            self.check()
            raise
        self.check()

    def check(self) -> None:
        """Have the ECU check metadata and image. Raises EcuSaysNo."""
        status = self.ask(b"\x31\x01\x02\x02")[4]
        if status:
            name = CHECK_MEMORY[status] if status < len(CHECK_MEMORY) else f"status {status:02X}"
            raise EcuSaysNo(name, f"check memory (31 01 0202) answers status {status:02X}: {name}")

    def _text(self, identifier: bytes) -> str:
        return self.ask(b"\x22" + identifier)[3:].decode("ascii")

    def leave(self) -> None:
        """Return to the default session. Raises EcuSaysNo."""
        self.ask(b"\x10\x01")


def _window(address: int, length: int) -> bytes:
    return address.to_bytes(4, "big") + length.to_bytes(4, "big")
