"""The differences between bootloaders, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

# Addresses as in many Cortex-M controllers.
FLASH_BASE: Final = 0x0800_0000
RAM_BASE: Final = 0x2000_0000
# Small, so that a sweep of power cuts is quick.
SECTORS: Final = 16


ALL_SERVICES: Final = frozenset({0x10, 0x11, 0x22, 0x27, 0x28, 0x2E, 0x31, 0x34, 0x36, 0x37, 0x3E, 0x85})


class EraseOption(StrEnum):
    """The option record of the erase routine (FF00)."""

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
    """The form in which RequestDownload (34) names its memory."""

    ADDRESS = "address"
    """44, four bytes of address, four of size."""
    BLOCK = "block"
    """41, the number of a block, four bytes of size."""
    ZONE = "zone"
    """A zone in place of the data format, 11 00 00: addresses come with the data, as records."""


@dataclass(frozen=True)
class Level:
    """One level of SecurityAccess. The key is each byte of the seed XOR ``key_xor``; no manufacturer's algorithm is shipped."""

    seed_bytes: int = 4
    key_xor: int = 0xA5
    session: int | None = None
    """Only in this session; None: in any but the default one."""


@dataclass(frozen=True)
class Check:
    """The check routine (0202), with a CRC as its option.

    Attributes:
        crc: the name of the CRC in the catalogue, or (width, polynomial, init, reflected, final XOR).
        width: the length of the CRC in the option, in bytes.
        is_running: whether the CRC covers all blocks since the last check, instead of the last block.
        with_block: whether 01, the block's number and the CRC's length (2 bytes) precede the CRC.
        status: whether the answer has a status byte, 00 for a right and 01 for a wrong CRC. Without it, a wrong CRC is refused (31).
    """

    crc: str | tuple[int, int, int, bool, int] = "CRC32"
    width: int = 4
    is_running: bool = False
    with_block: bool = False
    status: bool = True


IDENTIFIERS: Final = frozenset({0xF186, 0xF189, 0xF18C, 0xF15B, 0xF190})
"""The identifiers that most bootloaders read."""
BANK_IDENTIFIER: Final = 0xFD00
"""Of an ECU with two banks: the bank that runs, as a letter."""
BANKS_IDENTIFIER: Final = 0xFD01
"""Of an ECU with two banks: for each of them a byte for its state, and its version, filled with FF."""


@dataclass(frozen=True)
class Personality:
    """One bootloader.

    Attributes:
        name: the name by which it is shipped.
        services: the services that it has.
        identifiers: the identifiers that it reads.
        levels: the levels of SecurityAccess, by the sub-function of requestSeed.
        needed_levels: the levels that must all be unlocked before flash is erased or written.
        needs_authentication: whether flash is erased and written only for a tester that has authenticated itself (29).
        resets_into_bootloader: whether 10 02 in the application resets. The bootloader then answers by itself if ``answers_late``.
        session_needs_levels: the levels without which the application refuses 10 02.
        bare_session_answer: whether 50 02 comes without P2 and P2*.
        odd_times: whether P2 and P2* come in the wrong order, as from one bootloader in the field.
        needs_driver: whether flash is erased and written only with a driver in RAM.
        start_driver: the routine that starts the driver, with its address; None: the check routine starts it.
        erase: the option of FF00.
        erase_statuses: the status bytes of FF00 until it is done, of which the last one is repeated; empty: no status byte.
        download: the form of 34.
        blocks: address and size of each block, by its number.
        data_formats: the accepted dataFormatIdentifiers; AA is zlib.
        max_block: maxNumberOfBlockLength in the answer to 34; 0: the answer is 74 10 00.
        stray_bytes: bytes without a meaning behind 76, as some bootloaders send them.
        exit_crc: the CRC of the block that 77 carries; None: it carries none.
        check: the check routine; None: there is none.
        activate: the routine that lets the other one of two banks run from the next boot on. None: there is one bank.
        revert: the routine that gives up the bank that runs.
        commit: the routine that marks the application as valid. ``commit_done``: its status if it did; otherwise it is 05. None: there
            is no status, and a refusal (22) otherwise.
        fingerprint: the identifier that must be written before ``commit``; None: there is none.
        long_routines_pending: whether erase, check and commit are answered with 78 first.
        late_reset_answer: whether 51 is sent by the software that starts after the reset.
    """

    name: str
    services: frozenset[int] = ALL_SERVICES
    identifiers: frozenset[int] = IDENTIFIERS
    levels: Mapping[int, Level] = field(default_factory=lambda: {1: Level()})
    needed_levels: tuple[int, ...] = (1,)
    needs_authentication: bool = False
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
    activate: int | None = None
    revert: int | None = None
    commit: int = 0xFF01
    commit_done: int | None = 0x00
    fingerprint: int | None = 0xF15A
    long_routines_pending: bool = True
    late_reset_answer: bool = False

    @property
    def is_dual(self) -> bool:
        """Whether it has two banks, so that the application runs while the other bank is programmed."""
        return self.activate is not None
