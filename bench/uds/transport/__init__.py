"""ISO-TP between the gateway and its ECUs: one small ``udsoncan`` connection per ECU, without a thread of ours.

Two implementations with one behaviour: the kernel's CAN_ISOTP sockets (``kernel``) and can-isotp's user-space stack
(``user``). ``open_channel`` chooses; whatever goes wrong below reaches the caller as a ``TransportError``.
"""

from otabench.bench.uds.transport.channel import Channel, IsoTpConnection
from otabench.bench.uds.transport.errors import TransportError
from otabench.bench.uds.transport.opening import open_channel

__all__ = ["Channel", "IsoTpConnection", "TransportError", "open_channel"]
