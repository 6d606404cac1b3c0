"""Values of a profile: each is computed as the sequences of real bootloaders need it."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from otabench.bench.uds.sequence.checksums import CrcParameters, crc_over
from otabench.bench.uds.sequence.material import Block, BlockKind, EraseArea, Material
from otabench.bench.uds.sequence.scope import RunScope, Transfer
from otabench.bench.uds.sequence.template import Template, TemplateError
from otabench.bench.uds.sequence.values import Value

VALUE: TypeAdapter[Any] = TypeAdapter(Value)
NOW = datetime(2026, 11, 28, 9, 5, 7, tzinfo=UTC)
DRIVER = Block(0x2000_0000, b"driver", BlockKind.DRIVER, block_id=0x30)
FIRST = Block(0x0800_0000, b"12345", block_id=1)
SECOND = Block(0x0800_1000, b"compressed", block_id=2, memory_length=4, data_format=0xAA, checksum_data=b"6789")
MATERIAL = Material(
    (DRIVER, FIRST, SECOND),
    erase=(EraseArea(0x0800_0000, 0x2000),),
    start_address=0x2000_0001,
    settings={"tester_serial": "OTA", "bad": "ä"},
    signatures={1: b"signed"},
)
BLOCKS = MATERIAL.of_kind(BlockKind.APPLICATION)


def scope(*, index: int = 0, **values: Any) -> RunScope:
    made = {name: VALUE.validate_python(value) for name, value in values.items()}
    return RunScope(MATERIAL, made, NOW, attempt=3).turn(BLOCKS, index)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        # The check values of the CRC catalogue: of "123456789".
        ("CRC-16/X-25", 0x906E),
        ("crc16-ccitt-false", 0x29B1),
        ("CRC-32", 0xCBF43926),
        ("CRC-32/JAMCRC", 0x340BC6D9),
        ("CRC-16/MODBUS", 0x4B37),
        ("CRC-8", 0xF4),
    ],
)
def test_crcs_by_name_give_the_catalogue_s_check_value(name: str, check: int) -> None:
    assert crc_over(name, [b"123456789"]) == check


def test_a_crc_by_parameters_is_the_one_of_that_name() -> None:
    x25 = CrcParameters(width=16, polynomial=0x1021, init=0xFFFF, reflect=True, xor_out=0xFFFF)
    assert crc_over(x25, [b"123456789"]) == crc_over("X-25", [b"123456789"])


@given(
    st.lists(st.binary(max_size=50), max_size=5), st.sampled_from(["CRC-32", "X-25", "CRC-16/MODBUS", "CRC-32/MPEG-2"])
)
def test_a_crc_over_parts_is_that_of_the_whole(parts: list[bytes], name: str) -> None:
    assert crc_over(name, parts) == crc_over(name, [b"".join(parts)])


@pytest.mark.parametrize(
    ("value", "index", "expected"),
    [
        ({"checksum": "CRC-32"}, 0, zlib.crc32(b"12345").to_bytes(4, "big")),
        ({"checksum": "CRC-32", "order": "little"}, 0, zlib.crc32(b"12345").to_bytes(4, "little")),
        ({"checksum": "CRC-32"}, 1, zlib.crc32(b"6789").to_bytes(4, "big")),
        ({"checksum": "CRC-16/CCITT-FALSE", "over": "application"}, 0, b"\x29\xb1"),
        ({"checksum": "CRC-16/CCITT-FALSE", "over": "application", "width": 4}, 0, b"\x00\x00\x29\xb1"),
        ({"checksum": "CRC-32", "over": "driver"}, 0, zlib.crc32(b"driver").to_bytes(4, "big")),
        ({"checksum": "CRC-32", "over": "all"}, 0, zlib.crc32(b"driver123456789").to_bytes(4, "big")),
        ({"digest": "sha256", "width": 4}, 0, bytes.fromhex("5994471a")),
        ({"date": "YYMMDD", "as": "bcd"}, 0, bytes.fromhex("261128")),
        ({"date": "DD.MM.YYYY hh:mm:ss", "as": "ascii"}, 0, b"28.11.2026 09:05:07"),
        ({"text": "OTABENCH", "width": 10, "pad": 0x20}, 0, b"OTABENCH  "),
        ({"text": "0815", "encoding": "hex"}, 0, b"\x08\x15"),
        ({"setting": "tester_serial", "width": 4}, 0, b"OTA\x00"),
        ({"signature": "block"}, 0, b"signed"),
        ({"attempt": 2}, 0, b"\x00\x03"),
        ({"bytes": "55 {address:4}"}, 1, bytes.fromhex("5508001000")),
    ],
)
def test_a_value_is_computed(value: dict[str, Any], index: int, expected: bytes) -> None:
    assert Template.parse("{v}").render(scope(index=index, v=value)) == expected


def test_a_checksum_over_the_message_counts_what_is_in_front_of_it() -> None:
    own = scope(line_crc={"checksum": "CRC-16/X-25", "over": "message"})
    sending = own.sending(Transfer(counter=2, offset=0, address=0x0801_2345, data=b"ab"))
    message = Template.parse("36 {counter:1} {record_address:2:low} {data} {data_length:1} {line_crc}").render(sending)
    assert message[:7] == bytes.fromhex("36022345") + b"ab\x02"
    assert int.from_bytes(message[7:], "big") == crc_over("CRC-16/X-25", [message[:7]])


def test_the_numbers_of_a_compressed_block_tell_its_length_on_the_bus_from_that_in_the_ecu() -> None:
    text = "{block_id:1} {block_number:1} {block_count:1} {data_format:1} {length:2} {memory_length:2} {end_address:4} {start_address:4}"
    assert Template.parse(text).render(scope(index=1)).hex(" ") == "02 02 02 aa 00 0a 00 04 08 00 10 03 20 00 00 01"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"checksum": "CRC-23"}, "there is no checksum 'CRC-23'"),
        ({"checksum": "CRC-12/UMTS"}, "does not fill whole bytes"),
        ({"date": "today"}, "'today' has none of YYYY"),
        ({"sum": "CRC-32"}, "a value has one of: checksum, digest, date"),
        ({"checksum": "CRC-32", "over": "bloc"}, "'block', 'driver', 'application', 'all' or 'message'"),
    ],
)
def test_a_wrong_value_is_refused_when_the_profile_is_read(value: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as refused:
        VALUE.validate_python(value)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("value", "index", "problem"),
    [
        ({"setting": "workshop_code"}, 0, "the setting 'workshop_code' is not given; given: tester_serial, bad"),
        ({"setting": "bad"}, 0, "'ascii' codec can't encode"),
        ({"text": "too long", "width": 4}, 0, "'too long' has 8 bytes, and the field 4"),
        ({"signature": "block"}, 1, "there is no signature for this block"),
    ],
)
def test_what_the_update_does_not_have_is_named(value: dict[str, Any], index: int, problem: str) -> None:
    with pytest.raises(TemplateError) as refused:
        Template.parse("{v}").render(scope(index=index, v=value))
    assert problem in str(refused.value)


def test_a_block_outside_a_loop_is_the_only_one() -> None:
    one = RunScope(Material((FIRST,)), {}, NOW)
    assert Template.parse("{address:4}").render(one).hex() == "08000000"
    with pytest.raises(TemplateError, match="there are 3 blocks here: name the block's fields in a loop"):
        Template.parse("{address:4}").render(RunScope(MATERIAL, {}, NOW))


@pytest.mark.parametrize(
    ("address", "length", "expected"),
    [
        (0x0800_0001, 3, b"234"),
        (0x0800_0000, 5, b"12345"),
        (0x0800_1002, 2, b"89"),  # of the plain bytes of a compressed block
        (0x2000_0000, 6, b"driver"),
    ],
)
def test_bytes_of_the_program_are_taken_by_their_address(address: int, length: int, expected: bytes) -> None:
    here = scope(own_key={"program_at": address, "length": length})
    assert Template.parse("2E F1 10 {own_key}").render(here) == b"\x2e\xf1\x10" + expected


@pytest.mark.parametrize(("address", "length"), [(0x0800_0004, 2), (0x07FF_FFFF, 2), (0x0900_0000, 1)])
def test_bytes_that_the_program_does_not_have_are_an_error_that_names_them(address: int, length: int) -> None:
    last = address + length - 1
    with pytest.raises(TemplateError, match=f"own_key.: the program has no data from 0x{address:08X} to 0x{last:08X}"):
        Template.parse("{own_key}").render(scope(own_key={"program_at": address, "length": length}))
