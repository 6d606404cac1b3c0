"""Tell program files apart by content, and read them.

    program = read(Path("app.hex"))
    address, binary = program.contiguous(fill=0xFF, max_bytes=0x100000)

The name of a file is not looked at: a HEX file called ``app.bin`` is still a HEX file. Contents that are known not to be a
program (an archive, a picture, a text) are refused with what they are, because signed as bytes they would be accepted everywhere
and run nowhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from otabench.bench.errors import FirmwareError
from otabench.bench.firmware.programs.program import MalformedProgram, Program, ProgramFormat, Segment
from otabench.proto.program_format import MCUBOOT_MAGIC, NotAProgram, recognize

MAX_FILE_BYTES: Final = 256 << 20


def read(path: Path, *, as_raw: bool = False, address: int = 0, session: str | None = None) -> Program:
    """Read a program file.

    Args:
        path: the file.
        as_raw: take the bytes as they are, whatever they look like.
        address: where a raw binary belongs.
        session: the flash session of an ODX-F or PDX container; None: the only one.

    Raises:
        FirmwareError: the file cannot be read, is not a program, or is malformed.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise FirmwareError(f"{path}: {size} bytes are more than the {MAX_FILE_BYTES} that a program file may have")
        data = path.read_bytes()
    except OSError as error:
        raise FirmwareError(f"{path}: {error.strerror}; check the path") from error
    try:
        return parse(data, as_raw=as_raw, address=address, session=session)
    except MalformedProgram as error:
        raise FirmwareError(f"{path}: {error}") from error


def read_format(path: Path) -> ProgramFormat:
    """Return the format of a file, by its contents.

    Raises:
        FirmwareError: the file cannot be read, or is not a program.
    """
    try:
        return recognize(path.read_bytes())
    except OSError as error:
        raise FirmwareError(f"{path}: {error.strerror}; check the path") from error
    except NotAProgram as error:
        raise FirmwareError(f"{path}: {error}") from error


def read_binary(
    path: Path, *, max_bytes: int, fill: int = 0xFF, as_raw: bool = False, session: str | None = None
) -> tuple[Program, bytes]:
    """Read a program file as one binary, as an image holds it: gaps between segments are filled.

    Args:
        path: the file.
        max_bytes: the longest binary that can be used.
        fill: the byte in gaps; erased flash reads as 0xFF.
        as_raw, session: see ``read``.

    Returns:
        The program, and its bytes from its lowest address on.

    Raises:
        FirmwareError: see ``read``; or the file holds an MCUboot image already, or a binary that is too long.
    """
    program = read(path, as_raw=as_raw, session=session)
    try:
        _, binary = program.contiguous(fill=fill, max_bytes=max_bytes)
    except MalformedProgram as error:
        raise FirmwareError(f"{path}: {error}") from error
    # imgtool writes images as HEX files too, so the contents are looked at, not only the file.
    if not as_raw and binary.startswith(MCUBOOT_MAGIC):
        raise FirmwareError(
            f"{path}: it holds an MCUboot image already; use it in a campaign as it is, or give the binary it was made of"
        )
    return program, binary


def parse(data: bytes, *, as_raw: bool = False, address: int = 0, session: str | None = None) -> Program:
    """Read the contents of a program file. See ``read``.

    Raises:
        MalformedProgram: the contents are not a program, or are malformed.
    """
    form = ProgramFormat.RAW if as_raw else format_of(data)
    # Here, because the libraries of these formats take an eighth of the time in which `otabench bench run` is imported.
    from otabench.bench.firmware.programs import elf, odx, records, vbf

    match form:
        case ProgramFormat.INTEL_HEX:
            return records.read_intel_hex(data)
        case ProgramFormat.S_RECORD:
            return records.read_s_record(data)
        case ProgramFormat.ELF:
            return elf.read_elf(data)
        case ProgramFormat.VBF:
            return vbf.read_vbf(data)
        case ProgramFormat.ODX_F:
            return odx.read_odx_f(data, session=session)
        case ProgramFormat.PDX:
            return odx.read_pdx(data, session=session)
        case _:
            return Program.of([Segment(address, data)], form)


def format_of(data: bytes) -> ProgramFormat:
    """Return the format that the contents have; RAW for bytes of no known format.

    Raises:
        MalformedProgram: they have a format that is not a program's.
    """
    try:
        return recognize(data)
    except NotAProgram as error:
        raise MalformedProgram(ProgramFormat.RAW, "", error.problem, error.remedy) from error
