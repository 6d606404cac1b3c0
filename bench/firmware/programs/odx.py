"""Read ODX-F flash containers (ISO 22901-1), alone or in a PDX archive. odxtools reads the XML.

Rules:

* One SESSION is read: the datablocks that belong together. Where a container has several, the caller names one.
* A SEGMENT of records (Intel HEX, S-record) is an address range of them; a SEGMENT of a BINARY is the next bytes of it, and
  SOURCE-START-ADDRESS is their address.
* ENCRYPT-COMPRESS-METHOD with one byte is a dataFormatIdentifier. Another method is refused: its data cannot be sent as they are.
* Checksums and signatures of the container are for the ECU, and are not checked here. They are returned as fields, which a flash profile
  may send, and so are EXPECTED-IDENTs.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

import bincopy

from otabench.bench.firmware.programs.program import EraseRange, MalformedProgram, Program, ProgramFormat, Segment

if TYPE_CHECKING:
    from odxtools.database import Database
    from odxtools.datablock import Datablock
    from odxtools.segment import Segment as OdxSegment
    from odxtools.session import Session

MAX_ARCHIVE_BYTES: Final = 256 << 20
"""Of all files of an archive together: a small archive may unpack to terabytes."""
_INSTALL: Final = "pip install 'otabench[odx]'"


def read_pdx(data: bytes, *, session: str | None = None) -> Program:
    """Read the flash container of a PDX archive.

    Args:
        data: the archive.
        session: the short name of the SESSION to read; None: the only one.

    Raises:
        MalformedProgram: the archive or container is damaged or has no such session; or odxtools is not installed.
    """
    form = ProgramFormat.PDX
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        size = sum(each.file_size for each in archive.infolist())
        if size > MAX_ARCHIVE_BYTES:
            raise MalformedProgram(form, "", f"it unpacks to {size} bytes, more than {MAX_ARCHIVE_BYTES}")
        if damaged := archive.testzip():
            raise MalformedProgram(form, damaged, "its CRC-32 is wrong", "get the file again")
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise MalformedProgram(form, "", f"the archive cannot be read: {error}", "get the file again") from error
    return _read(form, archive, session)


def read_odx_f(data: bytes, *, session: str | None = None) -> Program:
    """Read a flash container that is not in an archive. See ``read_pdx``."""
    form = ProgramFormat.ODX_F
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise MalformedProgram(form, "", f"not well-formed XML: {error}", "get the file again") from error
    return _read(form, root, session)


def _read(form: ProgramFormat, source: zipfile.ZipFile | ElementTree.Element, session: str | None) -> Program:
    try:
        # Imported here: it is an extra of the package, and takes a second.
        from odxtools.database import Database
        from odxtools.exceptions import OdxError
    except ImportError as error:
        raise MalformedProgram(form, "", "odxtools, which reads it, is not installed", _INSTALL) from error
    # odxtools checks what it needs, and leaves the rest to Python's own exceptions.
    unreadable = (OdxError, ElementTree.ParseError, LookupError, ValueError, TypeError, AttributeError, AssertionError)
    database = Database(use_weakrefs=False)
    try:
        if isinstance(source, zipfile.ZipFile):
            database.add_pdx_file(source)
        else:
            database.add_odx_xml_tree(source)
        database.refresh()
    except unreadable as error:
        raise MalformedProgram(form, "", f"the container cannot be read: {error}", "get the file again") from error
    chosen = _session(database, session, form)
    try:
        return _program(chosen, form)
    except unreadable as error:
        raise MalformedProgram(form, f"session {chosen.short_name}", f"cannot be read: {error}") from error


def _session(database: Database, name: str | None, form: ProgramFormat) -> Session:
    sessions = [session for flash in database.flashs for memory in flash.ecu_mems for session in memory.mem.sessions]
    names = ", ".join(session.short_name for session in sessions) or "none"
    if name is None:
        if len(sessions) != 1:
            raise MalformedProgram(form, "", f"it has {len(sessions)} flash sessions: {names}", "name one: --session")
        return sessions[0]
    for session in sessions:
        if session.short_name == name:
            return session
    raise MalformedProgram(form, "", f"it has no flash session {name!r}", f"it has: {names}")


def _program(session: Session, form: ProgramFormat) -> Program:
    segments: list[Segment] = []
    erase: list[EraseRange] = []
    fields = {"session": session.short_name}
    for ident in session.expected_idents:
        fields[f"expected {ident.short_name}"] = " or ".join(each.value_raw.strip() for each in ident.ident_values)
    fields.update(_securities(session))
    for block in session.datablocks:
        fields.update(_securities(block))
        if block.data_type == "ERASE":
            erase += [EraseRange(each.source_start_address, _length(each, form)) for each in block.segments]
        else:
            segments += _segments(block, form)
    return Program.of(segments, form, erase=erase, fields=fields)


def _securities(part: Session | Datablock) -> Iterator[tuple[str, str]]:
    """Return the signatures and checksums (SECURITYS) of a session or datablock, with the names of their fields."""
    for each in part.securities:
        method = f" {each.security_method.value_raw.strip()}" if each.security_method is not None else ""
        for kind, found in (("signature", each.fw_signature), ("checksum", each.fw_checksum)):
            if found is not None:
                yield f"{kind} {part.short_name}{method}", found.value_raw.strip()


def _segments(block: Datablock, form: ProgramFormat) -> Iterator[Segment]:
    where = f"datablock {block.short_name}"
    flashdata = block.flashdata
    if flashdata is None:
        raise MalformedProgram(form, where, "it has no data (FLASHDATA-REF)")
    offset = _address_offset(block)
    contents = _contents(flashdata, form, where)
    if isinstance(contents, bincopy.BinFile):
        parts = list(contents.segments)
        if block.segments:
            parts = [part for each in block.segments for part in _crop(contents, each, form)]
        data_format = _data_format(flashdata.encrypt_compress_method, form, where)
        yield from (Segment(part.address + offset, bytes(part.data), data_format) for part in parts)
        return
    at = 0
    for each in block.segments:
        length = each.compressed_size or _length(each, form)
        if at + length > len(contents):
            problem = f"segment {each.short_name} needs {length} bytes, and {len(contents) - at} are left"
            raise MalformedProgram(form, where, problem, "get the file again")
        method = each.encrypt_compress_method or flashdata.encrypt_compress_method
        data_format = _data_format(method, form, where)
        yield Segment(each.source_start_address + offset, contents[at : at + length], data_format)
        at += length
    if at != len(contents):
        raise MalformedProgram(form, where, f"{len(contents) - at} bytes of its binary belong to no segment")


def _contents(flashdata: Any, form: ProgramFormat, where: str) -> bincopy.BinFile | bytes:
    from odxtools.dataformatselection import DataformatSelection
    from odxtools.externflashdata import ExternFlashdata

    if flashdata.dataformat.selection is DataformatSelection.USER_DEFINED:
        name = flashdata.dataformat.user_selection or "without a name"
        raise MalformedProgram(form, where, f"its data have a format of its maker ({name})", "export it as BINARY")
    if isinstance(flashdata, ExternFlashdata) and flashdata.dataformat.selection is DataformatSelection.BINARY:
        # In a file of its own a BINARY is raw; odxtools expects the hexadecimal text that it is inside XML.
        files = flashdata._database.auxiliary_files  # odxtools has no other way to the bytes
        if flashdata.datafile.value not in files:
            raise MalformedProgram(form, where, f"its file {flashdata.datafile.value!r} is not in the archive")
        return bytes(files[flashdata.datafile.value].read())
    try:
        contents = flashdata.dataset
    except bincopy.Error as error:
        raise MalformedProgram(form, where, f"its records are wrong: {error}", "get the file again") from error
    return contents if isinstance(contents, bincopy.BinFile) else bytes(contents)


def _crop(file: bincopy.BinFile, segment: OdxSegment, form: ProgramFormat) -> list[Any]:
    """Return the parts of the records in the segment's range; it must hold some."""
    start, end = segment.source_start_address, segment.source_start_address + _length(segment, form)
    parts = []
    for part in file.segments:
        low, high = max(part.address, start), min(part.address + len(part.data), end)
        if low < high:
            parts.append(Segment(low, bytes(part.data[low - part.address : high - part.address])))
    if not parts:
        raise MalformedProgram(form, f"segment {segment.short_name}", f"no data at 0x{start:08X} to 0x{end - 1:08X}")
    return parts


def _length(segment: OdxSegment, form: ProgramFormat) -> int:
    if segment.uncompressed_size is not None:
        return segment.uncompressed_size
    if segment.source_end_address is not None:
        return segment.source_end_address - segment.source_start_address + 1
    raise MalformedProgram(form, f"segment {segment.short_name}", "it has neither a size nor an end address")


def _data_format(method: Any, form: ProgramFormat, where: str) -> int:
    if method is None:
        return 0
    text = str(method.value_raw).strip()
    try:
        value = int(text, 16)
    except ValueError:
        value = 256
    if value > 0xFF:
        problem = f"its compression or encryption is {text!r}, not a dataFormatIdentifier of one byte"
        raise MalformedProgram(form, where, problem)
    return value


def _address_offset(block: Datablock) -> int:
    from odxtools.negoffset import NegOffset
    from odxtools.posoffset import PosOffset

    given = block.target_addr_offset
    if isinstance(given, PosOffset):
        return given.positive_offset
    return -given.negative_offset if isinstance(given, NegOffset) else 0
