"""A SocketCAN raw socket that is read in batches: one system call for up to 512 frames, with the kernel's time stamps.

Error frames are received too, in the kernel's form (linux/can/error.h): ``ERR_FLAG`` is set in their ``can_id``.

On one slow CPU, a capture costs mostly system calls and wake-ups. With one of each per frame there are 4,500 a second; with a batch every
20 ms there are 50.

Layouts are those of 64-bit little-endian Linux (``struct mmsghdr``, ``struct cmsghdr``, ``struct canfd_frame``).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import Final

from otabench.bench.bus.frame import EFF_MASK, FD_FDF, Frame
from otabench.bench.bus.raw_socket import CAN_MTU, CANFD_MTU, take_all_frames

BATCH_FRAMES: Final = 512
_CONTROL_BYTES: Final = 64
_SO_TIMESTAMPNS: Final = 35
_SO_RXQ_OVFL: Final = 40
_CAN_RAW_ERR_FILTER: Final = 2
# A raw socket receives no error frames unless it asks for their classes.
_ALL_ERROR_CLASSES: Final = struct.pack("=I", EFF_MASK)
_FRAME: Final = struct.Struct("=IBB2x64s")
_CONTROL: Final = struct.Struct("=QiiqqQiiI12x")
"""Two control messages: time stamp (timespec), then, where frames were lost, their number so far."""
_LENGTH: Final = struct.Struct("=56xI4x")


class _IoVector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MessageHeader(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("padding", ctypes.c_int),
        ("length", ctypes.c_uint32),
        ("padding_behind", ctypes.c_uint32),
    )


class BatchCanSocket:
    """A raw socket for all frames and error frames of one SocketCAN interface.

    Args:
        channel: the interface's name.

    Raises:
        OSError: this kernel has no CAN, or there is no such interface.
    """

    def __init__(self, channel: str) -> None:
        self._socket = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        try:
            self.large_buffer = take_all_frames(self._socket)
            self._socket.setsockopt(socket.SOL_CAN_RAW, _CAN_RAW_ERR_FILTER, _ALL_ERROR_CLASSES)
            # The kernel stamps a frame when it arrives. A time taken after the read would be late by up to a whole
            # batch interval.
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
            self._socket.bind((channel,))
        except OSError:
            self._socket.close()
            raise
        self.lost_frames = 0
        # All buffers are made once. The kernel fills them again at each call, so a batch costs no allocation outside
        # of Frame.
        self._frames = ctypes.create_string_buffer(BATCH_FRAMES * CANFD_MTU)
        self._controls = ctypes.create_string_buffer(BATCH_FRAMES * _CONTROL_BYTES)
        self._vectors = (_IoVector * BATCH_FRAMES)()
        self._headers = (_MessageHeader * BATCH_FRAMES)()
        frames_at, controls_at = ctypes.addressof(self._frames), ctypes.addressof(self._controls)
        for index, (vector, header) in enumerate(zip(self._vectors, self._headers, strict=True)):
            vector.base = frames_at + index * CANFD_MTU
            vector.length = CANFD_MTU
            header.vectors = ctypes.addressof(vector)
            header.vector_count = 1
            header.control = controls_at + index * _CONTROL_BYTES
            header.control_length = _CONTROL_BYTES
        self._receive = ctypes.CDLL(None, use_errno=True).recvmmsg

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def receive(self) -> list[Frame]:
        """Return the frames that wait, at most ``BATCH_FRAMES``; empty if there are none.

        Raises:
            OSError: the interface is gone or down.
        """
        count = self._receive(self.fileno(), self._headers, BATCH_FRAMES, socket.MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            # EINTR: the recorder is stopped by a signal, and reads what still waits afterwards.
            if number in (errno.EAGAIN, errno.EINTR):
                return []
            raise OSError(number, os.strerror(number))
        frames = []
        records = _FRAME.iter_unpack(memoryview(self._frames)[: count * CANFD_MTU])
        controls = _CONTROL.iter_unpack(memoryview(self._controls)[: count * _CONTROL_BYTES])
        lengths = _LENGTH.iter_unpack(memoryview(self._headers).cast("B")[: count * _LENGTH.size])
        for index, ((can_id, size, flags, data), control, (length,)) in enumerate(
            zip(records, controls, lengths, strict=True)
        ):
            header = self._headers[index]
            # The first control message takes 32 bytes. The kernel adds the second one only after it has dropped a
            # frame, and its count starts at the socket's opening.
            if header.control_length > 32 and control[7] == _SO_RXQ_OVFL:
                self.lost_frames = control[8]
            header.control_length = _CONTROL_BYTES  # recvmmsg has written there how much it used
            # Distinguish classic and FD frames by the size of what was read: older kernels do not set CANFD_FDF.
            frames.append(
                Frame(
                    control[3] * 1_000_000 + control[4] // 1000,
                    can_id,
                    flags | FD_FDF if length != CAN_MTU else 0,
                    data[:size],
                )
            )
        return frames
