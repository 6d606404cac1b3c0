"""Check a CreateCampaign request by itself, without any vehicle, and verify its images.

Base images are verified like images (``trust.firmware``), because a vehicle runs only signed images. A program file has no base image,
because patches are made of images only. ``vehicle_rules`` judges the vehicles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from otabench.cloud.campaigns.transfer_policy import TransferPolicy
from otabench.cloud.campaigns.vehicle_rules import Offer
from otabench.cloud.errors import InvalidRequest
from otabench.cloud.names import find_duplicates, require_safe_name
from otabench.cloud.rollout.messages import read_rollout
from otabench.cloud.rollout.rules import Rollout
from otabench.cloud.trust.firmware import Firmware, FirmwareRefused, verify, verify_program
from otabench.proto import ota_pb2
from otabench.proto.conditions import MAX_CONDITIONS, Condition
from otabench.proto.driver_rules import DriverRules
from otabench.proto.driver_texts import LANGUAGE_PATTERN, MAX_BYTES, MAX_LANGUAGES, DriverTexts
from otabench.proto.program_format import ProgramFormat
from otabench.proto.uptane import MAX_SEGMENTS, PayloadCustom, SegmentCustom

MAX_NAME_BYTES: Final = 200
MAX_NOTES_BYTES: Final = 8 * 1024
"""Name and notes are part of the Targets, which must fit an ECU's metadata window (64 KiB) and cross the bus once for each ECU."""
_LANGUAGE: Final = re.compile(LANGUAGE_PATTERN)
MAX_DURATION_S: Final = 10 * 365 * 86_400
_POLICIES: Final[dict[int, TransferPolicy]] = {
    ota_pb2.TRANSFER_POLICY_UNSPECIFIED: TransferPolicy.AUTO,
    ota_pb2.TRANSFER_POLICY_AUTO: TransferPolicy.AUTO,
    ota_pb2.TRANSFER_POLICY_FULL: TransferPolicy.FULL,
    ota_pb2.TRANSFER_POLICY_DELTA: TransferPolicy.DELTA,
}


@dataclass(frozen=True)
class GivenImage:
    """One verified image of a request, with its verified base image, if any."""

    firmware: Firmware
    content: bytes
    base: Firmware | None
    base_content: bytes
    encrypt: bool = False

    def __str__(self) -> str:
        return f"{self.firmware.hardware_id} {self.firmware.version}"

    @property
    def offer(self) -> Offer:
        """The facts of the image that ``vehicle_rules`` judges."""
        return Offer(
            hardware_id=self.firmware.hardware_id,
            version=self.firmware.version,
            security_counter=self.firmware.security_counter,
            is_encrypted=self.encrypt,
            dependencies=self.firmware.dependencies,
            payload=self.firmware.payload,
            rxswin=self.firmware.rxswin,
        )

    def files(self) -> list[tuple[Firmware, bytes]]:
        """Return image and base image, for storing."""
        files = [(self.firmware, self.content)]
        if self.base is not None:
            files.append((self.base, self.base_content))
        return files


@dataclass(frozen=True)
class CheckedCampaign:
    """The contents of a valid request."""

    images: list[GivenImage]
    policy: TransferPolicy
    conditions: tuple[Condition, ...]
    texts: Mapping[str, DriverTexts]
    driver: DriverRules
    rollout: Rollout | None = None


def check_campaign(request: ota_pb2.CreateCampaignRequest, *, key: Ed25519PublicKey) -> CheckedCampaign:
    """Return the verified images and the transfer policy of a request.

    Raises:
        InvalidRequest: the request itself is wrong; the message contains the field.
    """
    if not request.vins:
        raise InvalidRequest("vins: a campaign needs at least one vehicle")
    if not request.images:
        raise InvalidRequest("images: a campaign needs at least one image")
    for what, values in (
        ("vins", list(request.vins)),
        ("images: hardware id", [image.hardware_id for image in request.images]),
    ):
        if twice := find_duplicates(values):
            raise InvalidRequest(f"{what} {', '.join(twice)} is given twice")
    for field, limit in (("name", MAX_NAME_BYTES), ("release_notes", MAX_NOTES_BYTES)):
        size = len(getattr(request, field).encode())
        if size > limit:
            raise InvalidRequest(
                f"{field}: {size} bytes are more than {limit}: shorten it, because every ECU receives it with its metadata"
            )
    for field in ("manifest_lifetime_s", "approval_timeout_s", "conditions_limit_s"):
        value = getattr(request, field)
        # Written like this, the comparison refuses NaN as well.
        if not 0 <= value <= MAX_DURATION_S:
            raise InvalidRequest(f"{field} {value}: a number of seconds from 0 to ten years")
    policy = _POLICIES.get(request.transfer)
    if policy is None:
        # Enumerations of proto3 are open: a newer client may send any number.
        raise InvalidRequest(f"transfer {request.transfer} is not a TransferPolicy of this cloud")
    conditions, texts, driver = _check_conditions(request), _check_texts(request), _check_driver_rules(request)
    rollout = read_rollout(request)
    # Verify the images last, because that takes time.
    images = [_check_image(image, key, encrypt=request.encrypt) for image in request.images]
    return CheckedCampaign(
        images=images, policy=policy, conditions=conditions, texts=texts, driver=driver, rollout=rollout
    )


