"""Programs ECUs by UDS: the gateway's ``Vehicle`` on a real bus.

``UdsVehicle`` is what the agent uses; ``probe`` asks one ECU who it is. The sequence is data (``bench/gateway/profiles``).
"""

from bench.gateway.flashing.identity import probe
from bench.gateway.flashing.uds_vehicle import UdsVehicle

__all__ = ["UdsVehicle", "probe"]
