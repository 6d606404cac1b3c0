"""ISO-TP between tester and ECUs, as one small udsoncan connection per ECU.

Two implementations behave alike: the kernel's CAN_ISOTP sockets (``kernel``) and can-isotp in user space (``user_space``).
``open_channel`` chooses one of them. They raise only ``TransportError`` and its subclasses.
"""

from otabench.bench.uds.transport.channel import Channel, IsoTpConnection
from otabench.bench.uds.transport.errors import TransportError
from otabench.bench.uds.transport.opening import open_channel

__all__ = ["Channel", "IsoTpConnection", "TransportError", "open_channel"]
