"""Program files for ECUs that are no MCUboot targets: check them, and state what the cloud signs.

    packed = pack(Path("app.vbf"), ProgramDetails("gateway", "gateway-mcu", "0123", rule=rule), out=Path("gateway-0123.vbf"))
    statement_of(packed.path).payload.segments

The file stays as it is. Beside it lies its statement, ``<file>.json``: hardware, version, digest, format and segments. A campaign sends
both. A statement that does not belong to its file any more is refused.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import bincopy
from pydantic import BaseModel, ConfigDict, ValidationError

from otabench.bench.errors import FirmwareError, WrongUsage
from otabench.bench.firmware.programs import reading
from otabench.bench.firmware.programs.program import Program
from otabench.proto.message_limits import MAX_OPERATOR_MESSAGE_BYTES
from otabench.proto.uptane import FORMATS_WITHOUT_ADDRESSES, MAX_SEGMENTS, PayloadCustom, SegmentCustom, first_outside
from otabench.proto.version_order import SEMVER, VersionRule

DEFAULT_ADDRESS: Final = 0x0800_0000
MAX_SENT_BYTES: Final = MAX_OPERATOR_MESSAGE_BYTES - (1 << 20)
"""CreateCampaign is one message, with everything else in the last MiB."""
VERSION_OFFSET: Final = 0x20
VERSION_BYTES: Final = 16
"""Where ``write_synthetic`` puts the version text, and where simulated bootloaders read it."""
_DRIVER_BYTES: Final = 600
_STATEMENT: Final = ".json"


class Statement(BaseModel):
    """What is stated about a program file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hardware_id: str
    version: str
    sha256: str
    payload: PayloadCustom


@dataclass(frozen=True)
class ProgramDetails:
    """What a program file is for.

    Attributes:
        ecu: the ECU's name, for messages.
        hardware_id, version: what it is for, and what it is.
        rule: the order of this ECU's versions.
        address: where a file without addresses belongs; None: it is not known.
        memory: where it may have data: first addresses and those behind the last. Empty: anywhere.
        driver_address: where generated firmware has a driver for RAM; None: it has none.
    """

    ecu: str
    hardware_id: str
    version: str
    rule: VersionRule = SEMVER
    address: int | None = None
    memory: tuple[tuple[int, int], ...] = ()
    driver_address: int | None = None


@dataclass(frozen=True)
class PackedProgram:
    """A program file on disk, with its statement beside it."""

    path: Path
    statement: Statement
    length_bytes: int


def pack(file: Path, details: ProgramDetails, *, out: Path, as_raw: bool = False) -> PackedProgram:
    """Check a program file, copy it to ``out``, and write its statement.

    Args:
        file: HEX, S-record, ELF, VBF, ODX-F, PDX, MCUboot image, or raw binary.
        details: what it is for.
        out: the copy; its folder is made.
        as_raw: take the bytes as they are, whatever they look like.

    Raises:
        WrongUsage: the version is not one of this ECU's, or the address is missing or too much.
        FirmwareError: the file is malformed, or cannot be read or written.
    """
    _check_version(details)
    program = reading.read(file, as_raw=as_raw, address=_address(file, details, as_raw=as_raw))
    payload = _payload(file, program)
    if outside := first_outside(payload, details.memory):
        memory = ", ".join(f"0x{first:08X} to 0x{behind - 1:08X}" for first, behind in details.memory)
        raise FirmwareError(
            f"{file}: {program.format}: data at {outside} are outside the memory of {details.ecu} ({memory})"
        )
    data = file.read_bytes()
    if len(data) > MAX_SENT_BYTES:
        raise FirmwareError(
            f"{file}: {len(data):,} bytes are more than the {MAX_SENT_BYTES:,} that one campaign can carry"
        )
    statement = Statement(
        hardware_id=details.hardware_id,
        version=details.version,
        sha256=hashlib.sha256(data).hexdigest(),
        payload=payload,
    )
    return _write(out, data, statement)


def write_synthetic(binary: bytes, details: ProgramDetails, *, out: Path) -> PackedProgram:
    """Write a generated binary as an Intel HEX file, with its version as a text near its start.

    Raises:
        WrongUsage, FirmwareError: as ``pack``.
    """
    _check_version(details)
    text = details.version.encode()
    if len(text) > VERSION_BYTES:
        raise WrongUsage(f"version {details.version!r}: generated firmware has room for {VERSION_BYTES} bytes")
    # The generator takes a version in MCUboot's form only, so binaries of other versions are made to differ here.
    marked = bytearray(binary)
    marked[VERSION_OFFSET : VERSION_OFFSET + VERSION_BYTES] = text.ljust(VERSION_BYTES, b"\0")
    file = bincopy.BinFile()
    file.add_binary(bytes(marked), details.address if details.address is not None else DEFAULT_ADDRESS)
    if details.driver_address is not None:
        # The same in all versions, as a driver usually is.
        file.add_binary(random.Random(0).randbytes(_DRIVER_BYTES), details.driver_address)
    data = file.as_ihex(number_of_data_bytes=32).encode("ascii")
    program = reading.parse(data)
    statement = Statement(
        hardware_id=details.hardware_id,
        version=details.version,
        sha256=hashlib.sha256(data).hexdigest(),
        payload=_payload(out, program),
    )
    return _write(out, data, statement)


