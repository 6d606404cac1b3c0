"""One download to an ECU: RequestDownload (34), TransferData (36) for each block, RequestTransferExit (37).

If the response to a block is lost, the block is sent again with the same blockSequenceCounter, a limited number of times. ISO 14229-1 lets
the server acknowledge such a repeat without writing it again. A refusal is not repeated; the caller judges it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from otabench.bench.uds import answers
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.errors import EcuContradicts, EcuLost, EcuRefused, FlashCanceled


@dataclass(frozen=True)
class Download:
    """The data of one download, and its destination.

    ``memory_size`` is the size in the ECU, after decompression; ``data`` are the bytes that cross the bus.
    """

    kind: str
    """"full", "delta" or "metadata"."""
    data: bytes
    address: int
    memory_size: int
    data_format: int
    is_encrypted: bool = False


def download(client: EcuClient, what: Download, *, cancel: threading.Event, on_bytes: Callable[[int], None]) -> None:
    """Transfer ``what`` to the ECU.

    Args:
        on_bytes: called after each block with the number of bytes that the ECU has acknowledged.

    Raises:
        EcuLost: the ECU stayed silent through all repeats.
        EcuRefused: the ECU does not accept the data, or has forgotten the transfer (``answers.FORGOTTEN``).
        EcuContradicts: a response has a wrong counter or block length.
        FlashCanceled: ``cancel`` was set.
    """
    # maxNumberOfBlockLength includes the service identifier and the counter.
    block_bytes = _request_download(client, what) - 2
    started = time.monotonic()
    total, done, counter = len(what.data), 0, 1
    request = _block(what, 0, block_bytes, counter)
    while done < total:
        # Check between blocks only: a canceled block would leave the ECU in the middle of a message.
        if cancel.is_set():
            raise FlashCanceled(f"{client.name}: canceled at {done} of {total} bytes")
        _transfer_data(client, request, counter)
        done = min(total, done + block_bytes)
        counter = (counter + 1) & 0xFF  # starts at 01, and wraps from FF to 00 (ISO 14229-1)
        request = _block(what, done, block_bytes, counter)
        on_bytes(done)
    duration_s = time.monotonic() - started
    _transfer_exit(client)
    client.emit(
        "flash.transfer",
        kind=what.kind,
        bytes=total,
        duration_s=round(duration_s, 6),
        bytes_per_s=round(total / duration_s, 1) if duration_s > 0 else 0.0,
        block_bytes=block_bytes,
        **({"encrypted": True} if what.is_encrypted else {}),
    )


def _block(what: Download, offset: int, block_bytes: int, counter: int) -> bytes:
    return bytes((0x36, counter)) + what.data[offset : offset + block_bytes]


def _request_download(client: EcuClient, what: Download) -> int:
    memory = client.profile.memory
    request = (
        bytes((0x34, what.data_format, memory.format_identifier))
        + what.address.to_bytes(memory.address_bytes, "big")
        + what.memory_size.to_bytes(memory.length_bytes, "big")
    )
    step = f"34 request download ({what.kind}, {what.memory_size} bytes at 0x{what.address:08X})"
    answer = client.request(request, step=step)
    # lengthFormatIdentifier: the high nibble is the number of bytes of maxNumberOfBlockLength.
    length_bytes = answer[1] >> 4 if len(answer) > 1 else 0
    max_number_of_block_length = int.from_bytes(answer[2 : 2 + length_bytes], "big")
    if not length_bytes or len(answer) < 2 + length_bytes or max_number_of_block_length < 3:
        raise client.contradiction(step, f"maxNumberOfBlockLength is missing or too small ({answer.hex(' ').upper()})")
    return min(max_number_of_block_length, client.profile.transfer.max_block_bytes)


def _transfer_data(client: EcuClient, request: bytes, counter: int) -> None:
    """Send one block. Repeat it if its response is lost."""
    step = f"36 {counter:02X} transfer data"
    repeats = client.profile.transfer.block_repeats
    while True:
        try:
            client.request(request, step=step)
            return
        except (EcuLost, EcuContradicts):
            # A repeated block may be answered twice. The second response then arrives after the next block was sent, with the wrong
            # counter. That raises EcuContradicts, but only means that the response to the next block is missing.
            if repeats == 0:
                raise
        repeats -= 1


def _transfer_exit(client: EcuClient) -> None:
    step = "37 transfer exit"
    try:
        client.request(b"\x37", step=step)
        return
    except EcuLost as error:
        lost = error
    if lost.nrc is not None:
        # 78 without an end: the ECU is not silent, and a repeat would not help.
        raise lost
    try:
        client.request(b"\x37", step=step)
    except EcuRefused as error:
        # 24 to the repeat means that the first request was accepted and only its response was lost. Check memory verifies that
        # everything arrived.
        if error.nrc != answers.REQUEST_SEQUENCE_ERROR:
            raise
