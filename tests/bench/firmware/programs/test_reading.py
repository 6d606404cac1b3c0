"""Program files: one memory whatever the format, and every damage refused by name."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabench.bench.errors import FirmwareError
from otabench.bench.firmware.programs import reading, records, vbf
from otabench.bench.firmware.programs.program import EraseRange, MalformedProgram, Program, ProgramFormat, Segment
from otabench.bench.uds.sequence.values import Text
from tests.bench.firmware.programs import writers
from tests.bench.firmware.programs.writers import Parts

PARTS: Parts = (
    (0x0800_0000, bytes(range(256)) * 2),
    (0x0800_FFF0, b"across a boundary of 64 KiB"),
    (0x0801_4000, b"\x00\xff" * 100),
)
WRITERS: dict[ProgramFormat, Callable[[Parts], bytes]] = {
    ProgramFormat.INTEL_HEX: writers.intel_hex,
    ProgramFormat.S_RECORD: writers.s_record,
    ProgramFormat.ELF: writers.elf,
    ProgramFormat.VBF: writers.vbf,
    ProgramFormat.ODX_F: writers.odx_f,
    ProgramFormat.PDX: writers.pdx,
}


READERS = {
    ProgramFormat.INTEL_HEX: records.read_intel_hex,
    ProgramFormat.S_RECORD: records.read_s_record,
    ProgramFormat.VBF: vbf.read_vbf,
}


def expected(parts: Parts) -> tuple[Segment, ...]:
    return tuple(Segment(address, data) for address, data in parts)


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_the_same_memory(form: ProgramFormat) -> None:
    program = reading.parse(WRITERS[form](PARTS))
    assert (program.format, program.segments) == (form, expected(PARTS))
    first, binary = program.contiguous(fill=0xFF, max_bytes=0x100000)
    assert first == 0x0800_0000
    assert binary[0x200:0xFFF0] == b"\xff" * (0xFFF0 - 0x200)
    assert binary.endswith(b"\x00\xff" * 100)


@pytest.mark.parametrize("form", ["BINARY", "INTEL-HEX", "MOTOROLA-S"])
def test_every_kind_of_flash_data_in_a_container_gives_the_same_memory(form: str) -> None:
    assert reading.parse(writers.pdx(PARTS, form=form)).segments == expected(PARTS)


def test_a_binary_in_a_file_of_its_own_in_the_archive_is_raw() -> None:
    assert reading.parse(writers.pdx(PARTS, extern=True)).segments == expected(PARTS)


def test_an_elf_file_stripped_of_its_sections_is_read_by_its_segments() -> None:
    assert reading.parse(writers.elf(PARTS, with_sections=False)).segments == expected(PARTS)


parts_of_a_memory = st.lists(
    st.tuples(st.integers(0, 0x7FFF), st.binary(min_size=1, max_size=300)), min_size=1, max_size=5
).map(lambda gaps: tuple((number * 0x10_0000 + gap, data) for number, (gap, data) in enumerate(gaps)))


@given(parts_of_a_memory, st.integers(1, 64))
def test_records_of_any_length_give_the_memory_they_were_written_from(parts: Parts, width: int) -> None:
    assert reading.parse(writers.intel_hex(parts, width=width)).segments == expected(parts)
    assert reading.parse(writers.s_record(parts, width=width)).segments == expected(parts)


@given(st.sampled_from(list(WRITERS)), st.data())
def test_a_file_cut_short_anywhere_is_refused(form: ProgramFormat, data: st.DataObject) -> None:
    whole = WRITERS[form](PARTS)
    # What can be cut without loss: the last line end of a text; sections behind the segments of an ELF file.
    end = len(whole) - 2 if form is not ProgramFormat.ELF else 52 + 32 * 3 + sum(len(each) for _, each in PARTS)
    cut = whole[: data.draw(st.integers(1, end - 1), label="length")]
    try:
        program = reading.parse(cut)
    except MalformedProgram:
        return
    assert program.format is ProgramFormat.RAW, "cut so short that nothing of the format is left"
    assert len(cut) < 8


@given(st.sampled_from(list(READERS)), st.data())
def test_a_byte_changed_in_the_data_is_noticed(form: ProgramFormat, data: st.DataObject) -> None:
    whole = bytearray(WRITERS[form](PARTS))
    start = whole.index(b"}", whole.index(b"file_checksum")) + 1 if form is ProgramFormat.VBF else 0
    at = data.draw(st.integers(start, len(whole) - 4), label="offset")
    new = data.draw(st.integers(0x21, 0x7E).filter(lambda value: value != whole[at]), label="value")
    if chr(whole[at]) in "\r\n" or chr(whole[at]).lower() == chr(new).lower():  # not data; the same digit
        return
    whole[at] = new
    with pytest.raises(MalformedProgram):
        READERS[form](bytes(whole))


HEX = writers.intel_hex(PARTS).decode().splitlines()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("\n".join(HEX[:-1]), "Intel HEX: the end-of-file record (:00000001FF) is missing; is the file complete?"),
        ("\n".join([*HEX, HEX[1]]), f"line {len(HEX) + 1}: it follows the end-of-file record of line {len(HEX)}"),
        ("\n".join([HEX[0], HEX[1], HEX[1], HEX[-1]]), "line 3: data at 0x08000000 to 0x0800000F overlap"),
        ("\n".join([*HEX[:3], HEX[0], HEX[1], HEX[-1]]), "data at 0x08000000 to 0x0800000F and 0x08000000 to 0x0800000F overlap"),
        ("\n".join([HEX[0], HEX[1][:-2] + "00", HEX[-1]]), "Intel HEX, line 2: expected crc"),
        ("\n".join([HEX[0], HEX[1][:20], HEX[-1]]), "line 2: it does not consist of pairs of hexadecimal digits"),
        ("\n".join([HEX[0], HEX[1].replace("0", "g"), HEX[-1]]), "line 2: it does not consist of pairs"),
        (":0200000400FFFB\n" + HEX[-1], "it holds no data"),
        ("S0030000FC\nS107000001020304EE\nS5030002FA\nS9030000FC", "counts 2 data records, and there are 1"),
        ("S107000001020304EE\n", "S-record: the termination record (S7, S8 or S9) is missing"),
    ],
)  # fmt: skip
def test_wrong_records_are_refused_with_their_line(contents: str, message: str) -> None:
    with pytest.raises(MalformedProgram) as refused:
        reading.parse(contents.encode())
    assert message in str(refused.value)


def test_blank_lines_and_the_marks_of_editors_are_no_records() -> None:
    text = b"\xef\xbb\xbf\r\n" + b"\r\n\r\n".join(line.encode() for line in HEX) + b"\r\n\x1a"
    assert reading.parse(text).segments == expected(PARTS)


VBF = writers.vbf(PARTS)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (VBF.replace(b"vbf_version = 2.6;\nheader", b"vbf_version = 2.6;\nheader ="), "VBF, line 2: '=' where '{' belongs"),
        (VBF[:200], "the header does not end; is the file complete?"),
        (VBF[:-3], "file_checksum: the CRC-32 of the blocks is"),
        (VBF.replace(b"file_checksum", b"other")[:-3], "bytes at 0x08014000 are announced, and the file ends after"),
        (VBF.replace(b"data_format_identifier = 0x00", b"data_format_identifier = zero"), "'zero' is not a number"),
        (VBF.replace(b"erase = { {", b"erase = { { 1, "), "erase: each entry is a pair of address and length"),
    ],
)  # fmt: skip
def test_a_wrong_vbf_file_is_refused_by_name(contents: bytes, message: str) -> None:
    with pytest.raises(MalformedProgram) as refused:
        reading.parse(contents)
    assert message in str(refused.value)


def test_what_a_vbf_header_states_is_kept() -> None:
    program = reading.parse(writers.vbf(PARTS, call=0x0800_0200))
    assert program.start == 0x0800_0200
    assert program.erase == tuple(EraseRange(address, len(data)) for address, data in PARTS)
    assert program.fields["sw_part_number"] == "0815-AB"
    assert program.fields["vbf_version"] == "2.6"


def test_compressed_data_are_kept_as_they_are_and_never_laid_out() -> None:
    for file in (writers.vbf(PARTS, data_format=0xAA), writers.odx_f(PARTS, method="AA")):
        program = reading.parse(file)
        assert [each.data_format for each in program.segments] == [0xAA] * len(PARTS)
        with pytest.raises(MalformedProgram, match="compressed or encrypted for the ECU \\(data format 0xAA\\)"):
            program.contiguous(fill=0xFF, max_bytes=1 << 20)


def test_signatures_and_checksums_of_a_container_are_fields_that_a_profile_can_send() -> None:
    securities = (
        '<SECURITYS><SECURITY><SECURITY-METHOD TYPE="A_ASCIISTRING">SA2</SECURITY-METHOD>'
        '<FW-SIGNATURE TYPE="A_BYTEFIELD"> 93000000014C </FW-SIGNATURE></SECURITY>'
        '<SECURITY><FW-CHECKSUM TYPE="A_BYTEFIELD">CAFE</FW-CHECKSUM></SECURITY></SECURITYS>'
    )
    fields = reading.parse(writers.odx_f(PARTS, securities=securities)).fields
    assert (fields["signature db SA2"], fields["checksum db"]) == ("93000000014C", "CAFE")
    sent = Text(setting="checksum db", encoding="hex").compute(fields["checksum db"])
    assert sent == b"\xca\xfe"


def test_the_session_of_a_container_is_named_where_it_has_several() -> None:
    two = writers.pdx(PARTS, sessions=2)
    with pytest.raises(MalformedProgram, match="it has 2 flash sessions: SESS0, SESS1; name one: --session"):
        reading.parse(two)
    program = reading.parse(two, session="SESS1")
    assert program.segments == expected(PARTS)
    assert program.fields == {"session": "SESS1", "expected hw": "H01"}
    with pytest.raises(MalformedProgram, match="it has no flash session 'X'; it has: SESS0, SESS1"):
        reading.parse(two, session="X")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (writers.odx_f(PARTS).replace(b"</ODX>", b""), "not well-formed XML"),
        (writers.odx_f(PARTS).replace(b'"DB" TYPE', b'"DC" TYPE'), "the container cannot be read"),
        (writers.odx_f(PARTS, method="AAAA"), "its compression or encryption is 'AAAA'"),
        (writers.odx_f(PARTS).replace(b"</DATA>", b"00</DATA>"), "1 bytes of its binary belong to no segment"),
        (writers.odx_f(PARTS, extern="app.bin"), "its file 'app.bin' is not in the archive"),
    ],
)
def test_a_wrong_container_is_refused_by_name(contents: bytes, message: str) -> None:
    with pytest.raises(MalformedProgram) as refused:
        reading.parse(contents)
    assert message in str(refused.value)


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("engine.odx-f", bytes(1 << 20))
        for number in range(256):
            archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
            archive.infolist()[-1].file_size = 1 << 20
    with pytest.raises(MalformedProgram, match="it unpacks to 269484032 bytes, more than 268435456"):
        reading.parse(out.getvalue())


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (writers.elf(PARTS, kind=1), "an object file, not a linked program; give the linker's output"),
        (writers.elf(PARTS)[:200], "the file after 200; is the file complete?"),
        (writers.elf(PARTS)[:20], "its header cannot be read"),
        (writers.elf([*PARTS, (0x0800_0010, b"again")]), "cannot be laid out"),
    ],
)
def test_a_wrong_elf_file_is_refused_by_name(contents: bytes, message: str) -> None:
    with pytest.raises(MalformedProgram) as refused:
        reading.parse(contents)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"\x1f\x8b\x08\x00", "it is a gzip archive"),
        (b"MZ\x90\x00", "it is a Windows program"),
        (b"PK\x03\x04 and no container", "it is a ZIP archive without a flash container"),
        (b"-----BEGIN PRIVATE KEY-----", "it is a PEM file (a key or certificate)"),
        (b"<?xml version='1.0'?><svg/>", "it is an XML file, and not ODX"),
        (b"#!/bin/sh\necho hello\n", "it is a text, of no format that is known here"),
        (b"", "it holds no data"),
    ],
)
def test_what_is_no_program_is_refused_with_what_it_is(contents: bytes, message: str) -> None:
    with pytest.raises(MalformedProgram) as refused:
        reading.parse(contents)
    assert message in str(refused.value)


def test_a_raw_binary_is_taken_as_it_is_at_the_given_address() -> None:
    assert reading.parse(b"\x00\x01", address=0x100).segments == (Segment(0x100, b"\x00\x01"),)
    assert reading.parse(b"MZ", as_raw=True).segments == (Segment(0, b"MZ"),)


def test_a_span_that_does_not_fit_is_refused_with_its_widest_gap() -> None:
    program = Program.of([Segment(0x0800_0000, b"code"), Segment(0x1FFF_7800, b"option")], ProgramFormat.ELF)
    with pytest.raises(MalformedProgram, match="widest gap is 0x08000004 to 0x1FFF77FF; leave out what is not flash"):
        program.contiguous(fill=0xFF, max_bytes=0x100000)


def test_data_outside_the_memory_are_refused_by_their_range() -> None:
    program = Program.of([Segment(0x0800_0000, b"code"), Segment(0x2000_0000, b"ram")], ProgramFormat.ELF)
    program.require_within(0x0800_0000, 0x2000_0000)
    with pytest.raises(MalformedProgram, match="data at 0x20000000 to 0x20000002 are outside the memory"):
        program.require_within(0x0800_0000, 0x100000)


def test_data_behind_the_last_address_are_refused() -> None:
    with pytest.raises(MalformedProgram, match="outside a memory of 4 GiB"):
        Program.of([Segment(0xFFFF_FFFF, b"ab")], ProgramFormat.RAW)


@pytest.mark.parametrize("write", [bytes, lambda data: writers.intel_hex([(0x0800_0000, data)])])
def test_an_image_is_not_packed_again_whatever_file_it_is_in(write: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "signed").write_bytes(write(b"\x3d\xb8\xf3\x96" + bytes(28)))
    with pytest.raises(FirmwareError, match="it holds an MCUboot image already; use it in a campaign as it is"):
        reading.read_binary(tmp_path / "signed", max_bytes=0x100000)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match="No such file or directory; check the path"):
        reading.read(tmp_path / "missing.hex")
    (tmp_path / "app.hex").write_text("\n".join(HEX[:-1]))
    with pytest.raises(FirmwareError, match=r"app\.hex: Intel HEX: the end-of-file record"):
        reading.read(tmp_path / "app.hex")
