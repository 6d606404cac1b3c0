"""How long a CAN frame is on the wire: CRC, stuff bits and interframe space counted bit by bit.

    classic_frame_bits(0x7E0, bytes(8))                  # 127 bits, of which 16 are stuffed
    fd_frame_bits(0x7E0, bytes(range(64))).duration_s(500_000, 2_000_000)    # 0.0003495 s

Two figures follow from them: the rate at which a queueing discipline must run so that a virtual bus carries as much as a real
one, and the maximum payload rate of a line. Pure: no socket, no clock.

Rules (ISO 11898-1):

* A classic base frame: SOF 1, identifier 11, RTR, IDE, r0, DLC 4, data, CRC 15, CRC delimiter, ACK, ACK delimiter,
  EOF 7, intermission 3. An extended frame has SRR, IDE, 18 more identifier bits and r1 in addition.
* After five equal bits from SOF to the end of the CRC sequence, a bit of the other value is stuffed.
* CAN FD: dynamic stuffing ends with the data field; the stuff count (4 bits), the CRC (17 bits to 16 bytes of data, 21
  above) and their fixed stuff bits (6 or 7) have a constant length. From BRS to the CRC delimiter the data bit rate holds.

Error frames, overload frames and retransmissions are not counted: a virtual bus has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from otabench.proto.can_id import is_29_bit

# x^15 + x^14 + x^10 + x^8 + x^7 + x^4 + x^3 + 1, without its highest term.
CRC15_POLYNOMIAL: Final = 0x4599
INTERMISSION_BITS: Final = 3
_TRAILER_BITS: Final = 1 + 1 + 1 + 7 + INTERMISSION_BITS
"""CRC delimiter, ACK slot, ACK delimiter, EOF, intermission: never stuffed."""

TBF_CLASSIC_FRAME_BITS: Final = 16 * 8
"""What a queueing discipline counts for a classic frame: sizeof(struct can_frame)."""
TBF_FD_FRAME_BITS: Final = 72 * 8
"""The same for a CAN FD frame: sizeof(struct canfd_frame)."""

CONSECUTIVE_FRAME_PAYLOAD_BYTES: Final = 7
"""What a classic ISO-TP consecutive frame carries with normal addressing (ISO 15765-2)."""
FD_CONSECUTIVE_FRAME_PAYLOAD_BYTES: Final = 63


@dataclass(frozen=True)
class FrameBits:
    """Bits of one frame by the rate they are sent at. Classic frames have only nominal bits."""

    nominal: int
    data: int = 0

    @property
    def total(self) -> int:
        return self.nominal + self.data

    def duration_s(self, bitrate: int, data_bitrate: int | None = None) -> float:
        """Return how long the frame occupies the line."""
        return self.nominal / bitrate + self.data / (data_bitrate or bitrate)


def _stuff_table(width: int) -> list[list[tuple[int, int]]]:
    """For each state and each value of ``width`` bits, most significant first: bits stuffed, and the state after.

    A state is ``(run length - 1) * 2 + last bit``; the run length is 1 to 4, as a fifth equal bit is stuffed at once.
    """
    return [[_stuff_bits(value, width, state) for value in range(1 << width)] for state in range(8)]


def _stuff_bits(value: int, length: int, state: int) -> tuple[int, int]:
    """Stuff bits of ``length`` bits of ``value`` from ``state`` on, and the state after."""
    stuffed = 0
    last, run = state & 1, (state >> 1) + 1
    for shift in range(length - 1, -1, -1):
        bit = value >> shift & 1
        run = run + 1 if bit == last else 1
        last = bit
        # The stuffed bit counts as the first bit of the next run (ISO 11898-1, bit stuffing), so two stuff bits can
        # follow each other after four more equal bits.
        if run == 5:
            stuffed, last, run = stuffed + 1, 1 - bit, 1
    return stuffed, (run - 1) * 2 + last


def _crc_table() -> list[int]:
    # One entry for each value of the upper eight of the register's fifteen bits.
    table = []
    for value in range(256):
        crc = value << 7
        for _ in range(8):
            crc = (crc << 1) ^ (CRC15_POLYNOMIAL if crc & 0x4000 else 0)
        table.append(crc & 0x7FFF)
    return table


# With tables for whole bytes a frame takes 5 µs; bit by bit it takes 30 µs (measured). Recorder and load count every
# frame.
_STUFF_8: Final = _stuff_table(8)
_STUFF_7: Final = _stuff_table(7)
_CRC15: Final = _crc_table()
_AFTER_SOF: Final = 0
"""State after the start of frame: one dominant (0) bit."""


def crc15(data: bytes, crc: int = 0) -> int:
    """CRC-15/CAN of whole bytes. Leading zero bits do not change it, so a header may be padded in front."""
    for byte in data:
        crc = (crc << 8) & 0x7FFF ^ _CRC15[(crc >> 7) ^ byte]
    return crc


@lru_cache(maxsize=256)
def _classic_header(can_id: int, extended: bool, remote: bool, dlc: int) -> tuple[int, int, int, int]:
    """Return the bits of the header with SOF, bits stuffed in it, the stuff state after it, and its CRC."""
    if extended:
        value = (can_id >> 18) << 2 | 0b11  # SRR and IDE recessive
        value = ((value << 18 | can_id & 0x3FFFF) << 1 | remote) << 2
        length = 11 + 2 + 18 + 1 + 2
    else:
        value = ((can_id << 1 | remote) << 1) << 1
        length = 11 + 3
    value, length = value << 4 | dlc, length + 4
    stuffed, state = _stuff_bits(value, length, _AFTER_SOF)
    return 1 + length, stuffed, state, crc15(value.to_bytes((length + 7) // 8, "big"))


def classic_frame_bits(can_id: int, data: bytes, *, extended: bool = False, remote: bool = False, dlc: int = 0) -> int:
    """Return the bits of a classic frame with stuffing and intermission.

    Args:
        can_id: 11 bits, or 29 where ``extended``.
        data: up to 8 bytes; empty for a remote frame.
        extended: 29-bit identifier.
        remote: a remote frame, whose ``dlc`` is then given.
        dlc: only for remote frames.
    """
    header_bits, stuffed, state, crc = _classic_header(can_id, extended, remote, dlc if remote else len(data))
    for byte in data:
        more, state = _STUFF_8[state][byte]
        stuffed += more
        crc = (crc << 8) & 0x7FFF ^ _CRC15[(crc >> 7) ^ byte]
    # The CRC is stuffed as well, but not the delimiter behind it. Its 15 bits are a table's 8 and 7.
    more, state = _STUFF_8[state][crc >> 7]
    stuffed += more + _STUFF_7[state][crc & 0x7F][0]
    return header_bits + 8 * len(data) + 15 + stuffed + _TRAILER_BITS


def fd_frame_bits(
    can_id: int, data: bytes, *, extended: bool = False, brs: bool = True, esi: bool = False
) -> FrameBits:
    """Return the bits of a CAN FD frame (ISO 11898-1, with stuff count) by phase. ``data`` has one of FD's lengths, up to 64."""
    dlc = _FD_DLC[len(data)]
    if extended:
        arbitration = ((can_id >> 18) << 2 | 0b11) << 18 | can_id & 0x3FFFF
        length = 11 + 2 + 18
        arbitration, length = arbitration << 1, length + 1  # RRS; IDE stands before the identifier's second part
    else:
        arbitration, length = can_id << 2, 11 + 2  # RRS, IDE
    arbitration, length = (arbitration << 2 | 0b10) << 1 | brs, length + 3  # FDF, res, BRS
    stuffed, state = _stuff_bits(arbitration, length, _AFTER_SOF)
    # The CRC delimiter is still at the data bit rate, so it is not in the nominal part here (- 1); it is counted
    # below.
    nominal = 1 + length + stuffed + _TRAILER_BITS - 1
    # ESI and DLC. Without data the DLC's last bit is followed by the fixed stuff bit, so it cannot cause a dynamic
    # one.
    more, state = _stuff_bits(esi << 4 | dlc, 5, state) if data else _stuff_bits(esi << 3, 4, state)
    fast = 5 + more + 8 * len(data)
    for byte in data[:-1]:
        more, state = _STUFF_8[state][byte]
        fast += more
    if data:  # no dynamic stuff bit after the last data bit: the first fixed stuff bit is there
        more, state = _STUFF_7[state][data[-1] >> 1]
        fast += more
    fast += (4 + 17 + 6 if len(data) <= 16 else 4 + 21 + 7) + 1  # stuff count, CRC, fixed stuff bits, CRC delimiter
    return FrameBits(nominal=nominal, data=fast) if brs else FrameBits(nominal=nominal + fast)


