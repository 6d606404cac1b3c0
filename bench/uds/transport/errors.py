"""What can go wrong between the tester and an ECU below UDS, by name.

    TransportError
    ├── ChannelUnavailable      the bus cannot be opened (no such interface, no driver, wrong MTU)
    ├── InterfaceDown           the interface is there and down
    ├── InterfaceGone           the interface was removed (adapter unplugged)
    ├── BusOff                  the controller has left the bus after too many errors
    ├── TransmitQueueFull       frames are made faster than the bus takes them, or nobody acknowledges them
    ├── NoFlowControl           the receiver did not answer a first frame or a block in time (N_Bs)
    ├── ReceiverOverflow        the receiver refused the message's length (flow status overflow)
    ├── TooManyWaitFrames       the receiver went on asking to wait
    ├── ConsecutiveFrameTimeout the sender stopped in the middle of a message (N_Cr)
    ├── WrongSequenceNumber     a frame of a message was lost or repeated
    └── MalformedFrame          a frame that is none of ISO 15765-2

The first four concern the interface and do not go away by asking the ECU again (``BUS_FAULTS``); the others may.
"""

from __future__ import annotations

from typing import Final


class TransportError(Exception):
    """A message could not be carried. The message says what happened, on which channel, between which identifiers."""


class ChannelUnavailable(TransportError):
    """The bus cannot be opened."""


class InterfaceDown(TransportError):
    """The interface is down (ENETDOWN)."""


class InterfaceGone(TransportError):
    """The interface was removed (ENODEV), or python-can cannot read or write it any more."""


class BusOff(TransportError):
    """The controller has left the bus."""


class TransmitQueueFull(TransportError):
    """The transmit queue stayed full (ENOBUFS)."""


class NoFlowControl(TransportError):
    """The receiver sent no flow control in time (ECOMM)."""


class ReceiverOverflow(TransportError):
    """The receiver answered with flow status overflow (EMSGSIZE)."""


class TooManyWaitFrames(TransportError):
    """The receiver sent more wait frames than are taken."""


class ConsecutiveFrameTimeout(TransportError):
    """The sender stopped in the middle of a message (ETIMEDOUT)."""


class WrongSequenceNumber(TransportError):
    """A consecutive frame had another sequence number than expected (EILSEQ)."""


class MalformedFrame(TransportError):
    """A frame that is none of ISO 15765-2, or padded wrongly (EBADMSG)."""


BUS_FAULTS: Final = (ChannelUnavailable, InterfaceDown, InterfaceGone, BusOff)
"""What is the bus's fault and not one ECU's."""