def varied(binary: bytes, version: str) -> bytes:
    """Return a binary that differs from others of the same size by its version: a few changed bytes behind the header."""
    changed, source = bytearray(binary), random.Random(version)
    for _ in range(16):
        changed[source.randrange(256, len(changed))] = source.randrange(256)
    return bytes(changed)


def statement_of(file: Path) -> Statement | None:
    """Return the statement beside a file, or None if there is none.

    Raises:
        FirmwareError: it is not a statement, or belongs to other contents.
    """
    path = _statement_path(file)
    try:
        text = path.read_bytes()
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FirmwareError(f"{error.filename}: {error.strerror}; check the path") from error
    again = "make it again by `otabench firmware pack`"
    try:
        statement = Statement.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise FirmwareError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; {again}") from error
    if hashlib.sha256(data).hexdigest() != statement.sha256:
        raise FirmwareError(f"{path}: it belongs to other contents than those of {file}; {again}")
    return statement


def describe(file: Path, *, as_raw: bool = False) -> dict[str, str]:
    """Return what `otabench firmware info` prints about a program file, by label.

    Raises:
        FirmwareError: the file is malformed or cannot be read.
    """
    statement = statement_of(file)
    address = statement.payload.start_address if statement is not None else None
    program = reading.read(file, as_raw=as_raw, address=address or 0)
    data = file.read_bytes()
    needs_address = program.format in FORMATS_WITHOUT_ADDRESSES and address is None
    lengths = ", ".join(f"{each} ({len(each.data):,} bytes)" for each in program.segments[:8])
    return {
        "file": f"{file} ({len(data)} bytes)",
        "format": str(program.format),
        "version": statement.version if statement else "not stated (`otabench firmware pack` states it)",
        "hardware": statement.hardware_id if statement else "not stated",
        "segments": ("anywhere; " if needs_address else "") + lengths + (", …" if len(program.segments) > 8 else ""),
        **({"start": f"0x{program.start:08X}"} if program.start is not None else {}),
        **program.fields,
        "sha-256": hashlib.sha256(data).hexdigest(),
        "signature": "none of its own: the Director signs the file",
    }


def _check_version(details: ProgramDetails) -> None:
    try:
        details.rule.check(details.version)
    except ValueError as error:
        raise WrongUsage(f"{error} (versions of {details.ecu} have the order {details.rule.order})") from error


def _address(file: Path, details: ProgramDetails, *, as_raw: bool) -> int:
    """Return where a file without addresses belongs; 0 for a file that has them."""
    if not as_raw and reading.read_format(file) not in FORMATS_WITHOUT_ADDRESSES:
        return 0
    if details.address is None:
        raise WrongUsage(
            f"{file}: a binary has no addresses of its own: give --address, or payload in the flash profile of {details.ecu}"
        )
    return details.address


def _payload(file: Path, program: Program) -> PayloadCustom:
    if len(program.segments) > MAX_SEGMENTS:
        raise FirmwareError(
            f"{file}: {len(program.segments)} segments are more than the {MAX_SEGMENTS} that signed metadata may list; fill the gaps"
        )
    without_addresses = program.format in FORMATS_WITHOUT_ADDRESSES
    try:
        return PayloadCustom(
            format=program.format,
            start_address=program.segments[0].address if without_addresses else None,
            segments=tuple(SegmentCustom(address=each.address, length=len(each.data)) for each in program.segments),
        )
    except ValidationError as error:
        raise FirmwareError(f"{file}: {error.errors(include_url=False)[0]['msg']}") from error


def _write(out: Path, data: bytes, statement: Statement) -> PackedProgram:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(data)
        _statement_path(out).write_text(statement.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise FirmwareError(f"{error.filename or out}: {error.strerror}; choose another place with --out") from error
    return PackedProgram(out, statement, len(data))


def _statement_path(file: Path) -> Path:
    return file.parent / f"{file.name}{_STATEMENT}"  # not with_name, which refuses a folder such as `.`
