"""Services 34, 36, 37 and routine FF00: counters, bounds, and what state a broken transfer leaves."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable

import bsdiff4
import pytest

from otabench.ecu_firmware_sim.flash.layout import METADATA_WINDOW, SLOT_WINDOW
from tests.ecu_firmware_sim.factory import Bench, ImageMaker, Manifest, patch_facts


@pytest.fixture
def ready(ecu: Bench) -> Bench:
    """Unlocked, its other slot erased."""
    ecu.unlock()
    ecu.erase()
    return ecu


def slot(ecu: Bench, number: int) -> bytes:
    return bytes(ecu.flash.memory[ecu.layout.slot_offset(number) :][: ecu.layout.slot_bytes])


def test_34_offers_blocks_of_4095_bytes(ready: Bench) -> None:
    assert ready.request_download(1000) == bytes.fromhex("74 20 0F FF")


OUT_OF_RANGE = [
    (SLOT_WINDOW - 1, 16),
    (SLOT_WINDOW, 0x4001),
    (SLOT_WINDOW + 0x4000, 1),
    (SLOT_WINDOW, 0),
    (METADATA_WINDOW, 0x1001),
    (METADATA_WINDOW + 0x100, 16),
    (0, 16),
    (0xFFFFFFFF, 0xFFFFFFFF),
]


@pytest.mark.parametrize(("address", "size"), OUT_OF_RANGE)
def test_34_outside_the_windows_is_31(ready: Bench, address: int, size: int) -> None:
    assert ready.request_download(size, address=address) == b"\x7f\x34\x31"


@pytest.mark.parametrize("data_format", [0x01, 0x11, 0x20, 0xFF])
def test_34_with_an_unknown_data_format_is_31(ready: Bench, data_format: int) -> None:
    assert ready.request_download(1000, data_format=data_format) == b"\x7f\x34\x31"


def test_34_with_another_address_format_is_31(ready: Bench) -> None:
    assert ready.ask("34 00 33 00 10 00 00 00 00 10 00") == "7F 34 31"


def test_34_on_a_slot_that_is_not_erased_is_22(ecu: Bench) -> None:
    ecu.unlock()
    ecu.erase(0x1000)
    ecu.flash.program(ecu.layout.slot_offset(1), b"\0")
    assert ecu.request_download(1000) == b"\x7f\x34\x22"


def test_34_during_a_transfer_is_22_and_the_transfer_goes_on(ready: Bench) -> None:
    ready.request_download(100)
    assert ready.request_download(100) == b"\x7f\x34\x22"
    ready.transfer(bytes(100))
    ready.must("37")


def test_36_and_37_without_a_download_are_24(ready: Bench) -> None:
    assert ready.ask("36 01 00") == "7F 36 24"
    assert ready.ask("37") == "7F 37 24"


def test_36_counts_from_01_and_wraps_from_ff_to_00(ready: Bench) -> None:
    ready.request_download(600)
    for number in range(1, 601):
        counter = number & 0xFF
        assert ready.send(bytes((0x36, counter, number % 251))) == bytes((0x76, counter))
    ready.must("37")
    assert slot(ready, 1)[:600] == bytes(number % 251 for number in range(1, 601))


def test_36_that_repeats_the_last_counter_is_positive_and_not_written_again(ready: Bench) -> None:
    ready.request_download(8)
    assert ready.ask(b"\x36\x01ABCD") == "76 01"
    assert ready.ask(b"\x36\x01WXYZ") == "76 01"
    assert ready.ask(b"\x36\x02EFGH") == "76 02"
    ready.must("37")
    assert slot(ready, 1)[:8] == b"ABCDEFGH"


@pytest.mark.parametrize("counter", ["00", "02", "FF"])
def test_36_with_a_wrong_counter_is_73_and_the_transfer_goes_on(ready: Bench, counter: str) -> None:
    ready.request_download(4)
    assert ready.ask(f"36 {counter} 00") == "7F 36 73"
    assert ready.ask(b"\x36\x01ABCD") == "76 01"
    ready.must("37")


def test_36_with_more_than_announced_is_71_and_ends_the_transfer(ready: Bench) -> None:
    ready.request_download(4)
    assert ready.ask(b"\x36\x01ABCDE") == "7F 36 71"
    assert ready.ask(b"\x36\x01ABCD") == "7F 36 24"
    assert ready.states == "CONFIRMED INVALID"


def test_36_longer_than_offered_is_13(ready: Bench) -> None:
    ready.request_download(0x4000)
    assert ready.send(bytes((0x36, 0x01)) + bytes(4094)) == b"\x7f\x36\x13"
    assert ready.send(bytes((0x36, 0x01)) + bytes(4093)) == b"\x76\x01"


def test_37_before_all_bytes_came_is_24_and_the_transfer_goes_on(ready: Bench) -> None:
    ready.request_download(8)
    ready.must(b"\x36\x01ABCD")
    assert ready.ask("37") == "7F 37 24"
    ready.must(b"\x36\x02EFGH")
    assert ready.ask("37") == "77"


def test_a_flash_error_is_72_sets_a_dtc_and_ends_the_transfer(ready: Bench) -> None:
    ready.request_download(0x1000)
    ready.flash.memory[ready.layout.slot_offset(1) + 0x200] = 0
    assert ready.send(bytes((0x36, 0x01)) + bytes(0x800)) == b"\x7f\x36\x72"
    assert ready.ask("37") == "7F 37 24"
    assert ready.ask("19 02 08") == "59 02 2F 06 2F 00 2F"


def test_the_slot_is_invalid_from_34_until_check_memory(ready: Bench, new_image: bytes) -> None:
    assert ready.states == "CONFIRMED EMPTY"
    ready.request_download(len(new_image))
    assert ready.states == "CONFIRMED INVALID"
    ready.transfer(new_image)
    ready.must("37")
    assert ready.states == "CONFIRMED INVALID"


def test_pages_are_programmed_once_and_the_running_slot_never(ready: Bench, new_image: bytes) -> None:
    ready.flash.log.clear()
    ready.download_image(new_image)
    other = ready.layout.slot_offset(1)
    pages = [step.offset // 256 for step in ready.flash.log if step.offset >= other]
    assert pages == list(range(other // 256, (other + len(new_image) - 1) // 256 + 1))
    assert not [step for step in ready.flash.log if ready.layout.slot_offset(0) <= step.offset < other]


def test_a_slot_of_which_only_a_part_was_erased_is_not_empty(
    ecu: Bench, make_image: ImageMaker, new_image: bytes
) -> None:
    """Its header would still name a version: it is INVALID, and what was erased may be programmed."""
    ecu.trial(make_image("1.0.1", counter=1))
    ecu.unlock()
    ecu.must("31 01 02 11")
    ecu.boot()
    ecu.unlock()
    sector = b"\x31\x01\xff\x00\x44" + (SLOT_WINDOW + 0x1000).to_bytes(4, "big") + (0x1000).to_bytes(4, "big")
    assert ecu.must(sector) == bytes.fromhex("71 01 FF 00 00")
    assert ecu.states == "INVALID CONFIRMED"
    assert ecu.must("22 F1 A1")[5] == 4, "as the slot table shows it"
    assert ecu.request_download(0x100) == b"\x7f\x34\x22", "the first sector is not erased"
    assert ecu.request_download(0x100, address=SLOT_WINDOW + 0x1000)[0] == 0x74
    ecu.must("10 03")
    assert ecu.stage(new_image) == 0


def test_a_shorter_image_is_taken_behind_which_the_old_one_still_stands(ecu: Bench, make_image: ImageMaker) -> None:
    longer = make_image("1.0.1", counter=1, body=bytes(range(256)) * 40)
    ecu.trial(longer)
    ecu.unlock()
    ecu.must("31 01 02 11")
    ecu.boot()
    ecu.trial(longer)
    ecu.unlock()
    image = make_image("1.0.2", counter=1)
    ecu.must("31 01 02 11")
    ecu.boot()
    ecu.unlock()
    ecu.download_metadata(Manifest(image, version=2, image_version="1.0.2").signed(ecu.keys.targets))
    ecu.erase(0x2000)
    ecu.download_image(image)
    assert ecu.ask("31 01 02 02") == "71 01 02 02 00"


ERASE_OUT_OF_RANGE = [(SLOT_WINDOW, 0x5000), (SLOT_WINDOW + 1, 0x1000), (SLOT_WINDOW, 0), (0, 0x1000), (0xF02000, 1)]


@pytest.mark.parametrize(("address", "length"), ERASE_OUT_OF_RANGE)
def test_erase_outside_the_window_or_inside_a_sector_is_31(ready: Bench, address: int, length: int) -> None:
    option = b"\x44" + address.to_bytes(4, "big") + length.to_bytes(4, "big")
    assert ready.send(b"\x31\x01\xff\x00" + option) == b"\x7f\x31\x31"


@pytest.mark.parametrize(
    ("option", "supply_v", "nrc"),
    [
        ("44 00 00 00 00 00 00 10 00", 13.5, "31"),
        ("44 00 10 00 01 00 00 10 00", 13.5, "31"),
        ("33 00 10 00 00 00 00 10 00", 13.5, "31"),
        ("44 00 10 00 00 00 00 10 00", 8.0, "93"),
    ],
    ids=["outside", "inside-a-sector", "format", "supply"],
)
def test_a_refused_erase_leaves_the_transfer_as_it_is(ready: Bench, option: str, supply_v: float, nrc: str) -> None:
    ready.request_download(8)
    ready.must(b"\x36\x01ABCD")
    ready.server.device.conditions.supply_v = supply_v
    assert ready.ask(f"31 01 FF 00 {option}") == f"7F 31 {nrc}"
    ready.server.device.conditions.supply_v = 13.5
    assert ready.ask(b"\x36\x02EFGH") == "76 02"
    assert ready.ask("37") == "77"
    assert slot(ready, 1)[:8] == b"ABCDEFGH"


def test_an_erase_ends_the_transfer(ready: Bench) -> None:
    ready.request_download(8)
    ready.must(b"\x36\x01ABCD")
    ready.erase()
    assert ready.ask(b"\x36\x02EFGH") == "7F 36 24"
    assert ready.states == "CONFIRMED EMPTY"


def test_erase_on_a_running_trial_is_22_because_the_other_slot_is_the_way_back(ecu: Bench, new_image: bytes) -> None:
    ecu.trial(new_image)
    ecu.unlock()
    option = b"\x44" + SLOT_WINDOW.to_bytes(4, "big") + (0x1000).to_bytes(4, "big")
    assert ecu.send(b"\x31\x01\xff\x00" + option) == b"\x7f\x31\x22"


def test_metadata_window_takes_one_document_after_the_other(ready: Bench) -> None:
    ready.download_metadata(b"A" * 500)
    ready.download_metadata(b"B" * 10)
    window = ready.flash.read(ready.layout.metadata_offset, 600)
    assert window.rstrip(b"\xff") == b"B" * 10


# -- patches


def send_patch(ecu: Bench, patch: bytes, size: int) -> bytes | None:
    assert ecu.request_download(size, data_format=0x10)[0] == 0x74
    ecu.transfer(patch, block_bytes=4093)
    return ecu.send("37")


def test_37_rebuilds_a_patch_into_the_other_slot(ecu: Bench, old_image: bytes, new_image: bytes) -> None:
    patch = bsdiff4.diff(old_image, new_image)
    ecu.unlock()
    manifest = Manifest(new_image, patch=patch_facts(old_image, patch))
    ecu.download_metadata(manifest.signed(ecu.keys.targets))
    ecu.erase()
    assert send_patch(ecu, patch, len(new_image)) == b"\x77"
    assert ecu.pending
    assert ecu.ask("31 01 02 02") == "71 01 02 02 00"
    assert slot(ecu, 1)[: len(new_image)] == new_image


def offer_patch(ecu: Bench, image: bytes, facts: dict[str, object] | None) -> str:
    """Targets with these facts, an erased slot, and the answer to 34 for a patch."""
    ecu.unlock()
    ecu.download_metadata(Manifest(image, patch=facts).signed(ecu.keys.targets))
    ecu.erase()
    return ecu.request_download(len(image), data_format=0x10).hex(" ").upper()


def prove_full_image_follows(ecu: Bench, image: bytes) -> None:
    assert ecu.ask("19 02 08").startswith("59 02 2F 06 02 00"), "the refusal is a trouble code"
    assert ecu.stage(image) == 0
    assert ecu.states == "CONFIRMED STAGED"


def test_a_patch_for_another_base_is_70_before_its_first_byte(ecu: Bench, old_image: bytes, new_image: bytes) -> None:
    foreign = bytes(reversed(old_image))
    patch = bsdiff4.diff(foreign, new_image)
    assert offer_patch(ecu, new_image, patch_facts(foreign, patch)) == "7F 34 70"
    assert ecu.ask("36 01 00") == "7F 36 24"
    assert ecu.ask("31 01 02 02") == "71 01 02 02 08"
    assert "base is not the running image" in ecu.nvm.current.dtcs[0].text
    assert slot(ecu, 1).count(0xFF) == ecu.layout.slot_bytes
    prove_full_image_follows(ecu, new_image)


def test_a_patch_that_the_targets_do_not_name_is_70(ecu: Bench, new_image: bytes) -> None:
    assert offer_patch(ecu, new_image, None) == "7F 34 70"
    assert ecu.ask("31 01 02 02") == "71 01 02 02 08"
    prove_full_image_follows(ecu, new_image)


def test_a_patch_with_targets_that_do_not_verify_is_70(ready: Bench, new_image: bytes) -> None:
    assert ready.request_download(len(new_image), data_format=0x10) == b"\x7f\x34\x70"
    prove_full_image_follows(ready, new_image)


def test_a_patch_longer_than_the_ram_is_70_before_its_first_byte(
    new_ecu: Callable[..., Bench], old_image: bytes, new_image: bytes
) -> None:
    ecu = new_ecu(ram_bytes=508_192 + 999)
    assert offer_patch(ecu, new_image, patch_facts(old_image, bytes(1000))) == "7F 34 70"
    prove_full_image_follows(ecu, new_image)


def header(control: int, diff: int, new: int) -> bytes:
    return b"BSDIFF40" + struct.pack("<QQQ", control, diff, new)


LIES: dict[str, Callable[[int], bytes]] = {
    "no patch": lambda new: bytes(5000),
    "streams longer than the patch": lambda new: header(4000, 4000, new) + bytes(4968),
    "a size beyond any RAM": lambda new: header(1 << 40, 10, new) + bytes(4968),
    "another image's size": lambda new: header(14, 14, new + 1) + bytes(4968),
    "a bomb's size": lambda new: header(14, 14, 1 << 40) + bytes(4968),
    "a stream that is not bzip2": lambda new: header(14, 14, new) + bytes(4968),
    "a decoder larger than the RAM": lambda new: header(14, 14, new) + b"BZh9" + bytes(4964),
    "a later decoder larger than the RAM": lambda new: (
        header(14, 14, new) + b"BZh1" + bytes(10) + b"BZh9" + bytes(4950)
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_patch_whose_head_cannot_be_is_72_with_the_36_that_brings_it(
    new_ecu: Callable[..., Bench], old_image: bytes, new_image: bytes, lie: str
) -> None:
    ecu = new_ecu(ram_bytes=1_000_000)
    patch = LIES[lie](len(new_image))
    assert offer_patch(ecu, new_image, patch_facts(old_image, patch)).startswith("74")
    tracemalloc.start()
    try:
        assert ecu.send(b"\x36\x01" + patch[:100]) == b"\x7f\x36\x72"
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
    assert ecu.ask("36 02 00") == "7F 36 24", "the download has ended"
    assert ecu.ask("31 01 02 02") == "71 01 02 02 08"
    prove_full_image_follows(ecu, new_image)


@pytest.mark.parametrize("block_bytes", [1, 3, 31, 33, 100, 4093])
def test_a_patch_is_judged_however_its_bytes_are_cut(
    ecu: Bench, old_image: bytes, new_image: bytes, block_bytes: int
) -> None:
    patch = bsdiff4.diff(old_image, new_image)
    assert offer_patch(ecu, new_image, patch_facts(old_image, patch)).startswith("74")
    ecu.transfer(patch, block_bytes=block_bytes)
    assert ecu.send("37") == b"\x77"
    assert ecu.ask("31 01 02 02") == "71 01 02 02 00"


def test_37_of_a_patch_that_is_not_all_there_is_24_and_more_than_it_is_72(
    ecu: Bench, old_image: bytes, new_image: bytes
) -> None:
    patch = bsdiff4.diff(old_image, new_image)
    assert offer_patch(ecu, new_image, patch_facts(old_image, patch)).startswith("74")
    ecu.must(b"\x36\x01" + patch[:-1])
    assert ecu.ask("37") == "7F 37 24"
    assert ecu.ask(b"\x36\x02" + patch[-1:] + b"\0") == "7F 36 72"
    assert ecu.ask("31 01 02 02") == "71 01 02 02 08"


def test_a_patch_that_was_damaged_on_its_way_is_72_to_37(ecu: Bench, old_image: bytes, new_image: bytes) -> None:
    patch = bsdiff4.diff(old_image, new_image)
    assert offer_patch(ecu, new_image, patch_facts(old_image, patch)).startswith("74")
    ecu.transfer(patch[:-1] + bytes((patch[-1] ^ 1,)))
    assert ecu.send("37") == b"\x7f\x37\x72"
    assert ecu.ask("31 01 02 02") == "71 01 02 02 08"
    prove_full_image_follows(ecu, new_image)
