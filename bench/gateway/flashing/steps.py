"""The steps that a profile's sequence may name: one function for each, with what it sends and what the response means.

The profile holds their order, and whether a step is done at all. Repeats and re-entry are in ``programming``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from otabench.bench.gateway.flashing.progress import ProgressSender
from otabench.bench.gateway.flashing.transfer import Download, download
from otabench.bench.gateway.vehicle import EcuImage, Phase
from otabench.bench.uds import answers
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.errors import EcuRefused, FlashError, PatchRefused
from otabench.bench.uds.profile import Profile, Step
from otabench.proto import metadata_window

# An ECU refuses a patch with 70 to RequestDownload, or with 72 during or after the transfer (docs/contracts.md). An ECU without patches
# refuses the data format with 31.
_PATCH_REFUSALS: Final = frozenset(
    {answers.REQUEST_OUT_OF_RANGE, answers.UPLOAD_DOWNLOAD_NOT_ACCEPTED, answers.GENERAL_PROGRAMMING_FAILURE}
)


@dataclass
class Work:
    """The programming of one ECU. ``use_patch`` becomes False once the ECU has refused the patch."""

    client: EcuClient
    image: EcuImage
    progress: ProgressSender
    cancel: threading.Event
    fetch_image: Callable[[str], None]
    use_patch: bool


def bcd_date(day: date) -> bytes:
    """Return the date as YY MM DD, each in BCD, as in the fingerprint F184."""
    return bytes.fromhex(day.strftime("%y%m%d"))


def functional_request(step: Step, profile: Profile) -> bytes | None:
    """Return the request of a step that can be sent to all ECUs at once. Return None for a step that addresses each ECU separately."""
    communication, dtc = profile.communication, profile.dtc_setting
    requests: Mapping[Step, bytes] = {
        Step.EXTENDED_SESSION: bytes((0x10, profile.sessions.extended)),
        Step.DEFAULT_SESSION: bytes((0x10, profile.sessions.default)),
        Step.DTC_SETTING_OFF: bytes((0x85, dtc.disable)),
        Step.DTC_SETTING_ON: bytes((0x85, dtc.enable)),
        Step.COMMUNICATION_OFF: bytes((0x28, communication.disable, communication.type)),
        Step.COMMUNICATION_ON: bytes((0x28, communication.enable, communication.type)),
    }
    return requests.get(step)


def title(request: bytes, step: Step) -> str:
    """Return the name of a step for errors and the trace, e.g. "85 02 dtc setting off"."""
    return f"{request[:2].hex(' ').upper()} {step.replace('_', ' ')}"


def simple_step(client: EcuClient, step: Step, *, is_sent_already: bool = False) -> None:
    """Run a step that needs no parameters of the update, on one ECU.

    Raises:
        FlashError: see ``EcuClient.request``.
    """
    if step is Step.CHECK_PRECONDITIONS:
        _check_preconditions(client)
        return
    request = functional_request(step, client.profile)
    assert request is not None
    if request[0] == 0x10:
        client.enter_session(request[1], step=title(request, step), is_sent_already=is_sent_already)
    else:
        name, may_repeat = title(request, step), not is_sent_already
        client.request(request, step=name, is_sent_already=is_sent_already, may_repeat=may_repeat)


def pre_programming_step(client: EcuClient, step: Step, *, is_sent_already: bool = False) -> None:
    """Run a step of ``pre_programming`` on one ECU. Skip it if the ECU is in its bootloader and does not support it.

    Raises:
        FlashError: see ``EcuClient.request``.
    """
    try:
        simple_step(client, step, is_sent_already=is_sent_already)
    except EcuRefused as error:
        if error.nrc not in answers.NOT_SUPPORTED or not _is_in_bootloader(client):
            raise
        client.emit("flash.in_bootloader", step=error.step, nrc=error.nrc)


def _is_in_bootloader(client: EcuClient) -> bool:
    """Return whether the ECU is in its bootloader: it is in the programming session although no request put it there."""
    identifier = client.profile.identifiers.active_session
    if identifier is None:
        return False
    try:
        return client.read(identifier) == bytes((client.profile.sessions.programming,))
    except EcuRefused:
        return False


def _check_preconditions(client: EcuClient) -> None:
    routine = client.profile.routines.check_preconditions
    if routine is None:
        return
    record = client.routine(routine, "check programming preconditions", may_repeat=True)
    if record[0]:
        step = f"31 01 {routine:04X} check programming preconditions"
        raise client.refusal(step, answers.preconditions_text(record[1:]) or "not met; the ECU does not report which")


def _programming_session(work: Work) -> None:
    session = work.client.profile.sessions.programming
    work.client.enter_session(session, step=f"10 {session:02X} programming session")


def _unlock(work: Work) -> None:
    work.client.unlock()


def _write_fingerprint(work: Work) -> None:
    profile = work.client.profile
    identifier = profile.identifiers.fingerprint
    record = bcd_date(datetime.now(UTC).date()) + profile.fingerprint.tester_serial.encode("ascii")
    request = b"\x2e" + identifier.to_bytes(2, "big") + record
    work.client.request(request, step=f"2E {identifier:04X} write fingerprint", may_repeat=True)


def _download_metadata(work: Work) -> None:
    profile = work.client.profile
    window = profile.memory.metadata
    metadata = _with_time(work, _needed_metadata(work), window.size_bytes)
    if len(metadata) > window.size_bytes:
        step = "34 request download (metadata)"
        raise work.client.refusal(
            step, f"{len(metadata)} bytes do not fit the metadata window of {window.size_bytes} bytes"
        )
    what = Download("metadata", metadata, window.address, len(metadata), profile.data_format.full)
    download(work.client, what, cancel=work.cancel, on_bytes=lambda _: None)


def _needed_metadata(work: Work) -> bytes:
    """Return the metadata without the Roots that the ECU has. Otherwise every rotation of keys would make each later update longer."""
    metadata, identifier = work.image.metadata, work.client.profile.identifiers.root_version
    if identifier is None or not metadata_window.parse(metadata).roots:
        return metadata
    try:
        version = int.from_bytes(work.client.read(identifier), "big")
    except EcuRefused:
        # Not every ECU supports this identifier. It passes over the Roots that it has.
        return metadata
    return metadata_window.without_roots_until(metadata, version)


def _with_time(work: Work, metadata: bytes, window_bytes: int) -> bytes:
    """Return the metadata, with a time attestation for the ECU's nonce if both can be had. The ECU otherwise uses the last one."""
    attest_time = work.image.attest_time
    identifier = work.client.profile.identifiers.time_nonce
    if identifier is None or attest_time is None:
        return metadata
    try:
        nonce = work.client.read(identifier)
    except EcuRefused:
        # Not every ECU supports this identifier.
        return metadata
    attestation = attest_time(nonce)
    timed = metadata_window.with_time(metadata, attestation) if attestation else metadata
    return timed if len(timed) <= window_bytes else metadata


