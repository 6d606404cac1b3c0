"""The personalities for which the bench ships a flash profile of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from otabench.ecu_firmware_sim.personalities.personality import (
    ALL_SERVICES,
    BANK_IDENTIFIER,
    BANKS_IDENTIFIER,
    FLASH_BASE,
    IDENTIFIERS,
    RAM_BASE,
    Check,
    DownloadForm,
    EraseOption,
    Level,
    Personality,
)

PERSONALITIES: Final[Mapping[str, Personality]] = {
    each.name: each
    for each in (
        # The plain case: all the defaults of ``Personality``.
        Personality("single-bank"),
        # The least that can be flashed: no security, no extended session, no status bytes, nothing that silences the bus.
        Personality(
            "minimal",
            services=ALL_SERVICES - {0x27, 0x28, 0x2E, 0x3E, 0x85},
            identifiers=frozenset({0xF189}),
            levels={},
            needed_levels=(),
            resets_into_bootloader=False,
            erase_statuses=(),
            check=None,
            commit_done=None,
            fingerprint=None,
            long_routines_pending=False,
        ),
        # Two banks. What it reports of them is in codes of its own; the shipped profile does without.
        Personality(
            "two-banks",
            identifiers=IDENTIFIERS | {BANK_IDENTIFIER, BANKS_IDENTIFIER},
            resets_into_bootloader=False,
            activate=0x0205,
            revert=0x0206,
        ),
        # Memory by numbered blocks instead of addresses, a driver in RAM, compression.
        Personality(
            "block-ids",
            levels={0x11: Level()},
            needed_levels=(0x11,),
            resets_into_bootloader=False,
            needs_driver=True,
            erase=EraseOption.BLOCK,
            download=DownloadForm.BLOCK,
            blocks={
                0x30: (RAM_BASE, 0x1000),
                1: (FLASH_BASE, 0x4000),
                2: (FLASH_BASE + 0x4000, 0x4000),
            },
            data_formats=frozenset({0x00, 0xAA}),
            max_block=0x0802,
            check=Check(with_block=True, status=False),
        ),
        # Records with their own addresses and CRCs; the erase is polled.
        Personality(
            "records",
            resets_into_bootloader=False,
            erase=EraseOption.ZONE,
            erase_statuses=(0x01, 0x01, 0x02),
            download=DownloadForm.ZONE,
            max_block=0,
            check=None,
            commit=0xFF04,
            commit_done=0x02,
            fingerprint=None,
        ),
        # One level of security to leave the application, another one to program.
        Personality(
            "two-levels",
            levels={1: Level(session=3), 3: Level(key_xor=0x3C, session=2)},
            needed_levels=(3,),
            session_needs_levels=(1,),
            resets_into_bootloader=False,
            odd_times=True,
            needs_driver=True,
            check=Check(crc="CRC16-CCITT-FALSE", width=2, is_running=True),
            max_block=0x0202,
        ),
        # The response to 11 comes from the software that starts; a CRC that no catalogue has.
        Personality(
            "late-reset",
            levels={1: Level(seed_bytes=16)},
            bare_session_answer=True,
            needs_driver=True,
            erase=EraseOption.NONE,
            check=Check(crc=(16, 0x3D65, 0, True, 0xFFFF), width=4, is_running=True),
            max_block=0x82,
            stray_bytes=b"\x00\x00",
            late_reset_answer=True,
        ),
        # No seed and key: the tester authenticates itself by a certificate.
        Personality(
            "certificates",
            services=ALL_SERVICES - {0x27} | {0x29},
            levels={},
            needed_levels=(),
            needs_authentication=True,
            resets_into_bootloader=False,
        ),
        # A second bootloader is loaded into RAM, started by a routine, and programs the flash.
        Personality(
            "secondary-bootloader",
            levels={1: Level(seed_bytes=3)},
            resets_into_bootloader=False,
            needs_driver=True,
            start_driver=0x0301,
            erase=EraseOption.PLAIN,
            data_formats=frozenset({0x00}),
            exit_crc="CRC16-CCITT-FALSE",
            check=None,
            commit=0x0304,
            fingerprint=None,
        ),
    )
}
