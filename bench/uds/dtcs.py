"""Read the trouble codes of an ECU by UDS (19 02, 19 06).

A record holds the code, and how often, when, in which job and why it was set. The layout of the extended data records is this project's
own (docs/contracts.md). An ECU without service 19 has an empty list, and one without extended data has shorter records. Neither is an
error, but silence is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.errors import EcuRefused

CONFIRMED: Final = 0x08
"""Status bit 3, confirmedDTC (ISO 14229-1)."""
_ALL_RECORDS: Final = 0xFF
"""DTCExtDataRecordNumber FF requests all records (ISO 14229-1)."""
_ENTRY_BYTES: Final = 4
"""Three bytes of code, one of status."""
_OCCURRENCE, _JOB, _TEXT = 0x01, 0x02, 0x03
"""Record numbers of the extended data."""
_HEADER_BYTES: Final = 6
"""59 06, three bytes of code, one of status."""

NAMES: Final[dict[int, str]] = {
    0x056200: "the supply's voltage is too low",
    0x056300: "the supply's voltage is too high",
    0x060100: "a slot's image failed verification at boot",
    0x060200: "an image was refused",
    0x062F00: "the flash memory refused an operation",
    0x160100: "a new image did not come up",
    0x160200: "rolled back to the confirmed image",
}
"""Codes of ECUs with the profile ``iso14229-ab``."""


@dataclass(frozen=True)
class DtcRecord:
    """One stored code. ``count`` 0, ``set_at`` None and empty texts mean that the ECU did not report them."""

    code: int
    status: int
    count: int = 0
    set_at: datetime | None = None
    job_id: str = ""
    text: str = ""

    def __str__(self) -> str:
        """Return e.g. "P0602-00 an image was refused: wrong signature (job 7f…, 2026-01-01 00:00:00 UTC, 2 times)"."""
        name = NAMES.get(self.code, "")
        reason = ": ".join(part for part in (name, self.text) if part)
        facts = [f"job {self.job_id}"] if self.job_id else []
        facts += [f"{self.set_at:%Y-%m-%d %H:%M:%S} UTC"] if self.set_at else []
        facts += [f"{self.count} times"] if self.count > 1 else []
        return " ".join(
            part for part in (format_dtc(self.code), reason, f"({', '.join(facts)})" if facts else "") if part
        )


def format_dtc(code: int) -> str:
    """Return a three-byte code as workshops write it (ISO 15031-6): letter, four digits, failure type."""
    # The two top bits select the letter: powertrain, chassis, body, network.
    return f"{'PCBU'[code >> 22]}{code >> 8 & 0x3FFF:04X}-{code & 0xFF:02X}"


def read_dtcs(client: EcuClient, *, status_mask: int = CONFIRMED) -> tuple[DtcRecord, ...]:
    """Return the stored codes with at least one status bit of the mask.

    An ECU that refuses the request reports no codes: the tuple is empty.

    Raises:
        FlashError: the ECU is silent, or its response does not fit.
    """
    step = f"19 02 {status_mask:02X} read DTCs"
    try:
        answer = client.request(bytes((0x19, 0x02, status_mask)), step=step)
    except EcuRefused:
        return ()
    # 59 02, DTCStatusAvailabilityMask, then the entries.
    if answer[1:2] != b"\x02" or len(answer) < 3 or (len(answer) - 3) % _ENTRY_BYTES:
        raise client.contradiction(step, f"answered {answer.hex(' ').upper()}")
    entries = [answer[start : start + _ENTRY_BYTES] for start in range(3, len(answer), _ENTRY_BYTES)]
    return tuple(_read_extended_data(client, int.from_bytes(entry[:3], "big"), entry[3]) for entry in entries)


def parse_records(code: int, status: int, records: bytes) -> DtcRecord:
    """Return the contents of the extended data records of one code.

    Raises:
        ValueError: a record is cut short, or its number is unknown. Records carry no common length field, so the next record could not be
            found.
    """
    count, set_at, texts = 0, None, {_JOB: "", _TEXT: ""}
    while records:
        number, records = records[0], records[1:]
        if number == _OCCURRENCE and len(records) >= 5:
            count, seconds, records = records[0], int.from_bytes(records[1:5], "big"), records[5:]
            # 0 means that the ECU did not know the time (docs/contracts.md).
            set_at = datetime.fromtimestamp(seconds, UTC) if seconds else None
        elif number in texts and records and len(records) > records[0]:
            length = records[0]
            texts[number], records = records[1 : 1 + length].decode(errors="replace"), records[1 + length :]
        else:
            raise ValueError(f"extended data record {number:02X} is unknown or cut short")
    return DtcRecord(code, status, count, set_at, texts[_JOB], texts[_TEXT])


def _read_extended_data(client: EcuClient, code: int, status: int) -> DtcRecord:
    code_bytes = code.to_bytes(3, "big")
    step = f"19 06 {format_dtc(code)} read extended data"
    try:
        answer = client.request(b"\x19\x06" + code_bytes + bytes((_ALL_RECORDS,)), step=step)
    except EcuRefused:
        return DtcRecord(code, status)
    if answer[1:5] != b"\x06" + code_bytes or len(answer) < _HEADER_BYTES:
        raise client.contradiction(step, f"answered {answer[:8].hex(' ').upper()}")
    try:
        return parse_records(code, status, answer[_HEADER_BYTES:])
    except ValueError as error:
        raise client.contradiction(step, str(error)) from error
