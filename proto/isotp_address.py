"""Where the frames of one ISO-TP connection go: identifier, and address byte in front, by the addressing of ISO 15765-2.

Pure, and the same for both ends: ``target_address`` is always the ECU's and ``source_address`` the tester's, so that one
``IsoTpConfig`` serves both. What stands on the bus:

* ``normal``: the identifiers as they are given, 11 bits or 29 bits; nothing in front.
* ``normal_fixed``: 29 bits made of the addresses, 0x18DA then target and source (physical), 0x18DB (functional). Identifiers
  that are given as well must be these, so that a bench file cannot say one thing and mean another; the functional one may
  be left at its 11-bit default.
* ``extended``: the identifiers as they are given; in front of each frame the address of its receiver.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otabench.proto.process_config import IsoTpConfig

PHYSICAL_29_BIT: Final = 0x18DA0000
FUNCTIONAL_29_BIT: Final = 0x18DB0000
_LARGEST_11_BIT: Final = 0x7FF


@dataclass(frozen=True)
class FrameAddress:
    """The address of the frames of one direction. ``extension``: the byte in front of every frame, if there is one."""

    can_id: int
    extension: int | None = None

    @property
    def is_29_bit(self) -> bool:
        return self.can_id > _LARGEST_11_BIT

    @property
    def prefix(self) -> bytes:
        """What stands in front of the protocol control information."""
        return b"" if self.extension is None else bytes((self.extension,))


@dataclass(frozen=True)
class ConnectionAddress:
    """Both directions between the tester and one ECU."""

    request: FrameAddress
    response: FrameAddress


def connection_address(isotp: IsoTpConfig, *, request_id: int, response_id: int) -> ConnectionAddress:
    """Physical requests and the responses to them.

    Raises:
        ValueError: an identifier is not the one that the addresses make; the message names key and value.
    """
    ecu, tester = isotp.target_address, isotp.source_address
    if isotp.addressing == "normal" or ecu is None or tester is None:
        return ConnectionAddress(FrameAddress(request_id), FrameAddress(response_id))
    if isotp.addressing == "extended":
        return ConnectionAddress(FrameAddress(request_id, ecu), FrameAddress(response_id, tester))
    _need("request_id", request_id, PHYSICAL_29_BIT | ecu << 8 | tester, isotp)
    _need("response_id", response_id, PHYSICAL_29_BIT | tester << 8 | ecu, isotp)
    return ConnectionAddress(FrameAddress(request_id), FrameAddress(response_id))


def functional_address(isotp: IsoTpConfig, *, functional_id: int) -> FrameAddress:
    """Functional requests, to all ECUs.

    Raises:
        ValueError: as ``connection_address``.
    """
    if isotp.addressing == "normal" or isotp.source_address is None:
        return FrameAddress(functional_id)
    if isotp.addressing == "extended":
        return FrameAddress(functional_id, isotp.functional_address)
    wanted = FUNCTIONAL_29_BIT | isotp.functional_address << 8 | isotp.source_address
    if functional_id > _LARGEST_11_BIT:
        _need("functional_id", functional_id, wanted, isotp)
    return FrameAddress(wanted)


def _need(key: str, given: int, wanted: int, isotp: IsoTpConfig) -> None:
    if given != wanted:
        raise ValueError(
            f"{key} 0x{given:X}: with isotp.addressing normal_fixed, target_address 0x{isotp.target_address or 0:02X} and "
            f"source_address 0x{isotp.source_address or 0:02X} it is 0x{wanted:08X}: correct the one or the other"
        )
