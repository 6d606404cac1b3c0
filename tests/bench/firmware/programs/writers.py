"""Write one program in every format, for tests that read it back. Independent of the readers under test."""

from __future__ import annotations

import binascii
import io
import struct
import zipfile
from collections.abc import Sequence

Parts = Sequence[tuple[int, bytes]]
"""Address and data of each segment."""


def intel_hex(parts: Parts, *, width: int = 16) -> bytes:
    """Write records of ``width`` bytes, with extended linear addresses."""
    lines: list[str] = []
    high = -1
    for address, data in parts:
        at = 0
        while at < len(data):
            here = address + at
            if here >> 16 != high:
                high = here >> 16
                lines.append(_hex_record(0, 4, high.to_bytes(2, "big")))
            count = min(width, len(data) - at, 0x10000 - (here & 0xFFFF))
            lines.append(_hex_record(here & 0xFFFF, 0, data[at : at + count]))
            at += count
    return ("\n".join([*lines, ":00000001FF"]) + "\n").encode()


def _hex_record(address: int, kind: int, data: bytes) -> str:
    body = bytes([len(data)]) + address.to_bytes(2, "big") + bytes([kind]) + data
    return f":{body.hex().upper()}{-sum(body) & 0xFF:02X}"


def s_record(parts: Parts, *, width: int = 16) -> bytes:
    """Write S3 records with a header, a count and the termination record."""
    lines = [_s_record(0, 2, 0, b"otabench")]
    for address, data in parts:
        lines += [_s_record(3, 4, address + at, data[at : at + width]) for at in range(0, len(data), width)]
    lines += [_s_record(5, 2, len(lines) - 1, b""), _s_record(7, 4, parts[0][0], b"")]
    return ("\r\n".join(lines) + "\r\n").encode()


def _s_record(kind: int, address_bytes: int, address: int, data: bytes) -> str:
    body = bytes([address_bytes + len(data) + 1]) + address.to_bytes(address_bytes, "big") + data
    return f"S{kind}{body.hex().upper()}{~sum(body) & 0xFF:02X}"


def elf(parts: Parts, *, kind: int = 2, virtual_offset: int = 0x1000_0000, with_sections: bool = True) -> bytes:
    """Write a 32-bit little-endian ARM executable: a loadable segment and a section for each part.

    The virtual addresses differ from the physical ones by ``virtual_offset``, as those of initialized data do.
    """
    header_bytes, program_bytes, section_bytes = 52, 32, 40
    offset = header_bytes + program_bytes * len(parts)
    programs, bodies, sections = [], [], [bytes(section_bytes)]
    names = b"\0.part\0.shstrtab\0"
    for address, data in parts:
        virtual = (address + virtual_offset) & 0xFFFF_FFFF
        programs.append(struct.pack("<8I", 1, offset, virtual, address, len(data), len(data), 5, 1))
        sections.append(struct.pack("<10I", 1, 1, 2, virtual, offset, len(data), 0, 0, 1, 0))  # PROGBITS, ALLOC
        bodies.append(data)
        offset += len(data)
    sections.append(struct.pack("<10I", 7, 3, 0, 0, offset, len(names), 0, 0, 1, 0))  # STRTAB
    table = offset + len(names) if with_sections else 0
    count = len(sections) if with_sections else 0
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack("<HHIIIII", kind, 40, 1, parts[0][0], header_bytes, table, 0)
    header += struct.pack("<6H", header_bytes, program_bytes, len(parts), section_bytes, count, max(count - 1, 0))
    return b"".join([header, *programs, *bodies, *([names, *sections] if with_sections else [])])


