"""Services 34 RequestDownload, 36 TransferData, 37 RequestTransferExit.

Rules:

* 34: only while unlocked, in the programming session, with no download under way (22), in a window (31), on erased memory (22),
  with a supply in range (92, 93). A patch needs RAM, and verified Targets that name the running image as its base (70).
* maxNumberOfBlockLength counts SID and block sequence counter.
* 36: the counter starts at 01, and FF is followed by 00. A repeat of the last counter is answered positively and not written again.
  Any other counter is refused with 73. Without a download the answer is 24. More data than announced is refused with 71, and the
  download ends.
* 37 is refused with 24 before all data are there. A patch is rebuilt now.
* Each part of a patch is judged as soon as it has arrived: its length and base at 34 (70), its header and each stream's need of RAM at
  the 36 that brings them (72), the rest at 37 (72). Check memory then answers 08, and P0602 has the reason.
* dataFormatIdentifier x1: only with a key, and not for metadata (31). Data that cannot be decrypted are refused with 72 to 36, or to 37
  where they are cut short. Check memory then answers 09.
* A flash error is answered with 72 and ends the download. However a download ends, its slot is INVALID until check memory passes.
"""

from __future__ import annotations

from typing import Final

from otabench.ecu_firmware_sim.boot.image import CheckStatus
from otabench.ecu_firmware_sim.errors import FlashError
from otabench.ecu_firmware_sim.programming.decryption import DecryptionRefused
from otabench.ecu_firmware_sim.programming.delta import PatchRefused
from otabench.ecu_firmware_sim.programming.download import DownloadFormat, TooMuchData
from otabench.ecu_firmware_sim.programming.permission import NotNow, OutOfRange
from otabench.ecu_firmware_sim.programming.verification import NotAccepted
from otabench.ecu_firmware_sim.uds.codes import ADDRESS_AND_LENGTH_FORMAT, MAX_NUMBER_OF_BLOCK_LENGTH, Nrc, Sid
from otabench.ecu_firmware_sim.uds.dtc import Dtc
from otabench.ecu_firmware_sim.uds.rules import ONLY_PROGRAMMING, Later, Negative, Request, Service
from otabench.ecu_firmware_sim.uds.state import OpenTransfer

DOWNLOAD_FORMATS: Final = {
    0x00: DownloadFormat(),
    0x10: DownloadFormat(is_patch=True),
    0x01: DownloadFormat(is_encrypted=True),
    0x11: DownloadFormat(is_patch=True, is_encrypted=True),
}
"""By dataFormatIdentifier: compressionMethod in the high nibble, encryptingMethod in the low one (ISO 14229-1, 34)."""


def request_download(request: Request) -> bytes:
    data, dialogue, firmware = request.data, request.dialogue, request.device.firmware
    download_format = DOWNLOAD_FORMATS.get(data[1])
    if download_format is None or data[2] != ADDRESS_AND_LENGTH_FORMAT:
        raise Negative(Nrc.REQUEST_OUT_OF_RANGE)
    _require_supply(request)
    # A tester that wants to start over erases (FF00) or enters the session again: both end the transfer.
    if dialogue.transfer is not None:
        raise Negative(Nrc.CONDITIONS_NOT_CORRECT)
    address, size = int.from_bytes(data[3:7], "big"), int.from_bytes(data[7:11], "big")
    try:
        firmware.check_download(address, size, download_format)
    except OutOfRange as error:
        raise Negative(Nrc.REQUEST_OUT_OF_RANGE) from error
    except NotNow as error:
        raise Negative(Nrc.CONDITIONS_NOT_CORRECT) from error
    except NotAccepted as error:
        # The only refusal of 34 that is remembered: the others are mistakes of the tester, this one has a reason in the update.
        _remember(request, CheckStatus.PATCH_REFUSED, str(error))
        raise Negative(Nrc.UPLOAD_DOWNLOAD_NOT_ACCEPTED) from error
    download = firmware.begin_download(address, size, download_format)
    dialogue.transfer = OpenTransfer(download)
    return b"\x74\x20" + MAX_NUMBER_OF_BLOCK_LENGTH.to_bytes(2, "big")


