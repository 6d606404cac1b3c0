"""Set the queueing discipline ``canline`` on an interface, and read its counters, by rtnetlink.

The requests are packed here because neither `tc` nor a netlink library has the options of a discipline that is not in Linux
(docs/adr/0009-libraries-kept-out.md). The discipline itself is setup/canline/sch_canline.c; ``bus.pacing`` chooses between it and a
token bucket.

``python -m otabench.bench.bus.canline CHANNEL BITRATE DATA_BITRATE`` sets it as well; `sudo` runs that for a user who
is not root.
Its exit status is the kernel's error number.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

KIND: Final = "canline"
QUEUE_FRAMES: Final = 1000
_HANDLE: Final = 0x0001_0000
"""`tc` writes this handle as ``1:``."""
_ROOT: Final = 0xFFFF_FFFF

_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_GETQDISC = 36, 37, 38
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP, _NLM_F_EXCL, _NLM_F_CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_CAPPED: Final = 0x100
_NLMSGERR_ATTR_MSG: Final = 1
_SOL_NETLINK, _NETLINK_EXT_ACK = 270, 11
_TCA_KIND, _TCA_OPTIONS, _TCA_XSTATS, _TCA_STATS2 = 1, 2, 4, 7
_TCA_STATS_QUEUE: Final = 3
_TCA_CANLINE_BITRATE, _TCA_CANLINE_DATA_BITRATE, _TCA_CANLINE_LIMIT = 1, 2, 3
_NLA_F_NESTED: Final = 0x8000
_NLA_TYPE_MASK: Final = 0x3FFF

_HEADER: Final = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port."""
_TCMSG: Final = struct.Struct("=BxxxiIII")
"""tcmsg: family, interface index, handle, parent, info."""
_ATTRIBUTE: Final = struct.Struct("=HH")
_XSTATS: Final = struct.Struct("=QQQQQ")
_QUEUE: Final = struct.Struct("=IIIII")
"""gnet_stats_queue: qlen, backlog, drops, requeues, overlimits."""
_ANSWER_BYTES: Final = 65536


@dataclass(frozen=True)
class LineCounters:
    """The counters of a line since it was set.

    Attributes:
        frames, nominal_bits, data_bits: of the frames delivered, with stuff bits and intermission; ``data_bits`` are those
            sent at the data bit rate.
        busy_s: how long they were on the line.
        lost_s: how long the line was idle while frames waited, because the machine was too late.
        dropped_frames: those that found the queue full.
    """

    frames: int
    nominal_bits: int
    data_bits: int
    busy_s: float
    lost_s: float
    dropped_frames: int


def set_line(channel: str, *, bitrate: int, data_bitrate: int | None = None, limit: int = QUEUE_FRAMES) -> None:
    """Replace the interface's root discipline by a line of these bit rates.

    Raises:
        OSError: the kernel refused. ENOENT: it has no canline. EPERM: root is needed. EINVAL: a value is wrong.
    """
    # Numbers of attributes as in setup/canline/sch_canline.c; they are this project's own, not Linux'.
    options = _u32(_TCA_CANLINE_BITRATE, bitrate) + _u32(_TCA_CANLINE_LIMIT, limit)
    if data_bitrate is not None:
        options += _u32(_TCA_CANLINE_DATA_BITRATE, data_bitrate)
    kind_and_options = _attribute(_TCA_KIND, KIND.encode() + b"\0") + _attribute(_TCA_OPTIONS | _NLA_F_NESTED, options)
    remove(channel)  # a discipline of another kind cannot be changed into this one
    _request(_RTM_NEWQDISC, _NLM_F_CREATE | _NLM_F_EXCL, channel, _HANDLE, kind_and_options)


def remove(channel: str) -> None:
    """Remove the interface's root discipline. Do nothing if none has been set.

    Raises:
        OSError: the interface does not exist, or root is needed.
    """
    try:
        _request(_RTM_DELQDISC, 0, channel, 0)
    except OSError as error:
        # The interface has only its default discipline, which cannot be removed: nothing was set.
        if error.errno not in (errno.ENOENT, errno.EINVAL):
            raise


