"""Programs ECUs by UDS: the gateway's ``Vehicle`` on a real bus.

``UdsVehicle`` is what the agent uses; ``probe`` asks one ECU who it is. The sequence is data (``bench/gateway/profiles``).
"""

from otabench.bench.gateway.flashing.uds_vehicle import UdsVehicle
from otabench.bench.uds.identity import probe

__all__ = ["UdsVehicle", "probe"]