_FD_DLC: Final = {size: dlc for dlc, size in enumerate((0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64))}


def consecutive_payload(*, fd: bool) -> int:
    """Return the payload bytes of a full ISO-TP consecutive frame with normal addressing."""
    return FD_CONSECUTIVE_FRAME_PAYLOAD_BYTES if fd else CONSECUTIVE_FRAME_PAYLOAD_BYTES


def consecutive_frames(payload: bytes, *, limit: int = 1024) -> Iterable[bytes]:
    """Yield the data fields of full classic ISO-TP consecutive frames of ``payload``, an even sample below 2 × ``limit``."""
    size = CONSECUTIVE_FRAME_PAYLOAD_BYTES
    count = len(payload) // size
    step = max(1, count // limit) | 1  # odd, so that all sequence numbers are sampled
    for index in range(0, count, step):
        yield bytes((0x20 | (index + 1) & 0xF,)) + payload[index * size : (index + 1) * size]


def mean_classic_bits(can_id: int, frames: Iterable[bytes]) -> float:
    """Return the mean length in bits of classic frames with that identifier.

    Raises:
        ValueError: no frames.
    """
    lengths = [classic_frame_bits(can_id, data, extended=is_29_bit(can_id)) for data in frames]
    if not lengths:
        raise ValueError("no frames to take the mean of")
    return sum(lengths) / len(lengths)


def tbf_rate_bit_s(bitrate: int, mean_frame_bits: float, *, counted_bits: int = TBF_CLASSIC_FRAME_BITS) -> int:
    """Return the token bucket rate that passes as many frames per second as a line with ``bitrate``.

    The bucket takes ``counted_bits`` for a frame that has ``mean_frame_bits`` on a real line.
    """
    return round(bitrate * counted_bits / mean_frame_bits)


def payload_limit_bytes_per_s(bitrate: int, mean_frame_bits: float, payload_bytes: float = 7) -> float:
    """Return the payload rate of a line that is never idle: frames per second times payload bytes per frame."""
    return bitrate / mean_frame_bits * payload_bytes
