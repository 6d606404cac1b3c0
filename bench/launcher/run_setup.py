"""The inputs of one run: bench file, options, folder, keys and ports. ``launcher.prepare`` makes them, ``launcher.specs`` reads them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from otabench.bench.gateway.hmi import pairing
from otabench.bench.launcher.key_folder import KeyFolder
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.run_folder import RunFolder
from otabench.bench.topology.model import Topology


@dataclass(frozen=True)
class Ports:
    """The loopback ports on which the processes listen."""

    grpc: int
    artifacts: int
    mqtt: int
    hmi: int
    control: dict[str, int]
    """Control ports of ECUs, by name."""
    gates: dict[str, int] = field(default_factory=dict)
    """Control ports of frame gates, by bus."""
    loads: dict[str, int] = field(default_factory=dict)
    """Control ports of loads, by bus."""


@dataclass(frozen=True)
class RunSecrets:
    """The pairing code of the driver's page and the token of the control ports."""

    pairing_code: str = field(default_factory=pairing.new_code)
    control_token: str = field(default_factory=lambda: secrets.token_hex(16))


@dataclass(frozen=True)
class RunSetup:
    """The inputs of one run. It is complete before the first process starts, and never changes."""

    topology: Topology
    options: BenchOptions
    folder: RunFolder
    keys_dir: Path
    ports: Ports
    secrets: RunSecrets = field(default_factory=RunSecrets)

    @property
    def keys(self) -> KeyFolder:
        """The key folder. It may still be empty."""
        return KeyFolder(self.keys_dir)
