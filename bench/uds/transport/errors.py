"""Errors between the tester and an ECU, below UDS.

    TransportError
    ├── ChannelUnavailable      the bus cannot be opened (no such interface, no driver, wrong MTU)
    ├── InterfaceDown           the interface exists, but is down
    ├── InterfaceGone           the interface was removed (adapter unplugged)
    ├── BusOff                  the controller has left the bus after too many errors
    ├── TransmitQueueFull       frames are queued faster than the bus carries them, or no node acknowledges them
    ├── NoFlowControl           the receiver sent no flow control after a first frame or a block in time (N_Bs)
    ├── ReceiverOverflow        the receiver refused the length of the message (flow status overflow)
    ├── TooManyWaitFrames       the receiver sent too many flow controls with flow status wait
    ├── ConsecutiveFrameTimeout the sender stopped in the middle of a message (N_Cr)
    ├── WrongSequenceNumber     a frame of a message was lost or repeated
    └── MalformedFrame          a frame that ISO 15765-2 does not define

The first four (``BUS_FAULTS``) concern the interface, and repeating the request does not help. After the others a repetition may help.

Both implementations raise these errors with the same texts (``text``), so a report does not depend on the implementation.
"""

from __future__ import annotations

from typing import ClassVar, Final

from otabench.bench.setup_programs import command_of

_PLUG_IN: Final = "plug the adapter in"


class TransportError(Exception):
    """A message could not be carried. The error's text contains the channel, the identifiers and what happened.

    Attributes:
        text: what happened; empty for errors whose text depends on the case.
    """

    text: ClassVar[str] = ""


class ChannelUnavailable(TransportError):
    """The bus cannot be opened."""


class InterfaceDown(TransportError):
    """The interface is down (ENETDOWN)."""

    text = f"the interface is down: {_PLUG_IN}, or ip link set DEV up"


class InterfaceGone(TransportError):
    """The interface was removed (ENODEV), or python-can cannot read or write it any more."""

    text = f"the interface is gone: {_PLUG_IN}, or run {command_of('vcan.sh')}"


class BusOff(TransportError):
    """The controller has left the bus."""


class TransmitQueueFull(TransportError):
    """The transmit queue stayed full (ENOBUFS)."""

    text = "the transmit queue stayed full: ip link set DEV txqueuelen 1000; is the bus terminated?"


class NoFlowControl(TransportError):
    """The receiver sent no flow control in time (ECOMM)."""

    text = "the ECU sent no flow control: it is off, or listens to another identifier"


class ReceiverOverflow(TransportError):
    """The receiver answered with flow status overflow (EMSGSIZE)."""

    text = "the ECU cannot receive a message of that length (flow status overflow)"


class TooManyWaitFrames(TransportError):
    """The receiver sent more flow controls with flow status wait than the tester accepts."""

    text = "the ECU kept asking to wait (flow status wait)"


class ConsecutiveFrameTimeout(TransportError):
    """The sender stopped in the middle of a message (ETIMEDOUT)."""

    text = "the ECU stopped in the middle of its response"


class WrongSequenceNumber(TransportError):
    """A consecutive frame had another sequence number than expected (EILSEQ)."""

    text = "a frame of the response was lost (wrong sequence number)"


class MalformedFrame(TransportError):
    """A frame is not defined by ISO 15765-2, or has wrong padding (EBADMSG)."""


BUS_FAULTS: Final = (ChannelUnavailable, InterfaceDown, InterfaceGone, BusOff)
"""Errors of the bus, which concern all its ECUs."""
