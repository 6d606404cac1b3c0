"""How a tester reaches one ECU: bus, identifiers, addressing, flash profile, security access."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from otabench.proto.process_config import IsoTpConfig, ProcessConfig
from otabench.proto.security_algorithm import DEFAULT as DEFAULT_ALGORITHM
from otabench.proto.security_algorithm import NAME_PATTERN as ALGORITHM_PATTERN


class FormerImage(ProcessConfig):
    """The image that an ECU had when the gateway first met it: what a rollback flashes where there is no second slot."""

    version: str
    file: Path
    file_format: str | None = None
    """As ``bench.firmware.programs`` names it. None: an MCUboot container."""
    start_address: int | None = None
    """Where a raw binary belongs. None: the file has its own addresses."""


class SecurityChoice(ProcessConfig):
    """One of several secrets of an ECU, with its algorithm."""

    # The name under which the secrets of a run's configuration files are removed at its end.
    security_secret: str = Field(pattern=r"^([0-9a-f]{2}){0,255}$")
    security_algorithm: str = Field(default=DEFAULT_ALGORITHM, pattern=ALGORITHM_PATTERN)


class AuthenticationFiles(ProcessConfig):
    """What the tester authenticates itself with (service 29), as PEM files."""

    certificate: Path
    key: Path


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
    security_secret: str = Field(default="", pattern=r"^([0-9a-f]{2}){0,255}$")
    """In hex. Empty: the ECU has no security access, or its algorithm needs no secret."""
    security_algorithm: str = Field(default=DEFAULT_ALGORITHM, pattern=ALGORITHM_PATTERN)
    """A built-in algorithm, ``module:function``, or ``library:PATH`` (see ``proto.security_algorithm``)."""
    security_choices: dict[str, SecurityChoice] = Field(default_factory=dict)
    """Further secrets, by the text that the flash profile chooses by (``choose_by``)."""
    authentication: AuthenticationFiles | None = None
    signs_reports: bool = False
    """Whether it signs version reports with a key that the cloud has."""
    former_image: FormerImage | None = None
    settings: dict[str, str] = Field(default_factory=dict)
    """Texts that the templates of a sequence profile may name, e.g. ``workshop_code``."""
