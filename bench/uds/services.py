"""How messages of ISO 14229-1 are laid out: which services have a sub-function, and what a positive response repeats. Pure."""

from __future__ import annotations

from typing import Final

SUPPRESS: Final = 0x80
"""suppressPosRspMsgIndicationBit of a sub-function."""
WITH_SUB_FUNCTION: Final = frozenset({0x10, 0x11, 0x19, 0x27, 0x28, 0x29, 0x31, 0x3E, 0x85})
"""The services with a sub-function, among those that a tester of this bench sends."""
_ECHOED_BYTES: Final = {0x22: 2, 0x2E: 2, 0x31: 3, 0x36: 1}
"""Number of parameter bytes that a positive response repeats: identifier, routine or counter. Other services repeat the sub-function."""


def positive_head(request: bytes) -> bytes:
    """Return the first bytes of the positive response to a request (ISO 14229-1).

    They are the service identifier plus 0x40 and the echoed parameters.
    """
    service = request[0]
    echoed = bytearray(request[1 : 1 + _ECHOED_BYTES.get(service, int(service in WITH_SUB_FUNCTION))])
    if service in WITH_SUB_FUNCTION and echoed:
        echoed[0] &= ~SUPPRESS  # it is not echoed
    return bytes((service | 0x40,)) + bytes(echoed)


def suppressed(request: bytes) -> bytes:
    """Return a request with a sub-function as one whose positive response is not sent. A request of one byte, as of OBD, has none."""
    if len(request) < 2:
        return request
    return bytes((request[0], request[1] | SUPPRESS)) + request[2:]


def is_suppressed(request: bytes) -> bool:
    """Return whether the positive response to a request is not sent."""
    return request[0] in WITH_SUB_FUNCTION and len(request) > 1 and bool(request[1] & SUPPRESS)


def without_suppress(request: bytes) -> bytes:
    """Return a request as one whose positive response is sent."""
    return bytes((request[0], request[1] & ~SUPPRESS)) + request[2:] if is_suppressed(request) else request
