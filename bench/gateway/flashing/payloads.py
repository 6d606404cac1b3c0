"""The bytes of an image that a sequence profile sends: the blocks of a program file, or an MCUboot image as one block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from otabench.bench.firmware.programs import reading
from otabench.bench.firmware.programs.material import material as material_of
from otabench.bench.firmware.programs.program import MalformedProgram, ProgramFormat
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.uds.errors import FlashError
from otabench.bench.uds.sequence.image_checksums import ImageChecksumError
from otabench.bench.uds.sequence.material import Block, BlockKind, Material, lay_out
from otabench.bench.uds.sequence.profile import SequenceProfile

_STEP: Final = "read the image"
_LISTED: Final = 4
"""Segments in an error text."""
DEFAULT_SETTINGS: Final = {"tester_serial": "OTABEN", "workshop_code": "OTABEN"}
"""Six characters each: the usual length of these fields of a fingerprint."""


def make_material(
    image: EcuImage, profile: SequenceProfile, *, settings: Mapping[str, str], is_patch: bool = False
) -> Material:
    """Return what is sent to an ECU, in the layout of its profile.

    Args:
        image: what the ECU is to run.
        profile: of the ECU.
        settings: texts that templates may name.
        is_patch: send the patch in place of the image.

    Raises:
        FlashError: the file is missing, is not of the signed format, is not a program, or does not contain a checksum that the profile
        requires.
    """
    texts = {**DEFAULT_SETTINGS, "version": image.version, **settings}
    if image.payload is None:
        blocks = (_container(image, profile, is_patch=is_patch),)
        made = Material(blocks, settings=texts)
    else:
        made = _program(image, profile, settings=texts)
    try:
        laid = lay_out(made, profile.layout)
    except ImageChecksumError as error:
        remedy = "correct the program, or layout.image_checksums of the flash profile"
        raise FlashError(str(error), ecu=image.ecu, step=_STEP, remedy=remedy) from error
    if not profile.takes_metadata:
        return laid
    metadata = Block(0, image.metadata, BlockKind.METADATA)
    return Material((metadata, *laid.blocks), laid.erase, laid.start_address, laid.settings)


def _container(image: EcuImage, profile: SequenceProfile, *, is_patch: bool) -> Block:
    own = profile.payload
    if own.kind != "container":
        text = f"it is an MCUboot image, but flash profile {profile.name} sends program files"
        raise FlashError(text, ecu=image.ecu, step=_STEP, remedy="send the program file, or set payload in the profile")
    data = _read(image.patch if is_patch and image.patch else image.image, image.ecu)
    data_format = own.patch_data_format if is_patch else own.data_format
    return Block(own.address or 0, data, data_format=data_format or 0, memory_length=image.image_length)


def _program(image: EcuImage, profile: SequenceProfile, *, settings: Mapping[str, str]) -> Material:
    assert image.payload is not None
    if profile.payload.kind != "raw":
        text = f"it is a program file, but flash profile {profile.name} sends MCUboot images"
        raise FlashError(text, ecu=image.ecu, step=_STEP, remedy="send an image, or set payload in the profile")
    data = _read(image.image, image.ecu)
    signed = image.payload
    try:
        is_raw = signed.file_format == ProgramFormat.RAW
        found = ProgramFormat.RAW if is_raw else reading.format_of(data)
        if found != signed.file_format:
            raise FlashError(f"it is {found}, but {signed.file_format} was signed", ecu=image.ecu, step=_STEP)
        address = profile.payload.address if signed.start_address is None else signed.start_address
        program = reading.parse(data, as_raw=is_raw, address=address or 0)
    except MalformedProgram as error:
        raise FlashError(str(error), ecu=image.ecu, step=_STEP) from error
    # The hash of the file was verified. This finds a file that the gateway reads otherwise than the tool that stated its segments,
    # on which the checks of the ECU's memory rest.
    if (
        signed.segments
        and (found_segments := tuple((each.address, len(each.data)) for each in program.segments)) != signed.segments
    ):
        text = f"its segments are {_segments(found_segments)}, but {_segments(signed.segments)} were signed"
        raise FlashError(
            text, ecu=image.ecu, step=_STEP, remedy="publish the image again with this version of otabench"
        )
    return material_of(program, settings=settings)


def _segments(segments: Sequence[tuple[int, int]]) -> str:
    listed = ", ".join(f"0x{address:X} ({length} bytes)" for address, length in segments[:_LISTED])
    return listed + (f" and {len(segments) - _LISTED} more" if len(segments) > _LISTED else "")


def _read(path: Path, ecu: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        text = f"{path}: cannot be read ({error.strerror})"
        raise FlashError(text, ecu=ecu, step=_STEP, remedy="download it again") from error
    if not data:
        raise FlashError(f"{path}: is empty", ecu=ecu, step=_STEP, remedy="download it again")
    return data
