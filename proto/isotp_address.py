"""Addressing of ISO 15765-2: the identifiers and address bytes of one ISO-TP connection. All knowledge of it is in this module.

A bench file chooses the addressing of an ECU (``IsoTpAddressing``, part of ``IsoTpConfig``). This module derives three things from it: the
addresses of the frames in both directions (``FrameAddress``), the view of each end of the connection (``EndAddress``), and the options for
the kernel's CAN_ISOTP and for can-isotp.

* ``normal``: identifiers of 11 or 29 bits, without an address byte.
* ``normal_fixed``: 29-bit identifiers that contain the addresses: 0x18DA (physical) or 0x18DB (functional), then target and source address.
  The identifiers in the bench file must agree with the addresses. Only the functional identifier may stay at its 11-bit default.
* ``extended``: identifiers of 11 or 29 bits. The receiver's address is the first data byte of every frame.

``target_address`` is always the ECU's address and ``source_address`` the tester's, so both ends use the same configuration.

    isotp = IsoTpConfig(addressing="extended", target_address=0x10, source_address=0xF1)
    address = connection_address(isotp, request_id=0x6F1, response_id=0x610)
    address.request.prefix                  # one byte, 0x10: in front of every frame to the ECU
    address.tester_end.kernel_options()     # flags and bytes for CAN_ISOTP_OPTS

To add an addressing with at most one byte in front of a frame, change only this module and the bench file's documentation. Transports,
captures and report use ``FrameAddress`` and do not depend on the name of the addressing.

This module imports neither socket nor can-isotp.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from otabench.proto.can_id import is_29_bit, kernel_id

PHYSICAL_29_BIT: Final = 0x18DA0000
FUNCTIONAL_29_BIT: Final = 0x18DB0000
# linux/can/isotp.h: CAN_ISOTP_EXTEND_ADDR (sending) and CAN_ISOTP_RX_EXT_ADDR (receiving). Without the second the kernel expects
# its own address byte in front of received frames as well.
_KERNEL_EXTEND_ADDR: Final = 0x002
_KERNEL_RX_EXT_ADDR: Final = 0x200


class IsoTpAddressing(BaseModel):
    """The addressing of one ECU, in a bench file and in an ECU's configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    addressing: Literal["normal", "normal_fixed", "extended"] = "normal"
    target_address: int | None = Field(default=None, ge=0, le=0xFF)
    """The ECU's address (N_TA of a request); normal_fixed and extended need it."""
    source_address: int | None = Field(default=None, ge=0, le=0xFF)
    """The tester's address (N_SA of a request); normal_fixed and extended need it."""
    # 0x33 is the functional address of OBD (ISO 15765-4): 0x18DB33F1.
    functional_address: int = Field(default=0x33, ge=0, le=0xFF)
    """N_TA of functional requests, with normal_fixed and extended."""

    @model_validator(mode="after")
    def _addresses_fit(self) -> IsoTpAddressing:
        given = self.target_address is not None, self.source_address is not None
        if self.addressing == "normal" and any(given):
            raise ValueError("target_address and source_address need addressing normal_fixed or extended")
        if self.addressing != "normal" and not all(given):
            raise ValueError(f"addressing {self.addressing} needs target_address (ECU) and source_address (tester)")
        # Otherwise requests to the ECU could not be distinguished from its responses, or from functional requests.
        if self.addressing != "normal" and self.target_address in (self.source_address, self.functional_address):
            raise ValueError("target_address must differ from source_address and functional_address")
        return self


@dataclass(frozen=True)
class FrameAddress:
    """The address of the frames in one direction. ``extension`` is the address byte in front of every frame, if any."""

    can_id: int
    extension: int | None = None

    @property
    def is_29_bit(self) -> bool:
        return is_29_bit(self.can_id)

    @property
    def kernel_id(self) -> int:
        """The identifier with SocketCAN's flag for 29 bits."""
        return kernel_id(self.can_id)

    @property
    def prefix(self) -> bytes:
        """The zero or one bytes in front of the protocol control information."""
        return b"" if self.extension is None else bytes((self.extension,))

    def content_of(self, data: bytes) -> bytes | None:
        """Return a frame's data without the prefix, or None if the frame is for another receiver."""
        return data[len(self.prefix) :] if data.startswith(self.prefix) else None

    @property
    def can_isotp_mode(self) -> str:
        """The name of can-isotp's ``AddressingMode``.

        For normal fixed addressing this is its normal mode, because the identifiers are known here.
        """
        kind = "Normal" if self.extension is None else "Extended"
        return f"{kind}_{29 if self.is_29_bit else 11}bits"