def vbf(parts: Parts, *, data_format: int = 0, call: int | None = None, version: str = "2.6") -> bytes:
    """Write a VBF file whose erase list is its blocks."""
    blocks = b"".join(
        struct.pack(">II", address, len(data)) + data + struct.pack(">H", binascii.crc_hqx(data, 0xFFFF))
        for address, data in parts
    )
    erase = ", ".join(f"{{ 0x{address:08X}, 0x{len(data):08X} }}" for address, data in parts)
    call_line = "" if call is None else f"call = 0x{call:08X};\n"
    header = f"""vbf_version = {version};
header {{
   // a comment with a }} in it
   description = {{"An engine; with }} and \\" in it", "line 2"}};
   sw_part_number = "0815-AB";
   sw_part_type = EXE;
   data_format_identifier = 0x{data_format:02X};
   erase = {{ {erase} }};
   {call_line}file_checksum = 0x{binascii.crc32(blocks):08X};
}}"""
    return header.encode("latin-1") + blocks


def odx_f(
    parts: Parts,
    *,
    form: str = "BINARY",
    method: str | None = None,
    extern: str = "",
    sessions: int = 1,
    securities: str = "",
) -> bytes:
    """Write an ODX-F container. ``form``: of its FLASHDATA; ``extern``: the name of the file that holds the data."""
    data = b"".join(data for _, data in parts)
    text = {"BINARY": data.hex(), "INTEL-HEX": intel_hex(parts).decode(), "MOTOROLA-S": s_record(parts).decode()}[form]
    segments = "".join(
        f'<SEGMENT ID="S{number}"><SHORT-NAME>S{number}</SHORT-NAME>'
        f"<SOURCE-START-ADDRESS>{address:08X}</SOURCE-START-ADDRESS>"
        f"<SOURCE-END-ADDRESS>{address + len(part) - 1:08X}</SOURCE-END-ADDRESS></SEGMENT>"
        for number, (address, part) in enumerate(parts)
    )
    encoded = f'<ENCRYPT-COMPRESS-METHOD TYPE="A_BYTEFIELD">{method}</ENCRYPT-COMPRESS-METHOD>' if method else ""
    kind = "EXTERN" if extern else "INTERN"
    held = f'<DATAFILE LATEBOUND-DATAFILE="false">{extern}</DATAFILE>' if extern else f"<DATA>{text}</DATA>"
    all_sessions = "".join(
        f'<SESSION ID="SESS{number}"><SHORT-NAME>SESS{number}</SHORT-NAME>'
        '<EXPECTED-IDENTS><EXPECTED-IDENT ID="EI"><SHORT-NAME>hw</SHORT-NAME><IDENT-VALUES>'
        '<IDENT-VALUE TYPE="A_ASCIISTRING">H01</IDENT-VALUE></IDENT-VALUES></EXPECTED-IDENT></EXPECTED-IDENTS>'
        '<DATABLOCK-REFS><DATABLOCK-REF ID-REF="DB"/></DATABLOCK-REFS></SESSION>'
        for number in range(sessions)
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ODX MODEL-VERSION="2.2.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<FLASH ID="FL"><SHORT-NAME>engine</SHORT-NAME><ECU-MEMS><ECU-MEM ID="EM"><SHORT-NAME>em</SHORT-NAME><MEM>
<SESSIONS>{all_sessions}</SESSIONS>
<DATABLOCKS><DATABLOCK ID="DB" TYPE="DATA"><SHORT-NAME>db</SHORT-NAME><FLASHDATA-REF ID-REF="FD"/>
<SEGMENTS>{segments}</SEGMENTS>{securities}</DATABLOCK></DATABLOCKS>
<FLASHDATAS><FLASHDATA ID="FD" xsi:type="{kind}-FLASHDATA"><SHORT-NAME>fd</SHORT-NAME>
<DATAFORMAT SELECTION="{form}"/>{encoded}{held}</FLASHDATA></FLASHDATAS>
</MEM></ECU-MEM></ECU-MEMS></FLASH></ODX>""".encode()


def pdx(parts: Parts, *, form: str = "BINARY", extern: bool = False, sessions: int = 1) -> bytes:
    """Write a PDX archive with the container, and with the data in a file of its own if ``extern``."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.xml", "<CATALOG><SHORT-NAME>engine</SHORT-NAME></CATALOG>")
        archive.writestr("engine.odx-f", odx_f(parts, form=form, extern="app.bin" if extern else "", sessions=sessions))
        if extern:
            archive.writestr("app.bin", b"".join(data for _, data in parts))
    return out.getvalue()
