"""How a tester reaches one ECU: bus, identifiers, addressing, flash profile, security access."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from otabench.proto.process_config import IsoTpConfig, ProcessConfig
from otabench.proto.security_algorithm import DEFAULT as DEFAULT_ALGORITHM
from otabench.proto.security_algorithm import NAME_PATTERN as ALGORITHM_PATTERN


class EcuEndpoint(ProcessConfig):
    """How the tester reaches one ECU. All fields come from the configuration; none is discovered on the bus."""

    name: str
    bus: dict[str, Any]
    """Keyword arguments of ``can.Bus``: interface, channel, fd, …"""
    request_id: int
    response_id: int
    functional_id: int = 0x7DF
    isotp: IsoTpConfig = IsoTpConfig()
    serial: str
    hardware_id: str
    profile: str = "iso14229-ab"
    security_secret: str = Field(pattern=r"^[0-9a-f]{64}$")
    security_algorithm: str = Field(default=DEFAULT_ALGORITHM, pattern=ALGORITHM_PATTERN)
    """A built-in algorithm, ``module:function``, or ``library:PATH`` (see ``proto.security_algorithm``)."""