def _erase(work: Work) -> None:
    profile = work.client.profile
    if profile.routines.erase is None:
        return
    work.progress.phase(Phase.ERASING, bytes_total=work.image.image_length)
    memory = profile.memory
    sector = memory.erase_sector_bytes
    length = -(-work.image.image_length // sector) * sector  # rounded up to whole sectors
    if length > memory.image.size_bytes:
        step = f"31 01 {profile.routines.erase:04X} erase memory"
        raise work.client.refusal(
            step, f"the image ({length} bytes) is larger than the slot ({memory.image.size_bytes})"
        )
    option = (
        bytes((memory.format_identifier,))
        + memory.image.address.to_bytes(memory.address_bytes, "big")
        + length.to_bytes(memory.length_bytes, "big")
    )
    status = work.client.routine(profile.routines.erase, "erase memory", option, may_repeat=True)[0]
    if status:
        step = f"31 01 {profile.routines.erase:04X} erase memory"
        raise work.client.refusal(step, f"status {status:02X}: erasing failed: read the ECU's DTCs (19 02)")


def _download_image(work: Work) -> None:
    client, image, profile = work.client, work.image, work.client.profile
    if work.use_patch and image.patch is not None:
        path, kind = image.patch, "delta"
    else:
        path, kind = image.image, "full"
        # If a patch was planned, only the patch has been downloaded so far.
        if not path.exists():
            work.fetch_image(client.name)
    data_format = profile.data_format.of(is_patch=kind == "delta", is_encrypted=image.is_encrypted)
    if data_format is None:
        text = f"the file is encrypted, but flash profile {profile.name} has no data format for encrypted files"
        no_format = client.refusal(f"34 request download ({kind})", text)
        raise PatchRefused.of(no_format) if kind == "delta" else no_format
    data = _read(path, client)
    work.progress.phase(Phase.TRANSFERRING, bytes_total=len(data), detail=kind)
    # memorySize is the size after decompression (ADR 3), so it is the image's length for a patch, too.
    address, size = profile.memory.image.address, image.image_length
    what = Download(kind, data, address, size, data_format, is_encrypted=image.is_encrypted)
    try:
        download(client, what, cancel=work.cancel, on_bytes=work.progress.bytes)
    except EcuRefused as refused:
        error = _with_cause(work, refused) if image.is_encrypted else refused
        if kind == "delta" and error.nrc in _PATCH_REFUSALS:
            raise PatchRefused.of(error) from refused
        if error is refused:
            raise
        raise error from refused


def _with_cause(work: Work, error: EcuRefused) -> EcuRefused:
    """Return the refusal of an encrypted file with its cause added, where it can be found.

    31 may concern the data format. 72 only means that programming failed: check memory reports whether decryption was the cause.
    """
    if error.nrc == answers.REQUEST_OUT_OF_RANGE:
        note = "or the ECU has no key for encrypted files: provision it, or send the campaign unencrypted"
        return EcuRefused.of(error, note=note)
    routine = work.client.profile.routines.check_memory
    if error.nrc != answers.GENERAL_PROGRAMMING_FAILURE or routine is None:
        return error
    try:
        status = work.client.routine(routine, "check memory", may_repeat=True)[0]
    except FlashError:
        # The first refusal is the reason. This request only looked for details.
        return error
    if status not in answers.REFUSED_ON_ARRIVAL:
        return error
    return EcuRefused.of(error, note=answers.check_memory_text(status))


def _check_memory(work: Work) -> None:
    routine = work.client.profile.routines.check_memory
    if routine is None:
        return
    work.progress.phase(Phase.CHECKING, bytes_done=work.image.image_length, bytes_total=work.image.image_length)
    status = work.client.routine(routine, "check memory", may_repeat=True)[0]
    if not status:
        return
    step = f"31 01 {routine:04X} check memory"
    error = work.client.refusal(step, answers.check_memory_text(status))
    # The ECU has rebuilt something else than the image of the manifest. That is the patch's fault, and the full image may still work.
    if work.use_patch and status in answers.PATCH_REFUSED:
        raise PatchRefused.of(error)
    raise error


def _read(path: Path, client: EcuClient) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        step = f"read {path.name}"
        text = f"{path}: cannot be read ({error.strerror})"
        raise FlashError(text, ecu=client.name, step=step, remedy="download it again") from error
    if not data:
        raise FlashError(f"{path}: is empty", ecu=client.name, step=f"read {path.name}", remedy="download it again")
    return data


PROGRAMMING: Final[Mapping[Step, Callable[[Work], None]]] = {
    Step.PROGRAMMING_SESSION: _programming_session,
    Step.UNLOCK: _unlock,
    Step.WRITE_FINGERPRINT: _write_fingerprint,
    Step.DOWNLOAD_METADATA: _download_metadata,
    Step.ERASE: _erase,
    Step.DOWNLOAD_IMAGE: _download_image,
    Step.CHECK_MEMORY: _check_memory,
}


def programming_step(work: Work, step: Step) -> None:
    """Run one step of ``programming`` on one ECU.

    Raises:
        PatchRefused: the ECU does not accept the patch; the full image may still be accepted.
        FlashError: see ``EcuClient.request``.
        FlashCanceled: ``cancel`` was set.
    """
    run = PROGRAMMING.get(step)
    if run is not None:
        run(work)
    else:
        simple_step(work.client, step)