def read_line(channel: str) -> LineCounters | None:
    """Return what the interface's line has carried; None where no line is set.

    Raises:
        OSError: the interface does not exist.
    """
    index = _index(channel)
    # A dump lists the disciplines of all interfaces.
    for payload in _request(_RTM_GETQDISC, _NLM_F_DUMP, channel, 0):
        attributes = _attributes(payload[_TCMSG.size :])
        if _TCMSG.unpack_from(payload)[1] != index or attributes.get(_TCA_KIND) != KIND.encode() + b"\0":
            continue
        frames, nominal_bits, data_bits, busy_ns, lost_ns = _XSTATS.unpack_from(attributes[_TCA_XSTATS])
        dropped = _QUEUE.unpack_from(_attributes(attributes[_TCA_STATS2])[_TCA_STATS_QUEUE])[2]
        return LineCounters(frames, nominal_bits, data_bits, busy_ns / 1e9, lost_ns / 1e9, dropped)
    return None


def _request(kind: int, flags: int, channel: str, handle: int, attributes: bytes = b"") -> list[bytes]:
    """Send one request. Return the kernel's answers without their headers."""
    # A dump ends with NLMSG_DONE. Any other request is answered only if that is asked for.
    flags |= _NLM_F_REQUEST | (0 if flags & _NLM_F_DUMP == _NLM_F_DUMP else _NLM_F_ACK)
    body = _TCMSG.pack(socket.AF_UNSPEC, _index(channel), handle, _ROOT, 0) + attributes
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        # Without it a refusal is a bare EINVAL; with it the kernel names the attribute that it did not accept.
        kernel.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        kernel.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
        answers: list[bytes] = []
        while True:
            for kind_of_answer, flags_of_answer, payload in _messages(kernel.recv(_ANSWER_BYTES)):
                if kind_of_answer == _NLMSG_DONE:
                    return answers
                if kind_of_answer == _NLMSG_ERROR:
                    _check(payload, flags_of_answer, channel)
                    return answers
                answers.append(payload)


def _index(channel: str) -> int:
    try:
        return socket.if_nametoindex(channel)
    except OSError as error:  # Python 3.11 raises it without an errno
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), channel) from error


def _check(payload: bytes, flags: int, channel: str) -> None:
    """Raise OSError if the answer to a request (not a dump) has an error number. It may include the kernel's error text."""
    number = -struct.unpack_from("=i", payload)[0]
    if not number:
        return
    # An acknowledgement repeats the request before its own attributes, unless the kernel has capped it to the header.
    request_bytes = _HEADER.size if flags & _NLM_F_CAPPED else struct.unpack_from("=I", payload, 4)[0]
    words = _attributes(payload[4 + _aligned(request_bytes) :]).get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode()
    raise OSError(number, words or os.strerror(number), channel)


def _messages(received: bytes) -> Iterator[tuple[int, int, bytes]]:
    while len(received) >= _HEADER.size:
        length, kind, flags, _, _ = _HEADER.unpack_from(received)
        yield kind, flags, received[_HEADER.size : length]
        received = received[_aligned(length) :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _NLA_TYPE_MASK] = data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]
    return found


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value.ljust(_aligned(length) - _ATTRIBUTE.size, b"\0")


def _u32(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def main(arguments: list[str]) -> int:
    """Entry point of the process."""
    if len(arguments) != 3 or not all(number.isdecimal() for number in arguments[1:]):
        print("canline: usage: python -m otabench.bench.bus.canline CHANNEL BITRATE DATA_BITRATE", file=sys.stderr)
        return errno.EINVAL
    try:
        set_line(arguments[0], bitrate=int(arguments[1]), data_bitrate=int(arguments[2]))
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        return error.errno or 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