class KernelAddressOptions(NamedTuple):
    """The address fields of ``struct can_isotp_options``. They are zero without an address byte."""

    flags: int
    ext_address: int
    rx_ext_address: int


@dataclass(frozen=True)
class EndAddress:
    """One end of a connection: the addresses of the frames that it sends, and of the frames that it receives."""

    sent: FrameAddress
    received: FrameAddress

    @property
    def kernel_ids(self) -> tuple[int, int]:
        """The identifiers (receive, transmit) that a CAN_ISOTP socket is bound to."""
        return self.received.kernel_id, self.sent.kernel_id

    def kernel_options(self) -> KernelAddressOptions:
        """Return the address fields of CAN_ISOTP_OPTS."""
        flags = 0 if self.sent.extension is None else _KERNEL_EXTEND_ADDR
        flags |= 0 if self.received.extension is None else _KERNEL_RX_EXT_ADDR
        return KernelAddressOptions(flags, self.sent.extension or 0, self.received.extension or 0)

    def can_isotp_sending(self) -> dict[str, Any]:
        """Return the arguments of the ``isotp.Address`` for sending, without its mode (``sent.can_isotp_mode``)."""
        return {"txid": self.sent.can_id, "target_address": self.sent.extension, "tx_only": True}

    def can_isotp_receiving(self) -> dict[str, Any]:
        """Return the arguments of the ``isotp.Address`` for receiving, without its mode (``received.can_isotp_mode``).

        Its ``source_address`` is this end's address. can-isotp compares it with the byte in front of a received frame.
        """
        return {"rxid": self.received.can_id, "source_address": self.received.extension, "rx_only": True}


@dataclass(frozen=True)
class ConnectionAddress:
    """The addresses of both directions between the tester and one ECU."""

    request: FrameAddress
    response: FrameAddress

    @property
    def tester_end(self) -> EndAddress:
        return EndAddress(sent=self.request, received=self.response)

    @property
    def ecu_end(self) -> EndAddress:
        return EndAddress(sent=self.response, received=self.request)


def connection_address(isotp: IsoTpAddressing, *, request_id: int, response_id: int) -> ConnectionAddress:
    """Return the addresses of physical requests and of the responses to them.

    Raises:
        ValueError: an identifier contradicts the addresses (normal_fixed); the message contains key and value.
    """
    ecu, tester = isotp.target_address, isotp.source_address
    if isotp.addressing == "normal" or ecu is None or tester is None:
        return ConnectionAddress(FrameAddress(request_id), FrameAddress(response_id))
    if isotp.addressing == "extended":
        return ConnectionAddress(FrameAddress(request_id, ecu), FrameAddress(response_id, tester))
    # The identifiers could be computed. They are checked instead, so that the bench file shows what traces and captures show.
    _require_id("request_id", request_id, PHYSICAL_29_BIT | ecu << 8 | tester, isotp)
    _require_id("response_id", response_id, PHYSICAL_29_BIT | tester << 8 | ecu, isotp)
    return ConnectionAddress(FrameAddress(request_id), FrameAddress(response_id))


def functional_address(isotp: IsoTpAddressing, *, functional_id: int) -> FrameAddress:
    """Return the address of functional requests, which go to all ECUs.

    Raises:
        ValueError: the identifier contradicts the addresses (normal_fixed); the message names key and value.
    """
    if isotp.addressing == "normal" or isotp.source_address is None:
        return FrameAddress(functional_id)
    if isotp.addressing == "extended":
        return FrameAddress(functional_id, isotp.functional_address)
    required = FUNCTIONAL_29_BIT | isotp.functional_address << 8 | isotp.source_address
    if is_29_bit(functional_id):
        _require_id("functional_id", functional_id, required, isotp)
    # An 11-bit identifier is the default of the bench file. It does not apply to this addressing.
    return FrameAddress(required)


def address_of_frame(can_id: int, data: bytes, *, extended_ids: Collection[int]) -> FrameAddress:
    """Return the address of a frame on a bus. ``content_of(data)`` of the address returns the data after the prefix.

    Args:
        can_id: the frame's identifier.
        data: the frame's data, prefix included.
        extended_ids: the identifiers of the bus whose frames begin with an address byte. A frame alone does not show that.
    """
    return FrameAddress(can_id, data[0] if data and can_id in extended_ids else None)


def _require_id(key: str, given: int, required: int, isotp: IsoTpAddressing) -> None:
    if given != required:
        raise ValueError(
            f"{key} 0x{given:X}: with isotp.addressing normal_fixed, target_address 0x{isotp.target_address or 0:02X} and "
            f"source_address 0x{isotp.source_address or 0:02X} it must be 0x{required:08X}: correct the identifier or the addresses"
        )