def _check_texts(request: ota_pb2.CreateCampaignRequest) -> dict[str, DriverTexts]:
    languages = [given.language for given in request.texts]
    if twice := find_duplicates(languages):
        raise InvalidRequest(f"texts: the language {', '.join(twice)} is given twice")
    if len(languages) > MAX_LANGUAGES:
        raise InvalidRequest(f"texts: {len(languages)} languages are more than {MAX_LANGUAGES}")
    texts = {
        given.language: DriverTexts(**{name: getattr(given, name) for name in DriverTexts.model_fields})
        for given in request.texts
    }
    for language in languages:
        if not _LANGUAGE.fullmatch(language):
            raise InvalidRequest(f"texts: {language[:40]!r} is not a language tag, such as de or zh-Hant")
    size = sum(each.size() for each in texts.values())
    if size > MAX_BYTES:
        raise InvalidRequest(
            f"texts: {size} bytes are more than {MAX_BYTES}: shorten them, because every ECU receives them with its metadata"
        )
    return texts


def _check_driver_rules(request: ota_pb2.CreateCampaignRequest) -> DriverRules:
    given = request.driver
    try:
        return DriverRules(
            max_reminders=given.max_reminders if given.HasField("max_reminders") else None,
            asks_before_download=given.asks_before_download,
            install_by=given.install_by,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidRequest(f"driver: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _check_conditions(request: ota_pb2.CreateCampaignRequest) -> tuple[Condition, ...]:
    if len(request.conditions) > MAX_CONDITIONS:
        raise InvalidRequest(f"conditions: {len(request.conditions)} are more than {MAX_CONDITIONS}")
    try:
        return tuple(map(Condition.parse, request.conditions))
    except ValueError as error:
        raise InvalidRequest(f"conditions: {error}") from error


def _check_image(given: ota_pb2.CreateCampaignRequest.Image, key: Ed25519PublicKey, *, encrypt: bool) -> GivenImage:
    try:
        require_safe_name(given.hardware_id, "images: hardware id")
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    if given.HasField("program"):
        return _check_program(given, encrypt=encrypt)
    return GivenImage(
        firmware=_verify_image(given.image, given.hardware_id, key, what="image"),
        content=given.image,
        base=_verify_image(given.base_image, given.hardware_id, key, what="base image") if given.base_image else None,
        base_content=given.base_image,
        encrypt=encrypt,
    )


def _check_program(given: ota_pb2.CreateCampaignRequest.Image, *, encrypt: bool) -> GivenImage:
    """Return a program file of a request, whose statement fits its contents."""
    where, program = f"program file for {given.hardware_id}", given.program
    if given.base_image:
        raise InvalidRequest(f"{where} is refused: patches are made of MCUboot images only; leave base_image out")
    if len(program.segments) > MAX_SEGMENTS:
        raise InvalidRequest(
            f"{where} is refused: {len(program.segments)} segments are more than {MAX_SEGMENTS}; join them by filling their gaps"
        )
    try:
        payload = PayloadCustom(
            format=ProgramFormat(program.format),
            start_address=program.start_address if program.HasField("start_address") else None,
            segments=tuple(SegmentCustom(address=each.address, length=each.length) for each in program.segments),
        )
        firmware = verify_program(given.image, hardware_id=given.hardware_id, version=program.version, payload=payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise InvalidRequest(f"{where} is refused: {field + ': ' if field else ''}{first['msg']}") from error
    except (ValueError, FirmwareRefused) as error:
        raise InvalidRequest(f"{where} is refused: {error}") from error
    return GivenImage(firmware=firmware, content=given.image, base=None, base_content=b"", encrypt=encrypt)


def _verify_image(content: bytes, hardware_id: str, key: Ed25519PublicKey, *, what: str) -> Firmware:
    try:
        return verify(content, hardware_id=hardware_id, key=key)
    except FirmwareRefused as error:
        raise InvalidRequest(f"{what} for {hardware_id} is refused: {error}") from error
