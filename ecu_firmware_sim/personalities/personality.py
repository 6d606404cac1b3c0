"""What distinguishes one bootloader from another, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

FLASH_BASE: Final = 0x0800_0000
RAM_BASE: Final = 0x2000_0000
SECTORS: Final = 16


class EraseOption(StrEnum):
    """What the erase routine takes as its option record."""

    NONE = "none"
    """Nothing: all of the application's flash is erased."""
    ALFI = "alfi"
    """44, four bytes of address, four of length."""
    PLAIN = "plain"
    """Address and length without 44."""
    BLOCK = "block"
    """01 and the number of a block."""
    ZONE = "zone"
    """A zone and a fixed signature of the tool (F0 5A)."""


class DownloadForm(StrEnum):
    """How RequestDownload (34) names its memory."""

    ADDRESS = "address"
    """44, four bytes of address, four of size."""
    BLOCK = "block"
    """41, the number of a block, four bytes of size."""
    ZONE = "zone"
    """A zone in place of the data format, 11 00 00: addresses come with the data, as records."""


@dataclass(frozen=True)
class Level:
    """One level of SecurityAccess. The key is each byte of the seed XOR ``key_xor``: no maker's algorithm is shipped."""

    seed_bytes: int = 4
    key_xor: int = 0xA5
    session: int | None = None
    """Only in this session; None: in any but the default one."""


@dataclass(frozen=True)
class Check:
    """The check routine (0202): a CRC as its option.

    Attributes:
        crc: its name in the CRC catalogue, or (width, polynomial, init, reflected, final XOR).
        width: of the CRC in the option, in bytes.
        is_running: it counts all blocks since the last check, instead of the last one.
        with_block: 01, the block's number and the CRC's length (2 bytes) are in front.
        status: whether a status byte says 00 for right and 01 for wrong; without one, a wrong CRC is refused (31).
    """

    crc: str | tuple[int, int, int, bool, int] = "CRC32"
    width: int = 4
    is_running: bool = False
    with_block: bool = False
    status: bool = True


@dataclass(frozen=True)
class Personality:
    """One bootloader.

    Attributes:
        name: as in the list of shipped ones.
        levels: by requestSeed's sub-function.
        needed_levels: all of them must be unlocked before flash is erased or written.
        resets_into_bootloader: 10 02 in the application resets; the bootloader then answers by itself if ``answers_late``.
        session_needs_levels: 10 02 is refused by the application unless these are unlocked.
        bare_session_answer: 50 02 without P2 and P2*.
        odd_times: P2 and P2* in the wrong order, as one bootloader in the field has them.
        needs_driver: flash is erased and written only with a driver in RAM.
        start_driver: routine that starts it, with its address; None: the check routine does.
        erase: option of FF00.
        erase_statuses: status bytes of FF00 until it is done, the last one is repeated; none: no status byte.
        download: form of 34.
        blocks: address and size by number.
        data_formats: accepted dataFormatIdentifiers; AA is zlib.
        max_block: maxNumberOfBlockLength in the answer to 34; 0: the answer says 74 10 00.
        stray_bytes: behind 76, meaning nothing.
        exit_crc: 77 carries this CRC of the block.
        check: the check routine; None: there is none.
        commit: the routine that marks the application as valid; ``commit_done``: its status if it did, 05 if it did not.
        fingerprint: identifier that must be written before ``commit``; None: none is needed.
        long_routines_pending: erase, check and commit answer 78 first.
        late_reset_answer: 51 comes from the software that starts.
    """

    name: str
    levels: Mapping[int, Level] = field(default_factory=lambda: {1: Level()})
    needed_levels: tuple[int, ...] = (1,)
    resets_into_bootloader: bool = True
    answers_late: bool = True
    session_needs_levels: tuple[int, ...] = ()
    bare_session_answer: bool = False
    odd_times: bool = False
    needs_driver: bool = False
    start_driver: int | None = None
    erase: EraseOption = EraseOption.ALFI
    erase_statuses: tuple[int, ...] = (0x00,)
    download: DownloadForm = DownloadForm.ADDRESS
    blocks: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    data_formats: frozenset[int] = frozenset({0x00})
    max_block: int = 0x0402
    stray_bytes: bytes = b""
    exit_crc: str | None = None
    check: Check | None = field(default_factory=Check)
    commit: int = 0xFF01
    commit_done: int = 0x00
    fingerprint: int | None = 0xF15A
    long_routines_pending: bool = True
    late_reset_answer: bool = False
