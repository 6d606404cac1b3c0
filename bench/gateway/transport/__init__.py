"""ISO-TP between the gateway and its ECUs: one small ``udsoncan`` connection per ECU, without a thread of ours.

Two implementations with one behaviour: the kernel's CAN_ISOTP sockets (``kernel``) and can-isotp's user-space stack
(``user``). ``open_channel`` chooses; whatever goes wrong below reaches the caller as a ``TransportError``.
"""

from bench.gateway.transport.channel import Channel, IsoTpConnection, open_channel
from bench.gateway.transport.errors import TransportError

__all__ = ["Channel", "IsoTpConnection", "TransportError", "open_channel"]
