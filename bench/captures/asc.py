"""Vector's ASC text: a writer whose times every reader understands alike.

python-can's own writer dates the file with the moment of the conversion, in a form that can-utils' asc2log does not read. Here the
header has the whole second in which the first frame came, and the times of the frames count from that second: so absolute times
survive to the microsecond, with python-can, asc2log and CANoe. Dates are local time, as the format has it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, TextIO

import can
from can.util import len2dlc

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# Of the flags of a CANFD line: EDL, BRS, ESI.
_EDL: Final = 0x1000
_BRS: Final = 0x2000
_ESI: Final = 0x4000


class AscWriter:
    """A writer of ASC lines. Messages number channels from 0, the file from 1."""

    def __init__(self, file: Path) -> None:
        self._file: TextIO = file.open("w", encoding="ascii", newline="\n")
        self._base_s: int | None = None

    def on_message_received(self, msg: can.Message) -> None:
        """Append one line."""
        # Whole microseconds from here on: the difference of two floats near 1.8e9 has errors of a quarter of a
        # microsecond.
        micros = round(msg.timestamp * 1_000_000)
        if self._base_s is None:
            self._base_s = micros // 1_000_000
            self._write_header(self._base_s)
        channel = (msg.channel if isinstance(msg.channel, int) else 0) + 1
        direction = "Rx" if msg.is_rx else "Tx"
        identifier = f"{msg.arbitration_id:X}{'x' if msg.is_extended_id else ''}"
        data = "".join(f" {byte:02X}" for byte in msg.data)
        since_us = micros - self._base_s * 1_000_000
        at = f"{since_us // 1_000_000:4d}.{since_us % 1_000_000:06d}"
        if msg.is_fd:
            flags = _EDL | (_BRS if msg.bitrate_switch else 0) | (_ESI if msg.error_state_indicator else 0)
            switches = f"{int(msg.bitrate_switch)} {int(msg.error_state_indicator)}"
            length = f"{len2dlc(len(msg.data)):x} {len(msg.data):2d}"
            self._file.write(
                f"{at} CANFD {channel:3d} {direction:<4} {identifier:>8}  {'':32} {switches} {length}{data} "
                # Duration, length in bits, flags, CRC, and four bit timings. Only the flags are known here.
                f"{0:8d} {0:4d} {flags:8X} {0:8d} {0:8d} {0:8d} {0:8d} {0:8d}\n"
            )
        else:
            kind = "r" if msg.is_remote_frame else "d"
            self._file.write(f"{at} {channel}  {identifier:<15} {direction:<4} {kind} {msg.dlc:x}{data}\n")

    def stop(self) -> None:
        """End the file."""
        if self._base_s is None:
            self._write_header(0)
        self._file.write("End TriggerBlock\n")
        self._file.close()

    def _write_header(self, base_s: int) -> None:
        # Not strftime: its names depend on the language of the system, and the format's are English.
        at = time.localtime(base_s)
        date = (
            f"{_DAYS[at.tm_wday]} {_MONTHS[at.tm_mon - 1]} {at.tm_mday:02d} "
            f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} {at.tm_year}"
        )
        self._file.write(f"date {date}\nbase hex  timestamps absolute\nno internal events logged\n")
        self._file.write(f"Begin Triggerblock {date}\n")
