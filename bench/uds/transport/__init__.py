"""ISO-TP between tester and ECUs: one small ``udsoncan`` connection per ECU.

Two implementations with one behavior: the kernel's CAN_ISOTP sockets (``kernel``) and can-isotp in user space (``user``).
``open_channel`` chooses. All errors below are ``TransportError``.
"""

from otabench.bench.uds.transport.channel import Channel, IsoTpConnection
from otabench.bench.uds.transport.errors import TransportError
from otabench.bench.uds.transport.opening import open_channel

__all__ = ["Channel", "IsoTpConnection", "TransportError", "open_channel"]
