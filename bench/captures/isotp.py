"""ISO-TP messages out of captured frames, and the requests and responses of one ECU among them.

    heard = exchanges(frames, Addresses(request_id=0x7E0, response_id=0x7E8, functional_id=0x7DF))

Pure. Rules (ISO 15765-2:2016, 9):

* A message whose consecutive frames have a gap or a wrong sequence number is left out, and counted: its bytes are not known.
* A response belongs to the last request before it. 78 is not a final response: the time it buys is kept as ``pending_s``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from otabench.bench.uds.draft.heard import Heard

_SINGLE, _FIRST, _CONSECUTIVE, _FLOW = range(4)
_LONG_LENGTH: Final = 0


@dataclass(frozen=True)
class CapturedFrame:
    """A frame's time in seconds, identifier and data."""

    time_s: float
    can_id: int
    data: bytes


@dataclass(frozen=True)
class Message:
    """One complete ISO-TP message. ``time_s``: of its last frame."""

    time_s: float
    can_id: int
    payload: bytes


@dataclass(frozen=True)
class Addresses:
    """Identifiers of one ECU. ``has_address_byte``: extended or mixed addressing, whose first byte is not ISO-TP's."""

    request_id: int
    response_id: int
    functional_id: int | None = None
    has_address_byte: bool = False


@dataclass
class Reassembly:
    """The messages of a capture, and how many were left out because frames of them are missing."""

    addresses: Addresses
    broken: int = 0
    _partial: dict[int, tuple[int, bytearray, int]] = field(default_factory=dict)

    def messages(self, frames: Iterable[CapturedFrame]) -> Iterator[Message]:
        """Return every complete message of these identifiers, in the order in which they ended."""
        wanted = {self.addresses.request_id, self.addresses.response_id, self.addresses.functional_id}
        for frame in frames:
            if frame.can_id in wanted:
                payload = self._add(frame.can_id, frame.data[1:] if self.addresses.has_address_byte else frame.data)
                if payload:
                    yield Message(frame.time_s, frame.can_id, payload)
        self.broken += len(self._partial)

    def _add(self, can_id: int, data: bytes) -> bytes:
        """Take one frame; return the message that it completes, else nothing."""
        if not data:
            return b""
        # The upper four bits of the first byte are the type of the frame (ISO 15765-2).
        kind = data[0] >> 4
        if kind == _SINGLE:
            # CAN FD: a length above 7 is in the second byte
            at, length = (2, data[1]) if data[0] == _LONG_LENGTH and len(data) > 8 else (1, data[0] & 0xF)
            self._drop(can_id)
            return bytes(data[at : at + length])
        if kind == _FIRST:
            self._drop(can_id)
            length, at = (data[0] & 0xF) << 8 | data[1], 2
            # A first frame's length of 0 means that the next four bytes have it: messages above 4095 bytes (since ISO
            # 15765-2:2016).
            if not length:
                length, at = int.from_bytes(data[2:6], "big"), 6
            self._partial[can_id] = (length, bytearray(data[at:]), 1)
            return b""
        if kind != _CONSECUTIVE or can_id not in self._partial:
            return b""
        length, body, number = self._partial[can_id]
        # Sequence numbers start at 1 and wrap from 15 to 0.
        if data[0] & 0xF != number & 0xF:
            self._drop(can_id)
            return b""
        body += data[1:]
        if len(body) < length:
            self._partial[can_id] = (length, body, number + 1)
            return b""
        del self._partial[can_id]
        # The last frame may be padded, and a CAN FD one must be: its length jumps from 8 to 12 and so on.
        return bytes(body[:length])

    def _drop(self, can_id: int) -> None:
        self.broken += self._partial.pop(can_id, None) is not None


def exchanges(messages: Iterable[Message], addresses: Addresses) -> list[Heard]:
    """Return requests with their responses, in order."""
    heard: list[Heard] = []
    for message in messages:
        if message.can_id != addresses.response_id:
            functional = message.can_id == addresses.functional_id
            heard.append(Heard(message.time_s, message.payload, functional=functional))
        elif heard:
            heard[-1] = _answered(heard[-1], message)
    return heard


def _answered(last: Heard, message: Message) -> Heard:
    after_s = message.time_s - last.time_s
    is_pending = message.payload[:1] + message.payload[2:3] == b"\x7f\x78"
    return Heard(
        last.time_s,
        last.request,
        last.response if is_pending else message.payload,
        last.response_s if is_pending else after_s,
        after_s if is_pending else last.pending_s,
        last.functional,
    )
