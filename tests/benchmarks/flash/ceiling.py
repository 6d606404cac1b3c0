"""What the kernel's ISO-TP itself reaches with messages of 4095 bytes: the ceiling for any tester over it.

How the rates are taken:

* ``isotpsend_bytes_per_s``: `isotpsend -b` of can-utils to `isotprecv -l`, one process a message. The start of the program is
  taken out: paced, by the kernel's time stamps of the frames behind the pace's burst; unpaced, where a third
  listener would cost what is measured, by the time for 4095 bytes less that for the shortest message with a flow control.
* ``back_to_back_bytes_per_s``: one socket that sends message after message to `isotprecv -l`, the fastest possible:
  it contains the wait for each flow control, and no answer.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from otabench.bench.bus import frame_bits
from otabench.bench.errors import BenchError
from otabench.bench.faults.frame_gate import open_raw
from otabench.bench.uds.transport import kernel_socket
from otabench.proto.isotp_address import connection_address
from otabench.proto.process_config import IsoTpConfig

MESSAGE_BYTES: Final = 4095
SOURCE_ID, DESTINATION_ID = 0x6E0, 0x6E8
_SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("=qq")
_START_BYTES: Final = 8
_TIMEOUT_S: Final = 20.0
_LISTENS_S: Final = 0.3
_BURST_FRAMES: Final = 16
"""More than a late line or a token bucket lets pass at once (otabench.bench.bus.pacing)."""


def isotpsend_bytes_per_s(channel: str, *, fd: bool, paced: bool, messages: int) -> float:
    """See the module.

    Raises:
        BenchError: can-utils is missing, or a message was not taken.
    """
    with _receiver(channel, fd=fd):
        if paced:
            return statistics.median(_timed_by_frames(channel, fd=fd) for _ in range(messages))
        whole = statistics.median(_timed(channel, MESSAGE_BYTES, fd=fd) for _ in range(messages))
        start = statistics.median(_timed(channel, _start_bytes(fd), fd=fd) for _ in range(messages))
        return (MESSAGE_BYTES - _start_bytes(fd)) / (whole - start)


def back_to_back_bytes_per_s(channel: str, *, fd: bool, messages: int) -> float:
    """See the module.

    Raises:
        BenchError: can-utils is missing, or a message was not taken.
    """
    with _receiver(channel, fd=fd), socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP) as sender:
        isotp = IsoTpConfig(fd=fd)
        address = connection_address(isotp, request_id=SOURCE_ID, response_id=DESTINATION_ID)
        kernel_socket.configure(sender, isotp, address.tester_end, waits=True)
        sender.bind((channel, DESTINATION_ID, SOURCE_ID))
        message = bytes(index & 0xFF for index in range(MESSAGE_BYTES))
        started = time.perf_counter()
        try:
            for _ in range(messages):
                sender.send(message)
        except OSError as error:
            raise BenchError(f"{channel}: isotprecv did not take a message: {error.strerror}") from error
        return messages * MESSAGE_BYTES / (time.perf_counter() - started)


def _start_bytes(fd: bool) -> int:
    """Return the shortest message with a flow control."""
    return 64 if fd else _START_BYTES


def _timed(channel: str, length: int, *, fd: bool) -> float:
    started = time.perf_counter()
    _send(channel, length, fd=fd)
    return time.perf_counter() - started


def _timed_by_frames(channel: str, *, fd: bool) -> float:
    with open_raw(channel) as seen:
        seen.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, struct.pack("=II", SOURCE_ID, 0x7FF))
        seen.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        _send(channel, MESSAGE_BYTES, fd=fd)
        stamps = list(_stamps(seen))
    if len(stamps) < 2 * _BURST_FRAMES:
        raise BenchError(f"{channel}: no frames of isotpsend were seen; is the interface up?")
    behind = stamps[_BURST_FRAMES:]
    return (len(behind) - 1) * frame_bits.consecutive_payload(fd=fd) / (behind[-1] - behind[0])


def _stamps(seen: socket.socket) -> Iterator[float]:
    time.sleep(0.02)  # the last frame is out before isotpsend ends, and may not be here yet
    while True:
        try:
            _, control, _, _ = seen.recvmsg(72, 64)
        except BlockingIOError:
            return
        seconds, nanoseconds = _TIMESPEC.unpack_from(control[0][2])
        yield seconds + nanoseconds / 1e9


def _options(fd: bool) -> list[str]:
    return ["-p", "CC:CC", *(["-L", "72:64:1"] if fd else [])]


def _send(channel: str, length: int, *, fd: bool) -> None:
    command = [_program("isotpsend"), "-s", f"{SOURCE_ID:X}", "-d", f"{DESTINATION_ID:X}", "-b", "-D", str(length)]
    try:
        done = subprocess.run(
            [*command, *_options(fd), channel], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"isotpsend on {channel}: {length} bytes were not taken within {_TIMEOUT_S:.0f} s") from error
    if done.returncode or done.stderr.strip():
        raise BenchError(f"isotpsend on {channel}: {done.stderr.strip() or f'status {done.returncode}'}")


@contextmanager
def _receiver(channel: str, *, fd: bool) -> Iterator[None]:
    command = [_program("isotprecv"), "-s", f"{DESTINATION_ID:X}", "-d", f"{SOURCE_ID:X}", "-l", *_options(fd), channel]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            time.sleep(_LISTENS_S)
            if process.poll() is not None:
                raise BenchError(f"isotprecv on {channel} ended with status {process.returncode}")
            yield
        finally:
            process.terminate()


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise BenchError(f"{name} is not installed: setup/packages.sh run (package can-utils)")
    return found