def transfer_data(request: Request) -> bytes | Later:
    transfer = _transfer(request)
    counter = request.data[1]
    # A tester that lost the response sends the block again: written twice, it would be programmed over itself.
    if transfer.blocks and counter == transfer.last_counter:
        return bytes((0x76, counter))
    if counter != (transfer.last_counter + 1) & 0xFF:
        raise Negative(Nrc.WRONG_BLOCK_SEQUENCE_COUNTER)
    _require_supply(request)
    # A thread for each block would cost more than the block itself where the flash takes no time.
    if request.device.firmware.flash.takes_time:
        return Later(lambda: _take_block(request, transfer))
    return _take_block(request, transfer)


def request_transfer_exit(request: Request) -> bytes | Later:
    transfer = _transfer(request)
    if not transfer.download.complete:
        raise Negative(Nrc.REQUEST_SEQUENCE_ERROR)
    # Rebuilding may take longer than P2 by itself.
    if transfer.download.is_rebuilt or request.device.firmware.flash.takes_time:
        return Later(lambda: _finish(request, transfer))
    return _finish(request, transfer)


def _transfer(request: Request) -> OpenTransfer:
    if request.dialogue.transfer is None:
        raise Negative(Nrc.REQUEST_SEQUENCE_ERROR)
    return request.dialogue.transfer


def _require_supply(request: Request) -> None:
    refusal = request.device.conditions.supply_nrc()
    if refusal is not None:
        raise Negative(refusal)


def _take_block(request: Request, transfer: OpenTransfer) -> bytes:
    try:
        transfer.download.write(request.data[2:])
    except TooMuchData as error:
        request.dialogue.transfer = None
        raise Negative(Nrc.TRANSFER_DATA_SUSPENDED) from error
    except PatchRefused as error:
        request.dialogue.transfer = None
        raise _refused(request, CheckStatus.PATCH_REFUSED, str(error)) from error
    except DecryptionRefused as error:
        request.dialogue.transfer = None
        raise _refused(request, CheckStatus.DECRYPTION_FAILED, str(error)) from error
    except FlashError:
        request.dialogue.transfer = None
        raise
    transfer.last_counter = request.data[1]
    transfer.blocks += 1
    return bytes((0x76, request.data[1]))


def _finish(request: Request, transfer: OpenTransfer) -> bytes:
    # Before the work: whether it succeeds or not, a second 37 is out of sequence.
    request.dialogue.transfer = None
    try:
        transfer.download.finish()
    except PatchRefused as error:
        raise _refused(request, CheckStatus.PATCH_REFUSED, str(error)) from error
    except DecryptionRefused as error:
        raise _refused(request, CheckStatus.DECRYPTION_FAILED, str(error)) from error
    return b"\x77"


def _remember(request: Request, status: CheckStatus, text: str) -> None:
    request.device.firmware.refuse_download(status, text)
    request.device.dtcs.set(Dtc.IMAGE_REFUSED, text)


def _refused(request: Request, status: CheckStatus, text: str) -> Negative:
    _remember(request, status, text)
    return Negative(Nrc.GENERAL_PROGRAMMING_FAILURE)


SERVICES: Final = {
    Sid.REQUEST_DOWNLOAD: Service(request_download, ONLY_PROGRAMMING, unlocked=True, shortest=11, longest=11),
    Sid.TRANSFER_DATA: Service(
        transfer_data, ONLY_PROGRAMMING, unlocked=True, shortest=3, longest=MAX_NUMBER_OF_BLOCK_LENGTH
    ),
    Sid.REQUEST_TRANSFER_EXIT: Service(request_transfer_exit, ONLY_PROGRAMMING, unlocked=True, shortest=1, longest=1),
}
